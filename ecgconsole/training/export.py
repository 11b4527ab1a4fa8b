"""The trained encoder as one portable file: a graph with its weights that needs torch, and nothing of ours."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgconsole import __version__
from ecgconsole.dataset import Dataset
from ecgconsole.errors import EcgConsoleError, InputError
from ecgconsole.text import sanitise
from ecgconsole.training.checkpoints import Saved
from ecgconsole.training.encoder import SD_FLOOR, Model, segment_embedding
from ecgconsole.training.expectations import Expectations
from ecgconsole.workspace import replacing, write_json

# Largest difference to the original, in standard deviations of its embeddings: float32 sums in another order.
TOLERANCE = 1e-4
CHECKED_SEGMENTS = 256
METADATA = "ecgconsole.json"
_EXAMPLE_SEGMENTS = 3
CARD = (
    "Embeds windows of ECG (mV) and PPG (NU), filtered as stated, for research on rhythm. Not a medical device: it was "
    "not tested for diagnosis, and no decision about a person may rest on it. What it learnt is of the recordings it "
    "was trained on; other sensors, places and people may embed differently."
)


class Portable(nn.Module):
    """(n, 2, T) in mV and NU and bool (n, 2), which signals are present, to (n, embedding_dim)."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.encoders = model.encoders

    def forward(self, signal: Tensor, present: Tensor) -> Tensor:
        vectors = torch.stack([encoder(signal[:, c]) for c, encoder in enumerate(self.encoders)], dim=1)
        return segment_embedding(vectors, present)


@dataclass(frozen=True)
class Exported:
    """What was written, and how far it is from the original (in standard deviations of the embeddings)."""

    path: Path
    sha256: str
    checked_segments: int
    largest_difference: float


def export(model: Model, saved: Saved, dataset: Dataset | None, path: Path) -> Exported:
    """Writes ``path`` (``.pt2``, torch.export) with a ``.json`` beside it, after a check on real segments.

    Without a dataset the check is on noise. Raises ``EcgConsoleError`` where the file does not say what the model
    says, within ``TOLERANCE``.
    """
    model = model.cpu().eval()
    expectations = saved.expectations
    signal, present = _segments(dataset, expectations)
    segments = torch.export.Dim("segments", min=1)
    example = (signal[:_EXAMPLE_SEGMENTS], present[:_EXAMPLE_SEGMENTS])
    with torch.no_grad():
        program = torch.export.export(
            Portable(model), example, dynamic_shapes={"signal": {0: segments}, "present": {0: segments}}
        )
    facts = {
        "expectations": expectations.to_plain(),
        "embedding_dim": model.embedding_dim,
        "inputs": {"signal": "float32 (n, 2, T): ECG in mV, PPG in NU, zeros where absent", "present": "bool (n, 2)"},
        "checkpoint_sha256": saved.sidecar.sha256,
        "dataset_sha256": saved.sidecar.dataset_sha256,
        "epoch": saved.sidecar.epoch,
        "version": __version__,
        "torch": torch.__version__,
        "card": CARD,
    }
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            torch.export.save(program, file, extra_files={METADATA: json.dumps(facts)})
        # Of the file as it will be read, not of the program in memory.
        encode, _ = load_portable(temporary)
        with torch.no_grad():
            expected = segment_embedding(model.encode(signal, present), present).numpy()
        difference = float(
            np.abs(encode(signal.numpy(), present.numpy()) - expected).max() / max(expected.std(), 1e-12)
        )
        if not difference <= TOLERANCE:
            raise EcgConsoleError(
                f"the exported encoder differs from the original by {difference:.2g} standard deviations on "
                f"{len(signal)} segments (at most {TOLERANCE:g}): nothing was written"
            )
        exported = Exported(path, hashlib.sha256(temporary.read_bytes()).hexdigest(), len(signal), difference)
    checked = {"sha256": exported.sha256, "checked_segments": len(signal), "largest_difference_sd": difference}
    write_json(path.with_suffix(".json"), {**facts, **checked, "tolerance_sd": TOLERANCE})
    return exported


def load_portable(
    path: Path,
) -> tuple[Callable[[NDArray[np.float32], NDArray[np.bool_]], NDArray[np.float32]], Expectations]:
    """The function of an exported file, on the CPU, and what it expects. Raises ``InputError``."""
    extra = {METADATA: ""}
    try:
        with path.open("rb") as file:
            module = torch.export.load(file, extra_files=extra).module()
        expectations = Expectations.from_plain(json.loads(extra[METADATA])["expectations"])
    except (OSError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not an encoder that `ecgconsole export` wrote: {sanitise(error, 200)}") from error

    @torch.no_grad()
    def encode(signal: NDArray[np.float32], present: NDArray[np.bool_]) -> NDArray[np.float32]:
        return module(torch.from_numpy(signal), torch.from_numpy(present)).numpy()

    return encode, expectations


def _segments(dataset: Dataset | None, expectations: Expectations) -> tuple[Tensor, Tensor]:
    """Segments evenly over the dataset, (n, 2, T) and bool (n, 2)."""
    if dataset is None or dataset.n_segments < _EXAMPLE_SEGMENTS:
        rng = np.random.default_rng(0)
        shape = (CHECKED_SEGMENTS, 2, expectations.segment_samples)
        noise = rng.standard_normal(shape, dtype=np.float32) * np.array(SD_FLOOR, np.float32)[:, None] * 10
        return torch.from_numpy(noise), torch.ones(CHECKED_SEGMENTS, 2, dtype=torch.bool)
    n = min(dataset.n_segments, CHECKED_SEGMENTS)
    rows = np.unique(np.linspace(0, dataset.n_segments - 1, n).astype(np.int64))
    return dataset.tensor(rows), torch.from_numpy(dataset.present[rows])
