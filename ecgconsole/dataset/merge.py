"""All shards into one ``full_dataset.h5``, row after row in the order of the plan.

Nothing is removed here: until the caller does, the shards are there, and a merge that died is done again
and gives the same bytes.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from isal import isal_zlib

from ecgconsole.dataset.arrays import Arrays
from ecgconsole.dataset.layout import SIGNAL_CHUNK_ROWS
from ecgconsole.dataset.segments import Rows, as_bytes
from ecgconsole.dataset.shards import check_space, writing_error
from ecgconsole.dataset.storage import (
    CHUNKS_AHEAD,
    THREADS,
    RowsWriter,
    check_stored,
    created,
    hash_header,
    plain_dtype,
)
from ecgconsole.dataset.threads import in_order
from ecgconsole.workspace import replacing

if TYPE_CHECKING:
    import pandas as pd

# Rows of a shard: from which to which.
Piece = tuple[Arrays, int, int]


@dataclass(frozen=True)
class MergePlan:
    """What to merge, in order. ``patients``: columns of the group ``/patient`` without row ranges, one entry
    for each patient with segments; ``split`` by patient; ``hadm_id`` and ``subject_id`` by record; ``charted``
    rhythms by subject and time, or None."""

    shards: tuple[Arrays, ...]
    segments: int
    patients: Rows
    split: dict[str, str]
    hadm_id: dict[str, int]
    subject_id: dict[str, int]
    charted: pd.DataFrame | None
    attributes: dict[str, Any]
    columns: dict[str, dict[str, str]]
    compression: str


@dataclass(frozen=True)
class Column:
    """One dataset of the file, and its rows in parts, read when they are written."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    parts: Iterable[np.ndarray]


def merge(plan: MergePlan, output: Path) -> tuple[str, int]:
    """Writes ``output``, reads it back, puts it in place; returns ``content_sha256`` and the file's size.

    Runs in a process that may die. Raises ``MachineError`` where the disk cannot hold the file or returns
    other bytes than were written.
    """
    needed = sum(shard.path.stat().st_size for shard in plan.shards)
    check_space(output.parent, needed)
    try:
        with replacing(output) as temporary:
            with created(temporary) as file:
                sha256 = _write(plan, file)
            with h5py.File(temporary, "r", locking=False) as file:
                check_stored(file)
            return sha256, temporary.stat().st_size
    except OSError as error:
        raise writing_error(error, output.parent, needed) from error


def _write(plan: MergePlan, file: h5py.File) -> str:
    """Fills ``file`` in the order in which its content is hashed; returns its ``content_sha256``."""
    for name, value in plan.attributes.items():
        file.attrs[name] = value
    shards = [shard for shard in plan.shards if shard.n_rows("signal")]
    digest = hashlib.sha256()
    with ThreadPoolExecutor(THREADS) as pool, ThreadPoolExecutor(1) as apart:
        hashed: deque[Future[None]] = deque()

        def add_to_hash(data: Any) -> None:
            # In a thread of its own, a few parts behind.
            hashed.append(apart.submit(digest.update, data))
            if len(hashed) > CHUNKS_AHEAD:
                hashed.popleft().result()

        columns = {**_patients(plan), **_segments(plan, shards), "signal": _signal(plan, shards, pool)}
        for path, column in sorted(columns.items()):
            add_to_hash(hash_header(f"/{path}", column.dtype, column.shape))
            n_rows, *tail = column.shape
            writer = RowsWriter(file, path, column.dtype, tuple(tail), n_rows, plan.compression, pool)
            for part in column.parts:
                rows = np.ascontiguousarray(part.astype(column.dtype, casting="same_kind", copy=False))
                add_to_hash(rows.data)
                writer.append(rows)
            writer.close()
            if path in plan.columns:
                file[path].attrs.update(plan.columns[path])
    file.attrs["content_sha256"] = digest.hexdigest()
    return digest.hexdigest()


def _patients(plan: MergePlan) -> dict[str, Column]:
    stop = np.cumsum(plan.patients["segments"], dtype=np.int64)
    columns = {**plan.patients, "row_start": stop - plan.patients["segments"], "row_stop": stop}
    return {f"patient/{name}": Column(plain_dtype(v.dtype), v.shape, [v]) for name, v in columns.items()}


def _segments(plan: MergePlan, shards: Sequence[Arrays]) -> dict[str, Column]:
    """Every column of segments but the signal, shard by shard; those that only the merge knows are added."""
    split_of = {as_bytes(p): s.encode() for p, s in plan.split.items()}
    hadm_of = {as_bytes(r): h for r, h in plan.hadm_id.items()}
    subject_of = {as_bytes(r): s for r, s in plan.subject_id.items()}
    names: Any = [] if plan.charted is None else plan.charted["rhythm"].unique()
    text = np.dtype(f"S{max((len(name) for name in names), default=1)}")

    def split(shard: Arrays) -> np.ndarray:
        return _looked_up(shard.read("segment/patient_id"), split_of, np.dtype("S5"))

    def hadm_id(shard: Arrays) -> np.ndarray:
        return _looked_up(shard.read("segment/record"), hadm_of, np.dtype("<i8"))

    def charted_rhythm(shard: Arrays) -> np.ndarray:
        subjects = _looked_up(shard.read("segment/record"), subject_of, np.dtype("<i8"))
        return _charted(plan.charted, subjects, shard.read("segment/charttime"))

    def column(dtype: np.dtype[Any], tail: list[int], read: Callable[[Arrays], np.ndarray]) -> Column:
        return Column(dtype, (plan.segments, *tail), map(read, shards))

    columns = {
        "segment/split": column(np.dtype("S5"), [], split),
        "segment/hadm_id": column(np.dtype("<i8"), [], hadm_id),
        "segment/charted_rhythm": column(text, [], charted_rhythm),
    }
    for path, entry in shards[0].entries.items():
        if path != "signal" and not path.startswith("rejected/"):
            # Texts as long as the longest of any shard.
            dtype = np.result_type(*(np.dtype(shard.entries[path]["dtype"]) for shard in shards))
            columns[path] = column(dtype, entry["shape"][1:], methodcaller("read", path))
    return columns


def _signal(plan: MergePlan, shards: Sequence[Arrays], pool: ThreadPoolExecutor) -> Column:
    tail = shards[0].entries["signal"]["shape"][1:]

    def read(pieces: list[Piece]) -> tuple[list[Piece], np.ndarray]:
        rows = np.empty((sum(stop - start for _, start, stop in pieces), *tail), "<i2")
        for (shard, start, _), part in zip(pieces, _parts(pieces, rows), strict=True):
            shard.read_into(part, "signal", start)
        return pieces, rows

    def chunks() -> Iterator[np.ndarray]:
        crc32: Counter[Path] = Counter()
        for pieces, rows in in_order(pool, read, _cut(shards), CHUNKS_AHEAD):
            for (shard, _, stop), part in zip(pieces, _parts(pieces, rows), strict=True):
                crc32[shard.path] = isal_zlib.crc32(part.data, crc32[shard.path])
                if stop == shard.n_rows("signal"):
                    shard.check("signal", crc32[shard.path])
            yield rows

    return Column(np.dtype("<i2"), (plan.segments, *tail), chunks())


def _cut(shards: Sequence[Arrays]) -> Iterator[list[Piece]]:
    """All rows of the signal, in pieces that make one chunk of the file each."""
    pieces: list[Piece] = []
    missing = SIGNAL_CHUNK_ROWS
    for shard in shards:
        start, n_rows = 0, shard.n_rows("signal")
        while start < n_rows:
            stop = min(start + missing, n_rows)
            pieces.append((shard, start, stop))
            missing -= stop - start
            start = stop
            if not missing:
                yield pieces
                pieces, missing = [], SIGNAL_CHUNK_ROWS
    if pieces:
        yield pieces


def _parts(pieces: list[Piece], rows: np.ndarray) -> list[np.ndarray]:
    """The rows of each piece."""
    return np.split(rows, np.cumsum([stop - start for _, start, stop in pieces])[:-1])


def _looked_up(keys: np.ndarray, values: dict[bytes, Any], dtype: np.dtype[Any]) -> np.ndarray:
    """``values`` for each key, looked up once for each run of equal keys; 0 or empty where there is none."""
    starts = np.append(0, np.flatnonzero(keys[1:] != keys[:-1]) + 1)
    empty: Any = b"" if dtype.kind == "S" else 0
    found = np.array([values.get(key, empty) for key in keys[starts].tolist()], dtype)
    return np.repeat(found, np.diff(starts, append=len(keys)))


def _charted(charted: pd.DataFrame | None, subjects: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The rhythm that nurses charted nearest to each segment, as bytes; empty where none is near."""
    if charted is None:
        return np.full(len(subjects), b"")
    # Half a second to import, in a worker process that needs them for this alone.
    import pandas as pd

    from ecgconsole.clinical import rhythm_at

    charted = charted[charted["subject_id"].isin(np.unique(subjects))]
    when = pd.Series(np.where(times == b"", b"NaT", times).astype("U").astype("datetime64[ms]"))
    subject = pd.Series(pd.array(subjects, dtype="Int64")).where(subjects != 0)
    return np.char.encode(rhythm_at(charted, subject, when).fillna("").to_numpy(dtype=str), "utf-8")
