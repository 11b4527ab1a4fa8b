"""Embeddings in two dimensions, to be looked at: PCA always, UMAP with its extra. Fitted on training people alone."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgconsole.errors import ConfigurationError

PIECE_ROWS = 8192
_UMAP_SEGMENTS = 20_000


@dataclass(frozen=True)
class Pca:
    """``mean`` (D,), ``components`` (2, D) and the share of the variance along each, (2,)."""

    mean: NDArray[np.float64]
    components: NDArray[np.float64]
    explained_share: NDArray[np.float64]

    def project(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, D) to (n, 2)."""
        return ((embeddings - self.mean) @ self.components.T).astype(np.float32)


def fit_pca(embeddings: NDArray[np.float32], rows: NDArray[np.int64]) -> Pca:
    """The two directions along which ``embeddings[rows]`` vary most, read in pieces; without rows, zeros.

    Each points to where its largest coefficient is positive, so that a picture does not flip from run to run.
    """
    dimensions = embeddings.shape[1]
    n = max(len(rows), 1)
    mean, covariance = np.zeros(dimensions), np.zeros((dimensions, dimensions))
    for low in range(0, len(rows), PIECE_ROWS):
        mean += embeddings[rows[low : low + PIECE_ROWS]].sum(0, dtype=np.float64)
    mean /= n
    for low in range(0, len(rows), PIECE_ROWS):
        centred = embeddings[rows[low : low + PIECE_ROWS]] - mean
        covariance += centred.T @ centred
    covariance /= n
    variance, vectors = np.linalg.eigh(covariance)
    components = vectors[:, ::-1][:, :2].T
    largest = components[np.arange(len(components)), np.abs(components).argmax(1)]
    components = components * np.where(largest < 0, -1.0, 1.0)[:, None]
    share = variance[::-1][:2] / max(variance.sum(), 1e-12)
    return Pca(mean, components, share)


def require_umap() -> None:
    """Raises ``ConfigurationError`` where UMAP is not installed: before the work, not after it."""
    if importlib.util.find_spec("umap") is None:
        raise ConfigurationError("embedding.umap needs the extra umap: pip install 'ecgconsole[umap]'")


def fit_umap(
    embeddings: NDArray[np.float32], rows: NDArray[np.int64]
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """A map of (n, D) to (n, 2) fitted on at most 20,000 of ``rows``, evenly taken; seeded, on one thread."""
    import umap

    taken = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _UMAP_SEGMENTS)).astype(np.int64))]
    reducer = umap.UMAP(n_components=2, metric="cosine", random_state=0, n_jobs=1)
    reducer.fit(embeddings[taken])
    return lambda values: reducer.transform(values).astype(np.float32)
