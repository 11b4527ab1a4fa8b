"""Whitening and spherical k-means: what turns an embedding into the number of a pattern."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import kmeans_plusplus
from sklearn.decomposition import PCA

from ecgconsole.errors import ConfigurationError
from ecgconsole.workspace import replacing

_BLOCK_ROWS = 65_536
_SEEDING_ROWS = 10_000
_MAX_ITERATIONS = 100
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Whitening:
    """Principal components scaled to unit variance: ``(x - mean) @ components.T``.

    ``mean`` (d,), ``components`` (c, d) already divided by each component's standard deviation.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]

    def scores(self, embeddings: NDArray) -> NDArray[np.float32]:
        """(n, d) to whitened components (n, c)."""
        return (embeddings - self.mean) @ self.components.T

    def directions(self, embeddings: NDArray) -> NDArray[np.float32]:
        """(n, d) to unit vectors (n, c): the space of the patterns."""
        return unit_rows(self.scores(embeddings))


@dataclass(frozen=True)
class PatternModel:
    """Whitening with the patterns' unit centroids (k, c)."""

    whitening: Whitening
    centroids: NDArray[np.float32]

    def assign(self, embeddings: NDArray) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
        """Pattern (n,) of each embedding (n, d), and its cosine with that centroid (n,)."""
        pattern = np.empty(len(embeddings), np.int16)
        similarity = np.empty(len(embeddings), np.float32)
        for block in _blocks(len(embeddings)):
            pattern[block], similarity[block] = nearest(self.whitening.directions(embeddings[block]), self.centroids)
        return pattern, similarity

    def save(self, path: Path) -> None:
        """Plain arrays, no pickle."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, mean=self.whitening.mean, components=self.whitening.components, centroids=self.centroids)


def load_model(path: Path) -> PatternModel:
    with np.load(path, allow_pickle=False) as file:
        return PatternModel(Whitening(file["mean"], file["components"]), file["centroids"])


def patient_means(whitening: Whitening, embeddings: NDArray, patient: NDArray, n_patients: int) -> NDArray[np.float64]:
    """Mean whitened components (n_patients, c) over each patient's segments; ``patient`` (n,) are codes."""
    sums = np.zeros((n_patients, len(whitening.components)))
    for block in _blocks(len(embeddings)):
        np.add.at(sums, patient[block], whitening.scores(embeddings[block]))
    return np.asarray(sums / np.maximum(np.bincount(patient, minlength=n_patients), 1)[:, None])


def _blocks(rows: int) -> Iterator[slice]:
    """Blocks of one size, always: the last bits of a matrix product may depend on it."""
    return (slice(first, first + _BLOCK_ROWS) for first in range(0, rows, _BLOCK_ROWS))


def unit_rows(x: NDArray) -> NDArray[np.float32]:
    """Rows scaled to length 1; a row of zeros stays."""
    norms = np.sqrt(np.einsum("ij,ij->i", x, x))
    return (x / np.where(norms > 0, norms, 1)[:, None]).astype(np.float32)


def nearest(directions: NDArray, centroids: NDArray) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """The centroid of the largest cosine for each row (n,), and that cosine (n,)."""
    cosines = directions @ centroids.T
    labels = np.argmax(cosines, axis=1)
    return labels.astype(np.int16), np.take_along_axis(cosines, labels[:, None], axis=1)[:, 0]


def fit_whitening(embeddings: NDArray, max_components: int, explained_variance: float) -> Whitening:
    """PCA-whitening of embeddings (n, d).

    Keeps the fewest components that explain ``explained_variance``, at most ``max_components``, and
    none whose variance is rounding noise (whitening would blow that up).
    """
    pca = PCA(n_components=min(max_components, *embeddings.shape), svd_solver="covariance_eigh")
    with np.errstate(invalid="ignore"):  # embeddings that are all the same have no variance to share out
        pca.fit(np.asarray(embeddings, np.float64))
    share = np.nan_to_num(np.cumsum(pca.explained_variance_ratio_), nan=1.0)
    wanted = int(np.searchsorted(share, explained_variance - 1e-12)) + 1
    real = int(np.sum(pca.explained_variance_ > 1e-10 * max(pca.explained_variance_[0], 1e-30)))
    kept = max(1, min(wanted, real, len(share)))
    deviation = np.sqrt(np.maximum(pca.explained_variance_[:kept], 1e-30))
    return Whitening(pca.mean_.astype(np.float32), (pca.components_[:kept] / deviation[:, None]).astype(np.float32))


def spherical_kmeans(
    directions: NDArray[np.float32], k: int, seed: int | list[int], initialisations: int, library: str = "numpy"
) -> tuple[NDArray[np.float32], float]:
    """Unit centroids (k, c), largest cluster first, and the mean cosine of the best of several starts.

    Dhillon & Modha, Machine Learning 42 (2001) 143: assignment by cosine, centroids the
    normalised sums of their members. Seeded by k-means++ on at most 10,000 rows. A cluster that
    empties takes the row that fits its own centroid worst. ``directions`` (n, c) are unit rows, n >= k.
    ``library``: ``numpy``, or ``faiss`` from the same starts. Raises ``ConfigurationError`` without that extra.
    """
    descend = _descend_with_faiss if library == "faiss" else _descend
    fits = []
    for i in range(initialisations):
        rng = np.random.default_rng([*np.atleast_1d(seed), i])
        fits.append(descend(directions, _seeds(directions, k, rng)))
    centroids, objective = max(fits, key=lambda fit: fit[1])
    sizes = np.bincount(nearest(directions, centroids)[0], minlength=k)
    return centroids[np.argsort(-sizes, kind="stable")], objective


def _seeds(x: NDArray[np.float32], k: int, rng: np.random.Generator) -> NDArray[np.float32]:
    seeding = x if len(x) <= _SEEDING_ROWS else x[rng.choice(len(x), _SEEDING_ROWS, replace=False)]
    return unit_rows(kmeans_plusplus(seeding, k, random_state=int(rng.integers(2**31)))[0])


def _descend(x: NDArray[np.float32], centroids: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    k = len(centroids)
    previous = -np.inf
    for _ in range(_MAX_ITERATIONS):
        labels, cosine = nearest(x, centroids)
        objective = float(cosine.mean(dtype=np.float64))
        if objective - previous <= _TOLERANCE:
            break
        previous = objective
        members = labels[:, None] == np.arange(k, dtype=np.int16)
        sums = members.T.astype(np.float32) @ x
        empty = np.flatnonzero(~members.any(axis=0))
        if len(empty):
            sums[empty] = x[np.argsort(cosine, kind="stable")[: len(empty)]]
        centroids = unit_rows(sums)
    return centroids, objective


def _descend_with_faiss(x: NDArray[np.float32], centroids: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    try:
        import faiss
    except ImportError as error:
        raise ConfigurationError(
            "discovery.kmeans = faiss needs the extra of that name: pip install 'ecgconsole[faiss]', or set it to numpy"
        ) from error
    faiss.omp_set_num_threads(1)  # of the calling thread: half-splits have a thread each
    kmeans = faiss.Kmeans(
        x.shape[1],
        len(centroids),
        niter=_MAX_ITERATIONS,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=len(x),  # it would draw a sample otherwise
    )
    kmeans.train(x, init_centroids=centroids)
    found = unit_rows(np.asarray(kmeans.centroids))
    return found, float(nearest(x, found)[1].mean(dtype=np.float64))
