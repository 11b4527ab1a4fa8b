"""Events as lines for people: plain output, ``production.log``, the console's log."""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePath
from typing import Any

from ecgconsole.jobs.snapshot import elapsed_seconds
from ecgconsole.text import count, duration, sanitise, size

CHATTER_SECONDS = 10.0


def line_of(event: dict[str, Any]) -> str:
    """What the event says, in one sanitised line, without its time and stage.

    An event whose fields are not of their kind (another version's, or made by hand) is shown field by field.
    """
    try:
        text = _TEXTS.get(str(event.get("kind")), _other)(event)
    except (TypeError, ValueError, AttributeError, OverflowError):
        text = _other(event)
    return sanitise(text, 4000)


def level_of(event: dict[str, Any]) -> str:
    if event.get("status") == "failed":
        return "ERROR"
    return "WARN" if event.get("kind") == "warning" or event.get("status") == "stopped" else "INFO"


def log_line(event: dict[str, Any], run_id: str) -> str:
    """``2026-11-24T10:01:39Z INFO  build run=0007 message``."""
    second = str(event.get("time", ""))[:19] + "Z"
    return f"{second} {level_of(event):5} {sanitise(event.get('stage') or 'run', 40)} run={run_id} {line_of(event)}"


class Throttle:
    """Which events get a line: each unit of work, and of what comes in between one in ten seconds."""

    def __init__(self) -> None:
        self._last: tuple[Any, str] | None = None

    def wants(self, event: dict[str, Any]) -> bool:
        if not _is_chatter(event):
            return True
        stage, time = event.get("stage"), str(event.get("time"))
        if self._last is None or self._last[0] != stage:
            self._last = (stage, time)
            return True
        if (elapsed_seconds(self._last[1], time) or 0.0) < CHATTER_SECONDS:
            return False
        self._last = (stage, time)
        return True


def _is_chatter(event: dict[str, Any]) -> bool:
    if event.get("kind") == "progress":
        return event.get("done") != event.get("total")
    return event.get("kind") == "metric" and "val_loss" not in (event.get("values") or {})


def _run_started(e: dict[str, Any]) -> str:
    return f"run {e.get('run_id')} on {e.get('host')}: {', '.join(map(str, e.get('stages') or ()))}"


def _run_finished(e: dict[str, Any]) -> str:
    how = f"run {e.get('run_id')} {e.get('status')} after {duration(e.get('seconds'))}, exit code {e.get('exit_code')}"
    return f"{how}: {e['message']}" if e.get("message") else how


def _stage_started(e: dict[str, Any]) -> str:
    return "started" + (f" ({e['why']})" if e.get("why") else "")


def _stage_finished(e: dict[str, Any]) -> str:
    facts = result_text(e.get("result") or {})
    text = f"{e.get('status')} in {duration(e.get('seconds'))}"
    return ": ".join(part for part in (text, facts, e.get("message")) if part)


def _stage_skipped(e: dict[str, Any]) -> str:
    facts = result_text(e.get("result") or {})
    return f"skipped, {e.get('reason')}" + (f": {facts}" if facts else "")


def _progress(e: dict[str, Any]) -> str:
    done, total = e.get("done") or 0, e.get("total") or 0
    unit, rate = e.get("unit") or "units", e.get("rate")
    text = f"{done:,} of {total:,} {unit}"
    if total:
        text += f" ({100 * done / total:.0f} %)"
    if rate:
        text += f", {significant(rate)} {unit}/s"
    if e.get("remaining_seconds"):
        text += f", {duration(e['remaining_seconds'])} left"
    return text


def _chunk(e: dict[str, Any]) -> str:
    rejected = sum((e.get("rejected") or {}).values())
    return (
        f"chunk {e.get('number')}: {count(e.get('patients') or 0, 'patient')}, "
        f"{count(e.get('segments') or 0, 'segment')}, {rejected:,} rejected, "
        f"{size(e.get('bytes') or 0)}, {duration(e.get('seconds'))}"
    )


def _forecast(e: dict[str, Any]) -> str:
    """What a build will give and take; at its end, how good that was."""
    if "actual_segments" not in e:
        return (
            f"forecast: {count(e.get('segments') or 0, 'segment')}, {size(e.get('bytes') or 0)}, "
            f"{duration(e.get('seconds'))}, {size(e.get('memory_bytes') or 0)} of memory, "
            f"{size(e.get('space_bytes') or 0)} of disk at the fullest"
        )
    parts = []
    for name, label in (("segments", "segments"), ("bytes", "bytes"), ("seconds", "time"), ("memory_bytes", "memory")):
        foretold, came = e.get(name), e.get(f"actual_{name}")
        if foretold and came:
            parts.append(f"{label} {round(100 * (foretold / came - 1)):+d} %")
    return f"the forecast was off by: {', '.join(parts)}"


def _metric(e: dict[str, Any]) -> str:
    return f"epoch {e.get('epoch')}, step {e.get('step')}: {values_text(e.get('values') or {})}"


def _checkpoint(e: dict[str, Any]) -> str:
    loss = "" if e.get("val_loss") is None else f", val_loss {significant(e['val_loss'])}"
    return f"checkpoint of epoch {e.get('epoch')}, step {e.get('step')}{loss}: {PurePath(str(e.get('path'))).name}"


def _warning(e: dict[str, Any]) -> str:
    return f"{e.get('code')}: {e.get('message')}" + (f" ({e['hint']})" if e.get("hint") else "")


def _control(e: dict[str, Any]) -> str:
    return f"{e.get('action')} asked for by {e.get('by')}"


def _other(e: dict[str, Any]) -> str:
    return " ".join([str(e.get("kind"))] + [f"{k}={v}" for k, v in e.items() if k not in ("kind", "seq", "time")])


_TEXTS = {
    "run_started": _run_started,
    "run_finished": _run_finished,
    "stage_started": _stage_started,
    "stage_finished": _stage_finished,
    "stage_skipped": _stage_skipped,
    "progress": _progress,
    "chunk": _chunk,
    "forecast": _forecast,
    "metric": _metric,
    "checkpoint": _checkpoint,
    "warning": _warning,
    "control": _control,
}


def result_text(result: dict[str, Any]) -> str:
    """``30 patients, 1,412 segments, 96 rejected, 4.1 MB``: the result fields that a person asks for."""
    parts = []
    for key, value in result.items():
        if key == "rejected" and isinstance(value, dict):
            parts.append(f"{sum(value.values()):,} rejected")
        elif key == "bytes" and isinstance(value, int | float):
            parts.append(size(value))
        elif key in ("patients", "segments", "epochs") and isinstance(value, int):
            parts.append(count(value, key[:-1]))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            parts.append(f"{key.replace('_', ' ')} {significant(value)}")
    return ", ".join(parts)


def values_text(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {'–' if v is None else significant(v)}" for name, v in values.items())


def significant(value: float) -> str:
    """Four significant digits, integers whole: 3.142, 18,420, 0.0003."""
    if isinstance(value, int) or (value == value and abs(value) >= 1000):
        return f"{value:,.0f}"
    return f"{value:.4g}"


def local_time(time: str | None) -> str:
    """``14:03`` of an event's time, in this machine's zone."""
    return datetime.fromisoformat(time).astimezone().strftime("%H:%M") if time else "–"
