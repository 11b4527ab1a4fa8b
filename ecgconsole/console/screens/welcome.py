"""The first screen: which output folder, and for a new one which parameters."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Input, Label, OptionList, Select, Static
from textual.widgets.option_list import Option

from ecgconsole.config import preset_names, preset_path, resolve
from ecgconsole.console.memory import recent_folders
from ecgconsole.errors import ConfigurationError
from ecgconsole.text import sanitise
from ecgconsole.workspace import Workspace, write_atomically


class Welcome(Screen[Workspace | None]):
    """Ends with an output folder that exists, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+q", "leave", "leave"),
        Binding("ctrl+o,f5", "open", "open it"),
    ]
    AUTO_FOCUS = "OptionList, Input"
    DEFAULT_CSS = """
    Welcome { align: center middle; }
    Welcome > VerticalScroll { width: 90; max-width: 100%; height: auto; max-height: 100%; border: round $primary;
                               padding: 0 2; border-subtitle-color: $text-muted; }
    Welcome Label { color: $text-muted; margin-top: 1; }
    Welcome Input { border: none; height: 1; }
    Welcome OptionList { height: auto; max-height: 8; border: none; padding: 0; }
    Welcome #welcome-said { color: $error; height: auto; min-height: 1; }
    """

    def compose(self) -> ComposeResult:
        self._recent = recent_folders()
        with VerticalScroll(can_focus=False) as box:
            box.border_title = "ecgconsole"
            box.border_subtitle = "enter or ^o opens · tab next field · esc leaves"
            yield Static("From raw ICU waveforms to rhythm patterns and stroke risk. Not a medical device.")
            if self._recent:
                yield Label("opened before (enter)")
                yield OptionList(
                    *(Option(sanitise(f).replace("[", "\\["), id=str(n)) for n, f in enumerate(self._recent))
                )
            yield Label("output folder: one that exists is opened, another is made")
            yield Input(str(Path.cwd() / "production_full"), compact=True, id="welcome-folder")
            yield Label("for a new one: parameters")
            yield Select(
                [(n, n) for n in preset_names()], value="full", allow_blank=False, compact=True, id="welcome-preset"
            )
            yield Label("for a new one: folder of WFDB recordings")
            yield Input(compact=True, id="welcome-waveforms", placeholder="…/mimic3wdb-matched")
            yield Label("for a new one: folder of MIMIC-III tables (may stay empty)")
            yield Input(compact=True, id="welcome-clinical")
            yield Static("", id="welcome-said", markup=False)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(Workspace(self._recent[event.option_index]))

    def on_input_submitted(self) -> None:
        self.action_open()

    def action_leave(self) -> None:
        self.dismiss(None)

    def action_open(self) -> None:
        try:
            self.dismiss(self._chosen())
        except (ConfigurationError, OSError) as error:
            self.query_one("#welcome-said", Static).update(f"✖ {sanitise(error)}")

    def _chosen(self) -> Workspace:
        """The folder, made with its ``config.json`` if it is new."""
        text = self._text("folder")
        if not text:
            raise ConfigurationError("say which folder")
        folder = Path(text).expanduser().absolute()
        if folder.is_file():
            raise ConfigurationError(f"{folder} is a file")
        workspace = Workspace(folder)
        if folder.is_dir() and any(folder.iterdir()):
            return workspace
        settings = []
        for key, name in (("waveforms", "data.waveform_dir"), ("clinical", "data.clinical_dir")):
            if given := self._text(key):
                path = Path(given).expanduser().absolute()
                if not path.is_dir():
                    raise ConfigurationError(f"no such folder: {path}")
                settings.append(f"{name}={path}")
        preset = str(self.query_one("#welcome-preset", Select).value)
        text = resolve(preset_path(preset), settings, environment={}).config.to_json()
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(workspace.config, text)
        return workspace

    def _text(self, name: str) -> str:
        return self.query_one(f"#welcome-{name}", Input).value.strip()
