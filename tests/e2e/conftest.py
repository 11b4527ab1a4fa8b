"""Real commands in real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

MARK = "ECGCONSOLE_TEST_MARK"
SMALL = ("--set", "model.hidden_dims=[8,16]", "--set", "model.embedding_dim=32", "--set", "training.batch_size=32",
         "--set", "training.negative_gap_seconds=30", "--set", "training.segments_per_patient=4",
         "--set", "build.num_workers=2", "--set", "build.min_segments_per_patient=3")  # fmt: skip


class Commands:
    """Runs ``ecgconsole`` and knows which processes came of it, however deep, by a mark in their environment."""

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self.environment = {**os.environ, MARK: mark, "NO_COLOR": "1"}

    def start(self, *arguments: object, **kwargs: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "ecgconsole", *map(str, arguments)]
        kwargs = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **kwargs}
        return subprocess.Popen(command, env=self.environment, text=True, **kwargs)

    def run(self, *arguments: object, exit_code: int = 0) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate()
        assert process.returncode == exit_code, f"exit code {process.returncode}\n{out[-3000:]}\n{err[-3000:]}"
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def events(self, *arguments: object, exit_code: int = 0) -> list[dict[str, Any]]:
        """The events of a command with ``--output json``; every line is one, and ``seq`` has no hole."""
        done = self.run(*arguments, "--output", "json", exit_code=exit_code)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert [e["seq"] for e in events] == list(range(len(events)))
        return events

    def alive(self) -> list[psutil.Process]:
        return [
            process
            for process in psutil.process_iter(["environ", "status"])
            if (process.info["environ"] or {}).get(MARK) == self.mark and process.info["status"] != psutil.STATUS_ZOMBIE
        ]

    def none_left(self, seconds: float = 5.0) -> bool:
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    made = Commands(str(tmp_path))
    yield made
    for process in made.alive():
        process.kill()


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic cohort of 24 patients with 6 minutes of signals each, and their tables."""
    folder = tmp_path_factory.mktemp("synthetic") / "cohort"
    Commands("cohort").run("synth", folder, "--patients", 24, "--hours", 0.1, "--seed", 3)
    return folder
