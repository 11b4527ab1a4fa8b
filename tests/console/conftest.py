from __future__ import annotations

import time

import pytest

from tests.console.harness import FakeJob


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
