"""A snapshot as the lines that ``status`` prints."""

from __future__ import annotations

from collections.abc import Iterator

from ecgconsole.jobs.lines import level_of, line_of, local_time, result_text, significant, values_text
from ecgconsole.jobs.snapshot import Snapshot, StageSnapshot, elapsed_seconds
from ecgconsole.text import duration, sanitise, size

SIGNS = {"waiting": "○", "running": "●", "done": "✔", "skipped": "✔", "failed": "✖", "stopped": "▲"}

# Of two dozen; `--json` and the console have all.
_METRICS = ("train_loss", "val_loss", "learning_rate", "effective_rank", "segments_per_second")


def summary_lines(snapshot: Snapshot) -> Iterator[str]:
    """All sanitised."""
    yield sanitise(_headline(snapshot))
    if snapshot.message:
        yield "  " + sanitise(snapshot.message)
    for stage in snapshot.stages:
        cut_short = snapshot.heartbeat if stage.status == "running" and snapshot.status == "lost" else None
        sign = "✖" if cut_short else SIGNS.get(stage.status, "?")
        yield sanitise(f"{sign} {stage.name:9} {stage_text(stage, cut_short)}")
    if snapshot.metric:
        all_values = snapshot.metric.get("values") or {}
        values = values_text({name: all_values[name] for name in _METRICS if name in all_values} or all_values)
        yield sanitise(
            f"  metrics   epoch {snapshot.metric.get('epoch')}, step {snapshot.metric.get('step')}: {values}"
        )
    if snapshot.checkpoint:
        yield f"  saved     {local_time(snapshot.checkpoint.get('time'))} {line_of(snapshot.checkpoint)}"
    for warning in snapshot.warnings[-1:]:
        more = f" (and {snapshot.warning_count - 1} earlier)" if snapshot.warning_count > 1 else ""
        yield f"▲ {level_of(warning).lower():9} {local_time(warning.get('time'))} {line_of(warning)}{more}"
    if snapshot.gauges and snapshot.alive:
        yield sanitise(gauges_text(snapshot))


def _headline(snapshot: Snapshot) -> str:
    text = f"run {snapshot.run_id}: {snapshot.status}"
    if snapshot.alive:
        return f"{text} for {duration(elapsed_seconds(snapshot.started))}, process {snapshot.pid} on {snapshot.host}"
    until = snapshot.finished or snapshot.heartbeat
    if until and snapshot.started:
        text += f" after {duration(elapsed_seconds(snapshot.started, until))}, at {local_time(until)}"
    return text if snapshot.exit_code is None else f"{text}, exit code {snapshot.exit_code}"


def stage_text(stage: StageSnapshot, cut_short: str | None = None) -> str:
    """Progress while it runs, the result afterwards; how far it came if it was lost at ``cut_short``, a time."""
    if stage.status == "running":
        parts = [f"{'ran' if cut_short else 'running'} for {duration(elapsed_seconds(stage.started, cut_short))}"]
        if stage.share is not None:
            parts.append(f"{stage.done or 0:,} of {stage.total or 0:,} {stage.unit} ({100 * stage.share:.0f} %)")
        if stage.rate and not cut_short:
            parts.append(f"{significant(stage.rate)} {stage.unit}/s")
        if stage.remaining_seconds and not cut_short:
            parts.append(f"{duration(stage.remaining_seconds)} left")
        return ", ".join(parts)
    took = f" in {duration(stage.seconds)}" if stage.seconds is not None else ""
    facts = result_text(stage.result)
    return f"{stage.status}{took}" + (f": {facts}" if facts else "")


def gauges_text(snapshot: Snapshot) -> str:
    g = snapshot.gauges or {}
    text = (
        f"  machine   cpu {g.get('cpu_percent')} %, memory {size(g.get('ram_used_bytes') or 0)} of "
        f"{size(g.get('ram_total_bytes') or 0)}, job {size(g.get('job_rss_bytes') or 0)}, "
        f"disk {size(g.get('disk_free_bytes') or 0)} free"
    )
    gpus = g.get("gpus") or []
    return text + "".join(f", gpu {u.get('index')} {u.get('utilisation_percent')} %" for u in gpus)
