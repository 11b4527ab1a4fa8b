"""``.npz`` files written in pieces: the bytes that ``numpy.savez`` would write, without holding them."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Column:
    """An array by its shape, its type and its rows in pieces, in order."""

    shape: tuple[int, ...]
    dtype: np.dtype
    pieces: Iterable[NDArray]

    @classmethod
    def of(cls, array: NDArray) -> Column:
        return cls(array.shape, array.dtype, (array,))


def write_npz(file: IO[bytes], columns: Mapping[str, Column]) -> None:
    """Uncompressed, without a time, so that the same columns are the same bytes."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, column in columns.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                header = {
                    "descr": np.lib.format.dtype_to_descr(column.dtype),
                    "fortran_order": False,
                    "shape": column.shape,
                }
                np.lib.format.write_array_header_1_0(entry, header)
                for piece in column.pieces:
                    entry.write(np.ascontiguousarray(piece, column.dtype).tobytes())
