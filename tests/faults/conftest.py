"""The real build stage on a ward, with one worker process for all builds in which no worker is harmed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from ecgconsole.config import resolve
from ecgconsole.dataset.build import run
from ecgconsole.dataset.workers import LocalWorkers
from ecgconsole.stage import Reporter, Stop
from ecgconsole.workspace import Workspace

Build = Callable[..., tuple[dict[str, Any], list[dict[str, Any]]]]


@pytest.fixture(scope="session")
def build() -> Iterator[Build]:
    """``build(output, **{"data.waveform_dir": folder})``: the result and the events."""
    with LocalWorkers(1) as worker:

        def go(output: Path, **settings: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
            overrides = [f"{key}={json.dumps(value, default=str)}" for key, value in settings.items()]
            config = resolve(overrides=["build.selection=id", *overrides], environment={}).config
            events: list[dict[str, Any]] = []
            with pytest.MonkeyPatch.context() as patch:  # for this build alone: other tests share the process
                patch.setattr("ecgconsole.dataset.build.start_workers", lambda *_: nullcontext(worker))
                return run(config, Workspace(output), Reporter("build", events.append), Stop()), events

        yield go
