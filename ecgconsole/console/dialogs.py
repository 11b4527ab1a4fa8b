"""What opens over a screen and closes again: questions, the help, lists."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static
from textual.worker import get_current_worker

from ecgconsole.console.keys import Key, shown
from ecgconsole.console.panels import event_text
from ecgconsole.console.processes import tree_rows
from ecgconsole.console.rows import Row, Rows
from ecgconsole.console.screens import SCREENS
from ecgconsole.jobs.snapshot import Snapshot

PROCESSES_SECONDS = 2.0


class Question(ModalScreen[bool]):
    """Yes or no. Only ``y`` is yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape,enter,q", "answer(False)", "no"),
    ]
    DEFAULT_CSS = """
    Question { align: center middle; }
    Question > Vertical { width: 72; max-width: 95%; height: auto; border: round $warning; padding: 1 2; }
    Question Rows { margin-top: 1; }
    """

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(self._question, markup=False)
            yield Rows()

    def on_mount(self) -> None:
        yes, no = "screen.answer(True)", "screen.answer(False)"
        choice = [(" y ", "strong", yes), ("yes   ", "plain", yes)]
        choice += [(" n ", "strong", no), ("no, also enter", "plain", no)]
        self.query_one(Rows).show([choice])

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)


class Text(ModalScreen[None]):
    """Lines to read, wrapped, to scroll through."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter,question_mark", "dismiss", "close")]
    DEFAULT_CSS = """
    Text { align: center middle; }
    Text > VerticalScroll { width: 110; max-width: 98%; height: auto; max-height: 95%; border: round $primary;
                            padding: 0 1; border-subtitle-color: $text-muted; border-title-color: $text; }
    """

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title, self._text = title, text

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title, box.border_subtitle = self._title, "esc closes · ↑↓ scroll"
            yield Static(self._text, markup=False)


class Help(Text):
    """The key table, from the screen on which one asks."""

    def __init__(self, keys: Sequence[Key], screen: str = "") -> None:
        titles = {"": "everywhere", **{s.name: s.label for s in SCREENS}}
        titles = {name: titles[name] for name in (screen, *titles) if name in titles}
        parts = []
        for screen, title in titles.items():
            own = [k for k in keys if k.screen == screen]
            if own:
                parts += [title, *(f"  {shown(k.key):>5}  {k.label:<14} {k.help}" for k in own), ""]
        super().__init__("Keys", "\n".join(parts).rstrip())


class Events(Text):
    """The last events, whole, newest first."""

    def __init__(self, events: Sequence[Mapping[str, Any]]) -> None:
        super().__init__("Events", "\n".join(event_text(e) for e in reversed(events)) or "no event yet")


class Processes(ModalScreen[None]):
    """The job's process tree, every two seconds."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter,t", "dismiss", "close")]
    DEFAULT_CSS = """
    Processes { align: center middle; }
    Processes > Vertical { width: 78; max-width: 98%; height: auto; max-height: 95%; min-height: 6;
                           border: round $primary; padding: 0 1; }
    """

    def __init__(self, snapshot: Callable[[], Snapshot | None]) -> None:
        super().__init__()
        self._snapshot = snapshot
        self._cpu_s: dict[int, float] = {}
        self._read_at = 0.0

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title, box.border_subtitle = "Processes", "esc closes"
            yield Rows()

    def on_mount(self) -> None:
        self._read()
        self.set_interval(PROCESSES_SECONDS, self._read)

    @work(thread=True, exclusive=True, group="processes")
    def _read(self) -> None:
        now = time.monotonic()
        rows = tree_rows(self._snapshot(), self._cpu_s, now - self._read_at)
        self._read_at = now
        if not get_current_worker().is_cancelled:
            self.app.call_from_thread(self._show, rows)

    def _show(self, rows: list[Row]) -> None:
        for widget in self.query(Rows):
            widget.show(rows)
