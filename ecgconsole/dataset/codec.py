"""One HDF5 chunk at a time: shuffle, deflate, fletcher32 applied by hand.

HDF5 runs its filters one chunk after another with a slow deflate. Here a chunk is filtered with ISA-L
and handed to ``write_direct_chunk``; what comes out is what HDF5's own pipeline expects, so plain h5py
reads the file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from isal import igzip_lib, isal_zlib

# Of ISA-L's levels, 2 is as fast as 1 and 1.8 % smaller; 3 takes twice the time for nothing.
DEFLATE_LEVEL = 2

# https://docs.hdfgroup.org: registered filter numbers, in the order in which the pipeline applies them.
SHUFFLE, DEFLATE, FLETCHER32 = 2, 1, 3
PIPELINE = (SHUFFLE, DEFLATE, FLETCHER32)

# Sums in 32 bits are exact up to 65,537 rows: twice the size that a chunk may have.
_ROW_WORDS = 1024

_InflateError: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]


class DamagedChunk(Exception):
    """A chunk whose checksum or whose deflate stream is wrong."""


def shuffle(values: np.ndarray) -> np.ndarray:
    """Bytes by significance: all first bytes of the items, then all second bytes.

    Returns uint8 (itemsize, n), contiguous.
    """
    if values.dtype.itemsize == 2:
        words = values.view(np.uint16)
        planes = np.empty((2, *words.shape), np.uint8)
        planes[0] = words  # the low byte of each
        planes[1] = words >> 8
        return planes.reshape(2, -1)
    flat = np.ascontiguousarray(values).reshape(-1)
    return np.ascontiguousarray(flat.view(np.uint8).reshape(-1, flat.dtype.itemsize).T)


def unshuffle(raw: bytes, dtype: np.dtype[Any]) -> np.ndarray:
    """The inverse of ``shuffle``: a flat array of ``dtype``."""
    planes = np.frombuffer(raw, np.uint8).reshape(dtype.itemsize, -1)
    if dtype.itemsize == 2:
        words = planes[1].astype(np.uint16)
        words <<= 8
        words |= planes[0]
        return words.view(dtype)
    items = np.empty((planes.shape[1], dtype.itemsize), np.uint8)
    for byte, plane in enumerate(planes):
        items[:, byte] = plane
    return items.reshape(-1).view(dtype)


def fletcher32(data: bytes) -> bytes:
    """HDF5's Fletcher checksum of ``data``, as the four bytes that end a chunk.

    Sums run over big-endian 16-bit words (an odd last byte is the high half of one), modulo 65535 with
    65535 standing for 0 unless the sum itself is 0; the result is stored little-endian. Source:
    ``H5_checksum_fletcher32`` of the HDF5 library.
    """
    n = (len(data) + 1) // 2
    padded = data + bytes(-len(data) % (2 * _ROW_WORDS))
    # Little-endian, for speed: exchanging a word's bytes multiplies it by 256, modulo 65535.
    words = np.frombuffer(padded, "<u2").astype(np.uint32).reshape(-1, _ROW_WORDS)
    row_sums = words.sum(1, dtype=np.uint32).astype(np.uint64)
    column_sums = words.sum(0, dtype=np.uint32).astype(np.uint64)
    first = int(row_sums.sum())
    # The second sum weighs word i by n - i.
    weighted = _ROW_WORDS * _weighted(row_sums) + _weighted(column_sums)
    second = n * first - weighted
    return (_modulo(256 * second) << 16 | _modulo(256 * first)).to_bytes(4, "little")


def encode(values: np.ndarray) -> bytes:
    """A whole little-endian chunk through all filters, as the bytes that the file holds for it."""
    deflated = isal_zlib.compress(shuffle(values), DEFLATE_LEVEL)
    return bytes(deflated + fletcher32(deflated))


def decode(stored: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    """The chunk that ``encode`` stored, of the given chunk ``shape``. Raises ``DamagedChunk``."""
    deflated, checksum = stored[:-4], stored[-4:]
    if len(stored) < 4 or fletcher32(deflated) != checksum:
        raise DamagedChunk("its fletcher32 checksum is wrong")
    expected = int(np.prod(shape)) * dtype.itemsize
    # Bounded by the size that the chunk must have, so that no stored stream can ask for more memory.
    inflate = isal_zlib.decompressobj()
    try:
        raw = inflate.decompress(deflated, expected + 1)
    except _InflateError as error:
        raise DamagedChunk(f"it does not inflate: {error}") from error
    if len(raw) != expected:
        raise DamagedChunk(f"it inflates to {len(raw)} bytes, not {expected}")
    return unshuffle(raw, dtype).reshape(shape)


def _weighted(values: np.ndarray) -> int:
    return int(values @ np.arange(len(values), dtype=np.uint64))


def _modulo(total: int) -> int:
    return total % 65535 or (65535 if total else 0)
