"""Which segments make up a batch: P patients times K segments, in an order that only seed and epoch decide."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgconsole.training.segments import Segments, neighbours

# First words of every seed sequence, so that no two uses of randomness share a stream.
ORDER_STREAM, AUGMENT_STREAM = 1, 2


@dataclass(frozen=True)
class Plan:
    """One batch: positions in ``Segments`` of the anchors and of their positive partners, each (B,).

    ``block`` numbers the group of patients that the batch comes from: all of its positions lie in that
    group, so a loader that cannot hold everything holds one group at a time.
    """

    index: int
    block: int
    anchors: NDArray[np.int64]
    partners: NDArray[np.int64]


class Sampler:
    """The batches of every epoch.

    Each segment is an anchor once an epoch (a last incomplete batch is dropped, unless it is the only one).
    ``neighbour_seconds`` 0: the partner is the segment itself. ``block_segments`` bounds how many segments a
    block of patients holds; None: one block.
    """

    def __init__(
        self,
        segments: Segments,
        batch_size: int,
        segments_per_patient: int,
        neighbour_seconds: float,
        seed: int,
        block_segments: int | None = None,
    ) -> None:
        self.segments = segments
        self.batch_size = min(batch_size, max(1, len(segments)))
        self.segments_per_patient = segments_per_patient
        self.seed = seed
        self.block_segments = block_segments
        self._first, self._last = neighbours(segments, neighbour_seconds)
        order = np.argsort(segments.patient, kind="stable")
        self._of_patient = np.split(order, np.flatnonzero(np.diff(segments.patient[order])) + 1)

    @property
    def batches_per_epoch(self) -> int:
        """Exact with one block; with several an upper bound (each block drops its own incomplete batch)."""
        return len(self.segments) // self.batch_size

    def epoch(self, epoch: int, stream: int = 0) -> Iterator[Plan]:
        """All batches of ``epoch``; ``stream`` keeps validation apart from training."""
        index = itertools.count()
        for block, patients in enumerate(self._blocks(epoch, stream)):
            rng = np.random.default_rng([ORDER_STREAM, self.seed, epoch, stream, 1 + block])
            anchors = self._anchors(patients, rng)
            partners = rng.integers(self._first[anchors], self._last[anchors], endpoint=True)
            for low in range(0, len(anchors) - self.batch_size + 1, self.batch_size):
                batch = slice(low, low + self.batch_size)
                yield Plan(next(index), block, anchors[batch], partners[batch])

    def block_positions(self, epoch: int, stream: int = 0) -> list[NDArray[np.int64]]:
        """For each block of ``epoch`` the positions in it, rising: what a loader reads ahead."""
        blocks = self._blocks(epoch, stream)
        return [np.sort(np.concatenate([self._of_patient[p] for p in patients])) for patients in blocks]

    def _blocks(self, epoch: int, stream: int) -> list[list[int]]:
        """Patients in random order, cut where a block would hold more than ``block_segments``."""
        rng = np.random.default_rng([ORDER_STREAM, self.seed, epoch, stream, 0])
        blocks: list[list[int]] = []
        room = 0
        for patient in rng.permutation(len(self._of_patient)).tolist():
            size = len(self._of_patient[patient])
            if not blocks or (self.block_segments is not None and size > room):
                blocks.append([])
                room = self.block_segments or 0
            blocks[-1].append(patient)
            room -= size
        return blocks

    def _anchors(self, patients: list[int], rng: np.random.Generator) -> NDArray[np.int64]:
        """Each patient's segments shuffled and cut into groups of K; the groups shuffled and joined."""
        groups: list[NDArray[np.int64]] = []
        for patient in patients:
            own = rng.permutation(self._of_patient[patient])
            groups += np.split(own, range(self.segments_per_patient, len(own), self.segments_per_patient))
        return np.concatenate([groups[g] for g in rng.permutation(len(groups))])
