"""A file of raw arrays, one after the other; what is where, and the CRC-32 of each, is kept by whoever wrote it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypedDict

import numpy as np
from isal import isal_zlib

from ecgconsole.errors import MachineError

CHECKED_BYTES = 1 << 20


class Entry(TypedDict):
    """One array: where it begins, what it is, and the CRC-32 of its bytes."""

    offset: int
    dtype: str
    shape: list[int]
    crc32: int


class ArraysWriter:
    """Rows go to the file as they come, one array after the other; ``entries`` tells what is there."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._written = 0
        self.entries: dict[str, Entry] = {}

    def append(self, name: str, rows: np.ndarray) -> None:
        """Rows (n, ...) of the array that was appended to last, or of a new one."""
        rows = np.ascontiguousarray(rows, rows.dtype.newbyteorder("<"))
        if name not in self.entries:
            tail = list(rows.shape[1:])
            self.entries[name] = Entry(offset=self._written, dtype=rows.dtype.str, shape=[0, *tail], crc32=0)
        entry = self.entries[name]
        self._file.write(rows.data)
        self._written += rows.nbytes
        entry["shape"][0] += len(rows)
        entry["crc32"] = isal_zlib.crc32(rows.data, entry["crc32"])


@dataclass(frozen=True)
class Arrays:
    """A file that ``ArraysWriter`` wrote."""

    path: Path
    entries: dict[str, Entry]

    def n_rows(self, name: str) -> int:
        return self.entries[name]["shape"][0] if name in self.entries else 0

    def read(self, name: str) -> np.ndarray:
        """A whole array. Raises ``MachineError`` where it is not as it was written."""
        entry = self.entries[name]
        rows = np.empty(entry["shape"], entry["dtype"])
        self.read_into(rows, name, 0)
        self.check(name, isal_zlib.crc32(rows.data))
        return rows

    def read_into(self, rows: np.ndarray, name: str, start: int) -> None:
        """Fills ``rows`` with those from row ``start`` of an array on."""
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.entries[name]["offset"] + start * rows[:1].nbytes)
            if file.readinto(rows.data) != rows.nbytes:
                raise self._changed(name)

    def check(self, name: str, crc32: int) -> None:
        """Raises ``MachineError`` where ``crc32`` is not that of the array as it was written."""
        if crc32 != self.entries[name]["crc32"]:
            raise self._changed(name)

    def is_intact(self) -> bool:
        """Whether every array is as it was written. Raises ``OSError``."""
        with self.path.open("rb") as file:
            for entry in self.entries.values():
                left, crc32 = math.prod(entry["shape"]) * np.dtype(entry["dtype"]).itemsize, 0
                while left and (data := file.read(min(left, CHECKED_BYTES))):
                    left, crc32 = left - len(data), isal_zlib.crc32(data, crc32)
                if left or crc32 != entry["crc32"]:
                    return False
        return True

    def _changed(self, name: str) -> MachineError:
        return MachineError(f"{self.path}: the disk returned other bytes of {name} than were written; check this disk")
