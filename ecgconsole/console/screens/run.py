"""Run control: choose stages and parameters, see the forecast, start; the stop ladder while one stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.geometry import Size
from textual.widgets import Input, Label, Select, SelectionList
from textual.widgets.selection_list import Selection

from ecgconsole.config import Config, preset_names, preset_path, resolve
from ecgconsole.console.command import command_json
from ecgconsole.console.ladder import ladder_rows
from ecgconsole.console.page import Page
from ecgconsole.console.past import Plan, plan, what_is_redone
from ecgconsole.console.rows import Row, Rows, wrapped_rows
from ecgconsole.errors import ConfigurationError, EcgConsoleError, ExitCode
from ecgconsole.stage import STAGE_NAMES
from ecgconsole.text import duration, sanitise

OF_FOLDER = "config.json of this folder"
RESUME = (("go on from the latest checkpoint", "auto"), ("begin anew; old ones are set aside", "none"))
_AS_BEFORE = "as in the parameters"
_ANY_EXIT = tuple(int(code) for code in (ExitCode.STAGE_FAILED, ExitCode.INPUT, ExitCode.MACHINE))


class RunControl(Page):
    """The form on the left, what would come of it on the right."""

    NAME = "run"
    DEFAULT_CSS = """
    RunControl #run-form { width: 52; height: 100%; }
    RunControl #run-form Label { color: $text-muted; }
    RunControl SelectionList { height: auto; max-height: 9; border: none; padding: 0; }
    RunControl Input { border: none; height: 1; }
    RunControl #run-right { width: 1fr; height: 100%; scrollbar-gutter: stable; }
    RunControl #run-plan, RunControl #run-forecast { height: auto; }
    RunControl #run-ladder { height: auto; dock: bottom; }
    RunControl.-narrow #run-form { width: 40; }
    RunControl.-short .panel { border: none; }
    """

    def compose(self) -> ComposeResult:
        with Horizontal():
            with VerticalScroll(id="run-form", classes="panel") as form:
                form.border_title = "What to run"
                yield Label("parameters")
                yield Select([(n, n) for n in self._sources()], allow_blank=False, compact=True, id="run-source")
                yield Label("stages (space)")
                yield SelectionList(*(Selection(n, n, True) for n in STAGE_NAMES), compact=True, id="run-stages")
                yield Label("training")
                yield Select(RESUME, allow_blank=False, compact=True, id="run-resume")
                yield Label("patients at most")
                yield Input(compact=True, type="integer", placeholder=_AS_BEFORE, id="run-patients")
                yield Label("folder of recordings")
                yield Input(compact=True, placeholder=_AS_BEFORE, id="run-waveforms")
            with VerticalScroll(id="run-right", classes="panel") as right:
                right.border_title = "What would come of it"
                yield Rows(id="run-plan")
                yield Rows(id="run-forecast")
                yield Rows(id="run-ladder")

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._forecast: list[dict[str, Any]] | str = "f: forecast of patients, segments, bytes, time and space"

    def _sources(self) -> list[str]:
        own = [OF_FOLDER] if self.session.workspace.config.is_file() else []
        return [*own, *(f"preset {name}" for name in preset_names())]

    def on_mount(self) -> None:
        self.set_interval(1.0, self._draw_ladder)
        self.watch(self.query_one("#run-plan", Rows), "virtual_size", self._wrap_anew, init=False)

    def _wrap_anew(self, before: Size, after: Size) -> None:
        """What was drawn before the layout of a narrow screen had settled is wrapped for another width."""
        if before.width != after.width:
            self.call_after_refresh(self._draw)

    def take_focus(self) -> None:
        stages = self.query_one(SelectionList)
        stages.highlighted = stages.highlighted or 0
        stages.focus()

    def fresh(self) -> None:
        source = self.query_one("#run-source", Select)
        if self.session.workspace.config.is_file() and not any(v == OF_FOLDER for _, v in source._options):
            source.set_options([(n, n) for n in self._sources()])
        self._draw()

    def on_select_changed(self) -> None:
        self._draw()

    def on_selection_list_selected_changed(self) -> None:
        self._draw()

    def on_input_changed(self) -> None:
        self._draw()

    # What the form says

    def arguments(self) -> list[str]:
        """The options of ``ecgconsole run`` and ``doctor`` that the form stands for."""
        source = str(self.query_one("#run-source", Select).value)
        chosen = [] if source == OF_FOLDER else ["-c", str(preset_path(source.removeprefix("preset ")))]
        return [*chosen, *(a for text in self._settings() for a in ("--set", text))]

    def _settings(self) -> list[str]:
        patients = self.query_one("#run-patients", Input).value.strip()
        waveforms = self.query_one("#run-waveforms", Input).value.strip()
        settings = [f"build.max_patients={patients}"] if patients else []
        return [*settings, *([f"data.waveform_dir={Path(waveforms).expanduser()}"] if waveforms else [])]

    def _config(self) -> Config:
        source = str(self.query_one("#run-source", Select).value)
        file = self.session.workspace.config if source == OF_FOLDER else preset_path(source.removeprefix("preset "))
        return resolve(file, self._settings()).config

    def _stages(self) -> list[str]:
        chosen = self.query_one(SelectionList).selected
        return [name for name in STAGE_NAMES if name in chosen]

    # What would come of it

    def _draw(self) -> None:
        if not self.is_mounted:
            return
        rows: list[Row] = []
        width = self.query_one("#run-plan", Rows).size.width or 60
        if self.session.alive:
            rows += [[("● a job runs here: another can start when it has ended", "running")], [("", "plain")]]
        try:
            config = self._config()
        except ConfigurationError as error:
            for problem in error.problems or (str(error),):
                rows += wrapped_rows([[("✖ ", "failed"), (sanitise(problem), "failed")]], width)
        else:
            if config.data.waveform_dir is None:
                rows.append([("▲ no folder of recordings: say it below on the left", "warning")])
            plans = plan(config, self.session.workspace)
            rows += [self._plan_row(p, p.stage.name in self._stages()) for p in plans]
            if effect := what_is_redone([p for p in plans if p.stage.name in self._stages()]):
                rows += wrapped_rows([[("▲ ", "warning"), (effect, "warning")]], width)
        self.query_one("#run-plan", Rows).show([*rows, [("", "plain")]])
        self.query_one("#run-forecast", Rows).show(self._forecast_rows(width))
        self._draw_ladder()

    def _forecast_rows(self, width: int) -> list[Row]:
        if isinstance(self._forecast, str):
            return wrapped_rows([[(sanitise(line), "muted")] for line in self._forecast.splitlines()], width)
        return forecast_rows(self._forecast, width)

    @staticmethod
    def _plan_row(one: Plan, chosen: bool) -> Row:
        name = f"{one.stage.name:<9}"
        took = f" · took {duration(one.last_seconds)} last time" if one.last_seconds else ""
        if not chosen:
            return [("  " + name, "muted"), ("not chosen", "muted")]
        if one.why is None:
            return [("✔ ", "done"), (name, "plain"), (f"done, so it is skipped{took}", "muted")]
        return [("● ", "running"), (name, "strong"), (one.why + took, "plain")]

    def _draw_ladder(self) -> None:
        rows: list[Row] = []
        config = self.session.config
        if self.session.alive and config is not None:
            job = config.job
            rows = [
                [("a stop (s) climbs, until the job has ended:", "strong")],
                *ladder_rows(self.session.stopping(), job),
            ]
        self.query_one("#run-ladder", Rows).show(rows)

    # Actions

    def action_forecast(self) -> None:
        self._forecast = "reading headers, trying the folder …"
        self._draw()
        self._read_forecast(["doctor", "-o", str(self.session.workspace.folder), *self.arguments()])

    @work(thread=True, exclusive=True, group="forecast")
    def _read_forecast(self, command: list[str]) -> None:
        try:
            found = command_json(command, tolerated=_ANY_EXIT)
        except EcgConsoleError as error:
            found = str(error)

        def take() -> None:
            self._forecast = found
            self._draw()

        self.hand_back(take)

    def action_begin(self) -> None:
        stages = self._stages()
        if self.session.alive:
            self.console.say("a job runs here already", "warning")
        elif not stages:
            self.console.say("no stage is chosen", "warning")
        else:
            try:
                config = self._config()
            except ConfigurationError as error:
                self.console.say(str(error), "error")
                return
            if config.data.waveform_dir is None and "build" in stages:
                self.console.say("say where the recordings are: data.waveform_dir", "warning")
                self.query_one("#run-waveforms", Input).focus()
                return
            self._ask(stages, config)

    def _ask(self, stages: list[str], config: Config) -> None:
        plans = [p for p in plan(config, self.session.workspace) if p.stage.name in stages]
        resume = str(self.query_one("#run-resume", Select).value)
        running = [p.stage.name for p in plans if p.why] or ["nothing: all of it is done"]
        effect = what_is_redone(plans)
        question = f"Start: {', '.join(running)}?" + (f" {effect[0].upper()}{effect[1:]}." if effect else "")
        if resume == "none":
            question += " Training begins anew; its checkpoints are set aside in previous/."
        arguments = ["--stages", ",".join(stages), "--resume", resume, *self.arguments()]
        self.console.confirm(question, lambda: self.console.start_run(arguments))


def forecast_rows(checks: list[dict[str, Any]], width: int) -> list[Row]:
    """What ``doctor`` found: the forecast first, then what would stop the job, then the rest."""
    rows: list[Row] = []
    for check in sorted(checks, key=lambda c: (c["name"] != "forecast", c["ok"])):
        sign, tone = ("✔ ", "done") if check["ok"] else ("✖ ", "failed")
        name = sanitise(check["name"], 20)
        main = "strong" if check["name"] == "forecast" else "plain"
        rows += wrapped_rows([[(sign, tone), (f"{name}: {sanitise(check['message'])}", main)]], width)
        if not check["ok"] and check["hint"]:
            rows += wrapped_rows([[("  ", "plain"), (sanitise(check["hint"]), "muted")]], width)
    return rows
