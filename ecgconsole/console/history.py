"""The metrics of a run so far, as arrays to draw."""

from __future__ import annotations

from array import array
from collections.abc import Mapping

import numpy as np

from ecgconsole.console.sources.metrics import Columns


class MetricHistory:
    """Grows by what is read; one column of steps and one of values for each metric's name.

    It spans runs: one that resumes at a step goes on from there, and what an earlier run measured at
    later steps (after its last checkpoint) is forgotten, as the training has forgotten it.
    """

    def __init__(self) -> None:
        self._begins = False
        self._steps: dict[str, array[float]] = {}
        self._values: dict[str, array[float]] = {}

    def begin_run(self) -> None:
        """The next metric is the first of another run."""
        self._begins = True

    def add(self, metrics: Mapping[str, Columns]) -> None:
        """Columns of ``sources.metrics``, by name; null is NaN, a gap."""
        if not metrics:
            return
        if self._begins:
            self._forget_from(min(columns.step[0] for columns in metrics.values()))
            self._begins = False
        for name, columns in metrics.items():
            self._steps.setdefault(name, array("d")).extend(columns.step)
            self._values.setdefault(name, array("d")).extend(columns.value)

    def names(self) -> list[str]:
        return list(self._values)

    def series(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps and values (n,), steps rising."""
        return np.array(self._steps.get(name, ()), float), np.array(self._values.get(name, ()), float)

    def _forget_from(self, step: float) -> None:
        for name, steps in self._steps.items():
            kept = int(np.searchsorted(np.array(steps, float), step))
            del steps[kept:], self._values[name][kept:]
