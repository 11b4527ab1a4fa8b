"""Checkpoints as files: which there are, whether they are whole, which are kept. Imports no torch.

A checkpoint is ``NAME.pth`` with ``NAME.json`` beside it, its sidecar, which holds the SHA-256 of the ``.pth``: torch
loads a file with a flipped bit without a word. Without a sidecar that matches, a checkpoint is damaged.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from ecgconsole.config import Config, differences
from ecgconsole.errors import ConfigurationError, InputError
from ecgconsole.text import sanitise
from ecgconsole.workspace import Workspace, replacing, sync, write_json

_EPOCH_FILES = "checkpoint_epoch_*.pth"


@dataclass(frozen=True)
class Sidecar:
    """What ``NAME.json`` says of ``NAME.pth``.

    ``epoch`` counts completed epochs, ``step_in_epoch`` the steps done of the next one (0: saved at an epoch's
    end). ``parameters`` are the sections ``model`` and ``training``; ``resumed_from`` is a file name.
    """

    sha256: str
    size_bytes: int
    epoch: int
    step: int
    step_in_epoch: int
    val_loss: float | None
    metrics: dict[str, float | None]
    parameters: dict[str, dict[str, Any]]
    configuration_sha256: str
    dataset_sha256: str
    version: str
    resumed_from: str | None = None
    pinned: bool = False


@dataclass(frozen=True)
class Checkpoint:
    """A ``.pth`` file as found. ``sidecar`` is None where there is none that can be read: ``problem`` says why."""

    path: Path
    sidecar: Sidecar | None
    problem: str | None
    modified: float

    @property
    def name(self) -> str:
        return self.path.name


def sidecar_path(path: Path) -> Path:
    return path.with_suffix(".json")


def pending_path(path: Path) -> Path:
    """The sidecar of a file that is about to be replaced; it becomes the sidecar once the file is.

    A kill between the two replacements leaves a whole new file with the old sidecar: this one vouches for it.
    """
    return path.with_name(f".{path.stem}.json.pending")


def find(workspace: Workspace, name: str) -> Path:
    """The checkpoint that a user names: ``best``, ``latest``, an epoch (``10``), a file name or a path."""
    candidates = [workspace.folder / name, workspace.folder / f"{name}.pth", Path(name)]
    if name in ("best", "latest"):
        candidates = [workspace.folder / f"{name}_checkpoint.pth"]
    elif name.isdigit():
        candidates = [workspace.epoch_checkpoint(int(name))]
    for path in candidates:
        if path.is_file() and path.suffix == ".pth":
            return path
    raise InputError(f"no checkpoint {sanitise(name)} in {workspace.folder}: `ecgconsole checkpoints list` shows them")


def list_checkpoints(workspace: Workspace) -> list[Checkpoint]:
    """Every ``.pth`` of the folder, newest step first; the sizes are compared, the bytes are not (``verify``)."""
    found = [_found(path) for path in workspace.folder.glob("*.pth")]
    return sorted(
        found, key=lambda c: (-(c.sidecar.step if c.sidecar else -1), c.name != "latest_checkpoint.pth", c.name)
    )


def verify(path: Path) -> Sidecar:
    """The sidecar, if the file's bytes are those it vouches for; else ``InputError`` says what is wrong."""
    return vouched(path, _bytes_of(path))


def problem_of(path: Path) -> str | None:
    """What ``verify`` would say is wrong; None: the file is whole."""
    try:
        verify(path)
    except InputError as error:
        return str(error)
    return None


def vouched(path: Path, data: bytes) -> Sidecar:
    """As ``verify``, for a file already read."""
    sha256 = hashlib.sha256(data).hexdigest()
    problem = ""
    for candidate in (sidecar_path(path), pending_path(path)):
        try:
            sidecar = _read_sidecar(candidate)
        except InputError as error:
            problem = problem or str(error)
            continue
        if sidecar.sha256 == sha256:
            return sidecar
        problem = problem or (
            f"{path}: damaged: {len(data)} bytes with SHA-256 {sha256[:12]}…, "
            f"its sidecar says {sidecar.size_bytes} bytes with {sanitise(sidecar.sha256, 13)}"
        )
    raise InputError(problem)


def why_kept(workspace: Workspace, keep: int) -> dict[Path, str]:
    """The checkpoints that rotation never deletes, each with the reason."""
    found = list_checkpoints(workspace)
    resumed_from = {c.sidecar.resumed_from for c in found if c.sidecar}
    newest = [c for c in found if c.sidecar and c.path.match(_EPOCH_FILES)][:keep]
    kept: dict[Path, str] = {}
    for c in found:
        if c.path == workspace.latest_checkpoint:
            kept[c.path] = "latest"
        elif c.path == workspace.best_checkpoint:
            kept[c.path] = "best"
        elif c.sidecar is None:
            kept[c.path] = "cannot be read"
        elif c.sidecar.pinned:
            kept[c.path] = "pinned"
        elif c.name in resumed_from:
            kept[c.path] = "resumed from"
        elif c in newest:
            kept[c.path] = f"newest {keep}"
        elif not c.path.match(_EPOCH_FILES):
            kept[c.path] = "not an epoch's"
    return kept


def in_use(workspace: Workspace, argv: Sequence[str]) -> set[Path]:
    """What a running job, started as ``argv``, has begun with or would begin again with: what ``--resume`` names, what
    was resumed from, and the newest whole one.
    """
    found = list_checkpoints(workspace)
    resumed_from = {c.sidecar.resumed_from for c in found if c.sidecar}
    used = {c.path for c in found if c.name in resumed_from}
    used |= {c.path for c in [c for c in found if not c.problem and c.sidecar][:1]}
    named = [b for a, b in pairwise(argv) if a == "--resume"] + [
        part.partition("=")[2] for part in argv if part.startswith("--resume=")
    ]
    for name in named:
        if name not in ("auto", "none"):
            with suppress(InputError):  # set aside since, or never there
                used.add(find(workspace, name))
    return {path.resolve() for path in used}


def prune(workspace: Workspace, keep: int, used: Collection[Path] = ()) -> list[Path]:
    """Deletes the epoch checkpoints that nothing keeps, and that are not ``used``; returns them."""
    kept = why_kept(workspace, keep)
    doomed = [c.path for c in list_checkpoints(workspace) if c.path not in kept and c.path.resolve() not in used]
    for path in doomed:
        _remove(path)
    return doomed


def delete(workspace: Workspace, path: Path, used: Collection[Path] = ()) -> None:
    """Deletes one; refuses the latest, the best, a pinned one and what is ``used`` (``in_use``) by a running job."""
    kept = {p.resolve(): reason for p, reason in why_kept(workspace, keep=1).items()}
    reason = kept.get(path.resolve())
    if reason in ("latest", "best", "pinned"):
        raise ConfigurationError(f"{path.name} is not deleted: it is {'' if reason == 'pinned' else 'the '}{reason}")
    if path.resolve() in used:
        raise ConfigurationError(f"{path.name} is not deleted: the running job uses it; stop it first, or delete later")
    _remove(path)


def pin(path: Path, pinned: bool = True) -> None:
    """Rotation never deletes a pinned checkpoint."""
    write_sidecar(sidecar_path(path), replace(verify(path), pinned=pinned))


def is_pinned(path: Path) -> bool:
    """An epoch that is trained again, after a kill, stays pinned; latest and best are other checkpoints each time."""
    if not path.match(_EPOCH_FILES) or not path.exists():
        return False
    sidecar = _found(path).sidecar
    return sidecar is not None and sidecar.pinned


def is_same(path: Path, sidecar: Sidecar) -> bool:
    """Whether ``path`` is whole and holds the bytes that ``sidecar`` describes."""
    try:
        return verify(path).sha256 == sidecar.sha256
    except InputError:
        return False


def parameter_differences(sidecar: Sidecar, config: Config) -> dict[str, tuple[Any, Any]]:
    """Dotted keys of ``model`` and ``training`` whose values differ: in the checkpoint, in ``config``.

    A parameter that is newer than the checkpoint counts as what it is by default: that changes nothing.
    """
    now, default = (c.model_dump(mode="json", include={"model", "training"}) for c in (config, Config()))
    then = {section: {**default[section], **sidecar.parameters.get(section, {})} for section in now}
    return differences(then, now)


def set_aside(workspace: Workspace, after_step: int = -1, but: Path | None = None) -> Path | None:
    """Moves checkpoints newer than ``after_step`` (default: all), except ``but``, to ``previous/<time>/``.

    Returns that folder; None if there was nothing to move.
    """
    moved = [
        c.path
        for c in list_checkpoints(workspace)
        if c.path != but and (c.sidecar is None or c.sidecar.step > after_step)
    ]
    if not moved:
        return None
    stamp = time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime())
    numbers = range(len(moved) + 10_000)
    names = (stamp if n == 0 else f"{stamp}-{n}" for n in numbers)
    folder = next(f for f in (workspace.folder / "previous" / name for name in names) if not f.exists())
    folder.mkdir(parents=True)
    for path in moved:
        for part in (path, sidecar_path(path), pending_path(path)):
            if part.exists():
                os.replace(part, folder / part.name)
    sync(folder)
    sync(workspace.folder)
    return folder


def write_sidecar(path: Path, sidecar: Sidecar) -> None:
    write_json(path, asdict(sidecar))


def write_checkpoint(path: Path, data: bytes, sidecar: Sidecar) -> None:
    """The file and its sidecar, each whole or absent; at every moment a whole checkpoint is there, old or new."""
    write_sidecar(pending_path(path), sidecar)
    with replacing(path) as temporary:
        temporary.write_bytes(data)
        sync(temporary)
        if hashlib.sha256(temporary.read_bytes()).hexdigest() != sidecar.sha256:
            raise OSError(f"{path}: what was read back is not what was written")
    os.replace(pending_path(path), sidecar_path(path))
    sync(path.parent)


def _found(path: Path) -> Checkpoint:
    status = path.stat()
    try:
        sidecar = _read_sidecar(sidecar_path(path))
        if sidecar.size_bytes != status.st_size and pending_path(path).exists():
            sidecar = _read_sidecar(pending_path(path))
    except InputError as error:
        return Checkpoint(path, None, str(error), status.st_mtime)
    problem = None
    if sidecar.size_bytes != status.st_size:
        problem = f"{path}: damaged: {status.st_size} bytes, its sidecar says {sidecar.size_bytes}"
    return Checkpoint(path, sidecar, problem, status.st_mtime)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the checkpoint {path}: {error.strerror}") from error


def _read_sidecar(path: Path) -> Sidecar:
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path.with_suffix('.pth')}: its sidecar {path.name} is missing") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {sanitise(error, 200)}") from error
    if not isinstance(data, Mapping) or not _is_sidecar(data):
        raise InputError(f"{path}: not the sidecar of a checkpoint")
    return Sidecar(**{name: data[name] for name in Sidecar.__dataclass_fields__ if name in data})


def _is_sidecar(data: Mapping[str, Any]) -> bool:
    kinds: dict[str, type | tuple[type, ...]] = {
        "sha256": str,
        "size_bytes": int,
        "epoch": int,
        "step": int,
        "step_in_epoch": int,
        "val_loss": (int, float, type(None)),
        "metrics": dict,
        "parameters": dict,
        "configuration_sha256": str,
        "dataset_sha256": str,
        "version": str,
    }
    return all(name in data and isinstance(data[name], kind) for name, kind in kinds.items())


def _remove(path: Path) -> None:
    """The file first: a sidecar alone is harmless, a checkpoint without one looks damaged."""
    for part in (path, sidecar_path(path), pending_path(path)):
        part.unlink(missing_ok=True)
