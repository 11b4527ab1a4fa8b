"""The metrics of an event file as columns, incrementally and fast."""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ecgconsole.console.sources.metric_lines import TIME_BYTES, Piece, take_apart
from ecgconsole.jobs.events import json_object

BLOCK_BYTES = 1 << 19


@dataclass
class Columns:
    """One metric: ``step``, ``epoch`` and ``value`` (n,), NaN for null; ``time``: n times of 23 bytes (UTC)."""

    step: array[float] = field(default_factory=lambda: array("d"))
    epoch: array[float] = field(default_factory=lambda: array("d"))
    value: array[float] = field(default_factory=lambda: array("d"))
    time: bytearray = field(default_factory=bytearray)

    def extend(self, where: Sequence[tuple[Piece, int]]) -> None:
        """By the rows of pieces of one block, in the order of its lines."""
        pieces = [piece for piece, _ in where]
        rows = [
            np.concatenate([piece.numbers[0] for piece in pieces]),
            np.concatenate([piece.numbers[1] for piece in pieces]),
            np.concatenate([piece.numbers[row] for piece, row in where]),
        ]
        times = b"".join(piece.times for piece in pieces)
        if len(pieces) > 1:
            order = np.argsort(np.concatenate([piece.lines for piece in pieces]))
            rows, times = [row[order] for row in rows], np.frombuffer(times, f"S{TIME_BYTES}")[order].tobytes()
        for column, row in zip((self.step, self.epoch, self.value), rows, strict=True):
            column.frombytes(row.tobytes())
        self.time += times

    def over(self, axis: str) -> tuple[np.ndarray, np.ndarray]:
        """Places on ``axis`` and values, rising. Axes: ``step``; ``epoch``, where steps lie evenly spread within
        theirs; ``time``, in hours since the first.
        """
        step, value = np.array(self.step), np.array(self.value)
        if axis == "step":
            x = step
        elif axis == "epoch":
            x = _within_epochs(np.array(self.epoch), step)
        else:
            x = np.frombuffer(bytes(self.time), f"S{TIME_BYTES}").astype("datetime64[ms]").astype(np.int64) / 3.6e6
            x = x - x.min(initial=np.inf)
        order = np.argsort(x, kind="stable")
        return x[order], value[order]


class MetricReader:
    """Reads the metrics of a growing event file, each once. A torn last line is left until it is complete.

    ``with_events``: the other events are kept too, until ``take_events``: all but a training's progress and its metrics
    without a validation loss. So a large file is gone through once.
    """

    def __init__(self, path: Path, with_events: bool = False) -> None:
        self.path = path
        self.offset = 0
        self.series: dict[str, Columns] = {}
        self._with_events = with_events
        self._events: list[bytes] = []

    def read_new(self) -> bool:
        """Takes what was added since the last call; whether there was a metric. An absent file is an empty one."""
        found = False
        try:
            with self.path.open("rb", buffering=0) as file:
                if os.fstat(file.fileno()).st_size < self.offset:
                    self.offset, self.series, self._events = 0, {}, []
                file.seek(self.offset)
                rest = b""
                while block := file.read(BLOCK_BYTES):
                    block = rest + block
                    end = block.rfind(b"\n") + 1
                    rest = block[end:]
                    self.offset += end
                    found |= self._take(block[:end])
        except FileNotFoundError:
            return False  # nothing was written yet
        return found

    def take_new(self) -> dict[str, Columns]:
        """What was added since the last call, which is then no longer kept here."""
        self.read_new()
        taken, self.series = self.series, {}
        return taken

    def take_events(self) -> list[dict[str, Any]]:
        """The events kept since the last call, in the file's order. What is torn is left out."""
        taken, self._events = self._events, []
        return [event for line in taken if (event := json_object(line)) is not None]

    def _take(self, block: bytes) -> bool:
        found, others = take_apart(block)
        columns: dict[str, list[tuple[Piece, int]]] = {}
        for piece in found:
            for row, name in enumerate(piece.names, 2):
                columns.setdefault(name, []).append((piece, row))
        for name, where in columns.items():
            self.series.setdefault(name, Columns()).extend(where)
        if self._with_events:
            self._events += [line for _, line in sorted(others)]
        return bool(found)


def _within_epochs(epoch: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Epoch ``e`` as positions up to ``e``: its last step lies at ``e``, the others evenly before."""
    if not len(epoch):
        return epoch
    numbers, inverse = np.unique(epoch, return_inverse=True)
    last = np.full(len(numbers), -np.inf)
    np.maximum.at(last, inverse, step)
    first = np.concatenate([[min(step.min() - 1, last[0])], last[:-1]])
    span = np.maximum(last - first, 1e-9)
    position = numbers[inverse] - np.clip((last[inverse] - step) / span[inverse], 0, 1)
    return np.where(last[inverse] == step, numbers[inverse], position)
