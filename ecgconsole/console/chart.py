"""A chart of lines with axes, drawn in braille; redraws only the rows that changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
from rich.segment import Segment
from textual import events
from textual.strip import Strip

from ecgconsole.console.raster import (
    Extent,
    Range,
    axis_of,
    braille_codes,
    gap_columns,
    held,
    line_dots,
    point_dots,
    short_number,
    smoothed,
    ticks,
    visible,
)
from ecgconsole.console.rows import Rows

# Windows of the moving mean, as shares of a line's points.
SMOOTHING = (0.0, 0.005, 0.02, 0.1)
GAP, CROSSHAIR = "×", "│"
_LABEL_WIDTH = 8
_LEAST_POINTS = 4


@dataclass(frozen=True, eq=False)
class Series:
    """One line: ``x`` (n,) not falling, ``y`` (n,), NaN = gap; ``tone`` is one of ``rows.LINE_TONES``.

    ``sign`` stands at the line's last visible point, so that colour is not all that tells lines apart.
    ``points``: dots that are not joined; then ``x`` may be in any order.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    tone: str
    sign: str = ""
    points: bool = False

    @cached_property
    def extent(self) -> Extent:
        return Extent.of(self.y)

    @cached_property
    def x_extent(self) -> Extent:
        return Extent.of(self.x if self.points else self.x[[0, -1]] if self.x.size else self.x)

    def within(self, x_range: Range) -> slice | np.ndarray:
        """The points that have to do with this part of the axis."""
        if self.points:
            return (self.x >= x_range.low) & (self.x <= x_range.high)
        return visible(self.x, x_range)


@dataclass(frozen=True, eq=False)
class Marks:
    """Signs in the top row of the plot, at ``x`` (n,): beats, checkpoints."""

    x: np.ndarray
    sign: str
    tone: str


@dataclass
class _Canvas:
    """Characters as code points (height, width), and whose each is: an index into ``tones``."""

    codes: np.ndarray
    owner: np.ndarray
    tones: list[str] = field(default_factory=lambda: ["plain"])

    def draw(self, bits: np.ndarray, tone: str, alone: bool = False) -> None:
        """Adds dots; where lines share a cell, it has the colour of the later one, and with ``alone`` its dots only."""
        here = bits > 0
        self.codes[here] = bits[here] | (0 if alone else self.codes[here])
        self.owner[here] = self._index(tone)

    def put(self, row: int, columns: np.ndarray | int, sign: str, tone: str) -> None:
        self.codes[row, columns] = ord(sign)
        self.owner[row, columns] = self._index(tone)

    def _index(self, tone: str) -> int:
        if tone not in self.tones:
            self.tones.append(tone)
        return self.tones.index(tone)


class Chart(Rows):
    """Lines over a common x axis. Later series lie over earlier ones where they share a cell.

    It shows all of x, growing with it, until one zooms in. Wheel: zoom; drag: pan; click: crosshair. With ``hold``,
    axes grow in leaps: a line that gets longer changes the rows in which it grows, and nothing else moves.
    """

    DEFAULT_CSS = "Chart { height: 1fr; min-height: 4; }"

    def __init__(
        self,
        x_name: str,
        empty: str,
        log: bool = False,
        id: str | None = None,
        unit: str = "",
        legend: bool = False,
        hold: bool = True,
    ) -> None:
        super().__init__(id=id)
        self.hold = hold
        self.x_name = x_name
        self.empty = empty
        self.log_axis = log
        self.unit = unit
        self.legend = legend
        self.smoothing = 0
        self.crosshair: float | None = None
        self._view: tuple[float, float] | None = None
        self._series: tuple[Series, ...] = ()
        self._marks: tuple[Marks, ...] = ()
        self._held: dict[str, Range] = {}

    def plot(self, series: tuple[Series, ...], marks: tuple[Marks, ...] = ()) -> None:
        """Replaces what is drawn; zoom, crosshair and smoothing stay."""
        if [s.name for s in series] != [s.name for s in self._series]:
            self._held.clear()
        self._series, self._marks = series, marks
        if self.hold:
            self._held["x"] = held(axis_of(s.x_extent for s in series), self._held.get("x"))
        self.redraw()

    def act(self, name: str) -> None:
        """What a key asks for; ``name`` as in ``console.keys``."""
        {
            "zoom_in": lambda: self.zoom(0.5),
            "zoom_out": lambda: self.zoom(2.0),
            "left": lambda: self.pan(-0.25),
            "right": lambda: self.pan(0.25),
            "all": self.show_all,
            "crosshair": self.toggle_crosshair,
            "cross_left": lambda: self.move_crosshair(-1),
            "cross_right": lambda: self.move_crosshair(1),
            "smooth": self.smooth_more,
            "log": self.toggle_log,
        }[name]()

    def toggle_log(self) -> None:
        self.log_axis = not self.log_axis
        self.redraw()

    def smooth_more(self) -> None:
        """The next window of the moving mean, then none. The raw line stays visible behind."""
        self.smoothing = (self.smoothing + 1) % len(SMOOTHING)
        self.redraw()

    def zoom(self, factor: float, around: float | None = None) -> None:
        """Shows ``factor`` times as much of x, around a place on it (default: the crosshair, else the middle)."""
        everything, seen = self._everything(), self._x_range()
        centre = around if around is not None else self.crosshair
        if centre is None or not seen.low <= centre <= seen.high:
            centre = (seen.low + seen.high) / 2
        low, high = centre - (centre - seen.low) * factor, centre + (seen.high - centre) * factor
        least = (everything.high - everything.low) * _LEAST_POINTS / max([s.x.size for s in self._series] or [1])
        if high - low >= min(least, everything.high - everything.low):
            self._show(low, high)

    def pan(self, share: float) -> None:
        """Moves by a share of what is visible."""
        if self._view is None:
            return
        seen = self._x_range()
        by = share * (seen.high - seen.low)
        everything = self._everything()
        by = min(max(by, everything.low - seen.low), everything.high - seen.high)
        self._show(seen.low + by, seen.high + by)

    def show_all(self) -> None:
        self._view = None
        self.redraw()

    def toggle_crosshair(self) -> None:
        seen = self._x_range()
        self.crosshair = None if self.crosshair is not None else self._nearest((seen.low + seen.high) / 2)
        self.redraw()

    def move_crosshair(self, columns: int) -> None:
        seen = self._x_range()
        if self.crosshair is None:
            self.toggle_crosshair()
            return
        step = (seen.high - seen.low) / (2 * max(1, self._plot_width()))
        moved = self._nearest(min(max(self.crosshair + columns * step, seen.low), seen.high))
        # Where points are further apart than columns, a step is a point.
        for series in self._series:
            if moved == self.crosshair and not series.points and series.x.size:
                at = int(np.searchsorted(series.x, self.crosshair)) + columns
                moved = float(series.x[min(max(at, 0), series.x.size - 1)])
        self.crosshair = min(max(moved, seen.low), seen.high)
        self.redraw()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.zoom(0.8, self._x_at(event.x))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.zoom(1.25, self._x_at(event.x))

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if event.button and event.delta_x:
            self.pan(-event.delta_x / max(1, self._plot_width()))

    def on_click(self, event: events.Click) -> None:
        self.crosshair = self._nearest(self._x_at(event.x))
        self.redraw()

    def _show(self, low: float, high: float) -> None:
        everything = self._everything()
        low, high = max(low, everything.low), min(high, everything.high)
        self._view = None if (low, high) == (everything.low, everything.high) or low >= high else (low, high)
        self.redraw()

    def _everything(self) -> Range:
        return axis_of(s.x_extent for s in self._series)

    def _x_range(self) -> Range:
        return Range(*self._view) if self._view else self._held.get("x", self._everything())

    def _plot_width(self) -> int:
        return self.size.width - _LABEL_WIDTH - 1

    def _x_at(self, column: int) -> float:
        return self._x_range().at(min(max((column - _LABEL_WIDTH - 1 + 0.5) / max(1, self._plot_width()), 0.0), 1.0))

    def _nearest(self, x: float) -> float:
        """The point of any line that is nearest on the x axis."""
        found = [float(s.x[_index_near(s.x, x)]) for s in self._series if s.x.size and not s.points]
        return min(found, key=lambda at: abs(at - x)) if found else x

    def draw(self, width: int, height: int) -> list[Strip]:
        legend = int(self.legend and height > 5 and len(self._series) > 0)
        plot_width, plot_height = width - _LABEL_WIDTH - 1, height - 1 - legend
        if plot_width < 4 or plot_height < 1:
            return [Strip.blank(width)] * height
        dim = self.tone("muted")
        if not any(s.extent.finite for s in self._series):
            blank = [Strip.blank(width) for _ in range(height)]
            blank[height // 2] = Strip([Segment(self.empty.center(width)[:width], dim)])
            return blank
        x_range = self._x_range()
        parts = [s.within(x_range) for s in self._series]
        extents = (
            [Extent.of(s.y[part]) for s, part in zip(self._series, parts, strict=True)]
            if self._view
            else [s.extent for s in self._series]
        )
        y_range = axis_of(extents, self.log_axis)
        if self.hold and not self._view:
            y_range = self._held["y"] = held(y_range, self._held.get("y"))
        canvas = self._canvas(parts, x_range, y_range, plot_width, plot_height)
        labels = _y_labels(y_range, plot_height)
        plot = [
            Strip([Segment(labels.get(row, "").rjust(_LABEL_WIDTH)[:_LABEL_WIDTH] + " ", dim), *cells])
            for row, cells in enumerate(self._segments(canvas))
        ]
        seen, total = sum(e.finite for e in extents), sum(s.y.size for s in self._series)
        below = self._readout() or self._x_axis(x_range, plot_width, seen, total)
        corner = self.unit[:_LABEL_WIDTH].rjust(_LABEL_WIDTH) + " "
        plot.append(Strip([Segment((corner + below)[:width].ljust(width), dim)]))
        return [*[self._legend_strip(width)] * legend, *plot]

    def _canvas(
        self, parts: Sequence[slice | np.ndarray], x_range: Range, y_range: Range, width: int, height: int
    ) -> _Canvas:
        canvas = _Canvas(np.zeros((height, width), np.uint32), np.zeros((height, width), np.intp))
        gaps = np.zeros(width, bool)
        for series, part in zip(self._series, parts, strict=True):
            x, y = series.x[part], series.y[part]
            if series.points:
                canvas.draw(point_dots(x, y, width, height, x_range, y_range), series.tone)
                continue
            window = round(SMOOTHING[self.smoothing] * series.x.size)
            raw = line_dots(x, y, width, height, x_range, y_range)
            canvas.draw(raw, "muted" if window > 1 else series.tone)
            if window > 1:
                mean = line_dots(*smoothed(x, y, window, 8 * width), width, height, x_range, y_range)
                canvas.draw(mean, series.tone, alone=True)
            gaps |= gap_columns(x, y, width, x_range)
        canvas.codes = braille_codes(canvas.codes)
        canvas.put(height - 1, np.flatnonzero(gaps), GAP, "failed")
        if self.crosshair is not None and (at := _column(self.crosshair, x_range, width)) is not None:
            empty = np.flatnonzero(canvas.codes[:, at] == ord(" "))
            canvas.codes[empty, at] = ord(CROSSHAIR)
        for marks in self._marks:
            columns = [c for x in marks.x.tolist() if (c := _column(x, x_range, width)) is not None]
            canvas.put(0, np.array(columns, int), marks.sign, marks.tone)
        for series, part in zip(self._series, parts, strict=True):
            if series.sign and not series.points:
                _sign_end(canvas, series, part, x_range, y_range)
        return canvas

    def _segments(self, canvas: _Canvas) -> list[list[Segment]]:
        styles = [self.tone(tone) for tone in canvas.tones]
        rows = []
        for codes, owners in zip(canvas.codes.astype("<u4"), canvas.owner, strict=True):
            text = codes.tobytes().decode("utf-32-le")
            edges = np.flatnonzero(np.diff(owners, prepend=-1, append=-1)).tolist()
            rows.append([Segment(text[a:b], styles[owners[a]]) for a, b in pairwise(edges)])
        return rows

    def _legend_strip(self, width: int) -> Strip:
        segments = [Segment(" " * (_LABEL_WIDTH + 1))]
        for series in self._series:
            sign = series.sign or ("●" if series.points else "━")
            segments += [Segment(f"{sign} ", self.tone(series.tone)), Segment(f"{series.name}   ")]
        return Strip(segments).crop(0, width).extend_cell_length(width)

    def _readout(self) -> str:
        """The values under the crosshair."""
        if self.crosshair is None:
            return ""
        parts = [f"{self.x_name} {short_number(self.crosshair)}"]
        for series in self._series:
            if series.x.size and not series.points:
                parts.append(f"{series.name} {short_number(float(series.y[_index_near(series.x, self.crosshair)]))}")
        return f"{CROSSHAIR} " + "  ".join(parts)

    def _x_axis(self, axis: Range, width: int, seen: int, total: int) -> str:
        line = [" "] * width
        mean = max([round(SMOOTHING[self.smoothing] * s.x.size) for s in self._series] or [0])
        notes = [f"mean of {mean:,}"] if mean > 1 else []
        # Groups of points overlap: whoever draws them says how many there are.
        number = [] if any(s.points for s in self._series) else [f"{seen:,} of {total:,} points"]
        tail = "  ".join([self.x_name, *notes, *number])
        room = width - len(tail) - 1
        if room < 20 <= width - len(self.x_name):
            tail = self.x_name
            room = width - len(tail) - 1
        for value in ticks(axis, max(1, room // 10)):
            text = short_number(value)
            at = round(float(axis.position(np.array([value]))[0]) * (width - 1)) - len(text) // 2
            at = max(0, at)
            if at + len(text) <= room and all(c == " " for c in line[max(0, at - 1) : at + len(text) + 1]):
                line[at : at + len(text)] = text
        if room >= 0:
            line[len(line) - len(tail) :] = tail
        return "".join(line)


def _y_labels(axis: Range, height: int) -> dict[int, str]:
    """Text by row. The ends of the axis stand where no round value falls."""
    values = ticks(axis, max(1, height // 3))
    if len(values) < 2:
        values = [axis.low, axis.high]
    positions = axis.position(np.array(values))
    return {round((1 - p) * (height - 1)): short_number(v) for p, v in zip(positions, values, strict=True)}


def _column(x: float, axis: Range, width: int) -> int | None:
    share = (x - axis.low) / (axis.high - axis.low)
    return min(int(share * width), width - 1) if 0 <= share <= 1 else None


def _index_near(x: np.ndarray, at: float) -> int:
    right = min(int(np.searchsorted(x, at)), x.size - 1)
    left = max(0, right - 1)
    return left if abs(x[left] - at) <= abs(x[right] - at) else right


def _sign_end(canvas: _Canvas, series: Series, part: slice | np.ndarray, x_range: Range, y_range: Range) -> None:
    """The series' sign where its line was last drawn."""
    height, width = canvas.codes.shape
    x, y = series.x[part], series.y[part]
    y = np.where(x <= x_range.high, y, np.nan)
    known = np.flatnonzero(np.isfinite(y[-1000:]))
    if known.size:
        last = max(0, y.size - 1000) + int(known[-1])
        column, up = _column(float(x[last]), x_range, width), float(y_range.position(y[last : last + 1])[0])
        if column is not None and 0 <= up <= 1:
            canvas.put(round((1 - up) * (height - 1)), column, series.sign, series.tone)
