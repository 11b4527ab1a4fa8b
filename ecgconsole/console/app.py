"""The console on one output folder: a reader of the job's files, and a writer of requests."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message

from ecgconsole.console import panels
from ecgconsole.console.chart import Chart, Series
from ecgconsole.console.dialogs import Help, Question
from ecgconsole.console.feed import Feed, Update
from ecgconsole.console.history import MetricHistory
from ecgconsole.console.keys import KEYS, shown
from ecgconsole.console.rows import Rows
from ecgconsole.errors import EcgConsoleError
from ecgconsole.jobs.snapshot import Snapshot
from ecgconsole.jobs.steer import request, start_run
from ecgconsole.stage import STAGE_NAMES
from ecgconsole.text import sanitise
from ecgconsole.workspace import Workspace

EVENTS_KEPT = 200
WIDE_COLUMNS = 100


class Fresh(Message):
    """Something new was read."""

    def __init__(self, update: Update) -> None:
        super().__init__()
        self.update = update


class Console(App[None]):
    """One screen: pipeline, loss, machine, last events."""

    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012 - Textual declares it for instances
        (0, "-narrow"),
        (WIDE_COLUMNS, "-wide"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(k.key, k.action, k.label) for k in KEYS),
        Binding("ctrl+c", "leave", "quit", show=False, priority=True),
    ]
    CSS = """
    #title { height: 1; background: $panel; }
    #keys { height: 1; background: $panel; }
    .panel { border: round $panel-lighten-2; border-title-color: $text; padding: 0 1; }
    #pipeline { height: auto; min-height: 4; max-height: 12; }
    #middle { height: 1fr; min-height: 5; }
    #loss { width: 1fr; }
    #machine { width: 42; height: 100%; }
    #events { height: 6; }
    .-narrow #middle { layout: vertical; }
    .-narrow #machine { width: 100%; height: 2; border: none; }
    .-narrow #events { height: 5; }
    """

    def __init__(self, workspace: Workspace, read_only: bool = False) -> None:
        super().__init__()
        self.workspace = workspace
        self.read_only = read_only
        self.snapshot: Snapshot | None = None
        self._update = Update(None)
        self._history = MetricHistory()
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self._feed = Feed(workspace, self._post)

    def compose(self) -> ComposeResult:
        yield Rows(id="title")
        yield _titled(Rows(id="pipeline", classes="panel"), "Pipeline")
        with Horizontal(id="middle"):
            with _titled(Vertical(id="loss", classes="panel"), "Loss"):
                yield Chart("step", "no metric yet: the loss shows here once training runs", id="chart")
            yield _titled(Rows(id="machine", classes="panel"), "Machine")
        yield _titled(Rows(id="events", classes="panel"), "Last events")
        yield Rows(id="keys")

    def on_mount(self) -> None:
        self.title = "ecgconsole"
        self._draw()
        self._feed.start()
        self.set_interval(30, self._draw_title)

    def on_unmount(self) -> None:
        self._feed.end()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def _post(self, update: Update) -> None:
        """Called by the feed's thread; ``post_message`` may be."""
        self.post_message(Fresh(update))

    def on_fresh(self, message: Fresh) -> None:
        update = message.update
        if update.first:
            self._history.begin_run()
        self._history.add(update.events)
        self._events.extend(e for e in update.events if panels.is_notable(e))
        self._update = update
        self.snapshot = update.snapshot
        self._draw()

    def _draw(self) -> None:
        self._draw_title()
        stages = panels.known_stages(self.snapshot, STAGE_NAMES, self._update.done)
        pipeline = self._rows("pipeline")
        rows = panels.pipeline(stages, pipeline.size.width or self.size.width - 4)
        if self.snapshot is None:
            rows += [[("no run in this folder yet; to begin one:", "muted")], [(self._how_to_begin(), "plain")]]
        pipeline.show(rows)
        self._draw_loss()
        machine = self._rows("machine")
        narrow = self.size.width < WIDE_COLUMNS
        readings = self._update.readings
        machine.show(panels.machine_in_two_lines(readings) if narrow else panels.machine(readings, machine.size.width))
        events = self._rows("events")
        events.show(panels.event_rows(tuple(self._events), max(1, events.size.height)))
        self._draw_keys()

    def _draw_title(self) -> None:
        self._rows("title").show([panels.title(self.snapshot, self.workspace.folder.name, self.size.width)])

    def _draw_loss(self) -> None:
        lines = []
        for name, tone in (("train_loss", "train"), ("val_loss", "val")):
            steps, values = self._history.series(name)
            if steps.size:
                lines.append(Series(name, steps, values, tone))
        chart = self.query_one("#chart", Chart)
        chart.plot(tuple(lines))
        facts = panels.latest_metrics(self.snapshot)
        title = " · ".join(["Loss: train, val", *(["log y"] if chart.log_axis else []), *([facts] if facts else [])])
        panel = self.query_one("#loss", Vertical)
        if panel.border_title != title:
            panel.border_title = title

    def _draw_keys(self) -> None:
        keys = [k for k in KEYS if not (k.steers and self.read_only)]
        spans = [(" read-only ", "warning")] if self.read_only else []
        for key in keys:
            label = "resume" if key.action == "pause" and self._is_paused() else key.label
            spans += [(f" {shown(key.key)} ", "strong"), (f"{label} ", "muted")]
        self._rows("keys").show([spans])

    def _how_to_begin(self) -> str:
        if self.workspace.config.exists():
            return "press r"
        return f"ecgconsole run -o {sanitise(self.workspace.folder)} --set data.waveform_dir=FOLDER"

    def _rows(self, name: str) -> Rows:
        return self.query_one(f"#{name}", Rows)

    def _is_paused(self) -> bool:
        return self.snapshot is not None and self.snapshot.status == "paused"

    # Actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """With ``--read-only`` nothing that touches the job is bound."""
        steering = {k.action for k in KEYS if k.steers}
        return not (self.read_only and action in steering)

    def action_stop(self) -> None:
        self._ask_then("stop", "Stop the job after the unit in hand? Everything is saved; the same command continues.")

    def action_stop_now(self) -> None:
        self._ask_then("stop-now", "Stop the job at once? Work since the last checkpoint or shard is done again.")

    def action_pause(self) -> None:
        self._request("resume" if self._is_paused() else "pause")

    def action_checkpoint(self) -> None:
        self._request("checkpoint")

    def action_start(self) -> None:
        if self.snapshot is not None and self.snapshot.alive:
            self.notify("a job runs here already", severity="warning")
        elif not self.workspace.config.exists():
            self.notify(self._how_to_begin(), title="no parameters in this folder", severity="warning", markup=False)
        else:
            self._confirm("Run all stages with this folder's config.json? Done stages are skipped.", self._start)

    def action_log_axis(self) -> None:
        self.query_one("#chart", Chart).toggle_log()
        self._draw_loss()

    def action_help(self) -> None:
        self.push_screen(Help())

    def action_leave(self) -> None:
        running = self.snapshot is not None and self.snapshot.alive
        self.exit(
            message=f"The job goes on. To see it again: ecgconsole -o {self.workspace.folder}" if running else None
        )

    def _ask_then(self, action: str, question: str) -> None:
        if self.snapshot is None or not self.snapshot.alive:
            self.notify("no job runs here", severity="warning")
        else:
            self._confirm(question, lambda: self._request(action))

    def _confirm(self, question: str, then: Callable[[], object]) -> None:
        def answered(yes: bool | None) -> None:
            if yes:
                then()

        self.push_screen(Question(question), answered)

    @work(thread=True, group="steer")
    def _request(self, action: str) -> None:
        try:
            request(self.workspace, action)
        except EcgConsoleError as error:
            self._say(str(error), "error")
        else:
            self._say(f"{action} asked for", "information")

    @work(thread=True, group="steer")
    def _start(self) -> None:
        try:
            run_id = start_run(self.workspace, ["run", "--no-tui", "-o", str(self.workspace.folder)])
        except EcgConsoleError as error:
            self._say(str(error), "error")
        else:
            self._say(f"run {int(run_id)} started", "information")

    def _say(self, text: str, severity: Any) -> None:
        self.call_from_thread(self.notify, sanitise(text), severity=severity, markup=False)


def _titled(widget: Any, title: str) -> Any:
    widget.border_title = title
    return widget


def main(workspace: Workspace, read_only: bool = False) -> None:
    """Opens the console; returns when the user leaves. The job, if one runs, goes on."""
    console = Console(workspace, read_only)
    console.run()
    if console.snapshot is not None and console.snapshot.alive:
        sys.stdout.write(f"The job goes on. To see it again: ecgconsole -o {sanitise(workspace.folder)}\n")
