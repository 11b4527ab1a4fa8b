"""A table that draws the rows one sees, whatever their number; sortable, searchable, by keys and mouse."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip

from ecgconsole.console.rows import Rows


@dataclass(frozen=True)
class Column:
    """``width`` in cells; the first column without one takes what is left. Numbers stand at the right."""

    title: str
    width: int = 0
    right: bool = False


@dataclass(frozen=True)
class Cell:
    """Text in a tone, and what it is sorted by (default: the text)."""

    text: str
    sort: float | str | None = None
    tone: str = "plain"

    @property
    def key(self) -> tuple[int, float | str]:
        """Numbers before texts; not a number comes last."""
        value = self.text if self.sort is None else self.sort
        if isinstance(value, str):
            return 1, value
        return (0, value) if value == value else (2, 0.0)


class Table(Rows, can_focus=True):
    """Columns that do not fit are left out, from the last on. ``cursor`` is the index of a row as given, ``key`` its
    key. ``fixed``: a click on a head sorts nothing.
    """

    class Moved(Message):
        """The cursor stands on another row."""

        def __init__(self, table: Table) -> None:
            super().__init__()
            self.table = table

        @property
        def control(self) -> Table:
            return self.table

    class Chosen(Moved):
        """Enter, or a click on the row where the cursor was."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "move(-1000000000)", show=False),
        Binding("end", "move(1000000000)", show=False),
        Binding("enter", "choose", show=False),
    ]
    DEFAULT_CSS = "Table { height: 1fr; min-height: 3; }"

    def __init__(self, empty: str, id: str | None = None, fixed: bool = False) -> None:
        super().__init__(id=id)
        self.empty = empty
        self._fixed = fixed
        self._columns: tuple[Column, ...] = ()
        self._cells: Sequence[Sequence[Cell]] = ()
        self._keys: Sequence[str] = ()
        self._order: list[int] = []
        self._sorted_by: tuple[int, bool] | None = None
        self._wanted = ""
        self._at = 0
        self._top = 0

    @property
    def cursor(self) -> int | None:
        return self._order[self._at] if self._order else None

    @property
    def key(self) -> str | None:
        """Of the row under the cursor; None where rows have none."""
        return self._keys[self.cursor] if self._keys and self.cursor is not None else None

    @property
    def shown_rows(self) -> int:
        """How many rows match what is searched for."""
        return len(self._order)

    def fill(self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], keys: Sequence[str] = ()) -> None:
        """Replaces the content. Where the columns are the same, order, search and cursor stay; with ``keys``, one for
        each row, the cursor stays on its key, or where that was.
        """
        same = tuple(columns) == self._columns
        before, key = self.cursor if same else None, self.key
        if keys:
            before = keys.index(key) if key in keys else min(self._at, len(keys) - 1)
        self._keys = keys
        if not same:
            self._sorted_by, self._wanted = None, ""
        self._columns, self._cells = tuple(columns), rows
        self._arrange(before)

    def select(self, index: int) -> None:
        """Puts the cursor on a row as given; nothing where the search hides it."""
        if index in self._order:
            self._go(self._order.index(index))

    def search(self, text: str) -> None:
        """Only rows that contain the text, whatever its case; all for an empty one."""
        self._wanted = text.casefold()
        self._arrange(self.cursor)

    def sort(self, how: str) -> None:
        """``next``: by the next column, after the last as given; ``reversed``: the other way round."""
        if how == "reversed":
            self._reverse()
            return
        at = -1 if self._sorted_by is None else self._sorted_by[0]
        visible = len(self._widths(self.size.width))
        self._sort(at + 1 if at + 1 < visible else None)

    def _reverse(self) -> None:
        if self._sorted_by is not None:
            self._sorted_by = (self._sorted_by[0], not self._sorted_by[1])
            self._arrange(self.cursor)

    def action_move(self, by: int) -> None:
        self._go(self._at + by)

    def action_page(self, by: int) -> None:
        self._go(self._at + by * max(1, self.size.height - 2))

    def action_choose(self) -> None:
        if self._order:
            self.post_message(self.Chosen(self))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self._go(self._at - 3)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self._go(self._at + 3)

    def on_click(self, event: events.Click) -> None:
        if event.y == 0:
            if self._fixed:
                return
            column = self._column_at(event.x)
            if self._sorted_by is not None and column == self._sorted_by[0]:
                self._reverse()
            else:
                self._sort(column)
        elif (row := self._top + event.y - 1) < len(self._order):
            if row == self._at:
                self.action_choose()
            self._go(row)

    def _sort(self, column: int | None) -> None:
        # Numbers are most often looked at from the largest down.
        self._sorted_by = None if column is None else (column, self._columns[column].right)
        self._arrange(self.cursor)

    def _arrange(self, cursor: int | None) -> None:
        wanted = self._wanted
        order = [i for i, row in enumerate(self._cells) if not wanted or _holds(row, wanted)]
        if self._sorted_by is not None:
            column, falling = self._sorted_by
            order.sort(key=lambda i: self._cells[i][column].key, reverse=falling)
            if falling:  # what is not a number stays last
                order.sort(key=lambda i: self._cells[i][column].key[0] == 2)
        self._order = order
        self._at = order.index(cursor) if cursor in order else 0
        self._scroll()
        self.redraw()
        if self.cursor is not None and self.cursor != cursor:
            self.post_message(self.Moved(self))

    def _go(self, at: int) -> None:
        at = min(max(at, 0), len(self._order) - 1)
        if at >= 0 and at != self._at:
            self._at = at
            self._scroll()
            self.redraw()
            self.post_message(self.Moved(self))

    def _scroll(self) -> None:
        room = max(1, self.size.height - 1)
        self._top = min(max(self._top, self._at - room + 1), self._at)
        self._top = max(0, min(self._top, len(self._order) - room))

    def on_resize(self) -> None:
        self._scroll()
        super().on_resize()

    def on_focus(self) -> None:
        self.redraw()

    def on_blur(self) -> None:
        self.redraw()

    def draw(self, width: int, height: int) -> list[Strip]:
        widths = self._widths(width)
        head = [self._titled(i, w) for i, w in enumerate(widths)]
        strips = [self._line(head, width)]
        for place in range(self._top, min(self._top + height - 1, len(self._order))):
            row = self._cells[self._order[place]]
            cells = [
                (_fitted(c.text, w, col.right), c.tone) for c, w, col in zip(row, widths, self._columns, strict=False)
            ]
            strips.append(self._line(cells, width, place == self._at))
        if not self._order and height > 1:
            text = "nothing matches the search" if self._cells else self.empty
            lines = textwrap.wrap(text, max(20, width - 4)) or [""]
            strips += [self._strip([(f"  {line}", "muted")], width) for line in lines]
        blank = Strip.blank(width, self.rich_style)
        return (strips + [blank] * max(0, height - len(strips)))[:height]

    def _line(self, cells: list[tuple[str, str]], width: int, selected: bool = False) -> Strip:
        sign = "▸ " if selected else "  "
        if selected and self.has_focus:
            text = sign + "  ".join(t for t, _ in cells)
            return Strip([Segment(set_cell_size(text, width), self.tone("selected"))])
        spans = [(sign, "strong")]
        for text, tone in cells:
            spans += [(text, "strong" if selected and tone == "plain" else tone), ("  ", "plain")]
        return self._strip(spans[:-1], width)

    def _titled(self, column: int, width: int) -> tuple[str, str]:
        title = self._columns[column].title
        if self._sorted_by is not None and self._sorted_by[0] == column:
            title += "▼" if self._sorted_by[1] else "▲"
        return _fitted(title, width, self._columns[column].right), "muted"

    def _widths(self, width: int) -> list[int]:
        """Of the columns that fit into ``width``; a column without a width has at least ten cells."""
        taken, count = 2, 0
        for column in self._columns:
            taken += (column.width or 10) + 2
            if taken - 2 > width and count:
                break
            count += 1
        widths = [c.width for c in self._columns[:count]]
        left = width - 2 - sum(widths) - 2 * (count - 1)
        for i, w in enumerate(widths):
            if not w:
                widths[i] = max(left, 4)
                break
        return [w or 10 for w in widths]

    def _column_at(self, x: int) -> int | None:
        edge = 2
        for column, width in enumerate(self._widths(self.size.width)):
            edge += width + 2
            if x < edge:
                return column
        return None


def _fitted(text: str, width: int, right: bool) -> str:
    """Exactly ``width`` cells; what is too long is cut and says so."""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, max(0, width - 1)) + "…"[:width]
    return " " * (width - length) + text if right else text + " " * (width - length)


def _holds(row: Sequence[Cell], wanted: str) -> bool:
    return any(wanted in cell.text.casefold() for cell in row)
