"""What the dashboard says, as rows of spans: pure functions of what was read, for any width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from ecgconsole.console.ladder import RUNGS, Stopping
from ecgconsole.console.rows import Row, Span
from ecgconsole.jobs.lines import level_of, line_of, local_time, result_text, significant
from ecgconsole.jobs.snapshot import LIVE, Snapshot, StageSnapshot, elapsed_seconds
from ecgconsole.text import duration, sanitise

# Each state has a sign and a tone, so that colour never carries it alone.
SIGNS: dict[str, tuple[str, str]] = {
    "waiting": ("○", "muted"),
    "starting": ("●", "running"),
    "running": ("●", "running"),
    "paused": ("‖", "warning"),
    "stopping": ("◐", "warning"),
    "done": ("✔", "done"),
    "skipped": ("✔", "done"),
    "stopped": ("■", "warning"),
    "failed": ("✖", "failed"),
    "lost": ("✖", "failed"),
}


def title(snapshot: Snapshot | None, folder: str, width: int, now: datetime, stop: Stopping | None = None) -> Row:
    """Folder, run and state on the left; how long and until when on the right."""
    name = sanitise(folder, 60)
    if snapshot is None:
        return [(" ecgconsole  ", "strong"), (name, "plain"), (" · no run yet", "muted")]
    sign, tone = SIGNS.get(snapshot.status, ("?", "plain"))
    left = f" {name} · run {int(snapshot.run_id)} · "
    state = f"{sign} {snapshot.status}"
    right = _timing(snapshot, now)
    if stop is not None:
        right = RUNGS[stop.rung] + (
            f" · {RUNGS[stop.rung + 1]} in {stop.left_s:.0f} s" if stop.left_s is not None else ""
        )
    gap = width - len(left) - len(state) - len(right) - 1
    if gap < 1:
        return [(left, "plain"), (state, tone)]
    return [(left, "plain"), (state, tone), (" " * gap, "plain"), (right, "muted")]


def _timing(snapshot: Snapshot, now: datetime) -> str:
    if snapshot.status not in LIVE:
        ended = snapshot.finished or snapshot.heartbeat
        took = elapsed_seconds(snapshot.started, ended) if snapshot.started and ended else None
        return f"ran {duration(took)} · ended {local_time(ended)}"
    text = duration(elapsed_seconds(snapshot.started, now.isoformat()))
    text = f"running {text}" if snapshot.status == "running" else f"began {text} ago"
    stage = snapshot.stage
    if snapshot.status == "running" and stage and stage.remaining_seconds:
        text += f" · {stage.name} ends about {clock(now, stage.remaining_seconds)}"
    return text


def clock(now: datetime, seconds: float) -> str:
    """``16:42``, ``tomorrow 03:10``, ``Fri 27 Nov 03:10``: the time so many seconds from now, as people say it."""
    today, end = now.astimezone(), (now + timedelta(seconds=seconds)).astimezone()
    days = (end.date() - today.date()).days
    day = "" if days == 0 else "tomorrow " if days == 1 else end.strftime("%a %-d %b ")
    return day + end.strftime("%H:%M")


def pipeline(stages: Sequence[StageSnapshot], width: int, now: datetime) -> list[Row]:
    """A row for each stage that has begun, then the waiting ones together."""
    rows: list[Row] = []
    for stage in stages:
        if stage.status == "running":
            rows.append(_running(stage, width, now))
        elif stage.status != "waiting":
            rows.append(_ended(stage))
    waiting = [s.name for s in stages if s.status == "waiting"]
    if waiting:
        rows.append([(f"○ {'   ○ '.join(waiting)}", "muted")])
    return rows


def known_stages(
    snapshot: Snapshot | None, names: Sequence[str], done: Mapping[str, Mapping[str, Any]]
) -> list[StageSnapshot]:
    """All stages of the pipeline: as the run has them, else as an earlier run left them."""
    of_run = {s.name: s for s in snapshot.stages} if snapshot else {}
    stages = []
    for name in names:
        stage = of_run.get(name) or StageSnapshot(name)
        if stage.status == "waiting" and name in done and name not in of_run:
            stage = replace(stage, status="done", result=dict(done[name].get("result") or {}))
        if stage.status == "running" and snapshot is not None and snapshot.status == "lost":
            stage = replace(stage, status="lost", message=_lost_text(stage, snapshot))
        stages.append(stage)
    return stages


def _lost_text(stage: StageSnapshot, snapshot: Snapshot) -> str:
    """Where it was, and why it is there no more."""
    where = "" if stage.share is None else f"at {stage.done:,} of {stage.total:,} {stage.unit}: "
    return where + (snapshot.message or "lost")


def _running(stage: StageSnapshot, width: int, now: datetime) -> Row:
    head = f"{stage.name:<9}"
    if stage.share is None:
        return [("● ", "running"), (head, "strong"), ("starting", "muted")]
    done = f"{stage.done:,} of {stage.total:,} {stage.unit}"
    share = f"{100 * stage.share:3.0f} %"
    rate = f"{significant(stage.rate)} {stage.unit}/s" if stage.rate else ""
    left = f"{duration(stage.remaining_seconds)} left" if stage.remaining_seconds else ""
    if left and width >= 100:
        left += f", ends {clock(now, stage.remaining_seconds or 0.0)}"
    tail = "   ".join(t for t in (share, rate, left) if t)
    bar_width = min(48, width - 2 - len(head) - len(done) - len(tail) - 5)
    spans: list[Span] = [("● ", "running"), (head, "strong"), (done, "plain"), ("  ", "plain")]
    if bar_width >= 6:
        filled = stage.share * bar_width
        bar = "━" * int(filled) + ("╸" if filled % 1 >= 0.5 else "")
        spans += [(bar, "running"), ("━" * (bar_width - len(bar)), "muted"), ("  ", "plain")]
    return [*spans, (tail, "plain")]


def _ended(stage: StageSnapshot) -> Row:
    sign, tone = SIGNS.get(stage.status, ("?", "plain"))
    spans: list[Span] = [(f"{sign} ", tone), (f"{stage.name:<9}", "strong")]
    facts = result_text(stage.result)
    if stage.status in ("failed", "stopped", "lost"):
        facts = sanitise(stage.message or stage.status, 400)
        return [*spans, (facts, tone)]
    took = duration(stage.seconds) if stage.seconds else ("unchanged" if stage.status == "skipped" else "")
    return [*spans, (" · ".join(t for t in (took, facts) if t), "plain")]


def event_rows(events: Sequence[Mapping[str, Any]], height: int) -> list[Row]:
    """The last events that a person wants to know of, newest first."""
    rows: list[Row] = []
    for event in reversed(events):
        if len(rows) == height:
            break
        stage = f"{sanitise(event['stage'], 20)} " if event.get("stage") else ""
        sign, tone = _event_sign(event)
        time = (f"{local_time(event.get('time'))}  ", "muted")
        rows.append([time, (f"{sign} ", tone), (stage, "strong"), (line_of(dict(event)), "plain")])
    return rows or [[("no event yet", "muted")]]


def event_text(event: Mapping[str, Any]) -> str:
    """The whole event in one line, to be wrapped or copied."""
    stage = f"{sanitise(event['stage'], 20)} " if event.get("stage") else ""
    return f"{local_time(event.get('time'))}  {_event_sign(event)[0]} {stage}{line_of(dict(event))}"


def latest_metrics(snapshot: Snapshot | None) -> list[str]:
    """``val 1.842``, ``train 1.74``, ``epoch 12``, ``rate 3e-4``: what matters most first."""
    metric = snapshot.metric if snapshot else None
    if not metric:
        return []
    values = metric.get("values") or {}
    val, train, rate = (
        [f"{label} {significant(values[key])}"] if values.get(key) is not None else []
        for label, key in (("val", "val_loss"), ("train", "train_loss"), ("rate", "learning_rate"))
    )
    return [*val, *train, f"epoch {metric.get('epoch')}", *rate]


def _event_sign(event: Mapping[str, Any]) -> tuple[str, str]:
    if event.get("kind") == "warning":
        return "▲", "warning"
    if event.get("status") in ("failed", "stopped"):
        return SIGNS[event["status"]]
    if event.get("kind") in ("stage_finished", "stage_skipped", "checkpoint", "run_finished"):
        return SIGNS["done"]
    level = level_of(dict(event))
    return ("●", "running") if level == "INFO" else ("▲", "warning")
