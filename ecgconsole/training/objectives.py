"""The terms of the training objective, as functions of tensors. All arithmetic in float32."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def negatives(
    patient_a: Tensor,
    record_a: Tensor,
    start_a_s: Tensor,
    patient_b: Tensor,
    record_b: Tensor,
    start_b_s: Tensor,
    gap_seconds: float,
) -> Tensor:
    """Which pairs may repel each other: bool (n, m), from codes and start times (n,) and (m,).

    Two segments of one patient are negatives only if they are of different records or ``gap_seconds`` or
    more apart; nearer ones look alike for a good reason and are left out of the sum.
    """
    same_record = (patient_a[:, None] == patient_b) & (record_a[:, None] == record_b)
    near = (start_a_s[:, None] - start_b_s).abs() < gap_seconds
    identical = start_a_s[:, None] == start_b_s
    return ~(same_record & (near | identical))


def info_nce(queries: Tensor, keys: Tensor, positive: Tensor, negative: Tensor, temperature: Tensor | float) -> Tensor:
    """Mean over queries of -log of the softmax share of each query's positive key. Scalar, float32.

    ``queries`` (n, d) and ``keys`` (m, d) of any length, normalised here; ``positive`` int64 (n,), the key that
    belongs to each query; ``negative`` bool (n, m), the keys that compete with it (the positive always does).
    With queries = keys = both views of a batch this is NT-Xent (Chen et al., A Simple Framework for Contrastive
    Learning of Visual Representations, 2020); with the embeddings of two signals, InfoNCE (van den Oord et al.,
    2018). Chance is log(1 + number of negatives); 0 rows give 0.
    """
    if len(queries) == 0:
        return queries.float().sum() + keys.float().sum() * 0
    a = F.normalize(queries.float(), dim=1)
    b = F.normalize(keys.float(), dim=1)
    logits = (a @ b.T) / temperature
    own = torch.zeros_like(negative)
    own[torch.arange(len(queries), device=queries.device), positive] = True
    logits = logits.masked_fill(~(negative | own), float("-inf"))
    return (torch.logsumexp(logits, dim=1) - logits[own]).mean()


def nt_xent(view_1: Tensor, view_2: Tensor, negative: Tensor, temperature: Tensor | float) -> Tensor:
    """NT-Xent of n pairs: (n, d) each; ``negative`` bool (2n, 2n) over both views in a row."""
    n = len(view_1)
    both = torch.cat((view_1, view_2))
    positive = torch.arange(2 * n, device=both.device).roll(n)
    return info_nce(both, both, positive, negative, temperature)


def cross_nce(ecg: Tensor, ppg: Tensor, negative: Tensor, temperature: Tensor | float) -> Tensor:
    """Each window's PPG found by its ECG and the reverse, averaged: (n, d) each, ``negative`` bool (n, n).

    Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021.
    """
    own = torch.arange(len(ecg), device=ecg.device)
    forward = info_nce(ecg, ppg, own, negative, temperature)
    backward = info_nce(ppg, ecg, own, negative.T, temperature)
    return (forward + backward) / 2


def decorrelation(embeddings: Tensor) -> Tensor:
    """Keeps every dimension in use where a batch holds few negatives: (n, D) to a scalar, 0 at best.

    The variance and covariance terms of VICReg, with equal weights: the shortfall of each dimension's standard
    deviation below 1, and the squared covariances off the diagonal, over D (Bardes et al., VICReg, 2022). Fewer
    than two rows give 0.
    """
    n, dimensions = embeddings.shape
    if n < 2:
        return embeddings.float().sum() * 0
    centred = embeddings.float() - embeddings.float().mean(0)
    deviation = (centred.square().sum(0) / (n - 1) + 1e-4).sqrt()
    covariance = centred.T @ centred / (n - 1)
    off_diagonal = covariance.square().sum() - covariance.diagonal().square().sum()
    return F.relu(1 - deviation).mean() + off_diagonal / dimensions


def rhythm_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean Huber error over the targets that are known: (n, R) each, standardised, unknown = not a number.

    About 0.4 where nothing but the mean is predicted; no known target gives 0.
    """
    known = torch.isfinite(target)
    error = F.smooth_l1_loss(predicted.float(), torch.where(known, target, 0.0), reduction="none")
    return (error * known).sum() / known.sum().clamp_min(1)
