"""Event files: JSON, one object a line, written by one process and read by any number."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ecgconsole.text import sanitise


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def sanitised(value: Any) -> Any:
    """The value with every text in it sanitised, keys too."""
    if isinstance(value, str):
        return value if value.isprintable() and len(value) <= 2000 else sanitise(value)
    if isinstance(value, dict):
        return {sanitised(k): sanitised(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [sanitised(v) for v in value]
    return value


class EventWriter:
    """Appends events, with ``seq`` from 0 without holes and ``time``; one ``os.write`` a line.

    When a write fails (disk full) the event counts as not written: its number is used again, and the
    next line begins with a newline, which cuts off whatever part of the failed line is in the file.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._torn = os.fstat(self._fd).st_size > 0
        self._seq = 0

    def write(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Appends one event and returns it. Raises ``OSError``."""
        event = {"seq": self._seq, "time": utc_now(), **sanitised(fields)}
        line = json.dumps(event, allow_nan=False).encode() + b"\n"
        if self._torn:
            line = b"\n" + line
        self._torn = True
        while line:
            line = line[os.write(self._fd, line) :]
        self._torn = False
        self._seq += 1
        return event

    def sync(self) -> None:
        os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class EventReader:
    """Reads a growing file of JSON lines, each line once; a torn line is left until it is complete."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.offset = offset

    def read_new(self, max_bytes: int = 4 << 20) -> list[dict[str, Any]]:
        """What was added since the last call, at most about ``max_bytes`` of it; [] at the end.

        A file that does not exist yet is empty. A complete line that is not a JSON object is what a
        killed or full-disk write left, and is passed over.
        """
        try:
            with self.path.open("rb", buffering=0) as file:
                if os.fstat(file.fileno()).st_size < self.offset:
                    self.offset = 0  # another file under this name
                while True:
                    file.seek(self.offset)
                    data = file.read(max_bytes) or b""
                    end = data.rfind(b"\n") + 1
                    if end or len(data) < max_bytes:
                        break
                    max_bytes *= 2
        except FileNotFoundError:
            return []
        self.offset += end
        return [event for line in data[:end].split(b"\n") if (event := json_object(line)) is not None]


def json_object(line: bytes) -> dict[str, Any] | None:
    """None for what is not one: what a killed or full-disk write left."""
    if not line:
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
