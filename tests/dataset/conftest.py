"""A small synthetic cohort, and a way to build it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from ecgconsole.config import Config, resolve
from ecgconsole.dataset.build import run
from ecgconsole.dataset.workers import LocalWorkers
from ecgconsole.stage import Reporter, Stop
from ecgconsole.synth import synthesise
from ecgconsole.workspace import Workspace


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 people of 0.1 h with tables: ``waveforms/``, ``clinical/``. Read-only by convention."""
    folder = tmp_path_factory.mktemp("cohort")
    synthesise(folder, patients=12, hours=0.1, seed=3, workers=1)
    return folder


@pytest.fixture
def own_cohort(cohort: Path, tmp_path: Path) -> Path:
    """A copy that the test may damage."""
    folder = tmp_path / "cohort"
    shutil.copytree(cohort, folder)
    return folder


@pytest.fixture
def config_of() -> Callable[..., Config]:
    """``config_of(folder, **{"build.chunk_size": 5})``: a configuration for a folder of recordings."""

    def make(waveforms: Path, **settings: Any) -> Config:
        small = {"build.num_workers": 1, "build.shard_patients": 4, "data.waveform_dir": str(waveforms)}
        overrides = [f"{key}={json.dumps(value)}" for key, value in {**small, **settings}.items()]
        return resolve(overrides=overrides, environment={}).config

    return make


@pytest.fixture(scope="session")
def worker() -> Iterator[LocalWorkers]:
    """One worker process for all tests that do not ask for their own: starting one takes seconds."""
    with LocalWorkers(1) as workers:
        yield workers


@pytest.fixture
def kept_worker(worker: LocalWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds of this test use the session's worker, for tests in which no worker is harmed."""
    monkeypatch.setattr("ecgconsole.dataset.build.start_workers", lambda *_: nullcontext(worker))


@pytest.fixture
def build() -> Callable[..., tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Runs the stage; returns its result and its events."""

    def go(config: Config, output: Path, stop: Stop | None = None, **options: Any) -> tuple[dict[str, Any], list[dict]]:
        events: list[dict[str, Any]] = []
        result = run(config, Workspace(output), Reporter("build", events.append), stop or Stop(), **options)
        return result, events

    return go
