"""A widget of text rows that redraws only the rows that changed."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

# A row is spans of text, each with a tone and, where it answers the mouse, an action (``app.show('data')``).
# A tone is a component class, so every theme can colour it.
Span = tuple[str, str] | tuple[str, str, str]
Row = Sequence[Span]
# Colours that tell lines and groups apart.
LINE_TONES = ("train", "val", "other", "fourth", "fifth", "sixth")
SPARKS = "▁▂▃▄▅▆▇█"


def wrapped_rows(rows: Sequence[Row], width: int) -> list[Row]:
    """Rows whose last span goes on below, indented, where it does not fit."""
    result: list[Row] = []
    for row in rows:
        *before, last = row or [("", "plain")]
        head = sum(cell_len(span[0]) for span in before)
        lines = textwrap.wrap("·" * head + last[0], max(20, width), subsequent_indent="    ") or [""]
        result.append([*before, (lines[0][head:], *last[1:])])
        result += [[(line, *last[1:])] for line in lines[1:]]
    return result


def sparkline(values: Sequence[float | None], width: int) -> str:
    """The last ``width`` values, scaled to their own range; a gap where there is none."""
    shown = values[-width:] if width > 0 else []
    known = [v for v in shown if v is not None and v == v]
    if not known:
        return ""
    low, span = min(known), max(known) - min(known)
    return "".join(
        " " if v is None or v != v else SPARKS[min(7, int(8 * (v - low) / span))] if span else SPARKS[3] for v in shown
    )


class Rows(Widget):
    """Rows of spans, cut and padded to the width. Textual re-sends every cell of a region that is
    refreshed, so a widget that refreshed itself whole would send all of a screen for one digit."""

    TONES: ClassVar[tuple[str, ...]] = ("plain", "muted", "strong", "running", "done", "warning", "failed", "selected")
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"rows--{tone}" for tone in (*TONES, *LINE_TONES)}
    DEFAULT_CSS = """
    Rows {
        height: auto;
        .rows--muted { color: $text-muted; }
        .rows--strong { text-style: bold; }
        .rows--running { color: $accent; }
        .rows--done { color: $success; }
        .rows--warning { color: $warning; }
        .rows--failed { color: $error; text-style: bold; }
        .rows--selected { text-style: bold reverse; }
        .rows--train { color: $accent; }
        .rows--val { color: $success; }
        .rows--other { color: $primary; }
        .rows--fourth { color: $warning; }
        .rows--fifth { color: $error; }
        .rows--sixth { color: $secondary; }
    }
    """

    def __init__(self, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._spans: tuple[tuple[Span, ...], ...] = ()
        self._strips: list[Strip] = []

    def show(self, rows: Sequence[Row]) -> None:
        """Replaces what is shown."""
        grown = len(rows) != len(self._spans)
        self._spans = tuple(tuple(row) for row in rows)
        if grown:
            self.refresh(layout=True)
        self.redraw()

    def redraw(self) -> None:
        """Draws anew and refreshes the rows that differ."""
        strips = self.draw(self.size.width, self.size.height)
        old = self._strips
        changed = [y for y, strip in enumerate(strips) if y >= len(old) or strip != old[y]]
        self._strips = strips
        if regions := [Region(0, y, self.size.width, 1) for y in (*changed, *range(len(strips), len(old)))]:
            self.refresh(*regions)

    def draw(self, width: int, height: int) -> list[Strip]:
        """All rows as strips of exactly ``width`` cells."""
        return [self._strip(row, width) for row in self._spans[:height]]

    def on_resize(self) -> None:
        self.redraw()

    def notify_style_update(self) -> None:
        """A theme was chosen: the colours of all rows are other ones now."""
        super().notify_style_update()
        self._strips = []
        if self.is_mounted:
            self.redraw()

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return len(self._spans)

    def render_line(self, y: int) -> Strip:
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width, self.rich_style)

    def tone(self, name: str) -> Style:
        return self.get_component_rich_style(f"rows--{name}")

    def _style(self, tone: str, action: str = "") -> Style:
        style = self.tone(tone)
        return style + Style(meta={"@click": action}) if action else style

    def _strip(self, row: Row, width: int) -> Strip:
        strip = Strip([Segment(span[0], self._style(*span[1:])) for span in row])
        if strip.cell_length > width:
            strip = strip.crop(0, max(0, width - 1))
            strip = Strip([*strip, Segment(set_cell_size("…", width - strip.cell_length), self.tone("muted"))])
        return strip.extend_cell_length(width, self.rich_style)
