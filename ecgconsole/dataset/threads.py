"""Order-preserving work in threads, for functions that release the interpreter's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
S = TypeVar("S")


def in_order(pool: ThreadPoolExecutor, function: Callable[[T], S], items: Iterable[T], ahead: int) -> Iterator[S]:
    """``function`` of each item, in the order of the items; at most ``ahead`` of them are under way."""
    pending: deque[Future[S]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
