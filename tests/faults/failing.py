"""A disk with bad sectors, as a worker process meets it. What is bad is read from files: a worker is spawned."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ecgconsole.dataset import shards
from ecgconsole.signals import disk

BAD = "bad sectors"
STAT = "stat:"


def let_fail(folder: Path, *names: str) -> None:
    """Files whose name ends so cannot be read by workers that write to ``folder``."""
    folder.parent.mkdir(exist_ok=True)
    (folder.parent / BAD).write_text("\n".join(names))


def build_shard(plan: Any, root: Path, config: Any, folder: Path, skip: frozenset[str]) -> Any:
    with bad_places((folder.parent / BAD).read_text().split("\n")):
        return shards.build_shard(plan, root, config, folder, skip)


@contextmanager
def bad_places(names: Sequence[str]) -> Iterator[None]:
    """What ends in one of ``names`` can be neither read nor listed in this process; nor looked at where the name is
    preceded by ``stat:``."""
    of_stat = tuple(n.removeprefix(STAT) for n in names if n.startswith(STAT))
    of_all = tuple(n.removeprefix(STAT) for n in names)

    def failing(function: Callable[..., Any], names: tuple[str, ...] = of_all) -> Callable[..., Any]:
        def call(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
            if not isinstance(path, int) and os.fsdecode(path).endswith(names):
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            return function(path, *args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "_read", failing(disk._read))
        patch.setattr(disk, "RETRY_SECONDS", (0.01,))
        patch.setattr(Path, "open", failing(Path.open))
        patch.setattr(os, "scandir", failing(os.scandir))
        patch.setattr(os, "listdir", failing(os.listdir))
        patch.setattr(os, "stat", failing(os.stat, of_stat))
        yield
