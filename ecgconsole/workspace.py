"""The output folder: the name of every file in it, and writes that are whole or absent."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Workspace:
    """Paths of an output folder. Creates nothing until something is written."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).absolute()

    @property
    def config(self) -> Path:
        return self.folder / "config.json"

    @property
    def stages(self) -> Path:
        """Which stages are done, from which inputs: see ``ecgconsole.jobs.done``."""
        return self.folder / "stages.json"

    @property
    def lock(self) -> Path:
        return self.folder / "job.lock"

    @property
    def log(self) -> Path:
        return self.folder / "production.log"

    @property
    def dataset(self) -> Path:
        return self.folder / "full_dataset.h5"

    @property
    def header_index(self) -> Path:
        """What the last scan of headers found: see ``ecgconsole.dataset.header_index``."""
        return self.folder / "header_index.jsonl.gz"

    @property
    def metadata(self) -> Path:
        return self.folder / "full_dataset_metadata.parquet"

    @property
    def rejected(self) -> Path:
        return self.folder / "rejected.parquet"

    @property
    def clinical_features(self) -> Path:
        return self.folder / "clinical_features.csv"

    @property
    def shards(self) -> Path:
        return self.folder / "shards"

    @property
    def latest_checkpoint(self) -> Path:
        return self.folder / "latest_checkpoint.pth"

    @property
    def best_checkpoint(self) -> Path:
        return self.folder / "best_checkpoint.pth"

    def epoch_checkpoint(self, epoch: int) -> Path:
        return self.folder / f"checkpoint_epoch_{epoch}.pth"

    @property
    def tensorboard(self) -> Path:
        """Event files, where ``training.tensorboard`` asks for them."""
        return self.folder / "tensorboard"

    @property
    def exported_encoder(self) -> Path:
        return self.folder / "encoder.pt2"

    def embeddings(self, split: str) -> Path:
        return self.folder / "embeddings" / f"{split}_embeddings.npz"

    @property
    def train_embeddings(self) -> Path:
        return self.embeddings("train")

    @property
    def val_embeddings(self) -> Path:
        return self.embeddings("val")

    @property
    def test_embeddings(self) -> Path:
        return self.embeddings("test")

    @property
    def patterns(self) -> Path:
        return self.folder / "discovered_patterns.json"

    @property
    def pattern_model(self) -> Path:
        """Whitening and centroids of the patterns, plain arrays."""
        return self.folder / "pattern_model.npz"

    @property
    def assignments(self) -> Path:
        """A row a segment: its pattern."""
        return self.folder / "pattern_assignments.parquet"

    @property
    def patient_embeddings(self) -> Path:
        """A row a patient: mean embedding components."""
        return self.folder / "patient_embeddings.parquet"

    @property
    def validation(self) -> Path:
        return self.folder / "validation.json"

    @property
    def stroke_risk(self) -> Path:
        return self.folder / "stroke_risk.json"

    @property
    def stroke_model(self) -> Path:
        """Coefficients of the fitted risk models, as JSON."""
        return self.folder / "stroke_model.json"

    @property
    def stroke_predictions(self) -> Path:
        """A row a patient, endpoint and model: predictions out of fold and of the final model."""
        return self.folder / "stroke_predictions.parquet"

    @property
    def risk_predictions(self) -> Path:
        """A row a patient, endpoint and model: what ``ecgconsole predict`` says of this folder."""
        return self.folder / "risk_predictions.csv"

    @property
    def report(self) -> Path:
        """Everything on one page."""
        return self.folder / "report.html"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def run(self, run_id: str) -> RunFolder:
        return RunFolder(self.runs / run_id)

    def run_ids(self) -> list[str]:
        """Oldest first."""
        if not self.runs.is_dir():
            return []
        return sorted((p.name for p in self.runs.iterdir() if p.name.isdigit()), key=int)

    def new_run(self) -> RunFolder:
        """Makes the next run's folder (``runs/0007``)."""
        ids = self.run_ids()
        number = int(ids[-1]) + 1 if ids else 1
        folder = self.runs / f"{number:04d}"
        folder.mkdir(parents=True)
        return RunFolder(folder)

    def salt(self) -> bytes:
        """This folder's secret for patient aliases, made on first use."""
        path = self.folder / ".alias_salt"
        if not path.exists():
            write_atomically(path, secrets.token_bytes(16))
        return path.read_bytes()


class RunFolder:
    """Paths of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run_id = folder.name
        self.state = folder / "state.json"
        self.config = folder / "config.json"
        self.events = folder / "events.jsonl"
        self.gauges = folder / "gauges.jsonl"
        self.control = folder / "control.jsonl"
        self.engine_log = folder / "engine.log"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path``; on success it replaces ``path``, durably.

    On an exception the temporary file is removed and ``path`` is as it was. Temporary names start
    with ``.`` and end in ``.partial``: whatever a kill leaves behind can be swept by that pattern.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes | str) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def write_json(path: Path, data: Any) -> None:
    write_atomically(path, json.dumps(data, indent=2, allow_nan=False) + "\n")


def sync(path: Path) -> None:
    """fsync of a file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep_partial(folder: Path) -> None:
    """Removes what interrupted writes left behind. Only whoever holds the folder's lock may call it."""
    for path in folder.glob(".*.partial"):
        path.unlink(missing_ok=True)
