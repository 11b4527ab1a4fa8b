"""How the encoder learnt: losses, and monitors that need no labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ecgconsole.findings.report import charts
from ecgconsole.findings.report.charts import Series
from ecgconsole.findings.report.sources import Sources
from ecgconsole.findings.report.svg import text_of
from ecgconsole.findings.report.words import capital, plain

MOST_POINTS = 300


@dataclass(frozen=True)
class Monitor:
    name: str
    title: str
    axis: str
    meaning: str


MONITORS = (
    Monitor(
        "effective_rank",
        "Effective rank",
        "dimensions",
        "How many dimensions of the embedding are really used (RankMe). A fall towards 1 is collapse.",
    ),
    Monitor(
        "retrieval",
        "PPG found by its ECG",
        "mean reciprocal rank",
        "1: the PPG of the same window is always the nearest of all; near 0: by chance.",
    ),
    Monitor(
        "probe_rhythm",
        "Known rhythm, linear probe",
        "balanced accuracy",
        "Rhythm of validation people told by a linear classifier fitted on others of them; never used in training.",
    ),
    Monitor(
        "knn_rhythm",
        "Known rhythm, nearest neighbours",
        "balanced accuracy",
        "Rhythm told by the ten nearest segments of other people.",
    ),
    Monitor(
        "same_patient_share",
        "Nearest neighbour is the same patient",
        "share of segments",
        "High values mean that the encoder recognises people, not only rhythms.",
    ),
    Monitor(
        "alignment",
        "Alignment",
        "squared distance",
        "Distance of two views of one segment: small is good, unless all embeddings are alike.",
    ),
    Monitor(
        "uniformity",
        "Uniformity",
        "log mean potential",
        "How evenly embeddings cover the sphere: more negative is more even; 0 is collapse.",
    ),
    Monitor(
        "embedding_deviation",
        "Spread of embeddings",
        "standard deviation",
        "Per dimension, scaled so that 1 is an even spread; near 0 is collapse.",
    ),
    Monitor(
        "val_loss_rhythm",
        "Rhythm predicted",
        "validation loss",
        "Error of predicting rate and irregularity of a window from its embedding.",
    ),
)
_LOSSES = ("train_loss", "val_loss")
# What says how fast it went, or is drawn elsewhere: not about the encoder.
_NOT_DRAWN = {
    *("learning_rate", "segments_per_second", "loader_wait_share", "loader_wait_seconds"),
    *("bad_steps", "grad_norm", "clipped_share", "temperature"),
}


def section(sources: Sources) -> dict[str, Any]:
    """Template values: ``charts`` [{``title``, ``svg``, ``meaning``}], ``final`` [(name, value)]."""
    metrics, checkpoint = sources.metrics, sources.checkpoint
    found: dict[str, Any] = {"charts": [], "final": [], "best": None}
    best = None
    if checkpoint is not None:
        best = (float(checkpoint["step"]), "best")
        found["best"] = {"epoch": checkpoint["epoch"], "step": f"{checkpoint['step']:,}"}
        found["final"] = _final(checkpoint["metrics"])
    if metrics:
        found["charts"] = [chart for chart in (_losses(metrics, best), *_monitors(metrics, best)) if chart]
    return found


def series_of(metrics: Sequence[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    """(step, value) of a metric where it was said; thinned by means over equal stretches to ``MOST_POINTS``."""
    points = [
        (float(m["step"]), float(m["values"][name]))
        for m in metrics
        if isinstance(m["values"].get(name), (int, float)) and math.isfinite(m["values"][name])
    ]
    size = math.ceil(len(points) / MOST_POINTS)
    if size <= 1:
        return points
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def _losses(metrics: Sequence[dict[str, Any]], best: tuple[float, str] | None) -> dict[str, Any] | None:
    train, val = (series_of(metrics, name) for name in _LOSSES)
    if not train and not val:
        return None
    series = [Series("training", train, "c1"), Series("validation", val, "c2", marks=True)]
    return {
        "title": "Loss",
        "legend": [("c1", "training patients"), ("c2", "validation patients")],
        "meaning": "Validation patients are never trained on. The best checkpoint is the one with their lowest loss.",
        "svg": charts.lines(series, "step", "loss", "Training and validation loss over steps", best),
    }


def _monitors(metrics: Sequence[dict[str, Any]], best: tuple[float, str] | None) -> list[dict[str, Any]]:
    known = {m.name for m in MONITORS}
    # Said with a validation loss, and known to nobody here: drawn under its own name.
    said = dict.fromkeys(name for m in metrics if "val_loss" in m["values"] for name in m["values"])
    others = [n for n in said if n not in known | _NOT_DRAWN and "loss" not in n]
    monitors = [*MONITORS, *(Monitor(n, capital(plain(n)), "", "") for n in others)]
    drawn = []
    for monitor in monitors:
        points = series_of(metrics, monitor.name)
        if points:
            line = Series(monitor.title, points, "c2", marks=True)
            words = f"{monitor.title} on validation patients over steps: {points[0][1]:.3g} to {points[-1][1]:.3g}"
            chart = charts.lines([line], "step", monitor.axis, words, best)
            drawn.append({"title": monitor.title, "legend": [], "meaning": monitor.meaning, "svg": chart})
    return drawn


def _final(metrics: dict[str, float | None]) -> list[tuple[str, str]]:
    titles = {m.name: m.title for m in MONITORS}
    return [
        (titles.get(name) or _loss_words(name), text_of(value))
        for name, value in metrics.items()
        if value is not None and name not in _NOT_DRAWN
    ]


def _loss_words(name: str) -> str:
    """``val_loss_cross`` as ``Validation loss: cross``."""
    for prefix, words in (("val_loss", "Validation loss"), ("train_loss", "Training loss"), ("loss", "Training loss")):
        if name == prefix:
            return words
        if name.startswith(prefix + "_"):
            return f"{words}: {plain(name.removeprefix(prefix + '_'))}"
    return capital(plain(name))
