"""How well predicted risks separate, match and help: measures with weights, so that patients can be redrawn.

``outcome`` is 0 or 1 (n,), ``risk`` (n,), ``weights`` (b, n) how often each patient is in each of b
samples; results are (b,), not-a-number where a sample has one class only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import statsmodels.api as sm
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_confint

_EDGE = 1e-6


def bootstrap_weights(patients: int, repetitions: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Weights (repetitions + 1, patients): first the sample itself, then samples redrawn with replacement."""
    drawn = rng.multinomial(patients, np.full(patients, 1 / patients), size=repetitions)
    return np.concatenate([np.ones((1, patients)), drawn])


def _by_threshold(outcome: NDArray, risk: NDArray, weights: NDArray) -> tuple[NDArray, NDArray]:
    """Weight of events and of non-events (b, thresholds) at each distinct risk, from the highest down."""
    order = np.argsort(-risk, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(risk[order]) != 0])
    ordered, event = weights[:, order], outcome[order].astype(np.float64)
    return (
        np.add.reduceat(ordered * event, starts, axis=1),
        np.add.reduceat(ordered * (1 - event), starts, axis=1),
    )


def auroc(outcome: NDArray, risk: NDArray, weights: NDArray) -> NDArray[np.float64]:
    """Area under the ROC curve (b,): the chance that an event has the higher risk, ties counting half."""
    events, others = _by_threshold(outcome, risk, weights)
    total_events, total_others = events.sum(axis=1), others.sum(axis=1)
    below = total_others[:, None] - np.cumsum(others, axis=1)
    won = (events * (below + others / 2)).sum(axis=1)
    pairs = total_events * total_others
    return np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def auprc(outcome: NDArray, risk: NDArray, weights: NDArray) -> NDArray[np.float64]:
    """Average precision (b,), as ``sklearn.metrics.average_precision_score``; chance level is the prevalence."""
    events, others = _by_threshold(outcome, risk, weights)
    true, flagged = np.cumsum(events, axis=1), np.cumsum(events + others, axis=1)
    precision = np.divide(true, flagged, out=np.zeros_like(true), where=flagged > 0)
    total = true[:, -1]
    both = (total > 0) & (flagged[:, -1] > total)
    return np.divide((events * precision).sum(axis=1), total, out=np.full(len(weights), np.nan), where=both)


def brier(outcome: NDArray, risk: NDArray, weights: NDArray) -> NDArray[np.float64]:
    """Mean squared difference of risk and outcome (b,)."""
    return np.asarray(weights @ (risk - outcome) ** 2 / weights.sum(axis=1))


def logit(risk: NDArray) -> NDArray[np.float64]:
    clipped = np.clip(risk, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(clipped / (1 - clipped)))


def calibration(outcome: NDArray, risk: NDArray) -> dict[str, tuple[float, float]]:
    """Calibration slope and calibration in the large, each with its standard error.

    Slope: logistic regression of the outcome on the logit of risk (1 is right, below 1 overfitted).
    In the large: its intercept with the slope held at 1 (0 is right). Van Calster et al., BMC Medicine
    17 (2019) 230. Risks that do not differ have no slope (not-a-number).
    """
    x = logit(risk)
    slope = (float("nan"), float("nan"))
    if np.ptp(x) > 1e-9:
        fit = sm.GLM(outcome, sm.add_constant(x), family=sm.families.Binomial()).fit()
        slope = (float(fit.params[1]), float(fit.bse[1]))
    large = sm.GLM(outcome, np.ones((len(x), 1)), family=sm.families.Binomial(), offset=x).fit()
    return {"slope": slope, "in_the_large": (float(large.params[0]), float(large.bse[0]))}


def calibration_curve(outcome: NDArray, risk: NDArray, bins: int) -> list[dict[str, Any]]:
    """Groups of equal size by risk: mean risk, observed share with its Wilson interval, patients."""
    points = []
    for rows in np.array_split(np.argsort(risk, kind="stable"), min(bins, len(risk))):
        events = int(outcome[rows].sum())
        low, high = proportion_confint(events, len(rows), method="wilson")
        points.append(
            {
                "patients": len(rows),
                "events": events,
                "mean_risk": float(risk[rows].mean()),
                "observed": events / len(rows),
                "ci_low": float(low),
                "ci_high": float(high),
            }
        )
    return points


def net_benefit(outcome: NDArray, risk: NDArray, threshold: float) -> float:
    """Net benefit of treating those at or above ``threshold``: TP/n - FP/n x t/(1 - t).

    Vickers & Elkin, Medical Decision Making 26 (2006) 565.
    """
    treated = risk >= threshold
    true, false = np.sum(treated & (outcome == 1)), np.sum(treated & (outcome == 0))
    return float((true - false * threshold / (1 - threshold)) / len(outcome))
