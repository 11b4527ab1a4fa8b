"""A staged stop on the screen: the rungs, which one it stands on, and when it climbs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from ecgconsole.config import JobConfig
from ecgconsole.console.rows import Row
from ecgconsole.jobs.snapshot import elapsed_seconds


class Stopping(NamedTuple):
    """``rung``: 0 finish and save, 1 terminate, 2 kill; ``left_s`` until the next, None on the last."""

    rung: int
    left_s: float | None


RUNGS = ("finish the unit in hand and save", "terminate", "kill")


def stopping(events: Iterable[Mapping[str, Any]], job: JobConfig, now: datetime) -> Stopping | None:
    """Where a stop stands, from the ``control`` events of the running job; None when none was asked for.

    ``jobs.engine_process.Ladder`` climbs by its own clock; this reads the same times from outside.
    """
    asked: dict[str, str] = {}
    for event in events:
        if event.get("kind") == "run_started":
            asked.clear()
        elif event.get("kind") == "control" and str(event.get("action")).startswith("stop"):
            asked.setdefault(str(event["action"]), str(event.get("time")))
    if not asked:
        return None
    age = {action: elapsed_seconds(time, now.isoformat()) or 0.0 for action, time in asked.items()}
    terminate_s = max(age.get("stop-now", -math.inf), age.get("stop", -math.inf) - job.stop_seconds)
    if terminate_s < 0:
        return Stopping(0, -terminate_s)
    if terminate_s < job.terminate_seconds:
        return Stopping(1, job.terminate_seconds - terminate_s)
    return Stopping(2, None)


def ladder_rows(state: Stopping | None, job: JobConfig) -> list[Row]:
    """The ladder with its times; the rung in force counts down."""
    waits = (f"waits {job.stop_seconds:.0f} s", f"waits {job.terminate_seconds:.0f} s", "ends everything of the job")
    rows: list[Row] = []
    for index, (what, wait) in enumerate(zip(RUNGS, waits, strict=True)):
        if state is None or index > state.rung:
            rows.append([("○ ", "muted"), (f"{index + 1} {what}", "muted"), (f"  {wait}", "muted")])
        elif index < state.rung:
            rows.append([("■ ", "warning"), (f"{index + 1} {what}", "plain"), ("  it was not enough", "muted")])
        else:
            left = f"  {max(0, round(state.left_s))} s left" if state.left_s is not None else "  now"
            rows.append([("◐ ", "warning"), (f"{index + 1} {what}", "strong"), (left, "warning")])
    return rows
