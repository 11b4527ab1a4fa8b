"""HDF5 as this project uses it: how a file is created, filled by rows, opened with suspicion, and hashed.

Path, dtype and shape of everything in ``full_dataset.h5`` are described in the interface.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from isal import isal_zlib

from ecgconsole.dataset import codec
from ecgconsole.dataset.layout import SIGNAL_CHUNK_ROWS
from ecgconsole.dataset.threads import in_order
from ecgconsole.dataset.workers import default_workers
from ecgconsole.errors import ConfigurationError, InputError, MachineError
from ecgconsole.text import sanitise, size

LIBVER = ("v110", "v110")
COLUMN_CHUNK_BYTES = 1 << 16
STORED_CRC32 = "stored_crc32"

# A deflate stream expands at most about 1032 times (RFC 1951); anything that claims more is not data.
MAXIMUM_EXPANSION = 1032
MAXIMUM_CHUNK_BYTES = 64 << 20
MAXIMUM_OBJECTS = 2000
ZSTD = 32015
THREADS = min(4, default_workers())
CHUNKS_AHEAD = 2 * THREADS

_left_open: dict[int, h5py.File] = {}


class RowsWriter:
    """Appends rows to one new dataset, chunk by chunk, with the filters applied here where they are gzip's.

    ``n_rows`` is the final number of rows. With a ``pool``, chunks are deflated in its threads. Chunks that are
    encoded here leave their CRC-32 for ``check_stored``.
    """

    def __init__(
        self,
        group: h5py.Group,
        path: str,
        dtype: np.dtype[Any],
        tail: tuple[int, ...],
        n_rows: int,
        compression: str = "gzip",
        pool: ThreadPoolExecutor | None = None,
    ) -> None:
        self.dtype, self.tail = dtype, tail
        self._pool = pool
        self._deflating: deque[Future[list[bytes]]] = deque()
        self.chunk_rows = min(rows_in_chunk(path, dtype, tail), max(n_rows, 1))
        self._encode = codec.encode if compression == "gzip" else None
        # Signals apart: their bytes are alike within a signal, and deflate the better for it.
        self._planes = tail[0] if path.strip("/") == "signal" else 1
        self._crc32 = 0
        self._n_rows = n_rows
        self._pending: list[np.ndarray] = []
        self._n_pending = 0
        self._written = 0
        self.dataset = group.create_dataset(
            path,
            shape=(n_rows, *tail),
            dtype=h5py.string_dtype("utf-8", dtype.itemsize) if dtype.kind == "S" else dtype,
            chunks=(self.chunk_rows, *((1, *tail[1:]) if self._planes > 1 else tail)),
            track_times=False,
            **_filters(compression),
        )

    def append(self, rows: np.ndarray) -> None:
        """``rows``: (n, *tail) of any dtype that casts safely to the dataset's."""
        rows = rows.astype(self.dtype, casting="safe" if self.dtype.kind != "S" else "same_kind", copy=False)
        self._pending.append(rows)
        self._n_pending += len(rows)
        if self._n_pending >= self.chunk_rows:
            joined = np.concatenate(self._pending) if len(self._pending) > 1 else self._pending[0]
            whole = len(joined) - len(joined) % self.chunk_rows
            for start in range(0, whole, self.chunk_rows):
                self._write(joined[start : start + self.chunk_rows])
            rest = joined[whole:].copy()
            self._pending, self._n_pending = ([rest], len(rest)) if len(rest) else ([], 0)

    def close(self) -> int:
        """Writes the last, partial chunk; returns the number of rows."""
        if self._n_pending:
            self._write(np.concatenate(self._pending))
            self._pending, self._n_pending = [], 0
        self._drain(0)
        if self._written != self._n_rows:
            raise ValueError(f"{self.dataset.name} got {self._written} rows, not {self._n_rows}")
        if self._encode is not None:
            self.dataset.attrs[STORED_CRC32] = np.uint32(self._crc32)
        return self._written

    def _write(self, rows: np.ndarray) -> None:
        """One chunk; only the last has fewer rows than a chunk."""
        n = len(rows)
        if self._encode is None:
            self.dataset[self._written : self._written + n] = rows.astype(self.dataset.dtype)
            self._written += n
        elif n < self.chunk_rows:
            self._drain(0)
            padded = np.zeros((self.chunk_rows, *self.tail), self.dtype)
            padded[:n] = rows
            self._put(self._encoded(padded), n)
        elif self._pool is None:
            self._put(self._encoded(rows), n)
        else:
            self._deflating.append(self._pool.submit(self._encoded, rows))
            self._drain(CHUNKS_AHEAD)

    def _encoded(self, rows: np.ndarray) -> list[bytes]:
        assert self._encode is not None
        return [self._encode(rows[:, i]) for i in range(self._planes)] if self._planes > 1 else [self._encode(rows)]

    def _drain(self, leave: int) -> None:
        """Writes chunks that are deflated, oldest first, until ``leave`` are under way."""
        while len(self._deflating) > leave:
            self._put(self._deflating.popleft().result(), self.chunk_rows)

    def _put(self, stored: list[bytes], n: int) -> None:
        for plane, chunk in enumerate(stored):
            self.dataset.id.write_direct_chunk(_offset(self._written, plane, len(self.tail)), chunk)
            self._crc32 = isal_zlib.crc32(chunk, self._crc32)
        self._written += n


class RowsReader:
    """Rows of one dataset, decoded here where its filters allow it, by HDF5 otherwise."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.dataset = dataset
        self.dtype = plain_dtype(dataset.dtype)
        self.tail = tuple(dataset.shape[1:])
        self.n_rows = int(dataset.shape[0])
        chunks = dataset.chunks
        self.chunk_rows = int(chunks[0]) if chunks else 1 << 14
        # A chunk holds whole rows, or one plane (the first axis of the tail) of each.
        self._planes = self.tail[0] if chunks and chunks[1:] == (1, *self.tail[1:]) else 1
        whole = bool(chunks) and (self._planes > 1 or chunks[1:] == self.tail)
        self._decode = codec.decode if whole and filters(dataset) == codec.PIPELINE else None

    def stored(self, start: int) -> list[bytes] | None:
        """The chunks of the rows from ``start`` on as the file holds them, if they went through all filters."""
        chunks = []
        for plane in range(self._planes):
            mask, stored = self.dataset.id.read_direct_chunk(_offset(start, plane, len(self.tail)))
            if mask:
                return None
            chunks.append(bytes(stored))
        return chunks

    def stored_crc32(self) -> int:
        """CRC-32 over all chunks as the file holds them, in the order of rows and planes."""
        crc32 = 0
        for start in self.starts:
            for chunk in self.stored(start) or ():
                crc32 = isal_zlib.crc32(chunk, crc32)
        return crc32

    def chunk(self, start: int) -> np.ndarray:
        """The rows of the chunk that begins at row ``start`` (a multiple of ``chunk_rows``)."""
        stop = min(start + self.chunk_rows, self.n_rows)
        try:
            stored = self.stored(start) if self._decode is not None else None
            if stored is None:
                return np.asarray(self.dataset[start:stop]).astype(self.dtype, copy=False)
            return self._decoded(stored)[: stop - start]
        except (codec.DamagedChunk, OSError) as error:
            raise InputError(
                f"{self.dataset.file.filename}: rows {start} to {stop - 1} of {self.dataset.name} are damaged"
                f" ({sanitise(error, 200)}); build the dataset again, or restore the file from a copy"
            ) from error

    def _decoded(self, stored: list[bytes]) -> np.ndarray:
        assert self._decode is not None
        if len(stored) == 1:
            return self._decode(stored[0], self.dtype, (self.chunk_rows, *self.tail))
        rows = np.empty((self.chunk_rows, *self.tail), self.dtype)
        for plane, chunk in enumerate(stored):
            rows[:, plane] = self._decode(chunk, self.dtype, (self.chunk_rows, *self.tail[1:]))
        return rows

    @property
    def starts(self) -> range:
        """The first row of each chunk."""
        return range(0, self.n_rows, self.chunk_rows)

    def chunks(self, pool: ThreadPoolExecutor) -> Iterator[np.ndarray]:
        """All rows, chunk after chunk, inflated in the threads of ``pool``."""
        return in_order(pool, self.chunk, self.starts, CHUNKS_AHEAD)

    def slice(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop``, (stop - start, *tail)."""
        if stop <= start:
            return np.empty((0, *self.tail), self.dtype)
        first = start - start % self.chunk_rows
        out = np.empty((stop - start, *self.tail), self.dtype)
        for at in range(first, stop, self.chunk_rows):
            rows = self.chunk(at)
            a, b = max(start, at), min(stop, at + len(rows))
            out[a - start : b - start] = rows[a - at : b - at]
        return out

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Rows in any order, (n, *tail); each chunk is decoded once."""
        out = np.empty((len(rows), *self.tail), self.dtype)
        order = np.argsort(rows, kind="stable")
        chunk_of = rows[order] // self.chunk_rows
        for group in np.split(order, np.flatnonzero(np.diff(chunk_of)) + 1):
            if len(group):
                start = int(rows[group[0]] // self.chunk_rows) * self.chunk_rows
                out[group] = self.chunk(start)[rows[group] - start]
        return out


def read_whole(dataset: h5py.Dataset) -> np.ndarray:
    """All rows."""
    reader = RowsReader(dataset)
    return reader.slice(0, reader.n_rows)


@contextmanager
def created(path: Path) -> Iterator[h5py.File]:
    """A new file at ``path``, closed unless an exception passes.

    Closing a file that could not be written (a full disk) crashes HDF5 2.0. Such a file is left open, for its
    process to report why and then to be killed. Locks are not needed: until it is renamed, only its writer knows it.
    """
    file = h5py.File(path, "w", libver=LIBVER, locking=False)
    _left_open[id(file)] = file
    yield file
    file.close()
    del _left_open[id(file)]


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file from anywhere, read-only, after ``check_structure``.

    Raises ``InputError`` where there is no such file, it is not HDF5, or it is not to be trusted.
    """
    try:
        file = h5py.File(path, "r")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        if "lock" in str(error):
            raise MachineError(
                f"{path}: this disk supports no locks ({sanitise(error, 200)}); set HDF5_USE_FILE_LOCKING=FALSE"
            ) from error
        raise InputError(f"{path}: not a readable HDF5 file ({sanitise(error, 200)})") from error
    with file:
        check_structure(file, path)
        yield file


def check_structure(file: h5py.File, path: Path) -> None:
    """Refuses what could lead out of the file or ask for absurd memory: ``InputError`` says which and where."""
    file_bytes = path.stat().st_size
    seen = 0

    def refuse(name: str, why: str) -> None:
        raise InputError(f"{path}: {sanitise(name, 200)} {why}; the file is refused")

    def visit(group: h5py.Group, depth: int) -> None:
        nonlocal seen
        for name in group:
            full = f"{group.name.rstrip('/')}/{name}"
            seen += 1
            if seen > MAXIMUM_OBJECTS or depth > 4:
                refuse(full, "is one object too many or too deep")
            try:
                kind = group.get(name, getclass=True, getlink=True)
            except TypeError:
                kind = None
            if kind is not h5py.HardLink:
                refuse(full, "is a soft, external or user-defined link")
            item = group[name]
            if isinstance(item, h5py.Group):
                visit(item, depth + 1)
            elif isinstance(item, h5py.Dataset):
                check_dataset(item, full)
            else:
                refuse(full, "is neither a group nor a dataset")

    def check_dataset(dataset: h5py.Dataset, full: str) -> None:
        if dataset.is_virtual or dataset.external:
            refuse(full, "keeps its data outside the file")
        if dataset.dtype.kind not in "biufS" or dataset.dtype.itemsize == 0 or dataset.shape is None:
            refuse(full, f"is of type {dataset.dtype}, which no dataset of ours has")
        n_bytes = int(np.prod([int(n) for n in dataset.shape], dtype=object)) * dataset.dtype.itemsize
        if n_bytes > MAXIMUM_EXPANSION * file_bytes:
            refuse(full, f"claims shape {dataset.shape}, {size(n_bytes)} in a file of {size(file_bytes)}")
        if dataset.chunks and int(np.prod(dataset.chunks, dtype=object)) * dataset.dtype.itemsize > MAXIMUM_CHUNK_BYTES:
            refuse(full, f"has chunks of shape {dataset.chunks}")
        unknown = set(filters(dataset)) - {*codec.PIPELINE, ZSTD}
        if unknown:
            refuse(full, f"is stored through unknown filters {sorted(unknown)}")
        if ZSTD in filters(dataset):
            import_zstd()

    visit(file, 0)


def filters(dataset: h5py.Dataset) -> tuple[int, ...]:
    """Numbers of the dataset's filters, in order."""
    plist = dataset.id.get_create_plist()
    return tuple(plist.get_filter(i)[0] for i in range(plist.get_nfilters()))


def rows_in_chunk(path: str, dtype: np.dtype[Any], tail: tuple[int, ...]) -> int:
    if path.strip("/") == "signal":
        return SIGNAL_CHUNK_ROWS
    return max(1, COLUMN_CHUNK_BYTES // (dtype.itemsize * int(np.prod(tail, dtype=int))))


def plain_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """``dtype`` little-endian and without h5py's metadata."""
    return np.dtype(dtype.str).newbyteorder("<")


def dataset_paths(group: h5py.Group) -> list[str]:
    """Paths (``/quality/noise``) of all datasets, sorted."""
    paths: list[str] = []
    group.visititems(lambda name, item: paths.append("/" + name) if isinstance(item, h5py.Dataset) else None)
    return sorted(paths)


def hash_header(path: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """What precedes a dataset's bytes in ``content_sha256``, as ASCII: ``/scale <f4 (1200, 2)`` and a newline."""
    return f"{path} {plain_dtype(dtype).str} {tuple(int(n) for n in shape)}\n".encode()


def content_sha256(file: h5py.File) -> str:
    """SHA-256 over path, dtype, shape and uncompressed little-endian bytes of every dataset in sorted path order."""
    digest = hashlib.sha256()
    with ThreadPoolExecutor(THREADS) as pool:
        for path in dataset_paths(file):
            add_to_hash(digest, path, file[path], pool)
    return digest.hexdigest()


def add_to_hash(digest: Any, path: str, dataset: h5py.Dataset, pool: ThreadPoolExecutor) -> None:
    """A dataset's part of ``content_sha256``."""
    digest.update(hash_header(path, dataset.dtype, dataset.shape))
    for rows in RowsReader(dataset).chunks(pool):
        digest.update(np.ascontiguousarray(rows).data)


def check_stored(file: h5py.File) -> None:
    """Raises ``MachineError`` where chunks are not as ``RowsWriter`` handed them to the file."""
    for path in dataset_paths(file):
        dataset = file[path]
        if STORED_CRC32 in dataset.attrs and RowsReader(dataset).stored_crc32() != dataset.attrs[STORED_CRC32]:
            raise MachineError(
                f"{file.filename}: the disk returned other bytes of {path} than were written; check this disk"
            )


def import_zstd() -> Any:
    try:
        import hdf5plugin
    except ImportError as error:
        raise ConfigurationError(
            "zstd needs the extra of that name: pip install 'ecgconsole[zstd]', or set build.compression to gzip"
        ) from error
    return hdf5plugin


def _filters(compression: str) -> dict[str, Any]:
    """Keywords of ``create_dataset``."""
    checked = {"shuffle": True, "fletcher32": True}
    if compression == "gzip":
        return {**checked, "compression": "gzip", "compression_opts": codec.DEFLATE_LEVEL}
    return checked if compression == "none" else {**checked, **import_zstd().Zstd()}


def _offset(row: int, plane: int, n_tail: int) -> tuple[int, ...]:
    """Where the chunk of ``plane`` begins whose first row is ``row``, in a dataset of ``1 + n_tail`` axes."""
    return (row, *([plane] + [0] * (n_tail - 1) if n_tail else []))
