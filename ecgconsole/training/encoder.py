"""Two single-channel 1-D residual encoders, ECG and PPG, and the heads that only training uses.

Every normalisation is per segment (GroupNorm), so a segment's embedding does not depend on what else
is in the batch, nor on the number of processes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Below this standard deviation (mV, NU) a segment is not scaled up to unit variance: a flat line stays flat.
SD_FLOOR = (0.01, 0.001)
CLAMP_SD = 10.0
POOLED_STAGES = 2
# What training's heads see of an embedding that has no linear map of its own.
HEADS_DIM = 256
# Of a learnt temperature; below it the loss of a few hard negatives would be all there is.
MIN_TEMPERATURE = 0.01


def normalise(signal: Tensor, sd_floor: float) -> Tensor:
    """(..., T) in physical units to zero mean and unit standard deviation, artefacts cut at ±10 sd."""
    centred = signal - signal.mean(-1, keepdim=True)
    sd = centred.square().mean(-1, keepdim=True).sqrt()
    return (centred / sd.clamp_min(sd_floor)).clamp(-CLAMP_SD, CLAMP_SD)


def blur_and_halve(x: Tensor) -> Tensor:
    """(n, C, L) to (n, C, ceil(L / 2)) with the binomial filter [1, 2, 1] / 4 before the stride.

    Zhang, Making Convolutional Networks Shift-Invariant Again, 2019.
    """
    # As sums of slices, because on a CPU the backward pass of a depthwise convolution is slow.
    length = (x.shape[-1] + 1) // 2
    even, odd = F.pad(x, (1, 2 * length + 1 - x.shape[-1])).unflatten(-1, (length + 1, 2)).unbind(-1)
    return torch.lerp((even[..., :-1] + even[..., 1:]) / 2, odd[..., :-1], 0.5)


def _groups(channels: int) -> int:
    """The largest of 8, 4, 2, 1 that divides the channels."""
    return next(g for g in (8, 4, 2, 1) if channels % g == 0)


class SqueezeExcitation(nn.Module):
    """Hu et al., Squeeze-and-Excitation Networks, 2018."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = nn.Linear(channels, max(4, channels // 8))
        self.up = nn.Linear(max(4, channels // 8), channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.up(F.relu(self.down(x.mean(-1)))))
        return x * gate.unsqueeze(-1)


class ResidualStage(nn.Module):
    """Halves the rate without aliasing, then two convolutions beside an identity. (n, C, L) to (n, D, L / 2)."""

    def __init__(self, channels_in: int, channels: int, kernel: int = 7) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels_in, channels, kernel, padding=kernel // 2, bias=False)
        self.norm1 = nn.GroupNorm(_groups(channels), channels)
        self.conv2 = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, bias=False)
        self.norm2 = nn.GroupNorm(_groups(channels), channels)
        self.gate = SqueezeExcitation(channels)
        self.skip = nn.Conv1d(channels_in, channels, 1, bias=False) if channels_in != channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = blur_and_halve(x)
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.gate(self.norm2(self.conv2(y)))
        return F.relu(y + self.skip(x))


def pool(x: Tensor) -> Tensor:
    """(n, C, L) to (n, 3 C): mean, maximum and standard deviation over time."""
    spread = (x.var(-1, unbiased=False) + 1e-5).sqrt()
    return torch.cat((x.mean(-1), x.amax(-1), spread), dim=-1)


class SignalEncoder(nn.Module):
    """One signal to one embedding: (n, T) in physical units to (n, D). Works for any T.

    The last two stages are pooled over time by mean, maximum and standard deviation: variability of beats is a
    spread over time, which a mean alone cannot carry. The embedding is a linear map of that to ``embedding_dim``, or,
    where it is None, all that was pooled: the map, ``out``, then stands between it and training's heads, and what is
    kept of it are its square roots (``Model.finished``).
    """

    def __init__(self, hidden_dims: Sequence[int], embedding_dim: int | None, sd_floor: float) -> None:
        super().__init__()
        self.sd_floor = sd_floor
        self.maps = embedding_dim is not None
        self.stem = nn.Conv1d(1, hidden_dims[0], 15, stride=2, padding=7, bias=False)
        self.stem_norm = nn.GroupNorm(_groups(hidden_dims[0]), hidden_dims[0])
        pairs = zip((hidden_dims[0], *hidden_dims[:-1]), hidden_dims, strict=True)
        self.stages = nn.Sequential(*(ResidualStage(a, b) for a, b in pairs))
        self.out = nn.Linear(3 * sum(hidden_dims[-POOLED_STAGES:]), embedding_dim or HEADS_DIM)

    def forward(self, signal: Tensor) -> Tensor:
        x = normalise(signal, self.sd_floor).unsqueeze(1)
        x = F.relu(self.stem_norm(self.stem(x)))
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        pooled = torch.cat([pool(y.float()) for y in outputs[-POOLED_STAGES:]], dim=-1)
        return self.out(pooled) if self.maps else pooled


class Projector(nn.Sequential):
    """What heads see to the space of a contrastive term; thrown away after training."""

    def __init__(self, seen_dim: int, projection_dim: int) -> None:
        super().__init__(nn.Linear(seen_dim, seen_dim), nn.ReLU(), nn.Linear(seen_dim, projection_dim))


class Model(nn.Module):
    """Both encoders with their training heads.

    The cross term compares both signals through one linear map, so that their embeddings themselves share a space
    and may be averaged: with a projector apart for each, they did not (retrieval of a window's PPG by its ECG on
    test patients, mean reciprocal rank of the embeddings: 0.01 apart, 0.19 with one linear map, 0.04 untrained).

    ``n_rhythm`` is the number of rhythm columns that the heads predict from an embedding, ``n_beat`` of points of the
    mean beat that the ECG's predicts (0: none). ``learn_temperature`` makes the temperature of the contrastive terms a
    weight too, as in CLIP (Radford et al., 2021).
    """

    def __init__(
        self,
        embedding_dim: int | None,
        hidden_dims: Sequence[int],
        projection_dim: int,
        n_rhythm: int = 0,
        n_beat: int = 0,
        learn_temperature: bool = False,
    ) -> None:
        super().__init__()
        encoders = [SignalEncoder(hidden_dims, embedding_dim, floor) for floor in SD_FLOOR]
        self.encoders = nn.ModuleList(encoders)
        self.maps = embedding_dim is not None
        self.embedding_dim = embedding_dim or encoders[0].out.in_features
        self.seen_dim = seen_dim = encoders[0].out.out_features
        self.view_projectors = nn.ModuleList(Projector(seen_dim, projection_dim) for _ in SD_FLOOR)
        self.cross_projector = nn.Linear(seen_dim, projection_dim, bias=False)
        self.rhythm_heads = nn.ModuleList(nn.Linear(seen_dim, n_rhythm) for _ in SD_FLOOR if n_rhythm)
        self.beat_head = nn.Linear(seen_dim, n_beat) if n_beat else nn.Identity()
        if learn_temperature:
            # The logarithm of what the temperature is multiplied by: its decay leads back to where it began.
            self.temperature_change = nn.Parameter(torch.zeros(()))

    def temperature(self, initial: float) -> Tensor | float:
        """Of the contrastive terms: ``initial``, or what was learnt from there, no lower than ``MIN_TEMPERATURE``."""
        if not hasattr(self, "temperature_change"):
            return initial
        return (initial * self.temperature_change.exp()).clamp_min(MIN_TEMPERATURE)

    def encode(self, signal: Tensor, present: Tensor) -> Tensor:
        """(n, 2, T) and bool (n, 2) to one float32 embedding a signal, (n, 2, embedding_dim); zero where absent."""
        return _where_present(list(self.encoders), signal, present, self.embedding_dim)

    def finished(self, embeddings: Tensor) -> Tensor:
        """What users get of embeddings: of what was pooled, none of it below 0 and all of it skewed, square roots."""
        return embeddings if self.maps else embeddings.sqrt()

    def seen_by_heads(self, embeddings: Tensor, present: Tensor) -> Tensor:
        """What training's heads see of embeddings (n, 2, embedding_dim): float32 (n, 2, D); zero where absent."""
        if self.maps:
            return embeddings
        maps = [encoder.get_submodule("out") for encoder in self.encoders]
        return _where_present(maps, embeddings, present, HEADS_DIM)


def _where_present(modules: Sequence[nn.Module], x: Tensor, present: Tensor, dim: int) -> Tensor:
    """Each module on its column of ``x``, in those rows that have it: (n, 2, ...) to float32 (n, 2, dim)."""
    columns = []
    for channel, module in enumerate(modules):
        at = present[:, channel].nonzero().squeeze(1)
        if len(at) == len(x):
            columns.append(module(x[:, channel]).float())
            continue
        column = x.new_zeros(len(x), dim)
        if len(at):
            column = column.index_copy(0, at, module(x[at, channel]).float())
        columns.append(column)
    return torch.stack(columns, dim=1)


def segment_embedding(embeddings: Tensor, present: Tensor) -> Tensor:
    """Mean over the signals present: (n, 2, D) and bool (n, 2) to (n, D); zero where none is, whatever stands there."""
    of_present = torch.where(present.unsqueeze(-1), embeddings, embeddings.new_zeros(()))
    return of_present.sum(1) / present.sum(1, keepdim=True).clamp_min(1)
