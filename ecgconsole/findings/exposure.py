"""When a patient counts as exposed to a pattern, and among whom it is fair to compare."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def exposed(counts: NDArray, share: float, minimum: int) -> NDArray[np.bool_]:
    """Exposure (..., k) of patients with ``counts`` (..., k) segments: at least ``share`` of them, and ``minimum``."""
    return (counts >= share * counts.sum(axis=-1, keepdims=True)) & (counts >= minimum)


def fixed_exposure(
    counts: NDArray, segments: int, share: float, minimum: int, repetitions: int, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Exposure when each patient is seen for the same number of ``segments``.

    Who is monitored longer is sicker, and has more chances to show any pattern. Returns which
    patients have enough segments (p,), and their exposure in each draw without replacement
    (repetitions, enough, k).
    """
    enough = counts.sum(axis=1) >= segments
    drawn = [rng.multivariate_hypergeometric(row, segments, size=repetitions) for row in counts[enough]]
    stacked = np.stack(drawn, axis=1) if drawn else np.zeros((repetitions, 0, counts.shape[1]), int)
    return enough, exposed(stacked, share, minimum)


def strata(
    age_years: NDArray, sex: Sequence[str | None], segments: NDArray, age_bands: Sequence[float]
) -> NDArray[np.int64]:
    """Stratum (p,) of each patient: age band, sex, tertile of the number of segments; unknown is a band of its own."""
    band = np.where(np.isnan(age_years), -1, np.searchsorted(np.asarray(age_bands), age_years, side="right"))
    sex_code = pd.factorize(pd.Series(list(sex), dtype="object"), sort=True)[0]
    tertile = np.searchsorted(np.quantile(segments, [1 / 3, 2 / 3]), segments, side="left") if len(segments) else band
    return np.unique(np.stack([band, sex_code, tertile]), axis=1, return_inverse=True)[1].reshape(-1)
