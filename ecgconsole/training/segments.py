"""What training knows of each segment besides its signal: one split of a dataset as parallel arrays."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgconsole.dataset import Dataset
from ecgconsole.training.beat_shape import beat_shapes

# Rhythm columns that the encoders learn to predict, and how each is made comparable before it is standardised.
RHYTHM_TARGETS: tuple[tuple[str, str], ...] = (
    ("rhythm/median_rr_s", "log"),
    ("rhythm/rr_cv", "log"),
    ("rhythm/rr_irregular_share", "identity"),
    ("rhythm/rmssd_normalised", "log"),
    ("rhythm/rr_entropy", "identity"),
    ("rhythm/early_beats", "identity"),
)
_LOG_FLOOR = 1e-2


@dataclass(frozen=True)
class Segments:
    """N segments of one split, in the order of the dataset.

    ``rows`` int64 (rows of ``/signal``); ``patient`` and ``record`` int64 codes, equal where the text is equal;
    ``start_s`` float64 from the record's first sample; ``scale`` float32 (N, 2); ``present`` bool (N, 2);
    ``rhythm`` float32 (N, R), not a number where not known: the columns of ``RHYTHM_TARGETS``, then the mean beat
    where it was asked for.
    """

    rows: NDArray[np.int64]
    patient: NDArray[np.int64]
    record: NDArray[np.int64]
    start_s: NDArray[np.float64]
    scale: NDArray[np.float32]
    present: NDArray[np.bool_]
    rhythm: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rows)


def read_split(dataset: Dataset, split: str, with_beats: bool = False) -> Segments:
    """The segments of ``split`` (train, val or test) that have at least one signal.

    ``with_beats`` also measures their mean beats, for which every signal is read once.
    """
    present = dataset.present
    rows = np.flatnonzero((dataset.split == split) & present.any(1)).astype(np.int64)
    unknown = np.full(dataset.n_segments, np.nan, np.float32)
    known = set(dataset.column_names)
    rhythm = [
        _transformed((dataset.column(name) if name in known else unknown)[rows], how) for name, how in RHYTHM_TARGETS
    ]
    targets = np.stack(rhythm, axis=1).astype(np.float32)
    if with_beats:
        targets = np.concatenate((targets, beat_shapes(dataset, rows)), axis=1)
    return Segments(
        rows=rows,
        patient=_codes(dataset.patient_id, rows),
        record=_codes(dataset.column("segment/record"), rows),
        start_s=dataset.column("segment/start_seconds")[rows],
        scale=dataset.scale[rows],
        present=present[rows],
        rhythm=targets,
    )


def rhythm_statistics(segments: Segments) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each rhythm target over the segments where it is known, each (R,)."""
    known = np.isfinite(segments.rhythm)
    count = np.maximum(known.sum(0), 1)
    values = np.where(known, segments.rhythm, 0).astype(np.float64)
    mean = values.sum(0) / count
    sd = np.sqrt((np.where(known, values - mean, 0) ** 2).sum(0) / count)
    return mean.astype(np.float32), np.maximum(sd, 1e-3).astype(np.float32)


def neighbours(segments: Segments, within_seconds: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each segment, the positions [first, last] of its record's segments at most ``within_seconds`` away.

    Needs each record's segments to be contiguous and rising in time, as a dataset stores them; where they
    are not, a segment has only itself.
    """
    n = len(segments)
    first = np.arange(n)
    last = np.arange(n)
    edges = np.flatnonzero(np.diff(segments.record, prepend=-1, append=-1))
    for low, high in itertools.pairwise(edges):
        start_s = segments.start_s[low:high]
        if np.all(np.diff(start_s) > 0):
            first[low:high] = low + np.searchsorted(start_s, start_s - within_seconds, side="left")
            last[low:high] = low + np.searchsorted(start_s, start_s + within_seconds, side="right") - 1
    return first, last


def _codes(texts: NDArray[np.str_], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.unique(texts[rows], return_inverse=True)[1].astype(np.int64).reshape(-1)


def _transformed(values: NDArray[np.floating], how: str) -> NDArray[np.floating]:
    return np.log(np.maximum(values, _LOG_FLOOR)) if how == "log" else values
