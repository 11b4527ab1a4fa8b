"""Questions before a job is touched, and the help."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from ecgconsole.console.keys import KEYS, shown


class Question(ModalScreen[bool]):
    """Yes or no. Only ``y`` is yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape,enter,q", "answer(False)", "no"),
    ]
    DEFAULT_CSS = """
    Question { align: center middle; }
    Question > Vertical { width: 60; max-width: 95%; height: auto; border: round $warning; padding: 1 2; }
    """

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(self._question, markup=False)
            yield Static("\ny yes   n no", markup=False)

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)


class Help(ModalScreen[None]):
    """The key table."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter,question_mark", "dismiss", "close")]
    DEFAULT_CSS = """
    Help { align: center middle; }
    Help > Vertical { width: 76; max-width: 98%; height: auto; border: round $primary; padding: 1 2; }
    """

    def compose(self) -> ComposeResult:
        lines = [f"{shown(k.key):>3}  {k.label:<11} {k.help}" for k in KEYS]
        with Vertical():
            yield Static("\n".join([*lines, "", "     esc closes this"]), markup=False)
