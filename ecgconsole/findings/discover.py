"""The stage discover: embeddings to patterns, fitted on training patients, applied to all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ecgconsole.config import Config, DiscoveryConfig
from ecgconsole.dataset import Dataset
from ecgconsole.errors import InputError
from ecgconsole.findings import profile, rhythm
from ecgconsole.findings.balance import balanced_rows, capped_rows, half_splits, in_order
from ecgconsole.findings.clustering import PatternModel, fit_whitening, nearest, patient_means, spherical_kmeans
from ecgconsole.findings.confounding import centred_by_patient, confounding
from ecgconsole.findings.inputs import SPLITS, Segments, embedding_files, read_segments
from ecgconsole.findings.provenance import file_sha256, named_file, parameters
from ecgconsole.findings.stability import HalfSplit, choose_k, cluster_jaccard, density_check, fit_half_split
from ecgconsole.stage import Reporter, Stop
from ecgconsole.workspace import Workspace, replacing, write_json

# Below this median ARI two halves of the patients do not find the same patterns.
UNSTABLE_ARI = 0.5
_MIN_SEGMENTS_A_CLUSTER = 5
_NOTHING_SAVED = "nothing of this stage, which takes minutes and starts again"
CHARTED_RHYTHM = "segment/charted_rhythm"

LIMITS = (
    "Patterns are groups of similar segments, not diagnoses; a name is the majority of charted rhythm, no more.",
    "They are fitted on training patients; figures count all patients unless they say otherwise.",
    "Half-splits share patients, so the standard errors of stability are smaller than new patients would give.",
    "Not a medical device.",
)


@dataclass(frozen=True)
class Discovery:
    """What ``discover_patterns`` found: the model, and the number of clusters with what speaks for it."""

    model: PatternModel
    selection: dict[str, Any]
    jaccard: NDArray[np.float64]


def run(
    config: Config, workspace: Workspace, reporter: Reporter, stop: Stop, embeddings: Sequence[Path] = ()
) -> dict[str, Any]:
    """Writes discovered_patterns.json, the model, assignments and patient means; returns the counts.

    ``embeddings``: files or folders to use instead of the output folder's own.
    """
    settings = config.discovery
    workers = settings.num_workers or os.cpu_count() or 1
    sources = embeddings or (workspace.folder,)
    files = [file for path in sources for file in embedding_files(Path(path))]
    segments = read_segments(files, config.split.fractions, settings.seed)
    # One BLAS thread in each of our threads: the same bytes for any number of them.
    with threadpool_limits(1):
        found = discover_patterns(segments, settings, workers, reporter, stop)
        pattern, similarity = found.model.assign(segments.embeddings)
        stop.raise_if_requested(_NOTHING_SAVED)
        report = _report(config, workspace, segments, found, pattern, similarity)
        _write_tables(workspace, segments, found.model, pattern, similarity)
    report["embeddings"] = [{"file": f.name, "sha256": file_sha256(f)} for f in files]
    report["assignments"] = named_file(workspace.assignments)
    report["model"] = named_file(workspace.pattern_model)
    write_json(workspace.patterns, report)
    _warn(report, reporter)
    classes = [p["class"] for p in report["patterns"]]
    return {
        "segments": len(segments),
        "patients": len(segments.patients),
        "clusters": len(classes),
        "patterns": classes.count("pattern"),
        "patient_specific": classes.count("patient-specific"),
        "artefacts": classes.count("artefact"),
        "median_ari": report["selection"]["median_ari"],
    }


def discover_patterns(
    segments: Segments, settings: DiscoveryConfig, workers: int, reporter: Reporter, stop: Stop
) -> Discovery:
    """Chooses the number of clusters by half-splits of the training patients, then fits it on all of them."""
    training = np.flatnonzero(segments.in_split("train"))
    if not len(training):
        raise InputError("no training patient among the embeddings; patterns are fitted on training patients only")
    rng = np.random.default_rng([settings.seed, 1])
    sample = balanced_rows(segments.patient, training, settings.stability_segments_per_patient, rng)
    patient, x = segments.patient[sample], segments.embeddings[sample]
    halves = half_splits(np.unique(patient), settings.half_splits, rng)
    counts = _feasible_counts(settings, patient, halves)

    def fit(number: int) -> HalfSplit:
        return fit_half_split(
            x,
            patient,
            halves[number],
            counts,
            [settings.seed, 2, number],
            settings.max_components,
            settings.explained_variance,
            settings.initialisations,
            settings.kmeans,
        )

    fits: list[HalfSplit] = []
    reporter.progress(0, len(halves), "half-splits")
    for result in in_order(fit, range(len(halves)), workers):
        fits.append(result)
        reporter.progress(len(fits), len(halves), "half-splits")
        stop.wait_while_paused()
        stop.raise_if_requested(_NOTHING_SAVED)
    k, table = choose_k({k: [f.ari[k] for f in fits] for k in counts})

    rows = balanced_rows(
        segments.patient, training, settings.segments_per_patient, np.random.default_rng([settings.seed, 3])
    )
    whitening = fit_whitening(segments.embeddings[rows], settings.max_components, settings.explained_variance)
    centroids, cosine = spherical_kmeans(
        whitening.directions(segments.embeddings[rows]),
        k,
        [settings.seed, 4],
        settings.initialisations,
        settings.kmeans,
    )
    labels, _ = nearest(whitening.directions(x), centroids)
    selection = {
        "k": k,
        "median_ari": next(row["median_ari"] for row in table if row["k"] == k),
        "rule": "the largest k whose median ARI over half-splits is within one standard error of the best",
        "half_splits": len(halves),
        "patients": len(np.unique(patient)),
        "table": table,
        "components": len(whitening.components),
        "mean_cosine": cosine,
    }
    others = [half for f in fits for half in f.labels[k]]
    return Discovery(PatternModel(whitening, centroids), selection, cluster_jaccard(labels, others, k))


def _feasible_counts(settings: DiscoveryConfig, patient: NDArray, halves: list[tuple[NDArray, NDArray]]) -> list[int]:
    """The numbers of clusters that these patients can carry; the smallest in any case, if it has segments enough."""
    wanted = sorted(set(settings.cluster_counts))
    smallest = min((int(np.isin(patient, half).sum()) for pair in halves for half in pair), default=0)
    if wanted[0] * _MIN_SEGMENTS_A_CLUSTER > smallest:
        raise InputError(
            f"too few training segments for patterns: half of the patients have {smallest}, the smallest number of "
            f"clusters ({wanted[0]}) needs {wanted[0] * _MIN_SEGMENTS_A_CLUSTER}; give it more patients, or lower "
            "discovery.cluster_counts"
        )
    most = min(smallest // _MIN_SEGMENTS_A_CLUSTER, len(np.unique(patient)) // settings.patients_per_cluster)
    return [k for k in wanted if k <= max(most, wanted[0])]


def _report(
    config: Config,
    workspace: Workspace,
    segments: Segments,
    found: Discovery,
    pattern: NDArray,
    similarity: NDArray,
) -> dict[str, Any]:
    settings, k = config.discovery, len(found.model.centroids)
    rng = np.random.default_rng([settings.seed, 5])
    described = _described(config, workspace, segments)
    poor = profile.poor_segments(described.columns)
    counts = profile.segment_counts(pattern, segments.patient, k, len(segments.patients))
    profiles = profile.column_profiles(
        described.columns, pattern, segments.patient, counts, settings.bootstrap_repetitions, rng
    )
    charted, agreement = _known_rhythm(settings, segments, described, pattern, k)
    patterns = []
    for j in range(k):
        shares = profile.shares(counts[:, j])
        rows = np.flatnonzero(pattern == j)
        poor_share = float(poor[rows].mean()) if poor is not None and len(rows) else None
        medoids, typical = profile.representatives(similarity, segments.patient, rows, settings.medoids)
        patterns.append(
            {
                "id": j,
                "class": profile.classify(shares, poor_share, settings),
                **shares,
                "patients_by_split": {
                    name: int(np.count_nonzero(counts[segments.patient_split == code, j]))
                    for code, name in enumerate(SPLITS)
                },
                "heart_rate_bpm": _value(profiles[j], "rhythm/heart_rate_bpm"),
                "rr_cv": _value(profiles[j], "rhythm/rr_cv"),
                "poor_quality_share": poor_share,
                "jaccard": None if np.isnan(found.jaccard[j]) else float(found.jaccard[j]),
                "rhythm": charted[j] if charted else None,
                "profile": profiles[j],
                "medoids": segments.segment_index[medoids].tolist(),
                "typical": segments.segment_index[typical].tolist(),
            }
        )
    return {
        "format_version": 1,
        "parameters": parameters(config, "discovery"),
        "segments": len(segments),
        "patients": {name: int(np.sum(segments.patient_split == code)) for code, name in enumerate(SPLITS)},
        "selection": found.selection,
        "density_check": _density(segments, pattern, settings),
        "confounding": _confounding(segments, found.model, settings),
        "rhythm_agreement": agreement,
        "patterns": patterns,
        "transitions": profile.transitions(
            pattern, segments.patient, segments.record, segments.start_seconds, settings.transition_gap_seconds, k
        ),
        "limits": list(LIMITS),
    }


def _value(columns: dict[str, Any], name: str) -> float | None:
    return columns[name]["value"] if name in columns else None


@dataclass(frozen=True)
class Described:
    """The dataset on each segment: ``columns`` of rhythm and quality (n,), ``charted`` rhythm (n,) or None."""

    columns: dict[str, NDArray]
    charted: NDArray[np.str_] | None
    segment_seconds: float


def _described(config: Config, workspace: Workspace, segments: Segments) -> Described:
    """Reads the dataset of the output folder, if there is one."""
    if not workspace.dataset.is_file():
        return Described({}, None, config.build.segment_seconds)
    with Dataset(workspace.dataset) as dataset:
        rows = segments.segment_index
        if len(rows) and (rows.min() < 0 or rows.max() >= dataset.n_segments):
            raise InputError(
                f"the embeddings name segments {rows.min()} to {rows.max()}, but {workspace.dataset} has "
                f"{dataset.n_segments}: they were made from another dataset; embed again"
            )
        if (dataset.patient_id[rows] != segments.patients[segments.patient]).any():
            raise InputError(
                f"the embeddings' patients are not those of {workspace.dataset}: they were made from another "
                "dataset; embed again"
            )
        wanted = [name for name in dataset.column_names if name.startswith(("rhythm/", "quality/"))]
        columns = {name: dataset.column(name)[rows] for name in wanted}
        charted = dataset.column(CHARTED_RHYTHM)[rows] if CHARTED_RHYTHM in dataset.column_names else None
        return Described(columns, charted, dataset.segment_samples / dataset.sampling_rate_hz)


def _known_rhythm(
    settings: DiscoveryConfig, segments: Segments, described: Described, pattern: NDArray, k: int
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Each pattern's rhythm by ``discovery.rhythm_file`` or, without it, the charts in the dataset."""
    if settings.rhythm_file is not None:
        intervals = rhythm.read_intervals(Path(settings.rhythm_file))
        codes, names = rhythm.rhythm_of_segments(segments, intervals, described.segment_seconds)
    elif described.charted is not None:
        codes, names = rhythm.rhythm_of_charts(described.charted)
    else:
        return [], None
    found = rhythm.known_rhythm(pattern, segments.patient, codes, segments.in_split("train"), names, k)
    rng = np.random.default_rng([settings.seed, 9])
    held_out = ~segments.in_split("train") & (codes >= 0)
    for j, description in enumerate(found):
        if "nearest" in description:
            description["held_out"] = rhythm.held_out_enrichment(
                pattern[held_out] == j,
                codes[held_out] == names.index(description["nearest"]),
                segments.patient[held_out],
                settings.bootstrap_repetitions,
                rng,
            )
    return found, rhythm.agreement(pattern, codes, segments, found, names)


def _density(segments: Segments, pattern: NDArray, settings: DiscoveryConfig) -> dict[str, Any]:
    training = np.flatnonzero(segments.in_split("train"))
    rows = capped_rows(segments.patient, training, settings.density_sample, np.random.default_rng([settings.seed, 6]))
    return density_check(segments.embeddings[rows], pattern[rows])


def _confounding(segments: Segments, model: PatternModel, settings: DiscoveryConfig) -> dict[str, Any]:
    """Who the patient is, in the embedding as it is and with each patient's mean taken away."""
    rng = np.random.default_rng([settings.seed, 7])
    rows = capped_rows(segments.patient, np.arange(len(segments)), settings.neighbour_sample, rng)
    x, patient = segments.embeddings[rows], segments.patient[rows]
    directions = model.whitening.directions(x)
    raw = confounding(directions, nearest(directions, model.centroids)[0], patient, rng)
    centred = centred_by_patient(x, patient)
    whitening = fit_whitening(centred, settings.max_components, settings.explained_variance)
    directions = whitening.directions(centred)
    centroids, _ = spherical_kmeans(
        directions, len(model.centroids), [settings.seed, 8], settings.initialisations, settings.kmeans
    )
    return {
        "raw": raw,
        "patient_centred": confounding(directions, nearest(directions, centroids)[0], patient, rng),
    }


def _write_tables(
    workspace: Workspace, segments: Segments, model: PatternModel, pattern: NDArray, similarity: NDArray
) -> None:
    model.save(workspace.pattern_model)
    split = np.array(SPLITS)[segments.patient_split]
    table = pd.DataFrame(
        {
            "segment_index": segments.segment_index,
            "patient_id": pd.Categorical.from_codes(segments.patient, segments.patients.tolist()),
            "split": pd.Categorical.from_codes(segments.patient_split[segments.patient], pd.Index(SPLITS)),
            "pattern": pattern,
            "similarity": similarity,
        }
    )
    with replacing(workspace.assignments) as temporary:
        table.to_parquet(temporary, index=False)
    components = patient_means(model.whitening, segments.embeddings, segments.patient, len(segments.patients))
    means = pd.DataFrame(components, columns=[f"component_{i + 1}" for i in range(components.shape[1])])
    means.insert(0, "patient_id", segments.patients)
    means.insert(1, "split", split)
    means.insert(2, "segments", np.bincount(segments.patient, minlength=len(segments.patients)))
    with replacing(workspace.patient_embeddings) as temporary:
        means.to_parquet(temporary, index=False)


def _warn(report: dict[str, Any], reporter: Reporter) -> None:
    ari = report["selection"]["median_ari"]
    if ari < UNSTABLE_ARI:
        reporter.warning(
            "patterns-unstable",
            f"two halves of the patients find different patterns (median ARI {ari:.2f})",
            "treat the patterns as a way to page through the data; more patients or longer training may settle them",
        )
    if not any(p["class"] == "pattern" for p in report["patterns"]):
        reporter.warning(
            "no-shared-pattern",
            "no cluster is shared by enough patients to be called a pattern",
            "validation has nothing to test; see the classes in discovered_patterns.json",
        )
