"""The trained encoder as one portable file: a graph with its weights that needs nothing of ours."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ecgconsole import __version__
from ecgconsole.dataset import Dataset
from ecgconsole.errors import EcgConsoleError, InputError
from ecgconsole.training import portable
from ecgconsole.training.checkpoints import Saved
from ecgconsole.training.encoder import SD_FLOOR, Model, segment_embedding
from ecgconsole.training.expectations import Expectations
from ecgconsole.workspace import replacing, write_json

# Largest difference to the original, in standard deviations of its embeddings: float32 sums in another order.
TOLERANCE = 1e-4
CHECKED_SEGMENTS = 256
_EXAMPLE_SEGMENTS = 3
CARD = (
    "Embeds windows of ECG (mV) and PPG (NU), filtered as stated, for research on rhythm. Not a medical device: it was "
    "not tested for diagnosis, and no decision about a person may rest on it. What it learnt is of the recordings it "
    "was trained on; other sensors, places and people may embed differently."
)


class Portable(nn.Module):
    """(n, 2, T) in mV and NU and bool (n, 2), which signals are present, to (n, embedding_dim).

    ``known`` bool (2,): which signals count.
    """

    def __init__(self, model: Model, known: Tensor) -> None:
        super().__init__()
        self.encoders, self._finished = model.encoders, model.finished
        self.known: Tensor
        self.register_buffer("known", known)

    def forward(self, signal: Tensor, present: Tensor) -> Tensor:
        vectors = torch.stack([encoder(signal[:, c]) for c, encoder in enumerate(self.encoders)], dim=1)
        return segment_embedding(self._finished(vectors), present & self.known)


@dataclass(frozen=True)
class Exported:
    """What was written, and how far it is from the original (in standard deviations of the embeddings)."""

    path: Path
    sha256: str
    checked_segments: int
    largest_difference: float


def export(model: Model, saved: Saved, dataset: Dataset | None, path: Path) -> Exported:
    """Writes ``path`` (``.pt2``: torch.export; ``.onnx``) with a ``.json`` beside it, after a check on real segments.

    Without a dataset the check is on noise. Raises ``ConfigurationError`` for another name, and ``EcgConsoleError``
    where the file does not say what the model says, within ``TOLERANCE``.
    """
    portable.require(path.suffix)
    model = model.cpu().eval()
    expectations = saved.expectations
    signal, present = _segments(dataset, expectations)
    known = torch.from_numpy(expectations.known)
    segments = torch.export.Dim("segments", min=1)
    example = (signal[:_EXAMPLE_SEGMENTS], present[:_EXAMPLE_SEGMENTS])
    with torch.no_grad():
        program = torch.export.export(
            Portable(model, known), example, dynamic_shapes={"signal": {0: segments}, "present": {0: segments}}
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
        portable.write(program, facts, temporary, path.suffix)
        # Of the file as it will be read, not of the program in memory.
        encode, _ = portable.read(temporary, path.suffix)
        with torch.no_grad():
            expected = segment_embedding(model.finished(model.encode(signal, present)), present & known).numpy()
        difference = float(
            np.abs(encode(signal.numpy(), present.numpy()) - expected).max() / max(expected.std(), 1e-12)
        )
        if not difference <= TOLERANCE:
            raise EcgConsoleError(
                f"the exported encoder differs from the original by {difference:.2g} standard deviations on "
                f"{len(signal)} segments (at most {TOLERANCE:g}): nothing was written"
            )
        exported = Exported(path, hashlib.sha256(temporary.read_bytes()).hexdigest(), len(signal), difference)
    checked = {
        "file": path.name,
        "sha256": exported.sha256,
        "checked_segments": len(signal),
        "largest_difference_sd": difference,
        "tolerance_sd": TOLERANCE,
    }
    write_json(path.with_suffix(".json"), facts | checked)
    return exported


def load_portable(path: Path) -> tuple[portable.Encode, Expectations]:
    """The function of an exported file, on the CPU, and what it expects. Raises ``InputError``."""
    encode, facts = portable.read(path, path.suffix)
    try:
        return encode, Expectations.from_plain(facts["expectations"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not an encoder that `ecgconsole export` wrote: {error!r}") from error


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
