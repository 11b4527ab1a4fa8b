"""Lines as braille dots: NumPy min/max for each column of dots, exact for any number of points.

A braille cell holds 2 x 4 dots, so ``width`` x ``height`` cells show ``2 width`` x ``4 height`` dots.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

# Bit of the dot in row r, column c of a cell (Unicode 10.0, block Braille Patterns).
_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], np.uint8)
_BRAILLE = 0x2800
# An axis that grows does so by this share at once, and is held until it is so many times too long.
HELD_MARGIN = 0.12
HELD_TOO_LONG = 1.6


@dataclass(frozen=True)
class Range:
    """What an axis shows, in data units; ``log`` means that the axis is logarithmic (base 10)."""

    low: float
    high: float
    log: bool = False

    def position(self, values: np.ndarray) -> np.ndarray:
        """Values as shares of the axis, 0 at ``low``, 1 at ``high``; what a log axis cannot show is NaN."""
        low, high = self.low, self.high
        if self.log:
            with np.errstate(divide="ignore", invalid="ignore"):
                values = np.where(values > 0, np.log10(values), np.nan)
            low, high = math.log10(low), math.log10(high)
        return (values - low) / (high - low)

    def at(self, share: float) -> float:
        """The value at a share of the axis."""
        if self.log:
            return float(self.low * (self.high / self.low) ** share)
        return self.low + share * (self.high - self.low)


@dataclass(frozen=True)
class Extent:
    """What must be known of values to choose an axis: lowest, highest and lowest positive finite value, how many
    are finite. Lowest and highest are NaN where none is."""

    low: float
    high: float
    least_positive: float
    finite: int

    @staticmethod
    def of(values: np.ndarray) -> Extent:
        nothing = Extent(math.nan, math.nan, math.nan, 0)
        if not values.size:
            return nothing
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            values = values[np.isfinite(values)]
            if not values.size:
                return nothing
            low, high = float(values.min()), float(values.max())
        positive = low if low > 0 else float(np.min(values, where=values > 0, initial=math.inf))
        return Extent(low, high, positive if math.isfinite(positive) else math.nan, values.size)


def axis_of(extents: Iterable[Extent], log: bool = False) -> Range:
    """The axis that shows all of these, widened where it would be empty; 0 to 1 where there is nothing.

    A log axis that no value suits is refused by giving a linear one.
    """
    extents = [e for e in extents if e.finite]
    if not extents:
        return Range(0.0, 1.0)
    low, high = min(e.low for e in extents), max(e.high for e in extents)
    if log and (positive := [e.least_positive for e in extents if e.least_positive > 0]):
        low = min(positive)
        return Range(low, high, True) if low < high else Range(low / 2, low * 2, True)
    if low == high:
        return Range(low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2)
    return Range(low, high)


def value_range(values: np.ndarray, log: bool = False) -> Range:
    """``axis_of`` one array."""
    return axis_of([Extent.of(values)], log)


def held(axis: Range, before: Range | None) -> Range:
    """The axis as it was, while it shows everything and is not much too long; else longer by a share where it grows."""
    if before is None or axis.log != before.log:
        return axis
    low, high = axis.position(np.array([before.low, before.high])).tolist()
    if low <= 0 and high >= 1 and high - low <= HELD_TOO_LONG:
        return before
    if high - low > HELD_TOO_LONG or low > 1 or high < 0:
        return axis
    start = axis.at(-HELD_MARGIN) if low > 0 else before.low
    return Range(start, axis.at(1 + HELD_MARGIN) if high < 1 else before.high, axis.log)


def visible(x: np.ndarray, x_range: Range) -> slice:
    """The points on the axis, and one more on either side: their lines reach into it."""
    first = int(np.searchsorted(x, x_range.low, side="left"))
    last = int(np.searchsorted(x, x_range.high, side="right"))
    return slice(max(0, first - 1), last + 1)


def line_dots(x: np.ndarray, y: np.ndarray, width: int, height: int, x_range: Range, y_range: Range) -> np.ndarray:
    """Bits of the braille cells, uint8 (height, width), that a line through the points crosses.

    ``x`` (n,) must not fall; points outside the ranges are clipped away. Neighbours are joined; NaN in
    ``y`` are gaps and never bridged.
    """
    borders = np.linspace(x_range.low, x_range.high, 2 * width + 1)
    return _cells(*column_extremes(x, y, borders, y_range), height)


def gap_columns(x: np.ndarray, y: np.ndarray, width: int, x_range: Range) -> np.ndarray:
    """Columns of cells, bool (width,), in which a value is not a number."""
    found = np.zeros(width, bool)
    if x.size and not math.isfinite(float(y.sum())):
        share = x_range.position(x[np.isnan(y)])
        share = share[(share >= 0) & (share <= 1)]
        found[np.minimum((share * width).astype(int), width - 1)] = True
    return found


def smoothed(x: np.ndarray, y: np.ndarray, window: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Centred moving mean over ``window`` points, of those that are numbers; NaN where the point itself is not.

    Where there are far more points than ``most``, runs of points are first replaced by their means.
    """
    run = min(x.size // max(1, most), max(1, window // 4))
    if run > 1:
        n = x.size // run * run
        x = x[:n:run] + (x[run - 1 : n : run] - x[:n:run]) / 2
        y, window = _run_means(y[:n].reshape(-1, run)), max(1, window // run)
    if window < 2 or y.size < 2:
        return x, y
    known = np.isfinite(y)
    total = np.concatenate([[0.0], np.cumsum(np.where(known, y, 0.0))])
    number = np.concatenate([[0], np.cumsum(known)])
    first = np.maximum(np.arange(y.size) - window // 2, 0)
    last = np.minimum(first + window, y.size)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (total[last] - total[first]) / (number[last] - number[first])
    return x, np.where(known, mean, np.nan)


def _run_means(runs: np.ndarray) -> np.ndarray:
    """Means of rows, of those values that are numbers."""
    means = runs.mean(axis=1)
    holed = ~np.isfinite(means)
    if holed.any():
        known = np.isfinite(runs[holed])
        with np.errstate(divide="ignore", invalid="ignore"):
            means[holed] = np.where(known, runs[holed], 0).sum(axis=1) / known.sum(axis=1)
    return means


def point_dots(x: np.ndarray, y: np.ndarray, width: int, height: int, x_range: Range, y_range: Range) -> np.ndarray:
    """Bits of the cells, uint8 (height, width), in which points lie; points outside the ranges are left out."""
    across, up = x_range.position(x), y_range.position(y)
    inside = (across >= 0) & (across <= 1) & (up >= 0) & (up <= 1)
    dots = np.zeros((4 * height, 2 * width), bool)
    rows = np.rint((1 - up[inside]) * (4 * height - 1)).astype(int)
    dots[rows, np.minimum((across[inside] * 2 * width).astype(int), 2 * width - 1)] = True
    return _bits(dots)


def _cells(lows: np.ndarray, highs: np.ndarray, height: int) -> np.ndarray:
    """Bits of cells for columns of dots filled from ``lows`` to ``highs``, shares of the height."""
    dots = np.zeros((4 * height, len(lows)), bool)
    shown = np.isfinite(lows) & (highs >= 0) & (lows <= 1)
    if shown.any():
        last = 4 * height - 1
        top = np.rint((1 - np.clip(highs[shown], 0, 1)) * last).astype(int)
        bottom = np.rint((1 - np.clip(lows[shown], 0, 1)) * last).astype(int)
        rows = np.arange(4 * height)[:, None]
        dots[:, shown] = (rows >= top) & (rows <= bottom)
    return _bits(dots)


def _bits(dots: np.ndarray) -> np.ndarray:
    height, width = dots.shape[0] // 4, dots.shape[1] // 2
    return np.einsum("hrwc,rc->hw", dots.reshape(height, 4, width, 2), _BITS).astype(np.uint8)


def braille(bits: np.ndarray) -> list[str]:
    """Rows of text for cell bits (height, width); an empty cell is a space."""
    return [row.astype("<u4").tobytes().decode("utf-32-le") for row in braille_codes(bits)]


def braille_codes(bits: np.ndarray) -> np.ndarray:
    """The same as code points, uint32."""
    return np.where(bits > 0, bits + np.uint32(_BRAILLE), np.uint32(0x20))


def ticks(axis: Range, most: int) -> list[float]:
    """At most ``most`` round values on the axis, rising: 1, 2, 5 times a power of ten."""
    if most < 1:
        return []
    if axis.log and axis.high / axis.low >= 10:
        powers = range(math.ceil(math.log10(axis.low)), math.floor(math.log10(axis.high)) + 1)
        every = max(1, math.ceil(len(powers) / most))
        return [10.0**p for p in powers][::every]
    span = axis.high - axis.low
    step = 10.0 ** math.floor(math.log10(span / most)) if span > 0 else 1.0
    step *= next(m for m in (1, 2, 5, 10, 20) if math.floor(span / (step * m)) + 1 <= most or m == 20)
    first = math.ceil(axis.low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(axis.high / step + 1e-9) + 1)][:most]


def short_number(value: float) -> str:
    """A number as an axis or a table says it: three or four significant digits, no noise."""
    if value != value:
        return "–"
    magnitude = abs(value)
    if magnitude == 0:
        return "0"
    if magnitude >= 10_000:
        return f"{value:,.0f}"
    if magnitude < 0.001:
        return f"{value:.1e}".replace("e-0", "e-")
    return f"{value:.4g}"


def column_extremes(x: np.ndarray, y: np.ndarray, borders: np.ndarray, y_range: Range) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest point of the joined line between neighbouring ``borders``, as shares of ``y_range``.

    NaN where there is no line. No array as long as ``x`` is made: a million points cost a few milliseconds.
    """
    columns = len(borders) - 1
    lows, highs = np.full(columns, np.nan), np.full(columns, np.nan)
    if not x.size:
        return lows, highs
    # Points within each column. The right border belongs to the last column alone.
    starts = np.searchsorted(x, borders[:-1], side="left")
    ends = np.append(starts[1:], np.searchsorted(x, borders[-1], side="right"))
    filled = ends > starts
    if filled.any():
        # reduceat runs to the next index given, so the end of the last column is cut off by a view.
        inside, begin = y[: ends[-1]], starts[filled]
        least, most = np.minimum.reduceat(inside, begin), np.maximum.reduceat(inside, begin)
        if y_range.log or not (np.isfinite(least).all() and np.isfinite(most).all()):
            shown = np.where(inside > 0, inside, np.nan) if y_range.log and np.nanmin(least) <= 0 else inside
            least, most = np.fmin.reduceat(shown, begin), np.fmax.reduceat(shown, begin)
        lows[filled], highs[filled] = y_range.position(least), y_range.position(most)
    # Where the line crosses the borders of the columns.
    if x.size > 1:
        right = np.searchsorted(x, borders, side="left").clip(1, x.size - 1)
        left = right - 1
        gap = x[right] - x[left]
        before, after = y_range.position(y[left]), y_range.position(y[right])
        with np.errstate(divide="ignore", invalid="ignore"):
            at_border = before + np.where(gap > 0, (borders - x[left]) / gap, 0.0) * (after - before)
        at_border[(borders < x[0]) | (borders > x[-1])] = np.nan
        for extremes, of in ((lows, np.fmin), (highs, np.fmax)):
            extremes[:] = of(extremes, of(at_border[:-1], at_border[1:]))
    return lows, highs
