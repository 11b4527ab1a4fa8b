"""Editing in a dialog, validated as one types: a line, a whole JSON, a choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static, TextArea
from textual.widgets.option_list import Option

from ecgconsole.config import Config, parse
from ecgconsole.errors import ConfigurationError
from ecgconsole.text import sanitise


class EditLine(ModalScreen[str | None]):
    """One value. It closes on enter only when ``problem`` finds none."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "leave it")]
    DEFAULT_CSS = """
    EditLine { align: center middle; }
    EditLine > Vertical { width: 90; max-width: 98%; height: auto; border: round $primary; padding: 0 1; }
    EditLine Input { border: none; height: 1; margin: 1 0; }
    EditLine #said { height: auto; min-height: 1; color: $error; }
    """

    def __init__(self, title: str, about: str, value: str, problem: Callable[[str], str]) -> None:
        super().__init__()
        self._title, self._about, self._value, self._problem = title, about, value, problem

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title, box.border_subtitle = self._title, "enter takes it · esc leaves it"
            yield Static(self._about, markup=False)
            yield Input(self._value, compact=True)
            yield Static("", id="said", markup=False)

    def on_input_changed(self, event: Input.Changed) -> None:
        problem = self._problem(event.value)
        self.query_one("#said", Static).update(f"✖ {problem}" if problem else "")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if not self._problem(event.value):
            self.dismiss(event.value)


class EditJson(ModalScreen[Config | None]):
    """All parameters as text."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "leave it"),
        Binding("ctrl+s", "take", "take it"),
    ]
    DEFAULT_CSS = """
    EditJson > Vertical { border: round $primary; padding: 0 1; }
    EditJson TextArea { height: 1fr; border: none; }
    EditJson Static { height: auto; max-height: 6; color: $error; }
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title, box.border_subtitle = "All parameters", "ctrl+s takes them · esc leaves them"
            yield TextArea(self._text, show_line_numbers=True)
            yield Static("", markup=False)

    def on_text_area_changed(self) -> None:
        self._parsed()

    def action_take(self) -> None:
        config = self._parsed()
        if config is not None:
            self.dismiss(config)

    def _parsed(self) -> Config | None:
        said = self.query_one(Static)
        try:
            config = parse(self.query_one(TextArea).text, "line")
        except ConfigurationError as error:
            said.update("\n".join(f"✖ {sanitise(line)}" for line in error.problems or str(error).splitlines()))
            return None
        said.update("")
        return config


class Choose(ModalScreen[str | None]):
    """One of some names."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "dismiss(None)", "none")]
    DEFAULT_CSS = """
    Choose { align: center middle; }
    Choose > OptionList { width: 60; max-width: 98%; height: auto; max-height: 80%; border: round $primary; }
    """

    def __init__(self, title: str, names: Sequence[str]) -> None:
        super().__init__()
        self._title, self._names = title, names

    def compose(self) -> ComposeResult:
        options = OptionList(*(Option(sanitise(n).replace("[", "\\["), id=str(i)) for i, n in enumerate(self._names)))
        options.border_title = self._title
        yield options

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._names[event.option_index])
