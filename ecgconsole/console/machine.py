"""The machine as rows of spans: gauges with their trends, the disk's forecast, what limits the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from ecgconsole.console.rows import SPARKS, Row
from ecgconsole.jobs.snapshot import Snapshot, elapsed_seconds
from ecgconsole.text import duration, size

Reading = Mapping[str, Any]

_NAME, _VALUE = 6, 6  # columns of a gauge's name and of its value
BUSY_GPU_PERCENT = 85.0
BUSY_CPU_PERCENT = 85.0
STARVED_SHARE = 0.2
WAITING_PERCENT = 15.0
FORECAST_SECONDS = 60.0
NOTHING_RUNS = "nothing runs"


def machine(readings: Sequence[Reading], width: int, height: int, limit: str) -> list[Row]:
    """The last gauges with their trends; ``readings`` are gauge events, oldest first. Fits ``height`` if it can."""
    if not readings:
        return [[("no reading yet", "muted")]]
    last = readings[-1]
    trend = max(0, min(30, width - _NAME - _VALUE - 3))
    tail: list[Row] = [
        _meter("CPU", last.get("cpu_percent"), [r.get("cpu_percent") for r in readings], trend),
        _meter("RAM", _ram_percent(last), [_ram_percent(r) for r in readings], trend),
        [(" " * (_NAME + 2), "plain"), (_of(last.get("ram_used_bytes"), last.get("ram_total_bytes")), "muted")],
        _rate("read", readings, "job_read_bytes", trend),
        _rate("write", readings, "job_written_bytes", trend),
        _fact("disk", disk_text(_filling(readings, limit))),
    ]
    if last.get("job_processes"):
        resident = size(last.get("job_rss_bytes") or 0)
        tail.append(_fact("job", f"{last['job_processes']} processes, {resident}"))
    tail.append([(f"{'limit':<{_NAME}}", "strong"), ("  ", "plain"), (limit, "running")])
    indexes = sorted({g["index"] for r in readings for g in r.get("gpus") or ()})
    if not indexes:
        return [_fact("GPU", "none"), *tail]
    detailed = len(tail) + 2 * len(indexes) <= height
    rows: list[Row] = []
    for index in indexes:
        rows += _gpu_rows(readings, index, trend, detailed)
    return [*rows, *tail]


def machine_in_two_lines(readings: Sequence[Reading], limit: str) -> list[Row]:
    """The same for a small terminal."""
    if not readings:
        return [[("machine: no reading yet", "muted")]]
    last = readings[-1]
    gpus = last.get("gpus") or ()
    some = "  ".join(f"{g['index']} {'lost' if g.get('lost') else percent(_use(g))}" for g in gpus) or "none"
    spark = "".join(_spark(r.get("cpu_percent")) for r in readings[-10:])
    first: Row = [
        ("GPU ", "strong"), (f"{some}   ", "plain"),
        ("CPU ", "strong"), (f"{percent(last.get('cpu_percent')):>5} ", "plain"),
        (spark.rjust(10), "running"), ("   RAM ", "strong"),
        (_of(last.get("ram_used_bytes"), last.get("ram_total_bytes")), "plain"),
    ]  # fmt: skip
    disk = disk_text(_filling(readings, limit))
    second: Row = [("disk ", "strong"), (disk, "plain"), ("   limit ", "strong"), (limit, "running")]
    return [first, second]


def what_limits(snapshot: Snapshot | None, readings: Sequence[Reading]) -> str:
    """Why the run is not faster now, in words; from the last minute's gauges and the loader's own measure."""
    if snapshot is None or not snapshot.alive:
        return NOTHING_RUNS
    if snapshot.status == "paused":
        return "paused"
    recent = readings[-15:]
    if not recent:
        return "not known yet"
    stage = snapshot.stage.name if snapshot.stage else ""
    waited = ((snapshot.metric or {}).get("values") or {}).get("loader_wait_share") if stage == "train" else None
    loader = "" if waited is None else f" (loader waits {100 * waited:.0f} %)"
    if waited is not None and waited >= STARVED_SHARE:
        return f"loader: steps wait {100 * waited:.0f} % of the time"
    gpu = _mean([max(uses) for r in recent if (uses := [u for g in r.get("gpus") or () if (u := _use(g)) is not None])])
    if gpu is not None and gpu >= BUSY_GPU_PERCENT and stage in ("train", "embed"):
        return f"GPU{loader}"
    waiting = _mean([r["io_wait_percent"] for r in recent if r.get("io_wait_percent") is not None])
    if waiting is not None and waiting >= WAITING_PERCENT:
        reading, writing = (rate_of(recent, key) or 0.0 for key in ("job_read_bytes", "job_written_bytes"))
        what = "reading" if reading >= writing else "disk, writing"
        return f"{what}: processors wait {waiting:.0f} %"
    cpu = _mean([r["cpu_percent"] for r in recent if r.get("cpu_percent") is not None])
    if cpu is not None and cpu >= BUSY_CPU_PERCENT:
        return f"CPU{loader}"
    return f"nothing stands out{loader}"


def _filling(readings: Sequence[Reading], limit: str) -> Sequence[Reading]:
    """What tells when the disk is full: nothing fills it once the run is over."""
    return readings[-1:] if limit == NOTHING_RUNS else readings


def disk_text(readings: Sequence[Reading]) -> str:
    """``412 GB free · full: in 3 h 10 m``; "never" where it does not fill within a month."""
    known = [r for r in readings if r.get("disk_free_bytes") is not None]
    if not known:
        return "–"
    first, last = known[0], known[-1]
    free = last["disk_free_bytes"]
    text = f"{size(free)} free"
    seconds = _between(first, last)
    if seconds is None or seconds < FORECAST_SECONDS:
        return text
    lost_per_s = (first["disk_free_bytes"] - free) / seconds
    full_s = free / lost_per_s if lost_per_s > 0 else None
    return f"{text} · full: {'never' if full_s is None or full_s > 30 * 86400 else 'in ' + duration(full_s)}"


def rate_of(readings: Sequence[Reading], key: str) -> float | None:
    """Bytes a second of a counter; a process that ended takes its part away, which is no negative rate."""
    known = [r for r in readings if r.get(key) is not None]
    if len(known) < 2:
        return None
    seconds = _between(known[0], known[-1])
    grown = sum(max(0, b[key] - a[key]) for a, b in pairwise(known))
    return grown / seconds if seconds else None


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} %"


def _gpu_rows(readings: Sequence[Reading], index: int, trend: int, detailed: bool) -> list[Row]:
    gpu = _gpu(readings[-1], index)
    name = f"GPU {index}"
    if not gpu or gpu.get("lost"):
        lost = [
            (f"{name:<{_NAME}}", "strong"),
            ("  ", "plain"),
            ("✖ lost: the driver does not answer for it", "failed"),
        ]
        return [lost]
    rows = [_meter(name, _use(gpu), [_use(_gpu(r, index)) for r in readings], trend)]
    if detailed:
        hot = "warning" if gpu.get("throttled") else "muted"
        rows.append([(" " * (_NAME + 2), "plain"), (_gpu_facts(gpu), hot)])
    return rows


def _gpu_facts(gpu: Mapping[str, Any]) -> str:
    facts = []
    if gpu.get("memory_total_bytes"):
        facts.append(_of(gpu.get("memory_used_bytes"), gpu["memory_total_bytes"]))
    if gpu.get("temperature_c") is not None:
        facts.append(f"{gpu['temperature_c']:.0f} °C" + (" ▲ hot" if gpu.get("throttled") else ""))
    if gpu.get("power_w") is not None:
        facts.append(f"{gpu['power_w']:.0f} W")
    return "  ".join(facts) or "it tells nothing more"


def _meter(name: str, value: float | None, history: Sequence[float | None], width: int) -> Row:
    spark = "".join(_spark(v) for v in history[-width:]) if width else ""
    return [(f"{name:<{_NAME}}", "strong"), (f"{percent(value):>{_VALUE}}  ", "plain"), (spark, "running")]


def _rate(name: str, readings: Sequence[Reading], key: str, width: int) -> Row:
    """Bytes a second with a trend that is scaled to its own highest value."""
    steps = [rate_of(readings[i : i + 2], key) for i in range(len(readings) - 1)][-width:] if width else []
    top = max((s for s in steps if s), default=0.0)
    spark = "".join(_spark(None if s is None else 100 * s / top if top else 0.0) for s in steps)
    now = rate_of(readings[-5:], key)
    text = "–" if now is None else f"{size(now)}/s"
    return [(f"{name:<{_NAME}}", "strong"), (f"{text:>10}  ", "plain"), (spark[4:], "running")]


def _fact(name: str, text: str) -> Row:
    return [(f"{name:<{_NAME}}", "strong"), ("  ", "plain"), (text, "plain")]


def _of(used: float | None, total: float | None) -> str:
    return "–" if not total else f"{size(used or 0)} of {size(total)}"


def _ram_percent(reading: Reading) -> float | None:
    used, total = reading.get("ram_used_bytes"), reading.get("ram_total_bytes")
    return None if used is None or not total else 100 * used / total


def _spark(value: float | None) -> str:
    return " " if value is None else SPARKS[min(7, max(0, int(value / 12.5)))]


def _gpu(reading: Reading, index: int) -> Mapping[str, Any]:
    return next((g for g in reading.get("gpus") or () if g.get("index") == index), {})


def _use(gpu: Mapping[str, Any]) -> float | None:
    return gpu.get("utilisation_percent")


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _between(a: Reading, b: Reading) -> float | None:
    return elapsed_seconds(a["time"], b["time"]) if a.get("time") and b.get("time") else None
