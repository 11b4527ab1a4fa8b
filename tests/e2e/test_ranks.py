"""A training of two ranks: one of them killed, one that hangs, the runner killed, a stop."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys

import psutil
import pytest
import torch

from ecgconsole.workspace import Workspace
from tests.e2e.conftest import SMALL

pytestmark = pytest.mark.slow

TRAIN = (*SMALL, "--set", "training.world_size=2", "--set", "training.num_epochs=8", "--output", "json")


@pytest.fixture(scope="module")
def built(tmp_path_factory, cohort):
    from tests.e2e.conftest import Commands

    out = tmp_path_factory.mktemp("ranks") / "built"
    Commands("ranks").run("build", "-o", out, *SMALL, "--set", f"data.waveform_dir={cohort / 'waveforms'}")
    return out


@pytest.fixture(scope="module")
def undisturbed(built, tmp_path_factory):
    from tests.e2e.conftest import Commands

    out = shutil.copytree(built, tmp_path_factory.mktemp("undisturbed") / "out")
    events = Commands("undisturbed").events("train", "-o", out, *TRAIN[:-2])
    assert [e["code"] for e in events if e["kind"] == "warning"] == []
    return weights(out)


def weights(out) -> dict[str, torch.Tensor]:
    return torch.load(Workspace(out).latest_checkpoint, weights_only=True)["model"]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def ranks(commands) -> list[psutil.Process]:
    """The ranks, without multiprocessing's own helper."""
    return [p for p in commands.alive() if "spawn_main" in " ".join(p.cmdline())]


def read_until(process, wanted) -> list[dict]:
    events = []
    for line in process.stdout:
        events.append(json.loads(line))
        if wanted(events[-1]):
            return events
    raise AssertionError(events[-3:])


def after_an_epoch(event) -> bool:
    return event["kind"] == "checkpoint" and event["epoch"] >= 2


def rest_of(process) -> list[dict]:
    out, err = process.communicate()
    assert process.returncode == 0, (out[-2000:], err[-2000:])
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize("resume", ["auto", "none"])
def test_a_rank_killed_by_9_restarts_all_from_the_last_checkpoint_with_the_same_weights(
    commands, built, undisturbed, tmp_path, resume
):
    """Also where the command began a new line: the restart goes on with that line."""
    out = shutil.copytree(built, tmp_path / "out")
    process = commands.start("train", "-o", out, *TRAIN, "--resume", resume)
    read_until(process, after_an_epoch)
    victims = ranks(commands)
    assert len(victims) == 2
    victims[1].kill()
    events = rest_of(process)
    assert [e["code"] for e in events if e["kind"] == "warning"] == ["rank-died"]
    assert events[-1]["status"] == "done"
    assert not (out / "previous").exists()
    assert same(weights(out), undisturbed)
    assert commands.none_left()


def test_a_rank_that_hangs_is_ended_after_its_time_and_training_goes_on(commands, built, undisturbed, tmp_path):
    out = shutil.copytree(built, tmp_path / "out")
    process = commands.start("train", "-o", out, *TRAIN, "--set", "training.rank_timeout_seconds=10")
    read_until(process, after_an_epoch)
    ranks(commands)[0].send_signal(signal.SIGSTOP)
    events = rest_of(process)
    assert "rank-died" in [e["code"] for e in events if e["kind"] == "warning"]
    assert same(weights(out), undisturbed)
    assert commands.none_left()


def test_a_rank_that_dies_again_and_again_fails_the_stage_with_the_checkpoint_kept(commands, built, tmp_path):
    out = shutil.copytree(built, tmp_path / "out")
    process = commands.start("train", "-o", out, *TRAIN, "--set", "training.num_epochs=3000")
    for times in range(4):
        read_until(process, lambda event: event["kind"] == "checkpoint")
        assert len(ranks(commands)) == 2, times
        ranks(commands)[1].kill()
    rest, err = process.communicate()
    assert process.returncode == 1
    assert "died 4 times" in err
    assert [json.loads(line).get("code") for line in rest.splitlines()].count("rank-died") <= 3
    commands.run("checkpoints", "verify", "latest", "-o", out)
    assert commands.none_left()


def test_kill_9_of_the_runner_leaves_no_rank_and_the_same_command_continues(commands, built, undisturbed, tmp_path):
    out = shutil.copytree(built, tmp_path / "out")
    process = commands.start("train", "-o", out, *TRAIN)
    read_until(process, after_an_epoch)
    process.kill()
    process.wait()
    assert commands.none_left(), [p.cmdline() for p in commands.alive()]
    commands.run("train", "-o", out, *TRAIN)
    assert same(weights(out), undisturbed)


def test_stop_is_agreed_upon_by_all_ranks_and_the_same_command_continues(commands, built, undisturbed, tmp_path):
    out = shutil.copytree(built, tmp_path / "out")
    process = commands.start("train", "-o", out, *TRAIN)
    read_until(process, after_an_epoch)
    commands.run("stop", "-o", out)
    process.communicate()
    assert process.returncode == 130
    assert commands.none_left()
    commands.run("train", "-o", out, *TRAIN)
    assert same(weights(out), undisturbed)


def test_what_the_chief_refuses_is_the_stages_error(commands, built, tmp_path):
    out = shutil.copytree(built, tmp_path / "out")
    commands.run("train", "-o", out, *TRAIN, "--set", "training.num_epochs=1")
    failed = commands.run("train", "-o", out, *TRAIN, "--set", "training.temperature=0.3", exit_code=2)
    assert "training.temperature: 0.1 in the checkpoint, 0.3 now" in failed.stderr
    assert commands.none_left()


def test_a_second_machine_joins_by_torchrun_and_trains_the_same(commands, built, undisturbed, tmp_path):
    """Two agents at one rendezvous, as on two nodes that share the disk; here both are this machine."""
    out = shutil.copytree(built, tmp_path / "out")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        rendezvous = f"127.0.0.1:{free.getsockname()[1]}"
    there = ("--set", "training.nodes=2", "--set", f"training.rendezvous={rendezvous}")
    head = commands.start("train", "-o", out, *TRAIN, *there)
    joined = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d",
         f"--rdzv-endpoint={rendezvous}", "--rdzv-id=ecgconsole", "--max-restarts=3",
         "-m", "ecgconsole.training.launch", out],
        env={**commands.environment, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}, stderr=subprocess.PIPE,
    )  # fmt: skip
    events = rest_of(head)
    _, err = joined.communicate()
    assert joined.returncode == 0, err[-3000:]
    assert [e["code"] for e in events if e["kind"] == "warning"] == []
    for name, weight in weights(out).items():
        torch.testing.assert_close(weight, undisturbed[name], rtol=1e-3, atol=1e-4)
    assert commands.none_left()
