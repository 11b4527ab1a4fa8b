"""How good the signals are: windows rejected by reason, and how the kept segments are distributed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from ecgconsole.dataset import Dataset
from ecgconsole.findings.report import charts
from ecgconsole.findings.report.cohort import reason_words, windows_by_reason
from ecgconsole.findings.report.disclosure import cell, is_small, people_per_value
from ecgconsole.findings.report.sources import Sources


@dataclass(frozen=True)
class Column:
    """A column of the dataset that is drawn: from ``low`` to ``high`` in ``bins``; what lies outside is at the ends."""

    path: str
    title: str
    axis: str
    low: float
    high: float
    bins: int
    meaning: str


COLUMNS = (
    Column("rhythm/heart_rate_bpm", "Heart rate", "1/min", 20, 200, 36, "60 / mean RR interval of the segment"),
    Column(
        "rhythm/rr_cv",
        "RR variability",
        "standard deviation / mean",
        0,
        0.6,
        30,
        "about 0.05 in sinus rhythm, above 0.15 in most atrial fibrillation",
    ),
    Column(
        "rhythm/rr_irregular_share",
        "Irregular beats",
        "share of RR differences above a tenth",
        0,
        1,
        25,
        "near 0: regular; towards 1: every beat comes at another time",
    ),
    Column(
        "quality/ecg_template_correlation",
        "ECG beats alike",
        "mean correlation with the mean beat",
        0,
        1,
        25,
        "1: all beats of a segment look the same; low: noise, or beats of several kinds",
    ),
    Column(
        "quality/ecg_noise_share",
        "ECG noise",
        "share of power above 25 Hz",
        0,
        0.4,
        25,
        "above 0.4 a window is rejected",
    ),
    Column(
        "quality/ppg_template_correlation",
        "PPG pulses alike",
        "mean correlation with the mean pulse",
        0,
        1,
        25,
        "1: all pulses of a segment look the same",
    ),
    Column(
        "rhythm/ecg_ppg_agreement",
        "ECG and PPG agree",
        "smaller / larger of both median intervals",
        0,
        1,
        25,
        "1: heart rate and pulse rate are the same",
    ),
)


def section(sources: Sources, minimum: int) -> dict[str, Any]:
    """Template values: ``reasons`` (drawing, words), ``histograms`` and ``present``."""
    found: dict[str, Any] = {
        "reasons": None,
        "reason_words": [],
        "few": [],
        "histograms": [],
        "present": [],
        "kept": None,
    }
    metadata, rejected = sources.metadata, sources.rejected
    if metadata is not None and "candidate_windows" in metadata:
        candidates = int(metadata["candidate_windows"].sum())
        refused = int(metadata["rejected_windows"].sum()) if "rejected_windows" in metadata else 0
        found["kept"] = {"candidates": candidates, "segments": int(metadata["segments"].sum()), "rejected": refused}
    if rejected is not None:
        rows = windows_by_reason(rejected)
        total = sum(r.windows for r in rows)
        shown = [r for r in rows if not is_small(r.patients, minimum)]
        found["few"] = [(r.label, reason_words(r.label)) for r in rows if r not in shown]
        if shown:
            drawn = [
                (r.label, float(r.windows), f"{r.windows:,}  ({charts.percent(round(r.windows / total, 3))})")
                for r in shown
            ]
            words = "Rejected windows by reason: " + ", ".join(f"{r.label} {r.windows:,}" for r in shown)
            found["reasons"] = charts.bars(drawn, words, "fill-reject")
            found["reason_words"] = [(r.label, reason_words(r.label)) for r in shown]
    if sources.dataset is not None:
        with Dataset(sources.dataset) as dataset:
            patient = np.unique(dataset.patient_id, return_inverse=True)[1]
            there = set(dataset.column_names)
            histograms = (_histogram(c, dataset.column(c.path), patient, minimum) for c in COLUMNS if c.path in there)
            found["histograms"] = [h for h in histograms if h is not None]
            found["present"] = [
                (name, int(dataset.present[:, i].sum()), dataset.n_segments) for i, name in enumerate(("ECG", "PPG"))
            ]
    return found


def _histogram(column: Column, values: NDArray, patient: NDArray, minimum: int) -> dict[str, Any] | None:
    """Shares of the segments; a bar with segments of too few patients is not shown."""
    known = np.isfinite(values)
    if not known.any():
        return None
    edges = np.linspace(column.low, column.high, column.bins + 1)
    places = np.digitize(np.clip(values[known], column.low, column.high), edges[1:-1])
    counts = np.bincount(places, minlength=column.bins)
    people = people_per_value(places, patient[known], column.bins)
    hidden = (people > 0) & (people < minimum)
    shares = [None if h else float(n) / int(known.sum()) for n, h in zip(counts, hidden, strict=True)]
    median = float(np.median(values[known]))
    n = int(known.sum())
    unseen = float(counts[hidden].sum()) / n
    return {
        "title": column.title,
        "meaning": column.meaning,
        "n": f"{n:,} segments of {cell(len(np.unique(patient[known])), minimum)} patients",
        "hidden": charts.percent(round(unseen, 3)) if unseen else "",
        "svg": _drawn(column, edges, shares, median, n),
    }


def _drawn(column: Column, edges: NDArray, shares: list[float | None], median: float, n: int) -> Markup:
    words = f"Histogram of {column.title.lower()} ({column.axis}) over {n:,} segments; median {median:.3g}"
    return charts.histogram(edges, shares, column.axis, "share of segments", words)
