"""Lines of a log of any size: read in pieces around where one looks, never whole. A line is a place in the file.

Bytes are shown as text with whatever is no text replaced, and sanitised; of a line without end only its beginning.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from ecgconsole.text import sanitise
from ecgconsole.workspace import Workspace

PIECE_BYTES = 1 << 18
LINE_BYTES = 4000
LEVELS = ("INFO", "WARN", "ERROR")
_LEVEL = re.compile(rb"^\S+ (INFO|WARN|WARNING|ERROR)\b")
_TROUBLE = re.compile(rb"\b(traceback|error|exception|fatal|critical|killed|segmentation fault)\b", re.IGNORECASE)
_WARNING = re.compile(rb"\bwarn(ing)?\b", re.IGNORECASE)
_TIME = re.compile(rb"^\[?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)")


@dataclass(frozen=True)
class Line:
    """``start`` and ``end``: bytes in the file, its newline included; ``text``: sanitised."""

    start: int
    end: int
    text: str
    level: str


@dataclass(frozen=True)
class Filter:
    """Which lines are shown: of ``least`` level or above, matching ``pattern`` where there is one."""

    least: str = "INFO"
    pattern: re.Pattern[bytes] | None = None

    @property
    def all(self) -> bool:
        return self.least == "INFO" and self.pattern is None

    def takes(self, raw: bytes) -> bool:
        if LEVELS.index(level_of(raw)) < LEVELS.index(self.least):
            return False
        return self.pattern is None or self.pattern.search(raw) is not None


def pattern_of(text: str) -> re.Pattern[bytes] | None:
    """A regular expression, in any case; None for an empty one. Raises ``re.error``."""
    return re.compile(text.encode(), re.IGNORECASE) if text else None


def log_files(workspace: Workspace) -> list[Path]:
    """Logs of the folder that say anything: the one of all runs first, then each run's own, the last run first."""
    rotated = sorted(workspace.folder.glob(f"{workspace.log.name}.*"))
    engines = [workspace.run(run_id).engine_log for run_id in reversed(workspace.run_ids())]
    files = [workspace.log, *rotated, workspace.runs / "launch.log", *engines]
    return [path for path in files if path.is_file() and path.stat().st_size]


def level_of(raw: bytes) -> str:
    """The level that the line names; else what its words say."""
    if found := _LEVEL.match(raw):
        return "WARN" if found[1].startswith(b"WARN") else found[1].decode()
    if _TROUBLE.search(raw):
        return "ERROR"
    return "WARN" if _WARNING.search(raw) else "INFO"


def lines_before(path: Path, end: int, count: int, wanted: Filter, go_on: Callable[[], bool]) -> list[Line]:
    """The last ``count`` wanted lines that end at or before byte ``end``, in order. ``go_on`` is asked now and then."""
    found: list[Line] = []
    with path.open("rb") as file:
        for start, stop, raw in _backwards(file, min(end, _size(file)), go_on):
            if len(found) == count:
                break
            if wanted.takes(raw):
                found.append(_line(start, stop, raw))
    return found[::-1]


def lines_after(
    path: Path, start: int, count: int, wanted: Filter, go_on: Callable[[], bool]
) -> tuple[list[Line], int]:
    """The first ``count`` wanted lines from byte ``start`` on, and where the search ended.

    A last line without a newline is left: it is being written.
    """
    found: list[Line] = []
    at = start
    with path.open("rb") as file:
        for begin, end, raw in _forwards(file, start, go_on):
            if len(found) == count:
                break
            at = end
            if wanted.takes(raw):
                found.append(_line(begin, end, raw))
    return found, at


def place_of_time(path: Path, when: datetime) -> int:
    """Where the first line of that time or later starts. Times rise in a log; lines without one belong to the line
    before. ``when`` is in the log's own zone (UTC)."""
    with path.open("rb") as file:
        low, high = 0, _size(file)
        while low < high:
            middle = (low + high) // 2
            begin, time = _next_time(file, middle, high)
            if time is None or time >= when:
                high = middle
            else:
                low = begin + 1
        return _next_time(file, low, _size(file))[0]


def size_of(path: Path) -> int:
    """0 for a file that is gone."""
    return path.stat().st_size if path.exists() else 0


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size


def _line(start: int, end: int, raw: bytes) -> Line:
    text = sanitise(raw[:LINE_BYTES].decode(errors="replace"), LINE_BYTES)
    if end - start - 1 > LINE_BYTES:
        text = f"{text[: LINE_BYTES // 2]}… ({end - start:,} bytes)"
    return Line(start, end, text, level_of(raw))


def _forwards(file: IO[bytes], start: int, go_on: Callable[[], bool]) -> Iterator[tuple[int, int, bytes]]:
    """Complete lines from ``start`` on: start, end, and the line's first bytes without the newline."""
    file.seek(start)
    begun, head = start, b""
    at = start
    while (piece := file.read(PIECE_BYTES)) and go_on():
        place = 0
        while (newline := piece.find(b"\n", place)) >= 0:
            head += piece[place : min(newline, place + LINE_BYTES - len(head) + 1)]
            yield begun, at + newline + 1, head
            place, head = newline + 1, b""
            begun = at + place
        head += piece[place : place + max(0, LINE_BYTES - len(head) + 1)]
        at += len(piece)


def _backwards(file: IO[bytes], end: int, go_on: Callable[[], bool]) -> Iterator[tuple[int, int, bytes]]:
    """Lines that end at or before ``end``, the last one first. What stands after the last newline is left."""
    stop = -1  # the end of the line whose start is looked for; known once a newline was seen
    at = end
    while at > 0 and go_on():
        first = max(0, at - PIECE_BYTES)
        file.seek(first)
        piece = file.read(at - first)
        place = len(piece)
        while (newline := piece.rfind(b"\n", 0, place)) >= 0:
            if stop >= 0:
                begin = newline + 1
                here = piece[begin : min(stop - first - 1, begin + LINE_BYTES + 1)]
                yield first + begin, stop, here if stop <= first + len(piece) else _head(file, first + begin, stop)
            stop, place = first + newline + 1, newline
        at = first
    if at == 0 and stop >= 0:
        yield 0, stop, _head(file, 0, stop)


def _head(file: IO[bytes], start: int, stop: int) -> bytes:
    file.seek(start)
    return file.read(min(stop - start - 1, LINE_BYTES + 1))


def _line_start(file: IO[bytes], at: int) -> int:
    """The start of the line that holds byte ``at``."""
    while at > 0:
        first = max(0, at - PIECE_BYTES)
        file.seek(first)
        newline = file.read(at - first).rfind(b"\n")
        if newline >= 0:
            return first + newline + 1
        at = first
    return 0


def _next_time(file: IO[bytes], at: int, limit: int) -> tuple[int, datetime | None]:
    """The first line with a time that starts at ``at`` or later, before ``limit``."""
    start = at if at == 0 else _line_start(file, at)
    for begin, _, raw in _forwards(file, start, lambda: True):
        if begin >= limit:
            break
        if begin >= at and (found := _TIME.match(raw)):
            return begin, datetime.fromisoformat(found[1].decode().replace(" ", "T"))
    return limit, None
