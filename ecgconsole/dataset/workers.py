"""Disposable worker processes: forked from a server that is as fresh as a spawned process, single-threaded, dead
as soon as their parent is.

The server imports what a build needs once, where spawned workers would each (most of a second of CPU), and while
the parent is still reading headers. It has no threads and has opened nothing, so what is forked from it is clean.
This module imports nothing heavy.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import Any, Protocol, TypeVar

from ecgconsole.errors import EcgConsoleError

T = TypeVar("T")
SINGLE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)
# glibc: batches reuse the memory of those before, where it would be given back and cleared by the kernel each time.
REUSED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 30), "MALLOC_TOP_PAD_": str(16 << 20)
}  # fmt: skip
PR_SET_PDEATHSIG = 1
# Imported by the server, for all workers.
PRELOADED = "ecgconsole.dataset.preloaded"


class Workers(Protocol):
    """Processes that do the work, here or on a cluster. Leaving the context ends them.

    ``n`` of them, at the start. ``deaths`` are the errors by which a future tells that its process died.
    """

    n: int
    deaths: tuple[type[BaseException], ...]

    def __enter__(self) -> Workers: ...

    def __exit__(self, *error: object) -> None: ...

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """As ``Executor.submit``."""

    def replace(self) -> None:
        """After a death: sees to it that there are living processes again. Futures under way may be lost."""


def start_workers(executor: str, n: int | None, scheduler_address: str | None) -> Workers:
    """Workers by ``build.executor``, ``build.num_workers`` and ``build.scheduler_address``."""
    if executor == "dask":
        from ecgconsole.dataset.cluster import DaskWorkers

        return DaskWorkers(n or default_workers(), scheduler_address)
    return LocalWorkers(n or default_workers())


def call(workers: Workers, function: Callable[..., T], *arguments: Any) -> T:
    """One call in a worker; tried a second time if its process dies."""
    for _ in range(2):
        try:
            return workers.submit(function, *arguments).result()
        except workers.deaths:
            workers.replace()
    raise EcgConsoleError(
        f"a worker process died twice in {function.__name__}: killed by the system for its memory, most likely"
    )


class LocalWorkers:
    """Processes on this machine, reused until one dies; none outlives this object or its process."""

    deaths: tuple[type[BaseException], ...] = (BrokenExecutor,)

    def __init__(self, n: int) -> None:
        self.n = n
        self._pool = self._new_pool()

    def __enter__(self) -> LocalWorkers:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """As ``Executor.submit``; a pool found broken is replaced first."""
        try:
            return self._pool.submit(function, *arguments)
        except BrokenExecutor:
            self.replace()
            return self._pool.submit(function, *arguments)

    def replace(self) -> None:
        """Ends all processes, whatever they do, and starts new ones."""
        self._end()
        self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPoolExecutor:
        start_server()
        return ProcessPoolExecutor(self.n, mp_context=multiprocessing.get_context("forkserver"), initializer=_start)

    def _end(self) -> None:
        pids = list(self._pool._processes or {})
        self._pool.shutdown(wait=False, cancel_futures=True)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def default_workers() -> int:
    """One for each core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_server() -> None:
    """Starts the server that workers are forked from, where it does not run yet."""
    multiprocessing.get_context("forkserver").set_forkserver_preload([PRELOADED])
    with _environment(SINGLE_THREAD | REUSED_MEMORY):  # of the server, before it loads NumPy
        forkserver.ensure_running()


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start() -> None:
    # The terminal's Ctrl-C is the parent's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    if sys.platform == "linux":
        # The server ends with the parent, and then a worker that is too busy to notice is killed.
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _exit_with_parent() -> None:
    process = multiprocessing.parent_process()
    if process is not None:
        process.join()
    os._exit(1)
