"""The same work on a Dask cluster: one that runs, or one of processes on this machine."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from ecgconsole.errors import ConfigurationError, MachineError
from ecgconsole.text import sanitise

T = TypeVar("T")
CONNECT_SECONDS = 30


class DaskWorkers:
    """Dask's workers behind ``workers.Workers``. All of them must see the recordings and the output folder.

    A worker that dies is replaced by Dask (its nanny, or the batch system), and ``KilledWorker`` says that
    a task went down with it. Raises ``ConfigurationError`` without the extra, ``MachineError`` where no
    scheduler answers.
    """

    def __init__(self, n: int, address: str | None) -> None:
        try:
            from distributed import Client, KilledWorker, LocalCluster
        except ImportError as error:
            raise ConfigurationError(
                "build.executor = dask needs the extra of that name: pip install 'ecgconsole[dask]'"
            ) from error
        self.deaths: tuple[type[BaseException], ...] = (KilledWorker,)
        self._cluster = None
        if address is None:
            self._cluster = LocalCluster(
                n_workers=n,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                # A task that brought a worker down is ours to judge, not the scheduler's to repeat.
                scheduler_kwargs={"allowed_failures": 0},
            )
        try:
            self._client = Client(self._cluster or address, timeout=CONNECT_SECONDS)
        except OSError as error:
            raise MachineError(
                f"no Dask scheduler answers at {sanitise(address, 200)} (build.scheduler_address):"
                f" {sanitise(error, 200)}"
            ) from error
        self.n = max(1, sum(self._client.nthreads().values()))
        self._executor = self._client.get_executor(pure=False)

    def __enter__(self) -> DaskWorkers:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        future: Future[T] = self._executor.submit(function, *arguments)
        return future

    def replace(self) -> None:
        """Dask replaces its workers itself; work under way on others goes on."""
