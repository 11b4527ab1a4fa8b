"""The dashboard: pipeline, loss, machine, last events."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from ecgconsole.console import panels
from ecgconsole.console.chart import Chart, Series
from ecgconsole.console.page import Page
from ecgconsole.console.rows import Rows
from ecgconsole.stage import STAGE_NAMES
from ecgconsole.text import sanitise


class Dashboard(Page):
    """What runs, how far it is, what limits it, what went wrong."""

    NAME = "dashboard"
    DEFAULT_CSS = """
    Dashboard #pipeline { height: auto; min-height: 4; max-height: 12; }
    Dashboard #middle { height: 1fr; min-height: 5; }
    Dashboard #loss { width: 1fr; }
    Dashboard #machine { width: 42; height: 100%; }
    Dashboard #events { height: 6; }
    Dashboard.-narrow #middle { layout: vertical; }
    Dashboard.-narrow #machine { width: 100%; height: 2; border: none; }
    Dashboard.-narrow #events { height: 5; }
    """

    def compose(self) -> ComposeResult:
        yield _titled(Rows(id="pipeline", classes="panel"), "Pipeline")
        with Horizontal(id="middle"):
            with _titled(Vertical(id="loss", classes="panel"), "Loss"):
                yield Chart("step", "no metric yet: the loss shows here once training runs", id="chart")
            yield _titled(Rows(id="machine", classes="panel"), "Machine")
        yield _titled(Rows(id="events", classes="panel"), "Last events")

    def fresh(self) -> None:
        session, width = self.session, self.size.width
        stages = panels.known_stages(session.snapshot, STAGE_NAMES, session.update.done)
        pipeline = self._rows("pipeline")
        rows = panels.pipeline(stages, pipeline.size.width or width - 4)
        if session.snapshot is None:
            rows += [[("no run in this folder yet; to begin one:", "muted")], [(self._how_to_begin(), "plain")]]
        pipeline.show(rows)
        self._draw_loss()
        machine = self._rows("machine")
        narrow = self.has_class("-narrow")
        readings = session.update.readings
        machine.show(panels.machine_in_two_lines(readings) if narrow else panels.machine(readings, machine.size.width))
        events = self._rows("events")
        notable = tuple(e for e in session.events if panels.is_notable(e))
        events.show(panels.event_rows(notable, max(1, events.size.height)))

    def _draw_loss(self) -> None:
        lines = []
        for name, tone in (("train_loss", "train"), ("val_loss", "val")):
            steps, values = self.session.history.series(name)
            if steps.size:
                lines.append(Series(name, steps, values, tone))
        chart = self.query_one("#chart", Chart)
        chart.plot(tuple(lines))
        facts = panels.latest_metrics(self.session.snapshot)
        title = " · ".join(["Loss: train, val", *(["log y"] if chart.log_axis else []), *([facts] if facts else [])])
        panel = self.query_one("#loss", Vertical)
        if panel.border_title != title:
            panel.border_title = title

    def _how_to_begin(self) -> str:
        if self.session.workspace.config.exists():
            return "press r"
        return f"ecgconsole run -o {sanitise(self.session.workspace.folder)} --set data.waveform_dir=FOLDER"

    def _rows(self, name: str) -> Rows:
        return self.query_one(f"#{name}", Rows)

    def action_log_axis(self) -> None:
        self.query_one("#chart", Chart).toggle_log()
        self._draw_loss()


def _titled(widget: Any, title: str) -> Any:
    widget.border_title = title
    return widget
