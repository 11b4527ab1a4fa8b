"""The patterns: how stable, whose, how they beat, and what they look like."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup

from ecgconsole.config import ReportConfig
from ecgconsole.dataset import Dataset
from ecgconsole.errors import InputError
from ecgconsole.findings.report import charts
from ecgconsole.findings.report.disclosure import cell, is_small, parts
from ecgconsole.findings.report.sources import Sources
from ecgconsole.findings.report.words import SPLIT_NAMES, decimals, interval, plain, significant
from ecgconsole.text import alias, count, sanitise

CLASS_WORDS = {"pattern": "shared pattern", "patient-specific": "patient-specific cluster", "artefact": "artefact"}


def names(patterns: dict[str, Any] | None, minimum: int) -> dict[int, str]:
    """``3: atrial fibrillation`` of the patterns that enough patients share to be told of."""
    found = {}
    for p in (patterns or {}).get("patterns", []):
        if not is_small(p["patients"], minimum) and p["patients"]:
            rhythm = rhythm_name(p)
            found[p["id"]] = f"{p['id']}: {rhythm}" if rhythm else f"{p['id']}"
    return found


def rhythm_name(pattern: dict[str, Any]) -> str | None:
    rhythm = pattern.get("rhythm")
    return plain(sanitise(rhythm["name"], 60)) if rhythm and rhythm.get("name") else None


def section(sources: Sources, settings: ReportConfig) -> dict[str, Any] | None:
    found, minimum = sources.patterns, settings.min_cell_patients
    if found is None:
        return None
    shown = names(found, minimum)
    cards = [_card(p, minimum) for p in found["patterns"] if p["id"] in shown]
    if settings.waveforms and sources.dataset is not None:
        _add_waveforms(cards, found, sources, settings)
    selection = found["selection"]
    classes = [p["class"] for p in found["patterns"]]
    ari = selection["median_ari"]
    description = f"Agreement of half-splits for each number of patterns; {selection['k']} chosen, median {ari:.2f}"
    return {
        "k": selection["k"],
        "classes": [count(classes.count(name), words) for name, words in CLASS_WORDS.items() if name in classes],
        "ari": decimals(ari),
        "verdict": "stable" if ari >= 0.75 else "moderately stable" if ari >= 0.5 else "not stable",
        "half_splits": selection["half_splits"],
        "fitted_on": cell(found["patients"]["train"], minimum),
        "stability": charts.stability(selection["table"], selection["k"], description),
        "density": _density(found["density_check"]),
        "confounding": _confounding(found["confounding"]),
        "agreement": _agreement(found.get("rhythm_agreement"), minimum),
        "cards": cards,
        "not_shown": len(found["patterns"]) - len(cards),
    }


def _density(check: dict[str, Any]) -> dict[str, Any]:
    return {
        "clusters": check.get("clusters"),
        "noise": charts.percent(round(check["noise_share"], 2)) if check.get("noise_share") is not None else "–",
        "segments": f"{check['segments']:,}",
    }


def _confounding(found: dict[str, Any]) -> list[dict[str, str]]:
    rows = []
    for key, title in (("raw", "as it is"), ("patient_centred", "centred")):
        values = found[key]
        rows.append(
            {"title": title}
            | {k: decimals(values[k]) for k in ("purity", "purity_null", "ami")}
        )  # fmt: skip
    return rows


def _agreement(found: dict[str, Any] | None, minimum: int) -> list[tuple[str, str, str, str]]:
    """Patterns named on training patients against charted rhythm: (split, patients, share right, ARI)."""
    rows = []
    for split, title in SPLIT_NAMES.items():
        values = (found or {}).get(split)
        if values and not is_small(values["patients"], minimum):
            share = charts.percent(round(values["share_right"], 2))
            rows.append((title, f"{values['patients']:,}", share, decimals(values["ari"])))
    return rows


def _card(p: dict[str, Any], minimum: int) -> dict[str, Any]:
    splits = [p["patients_by_split"].get(s, 0) for s in SPLIT_NAMES]
    profile = p["profile"]
    facts = [
        ("Patients", f"{p['patients']:,}", decimals(p["effective_patients"], 1) + " effective"),
        ("Segments", f"{p['segments']:,}", charts.percent(round(p["largest_share"] or 0, 3)) + " are one patient's"),
        ("Heart rate", *_level(profile, "rhythm/heart_rate_bpm", "/min")),
        ("RR variability", *_level(profile, "rhythm/rr_cv", "")),
        ("Irregular beats", *_level(profile, "rhythm/rr_irregular_share", "")),
        ("Stability", decimals(p["jaccard"]), _stable(p["jaccard"])),
    ]
    if p.get("poor_quality_share") is not None:
        share = charts.percent(round(p["poor_quality_share"], 2))
        facts.append(("Poor signal", share, "10 % is usual"))
    return {
        "id": p["id"],
        "class": p["class"],
        "rhythm": rhythm_name(p),
        "rhythm_words": _rhythm_words(p, minimum),
        "facts": facts,
        "splits": [*zip(SPLIT_NAMES.values(), parts(splits, minimum), strict=True)],
        "waveforms": [],
    }


def _level(profile: dict[str, Any], name: str, unit: str) -> tuple[str, str]:
    values = profile.get(name)
    if not values or values["value"] is None:
        return "–", ""
    digits = 0 if abs(values["value"]) >= 10 else 2 if abs(values["value"]) >= 0.2 else 3
    return f"{significant(values['value'])} {unit}".strip(), "95 % " + interval(
        values["ci_low"], values["ci_high"], digits
    )


def _stable(jaccard: float | None) -> str:
    if jaccard is None:
        return ""
    shown = round(jaccard, 2)
    return "stable" if shown >= 0.75 else "usable" if shown >= 0.6 else "do not build on it"


def _rhythm_words(p: dict[str, Any], minimum: int) -> str:
    rhythm = p.get("rhythm")
    if not rhythm:
        return "rhythm not charted"
    if is_small(rhythm["labelled_patients"], minimum) or not rhythm["labelled_segments"]:
        return "no charted rhythm of enough patients"
    nearest = rhythm.get("nearest") or rhythm["name"]
    share = charts.percent(round(rhythm["share"], 2))
    return f"{share} of charted segments are {plain(sanitise(nearest, 60))} (training patients)"


def _add_waveforms(
    cards: list[dict[str, Any]], found: dict[str, Any], sources: Sources, settings: ReportConfig
) -> None:
    """First medoids, then the segment at the median distance: medoids flatter."""
    by_id = {p["id"]: p for p in found["patterns"]}
    salt = sources.workspace.salt()
    with Dataset(sources.workspace.dataset) as dataset:
        for card in cards:
            pattern = by_id[card["id"]]
            typical = pattern["typical"][len(pattern["typical"]) // 2 :][:1] if settings.waveforms > 1 else []
            medoids = pattern["medoids"][: settings.waveforms - len(typical)]
            chosen = [*zip(medoids, ["nearest the centre"] + ["another patient near the centre"] * 5, strict=False)]
            chosen += [(row, "typical: at the median distance from the centre") for row in typical]
            rows = np.array([row for row, _ in chosen], np.int64)
            if len(rows) and rows.max() >= dataset.n_segments:
                raise InputError(f"{sources.workspace.patterns} names segments that the dataset lacks; run embed again")
            physical, present = dataset.physical(rows), dataset.present[rows]
            patients = dataset.patient_id[rows]
            for (_, words), signals, there, patient in zip(chosen, physical, present, patients, strict=True):
                who = alias(str(patient), salt)
                card["waveforms"].append((f"{who}, {words}", _strip(signals, there, dataset, card, words)))


def _strip(signals: np.ndarray, there: np.ndarray, dataset: Dataset, card: dict[str, Any], words: str) -> Markup:
    which = " over ".join(name for name, known in zip(("ECG", "PPG"), there, strict=True) if known)
    ecg, ppg = (signal if known else None for signal, known in zip(signals, there, strict=True))
    seconds = signals.shape[1] / dataset.sampling_rate_hz
    description = f"{which or 'no signal'}, {seconds:g} seconds, pattern {card['id']}, {words}"
    return charts.strip(ecg, ppg, dataset.sampling_rate_hz, description)
