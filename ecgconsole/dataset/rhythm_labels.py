"""Which rhythm people wrote down for each segment: annotated intervals of a file, or nurse-charted values."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgconsole.dataset.reader import Dataset
from ecgconsole.errors import InputError
from ecgconsole.text import sanitise

CHARTED_RHYTHM = "segment/charted_rhythm"
_COLUMNS = ("record", "start_seconds", "end_seconds", "rhythm")
_COVERAGE = 0.5


class Placed(Protocol):
    """Segments of records: ``record`` int (n,), codes into the texts ``records``; ``start_seconds`` float (n,)."""

    @property
    def record(self) -> NDArray[np.integer]: ...
    @property
    def records(self) -> NDArray[np.str_]: ...
    @property
    def start_seconds(self) -> NDArray[np.float64]: ...


def read_intervals(path: Path) -> pd.DataFrame:
    """Rhythm intervals, columns record, start_seconds, end_seconds, rhythm; others are ignored."""
    try:
        table = pd.read_csv(path, dtype={"record": str, "rhythm": str}, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a CSV of rhythm intervals ({sanitise(error, 200)})") from error
    missing = [name for name in _COLUMNS if name not in table]
    if missing:
        raise InputError(f"{path}: lacks the column {', '.join(missing)}; it needs {', '.join(_COLUMNS)}")
    for name in ("start_seconds", "end_seconds"):
        table[name] = pd.to_numeric(table[name], errors="coerce")
        if table[name].isna().any():
            line = int(np.argmax(table[name].isna())) + 2
            raise InputError(f"{path}:{line}: {name} is not a number of seconds")
    return table[list(_COLUMNS)]


def rhythm_of_segments(
    segments: Placed, intervals: pd.DataFrame, segment_seconds: float
) -> tuple[NDArray[np.int16], list[str]]:
    """Code (n,) of the rhythm that covers the most of each segment, at least half of it, and the codes' names.

    -1: none, or unknown. Records match by path or by base name.
    """
    names = sorted(intervals["rhythm"].unique())
    code_of = {name: code for code, name in enumerate(names)}
    by_record = {str(record): group for record, group in intervals.groupby("record", sort=False)}
    rhythm = np.full(len(segments.record), -1, np.int16)
    order = np.argsort(segments.record, kind="stable")
    borders = np.searchsorted(segments.record[order], np.arange(len(segments.records) + 1))
    for code, record in enumerate(segments.records):
        group = by_record.get(str(record), by_record.get(str(record).rpartition("/")[2]))
        if group is None:
            continue
        rows = order[borders[code] : borders[code + 1]]
        start = segments.start_seconds[rows]
        covered = np.zeros((len(rows), len(names)))
        for first, last, name in zip(group["start_seconds"], group["end_seconds"], group["rhythm"], strict=True):
            overlap = np.minimum(start + segment_seconds, last) - np.maximum(start, first)
            covered[:, code_of[name]] += np.maximum(overlap, 0)
        most = covered.argmax(axis=1)
        enough = covered[np.arange(len(rows)), most] >= _COVERAGE * segment_seconds
        rhythm[rows[enough]] = most[enough]
    return rhythm, names


def rhythm_of_charts(charted: NDArray) -> tuple[NDArray[np.int16], list[str]]:
    """Codes (n,) and names of charted rhythms (n,), where an empty text is unknown."""
    names, codes = np.unique(charted, return_inverse=True)
    known = names != ""
    return np.where(known, np.cumsum(known) - 1, -1)[codes].astype(np.int16), [str(n) for n in names[known]]


def rhythm_of_rows(dataset: Dataset, rhythm_file: Path | None) -> tuple[NDArray[np.int16], list[str]]:
    """Code (N,) of each row's rhythm by ``rhythm_file``, else by the charts, and the codes' names; -1: not known."""
    if rhythm_file is not None:
        return rhythm_of_segments(
            _Rows(dataset), read_intervals(rhythm_file), dataset.segment_samples / dataset.sampling_rate_hz
        )
    if CHARTED_RHYTHM in dataset.column_names:
        return rhythm_of_charts(dataset.column(CHARTED_RHYTHM))
    return np.full(dataset.n_segments, -1, np.int16), []


class _Rows:
    """The rows of a dataset, as ``Placed``."""

    def __init__(self, dataset: Dataset) -> None:
        self.records, codes = np.unique(dataset.column("segment/record"), return_inverse=True)
        self.record = codes.reshape(-1)
        self.start_seconds = dataset.column("segment/start_seconds")
