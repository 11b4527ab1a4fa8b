"""A ridge logistic model of risk: fitted, applied, written down as numbers, and predicted out of fold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

_MAX_ITERATIONS = 200


@dataclass(frozen=True)
class RiskModel:
    """Coefficients on standardised features; all arrays (features,). ``c`` is the inverse strength of the ridge."""

    features: tuple[str, ...]
    median: NDArray[np.float64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    coefficient: NDArray[np.float64]
    intercept: float
    c: float

    def risk(self, values: NDArray) -> NDArray[np.float64]:
        """Risk (n,) of patients with ``values`` (n, features); not-a-number is replaced by the training median."""
        x = (np.where(np.isnan(values), self.median, values) - self.mean) / self.deviation
        return np.asarray(1 / (1 + np.exp(-(x @ self.coefficient + self.intercept))))

    def to_json(self) -> dict[str, Any]:
        return {
            "features": list(self.features),
            "median": self.median.tolist(),
            "mean": self.mean.tolist(),
            "deviation": self.deviation.tolist(),
            "coefficient": self.coefficient.tolist(),
            "intercept": self.intercept,
            "c": self.c,
        }


def model_from_json(data: dict[str, Any]) -> RiskModel:
    """The inverse of ``to_json``. Raises ``KeyError``, ``TypeError`` or ``ValueError`` on anything else."""
    features = tuple(str(name) for name in data["features"])
    arrays = {n: np.asarray(data[n], np.float64) for n in ("median", "mean", "deviation", "coefficient")}
    if any(a.shape != (len(features),) or not np.isfinite(a).all() for a in arrays.values()):
        raise ValueError("its numbers do not match its features")
    return RiskModel(features=features, intercept=float(data["intercept"]), c=float(data["c"]), **arrays)


def fit(
    features: Sequence[str],
    values: NDArray,
    outcome: NDArray,
    penalties: Sequence[float],
    inner_folds: int,
    seed: list[int],
) -> RiskModel:
    """Ridge logistic regression whose penalty is chosen by log loss over folds inside the given patients.

    ``values`` (n, features) with not-a-number where unknown, ``outcome`` 0 or 1 (n,), both classes present.
    """
    known = ~np.isnan(values)
    median = np.array([np.median(v[k]) if k.any() else 0.0 for v, k in zip(values.T, known.T, strict=True)])
    filled = np.where(known, values, median)
    mean, deviation = filled.mean(axis=0), filled.std(axis=0)
    deviation = np.where(deviation > 1e-12, deviation, 1.0)
    x = (filled - mean) / deviation
    c = _choose_c(x, outcome, penalties, inner_folds, seed)
    coefficient, intercept = _logistic(x, outcome, c)
    return RiskModel(tuple(features), median, mean, deviation, coefficient, intercept, c)


def _choose_c(x: NDArray, outcome: NDArray, penalties: Sequence[float], inner_folds: int, seed: list[int]) -> float:
    folds = min(inner_folds, int(outcome.sum()), int((1 - outcome).sum()))
    if folds < 2 or len(penalties) == 1:
        return float(min(penalties))
    state = int(np.random.default_rng(seed).integers(2**31))
    splits = list(StratifiedKFold(folds, shuffle=True, random_state=state).split(x, outcome))
    losses = []
    for c in sorted(penalties):
        held_out = np.concatenate(
            [_log_loss(*_logistic(x[train], outcome[train], c), x[test], outcome[test]) for train, test in splits]
        )
        losses.append(held_out.mean())
    return float(sorted(penalties)[int(np.argmin(losses))])


def _logistic(x: NDArray, outcome: NDArray, c: float) -> tuple[NDArray, float]:
    # Thousands of small fits: scikit-learn's checks of parameters and values cost more than fitting.
    with config_context(skip_parameter_validation=True, assume_finite=True):
        model = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-8, max_iter=_MAX_ITERATIONS).fit(x, outcome)
    return model.coef_[0], float(model.intercept_[0])


def _log_loss(coefficient: NDArray, intercept: float, x: NDArray, outcome: NDArray) -> NDArray[np.float64]:
    """Minus the log likelihood of each patient (n,)."""
    return np.asarray(np.logaddexp(0, (1 - 2 * outcome) * (x @ coefficient + intercept)))


def outer_folds(outcome: NDArray, folds: int, repetitions: int, seed: int) -> NDArray[np.int8]:
    """Fold of each patient in each repetition (repetitions, n), stratified by outcome.

    A row is a patient, so folds of rows share no patient. ``folds`` is at most the size of the smaller class.
    """
    result = np.zeros((repetitions, len(outcome)), np.int8)
    for r in range(repetitions):
        state = int(np.random.default_rng([seed, r]).integers(2**31))
        splitter = StratifiedKFold(folds, shuffle=True, random_state=state)
        for number, (_, test) in enumerate(splitter.split(np.zeros(len(outcome)), outcome)):
            result[r, test] = number
    return result


def out_of_fold(
    features: Sequence[str],
    values: NDArray,
    outcome: NDArray,
    folds: NDArray,
    penalties: Sequence[float],
    inner_folds: int,
    seed: int,
) -> Iterator[NDArray[np.float64]]:
    """Risks (n,) of one repetition after the other, each patient's from a model that never saw that patient."""
    for r, fold in enumerate(folds):
        risk = np.empty(len(outcome))
        for number in np.unique(fold):
            test = fold == number
            model = fit(features, values[~test], outcome[~test], penalties, inner_folds, [seed, r, int(number)])
            risk[test] = model.risk(values[test])
        yield risk
