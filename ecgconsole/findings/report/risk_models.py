"""Stroke and death: the risk models' curves, what one adds to another, and what could not be estimated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from ecgconsole.errors import InputError
from ecgconsole.findings.report import charts
from ecgconsole.findings.report.charts import Calibrated, Series
from ecgconsole.findings.report.disclosure import merged_groups, parts
from ecgconsole.findings.report.sources import Sources
from ecgconsole.findings.report.words import capital, decimals, feature_words, interval, plain
from ecgconsole.findings.tripod import checklist
from ecgconsole.text import sanitise

_ROC_POINTS = 41
_COLOURS = ("c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8")


def section(sources: Sources, minimum: int) -> dict[str, Any] | None:
    found = sources.stroke
    if found is None:
        return None
    shown = disclosed(found, minimum)
    curves = _roc_curves(sources, found)
    endpoints = [
        _endpoint(name, e, shown["endpoints"][name], curves, minimum) for name, e in found["endpoints"].items()
    ]
    return {
        "endpoints": endpoints,
        "tripod": checklist(shown),
        "repetitions": found["parameters"]["repetitions"],
        "folds": found["parameters"]["folds"],
    }


def disclosed(found: dict[str, Any], minimum: int) -> dict[str, Any]:
    """The document with every count of patients as text, small ones hidden: also in its sentences."""
    endpoints = {}
    for name, e in found["endpoints"].items():
        events, others, unknown = parts([e["events"], e["patients"] - e["events"], e["unknown"]], minimum)
        whole = all(n.replace(",", "").isdigit() for n in (events, others))
        patients = f"{e['patients']:,}" if whole else "a number of patients not shown here"
        reason = e["reason"]
        if reason is not None:
            needed = found["parameters"]["min_events"]
            reason = f"{events} with the event and {others} without it; {needed} of each are needed"
        models = [m if m["status"] == "estimated" else {**m, "reason": sanitise(m["reason"], 200)} for m in e["models"]]
        shown = {**e, "events": events, "others": others, "unknown": unknown, "patients": patients, "reason": reason}
        shown["models"] = models
        if "sample_size" in e:
            size = e["sample_size"]
            enough = size["available_patients"] >= size["patients"]
            shown["sample_size"] = {
                "statement": f"The largest model has {size['parameters']} parameters; by the criteria of Riley and "
                f"others it needs {size['patients']:,} patients with {size['events']:,} events. This cohort has "
                + ("enough." if enough else "fewer: expect some overfitting, and wide intervals.")
            }
        endpoints[name] = shown
    return {**found, "patients": parts([found["patients"]], minimum)[0], "endpoints": endpoints}


def _endpoint(
    name: str, e: dict[str, Any], shown: dict[str, Any], curves: dict[tuple[str, str], Any], minimum: int
) -> dict[str, Any]:
    view: dict[str, Any] = {
        "name": capital(plain(name)),
        "id": name,
        "meaning": e["meaning"],
        "status": e["status"],
        "reason": shown["reason"],
        "counts": [
            ("with the event", shown["events"]),
            ("without", shown["others"]),
            ("not known or not at risk", shown["unknown"]),
        ],
    }
    if e["status"] != "estimated":
        return view
    models = [m for m in e["models"] if m["status"] == "estimated"]
    colours = dict(zip([m["name"] for m in models], _COLOURS, strict=False))
    last = models[-1]
    view |= {
        "models": [
            _model(m, before["features"], colours[m["name"]])
            for before, m in zip([{"features": []}, *models[:-1]], models, strict=True)
        ],
        "left_out": [(m["name"], sanitise(m["reason"], 200)) for m in e["models"] if m["status"] != "estimated"],
        "baseline": charts.percent(round(e["prevalence"], 2)),
        "differences": [_difference(d) for d in e["differences"]],
        "subgroups": _subgroups(e, models, minimum),
        "sample_size": shown["sample_size"]["statement"],
        "legend": [(colours[m["name"]], m["name"]) for m in models],
        "calibration_model": last["name"],
    }
    drawn = [
        Series(m["name"], curves[name, m["name"]], colours[m["name"]]) for m in models if (name, m["name"]) in curves
    ]
    if drawn:
        words = "ROC curves out of fold: " + ", ".join(f"{m['name']} AUROC {m['auroc']:.2f}" for m in models)
        view["roc"] = charts.roc(drawn, words)
    view |= _calibration(last, colours[last["name"]], minimum)
    view["decision"] = _decision(models, colours)
    return view


def _model(m: dict[str, Any], earlier: list[str], css: str) -> dict[str, Any]:
    """``earlier``: what the model before it sees."""
    return {
        "name": capital(m["name"]),
        "css": css,
        "auroc": decimals(m["auroc"]),
        "auroc_ci": interval(*m["ci"]),
        "auprc": decimals(m["auprc"]),
        "auprc_ci": interval(*m["auprc_ci"]),
        "brier": decimals(m["brier"], 3),
        "scaled_brier": decimals(m["scaled_brier"]),
        "slope": decimals(m["calibration_slope"]),
        "slope_ci": interval(*m["calibration_slope_ci"]),
        "large": decimals(m["calibration_in_the_large"]),
        "chance": m["ci"][0] <= 0.5,
        "adds": [feature_words(f) for f in m["features"] if f not in earlier],
    }


def _difference(d: dict[str, Any]) -> dict[str, str]:
    low, high = d["auroc_ci"]
    return {
        "from": d["from"],
        "to": d["to"],
        "auroc": decimals(d["auroc"], 3),
        "ci": interval(low, high, 3),
        "verdict": d["verdict"],
    }


def _calibration(m: dict[str, Any], css: str, minimum: int) -> dict[str, Any]:
    """The largest model's curve; neighbouring groups are joined until each may be shown."""
    curve = m["calibration_curve"]
    patients, events = [g["patients"] for g in curve], [g["events"] for g in curve]
    groups = merged_groups(patients, events, max(minimum, 0)) if minimum else [[i] for i in range(len(curve))]
    points = []
    for group in groups:
        n, happened = sum(patients[i] for i in group), sum(events[i] for i in group)
        low, high = proportion_confint(happened, n, method="wilson")
        risk = sum(curve[i]["mean_risk"] * patients[i] for i in group) / n
        points.append(Calibrated(risk, happened / n, float(low), float(high)))
    words = f"Calibration of the model {m['name']} in {len(points)} groups; slope {decimals(m['calibration_slope'])}"
    return {
        "calibration": charts.calibration([(css, points)], words) if points else None,
        "calibration_groups": len(points),
        "calibration_joined": len(points) < len(curve),
    }


def _decision(models: list[dict[str, Any]], colours: dict[str, str]) -> Any:
    curve = models[0]["decision_curve"]
    series = [
        Series("treat all", [(p["threshold"], p["treat_all"]) for p in curve], "all"),
        Series("treat none", [(p["threshold"], 0.0) for p in curve], "none"),
    ]
    series += [
        Series(m["name"], [(p["threshold"], p["model"]) for p in m["decision_curve"]], colours[m["name"]])
        for m in models
    ]
    return charts.decision(series, "Decision curves: net benefit of each model over the threshold risk")


def _subgroups(e: dict[str, Any], models: list[dict[str, Any]], minimum: int) -> list[dict[str, Any]]:
    """Of the largest model. Groups come in pairs that share out the patients."""
    rows = []
    for i, group in enumerate(e["subgroups"]):
        pair = e["subgroups"][i - i % 2 : i - i % 2 + 2]
        events = parts([*(g["events"] for g in pair), e["events"] - sum(g["events"] for g in pair)], minimum)[i % 2]
        row = {"group": group["group"], "events": events, "auroc": "not estimable", "ci": "", "ratio": ""}
        if group["status"] == "estimated":
            figures = next(m for m in group["models"] if m["name"] == models[-1]["name"])
            row |= {"auroc": decimals(figures["auroc"]), "ci": interval(*figures["ci"])}
            row["ratio"] = decimals(figures["observed_to_expected"])
        rows.append(row)
    return rows


def _roc_curves(sources: Sources, found: dict[str, Any]) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Mean sensitivity over repetitions at fixed shares of false alarms: smooth enough that no patient is a step."""
    path = sources.workspace.stroke_predictions
    if not path.is_file() or all(e["status"] != "estimated" for e in found["endpoints"].values()):
        return {}
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as Parquet ({sanitise(error, 200)}); run stroke again") from error
    curves = {}
    for (endpoint, model), rows in table.groupby(["endpoint", "model"], sort=True):
        y = rows["outcome"].to_numpy(np.int64)
        risks = rows.filter(like="out_of_fold_").dropna(axis=1, how="all").to_numpy(np.float64).T
        grid = np.linspace(0, 1, _ROC_POINTS)
        mean = np.mean([_sensitivity(y, risk, grid) for risk in risks], axis=0)
        curves[str(endpoint), str(model)] = list(zip(grid.tolist(), mean.tolist(), strict=True))
    return curves


def _sensitivity(outcome: np.ndarray, risk: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Sensitivity at shares of false alarms (n,), between the thresholds of the risks by straight lines."""
    order = np.argsort(-risk, kind="stable")
    y, last = outcome[order], np.r_[risk[order][1:] != risk[order][:-1], True]
    true, false = np.cumsum(y)[last], np.cumsum(1 - y)[last]
    return np.interp(grid, np.r_[0, false] / max(false[-1], 1), np.r_[0, true] / max(true[-1], 1))
