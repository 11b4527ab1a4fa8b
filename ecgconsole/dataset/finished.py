"""Whether a dataset is already what a build would make: after a kill in its last moments, nothing is done twice."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ecgconsole.config import Config, flatten
from ecgconsole.dataset.people import Patient
from ecgconsole.dataset.plan import configuration_hash, identity_of
from ecgconsole.dataset.reader import Dataset
from ecgconsole.errors import InputError
from ecgconsole.workspace import Workspace

# What the files depend on.
MERGE_SETTINGS = ("data", "build", "clinical", "split")


def build_identity(config: Config, patients: Sequence[Patient]) -> str:
    """SHA-256 over all that the output files depend on: settings, recordings, clinical tables, the split file."""
    digest = hashlib.sha256(config.identity(MERGE_SETTINGS).encode())
    digest.update(identity_of(configuration_hash(config), patients).encode())
    for path in _clinical_files(config) + ([Path(config.split.file)] if config.split.file else []):
        stat = os.stat(path)
        digest.update(f"\n{path}\0{stat.st_size}\0{stat.st_mtime_ns}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def finished_result(workspace: Workspace, identity: str) -> dict[str, Any] | None:
    """The result of the build whose outputs are in place, verified; None where there is more to do.

    Shards are removed after everything else is written. So where there are none, all output files belong together.
    """
    outputs = (workspace.dataset, workspace.metadata, workspace.rejected, workspace.clinical_features)
    if any(workspace.shards.glob("shard-*")) or not all(path.exists() for path in outputs):
        return None
    try:
        with Dataset(workspace.dataset) as dataset:
            attributes = dataset.attributes
            if attributes.get("build_identity") != identity or not dataset.verify():
                return None
            return {
                "patients": attributes["patients"],
                "segments": dataset.n_segments,
                "rejected": attributes["rejected"],
                "bytes": workspace.dataset.stat().st_size,
                "content_sha256": dataset.content_sha256,
            }
    except InputError:
        # Damaged, or of another format: the build makes it anew.
        return None


def only_split_differs(workspace: Workspace, config: Config) -> bool:
    """Whether the dataset in place has the settings of ``config`` but for the split."""
    if not workspace.dataset.exists():
        return False
    try:
        with Dataset(workspace.dataset) as dataset:
            was = flatten(dataset.parameters)
    except InputError:
        return False
    wanted = {k: v for k, v in flatten(config.model_dump(mode="json")).items() if k in was}
    differ = {key for key, value in was.items() if wanted.get(key) != value}
    return bool(differ) and all(key.startswith("split.") for key in differ)


def _clinical_files(config: Config) -> list[Path]:
    if config.data.clinical_dir is None:
        return []
    return sorted(p for p in Path(config.data.clinical_dir).iterdir() if p.is_file())
