"""The build on a Dask cluster gives the same bytes; without Dask it says what to install."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from ecgconsole.config import Config
from ecgconsole.errors import ConfigurationError, MachineError

Build = Callable[..., tuple[dict[str, Any], list[dict[str, Any]]]]


def test_without_dask_it_says_what_to_install(
    cohort: Path, config_of: Callable[..., Config], build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigurationError, match=r"ecgconsole\[dask\]"):
        build(config_of(cohort / "waveforms", **{"build.executor": "dask"}), tmp_path)


def test_a_scheduler_that_does_not_answer_is_a_machine_error(
    cohort: Path, config_of: Callable[..., Config], build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed", reason="Dask is not installed")
    monkeypatch.setattr("ecgconsole.dataset.cluster.CONNECT_SECONDS", 1)
    settings = {"build.executor": "dask", "build.scheduler_address": "tcp://127.0.0.1:9"}
    with pytest.raises(MachineError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        build(config_of(cohort / "waveforms", **settings), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [False, True])
def test_dask_gives_the_same_bytes_also_when_a_worker_is_killed(
    cohort: Path, config_of: Callable[..., Config], build: Build, tmp_path: Path, kill: bool
) -> None:
    pytest.importorskip("distributed", reason="Dask is not installed")
    expected, _ = build(config_of(cohort / "waveforms"), tmp_path / "local")
    killed = []

    def kill_one() -> None:
        while not list((tmp_path / "dask" / "shards").glob(".*.patient.partial")):
            time.sleep(0.002)
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # one that ends meanwhile
                if "spawn_main" in str(process.cmdline()):
                    process.kill()
                    killed.append(process.pid)
                    break

    thread = threading.Thread(target=kill_one)
    if kill:
        thread.start()
    settings = {"build.executor": "dask", "build.num_workers": 2}
    result, _ = build(config_of(cohort / "waveforms", **settings), tmp_path / "dask")
    if kill:
        thread.join()
        assert killed
    assert result == expected
    for name in ("full_dataset.h5", "rejected.parquet"):
        assert (tmp_path / "dask" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()
