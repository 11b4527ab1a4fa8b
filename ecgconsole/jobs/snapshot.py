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
    snapshot = replace(snapshot, next_seq=seq + 1, heartbeat=event.get("time"))
    kind, name = event.get("kind"), event.get("stage")
    if kind == "progress":
        keys = ("done", "total", "unit", "rate", "remaining_seconds")
        return _with_stage(snapshot, name, **{k: event.get(k) for k in keys})
    if kind == "metric":
        # Values reported less often (validation, once an epoch) stay until they are reported again.
        before = (snapshot.metric or {}).get("values", {}) if (snapshot.metric or {}).get("stage") == name else {}
        return replace(snapshot, metric={**event, "values": {**before, **(event.get("values") or {})}})
    if kind == "chunk":
        return replace(snapshot, chunk=event)
    if kind == "checkpoint":
        return replace(snapshot, checkpoint=event)
    if kind == "warning":
        recent = (*snapshot.warnings, event)[-RECENT_WARNINGS:]
        return replace(snapshot, warnings=recent, warning_count=snapshot.warning_count + 1)
    if kind == "control":
        status = {"pause": "paused", "resume": "running"}.get(str(event.get("action")))
        status = "stopping" if str(event.get("action")).startswith("stop") else status
        return replace(snapshot, status=status) if status and snapshot.status != "stopping" else snapshot
    if kind == "stage_started":
        return _with_stage(snapshot, name, status="running", started=event.get("time"))
    if kind == "stage_skipped":
        return _with_stage(
            snapshot, name, status="skipped", message=event.get("reason"), result=event.get("result") or {}
        )
    if kind == "stage_finished":
        return _with_stage(
            snapshot,
            name,
            status=event.get("status"),
            seconds=event.get("seconds"),
            result=event.get("result") or {},
            message=event.get("message"),
            remaining_seconds=None,
        )
    if kind == "run_started":
        return replace(
            snapshot,
            run_id=event.get("run_id") or "",
            status="running",
            host=event.get("host"),
            pid=event.get("pid"),
            alive=True,
            started=event.get("time"),
            stages=tuple(StageSnapshot(s) for s in event.get("stages") or ()),
        )
    if kind == "run_finished":
        return replace(
            snapshot,
            status=event.get("status") or "",
            alive=False,
            finished=event.get("time"),
            exit_code=event.get("exit_code"),
            message=event.get("message"),
            stopped_by=event.get("stopped_by"),
        )
    return snapshot


def elapsed_seconds(since: str | None, until: str | None = None) -> float | None:
    """Between two event times; until now by default."""
    if since is None:
        return None
    end = datetime.fromisoformat(until) if until else datetime.now(UTC)
    return (end - datetime.fromisoformat(since)).total_seconds()


def _with_stage(snapshot: Snapshot, name: Any, **changes: Any) -> Snapshot:
    stages = tuple(replace(s, **changes) if s.name == name else s for s in snapshot.stages)
    return replace(snapshot, stages=stages)
