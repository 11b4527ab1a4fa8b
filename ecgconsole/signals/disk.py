"""Reading files of a disk that may be failing: one bad file is told from a disk that is gone."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# What a bad sector, a failed checksum of the file system and a damaged inode give.
DAMAGE = (errno.EIO, errno.EBADMSG, getattr(errno, "EUCLEAN", errno.EIO))
RETRY_SECONDS = (0.5, 2.0)
_WITNESSES = 8


class UnreadableFile(Exception):
    """This file cannot be read, and others beside it can."""


def read_bytes(path: Path, start: int, count: int) -> NDArray[np.uint8]:
    """``count`` bytes from byte ``start`` on, fewer only where the file ends before.

    A damaged file is tried again after each of ``RETRY_SECONDS``. Raises ``UnreadableFile`` where it stays
    damaged while the disk still answers for its neighbours; ``OSError`` for everything else.
    """
    for seconds in (*RETRY_SECONDS, None):
        try:
            return _read(path, start, count)
        except OSError as error:
            if error.errno not in DAMAGE:
                raise
            if seconds is None:
                if _disk_answers(path):
                    raise UnreadableFile(error.strerror) from error
                raise
            time.sleep(seconds)
    raise AssertionError("the last attempt returns or raises")


def _read(path: Path, start: int, count: int) -> NDArray[np.uint8]:
    # Not numpy.fromfile: it takes a failing disk for the end of the file.
    data = np.empty(count, np.uint8)
    filled = 0
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while filled < count and (n := file.readinto(data.data[filled:])):
            filled += n
    return data[:filled]


def _disk_answers(path: Path) -> bool:
    """Whether another file of the folder can be read from the disk itself, not from what is cached of it."""
    others = sorted(p for p in path.parent.iterdir() if p != path and p.is_file() and p.stat().st_size)
    for other in others[:_WITNESSES]:
        try:
            with other.open("rb", buffering=0) as file:
                if hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                if file.read(1):
                    return True
        except OSError:
            continue  # no witness; the next may be
    return False
