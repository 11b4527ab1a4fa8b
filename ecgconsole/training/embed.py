"""The embedding stage: every segment of a dataset through a checkpoint's encoders, into three ``.npz``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ecgconsole import __version__
from ecgconsole.config import Config
from ecgconsole.dataset import Dataset
from ecgconsole.errors import ConfigurationError, InputError
from ecgconsole.stage import Reporter, Stop
from ecgconsole.training.checkpoints import Saved, best_verified, load
from ecgconsole.training.checkpoints_index import find
from ecgconsole.training.device import arithmetic_of, gpu_failures, use_all_cores
from ecgconsole.training.encoder import Model, segment_embedding
from ecgconsole.training.expectations import Expectations, expectations_of
from ecgconsole.training.export import load_portable
from ecgconsole.training.npz import Column, write_npz
from ecgconsole.training.portable import FORMATS
from ecgconsole.training.projection import PIECE_ROWS, fit_pca, fit_umap, require_umap
from ecgconsole.training.step import Arithmetic
from ecgconsole.training.unfinished import Unfinished
from ecgconsole.workspace import Workspace, replacing

SPLITS = ("train", "val", "test")
# The network always sees this many segments at once, so that an embedding has the same bits for any batch size.
_PIECE = 64


def run(
    config: Config, workspace: Workspace, reporter: Reporter, stop: Stop, checkpoint: Path | None = None
) -> dict[str, int]:
    """Embeds all segments and returns ``segments``. After a stop or a kill it goes on from where it was.

    Architecture and signal expectations come from ``checkpoint`` (default: the best of the folder). Raises
    ``ConfigurationError`` for a dataset of another rate, length or band, or without the signals that were trained on,
    and for ``embedding.umap`` without its extra, ``InputError`` without a whole checkpoint.
    """
    if config.embedding.umap:
        require_umap()
    saved = load(find(workspace, str(checkpoint))) if checkpoint is not None else best_verified(workspace, reporter)
    if saved is None:
        raise InputError(f"no whole checkpoint in {workspace.folder}: `ecgconsole train` makes one")
    arithmetic = arithmetic_of(config.training.device, config.training.precision)
    use_all_cores()
    model = model_of(saved).to(arithmetic.device).eval()
    with Dataset(workspace.dataset) as dataset, gpu_failures("what is embedded so far is kept"):
        saved.expectations.refuse_other(expectations_of(dataset), str(saved.path), str(workspace.dataset))
        saved.expectations.refuse_unknown(dataset.present, f"{saved.path} was trained on")
        known = saved.expectations.known
        made_of = f"{saved.sidecar.sha256} {dataset.content_sha256} {arithmetic} {__version__} {torch.__version__}"
        folder = workspace.embeddings("train").parent / ".unfinished"
        unfinished = Unfinished(folder, made_of, dataset.n_segments, model.embedding_dim)
        block = max(1, config.embedding.batch_size // _PIECE) * _PIECE
        try:
            # A row's bits depend on the piece it is encoded in, so going on begins at the border of a piece.
            for low in range(unfinished.keep_multiple_of(_PIECE), dataset.n_segments, block):
                stop.wait_while_paused()
                if stop.requested:
                    unfinished.sync()
                stop.raise_if_requested(f"{low} of {dataset.n_segments} segments are embedded")
                rows = slice(low, min(low + block, dataset.n_segments))
                unfinished.append(embed(model, dataset.physical(rows), dataset.present[rows] & known, arithmetic))
                reporter.progress(rows.stop, dataset.n_segments, "segments")
            _write(workspace, dataset, unfinished.rows(), config.embedding.umap)
        finally:
            unfinished.close()
        unfinished.remove()
        return {"segments": dataset.n_segments}


def _write(workspace: Workspace, dataset: Dataset, embeddings: NDArray[np.float32], with_umap: bool) -> None:
    """The three files, ``embeddings`` (N, D) being read in pieces."""
    rows = {split: np.flatnonzero(dataset.split == split).astype(np.int64) for split in SPLITS}
    fitted_on = rows["train"] if len(rows["train"]) else np.arange(dataset.n_segments)
    pca = fit_pca(embeddings, fitted_on)
    maps: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {"pca": pca.project}
    if with_umap:
        maps["umap"] = fit_umap(embeddings, fitted_on)
    record, start_seconds = dataset.column("segment/record"), dataset.column("segment/start_seconds")
    for split, index in rows.items():

        def pieces(
            function: Callable[[NDArray[np.float32]], NDArray[np.float32]], index: NDArray[np.int64] = index
        ) -> Iterator[NDArray[np.float32]]:
            for low in range(0, len(index), PIECE_ROWS):
                yield function(embeddings[index[low : low + PIECE_ROWS]])

        float32 = np.dtype(np.float32)
        columns = {
            "embeddings": Column((len(index), embeddings.shape[1]), float32, pieces(lambda values: values)),
            "segment_index": Column.of(index),
            "patient_id": Column.of(dataset.patient_id[index]),
            "record": Column.of(record[index]),
            "start_seconds": Column.of(start_seconds[index]),
            **{name: Column((len(index), 2), float32, pieces(function)) for name, function in maps.items()},
            "pca_explained_share": Column.of(pca.explained_share),
        }
        with replacing(workspace.embeddings(split)) as temporary, temporary.open("wb") as file:
            write_npz(file, columns)


class Encoder:
    """A trained encoder in one's own code: ``Encoder.load("best_checkpoint.pth")(signal)``.

    ``expectations`` says at which rate, filtered how, signals are to be, and which of them count.
    """

    def __init__(
        self,
        encode: Callable[[NDArray[np.float32], NDArray[np.bool_]], NDArray[np.float32]],
        expectations: Expectations,
    ) -> None:
        self._encode = encode
        self.expectations = expectations

    @classmethod
    def load(cls, path: Path | str, device: str = "auto") -> Encoder:
        """From a checkpoint (``.pth``), or on the CPU from what ``ecgconsole export`` writes (``.pt2``, ``.onnx``).

        Raises ``InputError`` if the file is damaged or is not one of ours, ``ConfigurationError`` for ONNX without its
        extra.
        """
        if Path(path).suffix in FORMATS:
            return cls(*load_portable(Path(path)))
        saved = load(Path(path))
        arithmetic = arithmetic_of(device, "auto")
        model = model_of(saved).to(arithmetic.device).eval()
        return cls(lambda signal, present: embed(model, signal, present, arithmetic), saved.expectations)

    def __call__(self, signal: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, 2, T), ECG in mV and PPG in NU, to (n, embedding_dim). A signal that is all zero counts as absent, as
        does one that was not trained on; where both are, the embedding is zero.

        Raises ``ConfigurationError`` for another shape than ``expectations`` has.
        """
        signal = np.asarray(signal, np.float32)
        samples, rate_hz = self.expectations.segment_samples, self.expectations.sampling_rate_hz
        if signal.shape[1:] != (2, samples):
            raise ConfigurationError(
                f"signals of shape {signal.shape}: the encoder takes (n, 2, {samples}), ECG and PPG at {rate_hz:g} Hz"
            )
        return self._encode(signal, (signal != 0).any(axis=-1) & self.expectations.known)


def model_of(saved: Saved) -> Model:
    """The network of a checkpoint, with its weights."""
    model = Model(**saved.contents["architecture"])
    model.load_state_dict(saved.contents["model"])
    return model


@torch.no_grad()
def embed_signals(
    model: Model, signal: NDArray[np.float32], wanted: NDArray[np.bool_], arithmetic: Arithmetic
) -> NDArray[np.float32]:
    """One vector for each signal: (n, 2, T) in mV and NU to (n, 2, embedding_dim); zero if not ``wanted`` (2,)."""
    n = len(signal)
    padded = np.pad(signal, ((0, -n % _PIECE), (0, 0), (0, 0)))
    pieces = []
    for low in range(0, len(padded), _PIECE):
        x = torch.from_numpy(padded[low : low + _PIECE]).to(arithmetic.device)
        with arithmetic.autocast():
            vectors = [
                encoder(x[:, c]).float() if wanted[c] else x.new_zeros(len(x), model.embedding_dim)
                for c, encoder in enumerate(model.encoders)
            ]
        pieces.append(model.finished(torch.stack(vectors, dim=1)).cpu())
    return torch.cat(pieces)[:n].numpy()


def embed(
    model: Model, signal: NDArray[np.float32], present: NDArray[np.bool_], arithmetic: Arithmetic
) -> NDArray[np.float32]:
    """One vector a segment, the mean of those of the signals present: (n, 2, T) to (n, embedding_dim)."""
    vectors = torch.from_numpy(embed_signals(model, signal, np.asarray(present.any(axis=0)), arithmetic))
    return segment_embedding(vectors, torch.from_numpy(present)).numpy()
