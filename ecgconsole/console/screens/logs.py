"""The logs: the end of a file of any size, followed; searched, filtered, and gone through by time."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input
from textual.worker import get_current_worker

from ecgconsole.console.page import Page
from ecgconsole.console.rows import Row, Rows, Span
from ecgconsole.console.search import SearchLine
from ecgconsole.console.sources import logfile as source
from ecgconsole.console.sources.logfile import LEVELS, Filter, Line
from ecgconsole.text import sanitise, size

POLL_SECONDS = 1.0
# What grew by more than this since the last look is not read through but jumped over.
_BURST_BYTES = 4 << 20
_TONES = {"INFO": "plain", "WARN": "warning", "ERROR": "failed"}
_PARTS = re.compile(r"(\d{4}-\d\d-\d\dT\S+ )((?:INFO|WARN|WARNING|ERROR) *)(\S+ )(.*)")
_ASKS = {
    "search": "search upwards for a regular expression",
    "filter": "show only lines that match a regular expression; empty: all",
    "time": "go to a time, as the log writes it: 14:03 or 2026-11-24 14:03",
}


class LogView(Rows, can_focus=True):
    """The lines that fit; asks its page to move."""

    class Move(Message):
        """``by`` lines; the largest numbers mean the ends of the file."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    END = 1 << 60
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown,space", "page(1)", show=False),
        Binding("home", f"move({-END})", show=False),
        Binding("end", f"move({END})", show=False),
        Binding("left", "shift(-1)", show=False),
        Binding("right", "shift(1)", show=False),
    ]
    DEFAULT_CSS = "LogView { height: 1fr; }"

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self.lines: list[Line] = []
        self.sought: re.Pattern[bytes] | None = None
        self._shifted = 0

    def put(self, lines: list[Line]) -> None:
        self.lines = lines
        self.show([_row(line, self.sought, self._shifted) for line in lines])

    def action_move(self, by: int) -> None:
        self.post_message(self.Move(by))

    def action_page(self, by: int) -> None:
        self.post_message(self.Move(by * max(1, self.size.height - 1)))

    def action_shift(self, by: int) -> None:
        if self.lines:
            self._shifted = max(0, self._shifted + by * max(10, self.size.width // 2))
            self.put(self.lines)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.post_message(self.Move(-3))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.post_message(self.Move(3))


class Logs(Page):
    NAME = "logs"
    DEFAULT_CSS = """
    Logs #where { height: 1; padding: 0 1; }
    Logs #log { height: 1fr; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._path: Path | None = None
        self._filter = Filter()
        self._following = True
        self._read_to = 0
        self._busy = False
        self._asked = ""
        self._owed = 0
        self._height = 0

    def compose(self) -> ComposeResult:
        yield Rows(id="where")
        with Vertical(id="log", classes="panel"):
            yield LogView("lines")
        yield SearchLine()

    def on_mount(self) -> None:
        self.set_interval(POLL_SECONDS, self._poll)

    @property
    def _view(self) -> LogView:
        return self.query_one(LogView)

    def take_focus(self) -> None:
        self._view.focus()

    def fresh(self) -> None:
        if self._path is None or not self._path.exists():
            files = source.log_files(self.session.workspace)
            self._open(files[0] if files else None)
        elif self._height != self._view.size.height:
            self._height = self._view.size.height
            self._go(self._around)
        self._draw_where()

    def _open(self, path: Path | None) -> None:
        if path is None:
            self._view.show([[("no log in this folder yet", "muted")]])
            return
        self._path, self._following = path, True
        self._height = self._view.size.height
        self._go(self._end)

    def _poll(self) -> None:
        """New lines, where one follows the end and looks."""
        if self.console.page is not self or self._path is None:
            return
        grown = source.size_of(self._path) - self._read_to
        if grown and self._following and not self._busy:
            # A shorter file is another one under this name: rotated.
            self._go(self._end if grown < 0 or (grown > _BURST_BYTES and self._filter.all) else self._more)
        elif grown:
            self._draw_where()

    def _draw_where(self) -> None:
        if self._path is None:
            return
        folder = self.session.workspace.folder
        name = self._path.relative_to(folder) if self._path.is_relative_to(folder) else self._path
        facts = [sanitise(name), size(source.size_of(self._path))]
        if self._filter.least != "INFO":
            facts.append("warnings and errors" if self._filter.least == "WARN" else "errors")
        if self._filter.pattern is not None:
            facts.append(f"filter {sanitise(self._filter.pattern.pattern.decode())}")
        if self._view.sought is not None:
            facts.append(f"search {sanitise(self._view.sought.pattern.decode())}")
        state: Span = ("● following", "running") if self._following else ("○ not following: e follows", "muted")
        if self._busy:
            state = ("● reading, esc ends it", "warning")
        first, *more = facts
        self.query_one("#where", Rows).show([[(f"{first}   ", "strong"), state, (f"   {' · '.join(more)}", "strong")]])

    # Reading: each is run in a thread, and gives the lines to show

    @work(thread=True, exclusive=True, group="log")
    def _go(self, read: Callable[[Path, int, Callable[[], bool]], list[Line] | None]) -> None:
        worker, path = get_current_worker(), self._path
        if path is None:
            return
        self._busy = True
        try:
            lines = read(path, max(1, self._height), lambda: not worker.is_cancelled)
        except OSError as error:
            self.app.call_from_thread(self.console.say, f"{path.name}: {error.strerror}", "error")
            lines = None
        if not worker.is_cancelled:
            self._busy = False
            self.app.call_from_thread(self._arrived, lines)

    def _arrived(self, lines: list[Line] | None) -> None:
        self._owed = 0
        if lines is not None:
            self._view.put(lines)
        self._draw_where()

    def _end(self, path: Path, height: int, go_on: Callable[[], bool]) -> list[Line]:
        end = source.size_of(path)
        lines = source.lines_before(path, end, height, self._filter, go_on)
        # The last, unfinished line comes when it is finished.
        unfiltered = source.lines_before(path, end, 1, Filter(), go_on)
        self._read_to = unfiltered[-1].end if unfiltered else 0
        return lines

    def _more(self, path: Path, height: int, go_on: Callable[[], bool]) -> list[Line] | None:
        new, self._read_to = source.lines_after(path, self._read_to, 1 << 30, self._filter, go_on)
        return [*self._view.lines, *new][-height:] if new else None

    def _from(self, path: Path, at: int, height: int, go_on: Callable[[], bool]) -> list[Line]:
        """The lines from a place on; where that is less than a screen, the last ones."""
        lines, _ = source.lines_after(path, at, height, self._filter, go_on)
        missing = height - len(lines)
        return [*source.lines_before(path, at, missing, self._filter, go_on), *lines] if missing else lines

    def _around(self, path: Path, height: int, go_on: Callable[[], bool]) -> list[Line]:
        lines = self._view.lines
        if self._following or not lines:
            return self._end(path, height, go_on)
        return self._from(path, lines[0].start, height, go_on)

    # Actions

    def on_log_view_move(self, event: LogView.Move) -> None:
        if event.by == LogView.END:
            self._following = True
            self._go(self._end)
            return
        if event.by < 0:
            self._following = False
        if event.by == -LogView.END:
            self._go(lambda path, height, go_on: self._from(path, 0, height, go_on))
        else:
            # A move that the next one overtakes is not lost.
            self._owed += event.by
            self._go(self._moved)

    def _moved(self, path: Path, height: int, go_on: Callable[[], bool]) -> list[Line]:
        lines, by = self._view.lines, self._owed
        if not lines:
            return self._end(path, height, go_on)
        if by < 0:
            before = source.lines_before(path, lines[0].start, -by, self._filter, go_on)
            return [*before, *lines][:height]
        after, _ = source.lines_after(path, lines[-1].end, by, self._filter, go_on)
        return [*lines, *after][-height:]

    def action_next_file(self) -> None:
        files = source.log_files(self.session.workspace)
        if files:
            at = files.index(self._path) + 1 if self._path in files else 0
            self._view.put([])
            self._open(files[at % len(files)])

    def action_level(self) -> None:
        least = LEVELS[(LEVELS.index(self._filter.least) + 1) % len(LEVELS)]
        self._filter = Filter(least, self._filter.pattern)
        self._go(self._around)

    def action_follow(self) -> None:
        self._following = not self._following
        self._go(self._around)

    def action_give_up(self) -> None:
        self.workers.cancel_group(self, "log")
        self._busy = False
        self._draw_where()

    def action_ask(self, what: str) -> None:
        self._asked = what
        line = self.query_one(SearchLine)
        line.value, line.placeholder = "", _ASKS[what]
        line.open()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.query_one(SearchLine).remove_class("-open")
        try:
            if self._asked == "time":
                self._go_to_time(event.value)
            elif self._asked == "filter":
                self._filter = Filter(self._filter.least, source.pattern_of(event.value))
                self._go(self._around)
            else:
                self._view.sought = source.pattern_of(event.value)
                self.action_again("up")
        except re.error as error:
            self.console.say(f"not a regular expression: {error}", "warning")

    def action_again(self, way: str) -> None:
        """Puts the next match upwards at the bottom, or downwards at the top."""
        sought, lines = self._view.sought, self._view.lines
        if sought is None or not lines:
            self._view.put(lines)
            return
        both = Filter(self._filter.least, sought)
        self._following = False

        def find(path: Path, height: int, go_on: Callable[[], bool]) -> list[Line] | None:
            if way == "up":
                # What is visible was looked through, unless this is the first look.
                end = lines[-1].end if not _matches(lines[-1], sought) else lines[-1].start
                found = source.lines_before(path, end, 1, both, go_on)
            else:
                start = lines[0].start if not _matches(lines[0], sought) else lines[0].end
                found, _ = source.lines_after(path, start, 1, both, go_on)
            if not found:
                if go_on():
                    self.app.call_from_thread(self.console.say, "no further match", "warning")
                return lines
            if way == "down":
                return self._from(path, found[0].start, height, go_on)
            before = source.lines_before(path, found[0].end, height, self._filter, go_on)
            after, _ = source.lines_after(path, found[0].end, height - len(before), self._filter, go_on)
            return [*before, *after]

        self._go(find)

    def _go_to_time(self, text: str) -> None:
        last = next(
            (m[1] for line in reversed(self._view.lines) if (m := re.match(r"(\d{4}-\d\d-\d\d)", line.text))), ""
        )
        text = text.strip()
        try:
            when = datetime.fromisoformat(text if "-" in text else f"{last} {text}")
        except ValueError:
            self.console.say(f"not a time: {text}; write 14:03 or 2026-11-24 14:03", "warning")
            return
        self._following = False
        self._go(
            lambda path, height, go_on: self._from(
                path, source.place_of_time(path, when.replace(tzinfo=None)), height, go_on
            )
        )

    def copied_text(self) -> str | None:
        """The line that was searched for, else the last one."""
        lines = self._view.lines
        sought = self._view.sought
        found = [line for line in lines if sought is not None and _matches(line, sought)]
        return (found or lines)[-1].text if lines else None


def _matches(line: Line, sought: re.Pattern[bytes]) -> bool:
    return sought.search(line.text.encode()) is not None


def _row(line: Line, sought: re.Pattern[bytes] | None, shifted: int) -> Row:
    """Time, level, stage and the rest, each in its tone; what is searched for stands out."""
    tone = _TONES[line.level]
    parts = _PARTS.fullmatch(line.text)
    spans: list[Span] = (
        [(parts[1], "muted"), (parts[2], tone), (parts[3], "strong"), (parts[4], tone)]
        if parts
        else [(line.text, tone)]
    )
    if sought is not None:
        spans = [piece for span in spans for piece in _marked(span[0], span[1], sought)]
    return _after(spans, shifted)


def _marked(text: str, tone: str, sought: re.Pattern[bytes]) -> list[Span]:
    raw, at = text.encode(), 0
    pieces: list[Span] = []
    for found in sought.finditer(raw):
        if found.end() > found.start():
            pieces += [
                (raw[at : found.start()].decode(errors="ignore"), tone),
                (found[0].decode(errors="ignore"), "selected"),
            ]
            at = found.end()
    return [*pieces, (raw[at:].decode(errors="ignore"), tone)]


def _after(spans: list[Span], shifted: int) -> list[Span]:
    """Without the first ``shifted`` characters."""
    result: list[Span] = []
    for span in spans:
        text = span[0]
        if shifted < len(text):
            result.append((text[shifted:], span[1]))
        shifted = max(0, shifted - len(text))
    return result
