"""The parameters: a form made from their schema, validated as one types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from ecgconsole.config import Config, flatten, load, preset_names, preset_path
from ecgconsole.console.command import command_json
from ecgconsole.console.editing import Choose, EditJson, EditLine
from ecgconsole.console.forms import Draft, parameters, problem_of, section_texts, shown_value, value_of
from ecgconsole.console.page import Page
from ecgconsole.console.past import plan, what_is_redone
from ecgconsole.console.rows import Row, Rows, wrapped_rows
from ecgconsole.console.table import Cell, Column, Table
from ecgconsole.errors import ConfigurationError, EcgConsoleError
from ecgconsole.text import count, sanitise
from ecgconsole.workspace import write_atomically

COLUMNS = (
    Column(" ", 1), Column("parameter", 32), Column("value", 28), Column("differs from", 28), Column("source"),
)  # fmt: skip
NARROW = (Column(" ", 1), Column("parameter", 29), Column("value"), Column("differs from", 18))
SIDES = ("defaults", "last run", "best checkpoint")


class Parameters(Page):
    """A row a parameter, in sections; edits are a draft until they are saved."""

    NAME = "parameters"
    DEFAULT_CSS = """
    Parameters #parameter-head { height: 1; }
    Parameters #parameter-filter { height: 1; display: none; border: none; padding: 0 1; }
    Parameters #parameter-filter.-shown { display: block; }
    Parameters #parameter-help { height: 6; }
    Parameters.-short #parameter-help { height: 4; border: none; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.draft = Draft()
        self._values: dict[str, Any] = {}
        self._sources: dict[str, str] = {}
        self._config: Config | None = None
        self._effect = ""
        self._problem = ""
        self._side = SIDES[0]
        self._others: dict[str, Any] = {}
        self._filter = ""

    def compose(self) -> ComposeResult:
        yield Rows(id="parameter-head")
        yield Input(placeholder="part of a name or a description", id="parameter-filter", compact=True)
        yield Table("no parameter matches", id="parameter-table", fixed=True)
        with Vertical(id="parameter-help", classes="panel"):
            yield Rows(id="parameter-text")

    def on_mount(self) -> None:
        config = self.session.workspace.config
        self._take(Draft(config if config.is_file() else None))
        self._compare_with(SIDES[0])

    def take_focus(self) -> None:
        self.query_one(Table).focus()

    def fresh(self) -> None:
        file = self.session.workspace.config
        if self.draft.file is None and file.is_file():
            self._take(Draft(file, self.draft.edits))
        self._draw()

    def _take(self, draft: Draft) -> None:
        """The draft becomes what is shown, if it is valid."""
        try:
            resolved = draft.resolved()
        except ConfigurationError as error:
            self._problem = sanitise("; ".join(error.problems) or str(error))
        else:
            self.draft, self._problem, self._config = draft, "", resolved.config
            self._values = flatten(resolved.config.model_dump(mode="json"))
            self._sources = dict(resolved.sources)
            self._effect = what_is_redone(plan(resolved.config, self.session.workspace))
        self._draw()

    def _draw(self) -> None:
        if not self.is_mounted:
            return
        rows: list[list[Cell]] = []
        keys: list[str] = []
        section, wanted = "", self._filter.lower()
        for key, parameter in parameters().items():
            if wanted not in f"{key} {parameter.description}".lower():
                continue
            if parameter.section != section:
                section = parameter.section
                keys.append(f"§{section}")
                rows.append([Cell(text, tone="strong") for text in ("", section, "", "", section_texts()[section])])
            value, other = self._values.get(key), self._others.get(key)
            differs = key in self._others and value != other
            sign = "●" if key in self.draft.edits else "≠" if differs else " "
            name = "  " + key.partition(".")[2]
            cells = (sign, name, shown_value(value), shown_value(other) if differs else "", self._source(key))
            keys.append(key)
            rows.append([Cell(text) for text in cells])
        table = self.query_one(Table)
        before = table.key
        table.fill(NARROW if self.has_class("-narrow") else COLUMNS, rows, keys)
        if wanted and keys and (before not in keys or str(table.key).startswith("§")):
            table.select(1)  # what was looked for, not its section
        self.query_one("#parameter-head", Rows).show([self._head()])
        self._draw_help()

    def _source(self, key: str) -> str:
        source = self._sources.get(key, "")
        return sanitise(Path(source).name if source.startswith("/") else source, 60)

    def _head(self) -> Row:
        file = self.draft.file.name if self.draft.file else "defaults"
        edits = f" · {count(len(self.draft.edits), 'edit')} not saved" if self.draft.edits else ""
        return [
            (f" {sanitise(file, 40)}", "strong"), (edits, "warning"), (f" · compared with the {self._side}", "muted"),
        ]  # fmt: skip

    def _draw_help(self) -> None:
        key = self.query_one(Table).key or ""
        width = self.query_one("#parameter-text", Rows).size.width or 76
        rows: list[Row] = []
        if key.startswith("§"):
            rows = [[(f"{key[1:]}  ", "strong"), (section_texts()[key[1:]], "plain")]]
        elif parameter := parameters().get(key):
            rows = [
                [(f"{parameter.key}  ", "strong"), (parameter.description, "plain")],
                [(f"{parameter.kind}; default {shown_value(parameter.default)}; from {self._source(key)}", "muted")],
            ]
            if key in self.draft.edits:
                rows[1] = [*rows[1], (" · u undoes the edit", "muted")]
        if self._problem:
            rows += wrapped_rows([[("✖ ", "failed"), (self._problem, "failed")]], width)
        elif self._effect:
            rows += wrapped_rows([[("▲ ", "warning"), (self._effect, "warning")]], width)
        self.query_one("#parameter-text", Rows).show(rows)

    def on_table_moved(self) -> None:
        self._draw_help()

    def on_table_chosen(self) -> None:
        self.action_edit()

    def copied_text(self) -> str | None:
        key = self.query_one(Table).key
        return f"--set {key}={shown_value(self._values[key])}" if key in self._values else None

    # The other side of the comparison

    def _compare_with(self, side: str) -> None:
        self._side = side
        if side == "best checkpoint":
            self._others = {}
            self._read_checkpoint()
            return
        last = self.session.workspace.config
        self._others = {k: p.default for k, p in parameters().items()}
        if side == "last run":
            try:
                self._others = flatten(load(last).model_dump(mode="json")) if last.is_file() else {}
            except ConfigurationError as error:
                self.console.say(str(error), "warning")
                self._others = {}
        self._draw()

    @work(thread=True, exclusive=True, group="parameters-checkpoint")
    def _read_checkpoint(self) -> None:
        try:
            shown = command_json(["checkpoints", "show", "best", "-o", str(self.session.workspace.folder)])
            others = flatten(shown["parameters"])
        except EcgConsoleError as error:
            others = {}
            self.hand_back(self.console.say, str(error), "warning")

        def take() -> None:
            if self._side == "best checkpoint":
                self._others = others
                self._draw()

        self.hand_back(take)

    # Actions

    def action_edit(self) -> None:
        key = self.query_one(Table).key
        if key is None or key not in parameters():
            return

        def problem(text: str) -> str:
            return problem_of(self.draft.with_value(key, value_of(text)))

        def done(text: str | None) -> None:
            if text is not None:
                value = value_of(text)
                self._take(self.draft.without(key).with_value(key, value))

        parameter = parameters()[key]
        about = f"{parameter.description}\n{parameter.kind}; default {shown_value(parameter.default)}"
        self.app.push_screen(EditLine(key, about, shown_value(self._values.get(key)), problem), done)

    def action_undo(self) -> None:
        key = self.query_one(Table).key
        if key in self.draft.edits:
            self._take(self.draft.without(str(key)))

    def action_default(self) -> None:
        key = self.query_one(Table).key
        if key in parameters():
            self._take(self.draft.with_value(str(key), parameters()[str(key)].default))

    def action_compare(self) -> None:
        self._compare_with(SIDES[(SIDES.index(self._side) + 1) % len(SIDES)])

    def action_filter(self) -> None:
        box = self.query_one("#parameter-filter", Input)
        box.add_class("-shown")
        box.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._filter = event.value
        self._draw()

    def on_input_submitted(self) -> None:
        self.query_one(Table).focus()

    def action_all(self) -> None:
        box = self.query_one("#parameter-filter", Input)
        box.value = ""
        box.remove_class("-shown")
        self.query_one(Table).focus()

    def action_edit_json(self) -> None:
        def done(config: Config | None) -> None:
            if config is not None:
                self._take(self.draft.with_config(config))

        if self._config is not None:
            self.app.push_screen(EditJson(self._config.to_json()), done)

    def action_preset(self) -> None:
        def chosen(name: str | None) -> None:
            if name is not None:
                # Where the data lies is the folder's own matter: no preset says it.
                paths = {
                    k: v for k, v in self._values.items() if k.startswith("data.") and v != parameters()[k].default
                }
                self._take(Draft(preset_path(name), paths))

        self.app.push_screen(Choose("Preset", preset_names()), chosen)

    def action_save(self) -> None:
        self._save_to(self.session.workspace.config)

    def action_save_as(self) -> None:
        def done(text: str | None) -> None:
            if text:
                self._save_to(Path(text).expanduser())

        start = str(self.session.workspace.folder / "config.json")
        about = "A file to write; used by  ecgconsole run -c FILE"
        self.app.push_screen(
            EditLine("save as", about, start, lambda text: "" if text.endswith(".json") else "a .json file"), done
        )

    def _save_to(self, path: Path) -> None:
        config = self._config
        if config is None or self._problem:
            self.console.say(self._problem or "nothing to save", "warning")
            return

        def save() -> None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, config.to_json())
            except OSError as error:
                self.console.say(f"cannot write {path}: {error.strerror}", "error")
                return
            self.console.say(f"written: {path}; the next run takes it")
            if path == self.session.workspace.config:
                self._take(Draft(path))

        effect = f" With these, {self._effect}." if self._effect else ""
        exists = " It is there already and is replaced." if path.exists() else ""
        self.console.confirm(f"Write {sanitise(path)}?{exists}{effect}", save)
