"""Patients in equal measure: samples, halves, and how many patients a group really has."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")
Result = TypeVar("Result")


def balanced_rows(patient: NDArray, rows: NDArray, per_patient: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Ascending rows, at most ``per_patient`` of each patient, drawn without replacement.

    ``patient`` (n,) codes of all rows; ``rows`` (m,) those to draw from.
    """
    shuffled = rng.permutation(np.asarray(rows))
    order = np.argsort(patient[shuffled], kind="stable")
    grouped = patient[shuffled][order]
    starts = np.flatnonzero(np.r_[True, grouped[1:] != grouped[:-1]]) if len(grouped) else np.empty(0, int)
    rank = np.arange(len(grouped)) - np.repeat(starts, np.diff(np.r_[starts, len(grouped)]))
    return np.sort(shuffled[order[rank < per_patient]]).astype(np.int64)


def capped_rows(patient: NDArray, rows: NDArray, total: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Ascending rows, at most ``total``, with the same cap for each patient, the largest that fits."""
    sizes = np.unique(patient[rows], return_counts=True)[1]
    caps = range(1, int(sizes.max(initial=1)) + 1)
    fitting = bisect_right(caps, total, key=lambda cap: int(np.minimum(sizes, cap).sum()))
    chosen = balanced_rows(patient, rows, max(1, fitting), rng)
    return chosen if len(chosen) <= total else np.sort(rng.choice(chosen, total, replace=False))


def half_splits(patients: NDArray, repetitions: int, rng: np.random.Generator) -> list[tuple[NDArray, NDArray]]:
    """``repetitions`` pairs of halves of the patients; an odd one is left out of its split."""
    half = len(patients) // 2
    drawn = [rng.permutation(patients) for _ in range(repetitions)]
    return [(np.sort(d[:half]), np.sort(d[half : 2 * half])) for d in drawn]


def effective_patients(segments: NDArray) -> float:
    """Inverse Simpson index of the segments (patients,): how many equal patients would be as diverse.

    Simpson, Nature 163 (1949) 688; Hill number of order 2.
    """
    counts = np.asarray(segments, dtype=np.int64)
    return float(counts.sum()) ** 2 / float(max(1, (counts**2).sum()))


def in_order(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """``map`` over threads: results in the order of the items, at most ``workers`` of them begun ahead.

    The caller may stop iterating at any result; what has begun is awaited, nothing else starts.
    """
    remaining = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        pending = [pool.submit(function, item) for item in islice(remaining, workers)]
        while pending:
            result = pending.pop(0).result()
            pending += [pool.submit(function, item) for item in islice(remaining, 1)]
            yield result
