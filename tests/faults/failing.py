"""A disk with bad sectors, as a worker process meets it. What is bad is read from files: a worker is spawned."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np

from ecgconsole.dataset import shards
from ecgconsole.signals import disk

BAD = "bad sectors"


def let_fail(folder: Path, *names: str) -> None:
    """Files whose name ends so cannot be read by workers that write to ``folder``."""
    folder.parent.mkdir(exist_ok=True)
    (folder.parent / BAD).write_text("\n".join(names))


def build_shard(plan: Any, root: Path, config: Any, folder: Path, skip: frozenset[str]) -> Any:
    bad = tuple((folder.parent / BAD).read_text().split("\n"))
    read, open_file, retry_seconds = disk._read, Path.open, disk.RETRY_SECONDS

    def failing(path: Path, start: int, count: int) -> np.ndarray:
        if path.name.endswith(bad):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return read(path, start, count)

    def opening(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name.endswith(bad):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return open_file(path, *args, **kwargs)

    disk._read, Path.open, disk.RETRY_SECONDS = failing, opening, (0.01,)
    try:
        return shards.build_shard(plan, root, config, folder, skip)
    finally:
        disk._read, Path.open, disk.RETRY_SECONDS = read, open_file, retry_seconds
