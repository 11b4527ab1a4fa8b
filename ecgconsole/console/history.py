"""The metrics of a run so far, as arrays to draw."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


class MetricHistory:
    """Grows by events; one column of steps and one of values for each metric's name.

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

    def add(self, events: Iterable[Mapping[str, Any]]) -> bool:
        """Takes the ``metric`` events among these; true if there was one. Null becomes NaN, a gap."""
        found = False
        for event in events:
            if event.get("kind") != "metric":
                continue
            if self._begins:
                self._forget_from(event["step"])
                self._begins = False
            for name, value in event["values"].items():
                steps = self._steps.setdefault(name, array("d"))
                values = self._values.setdefault(name, array("d"))
                steps.append(event["step"])
                values.append(float("nan") if value is None else value)
                found = True
        return found

    def names(self) -> list[str]:
        return list(self._values)

    def series(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps and values (n,), steps rising."""
        return np.array(self._steps.get(name, ()), float), np.array(self._values.get(name, ()), float)

    def _forget_from(self, step: float) -> None:
        for name, steps in self._steps.items():
            kept = int(np.searchsorted(np.array(steps, float), step))
            del steps[kept:], self._values[name][kept:]
