"""What a training says while it goes: where it is, every two seconds, and when its embeddings collapse."""

from __future__ import annotations

import math
import time

from ecgconsole.stage import Reporter
from ecgconsole.training.checkpoints import Progress

STEP_METRIC_SECONDS = 2.0
COLLAPSED_SHARE = 1 / 20


class Telling:
    """Speaks through ``reporter``; remembers when it last did."""

    def __init__(self, reporter: Reporter, dimensions: int) -> None:
        """``dimensions`` could be filled: those of an embedding, or one less than the segments that are looked at."""
        self._reporter, self._dimensions = reporter, dimensions
        self._last = -math.inf
        self._collapse_told = False

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self._last >= STEP_METRIC_SECONDS

    def step(
        self, progress: Progress, all_steps: int, values: dict[str, float], learning_rate: float, waited_s: float
    ) -> None:
        """Of a step just made, for whose batch ``waited_s`` went by, if it is time."""
        if self.is_due:
            shown: dict[str, float | None] = {
                "train_loss": values["loss"],
                "learning_rate": learning_rate,
                "grad_norm": values["grad_norm"],
                "loader_wait_seconds": waited_s,
            }
            self._reporter.metric(progress.step, progress.epoch + 1, shown)
            self.progress(progress, all_steps)

    def progress(self, progress: Progress, all_steps: int) -> None:
        """Also in the middle of a long validation, so that a run that works is not taken for one that hangs."""
        self._last = time.monotonic()
        self._reporter.progress(progress.step, progress.step if progress.ended else all_steps, "steps")

    def collapse(self, epoch: int, metrics: dict[str, float | None]) -> None:
        """Once, when the embeddings fill less than a twentieth of the dimensions, or hardly leave one point.

        Both are looked at: the rank does not see a point, whose rounding errors have all directions.
        """
        rank, deviation = metrics.get("effective_rank"), metrics.get("embedding_deviation")
        if rank is None or deviation is None or self._collapse_told:
            return
        lowest = COLLAPSED_SHARE * self._dimensions
        if rank < lowest or deviation < COLLAPSED_SHARE:
            self._collapse_told = True
            self._reporter.warning(
                "representation-collapse",
                f"epoch {epoch}: the embeddings fill {rank:.1f} of {self._dimensions} dimensions, with {deviation:.3f} "
                f"of an even spread (expected: {lowest:.1f} and {COLLAPSED_SHARE:g} or more)",
                "a lower learning rate, a larger batch, or a higher temperature",
            )
