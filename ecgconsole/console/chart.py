"""A chart of lines with axes, drawn in braille; redraws only the rows that changed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from rich.segment import Segment
from textual.strip import Strip

from ecgconsole.console.raster import Range, braille, line_dots, short_number, ticks, value_range
from ecgconsole.console.rows import Rows

_LABEL_WIDTH = 8


@dataclass(frozen=True)
class Series:
    """One line: ``x`` (n,) rising, ``y`` (n,), NaN = gap; ``tone`` is train, val or other."""

    name: str
    x: np.ndarray
    y: np.ndarray
    tone: str


class Chart(Rows):
    """Lines over a common x axis. Later series lie over earlier ones where they share a cell."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"rows--{tone}" for tone in ("train", "val", "other")}
    DEFAULT_CSS = """
    Chart {
        height: 1fr;
        min-height: 4;
        .rows--train { color: $accent; }
        .rows--val { color: $success; }
        .rows--other { color: $primary; }
    }
    """

    def __init__(self, x_name: str, empty: str, log: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self.x_name = x_name
        self.empty = empty
        self.log_axis = log
        self._series: tuple[Series, ...] = ()

    def plot(self, series: tuple[Series, ...]) -> None:
        """Replaces what is drawn."""
        self._series = series
        self.redraw()

    def toggle_log(self) -> None:
        self.log_axis = not self.log_axis
        self.redraw()

    def draw(self, width: int, height: int) -> list[Strip]:
        plot_width, plot_height = width - _LABEL_WIDTH - 1, height - 1
        if plot_width < 4 or plot_height < 1:
            return [Strip.blank(width)] * height
        dim = self.tone("muted")
        if not any(np.isfinite(s.y).any() for s in self._series):
            blank = [Strip.blank(width) for _ in range(height)]
            blank[plot_height // 2] = Strip([Segment(self.empty.center(width)[:width], dim)])
            return blank
        every_x = np.concatenate([s.x for s in self._series])
        x_range = value_range(every_x)
        y_range = value_range(np.concatenate([s.y for s in self._series]), self.log_axis)
        labels = self._y_labels(y_range, plot_height)
        cells = self._cells(x_range, y_range, plot_width, plot_height)
        rows = [
            Strip([Segment(labels.get(row, "").rjust(_LABEL_WIDTH) + " ", dim), *cells[row]])
            for row in range(plot_height)
        ]
        points = sum(int(np.isfinite(s.y).sum()) for s in self._series)
        rows.append(Strip([Segment(self._x_axis(x_range, plot_width, points, every_x.size)[:width].ljust(width), dim)]))
        return rows

    def _cells(self, x_range: Range, y_range: Range, width: int, height: int) -> list[list[Segment]]:
        bits = np.zeros((height, width), np.uint8)
        owner = np.zeros((height, width), np.intp)
        for k, series in enumerate(self._series):
            drawn = line_dots(series.x, series.y, width, height, x_range, y_range)
            bits |= drawn
            owner[drawn > 0] = k
        styles = [self.tone(s.tone) for s in self._series]
        rows = []
        for text, owners in zip(braille(bits), owner, strict=True):
            edges = np.flatnonzero(np.diff(owners, prepend=-1, append=-1))
            rows.append([Segment(text[a:b], styles[owners[a]]) for a, b in pairwise(edges)])
        return rows

    def _y_labels(self, axis: Range, height: int) -> dict[int, str]:
        """Text by row. The ends of the axis stand where no round value falls."""
        values = ticks(axis, max(1, height // 3))
        if len(values) < 2:
            values = [axis.low, axis.high]
        positions = axis.position(np.array(values))
        return {round((1 - p) * (height - 1)): short_number(v) for p, v in zip(positions, values, strict=True)}

    def _x_axis(self, axis: Range, width: int, finite: int, total: int) -> str:
        line = [" "] * (width + 1)
        tail = f"{self.x_name}   {finite:,} of {total:,} points"
        room = width - len(tail) - 1
        for value in ticks(axis, max(1, room // 10)):
            text = short_number(value)
            at = round(float(axis.position(np.array([value]))[0]) * (width - 1)) - len(text) // 2
            at = max(0, at)
            if at + len(text) <= room and all(c == " " for c in line[max(0, at - 1) : at + len(text) + 1]):
                line[at : at + len(text)] = text
        if room >= 0:
            line[len(line) - len(tail) :] = tail
        return " " * _LABEL_WIDTH + "".join(line)
