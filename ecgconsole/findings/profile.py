"""What a pattern is: whose segments it holds, how they beat, which of them to look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from ecgconsole.config import DiscoveryConfig
from ecgconsole.findings.balance import effective_patients

# Columns of signal quality that no rhythm changes, and on which side the poor ones lie.
POOR_WHEN_HIGH = ("missing_share", "flat_share", "clipped_share", "baseline_share", "noise_share")


def segment_counts(pattern: NDArray, patient: NDArray, k: int, n_patients: int) -> NDArray[np.int64]:
    """Segments of each patient in each pattern, (patients, k)."""
    cell = patient.astype(np.int64) * k + pattern
    return np.bincount(cell, minlength=n_patients * k).reshape(n_patients, k)


def shares(counts: NDArray) -> dict[str, Any]:
    """Segments, patients, effective patients and the largest patient's share of one pattern's counts (patients,)."""
    total = int(counts.sum())
    return {
        "segments": total,
        "patients": int(np.count_nonzero(counts)),
        "effective_patients": effective_patients(counts),
        "largest_share": float(counts.max() / total) if total else None,
    }


def classify(found: Mapping[str, Any], poor_share: float | None, config: DiscoveryConfig) -> str:
    """``pattern``, ``patient-specific`` or ``artefact``, by the figures of ``shares``.

    ``poor_share``: the share of the cluster's segments among the tenth of all segments with the
    poorest signal; None where no quality is known, and then nothing is called artefact.
    """
    if poor_share is not None and poor_share > config.artefact_quality:
        return "artefact"
    shared = (
        found["segments"] > 0
        and found["patients"] >= config.min_patients
        and found["effective_patients"] >= config.min_effective_patients
        and found["largest_share"] <= config.max_patient_share
    )
    return "pattern" if shared else "patient-specific"


def poor_segments(quality: Mapping[str, NDArray]) -> NDArray[np.bool_] | None:
    """The tenth of the segments (n,) with the poorest signal, by mean rank over ``POOR_WHEN_HIGH``; None without them.

    A column counts if its name ends so (``ecg_flat_share``). Segments that tie with the border are not poor.
    """
    ranks = [
        rankdata(np.where(np.isfinite(values), values, -np.inf)) / len(values)
        for name, values in sorted(quality.items())
        if name.endswith(POOR_WHEN_HIGH) and len(values)
    ]
    if not ranks:
        return None
    badness = np.mean(ranks, axis=0)
    return badness > np.quantile(badness, 0.9)


def column_profiles(
    columns: Mapping[str, NDArray],
    pattern: NDArray,
    patient: NDArray,
    counts: NDArray,
    repetitions: int,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """For each pattern, each column's level with a patient-bootstrap interval and its spread over segments.

    ``value`` is the mean over patients of the patient's mean within the pattern, so long recordings
    do not outweigh others; ``ci_low`` and ``ci_high`` are the 2.5 and 97.5 percentiles over patients
    redrawn with replacement. ``p10``, ``p50``, ``p90`` are over segments. Not-a-number values are
    left out. ``counts`` (patients, k) as of ``segment_counts``.
    """
    n_patients, k = counts.shape
    cell = patient.astype(np.int64) * k + pattern
    order = np.argsort(pattern, kind="stable")
    borders = np.searchsorted(pattern[order], np.arange(k + 1))
    profiles: list[dict[str, Any]] = [{} for _ in range(k)]
    for name, values in columns.items():
        known = np.isfinite(values)
        sums = np.bincount(cell[known], weights=values[known].astype(np.float64), minlength=n_patients * k)
        sizes = np.bincount(cell[known], minlength=n_patients * k)
        means = np.divide(sums, sizes, out=np.full(len(sums), np.nan), where=sizes > 0).reshape(n_patients, k)
        for j in range(k):
            levels = means[~np.isnan(means[:, j]), j]
            members = values[order[borders[j] : borders[j + 1]]]
            members = members[np.isfinite(members)]
            profiles[j][name] = _level(levels, members, repetitions, rng)
    return profiles


def _level(levels: NDArray, members: NDArray, repetitions: int, rng: np.random.Generator) -> dict[str, Any]:
    if len(levels) == 0:
        return {"value": None, "ci_low": None, "ci_high": None, "patients": 0, "p10": None, "p50": None, "p90": None}
    low = high = None
    if len(levels) > 1:
        weights = rng.multinomial(len(levels), np.full(len(levels), 1 / len(levels)), size=repetitions)
        low, high = (float(q) for q in np.quantile(weights @ levels / len(levels), [0.025, 0.975]))
    p10, p50, p90 = (float(q) for q in np.quantile(members, [0.1, 0.5, 0.9]))
    return {
        "value": float(levels.mean()),
        "ci_low": low,
        "ci_high": high,
        "patients": len(levels),
        "p10": p10,
        "p50": p50,
        "p90": p90,
    }


def representatives(
    similarity: NDArray, patient: NDArray, rows: NDArray, number: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Medoids and typical segments among ``rows`` (m,) of one pattern, as rows.

    The segment with the largest cosine to the sum of unit vectors has the smallest sum of cosine
    distances to them all: the medoid. The next ones are other patients' best. Typical segments
    stand at the quartiles of that cosine.
    """
    ordered = rows[np.argsort(-similarity[rows], kind="stable")]
    _, first = np.unique(patient[ordered], return_index=True)
    medoids = ordered[np.sort(first)[:number]]
    positions = np.round(np.array([0.25, 0.5, 0.75]) * max(len(ordered) - 1, 0)).astype(int)
    return medoids, ordered[np.unique(positions)] if len(ordered) else ordered


def transitions(
    pattern: NDArray, patient: NDArray, record: NDArray, start_seconds: NDArray, gap_seconds: float, k: int
) -> dict[str, Any]:
    """How patterns follow each other in a patient's time: counts (k, k) of consecutive segments, and shares by row.

    Consecutive: neighbours in one record whose starts are at most ``gap_seconds`` apart.
    """
    order = np.lexsort((start_seconds, record))
    earlier, later = order[:-1], order[1:]
    follows = (record[earlier] == record[later]) & (start_seconds[later] - start_seconds[earlier] <= gap_seconds)
    earlier, later = earlier[follows], later[follows]
    counts = np.bincount(pattern[earlier].astype(np.int64) * k + pattern[later], minlength=k * k).reshape(k, k)
    totals = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    return {
        "gap_seconds": gap_seconds,
        "pairs": len(earlier),
        "patients": len(np.unique(patient[earlier])),
        "counts": counts.tolist(),
        "probabilities": [row.tolist() if total else None for row, total in zip(share, totals[:, 0], strict=True)],
    }
