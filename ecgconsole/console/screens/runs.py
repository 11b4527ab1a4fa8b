"""The runs of this folder and of others, and their metrics over one another."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from ecgconsole.console import memory
from ecgconsole.console.chart import Chart, Series
from ecgconsole.console.page import Page
from ecgconsole.console.panels import SIGNS
from ecgconsole.console.rows import LINE_TONES
from ecgconsole.console.search import SearchLine
from ecgconsole.console.sources.metrics import MetricReader
from ecgconsole.console.sources.runs import Run, list_runs
from ecgconsole.console.table import Cell, Column, Table
from ecgconsole.jobs.lines import significant
from ecgconsole.text import duration, sanitise
from ecgconsole.workspace import Workspace

POLL_SECONDS = 2.0
AXES = {"step": "step", "epoch": "epoch", "time": "hours"}
FIRST_METRICS = ("val_loss", "train_loss")
_ASKS = {"search": "search: enter keeps it, esc ends it", "folder": "another output folder; again to remove it"}
Key = tuple[str, str]


class Runs(Page):
    NAME = "runs"
    DEFAULT_CSS = """
    Runs #list { height: 2fr; min-height: 6; }
    Runs #overlay { height: 3fr; min-height: 8; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._runs: list[Run] = []
        self._readers: dict[Key, MetricReader] = {}
        self._marked: list[Key] = []
        self._chosen_by_hand = False
        self._metric = ""
        self._axis = "step"
        self._asked = "search"
        self._reading = False

    def compose(self) -> ComposeResult:
        with Vertical(id="list", classes="panel"):
            yield Table("no run in this folder yet", id="table")
        with Vertical(id="overlay", classes="panel"):
            yield Chart("step", "space puts a run here; it shows once it has metrics", id="chart", legend=True)
        yield SearchLine()

    def on_mount(self) -> None:
        self.entitle("#list", "Runs")
        self.set_interval(POLL_SECONDS, self.fresh)

    @property
    def _table(self) -> Table:
        return self.query_one(Table)

    @property
    def _chart(self) -> Chart:
        return self.query_one(Chart)

    def take_focus(self) -> None:
        self._table.focus()

    def fresh(self) -> None:
        if self.console.page is self and not self._reading:
            self._reading = True
            self._read(tuple(self._marked), {r.key: r for r in self._runs})

    @work(thread=True, group="runs")
    def _read(self, marked: tuple[Key, ...], known: dict[Key, Run]) -> None:
        """Folders, then what is new of the metrics of the runs that are drawn."""
        workspaces = [self.session.workspace, *(Workspace(f) for f in memory.compared_folders())]
        different = {w.folder: w for w in workspaces}
        try:
            runs = list_runs(different.values(), known)
            if not self._chosen_by_hand and runs:
                marked = (runs[0].key,)
            for key in marked:
                reader = self._readers.setdefault(key, MetricReader(Workspace(key[0]).run(key[1]).events))
                reader.read_new()
        except OSError as error:
            self.app.call_from_thread(self.console.say, f"runs cannot be read: {error.strerror}", "error")
            runs = list(known.values())
        self.app.call_from_thread(self._arrived, runs, marked)

    def _arrived(self, runs: list[Run], marked: tuple[Key, ...]) -> None:
        self._reading = False
        if not self._chosen_by_hand:
            self._marked = list(marked)
        self._runs = runs
        self._draw()

    def _draw(self) -> None:
        self._table.fill(*run_table(self._runs, self._marked))
        names = self._metrics()
        if self._metric not in names:
            self._metric = next((n for n in FIRST_METRICS if n in names), names[0] if names else "")
        series = []
        by_key = {run.key: run for run in self._runs}
        several = len({folder for folder, _ in self._marked}) > 1
        for i, key in enumerate(self._marked):
            columns = self._readers[key].series.get(self._metric) if key in self._readers else None
            if columns is not None and key in by_key:
                x, y = columns.over(self._axis)
                series.append(Series(_name(by_key[key], several), x, y, LINE_TONES[i], str(i + 1)))
        self._chart.x_name = AXES[self._axis]
        self._chart.plot(tuple(series))
        title = f"{sanitise(self._metric).replace('_', ' ') or 'metrics'} by {AXES[self._axis]}"
        self.entitle("#overlay", title + (" · log y" if self._chart.log_axis else ""))

    def _metrics(self) -> list[str]:
        """Names in the runs that are drawn, the most telling first."""
        names = {name for key in self._marked if key in self._readers for name in self._readers[key].series}
        return [*(n for n in FIRST_METRICS if n in names), *sorted(names - set(FIRST_METRICS))]

    # Actions

    def action_mark(self) -> None:
        at = self._table.cursor
        if at is None:
            return
        self._chosen_by_hand = True
        key = self._runs[at].key
        if key in self._marked:
            self._marked.remove(key)
        elif len(self._marked) == len(LINE_TONES):
            self.console.say(f"{len(LINE_TONES)} runs at most: space on a marked one takes it away", "warning")
        else:
            self._marked.append(key)
        self._draw()
        self.fresh()

    def on_table_chosen(self, event: Table.Chosen) -> None:
        self.action_mark()

    def action_metric(self) -> None:
        names = self._metrics()
        if names:
            self._metric = names[(names.index(self._metric) + 1) % len(names)]
            self._draw()

    def action_axis(self) -> None:
        axes = list(AXES)
        self._axis = axes[(axes.index(self._axis) + 1) % len(axes)]
        self._chart.show_all()
        self._chart.crosshair = None
        self._draw()

    def action_chart(self, what: str) -> None:
        self._chart.act(what)
        if what == "log":
            self._draw()

    def action_search(self) -> None:
        self._ask("search")

    def action_folder(self) -> None:
        self._ask("folder")

    def _ask(self, what: str) -> None:
        self._asked = what
        line = self.query_one(SearchLine)
        line.placeholder = _ASKS[what]
        line.value = ""
        line.open()

    def on_input_changed(self, event: Input.Changed) -> None:
        if self._asked == "search":
            self._table.search(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if self._asked != "folder" or not event.value.strip():
            return
        folder = Path(event.value.strip()).expanduser().absolute()
        line = self.query_one(SearchLine)
        line.value = ""
        line.remove_class("-open")
        if not Workspace(folder).runs.is_dir():
            self.console.say(f"{folder}: no output folder of ecgconsole: it has no runs/", "warning")
            return
        memory.toggle_compared(folder)
        self.fresh()

    def action_sort(self, how: str) -> None:
        self._table.sort(how)

    def copied_text(self) -> str | None:
        """The command that shows the run's folder."""
        at = self._table.cursor
        return f"ecgconsole status -o {self._runs[at].workspace.folder}" if at is not None else None


def _name(run: Run, of_several_folders: bool) -> str:
    folder = f"{sanitise(run.workspace.folder.name, 30)} · " if of_several_folders else ""
    return f"{folder}run {int(run.run_id)}"


def run_table(runs: list[Run], marked: list[Key]) -> tuple[list[Column], list[list[Cell]]]:
    columns = [
        Column("", 1),
        Column("run", 4, True),
        Column("state", 10),
        Column("val loss", 8, True),
        Column("ran", 10, True),
        Column("started", 12),
        Column("folder"),
        Column("epochs", 6, True),
        Column("segments", 10, True),
        Column("▲", 3, True),
        Column("stages", 30),
    ]
    rows = []
    for run in runs:
        snapshot = run.snapshot
        sign, tone = SIGNS.get(snapshot.status, ("?", "plain"))
        place = marked.index(run.key) if run.key in marked else None
        loss = run.result("train", "val_loss")
        loss = run.metric.get("val_loss") if loss is None else loss
        number = float("nan") if loss is None else float(loss)
        epochs = run.result("train", "epochs") or (snapshot.metric or {}).get("epoch")
        segments = run.result("build", "segments")
        rows.append(
            [
                Cell("" if place is None else str(place + 1), tone="plain" if place is None else "strong"),
                Cell(str(int(run.run_id)), int(run.run_id)),
                Cell(f"{sign} {snapshot.status}", snapshot.status, tone),
                Cell("–" if number != number else significant(number), number),
                Cell(duration(run.seconds), run.seconds),
                Cell(_day(snapshot.started), snapshot.started or ""),
                Cell(sanitise(run.workspace.folder.name)),
                Cell("–" if epochs is None else f"{epochs:,}", np.nan if epochs is None else epochs),
                Cell("–" if segments is None else f"{segments:,}", np.nan if segments is None else segments),
                Cell(f"{snapshot.warning_count or ''}", snapshot.warning_count, "warning"),
                Cell(", ".join(s.name for s in snapshot.stages), tone="muted"),
            ]
        )
    return columns, rows


def _day(time: str | None) -> str:
    """``24 Nov 13:20`` in this machine's zone."""
    return datetime.fromisoformat(time).astimezone().strftime("%d %b %H:%M") if time else "–"
