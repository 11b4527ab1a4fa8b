"""What is in a checkpoint, saving it so that it is whole or absent, and finding the one to go on from."""

from __future__ import annotations

import errno
import hashlib
import io
import math
import pickle
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ecgconsole import __version__
from ecgconsole.errors import InputError, MachineError
from ecgconsole.stage import Reporter
from ecgconsole.text import sanitise, size
from ecgconsole.training.checkpoints_index import (
    Checkpoint,
    Sidecar,
    is_pinned,
    list_checkpoints,
    vouched,
    write_checkpoint,
)
from ecgconsole.training.expectations import Expectations
from ecgconsole.workspace import Workspace

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CONTENTS = {"model", "optimizer", "scaler", "progress", "sums", "architecture", "expectations"}


@dataclass
class Progress:
    """How far a training is. ``epoch`` counts completed epochs, ``sums`` are over the steps of the one begun.

    ``horizon_steps`` is where the learning rate ends; ``ended`` why training is over (epochs, time, patience).
    """

    epoch: int = 0
    step: int = 0
    step_in_epoch: int = 0
    seconds: float = 0.0
    horizon_steps: int = 0
    best_epoch: int = 0
    best_val_loss: float | None = None
    train_loss: float | None = None
    val_loss: float | None = None
    bad_steps: int = 0
    bad_in_a_row: int = 0
    ended: str = ""
    resumed_from: str | None = None


@dataclass(frozen=True)
class Saved:
    """A checkpoint read back: where it was, its sidecar, and its contents (see ``pack``)."""

    path: Path
    sidecar: Sidecar
    contents: dict[str, Any]

    @property
    def progress(self) -> Progress:
        return Progress(**self.contents["progress"])

    @property
    def expectations(self) -> Expectations:
        return Expectations.from_plain(self.contents["expectations"])


def pack(
    model: dict[str, Any],
    optimizer: dict[str, Any],
    scaler: dict[str, Any],
    progress: Progress,
    sums: dict[str, float],
    architecture: dict[str, Any],
    expectations: Expectations,
) -> bytes:
    """The bytes of a ``.pth`` that ``torch.load(weights_only=True)`` reads.

    Randomness needs no state: order and augmentation come from (seed, epoch, index), and nothing else is drawn.
    """
    contents = {
        "model": model,
        "optimizer": optimizer,
        "scaler": scaler,
        "progress": asdict(progress),
        "sums": sums,
        "architecture": architecture,
        "expectations": expectations.to_plain(),
    }
    buffer = io.BytesIO()
    torch.save(contents, buffer)
    torch.load(io.BytesIO(buffer.getvalue()), weights_only=True, map_location="cpu")
    return buffer.getvalue()


def describe(
    data: bytes, progress: Progress, metrics: dict[str, float | None], parameters: dict[str, dict[str, Any]],
    configuration_sha256: str, dataset_sha256: str,
) -> Sidecar:  # fmt: skip
    """The sidecar of ``data``."""
    return Sidecar(
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        epoch=progress.epoch,
        step=progress.step,
        step_in_epoch=progress.step_in_epoch,
        val_loss=_finite(progress.val_loss),
        metrics={name: _finite(value) for name, value in metrics.items()},
        parameters=parameters,
        configuration_sha256=configuration_sha256,
        dataset_sha256=dataset_sha256,
        version=__version__,
        resumed_from=progress.resumed_from,
    )


def _finite(value: float | None) -> float | None:
    """JSON has no other numbers."""
    return value if value is not None and math.isfinite(value) else None


def save(paths: Iterable[Path], data: bytes, sidecar: Sidecar) -> None:
    """Writes the same checkpoint under each name, as separate files: one damaged copy leaves the others.

    Raises ``MachineError`` when the disk is full; what was there before is then still there, whole.
    """
    for path in paths:
        try:
            write_checkpoint(path, data, replace(sidecar, pinned=is_pinned(path)))
        except OSError as error:
            if error.errno not in _DISK_FULL:
                raise MachineError(f"cannot save the checkpoint {path}: {error.strerror or error}") from error
            raise MachineError(
                f"disk full: the checkpoint {path.name} needs {size(len(data))} in {path.parent}; "
                "the one before it is whole. Make room, then run the same command again"
            ) from error


def load(path: Path) -> Saved:
    """Reads a checkpoint, verified: ``InputError`` if it is damaged or is not one of ours."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    sidecar = vouched(path, data)
    try:
        contents = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise InputError(f"{path}: not a checkpoint: {sanitise(error, 200)}") from error
    if not isinstance(contents, dict) or not contents.keys() >= _CONTENTS:
        raise InputError(f"{path}: not a checkpoint of ecgconsole")
    return Saved(path, sidecar, contents)


def newest_verified(workspace: Workspace, reporter: Reporter) -> Saved | None:
    """What training goes on from: the latest or an epoch's, whichever whole one is furthest.

    Each damaged one that is passed over is named in a warning. None if there is none at all.
    """
    found = list_checkpoints(workspace)
    in_line = [c for c in found if c.path != workspace.best_checkpoint]
    best = [c for c in found if c.path == workspace.best_checkpoint]
    return _first_whole(in_line + best, reporter)


def best_verified(workspace: Workspace, reporter: Reporter) -> Saved | None:
    """The best checkpoint; if it is damaged, loudly, the whole one with the lowest validation loss."""
    found = list_checkpoints(workspace)

    def rank(checkpoint: Checkpoint) -> tuple[bool, float]:
        val_loss = checkpoint.sidecar.val_loss if checkpoint.sidecar else None
        return checkpoint.path != workspace.best_checkpoint, float("inf") if val_loss is None else val_loss

    return _first_whole(sorted(found, key=rank), reporter)


def _first_whole(checkpoints: list[Checkpoint], reporter: Reporter) -> Saved | None:
    for checkpoint in checkpoints:
        try:
            return load(checkpoint.path)
        except InputError as error:
            reporter.warning(
                "checkpoint-damaged",
                str(error),
                "it is passed over for the next whole one; `ecgconsole checkpoints verify` checks all",
            )
    return None
