"""The embedding stage: every segment of a dataset through a checkpoint's encoders, into three ``.npz``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ecgconsole.config import Config
from ecgconsole.dataset import Dataset
from ecgconsole.errors import InputError
from ecgconsole.stage import Reporter, Stop
from ecgconsole.training.checkpoints import Saved, best_verified, load
from ecgconsole.training.checkpoints_index import find
from ecgconsole.training.device import arithmetic_of, use_all_cores
from ecgconsole.training.encoder import Model, segment_embedding
from ecgconsole.training.expectations import expectations_of
from ecgconsole.training.step import Arithmetic
from ecgconsole.workspace import Workspace, replacing

SPLITS = ("train", "val", "test")
# The network always sees this many segments at once, so that an embedding has the same bits for any batch size.
_PIECE = 64


def run(
    config: Config, workspace: Workspace, reporter: Reporter, stop: Stop, checkpoint: Path | None = None
) -> dict[str, int]:
    """Embeds all segments and returns ``segments``.

    Architecture and signal expectations come from ``checkpoint`` (default: the best of the folder). Raises
    ``ConfigurationError`` for a dataset of another rate, length or band, ``InputError`` without a whole checkpoint.
    """
    saved = load(find(workspace, str(checkpoint))) if checkpoint is not None else best_verified(workspace, reporter)
    if saved is None:
        raise InputError(f"no whole checkpoint in {workspace.folder}: `ecgconsole train` makes one")
    arithmetic = arithmetic_of(config.training.device, config.training.precision)
    use_all_cores()
    model = model_of(saved).to(arithmetic.device).eval()
    with Dataset(workspace.dataset) as dataset:
        saved.expectations.refuse_other(expectations_of(dataset), str(saved.path), str(workspace.dataset))
        embeddings = np.empty((dataset.n_segments, saved.contents["architecture"]["embedding_dim"]), np.float32)
        block = max(1, config.embedding.batch_size // _PIECE) * _PIECE
        for low in range(0, dataset.n_segments, block):
            stop.wait_while_paused()
            stop.raise_if_requested(f"nothing of the embeddings; {low} of {dataset.n_segments} segments were done")
            rows = slice(low, min(low + block, dataset.n_segments))
            embeddings[rows] = embed(model, dataset.physical(rows), dataset.present[rows], arithmetic)
            reporter.progress(rows.stop, dataset.n_segments, "segments")
        for split in SPLITS:
            index = np.flatnonzero(dataset.split == split).astype(np.int64)
            columns = {
                "embeddings": embeddings[index],
                "segment_index": index,
                "patient_id": dataset.patient_id[index],
                "record": dataset.column("segment/record")[index],
                "start_seconds": dataset.column("segment/start_seconds")[index],
            }
            with replacing(workspace.embeddings(split)) as temporary, temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **columns)
        return {"segments": dataset.n_segments}


class Encoder:
    """A trained encoder in one's own code: ``Encoder.load("best_checkpoint.pth")(signal)``.

    ``expectations`` says at which rate, filtered how, signals are to be.
    """

    def __init__(self, saved: Saved, device: str = "auto") -> None:
        self.arithmetic = arithmetic_of(device, "auto")
        self.expectations = saved.expectations
        self.model = model_of(saved).to(self.arithmetic.device).eval()

    @classmethod
    def load(cls, path: Path | str, device: str = "auto") -> Encoder:
        """Raises ``InputError`` if the checkpoint is damaged or has no sidecar."""
        return cls(load(Path(path)), device)

    def __call__(self, signal: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, 2, T), ECG in mV and PPG in NU, to (n, embedding_dim). A signal that is all zero counts as absent."""
        signal = np.asarray(signal, np.float32)
        return embed(self.model, signal, (signal != 0).any(axis=-1), self.arithmetic)


def model_of(saved: Saved) -> Model:
    """The network of a checkpoint, with its weights."""
    model = Model(**saved.contents["architecture"])
    model.load_state_dict(saved.contents["model"])
    return model


@torch.no_grad()
def embed_signals(model: Model, signal: NDArray[np.float32], arithmetic: Arithmetic) -> NDArray[np.float32]:
    """One vector for each signal: (n, 2, T) in mV and NU to (n, 2, embedding_dim); meaningless where not present."""
    n = len(signal)
    padded = np.pad(signal, ((0, -n % _PIECE), (0, 0), (0, 0)))
    pieces = []
    for low in range(0, len(padded), _PIECE):
        x = torch.from_numpy(padded[low : low + _PIECE]).to(arithmetic.device)
        with arithmetic.autocast():
            vectors = torch.stack([encoder(x[:, c]) for c, encoder in enumerate(model.encoders)], dim=1)
        pieces.append(vectors.float().cpu())
    return torch.cat(pieces)[:n].numpy()


def embed(
    model: Model, signal: NDArray[np.float32], present: NDArray[np.bool_], arithmetic: Arithmetic
) -> NDArray[np.float32]:
    """One vector a segment, the mean of those of the signals present: (n, 2, T) to (n, embedding_dim)."""
    vectors = torch.from_numpy(embed_signals(model, signal, arithmetic))
    return segment_embedding(vectors, torch.from_numpy(present)).numpy()
