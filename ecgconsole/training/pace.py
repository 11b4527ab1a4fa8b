"""How fast a training goes, and how long it waits for data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from ecgconsole.training.loader import Batch


@dataclass
class Pace:
    """Seconds of steps and the segments in them; ``waited_s`` is the part spent on the loader."""

    seconds: float = 0.0
    waited_s: float = 0.0
    segments: int = 0

    @property
    def segments_per_second(self) -> float | None:
        return self.segments / self.seconds if self.seconds else None

    @property
    def waiting_share(self) -> float | None:
        return self.waited_s / self.seconds if self.seconds else None

    def add(self, other: Pace) -> None:
        self.seconds += other.seconds
        self.waited_s += other.waited_s
        self.segments += other.segments

    def timed(self, batches: Iterator[Batch]) -> Iterator[tuple[Batch, float]]:
        """The same batches, each with the seconds it was waited for."""
        while True:
            began = time.monotonic()
            batch = next(batches, None)
            waited_s = time.monotonic() - began
            if batch is None:
                return
            self.waited_s += waited_s
            self.seconds += waited_s
            yield batch, waited_s

    def count(self, batch: Batch, seconds: float) -> None:
        self.seconds += seconds
        self.segments += batch.present.shape[1]
