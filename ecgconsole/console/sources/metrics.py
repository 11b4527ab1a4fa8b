"""The metrics of an event file as columns, incrementally and fast: JSON alone costs 4 to 9 µs an event."""

from __future__ import annotations

import json
import os
import re
from array import array
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

BLOCK_BYTES = 1 << 20
_METRIC = b'"kind": "metric"'
# A metric as ``EventWriter`` writes it; anything else takes the slow way.
_HEAD = rb'^\{"seq": \d+, "time": "([^"]{23})Z", "kind": "metric", "stage": "[^"]*", "step": (\d+), "epoch": (\d+), '
_NUMBER = rb"(-?[\d.]+(?:[eE][-+]?\d+)?|nan)"


_TIME_BYTES = 23


@dataclass
class Columns:
    """One metric: ``step``, ``epoch`` and ``value`` (n,), NaN for null; ``time``: n times of 23 bytes (UTC)."""

    step: array[float] = field(default_factory=lambda: array("d"))
    epoch: array[float] = field(default_factory=lambda: array("d"))
    value: array[float] = field(default_factory=lambda: array("d"))
    time: bytearray = field(default_factory=bytearray)

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
            x = np.frombuffer(bytes(self.time), f"S{_TIME_BYTES}").astype("datetime64[ms]").astype(np.int64) / 3.6e6
            x = x - x.min(initial=np.inf)
        order = np.argsort(x, kind="stable")
        return x[order], value[order]


class MetricReader:
    """Reads the metrics of a growing event file, each once. A torn last line is left until it is complete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.series: dict[str, Columns] = {}
        self._known: dict[tuple[str, ...], re.Pattern[bytes]] = {}

    def read_new(self) -> bool:
        """Takes what was added since the last call; whether there was a metric. An absent file is an empty one."""
        found = False
        try:
            with self.path.open("rb", buffering=0) as file:
                if os.fstat(file.fileno()).st_size < self.offset:
                    self.offset, self.series = 0, {}
                file.seek(self.offset)
                rest = b""
                while block := file.read(BLOCK_BYTES):
                    block = rest + block
                    end = block.rfind(b"\n") + 1
                    rest = block[end:]
                    self.offset += end
                    found |= self._take(block[:end])
        except FileNotFoundError:
            pass
        return found

    def take_new(self) -> dict[str, Columns]:
        """What was added since the last call, which is then no longer kept here."""
        self.read_new()
        taken, self.series = self.series, {}
        return taken

    def _take(self, block: bytes) -> bool:
        wanted = block.count(_METRIC)
        if not wanted:
            return False
        plain = block.replace(b": null", b": nan")
        taken = sum(self._match(plain, names, pattern) for names, pattern in self._known.items())
        while taken < wanted and (new := self._learn(plain)):
            taken += self._match(plain, new, self._known[new])
        if taken < wanted:  # lines of another writer, or torn and gone on with
            for line in plain.split(b"\n"):
                if _METRIC in line and not self._is_known(line):
                    self._slowly(line.replace(b": nan", b": null"))
        return True

    def _match(self, block: bytes, names: tuple[str, ...], pattern: re.Pattern[bytes]) -> int:
        rows = pattern.findall(block)
        if not rows:
            return 0
        time, step, epoch, *values = zip(*rows, strict=True)
        steps, epochs, times = array("d", map(float, step)), array("d", map(float, epoch)), b"".join(time)
        for name, column in zip(names, values, strict=True):
            self._add(name, steps, epochs, array("d", map(float, column)), times)
        return len(rows)

    def _slowly(self, line: bytes) -> None:
        try:
            event = json.loads(line)
            step, epoch = float(event["step"]), float(event["epoch"])
            time = str(np.datetime64(event["time"].rstrip("Z"), "ms")).encode()
            values = {str(k): float("nan") if v is None else float(v) for k, v in event["values"].items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            return  # torn by a kill, or no metric of ours
        for name, value in values.items():
            self._add(name, array("d", [step]), array("d", [epoch]), array("d", [value]), time)

    def _add(self, name: str, step: array[float], epoch: array[float], value: array[float], time: bytes) -> None:
        series = self.series.setdefault(name, Columns())
        series.step.extend(step)
        series.epoch.extend(epoch)
        series.value.extend(value)
        series.time.extend(time)

    def _is_known(self, line: bytes) -> bool:
        return any(pattern.match(line) for pattern in self._known.values())

    def _learn(self, block: bytes) -> tuple[str, ...] | None:
        """The set of names of the first line that fits no known pattern and can have one."""
        for found in re.finditer(
            rb'^\{"seq": \d+, [^\n]*"kind": "metric"[^\n]*"values": (\{[^{}\n]*\})\}$', block, re.MULTILINE
        ):
            if self._is_known(found[0]):
                continue
            names = tuple(n.decode() for n in re.findall(rb'"([A-Za-z0-9_. /@-]+)": ', found[1]))
            body = b", ".join(b'"%s": %s' % (re.escape(n).encode(), _NUMBER) for n in names)
            pattern = re.compile(_HEAD + rb'"values": \{' + body + rb"\}\}$", re.MULTILINE)
            if names and pattern.match(found[0]):
                self._known[names] = pattern
                return names
        return None


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
