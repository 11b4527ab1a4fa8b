"""What every screen has in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.worker import get_current_worker

from ecgconsole.console.keys import KEYS
from ecgconsole.console.session import Session
from ecgconsole.text import sanitise

if TYPE_CHECKING:
    from ecgconsole.console.app import Console


WIDE_COLUMNS = 100
TALL_ROWS = 28


class Page(Vertical, can_focus=True):
    """A screen of the console, below the title and above the keys.

    A subclass says ``NAME`` (as in ``SCREENS``); its keys are those of ``console.keys.KEYS`` with that screen, and
    come before the keys that hold everywhere. ``fresh`` is called on the visible page alone: when it is opened and
    whenever something was read, at most twice a second, and after a resize. It must draw only what changed (``Rows``
    and ``Chart`` do). It has the class ``-narrow`` below 100 columns and ``-short`` below 28 rows of its own.
    """

    NAME: ClassVar[str] = ""
    DEFAULT_CSS = """
    Page { height: 1fr; }
    Page .panel { border: round $panel-lighten-2; border-title-color: $text; padding: 0 1; }
    Page .panel:focus-within { border: round $accent; }
    """

    def __init_subclass__(cls, **kwargs: object) -> None:
        cls.BINDINGS = [*cls._keys_of(cls.NAME), *cls.__dict__.get("BINDINGS", ())]
        super().__init_subclass__(**kwargs)  # type: ignore[arg-type]

    @staticmethod
    def _keys_of(name: str) -> list[BindingType]:
        return [Binding(k.key, k.action, k.label, id=k.id) for k in KEYS if name and k.screen == name]

    @property
    def console(self) -> Console:
        from ecgconsole.console.app import Console

        app = self.app
        assert isinstance(app, Console)
        return app

    @property
    def session(self) -> Session:
        return self.console.session

    def on_resize(self) -> None:
        self.set_class(self.size.width < WIDE_COLUMNS, "-narrow")
        self.set_class(self.size.height < TALL_ROWS, "-short")
        self.call_after_refresh(self.fresh)

    def fresh(self) -> None:
        """Draws what ``self.session`` knows."""

    def entitle(self, selector: str, title: str) -> None:
        """A panel's title, where it changed: setting one draws all of the panel anew. Text, never markup."""
        panel = self.query_one(selector)
        text = Text(sanitise(title))
        if panel.border_title != Content.from_rich_text(text).markup:
            panel.border_title = text

    def take_focus(self) -> None:
        """Called when the page is opened; a page with a table or a form gives it the focus."""
        self.focus()

    def hand_back(self, callback: Callable[..., object], *arguments: object) -> None:
        """For worker threads: calls it in the event loop, unless the page, or the console, is gone by then."""

        def call() -> None:
            if self.is_attached and self.is_running:
                callback(*arguments)

        if not get_current_worker().is_cancelled:
            self.app.call_from_thread(call)

    def copied_text(self) -> str | None:
        """What ``y`` copies to the clipboard: the line in hand, a path; None where there is nothing."""
        return None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """With ``--read-only`` nothing that touches a job or a file is bound."""
        return not (self.session.read_only and action in {k.action for k in KEYS if k.screen == self.NAME and k.steers})
