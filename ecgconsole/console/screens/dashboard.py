"""The dashboard: pipeline, the running stage's chart or chunks, machine, last events."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from ecgconsole.console import panels
from ecgconsole.console.building import build_rows
from ecgconsole.console.chart import Chart, Series
from ecgconsole.console.dialogs import Events, Processes
from ecgconsole.console.machine import machine, machine_in_two_lines, what_limits
from ecgconsole.console.page import Page
from ecgconsole.console.rows import Row, Rows, Span
from ecgconsole.stage import STAGE_NAMES
from ecgconsole.text import sanitise

LOSS = ("train_loss", "val_loss")
_TONES = {"train_loss": "train", "val_loss": "val"}


class Dashboard(Page):
    """What runs, how far it is, what limits it, what went wrong."""

    NAME = "dashboard"
    DEFAULT_CSS = """
    Dashboard #away { display: none; height: 1; background: $boost; }
    Dashboard #away.-shown { display: block; }
    Dashboard #pipeline { height: auto; min-height: 4; max-height: 12; }
    Dashboard #middle { height: 1fr; min-height: 4; }
    Dashboard #metrics { width: 1fr; }
    Dashboard #metric-tabs { height: 1; }
    Dashboard #chunks { display: none; height: 1fr; }
    Dashboard .-building #chunks { display: block; }
    Dashboard .-building #chart { display: none; }
    Dashboard #machine { width: 46; height: 100%; }
    Dashboard #events { height: 7; }
    Dashboard.-narrow #middle { layout: vertical; }
    Dashboard.-narrow #machine { width: 100%; height: 2; border: none; }
    Dashboard.-short .panel { border: none; }
    Dashboard.-short #pipeline { min-height: 2; max-height: 7; }
    Dashboard.-short #events { height: 3; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._tab = 0
        self._followed: str | None = None
        self._hidden = False

    def compose(self) -> ComposeResult:
        yield Rows(id="away")
        yield _titled(Rows(id="pipeline", classes="panel"), "Pipeline")
        with Horizontal(id="middle"):
            with Vertical(id="metrics", classes="panel"):
                yield Rows(id="metric-tabs")
                yield Chart("step", "no metric yet: the loss shows here once training runs", id="chart")
                yield Rows(id="chunks")
            yield _titled(Rows(id="machine", classes="panel"), "Machine")
        yield _titled(Rows(id="events", classes="panel"), "Last events")

    def fresh(self) -> None:
        session = self.session
        self._follow_the_stage()
        away = "" if self._hidden else session.away.text()
        self._rows("away").set_class(bool(away), "-shown")
        self._rows("away").show([[(f" {away}", "strong"), (" · esc hides this", "muted", "app.on_page('hide_away')")]])
        stages = panels.known_stages(session.snapshot, STAGE_NAMES, session.update.done)
        pipeline = self._rows("pipeline")
        rows = panels.pipeline(stages, pipeline.size.width or self.size.width - 4, session.now())
        if session.snapshot is None:
            rows += [[("no run in this folder yet; to begin one: ", "muted"), (self._how_to_begin(), "plain")]]
        pipeline.show(rows)
        self._draw_metrics()
        self._draw_machine()
        events = self._rows("events")
        events.show(panels.event_rows(tuple(session.events), max(1, events.size.height)))

    def _draw_machine(self) -> None:
        session, rows = self.session, self._rows("machine")
        limit, readings = what_limits(session.snapshot, session.update.readings), session.update.readings
        if self.has_class("-narrow"):
            rows.show(machine_in_two_lines(readings, limit))
        else:
            rows.show(machine(readings, rows.size.width, rows.size.height, limit))

    # The metrics: a tab a group, and the chunks of a build in the same place

    def _tabs(self) -> list[tuple[str, tuple[str, ...]]]:
        names = self.session.history.names()
        groups: list[tuple[str, tuple[str, ...]]] = [("loss", LOSS)] if any(n in names for n in LOSS) else []
        groups += [(sanitise(n, 30).replace("_", " "), (n,)) for n in names if n not in LOSS]
        if self.session.building.known:
            groups.append(("chunks", ()))
        return groups or [("loss", LOSS)]

    def _follow_the_stage(self) -> None:
        """When another stage begins to run, its own tab comes forward; until then the user's choice stands."""
        stage = self.session.snapshot.stage if self.session.snapshot else None
        name = stage.name if stage and stage.status == "running" else self._followed
        tabs = [label for label, _ in self._tabs()]
        wanted = "chunks" if name == "build" or (name is None and tabs == ["chunks"]) else "loss"
        if name != self._followed and wanted in tabs:
            self._followed, self._tab = name, tabs.index(wanted)
        self._tab = min(self._tab, len(tabs) - 1)

    def _draw_metrics(self) -> None:
        tabs = self._tabs()
        _, names = tabs[self._tab]
        panel, chart = self.query_one("#metrics", Vertical), self.query_one("#chart", Chart)
        panel.set_class(not names, "-building")
        self._rows("metric-tabs").show([self._tab_row(tabs, chart.log_axis)])
        if not names:
            rows = self._rows("chunks")
            config = self.session.config
            of_one = config.build.shard_patients if config else None
            rows.show(build_rows(self.session.building, rows.size.width or 60, rows.size.height or 8, of_one))
            return
        series = []
        for name in names:
            steps, values = self.session.history.series(name)
            if steps.size:
                series.append(Series(name, steps, values, _TONES.get(name, "other")))
        chart.plot(tuple(series))

    def _tab_row(self, tabs: list[tuple[str, tuple[str, ...]]], log: bool) -> Row:
        facts = [*(["log y"] if log else []), *panels.latest_metrics(self.session.snapshot)]
        width = self._rows("metric-tabs").size.width
        spans: list[Span] = []
        for index, (label, _) in enumerate(tabs):
            tone = "selected" if index == self._tab else "muted"
            spans.append((f" {label} ", tone, f"app.on_page('tab({index})')"))
        if sum(len(s[0]) for s in spans) + len(" · ".join(facts)) + 2 > width:  # the other tabs go, then whole facts
            label = f" {tabs[self._tab][0]} "
            spans = [(label, "selected", "app.on_page('next_metric')"), (f" {self._tab + 1}/{len(tabs)}", "muted")]
            while facts and sum(len(s[0]) for s in spans) + len(" · ".join(facts)) + 2 > width:
                facts.pop()
        return [*spans, ("  " + " · ".join(facts), "plain")]

    def _how_to_begin(self) -> str:
        return "press r" if not self.session.read_only else "ecgconsole run"

    def _rows(self, name: str) -> Rows:
        return self.query_one(f"#{name}", Rows)

    def copied_text(self) -> str | None:
        return panels.event_text(self.session.events[-1]) if self.session.events else str(self.session.workspace.folder)

    # Actions

    def action_chart(self, what: str) -> None:
        self.query_one("#chart", Chart).act(what)
        self._draw_metrics()

    def action_next_metric(self) -> None:
        self.action_tab((self._tab + 1) % len(self._tabs()))

    def action_previous_metric(self) -> None:
        self.action_tab((self._tab - 1) % len(self._tabs()))

    def action_tab(self, index: int) -> None:
        self._tab = index
        self._draw_metrics()

    def action_hide_away(self) -> None:
        self._hidden = True
        self.fresh()

    def action_events(self) -> None:
        self.app.push_screen(Events(tuple(self.session.events)))

    def action_processes(self) -> None:
        self.app.push_screen(Processes(lambda: self.session.snapshot))


def _titled(widget: Any, title: str) -> Any:
    widget.border_title = title
    return widget
