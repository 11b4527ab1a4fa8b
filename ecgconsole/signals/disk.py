"""Looking at files and folders of a disk that may be failing: one bad place is told from a disk that is gone."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

# What a bad sector, a failed checksum of the file system, a damaged inode and a stale handle of a network disk give.
DAMAGE = (errno.EIO, errno.EBADMSG, errno.ESTALE, getattr(errno, "EUCLEAN", errno.EIO))
RETRY_SECONDS = (0.5, 2.0)
_WITNESSES = 8
_WITNESS_DEPTH = 2


class UnreadableFile(Exception):
    """This file or folder cannot be looked at, and others beside it can."""


def read_bytes(path: Path, start: int, count: int) -> NDArray[np.uint8]:
    """``count`` bytes from byte ``start`` on, fewer only where the file ends before.

    Raises as ``patiently``.
    """
    return patiently(path, lambda: _read(path, start, count))


def size_of(path: Path) -> int:
    """Bytes of a file. Raises as ``patiently``."""
    return patiently(path, lambda: os.stat(path).st_size)


def patiently(path: Path, look: Callable[[], T]) -> T:
    """``look()``, which looks at ``path``, tried again after each of ``RETRY_SECONDS`` where that is damaged.

    Raises ``UnreadableFile`` where it stays damaged while the disk still answers for its neighbours, or may not be
    looked at; ``OSError`` for everything else.
    """
    for seconds in (*RETRY_SECONDS, None):
        try:
            return look()
        except PermissionError as error:
            raise UnreadableFile(error.strerror) from error
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
    """Whether another file near can be read from the disk itself, not from what is cached of it."""
    others = (p for p in _files(path.parent, _WITNESS_DEPTH) if p != path)
    for other in islice(others, _WITNESSES):
        try:
            with other.open("rb", buffering=0) as file:
                if hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                if file.read(1):
                    return True
        except OSError:
            continue  # no witness; the next may be
    return False


def _files(folder: Path, depth: int) -> Iterator[Path]:
    """Files that are not empty, in the folder and below it; what cannot be looked at is passed over."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    below = []
    for entry in entries:
        try:
            if entry.is_file() and entry.stat().st_size:
                yield entry
            elif depth and entry.is_dir():
                below.append(entry)
        except OSError:
            continue
    for entry in below:
        yield from _files(entry, depth - 1)
