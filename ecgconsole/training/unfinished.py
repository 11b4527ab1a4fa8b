"""Embeddings on their way: rows on disk as they are made, so that a kill costs seconds and memory does not grow."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgconsole.workspace import write_json

_SYNC_SECONDS = 5.0


class Unfinished:
    """Rows (n, dimensions) of float32 in ``folder``, written from the first on.

    What is there already counts if it was made of the same things (``identity``), as far as it was synced; else it
    is thrown away.
    """

    def __init__(self, folder: Path, identity: str, n: int, dimensions: int) -> None:
        self._folder, self._state = folder, folder / "state.json"
        self._identity, self._n, self._dimensions = identity, n, dimensions
        self._rows = folder / "rows.f32"
        self.done = self._found()
        if self.done == 0:
            self.remove()
            folder.mkdir(parents=True)
        self._file = self._rows.open("r+b" if self.done else "w+b")
        self._file.truncate(self.done * 4 * dimensions)
        self._file.seek(0, os.SEEK_END)
        self._synced = time.monotonic()

    def keep_multiple_of(self, rows: int) -> int:
        """Forgets rows beyond the last multiple of ``rows``, unless all are there; returns how many are kept."""
        if self.done < self._n:
            self.done -= self.done % rows
            self._file.truncate(self.done * 4 * self._dimensions)
            self._file.seek(0, os.SEEK_END)
        return self.done

    def append(self, rows: NDArray[np.float32]) -> None:
        self._file.write(np.ascontiguousarray(rows, "<f4").tobytes())
        self.done += len(rows)
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """What was appended outlives a kill, and the machine's end."""
        self._file.flush()
        os.fsync(self._file.fileno())
        write_json(self._state, {"identity": self._identity, "rows": self.done})
        self._synced = time.monotonic()

    def rows(self) -> NDArray[np.float32]:
        """All rows, read from disk as they are used."""
        self.sync()
        if self.done == 0:
            return np.empty((0, self._dimensions), np.float32)
        return np.memmap(self._rows, "<f4", "r", shape=(self.done, self._dimensions))

    def close(self) -> None:
        self._file.close()

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _found(self) -> int:
        try:
            state = json.loads(self._state.read_bytes())
            size = self._rows.stat().st_size
        except (OSError, ValueError):
            return 0
        known = isinstance(state, dict) and state.get("identity") == self._identity
        rows = state.get("rows") if known else 0
        whole = isinstance(rows, int) and 0 < rows <= self._n and rows * 4 * self._dimensions <= size
        return rows if whole else 0
