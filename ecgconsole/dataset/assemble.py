"""The end of a build: committed shards, clinical tables and the split into the files of the output folder."""

from __future__ import annotations

import json
import platform
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

import h5py
import numpy as np
import pandas as pd

from ecgconsole import __version__
from ecgconsole.clinical import prevalence_warnings
from ecgconsole.config import Config, flatten, is_execution_key
from ecgconsole.dataset import tables
from ecgconsole.dataset.arrays import Arrays
from ecgconsole.dataset.discovery import Cohort, Rejection
from ecgconsole.dataset.layout import FORMAT_VERSION, SIGNALS
from ecgconsole.dataset.merge import MergePlan, merge
from ecgconsole.dataset.people import Patient
from ecgconsole.dataset.plan import forecast_windows
from ecgconsole.dataset.rejected import write_rejected
from ecgconsole.dataset.segments import Rows, rejection_row
from ecgconsole.dataset.shards import Manifest
from ecgconsole.dataset.split import assign, strata
from ecgconsole.dataset.workers import Workers, call
from ecgconsole.errors import InputError
from ecgconsole.signals.reasons import Reason, reason_named
from ecgconsole.signals.windows import QUALITY_COLUMNS, RHYTHM_COLUMNS
from ecgconsole.stage import Reporter
from ecgconsole.text import count, sanitise
from ecgconsole.workspace import Workspace, write_atomically

UNITS = ("mV", "NU")
PARAMETER_SECTIONS = ("data", "build", "clinical", "split")


def assemble(
    cohort: Cohort,
    patients: list[Patient],
    identity: str,
    manifests: list[Manifest],
    split_file: dict[str, str],
    config: Config,
    workspace: Workspace,
    workers: Workers,
    reporter: Reporter,
) -> dict[str, Any]:
    """The output files from committed shards; returns the result of the stage."""
    entries = {entry["patient_id"]: entry for m in manifests for entry in m.patients}
    kept = [p for p in patients if entries[p.patient_id]["segments"]]
    _warn_of_problems(manifests, cohort, reporter)
    segments = sum(m.segments for m in manifests)
    if not segments:
        raise InputError(_nothing_kept(config, patients, manifests))
    clinical = tables.read_clinical(config, kept)
    frame = tables.metadata_frame(kept, [entries[p.patient_id] for p in kept], clinical.patients if clinical else None)
    for code, message, hint in prevalence_warnings(clinical.patients) if clinical else ():
        reporter.warning(code, message, hint)
    frame.insert(1, "split", drawn_split(frame, split_file, config, reporter))
    shards = tuple(Arrays(workspace.shards / m.file, m.arrays) for m in manifests)
    others = _other_rejections(cohort, patients, config)
    rejected = _rejected(manifests, others)
    plan = MergePlan(
        shards=shards,
        segments=segments,
        patients=tables.patient_group(frame, list(frame["split"])),
        split=dict(zip(frame["patient_id"], frame["split"], strict=True)),
        hadm_id=clinical.hadm_id if clinical else {},
        subject_id={r.record: r.subject_id for p in kept for r in p.recordings if r.subject_id is not None},
        charted=clinical.charted if clinical and len(clinical.charted) else None,
        attributes={**_attributes(config, rejected, cohort, len(kept)), "build_identity": identity},
        columns=_column_attributes(),
        compression=config.build.compression,
    )
    with ThreadPoolExecutor(1) as pool:
        merging = pool.submit(call, workers, merge, plan, workspace.dataset)
        # Meanwhile.
        write_rejected(shards, others, workspace.rejected)
        metadata, features = frame.to_parquet(index=False), tables.features_csv(frame)
        sha256, n_bytes = merging.result()
    write_atomically(workspace.metadata, metadata)
    write_atomically(workspace.clinical_features, features)
    return {
        "patients": len(kept),
        "segments": segments,
        "rejected": rejected,
        "bytes": n_bytes,
        "content_sha256": sha256,
    }


def drawn_split(frame: pd.DataFrame, split_file: dict[str, str], config: Config, reporter: Reporter) -> list[str]:
    """The split of each patient: drawn, then overridden by ``split.file``."""
    irregularity = frame["rr_cv_median"].to_numpy(float) if "rr_cv_median" in frame else np.full(len(frame), np.nan)
    stratum = strata(tables.outcome(frame), irregularity)
    ids = list(frame["patient_id"])
    drawn = assign(ids, stratum, config.split.fractions, config.split.seed)
    if split_file:
        missing = len(set(ids) - set(split_file))
        if missing:
            reporter.warning(
                "split-file-incomplete",
                f"split.file does not name {count(missing, 'patient')}; for them the draw stands",
                "name every patient in split.file",
            )
    return [split_file.get(patient, split) for patient, split in zip(ids, drawn, strict=True)]


def _rejected(manifests: list[Manifest], others: Rows | None) -> dict[str, int]:
    """Rows of ``rejected.parquet`` by reason."""
    totals: Counter[str] = Counter()
    for manifest in manifests:
        totals.update(manifest.rejected)
        totals.update(manifest.problems)
    if others:
        totals.update(Reason(number).label for number in others["reason"].tolist())
    return dict(sorted(totals.items()))


def _other_rejections(cohort: Cohort, patients: list[Patient], config: Config) -> Rows | None:
    """Rejections that no shard knows: unusable records, records and patients without enough candidate windows."""
    minimum = config.build.min_segments_per_patient
    selected = {p.patient_id for p in patients}
    rejections = list(cohort.rejections)
    for patient in cohort.patients:
        if patient.candidate_windows < minimum and patient.patient_id not in selected:
            detail = f"{count(patient.candidate_windows, 'candidate window')}; min_segments_per_patient is {minimum}"
            rejections.append(Rejection(Reason.TOO_FEW_SEGMENTS, patient.patient_id, "", "", detail))
    if not rejections:
        return None
    rows = [rejection_row(_level(r), r) for r in rejections]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _level(rejection: Rejection) -> str:
    """A reason that can concern a window or a segment concerns the whole record here."""
    return "patient" if rejection.reason.unit == "patient" else "record"


def _attributes(config: Config, rejected: dict[str, int], cohort: Cohort, n_patients: int) -> dict[str, Any]:
    """Attributes of the file. Nothing that differs between two builds of the same dataset."""
    parameters: dict[str, Any] = {}
    for key, value in flatten(config.model_dump(mode="json")).items():
        section, _, name = key.partition(".")
        if section in PARAMETER_SECTIONS and not is_execution_key(key):
            parameters.setdefault(section, {})[name] = value
    packages = {name: version(name) for name in ("h5py", "isal", "numpy", "pandas", "scipy")}
    versions = {"ecgconsole": __version__, "hdf5": h5py.version.hdf5_version, "python": platform.python_version()}
    return {
        "format_version": FORMAT_VERSION,
        "sampling_rate_hz": config.build.sampling_rate_hz,
        "segment_seconds": config.build.segment_seconds,
        "channel_names": list(SIGNALS),
        "channel_units": list(UNITS),
        "layout": cohort.layout,
        "patients": n_patients,
        "parameters": json.dumps(parameters, sort_keys=True),
        "versions": json.dumps({**versions, **packages}, sort_keys=True),
        "rejected": json.dumps(rejected, sort_keys=True),
        "other_channels": json.dumps(cohort.other_channels, sort_keys=True),
        "reasons": json.dumps({int(r): [r.label, r.description] for r in Reason}, sort_keys=True),
    }


def _column_attributes() -> dict[str, dict[str, str]]:
    named = [("quality", c) for c in QUALITY_COLUMNS] + [("rhythm", c) for c in RHYTHM_COLUMNS]
    return {f"{group}/{c.name}": {"unit": c.unit, "description": c.description} for group, c in named}


def _warn_of_problems(manifests: list[Manifest], cohort: Cohort, reporter: Reporter) -> None:
    """One warning for each reason that is no window's, with how often it was met."""
    totals: dict[str, int] = {}
    for problems in [m.problems for m in manifests] + [{r.reason.label: 1} for r in cohort.rejections]:
        for label, n in problems.items():
            totals[label] = totals.get(label, 0) + n
    for label, n in sorted(totals.items()):
        if label != Reason.BEYOND_MAXIMUM.label:
            message = f"{n} times {label}: {reason_named(label).description}"
            reporter.warning(label, message, "rejected.parquet names each")


def _nothing_kept(config: Config, patients: list[Patient], manifests: list[Manifest]) -> str:
    totals = _rejected(manifests, None)
    reasons = ", ".join(f"{n} {label}" for label, n in sorted(totals.items(), key=lambda kv: -kv[1]))
    windows = sum(forecast_windows(p, config) for p in patients)
    return sanitise(
        f"{config.data.waveform_dir}: no segment is usable: {count(windows, 'candidate window')} of"
        f" {count(len(patients), 'patient')}; rejected: {reasons or 'none'}"
    )
