"""What an output folder holds for the report: whatever is there is read, whatever is not is None."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ecgconsole.errors import InputError
from ecgconsole.findings.provenance import file_sha256
from ecgconsole.text import sanitise
from ecgconsole.workspace import Workspace


@dataclass(frozen=True)
class Sources:
    """Results by stage. ``metrics``: training's own words, in the order of steps, of the training that counts.

    ``checkpoint`` is the sidecar of the best checkpoint. Documents are as the stages wrote them.
    """

    workspace: Workspace
    metadata: pd.DataFrame | None
    rejected: pd.DataFrame | None
    checkpoint: dict[str, Any] | None
    metrics: list[dict[str, Any]]
    patterns: dict[str, Any] | None
    validation: dict[str, Any] | None
    stroke: dict[str, Any] | None

    @property
    def dataset(self) -> Path | None:
        return self.workspace.dataset if self.workspace.dataset.is_file() else None

    @property
    def embeddings(self) -> list[Path]:
        found = (self.workspace.embeddings(split) for split in ("train", "val", "test"))
        return [path for path in found if path.is_file()]

    def missing(self) -> list[str]:
        """Stages whose results are not in the folder, in the pipeline's order."""
        there = {
            "build": self.dataset is not None,
            "train": self.checkpoint is not None,
            "embed": bool(self.embeddings),
            "discover": self.patterns is not None,
            "validate": self.validation is not None,
            "stroke": self.stroke is not None,
        }
        return [name for name, found in there.items() if not found]

    def disagreements(self) -> list[str]:
        """Results that were made from other files than those that lie here now."""
        found = []
        for what, stage, document, key in (
            ("The patterns", "discover", self.patterns, "embeddings"),
            ("The associations", "validate", self.validation, "patterns"),
            ("The associations", "validate", self.validation, "metadata"),
            ("The risk models", "stroke", self.stroke, "features"),
        ):
            named = (document or {}).get(key) or []
            for entry in [named] if isinstance(named, dict) else named:
                name = Path(str(entry["file"])).name
                places = (self.workspace.folder / name, self.workspace.folder / "embeddings" / name)
                present = [p for p in places if p.is_file()]
                if not present:
                    found.append(f"{what} were made from {name}, which is not in this folder.")
                elif all(file_sha256(p) != entry["sha256"] for p in present):
                    found.append(f"{what} were made from another {name} than the one here; run {stage} again.")
        return found


def read_sources(workspace: Workspace) -> Sources:
    """Raises ``InputError`` for a file that is there but cannot be read."""
    return Sources(
        workspace=workspace,
        metadata=_table(workspace.metadata),
        rejected=_table(workspace.rejected),
        checkpoint=_document(workspace.best_checkpoint.with_suffix(".json"), "train"),
        metrics=training_metrics(workspace),
        patterns=_document(workspace.patterns, "discover"),
        validation=_document(workspace.validation, "validate"),
        stroke=_document(workspace.stroke_risk, "stroke"),
    )


def training_metrics(workspace: Workspace) -> list[dict[str, Any]]:
    """``metric`` events of the training that the checkpoints come from: {``step``, ``epoch``, ``values``}.

    A run that resumes continues the line; what an earlier run had done beyond that step never counted. A run
    that began anew replaces it.
    """
    kept: list[dict[str, Any]] = []
    for run_id in workspace.run_ids():
        found = [
            {"step": e["step"], "epoch": e["epoch"], "values": e["values"]}
            for e in _events(workspace.run(run_id).events)
            if e.get("kind") == "metric" and e.get("stage") == "train" and isinstance(e.get("values"), dict)
        ]
        if found:
            kept = [m for m in kept if m["step"] < found[0]["step"]] + found
    return kept


def _events(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # a line that a kill has torn
        if isinstance(event, dict):
            yield event


def _document(path: Path, stage: str) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({sanitise(error, 200)}); run {stage} again") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: not what the stage {stage} writes; run it again")
    return found


def _table(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as Parquet ({sanitise(error, 200)}); run build again") from error
