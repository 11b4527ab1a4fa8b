"""Lines as braille dots: NumPy min/max for each column of dots, exact for any number of points.

A braille cell holds 2 x 4 dots, so ``width`` x ``height`` cells show ``2 width`` x ``4 height`` dots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

# Bit of the dot in row r, column c of a cell (Unicode 10.0, block Braille Patterns).
_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], np.uint8)
_BRAILLE = 0x2800


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


def value_range(values: np.ndarray, log: bool = False) -> Range:
    """The range of the finite values, widened where it would be empty; 0 to 1 where there are none.

    A log axis that no value suits is refused by giving a linear one.
    """
    finite = values[np.isfinite(values)]
    if log:
        positive = finite[finite > 0]
        log = positive.size > 0
        finite = positive if log else finite
    if not finite.size:
        return Range(0.0, 1.0)
    low, high = float(finite.min()), float(finite.max())
    if low == high:
        return Range(low / 2, high * 2, True) if log else Range(low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2)
    return Range(low, high, log)


def line_dots(x: np.ndarray, y: np.ndarray, width: int, height: int, x_range: Range, y_range: Range) -> np.ndarray:
    """Bits of the braille cells, uint8 (height, width), that a line through the points crosses.

    ``x`` (n,) must not fall; points outside the ranges are clipped away. Neighbours are joined; NaN in
    ``y`` are gaps and never bridged.
    """
    dots = np.zeros((4 * height, 2 * width), bool)
    lows, highs = _column_extremes(x_range.position(x), y_range.position(y), 2 * width)
    shown = np.isfinite(lows) & (highs >= 0) & (lows <= 1)
    if shown.any():
        last = 4 * height - 1
        top = np.rint((1 - np.clip(highs[shown], 0, 1)) * last).astype(int)
        bottom = np.rint((1 - np.clip(lows[shown], 0, 1)) * last).astype(int)
        rows = np.arange(4 * height)[:, None]
        dots[:, shown] = (rows >= top) & (rows <= bottom)
    cells = dots.reshape(height, 4, width, 2)
    return np.einsum("hrwc,rc->hw", cells, _BITS).astype(np.uint8)


def braille(bits: np.ndarray) -> list[str]:
    """Rows of text for cell bits (height, width); an empty cell is a space."""
    return ["".join(chr(_BRAILLE + b) if b else " " for b in row) for row in bits.tolist()]


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


def _column_extremes(x: np.ndarray, y: np.ndarray, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest ``y`` of the joined line within each of ``columns`` equal parts of ``x`` 0 to 1."""
    lows = np.full(columns, np.nan)
    highs = np.full(columns, np.nan)
    if not x.size:
        return lows, highs
    borders = np.linspace(0, 1, columns + 1)
    # Values of the line where it crosses the borders of the columns; NaN where it does not.
    right = np.searchsorted(x, borders, side="left").clip(1, max(1, x.size - 1))
    if x.size > 1:
        left = right - 1
        gap = x[right] - x[left]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(gap > 0, (borders - x[left]) / gap, 0.0)
            at_border = y[left] + share * (y[right] - y[left])
        at_border[(borders < x[0]) | (borders > x[-1])] = np.nan
    else:
        at_border = np.full(columns + 1, np.nan)
    # Points within each column. The right border belongs to the last column alone.
    starts = np.searchsorted(x, borders[:-1], side="left")
    ends = np.append(starts[1:], np.searchsorted(x, 1.0, side="right"))
    filled = ends > starts
    if filled.any():
        # reduceat runs to the next index given, so the end of the last column is cut off by a copy.
        inside = y[: ends[-1]]
        lows[filled] = np.fmin.reduceat(inside, starts[filled])
        highs[filled] = np.fmax.reduceat(inside, starts[filled])
    for extremes, of in ((lows, np.fmin), (highs, np.fmax)):
        extremes[:] = of(extremes, of(at_border[:-1], at_border[1:]))
    return lows, highs
