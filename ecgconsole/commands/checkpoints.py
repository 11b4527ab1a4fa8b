"""``checkpoints``: what there is, whether it is whole, what is kept."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecgconsole.commands.options import FolderOption, JsonOption, resolved, say, say_json, workspace_of
from ecgconsole.errors import ConfigurationError, InputError
from ecgconsole.text import count, duration, sanitise, size
from ecgconsole.workspace import Workspace

if TYPE_CHECKING:
    from ecgconsole.training.checkpoints_index import Checkpoint

app = typer.Typer(help="Checkpoints: list, show, verify, pin, delete, prune.", rich_markup_mode=None)

NameArgument = Annotated[
    str, typer.Argument(metavar="CHECKPOINT", help="best, latest, an epoch, a file name or a path")
]
OptionalName = Annotated[str | None, typer.Argument(metavar="[CHECKPOINT]", help="default: all", show_default=False)]


@app.command("list")
def list_(folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """Every checkpoint, newest first: epoch, step, validation loss, age, size, why it is kept, verified or not."""
    from ecgconsole.training.checkpoints_index import list_checkpoints, problem_of, why_kept

    workspace = workspace_of(folder, must_exist=True)
    found = list_checkpoints(workspace)
    kept = why_kept(workspace, _keep(workspace))
    problems = {c.path: problem_of(c.path) for c in found}
    if as_json:
        say_json([_facts(c, kept.get(c.path), problems[c.path]) for c in found])
        return
    if not found:
        say(f"no checkpoints in {workspace.folder}")
        return
    say(f"{'epoch':>5}  {'step':>9}  {'val loss':>8}  {'age':>8}  {'size':>8}  {'kept because':14}  {'state':10}  file")
    for c in found:
        s = c.sidecar
        loss = "–" if s is None or s.val_loss is None else f"{s.val_loss:.4g}"
        epoch, step = (f"{s.epoch}", f"{s.step:,}") if s else ("–", "–")
        n_bytes = size(c.path.stat().st_size)
        problem = problems[c.path]
        state = "✖ damaged" if problem else "✔ verified"
        say(
            f"{epoch:>5}  {step:>9}  {loss:>8}  {duration(time.time() - c.modified):>8}  {n_bytes:>8}  "
            f"{kept.get(c.path, '–'):14}  {state:10}  {sanitise(c.name)}"
        )
        if problem:
            say(f"       {sanitise(problem)}")


@app.command()
def show(name: NameArgument, folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """What one checkpoint is, and which of its parameters differ from the folder's current ones."""
    from ecgconsole.training.checkpoints_index import find, parameter_differences, verify

    workspace = workspace_of(folder, must_exist=True)
    path = find(workspace, name)
    sidecar = verify(path)
    differing = parameter_differences(sidecar, resolved(workspace, None, None).config)
    facts = {
        "path": str(path),
        "epoch": sidecar.epoch,
        "step": sidecar.step,
        "val_loss": sidecar.val_loss,
        "metrics": sidecar.metrics,
        "sha256": sidecar.sha256,
        "size_bytes": sidecar.size_bytes,
        "pinned": sidecar.pinned,
        "resumed_from": sidecar.resumed_from,
        "version": sidecar.version,
        "dataset_sha256": sidecar.dataset_sha256,
    }
    if as_json:
        say_json({**facts, "parameters": sidecar.parameters, "differences": {k: list(v) for k, v in differing.items()}})
        return
    for key, value in facts.items():
        say(sanitise(f"{key:15} {value if isinstance(value, str) else json.dumps(value)}"))
    for key, (one, other) in differing.items():
        say(sanitise(f"differs: {key}  {json.dumps(one)} → {json.dumps(other)}"))
    say("verified: its bytes are those that its record vouches for")


@app.command()
def verify(name: OptionalName = None, folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """Reads one checkpoint, or all, and compares SHA-256 with its record. Exit code 3 if any is damaged."""
    from ecgconsole.training import checkpoints_index as index

    workspace = workspace_of(folder, must_exist=True)
    paths = [index.find(workspace, name)] if name else [c.path for c in index.list_checkpoints(workspace)]
    if not paths:
        raise InputError(f"no checkpoints in {workspace.folder}")
    problems = {path: index.problem_of(path) for path in paths}
    if as_json:
        say_json([{"path": str(p), "verified": problem is None, "problem": problem} for p, problem in problems.items()])
    else:
        for path, problem in problems.items():
            say(sanitise(f"{'✔' if problem is None else '✖'} {path.name}" + (f"  {problem}" if problem else "")))
    damaged = [p.name for p, problem in problems.items() if problem]
    if damaged:
        raise InputError(f"{count(len(damaged), 'checkpoint')} damaged: {sanitise(', '.join(damaged))}")


@app.command()
def pin(
    name: NameArgument,
    folder: FolderOption = None,
    undo: Annotated[bool, typer.Option("--undo", help="let rotation delete it again")] = False,
    as_json: JsonOption = False,
) -> None:
    """Keeps a checkpoint for good."""
    from ecgconsole.training import checkpoints_index as index

    path = index.find(workspace_of(folder, must_exist=True), name)
    index.pin(path, not undo)
    _done(as_json, {"path": str(path), "pinned": not undo}, f"{path.name} {'unpinned' if undo else 'pinned'}")


@app.command()
def delete(
    name: NameArgument,
    folder: FolderOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="without asking")] = False,
    as_json: JsonOption = False,
) -> None:
    """Deletes one; never the latest, the best, a pinned one or one that a running job uses."""
    from ecgconsole.training import checkpoints_index as index

    workspace = workspace_of(folder, must_exist=True)
    path = index.find(workspace, name)
    _agree(yes or as_json, f"Delete {path.name}?")
    index.delete(workspace, path, _used(workspace))
    _done(as_json, {"deleted": [str(path)]}, f"deleted {path.name}")


@app.command()
def prune(
    folder: FolderOption = None,
    keep: Annotated[int | None, typer.Option("--keep", metavar="N", min=1, show_default=False)] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="without asking")] = False,
    as_json: JsonOption = False,
) -> None:
    """Deletes epoch checkpoints but the newest (training.keep_checkpoints), best, latest, pinned ones."""
    from ecgconsole.training import checkpoints_index as index

    workspace = workspace_of(folder, must_exist=True)
    kept = index.why_kept(workspace, keep or _keep(workspace))
    used = _used(workspace)
    doomed = [c.name for c in index.list_checkpoints(workspace) if c.path not in kept and c.path.resolve() not in used]
    if doomed:
        _agree(yes or as_json, f"Delete {sanitise(', '.join(doomed))}?")
    deleted = index.prune(workspace, keep or _keep(workspace), used)
    _done(as_json, {"deleted": [str(p) for p in deleted]}, f"deleted {count(len(deleted), 'checkpoint')}")


def _used(workspace: Workspace) -> set[Path]:
    """What the job that runs there uses."""
    from ecgconsole.jobs.state import running_argv
    from ecgconsole.training.checkpoints_index import in_use

    argv = running_argv(workspace)
    return set() if argv is None else in_use(workspace, argv)


def _keep(workspace: Workspace) -> int:
    return resolved(workspace, None, None).config.training.keep_checkpoints


def _facts(c: Checkpoint, kept: str | None, problem: str | None) -> dict[str, Any]:
    s = c.sidecar
    return {
        "path": str(c.path),
        "epoch": s and s.epoch,
        "step": s and s.step,
        "val_loss": s and s.val_loss,
        "metrics": s and s.metrics,
        "sha256": s and s.sha256,
        "pinned": bool(s and s.pinned),
        "size_bytes": c.path.stat().st_size,
        "modified": c.modified,
        "kept_because": kept,
        "verified": problem is None,
        "problem": problem,
    }


def _agree(yes: bool, question: str) -> None:
    """Asks on a terminal; without one, ``--yes`` is needed."""
    import sys

    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigurationError("deleting needs --yes where nobody can be asked")
    if not typer.confirm(question):
        raise typer.Exit(1)


def _done(as_json: bool, facts: dict[str, Any], text: str) -> None:
    if as_json:
        say_json(facts)
    else:
        say(text)
