"""The processes of one training, its ranks, and what they say to each other.

Every rank knows the whole batch but for its signals, of which it holds its share. Embeddings are gathered, and each
rank computes the loss of the joined batch: all negatives of all ranks, with gradient. One rank alone is the same
code; its collectives return what they are given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch import distributed as dist


@dataclass(frozen=True)
class Ranks:
    """``rank`` of ``size``; ``chief`` is the one that writes checkpoints and speaks to the runner.

    ``local_rank`` of ``local_size`` counts on one machine.
    """

    rank: int = 0
    size: int = 1
    chief: int = 0
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_chief(self) -> bool:
        return self.rank == self.chief

    def share(self, n: int) -> slice:
        """The part of ``n`` rows that is this rank's, by rank in order."""
        return _share(self.rank, self.size, n)

    def gathered(self, own: Tensor, n: int) -> Tensor:
        """Own (v, share of n, ...) of every rank to (v, n, ...), with gradient.

        The gradient by a rank's own rows is multiplied by ``size``: every rank has the whole loss, so the mean over
        ranks (``average``) is then right both for the encoders, which saw a share, and for the heads, which saw all.
        """
        return own if self.size == 1 else cast(Tensor, _Gathered.apply(own, self, n))

    def average(self, parameters: Iterable[nn.Parameter], values: Tensor) -> Tensor:
        """Replaces each gradient by its mean over ranks, and returns the mean of ``values``, a vector.

        A parameter without a gradient on every rank keeps none: the optimiser then leaves it alone.
        """
        if self.size == 1:
            return values
        parts = list(parameters)
        used = torch.tensor([float(p.grad is not None) for p in parts], device=values.device)
        gradients = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parts]
        flat = torch.cat([*gradients, used, values.float()])
        dist.all_reduce(flat)
        flat /= self.size
        *means, used, values = flat.split([*(p.numel() for p in parts), len(parts), len(values)])
        for parameter, mean, share in zip(parts, means, used.tolist(), strict=True):
            parameter.grad = mean.view_as(parameter) if share else None
        return values

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank."""
        if self.size == 1:
            return flag
        flags = torch.tensor([float(flag)])
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags.item())

    def from_chief(self, values: Sequence[float]) -> list[float]:
        """The chief's numbers, on every rank."""
        if self.size == 1:
            return list(values)
        told = torch.tensor(values, dtype=torch.float64)
        dist.broadcast(told, self.chief)
        return told.tolist()

    def object_from_chief(self, value: Any) -> Any:
        """The chief's object, on every rank: pickled, between processes of one job alone."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, self.chief, device=torch.device("cpu"))
        return box[0]

    def joined(self, values: list[int]) -> list[int]:
        """The numbers of all ranks, rising."""
        if self.size == 1:
            return values
        box: list[Any] = [None] * self.size
        dist.all_gather_object(box, values)
        return sorted(set().union(*box))


ALONE = Ranks()


def _share(rank: int, size: int, n: int) -> slice:
    return slice(n * rank // size, n * (rank + 1) // size)


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, ranks: Ranks, n: int) -> Tensor:
        ctx.share, ctx.size = ranks.share(n), ranks.size
        longest = -(-n // ranks.size)
        padded = own.new_zeros(own.shape[0], longest, *own.shape[2:])
        padded[:, : own.shape[1]] = own
        parts = [torch.empty_like(padded) for _ in range(ranks.size)]
        dist.all_gather(parts, padded)
        shares = [_share(r, ranks.size, n) for r in range(ranks.size)]
        return torch.cat([p[:, : s.stop - s.start] for p, s in zip(parts, shares, strict=True)], dim=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][:, ctx.share] * ctx.size, None, None
