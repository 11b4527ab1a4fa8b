"""Recordings of many hours in bounded memory, and a cohort of 500 whose build is killed again and again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from ecgconsole.dataset import Dataset
from ecgconsole.synth import synthesise
from ecgconsole.workspace import sweep_partial
from tests.signals.records import ecg_and_ppg, write_segment

OUTPUTS = ("full_dataset.h5", "full_dataset_metadata.parquet", "rejected.parquet", "clinical_features.csv")
KILLS = 20
BUILD = """
import json, sys
from ecgconsole.config import resolve
from ecgconsole.dataset.build import run
from ecgconsole.stage import Reporter, Stop
from ecgconsole.workspace import Workspace
if __name__ == "__main__":
    emit = lambda event: print(json.dumps(event), flush=True)
    config = resolve(overrides=sys.argv[2:], environment={}).config
    print(json.dumps(run(config, Workspace(sys.argv[1]), Reporter("build", emit), Stop())), flush=True)
"""


def start(folder: Path, output: Path, **settings: Any) -> subprocess.Popen[str]:
    """The build stage in a process of its own; its events on stdout, then its result."""
    script = folder / "build_here.py"
    script.write_text(BUILD)
    overrides = [f"{key}={json.dumps(value, default=str)}" for key, value in settings.items()]
    return subprocess.Popen([sys.executable, script, output, *overrides], stdout=subprocess.PIPE, text=True)


def result_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate()
    assert process.returncode == 0
    return json.loads(out.splitlines()[-1])


def peak_bytes(process: subprocess.Popen[str]) -> int:
    """The most memory that any process of the build held at once (``VmHWM``), polled while it runs."""
    peaks: dict[int, int] = {}
    while process.poll() is None:
        for one in psutil.Process(process.pid).children(recursive=True):
            try:
                status = Path(f"/proc/{one.pid}/status").read_text()
            except FileNotFoundError:
                continue
            lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM")]
            peaks[one.pid] = max([peaks.get(one.pid, 0), *(1024 * int(line[1]) for line in lines)])
        time.sleep(0.02)
    return max(peaks.values())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads peaks of memory from /proc")
def test_a_record_of_thirty_hours_takes_no_more_memory_than_one_of_three(tmp_path: Path) -> None:
    ecg, ppg = ecg_and_ppg(360)
    peaks = {}
    for hours in (3, 30):
        root = tmp_path / f"{hours}"
        root.mkdir()
        write_segment(root, "long", {"II": np.tile(ecg, hours * 10), "PLETH": np.tile(ppg, hours * 10)})
        settings = {"data.waveform_dir": root, "build.max_segments_per_patient": None, "build.num_workers": 1}
        process = start(tmp_path, tmp_path / f"out{hours}", **settings)
        peaks[hours] = peak_bytes(process)
        assert result_of(process)["segments"] == hours * 360
    # Read whole, as float64, the longer one is 194 MB more of samples alone.
    assert peaks[30] - peaks[3] < 60e6, peaks


@pytest.fixture(scope="module")
def five_hundred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("five hundred")
    synthesise(folder, patients=500, hours=0.05, seed=1)
    return folder


@pytest.fixture(scope="module")
def undisturbed(five_hundred: Path) -> tuple[Path, dict[str, Any]]:
    output = five_hundred / "undisturbed"
    return output, result_of(start(five_hundred, output, **settings_of(five_hundred), **{"build.num_workers": 1}))


def settings_of(cohort: Path) -> dict[str, Any]:
    return {
        "data.waveform_dir": cohort / "waveforms",
        "data.clinical_dir": cohort / "clinical",
        "build.min_segments_per_patient": 3,
        "build.shard_patients": 8,
    }


@pytest.mark.slow
def test_killed_twenty_times_the_build_of_500_patients_gives_the_same_bytes(
    five_hundred: Path, undisturbed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    whole, expected = undisturbed
    moments, killed, reused = random.Random(7), 0, 0
    settings = {**settings_of(five_hundred), "build.num_workers": 2}
    while killed < KILLS:
        process = start(tmp_path, tmp_path / "out", **settings)
        assert process.stdout is not None
        progress = (json.loads(line) for line in process.stdout if '"progress"' in line)
        first = next(event for event in progress if event["unit"] == "patients")
        assert first["done"] >= reused  # what was committed before the last kill
        reused = first["done"]
        time.sleep(moments.uniform(0, 0.5))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    assert 0 < reused < expected["patients"]
    assert result_of(start(tmp_path, tmp_path / "out", **settings)) == expected
    assert {n: (tmp_path / "out" / n).read_bytes() for n in OUTPUTS} == {n: (whole / n).read_bytes() for n in OUTPUTS}
    with Dataset(tmp_path / "out" / "full_dataset.h5") as dataset:
        assert dataset.verify()
    sweep_partial(tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted([*OUTPUTS, "header_index.jsonl.gz"])


@pytest.mark.slow
def test_dask_on_two_processes_of_which_one_is_killed_gives_the_same_bytes(
    five_hundred: Path, undisturbed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    pytest.importorskip("distributed", reason="Dask is not installed")
    whole, expected = undisturbed
    settings = {**settings_of(five_hundred), "build.executor": "dask", "build.num_workers": 2}
    process = start(tmp_path, tmp_path / "out", **settings)
    killed: list[int] = []

    def kill_one_mid_shard() -> None:
        while not list((tmp_path / "out" / "shards").glob(".*.patient.partial")):
            time.sleep(0.005)
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):  # one that ends meanwhile
                if "spawn_main" in str(child.cmdline()):
                    child.kill()
                    killed.append(child.pid)
                    break

    thread = threading.Thread(target=kill_one_mid_shard)
    thread.start()
    result = result_of(process)
    thread.join()
    assert killed
    assert result == expected
    assert {n: (tmp_path / "out" / n).read_bytes() for n in OUTPUTS} == {n: (whole / n).read_bytes() for n in OUTPUTS}
