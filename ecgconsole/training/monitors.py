"""What can be said of embeddings without labels, to see a run learn or collapse."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def alignment(view_1: Tensor, view_2: Tensor) -> float:
    """Mean squared distance of normalised positive pairs, (n, D) each: 0 is best, 2 is unrelated.

    Wang and Isola, Understanding Contrastive Representation Learning through Alignment and Uniformity, 2020.
    """
    return float((F.normalize(view_1, dim=1) - F.normalize(view_2, dim=1)).square().sum(1).mean())


def uniformity(embeddings: Tensor) -> float:
    """Log of the mean Gaussian potential of normalised pairs, (n, D): 0 is collapsed, -4 is spread evenly.

    Wang and Isola, 2020.
    """
    z = F.normalize(embeddings, dim=1)
    squared_distances = F.pdist(z).square()
    return float(torch.logsumexp(-2 * squared_distances, dim=0) - math.log(len(squared_distances)))


def effective_rank(embeddings: Tensor) -> float:
    """RankMe: exp of the entropy of the normalised singular values of the centred (n, D) matrix.

    Roy and Vetterli, The effective rank, 2007; Garrido et al., RankMe, 2023. From 1 (collapsed) to min(n - 1, D).
    """
    if not torch.isfinite(embeddings).all():
        return math.nan
    centred = embeddings.double() - embeddings.double().mean(0)
    singular = torch.linalg.svdvals(centred)
    share = singular / singular.sum().clamp_min(1e-12)
    return float(torch.exp(-torch.special.xlogy(share, share).sum()))


def deviation(embeddings: Tensor) -> float:
    """Mean standard deviation of the dimensions of normalised embeddings, times sqrt(D): 1 healthy, 0 collapsed."""
    z = F.normalize(embeddings, dim=1)
    return float(z.std(0).mean() * math.sqrt(z.shape[1]))


def retrieval(ecg_embeddings: Tensor, ppg_embeddings: Tensor) -> float:
    """Mean reciprocal rank of each window's own PPG among all PPG by cosine similarity to its ECG, (n, D) each.

    1: always first; chance is about log(n) / n. Ties count against.
    """
    similarity = F.normalize(ecg_embeddings, dim=1) @ F.normalize(ppg_embeddings, dim=1).T
    rank = (similarity >= similarity.diagonal().unsqueeze(1)).sum(1)
    return float((1 / rank.double()).mean())


def same_patient_share(embeddings: Tensor, patient: Tensor) -> float:
    """Share of segments whose nearest other segment is of the same patient: (n, D) and codes (n,)."""
    z = F.normalize(embeddings, dim=1)
    similarity = (z @ z.T).fill_diagonal_(-2.0)
    return float((patient[similarity.argmax(1)] == patient).double().mean())
