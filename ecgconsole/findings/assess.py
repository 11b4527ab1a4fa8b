"""Risk models of growing knowledge on one table of patients: estimated, compared, or said to be not estimable."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgconsole.config import StrokeConfig
from ecgconsole.findings import performance, risk
from ecgconsole.findings.features import ENDPOINTS, MODELS, Endpoint, features_of, outcome_of
from ecgconsole.findings.sample_size import affordable_parameters, minimum_patients
from ecgconsole.stage import Reporter, Stop

LIMITS = (
    "Internal validation only: the same hospital, the same years. Nothing is known of other places.",
    "Intervals come from patients redrawn with replacement and leave out that the model would be fitted anew: they are "
    "somewhat too narrow.",
    "Outcomes are discharge codes and the deaths that the tables know.",
    "A concurrent stroke is coded at discharge for the whole stay: it may have come before the recording.",
    "The encoder and its components were fitted on the training patients of the split, without labels; models with "
    "embedding components may look slightly better on those patients than on new ones.",
    "Not a medical device. Not for decisions about any patient.",
)
MEASURES: dict[str, Callable[[NDArray, NDArray, NDArray], NDArray]] = {
    "auroc": performance.auroc,
    "auprc": performance.auprc,
    "brier": performance.brier,
}


def assess(
    table: pd.DataFrame,
    values: pd.DataFrame,
    missing: dict[str, str],
    settings: StrokeConfig,
    reporter: Reporter,
    stop: Stop,
) -> tuple[dict[str, Any], dict[str, Any], pd.DataFrame]:
    """The report, the fitted models as JSON, and a row of predictions for each patient, endpoint and model."""
    endpoints: dict[str, Any] = {}
    fitted: dict[str, Any] = {}
    predictions: list[pd.DataFrame] = []
    total = len(ENDPOINTS) * len(MODELS) * settings.repetitions
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        reporter.progress(done, total, "cross-validations")
        stop.wait_while_paused()
        stop.raise_if_requested("nothing of this stage, which takes minutes and starts again")

    reporter.progress(0, total, "cross-validations")
    for number, endpoint in enumerate(ENDPOINTS):
        outcome = outcome_of(table, endpoint.label)
        found = _endpoint(endpoint, table, values, missing, outcome, settings, step)
        fitted[endpoint.name] = found.pop("fitted", {})
        predictions += found.pop("predictions", [])
        endpoints[endpoint.name] = found
        done = (number + 1) * len(MODELS) * settings.repetitions
        reporter.progress(done, total, "cross-validations")
    columns = ["patient_id", "endpoint", "model", "outcome", "final"]
    report = {
        "format_version": 1,
        "parameters": settings.model_dump(mode="json"),
        "patients": len(table),
        "missing_features": missing,
        "endpoints": endpoints,
        "limits": list(LIMITS),
    }
    models = {"format_version": 1, "not_a_medical_device": LIMITS[-1], "endpoints": fitted}
    frame = pd.concat(predictions, ignore_index=True) if predictions else pd.DataFrame(columns=columns)
    return report, models, frame


def not_estimable(outcome: NDArray, settings: StrokeConfig) -> str | None:
    """Why an outcome of 0 and 1 (n,) carries no estimate; None if it does."""
    events = int(outcome.sum())
    others = len(outcome) - events
    if len(outcome) == 0:
        return "the outcome is known for no patient"
    if min(events, others) < settings.min_events:
        return (
            f"{events} events and {others} without among {len(outcome)} patients; {settings.min_events} of each needed"
        )
    if min(events, others) < settings.folds:
        return f"{min(events, others)} of the rarer outcome cannot stand in each of {settings.folds} folds"
    return None


def _endpoint(
    endpoint: Endpoint,
    table: pd.DataFrame,
    values: pd.DataFrame,
    missing: dict[str, str],
    outcome: NDArray,
    settings: StrokeConfig,
    step: Callable[[], None],
) -> dict[str, Any]:
    rows = ~np.isnan(outcome)
    y = outcome[rows].astype(np.int64)
    report: dict[str, Any] = {
        "status": "estimated",
        "reason": None,
        "meaning": endpoint.meaning,
        "label": endpoint.label,
        "events": int(y.sum()),
        "patients": len(y),
        "unknown": int((~rows).sum()),
        "prevalence": float(y.mean()) if len(y) else None,
        "models": [],
    }
    reason = f"no column {endpoint.label}" if endpoint.label not in table else not_estimable(y, settings)
    if reason is not None:
        return {**report, "status": "not estimable", "reason": reason}
    x, ids = values[rows], table.index[rows]
    folds = risk.outer_folds(y, settings.folds, settings.repetitions, settings.seed)
    weights = performance.bootstrap_weights(
        len(y), settings.bootstrap_repetitions, np.random.default_rng([settings.seed, 1])
    )
    known = [name for name in x if x[name].notna().any()]
    samples: dict[str, dict[str, NDArray]] = {}
    report.update(fitted={}, predictions=[])
    out_of_fold: NDArray | None = None
    for model, _ in MODELS:
        names, why = features_of(model, known, missing)
        if why is not None:
            report["models"].append({"name": model, "status": "not estimable", "reason": why})
            continue
        risks = []
        numbers = x[names].to_numpy(np.float64)
        for predicted in risk.out_of_fold(
            names, numbers, y, folds, settings.penalties, settings.inner_folds, settings.seed
        ):
            risks.append(predicted)
            step()
        out_of_fold = np.stack(risks)
        final = risk.fit(names, numbers, y, settings.penalties, settings.inner_folds, [settings.seed, 2])
        samples[model] = {name: _resampled(f, y, out_of_fold, weights) for name, f in MEASURES.items()}
        report["models"].append(_model(model, names, y, out_of_fold, samples[model], settings, final))
        report["fitted"][model] = final.to_json()
        report["predictions"].append(_predictions(ids, endpoint.name, model, y, out_of_fold, final.risk(numbers)))
    if not samples:
        return {**report, "status": "not estimable", "reason": "no model has a feature to see"}
    report["differences"] = _differences(samples)
    report["subgroups"] = _subgroups(table[rows], y, report["predictions"], settings)
    parameters = max(len(m["features"]) for m in report["models"] if m["status"] == "estimated")
    report["sample_size"] = _sample_size(parameters, len(y), float(y.mean()))
    return report


def _resampled(measure: Callable, y: NDArray, out_of_fold: NDArray, weights: NDArray) -> NDArray[np.float64]:
    """A measure in each bootstrap sample (b,), mean over the repetitions of the cross-validation."""
    return np.asarray(np.mean([measure(y, predicted, weights) for predicted in out_of_fold], axis=0))


def _interval(sample: NDArray) -> list[float]:
    return [float(v) for v in np.nanquantile(sample[1:], [0.025, 0.975])]


def _model(
    name: str,
    features: list[str],
    y: NDArray,
    out_of_fold: NDArray,
    sample: dict[str, NDArray],
    settings: StrokeConfig,
    final: risk.RiskModel,
) -> dict[str, Any]:
    mean_risk = out_of_fold.mean(axis=0)
    prevalence = float(y.mean())
    calibrations = [performance.calibration(y, predicted) for predicted in out_of_fold]
    slope, slope_se = np.mean([c["slope"] for c in calibrations], axis=0)
    large, large_se = np.mean([c["in_the_large"] for c in calibrations], axis=0)
    brier = float(sample["brier"][0])
    return {
        "name": name,
        "status": "estimated",
        "features": features,
        "auroc": float(sample["auroc"][0]),
        "ci": _interval(sample["auroc"]),
        "auprc": float(sample["auprc"][0]),
        "auprc_ci": _interval(sample["auprc"]),
        "brier": brier,
        "brier_ci": _interval(sample["brier"]),
        "scaled_brier": 1 - brier / (prevalence * (1 - prevalence)),
        "calibration_slope": _finite(slope),
        "calibration_slope_ci": [_finite(slope - 1.96 * slope_se), _finite(slope + 1.96 * slope_se)],
        "calibration_in_the_large": _finite(large),
        "calibration_in_the_large_ci": [_finite(large - 1.96 * large_se), _finite(large + 1.96 * large_se)],
        "calibration_curve": performance.calibration_curve(y, mean_risk, settings.calibration_bins),
        "decision_curve": [
            {
                "threshold": t,
                "model": float(np.mean([performance.net_benefit(y, p, t) for p in out_of_fold])),
                "treat_all": performance.net_benefit(y, np.ones(len(y)), t),
                "treat_none": 0.0,
            }
            for t in settings.thresholds
        ],
        "penalty_c": final.c,
        "coefficients_per_sd": dict(zip(features, final.coefficient.tolist(), strict=True)),
    }


def _predictions(
    ids: pd.Index, endpoint: str, model: str, y: NDArray, out_of_fold: NDArray, final: NDArray
) -> pd.DataFrame:
    frame = pd.DataFrame({"patient_id": ids, "endpoint": endpoint, "model": model, "outcome": y, "final": final})
    for r, predicted in enumerate(out_of_fold):
        frame[f"out_of_fold_{r + 1}"] = predicted
    return frame


def _differences(samples: dict[str, dict[str, NDArray]]) -> list[dict[str, Any]]:
    """Each model against the one before it, on the same redrawn patients.

    A gain must leave a model that is itself better than chance: out of fold, models of noise lie at or
    below an AUROC of 0.5, and one of them beats another now and then (4 % of 120 comparisons of noise; with
    this condition 1 %).
    """
    names = list(samples)
    found = []
    for earlier, later in pairwise(names):
        row: dict[str, Any] = {"from": earlier, "to": later}
        for measure in MEASURES:
            difference = samples[later][measure] - samples[earlier][measure]
            row[measure], row[f"{measure}_ci"] = float(difference[0]), _interval(difference)
        low, high = row["auroc_ci"]
        better = low > 0 and _interval(samples[later]["auroc"])[0] > 0.5
        row["verdict"] = "gain" if better else "loss" if high < 0 else "no evidence of gain"
        found.append(row)
    return found


def _subgroups(
    table: pd.DataFrame, y: NDArray, predictions: list[pd.DataFrame], settings: StrokeConfig
) -> list[dict[str, Any]]:
    """Separation and calibration in the large of each model among women and men, younger and older patients."""
    unknown = pd.Series(np.nan, table.index)
    sex = table.get("sex", unknown)
    age = pd.to_numeric(table.get("age_years", unknown), errors="coerce")
    border = settings.subgroup_age
    groups = {
        "women": sex == "F",
        "men": sex == "M",
        f"below {border:g} years": age < border,
        f"{border:g} years and over": age >= border,
    }
    found = []
    for group, members in groups.items():
        rows = members.to_numpy(bool)
        base = {"group": group, "patients": int(rows.sum()), "events": int(y[rows].sum())}
        reason = not_estimable(y[rows], settings)
        if reason is not None:
            found.append({**base, "status": "not estimable", "reason": reason, "models": []})
            continue
        weights = performance.bootstrap_weights(
            int(rows.sum()), settings.bootstrap_repetitions, np.random.default_rng([settings.seed, 3])
        )
        models = []
        for frame in predictions:
            risks = frame.filter(like="out_of_fold_").to_numpy(np.float64).T[:, rows]
            sample = _resampled(performance.auroc, y[rows], risks, weights)
            models.append(
                {
                    "name": str(frame["model"].iloc[0]),
                    "auroc": float(sample[0]),
                    "ci": _interval(sample),
                    "brier": float(_resampled(performance.brier, y[rows], risks, weights[:1])[0]),
                    "observed_to_expected": float(y[rows].sum() / risks.mean(axis=0).sum()),
                }
            )
        found.append({**base, "status": "estimated", "reason": None, "models": models})
    return found


def _sample_size(parameters: int, patients: int, prevalence: float) -> dict[str, Any]:
    needed = minimum_patients(parameters, prevalence)
    affordable = affordable_parameters(patients, prevalence)
    enough = patients >= needed["patients"]
    return {
        **needed,
        "available_patients": patients,
        "affordable_parameters": affordable,
        "statement": (
            f"The largest model has {parameters} parameters; by Riley's criteria it needs {needed['patients']} "
            f"patients with {needed['events']} events. There are {patients}, "
            + ("which is enough." if enough else f"which carry {affordable} parameters: expect overfitting.")
        ),
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
