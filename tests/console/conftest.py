from __future__ import annotations

import shutil
import subprocess
import threading
import time

import pytest
from typer.testing import CliRunner

from ecgconsole import cli
from ecgconsole.console import command
from ecgconsole.errors import EcgConsoleError
from ecgconsole.workspace import Workspace
from tests.console.harness import FakeJob
from tests.console.results import build_folder


@pytest.fixture(autouse=True)
def home_of_the_user(tmp_path, monkeypatch):
    """What the console remembers of its user stays in the test's folder; the clock's zone is everywhere the same."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.fixture
def job(tmp_path):
    return FakeJob(tmp_path / "a folder [bold]of[b] mine")


@pytest.fixture(scope="session")
def built_folder(tmp_path_factory):
    """An output folder with a dataset; ``own_folder`` is a copy that the test may change."""
    folder = tmp_path_factory.mktemp("built")
    return build_folder(folder / "cohort", folder / "out")


@pytest.fixture
def own_folder(built_folder, tmp_path):
    shutil.copytree(built_folder.folder, tmp_path / "out")
    return Workspace(tmp_path / "out")


@pytest.fixture
def commands_in_process(monkeypatch):
    """The console's commands run in this process: the same code, without a second of imports each."""

    one_at_a_time = threading.Lock()  # the runner puts its own in the place of sys.stdout
    in_a_process = subprocess.run

    def run(arguments, **kwargs):
        if list(arguments[1:4]) != ["-P", "-m", "ecgconsole"]:
            return in_a_process(arguments, **kwargs)
        with one_at_a_time:
            done = CliRunner().invoke(cli.app, arguments[4:])
        if isinstance(done.exception, EcgConsoleError):
            return subprocess.CompletedProcess(
                arguments, int(done.exception.exit_code), done.stdout, str(done.exception)
            )
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    monkeypatch.setattr(command.subprocess, "run", run)
