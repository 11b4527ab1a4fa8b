"""While nobody looked: what happened between the console's last closing and its opening."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ecgconsole.jobs.lines import significant
from ecgconsole.jobs.snapshot import elapsed_seconds
from ecgconsole.text import count, duration

AWAY_SECONDS = 60.0


class Away:
    """A fold over the events with a time after ``since`` and up to ``until``."""

    def __init__(self, since: str | None, until: datetime) -> None:
        self._since, self._until = since, until
        self._chunks = self._warnings = self._checkpoints = 0
        self._best: tuple[float, Any] | None = None
        self._best_is_new = False
        self._ended: list[str] = []

    def add(self, event: Mapping[str, Any]) -> None:
        if self._since is None:
            return
        new = self._since < str(event.get("time")) and datetime.fromisoformat(str(event["time"])) <= self._until
        kind = event.get("kind")
        if kind == "metric":
            loss = (event.get("values") or {}).get("val_loss")
            if isinstance(loss, int | float) and (self._best is None or loss < self._best[0]):
                self._best, self._best_is_new = (loss, event.get("epoch")), new
        if not new:
            return
        self._chunks += kind == "chunk"
        self._warnings += kind == "warning"
        self._checkpoints += kind == "checkpoint"
        if kind == "stage_finished":
            self._ended.append(f"{event.get('stage')} {event.get('status')}")
        if kind == "run_finished":
            self._ended.append(f"run {event.get('status')}")

    def text(self) -> str:
        """``while you were away (3 h 2 m): 41 chunks, 2 warnings, …``; empty after a short or a quiet absence."""
        gone_s = elapsed_seconds(self._since, self._until.isoformat())
        if gone_s is None or gone_s < AWAY_SECONDS:
            return ""
        counted = [(self._chunks, "chunk"), (self._warnings, "warning"), (self._checkpoints, "checkpoint")]
        facts = [count(n, noun) for n, noun in counted if n]
        if self._best is not None and self._best_is_new:
            facts.append(f"best validation {significant(self._best[0])} at epoch {self._best[1]}")
        facts += self._ended
        return f"while you were away ({duration(gone_s)}): {', '.join(facts)}" if facts else ""
