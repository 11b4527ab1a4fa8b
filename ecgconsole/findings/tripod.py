"""The TRIPOD+AI checklist, as far as a run can answer it; the rest is left to the authors, and says so."""

from __future__ import annotations

from typing import Any

AUTHORS = "for the authors"


def checklist(report: dict[str, Any]) -> list[dict[str, str]]:
    """Items of TRIPOD+AI (Collins et al., BMJ 385 (2024) e078378) with this run's answers.

    ``report`` is that of stroke_risk.json.
    """
    settings, endpoints = report["parameters"], report["endpoints"]
    estimated = {name: e for name, e in endpoints.items() if e["status"] == "estimated"}
    counts = "; ".join(f"{name}: {e['events']} events among {e['patients']}" for name, e in endpoints.items())
    not_estimated = "; ".join(f"{n}: {e['reason']}" for n, e in endpoints.items() if n not in estimated) or "none"
    labels = "; ".join(f"{name}: {e['meaning']}" for name, e in endpoints.items())
    missing = "; ".join(f"{name} ({why})" for name, why in report["missing_features"].items()) or "none"
    models = "; ".join(
        f"{m['name']}: {', '.join(m['features'])}"
        for e in list(estimated.values())[:1]
        for m in e["models"]
        if m["status"] == "estimated"
    )
    results = "; ".join(
        f"{name}, {m['name']}: AUROC {m['auroc']:.2f} ({m['ci'][0]:.2f} to {m['ci'][1]:.2f}), slope "
        + ("none" if m["calibration_slope"] is None else f"{m['calibration_slope']:.2f}")
        for name, e in estimated.items()
        for m in e["models"]
        if m["status"] == "estimated"
    )
    sizes = "; ".join(f"{name}: {e['sample_size']['statement']}" for name, e in estimated.items())
    groups = "; ".join(
        f"{name}: {', '.join(g['group'] for g in e['subgroups'] if g['status'] != 'estimated') or 'no group'} "
        "not estimable"
        for name, e in estimated.items()
    )
    resampling = (
        f"{settings['repetitions']} times {settings['folds']}-fold cross-validation by patient, penalty chosen in "
        f"{settings['inner_folds']} folds inside each"
    )
    answers: tuple[tuple[str, str, str], ...] = (
        ("1", "Title", AUTHORS),
        ("2", "Abstract", AUTHORS),
        ("3", "Background, intended use, health inequalities", AUTHORS),
        ("4", "Objectives", "development with internal validation; whether rhythm and embeddings add to history"),
        ("5", "Source of data", "MIMIC-III tables and waveforms of one hospital, as given to the stage build"),
        ("6", "Participants", f"{report['patients']} patients with usable recordings; {counts}"),
        ("7", "Data preparation", "features standardised within each training fold; see docs/dataset.md for signals"),
        ("8", "Outcome", labels),
        ("9", "Predictors", f"fixed in advance; {models or 'none estimated'}"),
        ("10", "Sample size", sizes or f"not estimable: {not_estimated}"),
        ("11", "Missing data", f"median of the training fold; features without data: {missing}"),
        ("12", "Analytical methods", f"nested ridge logistic models; {resampling}"),
        ("13", "Class imbalance", "no reweighting or resampling, so risks stay calibrated"),
        ("14", "Fairness", f"measures by sex and age; {groups or 'nothing estimated'}"),
        ("15", "Model output", "a risk between 0 and 1; no threshold is chosen"),
        ("16", "Training versus evaluation", "out-of-fold predictions of the same patients; no external data"),
        ("17", "Ethical approval", AUTHORS),
        ("18", "Open science: funding, protocol, registration, data, code", AUTHORS),
        ("19", "Patient and public involvement", AUTHORS),
        ("20", "Participants: results", f"{counts}; not estimable: {not_estimated}"),
        ("21", "Model development: results", counts),
        ("22", "Model specification", "all coefficients in stroke_model.json; applied by ecgconsole predict"),
        ("23", "Model performance", results or f"not estimable: {not_estimated}"),
        ("24", "Model updating", "none"),
        ("25", "Interpretation", AUTHORS),
        ("26", "Limitations", " ".join(report["limits"])),
        ("27", "Usability", "not a medical device; research only"),
    )
    return [{"item": number, "topic": topic, "answer": answer} for number, topic, answer in answers]
