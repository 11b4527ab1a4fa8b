"""What the dashboard says, as rows of spans: pure functions of what was read, for any width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from ecgconsole.console.rows import Row, Span
from ecgconsole.jobs.lines import level_of, line_of, local_time, result_text, significant
from ecgconsole.jobs.snapshot import LIVE, Snapshot, StageSnapshot, elapsed_seconds
from ecgconsole.text import duration, sanitise, size

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
_SPARKS = "▁▂▃▄▅▆▇█"


def title(snapshot: Snapshot | None, folder: str, width: int) -> Row:
    """Folder, run and state on the left; how long and until when on the right."""
    name = sanitise(folder, 60)
    if snapshot is None:
        return [(" ecgconsole  ", "strong"), (name, "plain"), (" · no run yet", "muted")]
    sign, tone = SIGNS.get(snapshot.status, ("?", "plain"))
    left = f" {name} · run {int(snapshot.run_id)} · "
    state = f"{sign} {snapshot.status}"
    right = _timing(snapshot)
    gap = width - len(left) - len(state) - len(right) - 1
    if gap < 1:
        return [(left, "plain"), (state, tone)]
    return [(left, "plain"), (state, tone), (" " * gap, "plain"), (right, "muted")]


def _timing(snapshot: Snapshot) -> str:
    if snapshot.status not in LIVE:
        ended = snapshot.finished or snapshot.heartbeat
        took = elapsed_seconds(snapshot.started, ended) if snapshot.started and ended else None
        return f"ran {duration(took)} · ended {local_time(ended)}"
    text = f"running {duration(elapsed_seconds(snapshot.started))}"
    stage = snapshot.stage
    if stage and stage.remaining_seconds:
        end = datetime.now().astimezone() + timedelta(seconds=stage.remaining_seconds)
        text += f" · {stage.name} ends about {end.strftime('%H:%M')}"
    return text


def pipeline(stages: Sequence[StageSnapshot], width: int) -> list[Row]:
    """A row for each stage that has begun, then the waiting ones together."""
    rows: list[Row] = []
    for stage in stages:
        if stage.status == "running":
            rows.append(_running(stage, width))
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
        stages.append(stage)
    return stages


def _running(stage: StageSnapshot, width: int) -> Row:
    head = f"{stage.name:<9}"
    if stage.share is None:
        return [("● ", "running"), (head, "strong"), ("starting", "muted")]
    done = f"{stage.done:,} of {stage.total:,} {stage.unit}"
    share = f"{100 * stage.share:3.0f} %"
    rate = f"{significant(stage.rate)} {stage.unit}/s" if stage.rate else ""
    left = f"{duration(stage.remaining_seconds)} left" if stage.remaining_seconds else ""
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
    if stage.status in ("failed", "stopped"):
        facts = sanitise(stage.message or stage.status, 400)
        return [*spans, (facts, tone)]
    took = duration(stage.seconds) if stage.seconds else ("unchanged" if stage.status == "skipped" else "")
    return [*spans, (" · ".join(t for t in (took, facts) if t), "plain")]


def machine(readings: Sequence[Mapping[str, Any]], width: int) -> list[Row]:
    """The last gauges with their trends. ``readings`` are gauge events, oldest first."""
    if not readings:
        return [[("no reading yet", "muted")]]
    last = readings[-1]
    trend = max(0, min(24, width - 16))
    rows: list[Row] = []
    for gpu in last.get("gpus") or ():
        history = [_gpu(r, gpu["index"]).get("utilisation_percent") for r in readings]
        rows.append(_meter(f"GPU {gpu['index']}", gpu.get("utilisation_percent"), history, trend))
        rows.append([("      " + _gpu_facts(gpu), "muted")])
    if not last.get("gpus"):
        rows.append([("GPU   ", "strong"), ("none", "muted")])
    rows.append(_meter("CPU  ", last.get("cpu_percent"), [r.get("cpu_percent") for r in readings], trend))
    used, total = last.get("ram_used_bytes"), last.get("ram_total_bytes")
    if used is not None and total:
        rows.append([("RAM   ", "strong"), (f"{size(used)} of {size(total)}", "plain")])
    if last.get("disk_free_bytes") is not None:
        rows.append([("disk  ", "strong"), (f"{size(last['disk_free_bytes'])} free", "plain")])
    if last.get("job_processes"):
        job = f"{last['job_processes']} processes, {size(last.get('job_rss_bytes') or 0)}"
        rows.append([("job   ", "strong"), (job, "plain")])
    return rows


def machine_in_two_lines(readings: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The same for a small terminal."""
    if not readings:
        return [[("machine: no reading yet", "muted")]]
    last = readings[-1]
    gpus = last.get("gpus") or ()
    first = "   ".join(f"GPU {g['index']} {_percent(g.get('utilisation_percent'))}" for g in gpus) or "GPU none"
    first += f"   CPU {_percent(last.get('cpu_percent'))}"
    used, total = last.get("ram_used_bytes") or 0, last.get("ram_total_bytes") or 0
    second = f"RAM {size(used)} of {size(total)}   disk {size(last.get('disk_free_bytes') or 0)} free"
    return [[(first, "plain")], [(second, "plain")]]


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


def is_notable(event: Mapping[str, Any]) -> bool:
    """Not what the pipeline and the chart show anyway."""
    return event.get("kind") not in ("progress", "metric", "chunk")


def latest_metrics(snapshot: Snapshot | None) -> str:
    """``epoch 12 · train 1.74 · val 1.842 · rate 3e-4``, for the chart's title."""
    metric = snapshot.metric if snapshot else None
    if not metric:
        return ""
    values = metric.get("values") or {}
    names = (("train", "train_loss"), ("val", "val_loss"), ("rate", "learning_rate"))
    shown = [f"{label} {significant(values[key])}" for label, key in names if values.get(key) is not None]
    return " · ".join([f"epoch {metric.get('epoch')}", *shown])


def _event_sign(event: Mapping[str, Any]) -> tuple[str, str]:
    if event.get("kind") == "warning":
        return "▲", "warning"
    if event.get("status") in ("failed", "stopped"):
        return SIGNS[event["status"]]
    if event.get("kind") in ("stage_finished", "stage_skipped", "checkpoint", "run_finished"):
        return SIGNS["done"]
    level = level_of(dict(event))
    return ("●", "running") if level == "INFO" else ("▲", "warning")


def _meter(name: str, percent: float | None, history: Sequence[float | None], width: int) -> Row:
    spark = "".join(_spark(v) for v in history[-width:]) if width else ""
    return [(f"{name} ", "strong"), (f"{_percent(percent):>5}  ", "plain"), (spark, "running")]


def _spark(percent: float | None) -> str:
    return " " if percent is None else _SPARKS[min(7, int(percent / 12.5))]


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} %"


def _gpu(reading: Mapping[str, Any], index: int) -> Mapping[str, Any]:
    return next((g for g in reading.get("gpus") or () if g.get("index") == index), {})


def _gpu_facts(gpu: Mapping[str, Any]) -> str:
    if gpu.get("lost"):
        return "lost: the driver does not answer for it"
    facts = []
    if gpu.get("memory_total_bytes"):
        facts.append(f"{size(gpu.get('memory_used_bytes') or 0)} of {size(gpu['memory_total_bytes'])}")
    if gpu.get("temperature_c") is not None:
        facts.append(f"{gpu['temperature_c']:.0f} °C")
    if gpu.get("power_w") is not None:
        facts.append(f"{gpu['power_w']:.0f} W")
    return "  ".join(facts) or "it tells nothing more"
