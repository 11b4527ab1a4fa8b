"""The map of the embedding: a fair sample of segments on a plane, with what they can be coloured by.

Points carry no patient. A value that fewer than the minimum of patients share within a pattern is not told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ecgconsole.config import ReportConfig
from ecgconsole.dataset import Dataset
from ecgconsole.errors import InputError
from ecgconsole.findings.balance import capped_rows
from ecgconsole.findings.clustering import load_model
from ecgconsole.findings.labels import read_labels
from ecgconsole.findings.report.disclosure import people_per_value, without_small_cells
from ecgconsole.findings.report.sources import Sources
from ecgconsole.findings.report.words import SPLIT_NAMES, capital, label_words, plain
from ecgconsole.text import sanitise

LABELS = (
    "concurrent_atrial_fibrillation",
    "concurrent_stroke",
    "future_stroke",
    "concurrent_premature_beats",
    "medication_vasopressor",
    "died_in_hospital",
    "died_within_90_days",
)
_PERPLEXITY = 30.0
_GRID = 999
CHARTED = "segment/charted_rhythm"
HEART_RATE = "rhythm/heart_rate_bpm"


@dataclass(frozen=True)
class Sample:
    """Segments of the map: ``rows`` of the dataset, ``embeddings`` (n, d), and codes (n,) of who and which pattern."""

    rows: NDArray[np.int64]
    embeddings: NDArray[np.float32]
    patient: NDArray[np.int64]
    patients: NDArray[np.str_]
    split: NDArray[np.str_]
    pattern: NDArray[np.int64]


def section(sources: Sources, settings: ReportConfig, pattern_names: dict[int, str]) -> dict[str, Any] | None:
    """Data of the map for the page's script; None where there are no patterns or no embeddings to draw."""
    if sources.patterns is None or not sources.embeddings or not sources.workspace.assignments.is_file():
        return None
    sample = draw_sample(sources, settings.map_points, settings.seed)
    if len(sample.rows) < 10:
        return None
    minimum = settings.min_cell_patients
    neighbours, components = project(sources, sample.embeddings, settings.seed)
    colours = [
        _patterns(sample, pattern_names),
        _splits(sample, minimum),
        *_from_dataset(sources, sample, minimum),
        *_labels(sources, sample, minimum),
    ]
    return {
        "x": {"neighbours": _grid(neighbours[:, 0]), "components": _grid(components[:, 0])},
        "y": {"neighbours": _grid(neighbours[:, 1]), "components": _grid(components[:, 1])},
        "colours": [c for c in colours if c is not None],
    }


def draw_sample(sources: Sources, total: int, seed: int) -> Sample:
    """At most ``total`` segments, from each patient as many as fit, in an order that tells nothing of who."""
    table = pd.read_parquet(sources.workspace.assignments)
    patients, patient = np.unique(table["patient_id"].astype(str).to_numpy(str), return_inverse=True)
    rng = np.random.default_rng([seed, 1])
    chosen = rng.permutation(capped_rows(patient, np.arange(len(table)), total, rng))
    rows = table["segment_index"].to_numpy(np.int64)[chosen]
    embeddings = None
    for file in sources.embeddings:
        with np.load(file, allow_pickle=False) as arrays:
            index = arrays["segment_index"]
            order = np.argsort(index, kind="stable")
            place = np.searchsorted(index[order], rows)
            inside = np.flatnonzero(place < len(index))
            hit = inside[index[order[place[inside]]] == rows[inside]]
            values = arrays["embeddings"]
            if embeddings is None:
                embeddings = np.full((len(rows), values.shape[1]), np.nan, np.float32)
            embeddings[hit] = values[order[place[hit]]]
    if embeddings is None or not np.isfinite(embeddings).all():
        raise InputError(
            f"{sanitise(sources.workspace.assignments)} names segments that the embeddings lack: they are of "
            "different runs; run discover again"
        )
    return Sample(
        rows=rows,
        embeddings=embeddings,
        patient=patient[chosen].astype(np.int64),
        patients=patients,
        split=table["split"].astype(str).to_numpy(str)[chosen],
        pattern=table["pattern"].to_numpy(np.int64)[chosen],
    )


def project(sources: Sources, embeddings: NDArray, seed: int) -> tuple[NDArray, NDArray]:
    """Two planes (n, 2): neighbourhoods by t-SNE of the patterns' own space, and the two largest components.

    van der Maaten & Hinton, JMLR 9 (2008) 2579; started from principal components and on one thread, so the
    same input gives the same plane.
    """
    if sources.workspace.pattern_model.is_file():
        whitening = load_model(sources.workspace.pattern_model).whitening
        space, scores = whitening.directions(embeddings), whitening.scores(embeddings)
    else:
        scores = PCA(min(16, *embeddings.shape), svd_solver="full").fit_transform(embeddings)
        space = scores
    if scores.shape[1] < 2:
        scores = np.pad(scores, ((0, 0), (0, 1)))
    perplexity = min(_PERPLEXITY, (len(space) - 1) / 3)
    with threadpool_limits(1):
        start = "pca" if space.shape[1] >= 2 else "random"
        tsne = TSNE(2, perplexity=perplexity, init=start, random_state=seed, n_jobs=1)
        return tsne.fit_transform(space.astype(np.float64)), scores[:, :2]


def _grid(values: NDArray) -> list[int]:
    """Whole numbers from 0 to 999; the outermost two in a thousand at the border."""
    low, high = np.quantile(values, [0.002, 0.998])
    if not high > low:
        return [_GRID // 2] * len(values)
    return np.round(np.clip((values - low) / (high - low), 0, 1) * _GRID).astype(int).tolist()


def _choice(name: str, note: str, codes: NDArray, names: Sequence[str]) -> dict[str, Any]:
    """Something to colour by: ``codes`` (n,), −1 for what is not known or not told, into ``names``."""
    return {"name": name, "note": note, "kind": "classes", "names": list(names), "codes": codes.tolist()}


def _patterns(sample: Sample, names: dict[int, str]) -> dict[str, Any]:
    """Only patterns that the page tells of (``names``) have a colour."""
    shown = sorted(names)
    code = np.full(max([*shown, int(sample.pattern.max(initial=0))]) + 1, -1, np.int64)
    code[shown] = np.arange(len(shown))
    note = "Grey: clusters of too few patients to be shown." if (code[sample.pattern] < 0).any() else ""
    return _choice("Pattern", note, code[sample.pattern], [names[i] for i in shown])


def _splits(sample: Sample, minimum: int) -> dict[str, Any]:
    codes = np.full(len(sample.rows), -1, np.int64)
    for code, split in enumerate(SPLIT_NAMES):
        codes[sample.split == split] = code
    codes = without_small_cells(codes, sample.pattern, sample.patient, minimum)
    note = "Splits that lie apart would mean that training patients are told from others."
    return _choice("Split", note, codes, [capital(name) for name in SPLIT_NAMES.values()])


def _from_dataset(sources: Sources, sample: Sample, minimum: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if sources.dataset is None:
        return found
    with Dataset(sources.dataset) as dataset:
        if int(sample.rows.max()) >= dataset.n_segments:
            raise InputError(f"{sanitise(sources.dataset)} has fewer segments than the patterns name; run embed again")
        charted = dataset.column(CHARTED)[sample.rows] if CHARTED in dataset.column_names else np.array([])
        rate = dataset.column(HEART_RATE)[sample.rows] if HEART_RATE in dataset.column_names else np.array([])
    if len(charted) and (charted != "").any():
        names, codes = np.unique(charted, return_inverse=True)
        codes = np.where(charted == "", -1, codes)
        people = people_per_value(codes, sample.patient, len(names))
        codes = np.where((codes >= 0) & (people[codes] < minimum), -1, codes)
        codes = without_small_cells(codes, sample.pattern, sample.patient, minimum)
        used = [i for i in range(len(names)) if (codes == i).any()]
        if used:
            compact = np.full(len(names) + 1, -1)
            compact[used] = np.arange(len(used))
            words = [capital(plain(sanitise(names[i], 60))) for i in used]
            note = "As nurses charted it. Grey: not charted, or too few patients to be shown."
            found.append(_choice("Charted rhythm", note, compact[codes], words))
    if len(rate) and np.isfinite(rate).any():
        known = np.where(np.isfinite(rate), np.round(np.nan_to_num(rate)), -1).astype(int)
        low, high = (int(v) for v in np.quantile(known[known >= 0], [0.02, 0.98]))
        found.append(
            {"name": "Heart rate", "note": "", "kind": "number", "unit": "/min", "low": low, "high": max(high, low + 1)}
            | {"codes": known.tolist()}
        )
    return found


def _labels(sources: Sources, sample: Sample, minimum: int) -> list[dict[str, Any]]:
    """Labels with enough patients on both sides in the sample, and only in patterns where both sides have them."""
    if sources.metadata is None:
        return []
    labels = read_labels(sources.workspace.metadata, sample.patients)
    found = []
    for name in LABELS:
        if name not in labels.names:
            continue
        of_patient = labels.values[:, labels.names.index(name)]
        codes = np.nan_to_num(of_patient[sample.patient], nan=-1).astype(np.int64)
        if (people_per_value(codes, sample.patient, 2) < max(minimum, 1)).any():
            continue
        codes = without_small_cells(codes, sample.pattern, sample.patient, minimum)
        note = "By patient, so every segment of a patient has it. Grey: not known, or too few patients to be shown."
        found.append(_choice(capital(label_words(name)), note, codes, ["No", "Yes"]))
    return found
