"""All shards into one ``full_dataset.h5``, row after row in the order of the plan.

Nothing is removed here: until the caller does, the shards are there, and a merge that died is done again
and gives the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ecgconsole.dataset.segments import Rows, as_bytes
from ecgconsole.dataset.shards import check_space, write_column, writing_error
from ecgconsole.dataset.storage import (
    THREADS,
    RowsReader,
    RowsWriter,
    add_to_hash,
    check_stored,
    created,
    dataset_paths,
    hash_header,
    plain_dtype,
    read_whole,
)
from ecgconsole.workspace import replacing

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class MergePlan:
    """What to merge, in order. ``patients``: columns of the group ``/patient`` without row ranges, one entry
    for each patient with segments; ``split`` by patient; ``hadm_id`` and ``subject_id`` by record; ``charted``
    rhythms by subject and time, or None."""

    shards: tuple[Path, ...]
    segments: int
    patients: Rows
    split: dict[str, str]
    hadm_id: dict[str, int]
    subject_id: dict[str, int]
    charted: pd.DataFrame | None
    attributes: dict[str, Any]
    columns: dict[str, dict[str, str]]
    compression: str


def merge(plan: MergePlan, output: Path) -> tuple[str, int]:
    """Writes ``output``, reads it back, puts it in place; returns ``content_sha256`` and the file's size.

    Runs in a process that may die. Raises ``MachineError`` where the disk cannot hold the file or returns
    other bytes than were written.
    """
    needed = sum(path.stat().st_size for path in plan.shards)
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
    """Fills ``file``; returns its ``content_sha256``."""
    for name, value in plan.attributes.items():
        file.attrs[name] = value
    _write_columns(plan, file)
    _write_patients(plan, file)
    with ThreadPoolExecutor(THREADS) as pool:
        digest = _hash_columns(file, pool)
        _write_signal(plan, file, digest, pool)
    for path, column in plan.columns.items():
        if path in file:
            file[path].attrs.update(column)
    file.attrs["content_sha256"] = digest.hexdigest()
    return str(digest.hexdigest())


def _write_columns(plan: MergePlan, file: h5py.File) -> None:
    """Every column but the signal, streamed shard by shard; those that only the merge knows are added."""
    dtypes = _column_dtypes(plan.shards)
    split_of = {as_bytes(p): s.encode() for p, s in plan.split.items()}
    hadm_of = {as_bytes(r): h for r, h in plan.hadm_id.items()}
    subject_of = {as_bytes(r): s for r, s in plan.subject_id.items()}
    names: Any = [] if plan.charted is None else plan.charted["rhythm"].unique()
    text = np.dtype(f"S{max((len(name) for name in names), default=1)}")
    dtypes["segment/split"] = (np.dtype("S5"), ())
    dtypes["segment/hadm_id"] = (np.dtype("<i8"), ())
    dtypes["segment/charted_rhythm"] = (text, ())
    writers = {
        path: RowsWriter(file, path, dtype, tail, plan.segments, plan.compression)
        for path, (dtype, tail) in sorted(dtypes.items())
    }
    for shard in _opened(plan.shards):
        if not shard["signal"].shape[0]:
            continue
        columns = {path: read_whole(shard[path]) for path in writers if path in shard}
        columns["segment/split"] = _looked_up(columns["segment/patient_id"], split_of, np.dtype("S5"))
        columns["segment/hadm_id"] = _looked_up(columns["segment/record"], hadm_of, np.dtype("<i8"))
        subjects = _looked_up(columns["segment/record"], subject_of, np.dtype("<i8"))
        columns["segment/charted_rhythm"] = _charted(plan.charted, subjects, columns["segment/charttime"]).astype(text)
        for path, writer in writers.items():
            writer.append(columns[path])
    for writer in writers.values():
        writer.close()


def _write_patients(plan: MergePlan, file: h5py.File) -> None:
    for name, values in sorted(plan.patients.items()):
        write_column(file, f"patient/{name}", values, plan.compression)
    stop = np.cumsum(plan.patients["segments"], dtype=np.int64)
    write_column(file, "patient/row_stop", stop, plan.compression)
    write_column(file, "patient/row_start", stop - plan.patients["segments"], plan.compression)


def _hash_columns(file: h5py.File, pool: ThreadPoolExecutor) -> Any:
    """The running digest over all datasets there are; ``/signal`` comes last in path order."""
    digest = hashlib.sha256()
    for path in dataset_paths(file):
        if path > "/signal":
            raise ValueError(f"{path} sorts after /signal, whose hash must come last")
        add_to_hash(digest, path, file[path], pool)
    return digest


def _write_signal(plan: MergePlan, file: h5py.File, digest: Any, pool: ThreadPoolExecutor) -> None:
    """Deflates the shards' rows in the threads of ``pool``."""
    tail = next(shard["signal"].shape[1:] for shard in _opened(plan.shards))
    writer = RowsWriter(file, "signal", np.dtype("<i2"), tail, plan.segments, plan.compression, pool)
    digest.update(hash_header("/signal", np.dtype("<i2"), (plan.segments, *tail)))
    for shard in _opened(plan.shards):
        check_stored(shard)
        reader = RowsReader(shard["signal"])
        for start in reader.starts:
            rows = reader.chunk(start)
            digest.update(rows.data)
            writer.append(rows)
    writer.close()


def _opened(paths: Sequence[Path]) -> Iterator[h5py.File]:
    for path in paths:
        with h5py.File(path, "r", locking=False) as shard:
            yield shard


def _column_dtypes(paths: Sequence[Path]) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Dtype and row shape of each column; texts as long as the longest of any shard."""
    found: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
    for shard in _opened(paths):
        for path in dataset_paths(shard):
            name = path.removeprefix("/")
            if name == "signal" or name.startswith("rejected/"):
                continue
            dtype = plain_dtype(shard[name].dtype)
            if name in found:
                dtype = np.promote_types(dtype, found[name][0])
            found[name] = (dtype, tuple(shard[name].shape[1:]))
    return found


def _looked_up(keys: np.ndarray, values: dict[bytes, Any], dtype: np.dtype[Any]) -> np.ndarray:
    """``values`` for each key, looked up once for each different key; 0 or empty where there is none."""
    unique, inverse = np.unique(keys, return_inverse=True)
    empty: Any = b"" if dtype.kind == "S" else 0
    return np.array([values.get(key, empty) for key in unique.tolist()], dtype)[inverse]


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
