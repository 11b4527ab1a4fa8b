"""Whether a dataset is already what a build would make: after a kill in its last moments, nothing is done twice."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ecgconsole.config import Config
from ecgconsole.dataset.people import Patient
from ecgconsole.dataset.plan import configuration_hash, identity_of
from ecgconsole.dataset.reader import Dataset
from ecgconsole.errors import InputError
from ecgconsole.workspace import Workspace

# What the files depend on, and what only the columns of the split do.
MERGE_SETTINGS = ("data", "build", "clinical")
SPLIT_SETTINGS = ("split",)


def build_identity(config: Config, patients: Sequence[Patient]) -> str:
    """All that the output files depend on, as two SHA-256 joined by a dot: of settings, recordings and clinical
    tables; and of the split's settings and file."""
    digest = hashlib.sha256(config.identity(MERGE_SETTINGS).encode())
    digest.update(identity_of(configuration_hash(config), patients).encode())
    _add_files(digest, _clinical_files(config))
    of_split = hashlib.sha256(config.identity(SPLIT_SETTINGS).encode())
    _add_files(of_split, [Path(config.split.file)] if config.split.file else [])
    return f"{digest.hexdigest()}.{of_split.hexdigest()}"


def finished_result(workspace: Workspace, identity: str) -> dict[str, Any] | None:
    """The result of the build whose outputs are in place, verified; None where there is more to do."""
    if split_marker(workspace).exists() or identity_in_place(workspace) != identity:
        return None
    try:
        with Dataset(workspace.dataset) as dataset:
            if not dataset.verify():
                return None
        return result_in_place(workspace)
    except InputError:
        # Damaged: the build makes it anew.
        return None


def identity_in_place(workspace: Workspace) -> str | None:
    """The ``build_identity`` of the build whose outputs are in place, all of them; None where there is none.

    Shards are removed after everything else is written. So where there are none, all output files belong together
    (but see ``split_marker``).
    """
    outputs = (workspace.dataset, workspace.metadata, workspace.rejected, workspace.clinical_features)
    if any(workspace.shards.glob("shard-*")) or not all(path.exists() for path in outputs):
        return None
    try:
        with Dataset(workspace.dataset) as dataset:
            return str(dataset.attributes.get("build_identity"))
    except InputError:
        # Damaged, or of another format: the build makes it anew.
        return None


def result_in_place(workspace: Workspace) -> dict[str, Any]:
    """What the stage returns, from the dataset file. Raises ``InputError``."""
    with Dataset(workspace.dataset) as dataset:
        return {
            "patients": dataset.attributes["patients"],
            "segments": dataset.n_segments,
            "rejected": dataset.attributes["rejected"],
            "bytes": workspace.dataset.stat().st_size,
            "content_sha256": dataset.content_sha256,
        }


def split_marker(workspace: Workspace) -> Path:
    """Exists while output files with different splits may lie side by side."""
    return workspace.shards / "split-in-change"


def _add_files(digest: Any, paths: Sequence[Path]) -> None:
    for path in paths:
        stat = os.stat(path)
        digest.update(f"\n{path}\0{stat.st_size}\0{stat.st_mtime_ns}".encode("utf-8", "surrogateescape"))


def _clinical_files(config: Config) -> list[Path]:
    if config.data.clinical_dir is None:
        return []
    return sorted(p for p in Path(config.data.clinical_dir).iterdir() if p.is_file())
