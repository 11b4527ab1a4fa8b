"""The line in which one types what to search for; hidden until it is asked for."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input


class SearchLine(Input):
    """Enter keeps the search and goes back to where one was; escape ends it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "clear", show=False)]
    DEFAULT_CSS = """
    SearchLine { display: none; height: 1; border: none; padding: 0 1; background: $panel; }
    SearchLine:focus { border: none; }
    SearchLine.-open { display: block; }
    """

    def __init__(self, placeholder: str = "search: enter keeps it, esc ends it", id: str | None = None) -> None:
        super().__init__(placeholder=placeholder, id=id, compact=True)
        self._before: Widget | None = None

    def open(self) -> None:
        self._before = self.screen.focused
        self.add_class("-open")
        self.focus()

    def action_clear(self) -> None:
        self.value = ""
        self._close()

    async def action_submit(self) -> None:
        await super().action_submit()
        self._close()

    def _close(self) -> None:
        self.set_class(bool(self.value), "-open")
        if self._before is not None:
            self._before.focus()
