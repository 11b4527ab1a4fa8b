"""The trained encoder as one portable file: a graph with its weights that needs nothing of ours."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgconsole import __version__
from ecgconsole.dataset import Dataset
from ecgconsole.errors import EcgConsoleError, InputError
from ecgconsole.training import portable
from ecgconsole.training.checkpoints import Saved
from ecgconsole.training.encoder import SD_FLOOR, Model, segment_embedding
from ecgconsole.training.expectations import Expectations
from ecgconsole.workspace import replacing, write_json

# Largest difference of a segment's embedding to the original's (root mean square), in standard deviations of the
# embeddings: float32 sums in another order.
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

    ``known``: the columns that count. Nothing else of ``model`` is in here: no other encoder, no part of a head.
    """

    def __init__(self, model: Model, known: Sequence[int]) -> None:
        super().__init__()
        self.known, self._finished = list(known), model.finished
        self.encoders = nn.ModuleList(copy.deepcopy(model.encoders[channel]) for channel in known)
        if not model.maps:
            for encoder in self.encoders:
                encoder.out = nn.Identity()

    def forward(self, signal: Tensor, present: Tensor) -> Tensor:
        vectors = [encoder(signal[:, channel]) for channel, encoder in zip(self.known, self.encoders, strict=True)]
        return segment_embedding(self._finished(torch.stack(vectors, dim=1)), present[:, self.known])


@dataclass(frozen=True)
class Exported:
    """What was written, and how far it is from the original (in standard deviations of the embeddings)."""

    path: Path
    sha256: str
    checked_segments: int
    checked_on: str
    largest_difference: float


def export(model: Model, saved: Saved, dataset: Dataset | None, path: Path) -> Exported:
    """Writes ``path`` (``.pt2``: torch.export; ``.onnx``) with a ``.json`` beside it, after a check on real segments.

    Without segments that have a signal trained on, the check is on noise. Raises ``EcgConsoleError`` where the file
    does not say what the model says, within ``TOLERANCE``.
    """
    model = model.cpu().eval()
    expectations = saved.expectations
    known = expectations.known
    found = _segments(dataset, known) if dataset is not None else None
    signal, present = found or _noise(expectations)
    segments = torch.export.Dim("segments", min=1)
    example = (signal[:_EXAMPLE_SEGMENTS], present[:_EXAMPLE_SEGMENTS])
    with torch.no_grad():
        program = torch.export.export(
            Portable(model, np.flatnonzero(known).tolist()),
            example,
            dynamic_shapes={"signal": {0: segments}, "present": {0: segments}},
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
            expected = segment_embedding(
                model.finished(model.encode(signal, present)), present & torch.from_numpy(known)
            ).numpy()
        # Over a segment's numbers together: a square root near 0 alone makes much of the last bit of what it is of.
        squares = np.square(encode(signal.numpy(), present.numpy()) - expected).mean(axis=1)
        difference = float(np.sqrt(squares.max()) / max(expected.std(), 1e-12))
        if not difference <= TOLERANCE:
            raise EcgConsoleError(
                f"the exported encoder differs from the original by {difference:.2g} standard deviations on "
                f"{len(signal)} segments (at most {TOLERANCE:g}): nothing was written"
            )
        checked_on = "segments of the dataset" if found else "noise"
        sha256 = hashlib.sha256(temporary.read_bytes()).hexdigest()
    checked = {
        "sha256": sha256,
        "checked_segments": len(signal),
        "checked_on": checked_on,
        "largest_difference_sd": difference,
        "tolerance_sd": TOLERANCE,
    }
    write_json(path.with_name(f"{path.name}.json"), facts | checked)
    return Exported(path, sha256, len(signal), checked_on, difference)


def load_portable(path: Path) -> tuple[portable.Encode, Expectations]:
    """The function of an exported file, on the CPU, and what it expects. Raises ``InputError``."""
    encode, facts = portable.read(path, path.suffix)
    try:
        return encode, Expectations.from_plain(facts["expectations"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not an encoder that `ecgconsole export` wrote: {error!r}") from error


def _segments(dataset: Dataset, known: NDArray[np.bool_]) -> tuple[Tensor, Tensor] | None:
    """Segments evenly over those that have a signal trained on, (n, 2, T) and bool (n, 2); None of fewer than three."""
    rows = np.flatnonzero((dataset.present & known).any(axis=1))
    if len(rows) < _EXAMPLE_SEGMENTS:
        return None
    at = np.linspace(0, len(rows) - 1, min(len(rows), CHECKED_SEGMENTS)).astype(np.int64)
    return dataset.tensor(rows[at]), torch.from_numpy(dataset.present[rows[at]])


def _noise(expectations: Expectations) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(0)
    shape = (CHECKED_SEGMENTS, 2, expectations.segment_samples)
    noise = rng.standard_normal(shape, dtype=np.float32) * np.array(SD_FLOOR, np.float32)[:, None] * 10
    return torch.from_numpy(noise), torch.ones(CHECKED_SEGMENTS, 2, dtype=torch.bool)
