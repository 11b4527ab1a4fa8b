"""kill -9 at any moment loses nothing and leaves nothing behind; a stop is quick and saves."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time

import h5py
import pytest
import torch

from ecgconsole.workspace import Workspace
from tests.e2e.conftest import SMALL

KILLS = 10


def content(out) -> str:
    with h5py.File(Workspace(out).dataset) as file:
        return file.attrs["content_sha256"]


def weights(out) -> dict[str, torch.Tensor]:
    return torch.load(Workspace(out).latest_checkpoint, weights_only=True)["model"]


def timed(commands, *command) -> float:
    started = time.monotonic()
    commands.run(*command)
    return time.monotonic() - started


def kill_after(commands, seconds: float, *command) -> bool:
    """True when the runner was killed before its end."""
    process = commands.start(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert commands.none_left(), f"alive after the kill: {[p.cmdline() for p in commands.alive()]}"
    return process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_a_build_killed_at_ten_moments_gives_the_bytes_of_an_undisturbed_one(commands, cohort, tmp_path):
    def build(out):
        return ("build", "-o", out, *SMALL, "--set", f"data.waveform_dir={cohort / 'waveforms'}",
                "--set", f"data.clinical_dir={cohort / 'clinical'}", "--set", "build.shard_patients=2")  # fmt: skip

    seconds = timed(commands, *build(tmp_path / "whole"))
    moments = random.Random(0)
    killed = tried = 0
    while killed < KILLS:  # on a busy machine a run may end before its moment: it does not count
        tried += 1
        assert tried <= 3 * KILLS
        out = tmp_path / f"killed{tried}"
        killed += kill_after(commands, moments.uniform(0, seconds), *build(out))
        commands.run(*build(out))
        assert content(out) == content(tmp_path / "whole")


@pytest.mark.slow
def test_a_training_killed_at_ten_moments_gives_the_weights_of_an_undisturbed_one(commands, cohort, tmp_path):
    def train(out):
        return ("run", "--no-tui", "--stages", "build,train", "-o", out, *SMALL, "--set", "training.num_epochs=6",
                "--set", f"data.waveform_dir={cohort / 'waveforms'}")  # fmt: skip

    base = tmp_path / "whole"
    commands.run("build", *train(base)[4:])
    seconds = timed(commands, *train(base))
    expected = weights(base)
    moments = random.Random(1)
    killed = tried = 0
    while killed < KILLS:
        tried += 1
        assert tried <= 3 * KILLS
        out = tmp_path / f"killed{tried}"
        commands.run("build", *train(out)[4:])
        killed += kill_after(commands, moments.uniform(0, seconds), *train(out))
        commands.run(*train(out))
        found = weights(out)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_stop_ends_a_training_soon_with_a_checkpoint_and_the_same_command_continues(commands, cohort, tmp_path):
    out = tmp_path / "out"
    train = ("run", "--no-tui", "--output", "json", "-o", out, *SMALL, "--set", "training.num_epochs=30",
             "--set", f"data.waveform_dir={cohort / 'waveforms'}")  # fmt: skip
    process = commands.start(*train)
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event["kind"] == "metric" and event["step"] >= 5:
            break
    asked = time.monotonic()
    said = commands.run("stop", "-o", out).stdout
    rest, _ = process.communicate()
    assert time.monotonic() - asked < 20
    assert process.returncode == 130
    assert "saved" in said
    last = json.loads(rest.splitlines()[-1])
    assert (last["kind"], last["status"], last["exit_code"]) == ("run_finished", "stopped", 130)
    assert Workspace(out).latest_checkpoint.is_file()
    assert commands.none_left()
    step = json.loads((out / "latest_checkpoint.json").read_text())["step"]

    process = commands.start(*train)
    assert process.stdout is not None
    events = []
    for line in process.stdout:
        events.append(json.loads(line))
        if events[-1]["kind"] == "metric" and events[-1]["step"] > step:
            break
    steps = [e["step"] for e in events if e["kind"] == "metric"]
    assert min(steps) >= step
    assert [e["stage"] for e in events if e["kind"] == "stage_skipped"] == ["build"]
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
