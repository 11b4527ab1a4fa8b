"""How many patterns: what two halves of the patients agree on, and a second opinion by density."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.cluster import contingency_matrix

from ecgconsole.findings.clustering import fit_whitening, nearest, spherical_kmeans

_DENSITY_COMPONENTS = 10


@dataclass(frozen=True)
class HalfSplit:
    """What one half-split found, by number of clusters.

    ``ari`` {k: agreement of both halves}; ``labels`` {k: int16 (2, n)}, the whole sample as each half sees it.
    """

    ari: dict[int, float]
    labels: dict[int, NDArray[np.int16]]


def fit_half_split(
    embeddings: NDArray,
    patient: NDArray,
    halves: tuple[NDArray, NDArray],
    cluster_counts: Sequence[int],
    seed: list[int],
    max_components: int,
    explained_variance: float,
    initialisations: int,
    library: str = "numpy",
) -> HalfSplit:
    """Whitening and k-means fitted on each half of the patients, both applied to the whole sample (n, d)."""
    labels: dict[int, list[NDArray]] = {k: [] for k in cluster_counts}
    for half in halves:
        rows = np.isin(patient, half)
        whitening = fit_whitening(embeddings[rows], max_components, explained_variance)
        directions = whitening.directions(embeddings)
        for k in cluster_counts:
            centroids, _ = spherical_kmeans(directions[rows], k, [*seed, k], initialisations, library)
            labels[k].append(nearest(directions, centroids)[0])
    return HalfSplit(
        ari={k: float(adjusted_rand_score(*both)) for k, both in labels.items()},
        labels={k: np.stack(both) for k, both in labels.items()},
    )


def choose_k(ari: dict[int, Sequence[float]]) -> tuple[int, list[dict[str, Any]]]:
    """The largest k whose median ARI is within one standard error of the best, and the table behind it.

    The standard error is that of a median, sqrt(pi / 2) s / sqrt(n). The half-splits share
    patients, so it is smaller than that of new patients would be.
    """
    table: list[dict[str, Any]] = [
        {
            "k": k,
            "median_ari": float(np.median(values)),
            "lower_quartile": float(np.quantile(values, 0.25)),
            "upper_quartile": float(np.quantile(values, 0.75)),
            "standard_error": float(np.sqrt(np.pi / 2) * np.std(values, ddof=1) / np.sqrt(len(values))),
        }
        for k, values in sorted(ari.items())
    ]
    best = max(table, key=lambda row: row["median_ari"])
    enough = best["median_ari"] - best["standard_error"]
    return max(row["k"] for row in table if row["median_ari"] >= enough), table


def cluster_jaccard(labels: NDArray, others: Sequence[NDArray], k: int) -> NDArray[np.float64]:
    """Mean over ``others`` of the largest Jaccard index of each of the k clusters (k,).

    Hennig, Computational Statistics & Data Analysis 52 (2007) 258: below 0.6 a cluster is not a
    stable thing, above 0.75 it is. A cluster without a row in ``labels`` gets not-a-number.
    """
    best = np.full((len(others), k), np.nan)
    for i, other in enumerate(others):
        together = np.zeros((k, int(other.max()) + 1))
        np.add.at(together, (labels, other), 1)
        union = together.sum(axis=1, keepdims=True) + together.sum(axis=0, keepdims=True) - together
        best[i] = np.max(together / np.maximum(union, 1), axis=1)
    best[:, np.bincount(labels, minlength=k) == 0] = np.nan
    return best.mean(axis=0)


def density_check(embeddings: NDArray, labels: NDArray) -> dict[str, Any]:
    """HDBSCAN on the ten leading principal components (not whitened) beside k-means labels (n,).

    Campello et al., PAKDD 2013. Do dense regions agree with the clusters? Where it finds one region
    or none, the embedding is a continuum that k-means merely cuts up. (In the whitened space of the
    patterns it calls nearly everything noise, even with well separated clusters.)
    """
    scores = PCA(n_components=min(_DENSITY_COMPONENTS, *embeddings.shape), svd_solver="full").fit_transform(embeddings)
    smallest = max(10, len(scores) // 100)
    found = HDBSCAN(min_cluster_size=smallest, copy=True).fit_predict(scores)
    dense = found >= 0
    clusters = int(found.max()) + 1
    table = contingency_matrix(labels[dense], found[dense])
    return {
        "segments": len(found),
        "smallest_cluster": smallest,
        "clusters": clusters,
        "noise_share": float(np.mean(~dense)),
        "ari_where_dense": float(adjusted_rand_score(labels[dense], found[dense])) if clusters > 1 else None,
        "share_in_one_pattern": float(table.max(axis=0).sum() / table.sum()) if clusters else None,
    }
