"""A process that is killed at its n-th write, of whatever kind."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from itertools import count
from typing import Any

import h5py

from ecgconsole.dataset.arrays import ArraysWriter
from ecgconsole.dataset.storage import RowsWriter


def survivors_of_kills(action: Callable[[], Any]) -> Any:
    """Yields after each run of ``action`` in a child that is killed at write 1, then at write 2, ...

    Ends after the first child that was not killed, because it had done its work. Writes are: a chunk, rows of a
    shard, an HDF5 file closed, an fsync, a rename, a removal.
    """
    for n in count(1):
        if not _killed_at(n, action):
            return
        yield n


def _killed_at(n: int, action: Callable[[], Any]) -> bool:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _arm(n)
            action()
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), f"the child failed at write {n} in a way of its own: status {status}"
    return status == signal.SIGKILL


def _arm(n: int) -> None:
    calls = count(1)

    def killing(function: Callable[..., Any], before: bool) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = None if before else function(*args, **kwargs)
            if next(calls) == n:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs) if before else result

        return call

    for owner, name, before in [
        (RowsWriter, "_write", False),
        (ArraysWriter, "append", False),
        (h5py.File, "close", True),
        (os, "fsync", True),
        (os, "fsync", False),
        (os, "replace", True),
        (os, "replace", False),
        (os, "unlink", True),
    ]:
        setattr(owner, name, killing(getattr(owner, name), before))
