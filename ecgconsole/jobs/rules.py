"""Rules that watch a run with no console open. Each becomes a ``warning`` event, once a stage.

The stages themselves warn of what only they see (a loss that is not finite, embeddings that collapse). These
rules see what a stage that hangs cannot say, and the machine.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import Any

from ecgconsole.text import duration, size

SPIKE_FACTOR = 3.0
SPIKE_STEPS = 50  # a spike is against the median of so many losses before it
PLATEAU_EPOCHS = 10
PLATEAU_GAIN = 1e-3  # relative; less in so many epochs is no gain
STARVED_SHARE = 0.2
IDLE_GPU_PERCENT = 5
IDLE_GPU_SECONDS = 120.0
DISK_SECONDS = 120.0  # of readings, before the disk is forecast
DISK_WARN_SECONDS = 3600.0


@dataclass(frozen=True)
class Finding:
    """A warning to be written."""

    code: str
    message: str
    hint: str


class Rules:
    """Fed with events, gauges and time of one stage; hands out each finding once."""

    def __init__(self, silence_seconds: float, expects_gpu: bool, now: float) -> None:
        """``now`` is any clock in seconds, the same in all calls; ``expects_gpu``: the stage computes on one."""
        self._silence_seconds = silence_seconds
        self._expects_gpu = expects_gpu
        self._heard = now
        self._losses: deque[float] = deque(maxlen=SPIKE_STEPS)
        self._best: tuple[float, int] | None = None  # validation loss, and its epoch
        self._idle_since: float | None = None
        self._disk: deque[tuple[float, int]] = deque(maxlen=600)
        self._remaining_s: float | None = None
        self._told: set[str] = set()

    def on_event(self, event: dict[str, Any], now: float) -> list[Finding]:
        self._heard = now
        self._told.discard("silence")
        if event.get("kind") == "progress":
            self._remaining_s = event.get("remaining_seconds")
        if event.get("kind") != "metric":
            return []
        values = event.get("values") or {}
        return self._once(self._spike(values, event), self._plateau(values, event), self._starved(values))

    def on_gauges(self, gauges: dict[str, Any], now: float, paused: bool) -> list[Finding]:
        return self._once(self._idle_gpu(gauges, now, paused), self._throttled(gauges), self._filling(gauges, now))

    def on_time(self, now: float, paused: bool) -> list[Finding]:
        if paused:
            self._heard = now
        quiet_s = now - self._heard
        if quiet_s < self._silence_seconds:
            return []
        return self._once(
            Finding(
                "silence",
                f"nothing heard of the stage for {duration(quiet_s)}",
                "a disk that does not answer, or a hang: `ecgconsole stop` ends it, and the same command continues",
            )
        )

    def _once(self, *findings: Finding | None) -> list[Finding]:
        new = [f for f in findings if f is not None and f.code not in self._told]
        self._told.update(f.code for f in new)
        return new

    def _spike(self, values: dict[str, Any], event: dict[str, Any]) -> Finding | None:
        loss = values.get("train_loss")
        if not isinstance(loss, int | float):
            return None
        usual = median(self._losses) if len(self._losses) == SPIKE_STEPS else None
        self._losses.append(loss)
        if usual is None or usual <= 0 or loss < SPIKE_FACTOR * usual:
            return None
        return Finding(
            "loss-spike",
            f"step {event.get('step')}: training loss {loss:.4g}, the {SPIKE_STEPS} before it had {usual:.4g}",
            "if it does not come down by itself: a smaller training.learning_rate, or resume from before it",
        )

    def _plateau(self, values: dict[str, Any], event: dict[str, Any]) -> Finding | None:
        loss, epoch = values.get("val_loss"), event.get("epoch")
        if not isinstance(loss, int | float) or not isinstance(epoch, int):
            return None
        if self._best is None or self._best[0] - loss > PLATEAU_GAIN * abs(self._best[0]):
            self._best = loss, epoch
        if epoch - self._best[1] < PLATEAU_EPOCHS:
            return None
        return Finding(
            "plateau",
            f"epoch {epoch}: the validation loss has not improved since epoch {self._best[1]} ({self._best[0]:.4g})",
            "the best checkpoint is kept: stop, or set training.patience, which ends such a training by itself",
        )

    def _starved(self, values: dict[str, Any]) -> Finding | None:
        share = values.get("loader_wait_share")
        if not isinstance(share, int | float) or share < STARVED_SHARE:
            return None
        return Finding(
            "loader-starved",
            f"training waits for data in {100 * share:.0f} % of its time",
            "more training.num_workers, or memory enough to hold the dataset",
        )

    def _idle_gpu(self, gauges: dict[str, Any], now: float, paused: bool) -> Finding | None:
        use = [g.get("utilisation_percent") for g in gauges.get("gpus") or []]
        known = [u for u in use if u is not None]
        if not self._expects_gpu or paused or not known or max(known) >= IDLE_GPU_PERCENT:
            self._idle_since = None
            return None
        self._idle_since = now if self._idle_since is None else self._idle_since
        if now - self._idle_since < IDLE_GPU_SECONDS:
            return None
        return Finding(
            "gpu-idle",
            f"no GPU has done anything for {duration(now - self._idle_since)}",
            "training.device, and whether the stage still moves; the log of the engine says which device it took",
        )

    def _throttled(self, gauges: dict[str, Any]) -> Finding | None:
        hot = [g for g in gauges.get("gpus") or [] if g.get("throttled")]
        if not hot:
            return None
        return Finding(
            "gpu-throttled",
            f"GPU {hot[0].get('index')} runs slower because of its heat ({hot[0].get('temperature_c')} °C)",
            "its fans and the air around it; the result is the same, only later",
        )

    def _filling(self, gauges: dict[str, Any], now: float) -> Finding | None:
        free = gauges.get("disk_free_bytes")
        if not isinstance(free, int):
            return None
        self._disk.append((now, free))
        began, free_then = self._disk[0]
        if now - began < DISK_SECONDS or free >= free_then:
            return None
        full_s = free / ((free_then - free) / (now - began))
        if full_s > (DISK_WARN_SECONDS if self._remaining_s is None else self._remaining_s):
            return None
        return Finding(
            "disk-filling",
            f"{size(free)} are free, and at the present rate the disk is full in {duration(full_s)}, before the end",
            "free some, or stop and continue on another disk; what is committed stays",
        )
