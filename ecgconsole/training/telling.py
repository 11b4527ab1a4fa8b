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

    def __init__(self, reporter: Reporter, embedding_dim: int) -> None:
        self._reporter, self._embedding_dim = reporter, embedding_dim
        self._last = -math.inf
        self._collapse_told = False

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self._last >= STEP_METRIC_SECONDS

    def step(self, progress: Progress, all_steps: int, values: dict[str, float], learning_rate: float) -> None:
        """Of a step just made, if it is time."""
        if self.is_due:
            shown = {"train_loss": values["loss"], "learning_rate": learning_rate, "grad_norm": values["grad_norm"]}
            self._reporter.metric(progress.step, progress.epoch + 1, dict(shown))
            self.progress(progress, all_steps)

    def progress(self, progress: Progress, all_steps: int) -> None:
        """Also in the middle of a long validation, so that a run that works is not taken for one that hangs."""
        self._last = time.monotonic()
        self._reporter.progress(progress.step, progress.step if progress.ended else all_steps, "steps")

    def collapse(self, epoch: int, effective_rank: float | None) -> None:
        """Once, when the embeddings fill less than a twentieth of their dimensions."""
        limit = self._embedding_dim * COLLAPSED_SHARE
        if effective_rank is not None and effective_rank < limit and not self._collapse_told:
            self._collapse_told = True
            self._reporter.warning(
                "representation-collapse",
                f"epoch {epoch}: the embeddings fill {effective_rank:.1f} of {self._embedding_dim} dimensions "
                f"(below {limit:.1f})",
                "a lower learning rate, a larger batch, or a higher temperature",
            )
