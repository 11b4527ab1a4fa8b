"""What a stage is: its place in the pipeline, and the two objects it is given.

A stage is one function ``run(config, workspace, reporter, stop) -> dict`` that reports through
``reporter``, looks at ``stop`` between units of work and returns its ``result`` fields. It does not
know whether a console, a terminal or a batch system watches. ``jobs`` starts stages by the names in
``STAGES`` and imports none of them.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ecgconsole.errors import Stopped


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline.

    ``settings`` are the parameters (sections or single keys) and ``paths`` the parameters naming
    input files or folders whose change makes the stage's results stale; ``outputs`` are names of
    ``Workspace`` attributes.
    """

    name: str
    target: str
    after: tuple[str, ...]
    settings: tuple[str, ...]
    paths: tuple[str, ...]
    outputs: tuple[str, ...]
    unit: str


STAGES: tuple[Stage, ...] = (
    Stage(
        name="build",
        target="ecgconsole.dataset.start:run",
        after=(),
        settings=("data", "build", "clinical", "split"),
        paths=("data.waveform_dir", "data.clinical_dir", "data.patient_map", "split.file"),
        outputs=("dataset", "metadata", "rejected", "clinical_features"),
        unit="patients",
    ),
    Stage(
        name="train",
        target="ecgconsole.training.train:run",
        after=("build",),
        settings=("model", "training"),
        paths=(),
        outputs=("latest_checkpoint", "best_checkpoint"),
        unit="steps",
    ),
    Stage(
        name="embed",
        target="ecgconsole.training.embed:run",
        after=("build", "train"),
        settings=("embedding",),
        paths=(),
        outputs=("train_embeddings", "val_embeddings", "test_embeddings"),
        unit="segments",
    ),
    Stage(
        name="discover",
        target="ecgconsole.findings.discover:run",
        after=("build", "embed"),
        settings=("discovery",),
        paths=("discovery.rhythm_file",),
        outputs=("patterns", "pattern_model", "assignments", "patient_embeddings"),
        unit="half-splits",
    ),
    Stage(
        name="validate",
        target="ecgconsole.findings.validate:run",
        after=("build", "discover"),
        settings=("validation",),
        paths=(),
        outputs=("validation",),
        unit="steps",
    ),
    Stage(
        name="stroke",
        target="ecgconsole.findings.stroke:run",
        after=("build", "discover"),
        settings=("stroke",),
        paths=(),
        outputs=("stroke_risk", "stroke_model", "stroke_predictions"),
        unit="cross-validations",
    ),
    Stage(
        name="report",
        target="ecgconsole.findings.report.page:run",
        after=("build", "train", "embed", "discover", "validate", "stroke"),
        settings=("report",),
        paths=(),
        outputs=("report",),
        unit="sections",
    ),
)

STAGE_NAMES = tuple(s.name for s in STAGES)


def stage_named(name: str) -> Stage:
    return next(s for s in STAGES if s.name == name)


class Reporter:
    """Turns what a stage has to say into events, and hands each to ``emit``.

    ``emit`` receives a dict with ``kind``, ``stage`` and the fields of the kind; the runner adds
    ``seq`` and ``time``. Not-a-number becomes null, as JSON has none.
    """

    def __init__(self, stage: str, emit: Callable[[dict[str, Any]], None]) -> None:
        self.stage = stage
        self._emit = emit
        self._first: dict[str, tuple[float, int]] = {}

    def emit(self, kind: str, **fields: Any) -> None:
        self._emit({"kind": kind, "stage": self.stage, **{k: _jsonable(v) for k, v in fields.items()}})

    def progress(self, done: int, total: int, unit: str) -> None:
        """``done`` of ``total``; the rate is the mean since the unit's first call (which may resume above 0)."""
        now = time.monotonic()
        since, first_done = self._first.setdefault(unit, (now, done))
        rate = (done - first_done) / (now - since) if now > since and done > first_done else None
        remaining = (total - done) / rate if rate else None
        self.emit("progress", done=done, total=total, unit=unit, rate=rate, remaining_seconds=remaining)

    def chunk(
        self, number: int, patients: int, segments: int, rejected: dict[str, int], n_bytes: int, seconds: float
    ) -> None:
        self.emit(
            "chunk",
            number=number,
            patients=patients,
            segments=segments,
            rejected=rejected,
            bytes=n_bytes,
            seconds=seconds,
        )

    def metric(self, step: int, epoch: int, values: dict[str, float | None]) -> None:
        self.emit("metric", step=step, epoch=epoch, values=values)

    def checkpoint(self, path: str, epoch: int, step: int, val_loss: float | None, sha256: str) -> None:
        self.emit("checkpoint", path=path, epoch=epoch, step=step, val_loss=val_loss, sha256=sha256)

    def warning(self, code: str, message: str, hint: str) -> None:
        """``code`` is a stable kebab-case name that the troubleshooting page explains."""
        self.emit("warning", code=code, message=message, hint=hint)


class Stop:
    """What a stage looks at between units of work. Set from another thread."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._checkpoint = threading.Event()
        self._running = threading.Event()
        self._running.set()

    @property
    def requested(self) -> bool:
        return self._requested.is_set()

    @property
    def paused(self) -> bool:
        return not self._running.is_set()

    def request(self) -> None:
        self._requested.set()
        self._running.set()

    def pause(self) -> None:
        if not self.requested:
            self._running.clear()

    def resume(self) -> None:
        self._running.set()

    def request_checkpoint(self) -> None:
        self._checkpoint.set()

    def checkpoint_requested(self) -> bool:
        """True once for each request."""
        if self._checkpoint.is_set():
            self._checkpoint.clear()
            return True
        return False

    def wait_while_paused(self, seconds: float | None = None) -> None:
        """Blocks at a unit boundary until resumed or stopped, for at most ``seconds``."""
        self._running.wait(seconds)

    def raise_if_requested(self, saved: str, continued_by: str = "The same command") -> None:
        """Raises ``Stopped``; ``saved`` says what is on disk (``"12 of 40 shards"``)."""
        if self.requested:
            raise Stopped(f"stopped on request; saved: {saved}. {continued_by} continues from there.")


def _jsonable(value: Any) -> Any:
    """Plain JSON values: NumPy scalars become Python's, numbers that are not finite become null."""
    if isinstance(value, dict):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(v) for v in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
