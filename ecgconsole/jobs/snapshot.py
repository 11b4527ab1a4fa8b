"""What a run is doing, as one immutable value: a fold over its events.

It feeds the console, ``status``, and every printer, so what one shows, the others have.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any

RECENT_WARNINGS = 5

# Statuses of a run. "lost": its process is gone without a last word.
LIVE = ("running", "paused", "stopping")


@dataclass(frozen=True)
class StageSnapshot:
    """One stage: status is waiting, running, done, skipped, failed or stopped."""

    name: str
    status: str = "waiting"
    started: str | None = None
    done: int | None = None
    total: int | None = None
    unit: str | None = None
    rate: float | None = None
    remaining_seconds: float | None = None
    seconds: float | None = None
    result: dict[str, Any] = field(default_factory=dict)
    message: str | None = None

    @property
    def share(self) -> float | None:
        """0 to 1."""
        return self.done / self.total if self.done is not None and self.total else None


@dataclass(frozen=True)
class Snapshot:
    """One run. Times are UTC ISO 8601; ``metric``, ``chunk``, ``checkpoint`` and ``warnings`` are events.

    ``alive`` is None when it cannot be known; ``next_seq`` is the number of the first event not in here.
    """

    run_id: str = ""
    status: str = "starting"
    host: str | None = None
    pid: int | None = None
    alive: bool | None = None
    started: str | None = None
    finished: str | None = None
    heartbeat: str | None = None
    stages: tuple[StageSnapshot, ...] = ()
    metric: dict[str, Any] | None = None
    chunk: dict[str, Any] | None = None
    checkpoint: dict[str, Any] | None = None
    warnings: tuple[dict[str, Any], ...] = ()
    warning_count: int = 0
    gauges: dict[str, Any] | None = None
    exit_code: int | None = None
    message: str | None = None
    stopped_by: str | None = None
    next_seq: int = 0

    @property
    def stage(self) -> StageSnapshot | None:
        """The running stage, else the last one that began."""
        running = [s for s in self.stages if s.status == "running"]
        begun = [s for s in self.stages if s.status != "waiting"]
        return next(reversed(running or begun), None)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Snapshot:
        """Keys of other versions are left out. Raises ``TypeError`` when it is no snapshot."""
        known = {f.name for f in fields(Snapshot)}
        stage_keys = {f.name for f in fields(StageSnapshot)}
        values = {k: v for k, v in data.items() if k in known}
        stages = values.get("stages", ())
        values["stages"] = tuple(StageSnapshot(**{k: v for k, v in s.items() if k in stage_keys}) for s in stages)
        values["warnings"] = tuple(values.get("warnings", ()))
        return Snapshot(**values)


def fold(snapshot: Snapshot, event: dict[str, Any]) -> Snapshot:
    """The snapshot after one more event; an event that it holds already changes nothing."""
    seq = event.get("seq")
    if not isinstance(seq, int) or seq < snapshot.next_seq:
        return snapshot
    return replace(snapshot, **{"next_seq": seq + 1, "heartbeat": event.get("time"), **_changes(snapshot, event)})


def _changes(snapshot: Snapshot, event: dict[str, Any]) -> dict[str, Any]:
    kind, name, time = event.get("kind"), event.get("stage"), event.get("time")
    match kind:
        case "progress":
            keys = ("done", "total", "unit", "rate", "remaining_seconds")
            return _with_stage(snapshot, name, **{k: event.get(k) for k in keys})
        case "metric":
            # Values reported less often (validation, once an epoch) stay until they are reported again.
            last = snapshot.metric if snapshot.metric and snapshot.metric.get("stage") == name else {}
            return {"metric": {**event, "values": {**last.get("values", {}), **(event.get("values") or {})}}}
        case "chunk" | "checkpoint":
            return {kind: event}
        case "warning":
            recent = (*snapshot.warnings, event)[-RECENT_WARNINGS:]
            return {"warnings": recent, "warning_count": snapshot.warning_count + 1}
        case "control":
            action = str(event.get("action"))
            status = "stopping" if action.startswith("stop") else {"pause": "paused", "resume": "running"}.get(action)
            return {"status": status} if status and snapshot.status != "stopping" else {}
        case "stage_started":
            return _with_stage(snapshot, name, status="running", started=time)
        case "stage_skipped":
            result = event.get("result") or {}
            return _with_stage(snapshot, name, status="skipped", message=event.get("reason"), result=result)
        case "stage_finished":
            ended = {k: event.get(k) for k in ("status", "seconds", "message")}
            return _with_stage(snapshot, name, result=event.get("result") or {}, remaining_seconds=None, **ended)
        case "run_started":
            return {
                "run_id": event.get("run_id") or "",
                "status": "running",
                "host": event.get("host"),
                "pid": event.get("pid"),
                "alive": True,
                "started": time,
                "stages": tuple(StageSnapshot(s) for s in event.get("stages") or ()),
            }
        case "run_finished":
            how = {k: event.get(k) for k in ("exit_code", "message", "stopped_by")}
            return {"status": event.get("status") or "", "alive": False, "finished": time, **how}
    return {}


def _with_stage(snapshot: Snapshot, name: Any, **changes: Any) -> dict[str, Any]:
    return {"stages": tuple(replace(s, **changes) if s.name == name else s for s in snapshot.stages)}


def elapsed_seconds(since: str | None, until: str | None = None) -> float | None:
    """Between two event times; until now by default."""
    if since is None:
        return None
    end = datetime.fromisoformat(until) if until else datetime.now(UTC)
    return (end - datetime.fromisoformat(since)).total_seconds()
