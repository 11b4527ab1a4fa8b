"""What can be said of embeddings, to see a run learn or collapse: without labels, and of rhythm where it is known."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifier
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


KNN_NEIGHBOURS = 10
_KNN_TEMPERATURE = 0.1
_PROBE_FOLDS = 5


def testable(patient: NDArray[np.integer], label: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Rows (n,) whose label is known (not negative) and shared by two patients: what can be told of one by others.

    None where fewer than two such labels are left.
    """
    pairs = np.unique(np.stack((label, patient)), axis=1)[0]
    labels, patients = np.unique(pairs[pairs >= 0], return_counts=True)
    shared = labels[patients >= 2]
    return np.isin(label, shared) if len(shared) >= 2 else np.zeros(len(label), bool)


def knn_accuracy(embeddings: Tensor, patient: NDArray[np.integer], label: NDArray[np.integer]) -> float:
    """Balanced accuracy (mean recall) of each segment's label by its ten nearest segments of other patients.

    Weighted by similarity as in Wu et al., Unsupervised Feature Learning via Non-Parametric Instance
    Discrimination, 2018. ``embeddings`` (n, D); chance is 1 / number of labels.
    """
    z = F.normalize(embeddings.double(), dim=1)
    same = torch.from_numpy(patient[:, None] == patient)
    similarity = (z @ z.T).masked_fill(same, -2.0)
    nearest = similarity.topk(min(KNN_NEIGHBOURS, len(z)), dim=1)
    weight = torch.where(nearest.values > -2, torch.exp(nearest.values / _KNN_TEMPERATURE), 0.0)
    names, codes = np.unique(label, return_inverse=True)
    votes = torch.zeros(len(z), len(names), dtype=torch.double)
    votes.scatter_add_(1, torch.from_numpy(codes.reshape(-1))[nearest.indices], weight)
    return balanced_accuracy(label, names[votes.argmax(1).numpy()])


def probe_accuracy(embeddings: Tensor, patient: NDArray[np.integer], label: NDArray[np.integer]) -> float:
    """Balanced accuracy of a ridge classifier on standardised embeddings (n, D), out of fold, people apart."""
    x = embeddings.double().numpy()
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-9)
    people, codes = np.unique(patient, return_inverse=True)
    fold = (np.random.default_rng(0).permutation(len(people)) % _PROBE_FOLDS)[codes.reshape(-1)]
    predicted = np.full(len(label), -1, label.dtype)
    for held in np.unique(fold):
        known = fold != held
        if len(np.unique(label[known])) > 1:
            probe = RidgeClassifier(alpha=float(x.shape[1]), class_weight="balanced").fit(x[known], label[known])
            predicted[~known] = probe.predict(x[~known])
    return balanced_accuracy(label, predicted)


def balanced_accuracy(label: NDArray[np.integer], predicted: NDArray[np.integer]) -> float:
    """The mean over labels of the share of its rows that are predicted so."""
    return float(np.mean([np.mean(predicted[label == name] == name) for name in np.unique(label)]))
