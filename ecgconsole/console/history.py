"""The metrics of a run so far, as arrays to draw."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


class MetricHistory:
    """Grows by events; one column of steps and one of values for each metric's name."""

    def __init__(self) -> None:
        self._steps: dict[str, array[float]] = {}
        self._values: dict[str, array[float]] = {}

    def add(self, events: Iterable[Mapping[str, Any]]) -> bool:
        """Takes the ``metric`` events among these; true if there was one. Null becomes NaN, a gap."""
        found = False
        for event in events:
            if event.get("kind") != "metric":
                continue
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
        """Steps and values (n,), in the order of the steps: a resumed run may repeat some."""
        steps = np.array(self._steps.get(name, ()), float)
        values = np.array(self._values.get(name, ()), float)
        if steps.size and (np.diff(steps) < 0).any():
            order = np.argsort(steps, kind="stable")
            return steps[order], values[order]
        return steps, values
