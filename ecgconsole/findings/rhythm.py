"""Patterns beside the rhythm that people wrote down: which are known, which no chart explains."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from ecgconsole.dataset.rhythm_labels import read_intervals, rhythm_of_charts, rhythm_of_segments
from ecgconsole.findings.inputs import SPLITS, Segments

__all__ = ["known_rhythm", "read_intervals", "rhythm_of_charts", "rhythm_of_segments"]


def known_rhythm(
    pattern: NDArray, patient: NDArray, rhythm: NDArray, training: NDArray, names: list[str], k: int
) -> list[dict[str, Any]]:
    """For each pattern, its rhythm by the charts of training patients.

    ``name`` is the majority rhythm of its labelled training segments if that is more than half of
    them, else ``unexplained by charted rhythm``; None without labels. ``lift`` compares the share
    with the rhythm's share among all labelled training segments.
    """
    known = training & (rhythm >= 0)
    base = np.bincount(rhythm[known], minlength=len(names)) / max(1, int(known.sum()))
    found: list[dict[str, Any]] = []
    for j in range(k):
        rows = known & (pattern == j)
        total = int(rows.sum())
        if not total:
            found.append({"name": None, "labelled_segments": 0, "labelled_patients": 0, "shares": {}})
            continue
        share = np.bincount(rhythm[rows], minlength=len(names)) / total
        top = int(np.argmax(share))
        found.append(
            {
                "name": names[top] if share[top] > 0.5 else "unexplained by charted rhythm",
                "nearest": names[top],
                "share": float(share[top]),
                "lift": float(share[top] / base[top]),
                "labelled_segments": total,
                "labelled_patients": len(np.unique(patient[rows])),
                "shares": {name: float(s) for name, s in zip(names, share, strict=True) if s > 0},
            }
        )
    return found


def held_out_enrichment(
    rows: NDArray, of_rhythm: NDArray, patient: NDArray, repetitions: int, rng: np.random.Generator
) -> dict[str, Any]:
    """How much commoner a rhythm is in a pattern than out of it, on people who did not name the pattern.

    Of labelled segments of held-out people, all (n,): ``rows`` those in the pattern, ``of_rhythm`` those of
    the rhythm, ``patient`` codes. ``lift`` is the rhythm's share in the pattern over its share in all of
    them; its interval (percentile) redraws people with replacement. Samples without the rhythm say nothing.
    """
    codes = np.unique(patient, return_inverse=True)[1]
    people = int(codes.max(initial=-1)) + 1

    def by_person(chosen: NDArray) -> NDArray:
        return np.bincount(codes[chosen], minlength=people)

    sums = np.stack([by_person(rows & of_rhythm), by_person(rows), by_person(of_rhythm), by_person(np.ones_like(rows))])
    weights = np.ones((1, people))
    if people:
        weights = np.concatenate([weights, rng.multinomial(people, np.full(people, 1 / people), size=repetitions)])
    both, inside, rhythm, total = (sums @ weights.T).astype(np.float64)
    possible = inside * rhythm > 0
    lifts = np.divide(both * total, inside * rhythm, out=np.full(len(weights), np.nan), where=possible)
    drawn = lifts[1:][possible[1:]]
    low, high = (float(q) for q in np.quantile(drawn, [0.025, 0.975])) if len(drawn) and possible[0] else (None, None)
    return {
        "segments": int(inside[0]),
        "people": int(np.count_nonzero(sums[1])),
        "people_with_rhythm": int(np.count_nonzero(sums[2])),
        "share": float(both[0] / inside[0]) if inside[0] else None,
        "lift": float(lifts[0]) if possible[0] else None,
        "ci_low": low,
        "ci_high": high,
    }


def agreement(
    pattern: NDArray, rhythm: NDArray, segments: Segments, found: list[dict[str, Any]], names: list[str]
) -> dict[str, Any]:
    """Patterns named on training people against the rhythm of each split's people: ARI, NMI, share right."""
    code_of_name = {name: code for code, name in enumerate(names)}
    named = np.array([code_of_name.get(str(f["name"]), -1) for f in found])[pattern]
    result: dict[str, Any] = {}
    for split in SPLITS:
        rows = segments.in_split(split) & (rhythm >= 0)
        if not rows.any():
            result[split] = None
            continue
        result[split] = {
            "segments": int(rows.sum()),
            "patients": len(np.unique(segments.patient[rows])),
            "ari": float(adjusted_rand_score(rhythm[rows], named[rows])),
            "nmi": float(normalized_mutual_info_score(rhythm[rows], named[rows])),
            "share_right": float(np.mean(rhythm[rows] == named[rows])),
        }
    return result
