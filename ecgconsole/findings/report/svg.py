"""Drawing: scales, axes and marks as SVG text. Colours are CSS classes: a page can be light, dark or printed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Points = Sequence[tuple[float, float]]


def number(value: float) -> str:
    """A coordinate, to a tenth: ``12.5``, ``3``."""
    text = f"{value:.1f}"
    return text.removesuffix(".0") if text != "-0.0" else "0"


def text_of(value: float) -> str:
    """A number on an axis: ``0.05``, ``1,200``, ``−3``."""
    if value and abs(value) < 1e-3:
        return f"{value:.0e}".replace("-", "−")
    text = f"{value:,.3f}".rstrip("0").rstrip(".") if abs(value) < 1000 else f"{value:,.0f}"
    return text.replace("-", "−")


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``: steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    raw = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 times powers of ten, fewer where that would be more than seven."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples in ((1, 2, 5), (1, 3), (1,)):
        found = [m * 10.0**e for e in exponents for m in multiples if low * 0.999 <= m * 10.0**e <= high * 1.001]
        if len(found) <= 7:
            return found
    return found


@dataclass(frozen=True)
class Scale:
    """Values from ``low`` to ``high`` on pixels ``start`` to ``end``; values outside go to the border."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        value = min(max(value, low), high)
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)


@dataclass(frozen=True)
class Frame:
    """A plot's axes. 340 × 240 fits a phone without being scaled, and three of them a desk."""

    x: Scale
    y: Scale
    width: int = 340
    height: int = 240


def frame(
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    width: int = 340,
    height: int = 240,
    left: int = 52,
) -> Frame:
    return Frame(
        Scale(*x_range, left, width - 18),
        Scale(*y_range, height - 40, 14),
        width,
        height,
    )


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    return f'<line class="{css}" x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}"/>'


def label(x: float, y: float, text: object, css: str = "tick", anchor: str = "middle", turn: bool = False) -> str:
    turned = f' transform="rotate(-90 {number(x)} {number(y)})"' if turn else ""
    return (
        f'<text class="{css}" x="{number(x)}" y="{number(y)}" text-anchor="{anchor}"{turned}>{escape(str(text))}</text>'
    )


def rect(x: float, y: float, width: float, height: float, css: str, title: str = "") -> str:
    inner = f"<title>{escape(title)}</title>" if title else ""
    return (
        f'<rect class="{css}" x="{number(x)}" y="{number(y)}" width="{number(max(width, 0))}" '
        f'height="{number(max(height, 0))}">{inner}</rect>'
    )


def dot(x: float, y: float, radius: float, css: str, title: str = "") -> str:
    inner = f"<title>{escape(title)}</title>" if title else ""
    return f'<circle class="{css}" cx="{number(x)}" cy="{number(y)}" r="{number(radius)}">{inner}</circle>'


def path(points: Points, css: str) -> str:
    """A line through points in pixels; not-a-number breaks it."""
    commands, pen = [], "M"
    for x, y in points:
        if math.isnan(y) or math.isnan(x):
            pen = "M"
            continue
        commands.append(f"{pen}{number(x)} {number(y)}")
        pen = "L"
    return f'<path class="{css}" d="{"".join(commands)}"/>'


def axes(
    f: Frame,
    x_title: str,
    y_title: str,
    x_ticks: Iterable[float] | None = None,
    y_ticks: Iterable[float] | None = None,
    as_text: Callable[[float], str] = text_of,
    x_text: Callable[[float], str] = text_of,
) -> list[str]:
    """Grid, numbers and titles with units."""
    xs = ticks(f.x.low, f.x.high) if x_ticks is None else list(x_ticks)
    ys = ticks(f.y.low, f.y.high) if y_ticks is None else list(y_ticks)
    drawn = [line(f.x.start, f.y(v), f.x.end, f.y(v), "gridline") for v in ys]
    drawn += [label(f.x.start - 6, f.y(v) + 3.5, as_text(v), anchor="end") for v in ys]
    drawn.append(line(f.x.start, f.y.start, f.x.end, f.y.start, "axis"))
    drawn += [line(f.x(v), f.y.start, f.x(v), f.y.start + 4, "axis") for v in xs]
    drawn += [label(f.x(v), f.y.start + 15, x_text(v)) for v in xs]
    drawn.append(label((f.x.start + f.x.end) / 2, f.height - 7, x_title, "axis-title"))
    drawn.append(label(11, (f.y.start + f.y.end) / 2, y_title, "axis-title", turn=True))
    return drawn


def svg(width: float, height: float, drawn: Iterable[str], description: str, css: str = "chart") -> Markup:
    """A drawing with its description for those who cannot see it."""
    return Markup(
        f'<svg class="{css}" viewBox="0 0 {number(width)} {number(height)}" role="img" '
        f'aria-label="{escape(description)}">{"".join(drawn)}</svg>'
    )
