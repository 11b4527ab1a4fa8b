"""Is a pattern a rhythm, or a person? How much of the embedding is who the patient is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

_BLOCK = 2048


def patient_information(labels: NDArray, patient: NDArray, rng: np.random.Generator) -> dict[str, float]:
    """Mutual information of pattern and patient, both (n,): normalised, its mean under shuffled labels, adjusted.

    Normalised mutual information rises with the number of patients even for random labels: read it
    against ``nmi_null``; ``ami`` has that subtracted (Vinh et al., JMLR 11 (2010) 2837).
    """
    null = [normalized_mutual_info_score(patient, rng.permutation(labels)) for _ in range(10)]
    return {
        "nmi": float(normalized_mutual_info_score(patient, labels)),
        "nmi_null": float(np.mean(null)),
        "ami": float(adjusted_mutual_info_score(patient, labels)),
    }


def same_patient_purity(directions: NDArray[np.float32], patient: NDArray) -> dict[str, float]:
    """Share of segments whose nearest other segment by cosine is of the same patient, and that of a random one.

    ``directions`` (n, c) unit rows, ``patient`` (n,).
    """
    n = len(directions)
    same = 0
    for first in range(0, n, _BLOCK):
        cosines = directions[first : first + _BLOCK] @ directions.T
        rows = np.arange(len(cosines))
        cosines[rows, first + rows] = -np.inf
        same += int(np.sum(patient[np.argmax(cosines, axis=1)] == patient[first + rows]))
    sizes = np.unique(patient, return_counts=True)[1].astype(float)
    return {"purity": same / n, "purity_null": float(np.sum(sizes * (sizes - 1)) / (n * max(n - 1, 1)))}


def centred_by_patient(embeddings: NDArray, patient: NDArray) -> NDArray[np.float32]:
    """Embeddings (n, d) minus their patient's mean: what is left when it no longer says who."""
    codes = np.unique(patient, return_inverse=True)[1]
    sizes = np.bincount(codes)
    sums = np.zeros((len(sizes), embeddings.shape[1]))
    np.add.at(sums, codes, embeddings)
    return (embeddings - (sums / sizes[:, None])[codes]).astype(np.float32)


def confounding(directions: NDArray, labels: NDArray, patient: NDArray, rng: np.random.Generator) -> dict[str, Any]:
    """Both figures for one view of the segments (raw or patient-centred), with the sample's size."""
    return {
        "segments": len(labels),
        "patients": len(np.unique(patient)),
        **patient_information(labels, patient, rng),
        **same_patient_purity(directions, patient),
    }
