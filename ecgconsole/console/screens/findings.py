"""The findings, as far as they exist: patterns with waveforms, associations, the map of embeddings, stroke risk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import ContentSwitcher, Input
from textual.worker import get_current_worker

from ecgconsole.console import finding_tables as tables
from ecgconsole.console.chart import Chart, Series
from ecgconsole.console.page import Page
from ecgconsole.console.rows import LINE_TONES, Row, Rows, Span, wrapped_rows
from ecgconsole.console.search import SearchLine
from ecgconsole.console.sources import findings as source
from ecgconsole.console.sources.cohort import read_segment, salt_of
from ecgconsole.console.sources.findings import COLOURINGS, Findings, Map
from ecgconsole.console.table import Cell, Column, Table
from ecgconsole.console.waveform import Waveform
from ecgconsole.errors import EcgConsoleError
from ecgconsole.text import count, sanitise

if TYPE_CHECKING:
    from ecgconsole.dataset.viewing import Window

VIEWS = {"patterns": "wave", "associations": "detail", "map": "map", "stroke": "detail"}
_MISSING = {
    "patterns": "no patterns yet: the stage discover makes them",
    "associations": "nothing validated yet: the stage validate does it",
    "map": "no embeddings yet: the stage embed makes them",
    "stroke": "no risk model yet: the stage stroke makes it",
}


class FindingsPage(Page):
    NAME = "findings"
    DEFAULT_CSS = """
    FindingsPage #summary { height: 1; padding: 0 1; }
    FindingsPage #tables { height: 2fr; min-height: 5; }
    FindingsPage #shown { height: 3fr; }
    FindingsPage #detail { height: 1fr; }
    FindingsPage.-short #tables { height: 1fr; }
    FindingsPage.-short #shown { height: 2fr; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._stamp: object = None
        self._findings = Findings()
        self._view = "patterns"
        self._example = 0
        self._colouring = COLOURINGS[0]
        self._map: Map | None = None
        self._groups: list[tuple[str, np.ndarray]] = []

    def compose(self) -> ComposeResult:
        yield Rows(id="summary")
        with Vertical(id="tables", classes="panel"):
            yield Table(_MISSING["patterns"], id="table")
        with Vertical(id="shown", classes="panel"), ContentSwitcher(initial="wave"):
            yield Waveform(id="wave")
            empty = "the map shows here once there are embeddings"
            yield Chart("component 1", empty, id="map", legend=True, hold=False)
            yield Rows(id="detail")
        yield SearchLine()

    @property
    def _table(self) -> Table:
        return self.query_one("#table", Table)

    def take_focus(self) -> None:
        self._table.focus()

    def fresh(self) -> None:
        workspace = self.session.workspace
        paths = [workspace.patterns, workspace.validation, workspace.stroke_risk, workspace.train_embeddings,
                 workspace.assignments, workspace.folder / "report.html"]  # fmt: skip
        stamp = tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)
        if stamp != self._stamp:
            self._stamp = stamp
            self._map = None
            self._read()

    @work(thread=True, exclusive=True, group="findings")
    def _read(self) -> None:
        self.app.call_from_thread(self._take, source.read_findings(self.session.workspace))

    def _take(self, findings: Findings) -> None:
        self._findings = findings
        self.query_one("#summary", Rows).show([self._summary()])
        self._draw()

    def _summary(self) -> Row:
        """Which stage has left what, and what is missing."""
        f = self._findings
        classes = [p.get("class") for p in f.patterns.get("patterns", ())]
        found = sum(bool(t.get("discovery")) for t in f.tests)
        endpoints = f.stroke.get("endpoints", {}).values()
        estimated = sum(e.get("status") == "estimated" for e in endpoints)
        report = source.report_path(self.session.workspace) is not None
        parts = [
            ("patterns", bool(f.patterns), f"{classes.count('pattern')} of {len(classes)}", "shared"),
            ("validation", bool(f.validation), f"{found} of {len(f.tests)}", "tests found"),
            ("stroke", bool(f.stroke), f"{estimated} of {len(endpoints)}", "estimated"),
            ("report", report, "", "w copies its path"),
        ]
        spans: list[Span] = []
        for name, there, number, words in parts:
            if name in f.problems:
                spans += [("✖ ", "failed"), (f"{f.problems[name]}   ", "failed")]
            elif there:
                text = number if self.has_class("-narrow") else f"{number} {words}".strip()
                spans += [("✔ ", "done"), (f"{name} ", "strong"), (f"{text}   ", "plain")]
            else:
                spans += [("○ ", "muted"), (f"{name} not yet  ", "muted")]
        return spans

    def _draw(self) -> None:
        self._table.empty = self._why_empty()
        self.query_one(ContentSwitcher).current = VIEWS[self._view]
        self.entitle("#tables", self._view.capitalize())
        if self._view == "map":
            self._draw_groups()
            if self._map is None:
                self._read_map()
            return
        columns, rows = {
            "patterns": tables.pattern_table,
            "associations": tables.association_table,
            "stroke": tables.stroke_table,
        }[self._view](self._findings)
        self._table.fill(columns, rows)
        self._show_cursor()

    def _why_empty(self) -> str:
        f = self._findings
        if self._view == "map":
            return "reading the embeddings" if self.session.workspace.train_embeddings.exists() else _MISSING["map"]
        if self._view == "associations" and f.validation:
            return "validated, but no pattern and label had enough patients on either side to be tested"
        return f.problems.get(self._view, _MISSING[self._view])

    # What belongs to the row in hand

    def _show_cursor(self) -> None:
        at = self._table.cursor
        if self._view == "map":
            self._draw_map()
            return
        title, rows = "", list[Row]()
        if at is None:
            rows = tables.control_facts(self._findings)
        elif self._view == "patterns":
            self._show_pattern(at)
        elif self._view == "associations":
            rows, title = tables.association_facts(self._findings, self._findings.tests[at]), "Association"
        else:
            rows, title = tables.stroke_facts(self._findings, at), "Endpoint"
        if self._view == "patterns" and at is None:
            self.query_one("#wave", Waveform).show([], None)
        detail = self.query_one("#detail", Rows)
        detail.show(wrapped_rows(rows, detail.size.width or self.size.width - 4))
        if self._view != "patterns":
            self.entitle("#shown", title)

    def _show_pattern(self, at: int) -> None:
        examples = tables.examples_of(self._findings.patterns["patterns"][at])
        self.entitle("#shown", "Waveform")
        if not examples:
            self.query_one("#wave", Waveform).show([[("no example of this pattern was kept", "muted")]], None)
            return
        self._example %= len(examples)
        self._read_example(tables.pattern_facts(self._findings, at, self._example), examples[self._example])

    @work(thread=True, exclusive=True, group="example")
    def _read_example(self, facts: list[Row], row: int) -> None:
        window: Window | None = None
        try:
            window = read_segment(self.session.workspace, row)
        except (EcgConsoleError, OSError, IndexError) as error:
            facts = [*facts, [("▲ ", "warning"), (sanitise(error), "warning")]]
        if not get_current_worker().is_cancelled:
            self.app.call_from_thread(self.query_one("#wave", Waveform).show, facts, window)

    # The map

    @work(thread=True, exclusive=True, group="map")
    def _read_map(self) -> None:
        workspace = self.session.workspace
        salt = salt_of(workspace, self.session.read_only)
        points, groups, problem = self._map, list[tuple[str, np.ndarray]](), ""
        try:
            points = points or source.read_map(workspace)
            groups = source.groups(workspace, points, self._colouring, salt)
        except (EcgConsoleError, OSError) as error:
            problem = sanitise(error)
        if not get_current_worker().is_cancelled:
            self.app.call_from_thread(self._take_map, points, groups, problem)

    def _take_map(self, points: Map | None, groups: list[tuple[str, np.ndarray]], problem: str) -> None:
        self._map, self._groups = points, groups
        if self._view == "map":
            self._table.empty = problem or _MISSING["map"]
            self._draw_groups()

    def _draw_groups(self) -> None:
        total = len(self._map.row) if self._map else 0
        rows = [[Cell("all"), Cell(f"{total:,}", total), Cell("")]] if self._groups else []
        for i, (name, members) in enumerate(self._groups):
            tone = LINE_TONES[i] if i < len(LINE_TONES) else "muted"
            n = int(members.sum())
            rows.append([Cell(name), Cell(f"{n:,}", n), Cell("▇" * max(1, round(20 * n / total)), n, tone)])
        self._table.fill([Column("segments by " + self._colouring, 30), Column("shown", 8, True), Column("")], rows)
        self._draw_map()

    def _draw_map(self) -> None:
        chart = self.query_one("#map", Chart)
        title = f"Map by {self._colouring} · c: another colouring"
        if self._map is None or not self._groups:
            chart.plot(())
        else:
            at = self._table.cursor or 0
            chosen = list(enumerate(self._groups[: len(LINE_TONES)])) if at == 0 else [(at - 1, self._groups[at - 1])]
            x, y = self._map.xy.T
            series = [Series("others", x, y, "muted", points=True)]
            for i, (name, members) in chosen:
                tone = LINE_TONES[i if at == 0 else 0]
                series.append(Series(name, x[members], y[members], tone, points=True))
            chart.x_name = f"component 1 ({self._map.share[0]:.0%}), up: 2 ({self._map.share[1]:.0%})"
            chart.plot(tuple(series))
            title += f" · {len(x):,} of {count(self._map.total, 'segment')}"
        if self._view == "map":
            self.entitle("#shown", title)

    # Actions

    def on_table_moved(self, event: Table.Moved) -> None:
        self._example = 0
        self._show_cursor()

    def action_next_table(self) -> None:
        views = list(VIEWS)
        self._view = views[(views.index(self._view) + 1) % len(views)]
        self._example = 0
        self._draw()
        self._table.focus()

    def action_step(self, way: str) -> None:
        if self._view == "patterns":
            self._example += 1 if way == "next" else -1
            self._show_cursor()
        else:
            self._table.action_move(1 if way == "next" else -1)

    def action_colouring(self) -> None:
        if self._view != "map":
            self._view = "map"
        else:
            self._colouring = COLOURINGS[(COLOURINGS.index(self._colouring) + 1) % len(COLOURINGS)]
            self._groups = []
        self._draw()
        self._read_map()

    def action_search(self) -> None:
        self.query_one(SearchLine).open()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._table.search(event.value)

    def action_sort(self, how: str) -> None:
        self._table.sort(how)

    def action_chart(self, what: str) -> None:
        if self._view == "map":
            self.query_one("#map", Chart).act(what)
        else:
            self.query_one("#wave", Waveform).act(what)

    def action_report(self) -> None:
        """Over SSH there is no browser to open: the path goes to the clipboard of the terminal."""
        path = source.report_path(self.session.workspace)
        if path is None:
            self.console.say("no report yet: the stage report makes it", "warning")
        else:
            self.app.copy_to_clipboard(str(path))
            self.console.say(f"copied: {path}; open it in a browser")

    def copied_text(self) -> str | None:
        path = source.report_path(self.session.workspace)
        return str(path or self.session.workspace.patterns)
