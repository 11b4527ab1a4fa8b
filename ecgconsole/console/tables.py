"""A table of plain text: no markup, numbers to the right, the cursor kept when it is filled anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text
from textual.widgets import DataTable

_SPARKS = "▁▂▃▄▅▆▇█"


class Column(NamedTuple):
    """``right``: numbers, set to the right; ``width`` in cells, None: as wide as what is in it."""

    label: str
    right: bool = False
    width: int | None = None


class Table(DataTable[Text]):
    """Rows by key. ``fill`` does nothing when nothing changed."""

    DEFAULT_CSS = """
    Table { height: 1fr; }
    """

    def __init__(self, columns: Sequence[Column], id: str | None = None) -> None:
        super().__init__(id=id, cursor_type="row", zebra_stripes=False)
        self._columns = columns
        self._shown: list[tuple[str, tuple[str, ...], str]] = []

    def on_mount(self) -> None:
        for index, column in enumerate(self._columns):
            self.add_column(
                Text(column.label, justify="right" if column.right else "left"), key=str(index), width=column.width
            )

    def fill(self, rows: Sequence[tuple[str, Sequence[str], str]]) -> None:
        """``rows``: key, cells and a style (``bold``, ``dim`` or empty) for each; the cursor stays on its key."""
        new = [(key, tuple(cells), style) for key, cells, style in rows]
        if new == self._shown:
            return
        kept = self.selected_key
        same_keys = [row[0] for row in new] == [row[0] for row in self._shown]
        old, self._shown = self._shown, new
        if same_keys:
            for (key, cells, style), before in zip(new, old, strict=True):
                for index, text in enumerate(cells):
                    if text != before[1][index] or style != before[2]:
                        self.update_cell(key, str(index), self._cell(index, text, style), update_width=True)
            return
        self.clear()
        for key, cells, style in new:
            self.add_row(*(self._cell(index, text, style) for index, text in enumerate(cells)), key=key)
        keys = [row[0] for row in new]
        if kept in keys:
            self.move_cursor(row=keys.index(kept), animate=False)

    @property
    def selected_key(self) -> str | None:
        """The key of the row under the cursor."""
        return self._shown[self.cursor_row][0] if 0 <= self.cursor_row < len(self._shown) else None

    def _cell(self, index: int, text: str, style: str) -> Text:
        return Text(text, style=style, justify="right" if self._columns[index].right else "left", no_wrap=True)


def sparkline(values: Sequence[float | None], width: int) -> str:
    """The last ``width`` values, scaled to their own range; a gap where there is none."""
    shown = values[-width:] if width > 0 else []
    known = [v for v in shown if v is not None and v == v]
    if not known:
        return ""
    low, span = min(known), max(known) - min(known)
    return "".join(
        " " if v is None or v != v else _SPARKS[min(7, int(8 * (v - low) / span))] if span else _SPARKS[3]
        for v in shown
    )
