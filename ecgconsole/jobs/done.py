"""Which stages are done, from what: ``stages.json``. A stage whose inputs have not changed is skipped.

A stage's inputs are its parameters (those that change a result), the files and folders that its
parameters name, the stages before it, and the options it was given. Files are known by path, size and
modification time: reading 60 GB to learn that nothing changed would defeat the purpose.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ecgconsole.config import Config
from ecgconsole.errors import InputError
from ecgconsole.stage import Stage
from ecgconsole.workspace import Workspace, write_json

_FORMAT = 1
_RESULT_OPTIONS = ("checkpoint", "embeddings", "patterns", "features")  # rebuild and resume lead to the same result
_CHANGED = {
    "settings": "parameters changed",
    "files": "input files changed",
    "upstream": "an earlier stage's results changed",
    "options": "other options",
}


@dataclass(frozen=True)
class Inputs:
    """Digests of all that a stage's results depend on."""

    settings: str
    files: str
    upstream: str
    options: str


def inputs_of(
    stage: Stage,
    config: Config,
    workspace: Workspace,
    options: Mapping[str, Any],
    stages: tuple[Stage, ...],
    check: Callable[[], None] = lambda: None,
) -> Inputs:
    """``check`` is called once a folder, and may raise to give up a long walk."""
    files = {key: files_digest(config.get(key), check) for key in stage.paths}
    upstream = {s.name: identity_of(s, workspace) for s in stages if s.name in stage.after}
    named = {k: [v] if isinstance(v, str) else v for k, v in sorted(options.items()) if k in _RESULT_OPTIONS}
    given = {k: [[path, files_digest(path, check)] for path in paths] for k, paths in named.items()}
    return Inputs(config.identity(stage.settings), _digest(files), _digest(upstream), _digest(given))


def why_not_done(stage: Stage, inputs: Inputs, workspace: Workspace) -> str | None:
    """The reason to run the stage, or None when it is done and nothing changed."""
    record = read_records(workspace).get(stage.name)
    if record is None:
        return "not done yet"
    changed = [text for key, text in _CHANGED.items() if record.get("inputs", {}).get(key) != getattr(inputs, key)]
    if changed:
        return ", ".join(changed)
    return None if record.get("outputs") == _outputs(stage, workspace) else "its files changed or are missing"


def record_done(stage: Stage, inputs: Inputs, workspace: Workspace, result: dict[str, Any], run_id: str) -> None:
    records = read_records(workspace)
    identity = result.get("content_sha256") or _content_digest(stage, workspace)
    records[stage.name] = {
        "inputs": asdict(inputs),
        "outputs": _outputs(stage, workspace),
        "result": result,
        "identity": identity,
        "run_id": run_id,
    }
    write_json(workspace.stages, {"format": _FORMAT, "stages": records})


def read_records(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """By stage name. A file that cannot be read, or of another format, says that nothing is done."""
    try:
        data = json.loads(workspace.stages.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(data, dict) or data.get("format") != _FORMAT or not isinstance(data.get("stages"), dict):
        return {}
    return {k: v for k, v in data["stages"].items() if isinstance(v, dict)}


def identity_of(stage: Stage, workspace: Workspace) -> str:
    """What the stage's present results are: content where it is recorded, else the files' size and time."""
    record, outputs = read_records(workspace).get(stage.name), _outputs(stage, workspace)
    if record and record.get("outputs") == outputs and isinstance(record.get("identity"), str):
        return str(record["identity"])
    return _digest(outputs)


def files_digest(path: str | None, check: Callable[[], None] = lambda: None) -> str | None:
    """SHA-256 over relative path, size and time of each file below a path; links are followed.

    What cannot be looked at below the path counts by its error: the stage knows what it costs. Raises ``InputError``
    where the path itself cannot be read.
    """
    if path is None:
        return None
    hasher = hashlib.sha256()
    try:
        if os.path.isdir(path):
            _walk(path, "", hasher.update, check, set())
        elif os.path.exists(path):
            status = os.stat(path)
            hasher.update(f"{status.st_size} {status.st_mtime_ns}".encode())
        else:
            return "absent"  # the stage says so, better than we could
    except OSError as error:
        raise InputError(f"cannot read {error.filename or path}: {error.strerror}") from error
    return hasher.hexdigest()


def _walk(
    root: str, below: str, update: Callable[[bytes], None], check: Callable[[], None], above: set[tuple[int, int]]
) -> None:
    check()
    folder = os.path.join(root, below)
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in above:
        return  # a link to a folder that it lies in
    above = above | {(status.st_dev, status.st_ino)}
    with os.scandir(folder) as scan:
        entries = sorted(scan, key=lambda e: os.fsencode(e.name))
    for entry in entries:
        relative = os.path.join(below, entry.name)
        try:
            if entry.is_dir():
                _walk(root, relative, update, check, above)
                continue
            status = entry.stat()
        except FileNotFoundError:
            update(os.fsencode(relative) + b" absent\n")  # a dangling link
            continue
        except OSError as error:  # no permission, a bad place of the disk
            update(os.fsencode(relative) + f" error {error.errno}\n".encode())
            continue
        update(os.fsencode(relative) + f" {status.st_size} {status.st_mtime_ns}\n".encode())


def _outputs(stage: Stage, workspace: Workspace) -> dict[str, Any]:
    """Size and time of each output file, None for one that is not there."""
    found: dict[str, Any] = {}
    for path in _output_paths(stage, workspace):
        try:
            status = path.stat()
            found[str(path.relative_to(workspace.folder))] = [status.st_size, status.st_mtime_ns]
        except FileNotFoundError:
            found[str(path.relative_to(workspace.folder))] = None
    return found


def _output_paths(stage: Stage, workspace: Workspace) -> list[Path]:
    return [getattr(workspace, name) for name in stage.outputs]


def _content_digest(stage: Stage, workspace: Workspace) -> str:
    hasher = hashlib.sha256()
    for path in _output_paths(stage, workspace):
        hasher.update(path.name.encode())
        if path.is_file():
            with path.open("rb") as file:
                hasher.update(hashlib.file_digest(file, "sha256").digest())
    return hasher.hexdigest()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
