"""``production.log``: a line an event, ``TIME LEVEL stage run=ID message``, greppable and bounded.

Rotation copies and truncates, so that ``tail -f`` goes on across it: the job's lock makes us the only writer.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from ecgconsole.jobs.lines import Throttle, log_line

MAX_BYTES = 10_000_000
KEPT = 3


class ProductionLog:
    def __init__(self, path: Path, run_id: str, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._run_id = run_id
        self._max_bytes = max_bytes
        self._throttle = Throttle()
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, event: dict[str, Any]) -> None:
        """Raises ``OSError``."""
        if not self._throttle.wants(event):
            return
        if os.fstat(self._fd).st_size > self._max_bytes:
            self._rotate()
        os.write(self._fd, log_line(event, self._run_id).encode() + b"\n")

    def close(self) -> None:
        os.close(self._fd)

    def _rotate(self) -> None:
        names = [self._path.with_name(f"{self._path.name}.{n}") for n in range(1, KEPT + 1)]
        for older, newer in zip(reversed(names), list(reversed(names))[1:], strict=False):
            if newer.exists():
                os.replace(newer, older)
        shutil.copyfile(self._path, names[0])
        os.ftruncate(self._fd, 0)
