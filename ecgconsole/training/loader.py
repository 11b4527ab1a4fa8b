"""Batches as tensors: decoded once into memory, gathered by background threads, the same for any number of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecgconsole.dataset import Dataset
from ecgconsole.training.augment import draw
from ecgconsole.training.ranks import ALONE, Ranks
from ecgconsole.training.sampler import Plan, Sampler

_READ_SEGMENTS = 8192
# Where blocks are read ahead there are three in memory: one in use, one ready, one being read.
_BLOCKS_HELD = 3
_GPU_SHARE = 0.6


@dataclass(frozen=True)
class Batch:
    """B anchors (index 0 of the first axis) and their B partners (index 1), of which this rank encodes its share b.

    Of the ``share``: ``signal`` int16 (2, b, 2, T) and ``scale`` float32 (2, b, 2), physical = signal x scale;
    ``uniform`` float32 (2, b, 2, N_DRAWS). Of the whole batch: ``rows`` int64 (2, B), rows of the dataset; ``present``
    bool (2, B, 2); ``patient`` and ``record`` int64 codes, ``start_s`` float64, each (2, B); ``rhythm`` float32
    (2, B, R), standardised. One rank alone has the whole batch as its share.
    """

    share: slice
    rows: Tensor
    signal: Tensor
    scale: Tensor
    present: Tensor
    patient: Tensor
    record: Tensor
    start_s: Tensor
    rhythm: Tensor
    uniform: Tensor

    def to(self, device: torch.device) -> Batch:
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """Ready to be copied to a GPU while other work goes on."""
        return self._each(lambda tensor: tensor if tensor.is_cuda else tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        names = [f.name for f in fields(self) if f.name != "share"]
        changed: dict[str, Any] = {name: change(getattr(self, name)) for name in names}
        return replace(self, **changed)

    @property
    def own_present(self) -> Tensor:
        """Bool (2, b, 2)."""
        return self.present[:, self.share]

    def physical(self) -> Tensor:
        """Float32 (2, b, 2, T) in mV and NU."""
        return self.signal.float() * self.scale.unsqueeze(-1)


@dataclass(frozen=True)
class _Block:
    """The signals of some positions, rising."""

    positions: NDArray[np.int64]
    signal: NDArray[np.int16] | Tensor

    def gather(self, positions: NDArray[np.int64]) -> Tensor:
        index = np.searchsorted(self.positions, positions)
        if isinstance(self.signal, Tensor):
            return self.signal[torch.from_numpy(index).to(self.signal.device)]
        # NumPy, because a torch operation would start a second pool of threads in each thread that calls it.
        return torch.from_numpy(self.signal.take(index.ravel(), axis=0).reshape(*index.shape, *self.signal.shape[1:]))


class Loader:
    """Reads what a sampler plans.

    ``memory_bytes`` bounds the signals held; more are read in blocks of patients, one ahead (``block_segments``
    tells the sampler). ``rhythm`` float32 (N, R) are the standardised targets. ``num_workers`` threads prepare
    batches ahead; 0 prepares each when it is asked for. Of every batch, ``ranks`` says which share is read.
    """

    def __init__(
        self,
        dataset: Dataset,
        sampler: Sampler,
        rhythm: NDArray[np.float32],
        num_workers: int,
        device: torch.device,
        stream: int = 0,
        ranks: Ranks = ALONE,
    ) -> None:
        self._ranks = ranks
        self._dataset = dataset
        self._sampler = sampler
        self._rhythm = rhythm
        self._num_workers = num_workers
        self._device = device
        self._stream = stream
        self._whole: _Block | None = None
        if sampler.block_segments is None:
            self._whole = self._on_device(self._read(np.arange(len(sampler.segments))))

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of ``epoch`` from number ``first`` on."""
        if self._num_workers == 0:
            for block, plan in self._with_blocks(epoch, first, None):
                yield self._prepare(block, plan, epoch)
            return
        ahead = 2 * self._num_workers
        waiting: deque[Future[Batch]] = deque()
        with (
            ThreadPoolExecutor(self._num_workers, initializer=self._at_home) as pool,
            ThreadPoolExecutor(1) as reader,
        ):
            try:
                for block, plan in self._with_blocks(epoch, first, reader):
                    waiting.append(pool.submit(self._prepare, block, plan, epoch))
                    if len(waiting) > ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _at_home(self) -> None:
        """A thread begins on the first GPU, which it would open for the memory that it pins."""
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device)

    def _with_blocks(self, epoch: int, first: int, reader: ThreadPoolExecutor | None) -> Iterator[tuple[_Block, Plan]]:
        plans = (plan for plan in self._sampler.epoch(epoch, self._stream) if plan.index >= first)
        if self._whole is not None:
            for plan in plans:
                yield self._whole, plan
            return
        positions = self._sampler.block_positions(epoch, self._stream)
        current = -1
        ahead: Future[_Block] | None = None
        for plan in plans:
            if plan.block != current:
                block = ahead.result() if ahead and plan.block == current + 1 else self._read(positions[plan.block])
                current = plan.block
                has_next = reader is not None and current + 1 < len(positions)
                ahead = reader.submit(self._read, positions[current + 1]) if reader and has_next else None
            yield block, plan

    def _read(self, positions: NDArray[np.int64]) -> _Block:
        rows = self._sampler.segments.rows[positions]
        signal = np.empty((len(rows), 2, self._dataset.segment_samples), np.int16)
        for low in range(0, len(rows), _READ_SEGMENTS):
            signal[low : low + _READ_SEGMENTS] = self._dataset.signal_rows(rows[low : low + _READ_SEGMENTS])
        return _Block(positions, signal)

    def _on_device(self, block: _Block) -> _Block:
        if self._device.type != "cuda":
            return block
        signal = torch.from_numpy(block.signal)
        free, _ = torch.cuda.mem_get_info(self._device)
        fits = signal.nbytes < _GPU_SHARE * free
        return _Block(block.positions, signal.to(self._device)) if fits else block

    def _prepare(self, block: _Block, plan: Plan, epoch: int) -> Batch:
        segments = self._sampler.segments
        at = np.stack((plan.anchors, plan.partners))
        uniform = draw(self._sampler.seed, epoch, plan.index, len(plan.anchors), self._stream)
        share = self._ranks.share(len(plan.anchors))
        own = at[:, share]
        arrays = {
            "rows": segments.rows[at],
            "scale": segments.scale[own],
            "present": segments.present[at],
            "patient": segments.patient[at],
            "record": segments.record[at],
            "start_s": segments.start_s[at],
            "rhythm": self._rhythm[at],
            "uniform": np.ascontiguousarray(uniform[:, share]),
        }
        tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
        batch = Batch(share=share, signal=block.gather(own), **tensors)
        return batch.pinned() if self._device.type == "cuda" else batch


def block_segments(n_segments: int, segment_samples: int, memory_bytes: float) -> int | None:
    """How many segments a block may hold so that reading ahead stays within ``memory_bytes``; None: all fit."""
    segment_bytes = 2 * segment_samples * np.dtype(np.int16).itemsize
    if n_segments * segment_bytes <= memory_bytes:
        return None
    return max(1, int(memory_bytes / segment_bytes / _BLOCKS_HELD))
