"""Stages that behave well, badly, or not at all: what the tests of a run put in the pipeline's place."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ecgconsole.config import Config
from ecgconsole.errors import InputError
from ecgconsole.stage import Reporter, Stage, Stop
from ecgconsole.workspace import Workspace, write_atomically

HERE = "fake_stages"


def plan(workspace: Workspace) -> dict[str, Any]:
    """What the test wants the fakes to do: ``plan.json`` beside the outputs."""
    path = workspace.folder / "plan.json"
    return json.loads(path.read_text()) if path.exists() else {}


def build(config: Config, workspace: Workspace, reporter: Reporter, stop: Stop, rebuild: bool = False) -> dict:
    """Units that are committed one by one, and continued from after an interruption."""
    wanted = plan(workspace)
    units, seconds = wanted.get("units", 3), wanted.get("unit_seconds", 0.01)
    committed = workspace.shards / "units"
    done = 0 if rebuild or not committed.exists() else int(committed.read_text())
    reporter.progress(done, units, "patients")
    if "text" in wanted:
        reporter.warning("odd-text", wanted["text"], "none")
    while done < units:
        stop.wait_while_paused()
        stop.raise_if_requested(f"{done} of {units} units")
        time.sleep(seconds)
        done += 1
        write_atomically(committed, str(done))
        reporter.chunk(done, 1, 10, {"noise": 1}, 100, seconds)
        reporter.progress(done, units, "patients")
    write_atomically(workspace.dataset, f"{config.build.selection_seed}")
    committed.unlink()
    return {"patients": units, "segments": 10 * units, "content_sha256": f"sha-{config.build.selection_seed}"}


def train(config: Config, workspace: Workspace, reporter: Reporter, stop: Stop, resume: str = "auto") -> dict:
    for epoch in range(3):
        stop.raise_if_requested(f"epoch {epoch}")
        reporter.metric(epoch * 10, epoch, {"train_loss": 3.0 - epoch, "val_loss": 3.5 - epoch, "learning_rate": 1e-3})
        reporter.checkpoint("latest_checkpoint.pth", epoch, epoch * 10, 3.5 - epoch, "00")
    write_atomically(workspace.latest_checkpoint, f"{config.training.seed} {resume}")
    write_atomically(workspace.best_checkpoint, f"{config.training.seed}")
    return {"epochs": 3, "best_epoch": 2, "train_loss": 1.0, "val_loss": float("nan")}


def embed(config: Config, workspace: Workspace, reporter: Reporter, stop: Stop, checkpoint: Path | None = None) -> dict:
    assert checkpoint is None or isinstance(checkpoint, Path)
    write_atomically(workspace.train_embeddings, str(checkpoint))
    return {"segments": 30}


def with_children(config: Config, workspace: Workspace, reporter: Reporter, stop: Stop) -> dict:
    """Starts processes that ignore what can be ignored, in sessions of their own, and works on for ever."""
    code = "import signal, time; [signal.signal(s, signal.SIG_IGN) for s in (1, 2, 15)]; time.sleep(600)"
    own_session = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    parent = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]])"
    subprocess.run([sys.executable, "-c", parent, code], check=True)  # its child is an orphan now
    reporter.emit("children", pid=own_session.pid)
    while True:
        time.sleep(0.1)


def with_checkpoints(config: Config, workspace: Workspace, reporter: Reporter, stop: Stop) -> dict:
    """A training that saves when asked, and ends then."""
    reporter.progress(0, 1, "steps")
    while not stop.checkpoint_requested():
        time.sleep(0.02)
    reporter.checkpoint("latest_checkpoint.pth", 0, 1, None, "00")
    return {"epochs": 1}


def ignores_request(config: Config, workspace: Workspace, reporter: Reporter, stop: Stop) -> dict:
    reporter.progress(0, 1, "units")
    while True:
        time.sleep(0.1)


def ignores_everything(config: Config, workspace: Workspace, reporter: Reporter, stop: Stop) -> dict:
    """As a process blocked on a disk that does not answer: no thread of it runs."""
    reporter.progress(0, 1, "units")
    os.kill(os.getpid(), signal.SIGSTOP)
    return {}


def lingers(config: Config, workspace: Workspace, reporter: Reporter, stop: Stop) -> dict:
    """Ends, but leaves something that keeps the process alive."""
    import atexit

    atexit.register(time.sleep, 600)
    return {"segments": 1}


def fails(config: Config, workspace: Workspace, reporter: Reporter, stop: Stop) -> dict:
    how = plan(workspace)["how"]
    if how == "input":
        raise InputError("no usable recording in \x1b]52;c;evil\x07 the folder")
    if how == "memory":
        raise MemoryError
    if how == "disk":
        raise OSError(28, "No space left on device", "x.h5")
    if how == "bug":
        raise ZeroDivisionError("division by zero")
    os.kill(os.getpid(), getattr(signal, how))
    time.sleep(60)
    return {}


def chatty(config: Config, workspace: Workspace, reporter: Reporter, stop: Stop) -> dict:
    """More output than any pipe holds."""
    count = plan(workspace).get("count", 2000)
    for number in range(count):
        reporter.warning("chatter", f"{number} " + "x" * 200, "none")
    return {"segments": count}


def _stage(name: str, function: str, after: tuple[str, ...] = (), **kwargs: Any) -> Stage:
    defaults: dict[str, Any] = {"settings": ("build.selection_seed",), "paths": (), "outputs": (), "unit": "units"}
    return Stage(name=name, target=f"{HERE}:{function}", after=after, **{**defaults, **kwargs})


PIPELINE = (
    _stage("build", "build", paths=("data.waveform_dir",), outputs=("dataset", "metadata")),
    _stage("train", "train", ("build",), settings=("training.seed",), outputs=("latest_checkpoint", "best_checkpoint")),
    _stage("embed", "embed", ("build", "train"), settings=("embedding",), outputs=("train_embeddings",)),
)
OTHERS = tuple(
    _stage(name, name)
    for name in (
        "with_children",
        "with_checkpoints",
        "ignores_request",
        "ignores_everything",
        "lingers",
        "fails",
        "chatty",
    )
)
