"""Whether a dataset is already what a build would make: after a kill in its last moments, nothing is done twice."""

from __future__ import annotations

from typing import Any

from ecgconsole.dataset.identity import split_marker
from ecgconsole.dataset.reader import Dataset
from ecgconsole.errors import InputError
from ecgconsole.workspace import Workspace


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
