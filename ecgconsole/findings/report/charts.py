"""The kinds of chart on the page, each a drawing of plain numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from ecgconsole.findings.report.svg import (
    Points,
    Scale,
    axes,
    dot,
    frame,
    label,
    line,
    log_ticks,
    number,
    path,
    rect,
    svg,
    text_of,
    ticks,
)


@dataclass(frozen=True)
class Series:
    """A named line; ``css`` chooses its colour and dash, ``marks`` draws its points."""

    name: str
    points: Points
    css: str
    marks: bool = False


def _span(values: Sequence[float], pad: float = 0.05) -> tuple[float, float]:
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    if low == high:
        low, high = low - abs(low) * 0.1 - 0.01, high + abs(high) * 0.1 + 0.01
    room = (high - low) * pad
    return low - room, high + room


def percent(value: float) -> str:
    return f"{text_of(100 * value)} %"


def lines(
    series: Sequence[Series],
    x_title: str,
    y_title: str,
    description: str,
    mark_x: tuple[float, str] | None = None,
    y_range: tuple[float, float] | None = None,
) -> Markup:
    """Lines over a common axis; ``mark_x`` is an upright line with a word."""
    xs = [x for s in series for x, _ in s.points]
    ys = [y for s in series for _, y in s.points]
    f = frame((min(xs, default=0), max(xs, default=1)), y_range or _span(ys))
    drawn = axes(f, x_title, y_title)
    if mark_x is not None:
        x, word = mark_x
        at_end = f.x(x) > (f.x.start + f.x.end) / 2
        drawn.append(line(f.x(x), f.y.start, f.x(x), f.y.end, "mark"))
        drawn.append(label(f.x(x) + (-4 if at_end else 4), f.y.end + 9, word, "note", "end" if at_end else "start"))
    for s in series:
        places = [(f.x(x), f.y(y) if math.isfinite(y) else math.nan) for x, y in s.points]
        drawn.append(path(places, f"line {s.css}"))
        if s.marks or len(places) == 1:
            drawn += [dot(x, y, 2.6, f"dot {s.css}") for x, y in places if math.isfinite(y)]
    return svg(f.width, f.height, drawn, description)


def histogram(
    edges: NDArray, shares: Sequence[float | None], x_title: str, y_title: str, description: str, css: str = "fill-1"
) -> Markup:
    """Bars (n,) between edges (n + 1,); None is a bar that is not shown, drawn as a dotted foot."""
    top = max((s for s in shares if s is not None), default=0.0) or 1.0
    f = frame((float(edges[0]), float(edges[-1])), (0.0, top * 1.06), height=190)
    drawn = axes(f, x_title, y_title, as_text=percent, y_ticks=ticks(0, top, 3))
    for left, right, share in zip(edges[:-1], edges[1:], shares, strict=True):
        x1, x2 = f.x(float(left)), f.x(float(right))
        if share is None:
            drawn.append(line(x1 + 1, f.y.start - 2, x2 - 1, f.y.start - 2, "hidden-bin"))
        elif share > 0:
            y = f.y(share)
            title = f"{text_of(float(left))} to {text_of(float(right))}: {percent(round(share, 4))}"
            drawn.append(rect(x1 + 0.5, y, x2 - x1 - 1, f.y.start - y, css, title))
    return svg(f.width, f.height, drawn, description)


def roc(curves: Sequence[Series], description: str) -> Markup:
    f = frame((0.0, 1.0), (0.0, 1.0), height=300)
    drawn = axes(f, "1 − specificity", "sensitivity")
    drawn.append(line(f.x(0), f.y(0), f.x(1), f.y(1), "reference"))
    drawn.append(label(f.x(0.97), f.y(0.04), "chance", "note", "end"))
    drawn += [path([(f.x(x), f.y(y)) for x, y in s.points], f"line {s.css}") for s in curves]
    return svg(f.width, f.height, drawn, description)


@dataclass(frozen=True)
class Calibrated:
    """A group of patients: mean predicted risk, observed share, its interval."""

    risk: float
    observed: float
    low: float
    high: float


def calibration(groups: Sequence[tuple[str, Sequence[Calibrated]]], description: str) -> Markup:
    """``groups``: (css, points) of each model, drawn side by side at their own risk."""
    top = max((max(g.risk, g.high) for _, points in groups for g in points), default=1.0)
    top = min(1.0, top * 1.05)
    f = frame((0.0, top), (0.0, top), height=300)
    drawn = axes(f, "predicted risk", "observed share", as_text=percent, x_text=percent)
    drawn.append(line(f.x(0), f.y(0), f.x(top), f.y(top), "reference"))
    drawn.append(label(f.x(top * 0.97), f.y(top * 0.86), "perfect", "note", "end"))
    for css, points in groups:
        drawn += [line(f.x(g.risk), f.y(g.low), f.x(g.risk), f.y(g.high), f"whisker {css}") for g in points]
        drawn.append(path([(f.x(g.risk), f.y(g.observed)) for g in points], f"line thin {css}"))
        drawn += [
            dot(f.x(g.risk), f.y(g.observed), 3.4, f"dot {css}", f"{percent(g.risk)}: {percent(g.observed)}")
            for g in points
        ]
    return svg(f.width, f.height, drawn, description)


def decision(series: Sequence[Series], description: str) -> Markup:
    """Net benefit over threshold risk. Below zero is cut: it is no benefit, however far below."""
    best = max((y for s in series for _, y in s.points), default=0.0)
    top = best * 1.08 if best > 0 else 0.01
    xs = [x for s in series for x, _ in s.points]
    f = frame((min(xs), max(xs)), (-0.35 * top, top), height=300, left=54)
    drawn = axes(f, "threshold risk", "net benefit", x_text=percent, y_ticks=ticks(0, top, 4))
    for s in series:
        drawn.append(path([(f.x(x), f.y(y)) for x, y in _above(s.points, f.y.low)], f"line {s.css}"))
    return svg(f.width, f.height, drawn, description)


def _above(points: Points, floor: float) -> list[tuple[float, float]]:
    """The line until it first falls below ``floor``, to where it crosses."""
    kept: list[tuple[float, float]] = []
    for x, y in points:
        if y >= floor:
            kept.append((x, y))
            continue
        if kept:
            x0, y0 = kept[-1]
            kept.append((x0 + (x - x0) * (y0 - floor) / (y0 - y), floor))
        break
    return kept


FOREST_WIDTH = 300


def forest_scale(lows: Sequence[float], highs: Sequence[float]) -> Scale:
    """A common log scale: what the intervals span, at most from a hundredth to a hundred and with 1 inside."""
    low = max(0.01, min([0.5, *lows]) * 0.9)
    high = min(100.0, max([2.0, *highs]) * 1.1)
    return Scale(low, high, 18, FOREST_WIDTH - 18, log=True)


def forest_row(
    scale: Scale, ratio: float | None, low: float, high: float, adjusted: float | None, strong: bool, description: str
) -> Markup:
    """One odds ratio with its interval; arrows where the interval leaves the scale."""
    middle, one = 13, scale(1.0)
    css = "fill-strong" if strong else "fill-1"
    drawn = [line(one, 0, one, 26, "reference")]
    drawn.append(line(scale(low), middle, scale(high), middle, "whisker strong" if strong else "whisker c1"))
    if low < scale.low:
        drawn.append(f'<path class="{css}" d="M{number(scale.start - 7)} {middle}l7 -4v8z"/>')
    if high > scale.high:
        drawn.append(f'<path class="{css}" d="M{number(scale.end + 7)} {middle}l-7 -4v8z"/>')
    if adjusted is not None:
        drawn.append(dot(scale(adjusted), middle, 4.5, "ring"))
    if ratio is not None:
        drawn.append(rect(scale(ratio) - 4, middle - 4, 8, 8, css))
    return svg(FOREST_WIDTH, 26, drawn, description, "forest-row")


def forest_axis(scale: Scale) -> Markup:
    drawn = [line(scale.start, 4, scale.end, 4, "axis")]
    for value in log_ticks(scale.low, scale.high):
        drawn.append(line(scale(value), 4, scale(value), 8, "axis"))
        drawn.append(label(scale(value), 20, text_of(value)))
    return svg(FOREST_WIDTH, 24, drawn, "odds ratio, logarithmic", "forest-row")


def stability(table: Sequence[dict[str, float]], chosen: int, description: str) -> Markup:
    """Median agreement with quartiles for each number of patterns."""
    ks = [row["k"] for row in table]
    f = frame((min(ks) - 1, max(ks) + 1), (0.0, 1.0))
    drawn = axes(f, "number of patterns", "agreement (ARI)", x_ticks=ks, x_text=lambda v: f"{v:.0f}")
    drawn.append(line(f.x(f.x.low), f.y(0.5), f.x(f.x.high), f.y(0.5), "reference"))
    drawn.append(label(f.x.end, f.y(0.5) - 4, "below: unstable", "note", "end"))
    for row in table:
        css = "c1" if row["k"] == chosen else "c0"
        x = f.x(row["k"])
        drawn.append(line(x, f.y(row["lower_quartile"]), x, f.y(row["upper_quartile"]), f"whisker {css}"))
        drawn.append(dot(x, f.y(row["median_ari"]), 4, f"dot {css}", f"{row['k']}: {row['median_ari']:.2f}"))
        if row["k"] == chosen:
            drawn.append(label(x, f.y(row["upper_quartile"]) - 6, "chosen", "note"))
    return svg(f.width, f.height, drawn, description)


def bars(rows: Sequence[tuple[str, float, str]], description: str, css: str = "fill-1") -> Markup:
    """Horizontal bars: (name, value, what is written behind it)."""
    width, row_height, left = 520, 24, 178
    top = max((v for _, v, _ in rows), default=1.0) or 1.0
    x = Scale(0, top, left, width - 96)
    drawn = []
    for i, (name, value, words) in enumerate(rows):
        y = i * row_height
        drawn.append(label(left - 8, y + 15, name, "bar-name", "end"))
        drawn.append(rect(left, y + 4, max(x(value) - left, 1), 14, css))
        drawn.append(label(x(value) + 7, y + 15, words, "bar-value", "start"))
    return svg(width, row_height * len(rows) + 2, drawn, description, "chart wide")


_STRIP_WIDTH = 1000
_LEFT, _RIGHT = 44, 80
_PIXELS_A_MILLIVOLT = 40
_PPG_HEIGHT = 84.0


def strip(ecg_mv: NDArray | None, ppg_nu: NDArray | None, sampling_rate_hz: float, description: str) -> Markup:
    """ECG over PPG, ten seconds as on paper: a line every 0.2 s and 0.5 mV. Arrays (T,); None is no signal."""
    samples = max(len(signal) for signal in (ecg_mv, ppg_nu) if signal is not None)
    seconds = samples / sampling_rate_hz
    a_second = _STRIP_WIDTH / seconds
    step = a_second / sampling_rate_hz
    right = _LEFT + _STRIP_WIDTH
    drawn: list[str] = []
    y = 4.0
    if ecg_mv is not None:
        low = max(-4.0, math.floor(float(ecg_mv.min()) * 2) / 2)
        high = min(4.0, max(math.ceil(float(ecg_mv.max()) * 2) / 2, low + 1.5))
        height = (high - low) * _PIXELS_A_MILLIVOLT
        drawn += _paper(seconds, y, height, a_second)
        zero = y + high * _PIXELS_A_MILLIVOLT
        drawn.append(_trace(np.clip(ecg_mv, low, high), step, zero, _PIXELS_A_MILLIVOLT, "trace-ecg"))
        drawn.append(label(_LEFT - 8, y + height / 2 + 4, "ECG", "strip-name", "end"))
        drawn += _scale_bar(right, y + height - 6, _PIXELS_A_MILLIVOLT, "1 mV", "ecg-bar")
        y += height + 8
    if ppg_nu is not None:
        spread = float(np.ptp(ppg_nu)) or 1.0
        gain = (_PPG_HEIGHT - 10) / spread
        middle = float(ppg_nu.max() + ppg_nu.min()) / 2
        seconds_at = [_LEFT + s * a_second for s in range(math.floor(seconds) + 1)]
        drawn += [line(x, y, x, y + _PPG_HEIGHT, "paper-bold") for x in seconds_at]
        drawn.append(_trace(ppg_nu - middle, step, y + _PPG_HEIGHT / 2, gain, "trace-ppg"))
        drawn.append(label(_LEFT - 8, y + _PPG_HEIGHT / 2 + 4, "PPG", "strip-name", "end"))
        bar = max(t for t in [*ticks(0, spread, 3), spread / 2] if t <= spread * 0.75)
        drawn += _scale_bar(right, y + _PPG_HEIGHT - 6, bar * gain, f"{text_of(bar)} NU", "ppg-bar")
        y += _PPG_HEIGHT + 4
    for s in range(math.floor(seconds) + 1):
        drawn.append(label(_LEFT + s * a_second, y + 12, f"{s} s" if s == math.floor(seconds) else s))
    return svg(_LEFT + _STRIP_WIDTH + _RIGHT, y + 18, drawn, description, "strip")


def _scale_bar(x: float, foot: float, height: float, words: str, css: str) -> list[str]:
    return [
        line(x + 10, foot, x + 10, foot - height, css),
        label(x + 16, foot - height / 2 + 4, words, "strip-name", "start"),
    ]


def _paper(seconds: float, top: float, height: float, a_second: float) -> list[str]:
    """Lines every 0.2 s and 0.5 mV, the seconds stronger."""
    half_millivolt = _PIXELS_A_MILLIVOLT // 2
    fifths = range(int(seconds * 5) + 1)
    fine = [f"M{number(_LEFT + i * a_second / 5)} {number(top)}v{number(height)}" for i in fifths]
    levels = range(round(height / half_millivolt) + 1)
    fine += [f"M{_LEFT} {number(top + i * half_millivolt)}h{_STRIP_WIDTH}" for i in levels]
    bold = [f"M{number(_LEFT + s * a_second)} {number(top)}v{number(height)}" for s in range(int(seconds) + 1)]
    return [f'<path class="paper" d="{"".join(fine)}"/>', f'<path class="paper-bold" d="{"".join(bold)}"/>']


def _trace(values: NDArray, step: float, zero: float, gain: float, css: str) -> str:
    """Samples as a path in tenths of a pixel, each relative to the one before: half the characters."""
    xs = np.round((_LEFT + np.arange(len(values)) * step) * 10).astype(int)
    ys = np.round((zero - values * gain) * 10).astype(int)
    moves = " ".join(f"{dx} {dy}" if dy >= 0 else f"{dx}{dy}" for dx, dy in zip(np.diff(xs), np.diff(ys), strict=True))
    return f'<path class="{css}" transform="scale(.1)" d="M{xs[0]} {ys[0]}l{moves}"/>'
