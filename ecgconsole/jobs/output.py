"""What a headless run prints: rich, plain or json.

The printer is a thread that follows the run's event file. So a terminal that nobody reads or a pipe that
is closed holds up the printer alone, never the job.
"""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ecgconsole.jobs.events import EventReader
from ecgconsole.jobs.lines import Throttle, level_of, line_of
from ecgconsole.jobs.snapshot import Snapshot, fold
from ecgconsole.text import duration, sanitise

if TYPE_CHECKING:
    from rich.progress import TaskID

Output = Literal["auto", "rich", "plain", "json"]
PATIENCE_SECONDS = 5.0


class Display(Protocol):
    """Where events are shown. Each method may raise ``OSError``."""

    def show(self, event: dict[str, Any]) -> None: ...
    def refresh(self) -> None: ...
    def close(self) -> None: ...


class Printer(threading.Thread):
    """Shows the events of a file on stdout, until ``finish``."""

    def __init__(self, events: Path, output: Output) -> None:
        super().__init__(name="printer", daemon=True)
        self._reader = EventReader(events)
        self._output = output
        self._finishing = threading.Event()
        self._shown = 0

    def run(self) -> None:
        try:
            display = display_for(self._output)
            while True:
                finishing = self._finishing.is_set()
                batch = self._reader.read_new(1 << 16)
                for event in batch:
                    display.show(event)
                    self._shown += 1
                display.refresh()
                if not batch:
                    if finishing:
                        display.close()
                        return
                    self._finishing.wait(0.2)
        except OSError:
            return  # stdout is closed or its terminal is gone: nobody to print for

    def finish(self) -> None:
        """Lets the display catch up, for as long as it gets on."""
        self._finishing.set()
        while self.is_alive():
            before = self._shown
            self.join(PATIENCE_SECONDS)
            if self._shown == before:
                return


def display_for(output: Output) -> Display:
    if output == "auto":
        output = "rich" if os.isatty(1) and os.environ.get("TERM") != "dumb" else "plain"
    if output == "rich":
        return RichDisplay()
    return JsonDisplay() if output == "json" else PlainDisplay()


class JsonDisplay:
    """The events as they are in the file."""

    def show(self, event: dict[str, Any]) -> None:
        _write(json.dumps(event))

    def refresh(self) -> None:
        return

    def close(self) -> None:
        return


class PlainDisplay:
    """One line a unit of work, or every ten seconds: for nohup and batch systems."""

    def __init__(self) -> None:
        self._throttle = Throttle()

    def show(self, event: dict[str, Any]) -> None:
        if self._throttle.wants(event):
            level = {"INFO": "", "WARN": "warning: ", "ERROR": "error: "}[level_of(event)]
            _write(f"{_prefix(event)} {level}{line_of(event)}")

    def refresh(self) -> None:
        return

    def close(self) -> None:
        return


class RichDisplay:
    """Bars that move, and above them the lines that plain output has."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        stream = io.TextIOWrapper(
            io.FileIO(1, "w", closefd=False),
            encoding=getattr(sys.stdout, "encoding", None) or "utf-8",
            errors="replace",
            write_through=True,
        )
        self._console = Console(file=stream, markup=False, emoji=False, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description:9}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            console=self._console,
            auto_refresh=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._snapshot = Snapshot()
        self._progress.start()

    def show(self, event: dict[str, Any]) -> None:
        self._snapshot = fold(self._snapshot, event)
        kind, name = event.get("kind"), sanitise(event.get("stage"), 40)
        if kind == "progress":
            self._move(name)
        elif kind != "metric" or "val_loss" in (event.get("values") or {}):
            style = {"INFO": None, "WARN": "yellow", "ERROR": "bold red"}[level_of(event)]
            self._progress.print(f"{_prefix(event)} {line_of(event)}", style=style)
        if kind == "stage_finished" and name in self._tasks:
            self._progress.update(self._tasks[name], detail=sanitise(event.get("status"), 40))

    def _move(self, name: str) -> None:
        stage = next((s for s in self._snapshot.stages if s.name == name), None)
        if stage is None:
            return
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=stage.total, detail="")
        unit = sanitise(stage.unit, 40)
        rate = f"{stage.rate:,.4g} {unit}/s" if stage.rate else ""
        left = f"{duration(stage.remaining_seconds)} left" if stage.remaining_seconds else ""
        detail = "  ".join(t for t in (f"{stage.done or 0:,} of {stage.total or 0:,} {unit}", rate, left) if t)
        self._progress.update(self._tasks[name], completed=stage.done, total=stage.total, detail=detail)

    def refresh(self) -> None:
        self._progress.refresh()

    def close(self) -> None:
        self._progress.stop()


def _prefix(event: dict[str, Any]) -> str:
    return f"{str(event.get('time'))[11:19]}  {sanitise(event.get('stage') or 'run', 40):9}"


def _write(line: str) -> None:
    data = line.encode("utf-8", "replace") + b"\n"
    while data:
        data = data[os.write(1, data) :]
