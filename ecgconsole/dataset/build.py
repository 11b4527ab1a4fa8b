"""The build stage: a folder of recordings to ``full_dataset.h5`` and its tables."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from ecgconsole import __version__
from ecgconsole.clinical import check_tables, prevalence_warnings
from ecgconsole.config import Config, flatten, is_execution_key
from ecgconsole.dataset import tables
from ecgconsole.dataset.discovery import (
    Cohort,
    FolderScan,
    HeaderFolder,
    Rejection,
    discover,
    scan_folder,
    waveform_dir,
)
from ecgconsole.dataset.finished import build_identity, finished_result
from ecgconsole.dataset.merge import MergePlan, merge, write_rejected
from ecgconsole.dataset.people import Patient, select
from ecgconsole.dataset.plan import (
    ShardPlan,
    configuration_hash,
    forecast_bytes,
    forecast_windows,
    plan_shards,
    space_bytes,
)
from ecgconsole.dataset.schedule import BACK_OFF_SECONDS, build_shards, why
from ecgconsole.dataset.segments import Rows, rejection_row
from ecgconsole.dataset.shards import Manifest, check_configuration, check_space, is_intact, quarantine, read_manifest
from ecgconsole.dataset.split import assign, read_split_file, strata
from ecgconsole.dataset.storage import FORMAT_VERSION, SIGNALS, import_zstd
from ecgconsole.dataset.workers import Workers, call, start_workers
from ecgconsole.errors import InputError, MachineError
from ecgconsole.signals.reasons import Reason, reason_named
from ecgconsole.signals.windows import QUALITY_COLUMNS, RHYTHM_COLUMNS
from ecgconsole.stage import Reporter, Stop
from ecgconsole.text import count, sanitise
from ecgconsole.workspace import Workspace, replacing, sweep_partial

# Below this many headers, starting processes to read them costs more than reading them.
SCAN_IN_PROCESS_HEADERS = 500
SCAN_FOLDERS_AT_ONCE = 16
UNITS = ("mV", "NU")
PARAMETER_SECTIONS = ("data", "build", "clinical", "split")


def run(config: Config, workspace: Workspace, reporter: Reporter, stop: Stop, rebuild: bool = False) -> dict[str, Any]:
    """Builds the dataset, or goes on with an interrupted build. See ``stage`` for the contract.

    ``rebuild`` discards shards of an earlier build. Returns ``patients``, ``segments``, ``rejected`` (rows by
    reason), ``bytes``, ``content_sha256``, and ``forecast``: the segments and bytes that the headers promised.
    """
    root = waveform_dir(config)
    if config.build.compression == "zstd":
        import_zstd()
    split_file = read_split_file(Path(config.split.file)) if config.split.file else {}
    if config.data.clinical_dir is not None:
        check_tables(Path(config.data.clinical_dir))  # now, not after hours of recordings
    folder = _prepared(workspace, config, rebuild)
    with start_workers(config.build.executor, config.build.num_workers, config.build.scheduler_address) as workers:
        cohort = _discovered(root, config, workers)
        selected = _enough_windows(cohort, config)
        patients = select(selected, config)
        _warn_of_cohort(cohort, selected, patients, config, reporter)
        plans = plan_shards(patients, config)
        forecast = _forecast(patients, config)
        identity = build_identity(config, patients)
        result = None if rebuild else finished_result(workspace, identity)
        if result is not None:
            total = sum(len(p.patients) for p in plans)
            reporter.progress(total, total, "patients")
            return {**result, "forecast": forecast}
        manifests = _build(plans, root, config, folder, workers, reporter, stop)
        stop.raise_if_requested(f"{len(plans)} of {len(plans)} shards")
        result = _assemble(cohort, patients, identity, manifests, split_file, config, workspace, workers, reporter)
    if not config.build.keep_shards:
        _remove(folder)
    return {**result, "forecast": forecast}


def _forecast(patients: list[Patient], config: Config) -> dict[str, int]:
    windows = sum(forecast_windows(p, config) for p in patients)
    return {"segments": windows, "bytes": forecast_bytes(windows, config)}


def _prepared(workspace: Workspace, config: Config, rebuild: bool) -> Path:
    """The folder of shards, swept of what interrupted writes left."""
    folder = workspace.shards
    try:
        shutil.rmtree(_trash(folder), ignore_errors=True)
        if rebuild and folder.exists():
            _remove(folder)
        folder.mkdir(parents=True, exist_ok=True)
        sweep_partial(workspace.folder)
        sweep_partial(folder)
    except OSError as error:
        raise MachineError(
            f"{workspace.folder}: the output folder cannot be written ({error.strerror}); choose another"
        ) from error
    check_configuration(folder, config, configuration_hash(config))
    return folder


def _discovered(root: Path, config: Config, workers: Workers) -> Cohort:
    """Scans folders here when they are few, else in the workers. Tried again where the disk fails."""

    def scan_all(layout: str, folders: list[HeaderFolder]) -> Iterable[FolderScan]:
        if sum(len(f.names) for f in folders) < SCAN_IN_PROCESS_HEADERS:
            return scan_folders(root, folders, layout, config)
        batches = [folders[i : i + SCAN_FOLDERS_AT_ONCE] for i in range(0, len(folders), SCAN_FOLDERS_AT_ONCE)]
        futures = [workers.submit(scan_folders, root, batch, layout, config) for batch in batches]
        scans: list[FolderScan] = []
        for batch, future in zip(batches, futures, strict=True):
            try:
                scans += future.result()
            except workers.deaths:
                scans += call(workers, scan_folders, root, batch, layout, config)
        return scans

    for seconds in (*BACK_OFF_SECONDS, None):
        try:
            return discover(config, scan_all)
        except OSError as error:
            if seconds is None:
                raise InputError(
                    f"{root}: the recordings cannot be read ({why(error)}); is the disk still mounted?"
                ) from error
            time.sleep(seconds)
    raise AssertionError("the last attempt returns or raises")


def scan_folders(root: Path, folders: list[HeaderFolder], layout: str, config: Config) -> list[FolderScan]:
    return [scan_folder(root, folder, layout, config) for folder in folders]


def _enough_windows(cohort: Cohort, config: Config) -> list[Patient]:
    """Patients whose headers promise enough segments."""
    minimum = config.build.min_segments_per_patient
    enough = [p for p in cohort.patients if p.candidate_windows >= minimum]
    if not enough:
        most = max(p.candidate_windows for p in cohort.patients)
        raise InputError(
            f"{config.data.waveform_dir}: none of {count(len(cohort.patients), 'patient')} can have"
            f" {minimum} segments (build.min_segments_per_patient); the longest has {count(most, 'candidate window')}"
        )
    return enough


def _build(
    plans: list[ShardPlan],
    root: Path,
    config: Config,
    folder: Path,
    workers: Workers,
    reporter: Reporter,
    stop: Stop,
) -> list[Manifest]:
    """Every shard's manifest, in plan order: reused where it is committed and intact, built where not."""
    total = sum(len(p.patients) for p in plans)
    manifests: dict[str, Manifest] = {}
    for plan in plans:
        manifest = read_manifest(folder / plan.manifest_name)
        if manifest is None or manifest.identity != plan.identity:
            continue
        if is_intact(folder, manifest):
            manifests[plan.identity] = manifest
        else:
            quarantine(folder, plan)
            reporter.warning(
                "shard-damaged",
                f"shard {plan.number} is damaged; it is set aside and built again",
                "check the disk if this comes again",
            )
    done = sum(len(p.patients) for p in plans if p.identity in manifests)
    reporter.progress(done, total, "patients")
    missing = [p for p in plans if p.identity not in manifests]
    to_build, in_all = (sum(p.forecast_windows for p in some) for some in (missing, plans))
    check_space(folder, space_bytes(to_build, in_all, config))
    last = time.monotonic()

    def committed(plan: ShardPlan, manifest: Manifest) -> None:
        nonlocal done, last
        manifests[plan.identity] = manifest
        done += len(plan.patients)
        now = time.monotonic()
        seconds, last = now - last, now
        segments = manifest.segments
        reporter.chunk(plan.number, len(plan.patients), segments, manifest.rejected, manifest.n_bytes, seconds)
        reporter.progress(done, total, "patients")

    def saved() -> str:
        return f"{len(manifests)} of {len(plans)} shards"

    build_shards(missing, root, config, folder, workers, stop, committed, saved, reporter.warning)
    return [manifests[p.identity] for p in plans]


def _assemble(
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
    """The output files from committed shards."""
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
    frame.insert(1, "split", _split(frame, split_file, config, reporter))
    shard_paths = tuple(workspace.shards / m.file for m in manifests)
    others = _other_rejections(cohort, patients, config)
    rejected = write_rejected(shard_paths, others, workspace.rejected)
    plan = MergePlan(
        shards=shard_paths,
        segments=segments,
        patients=tables.patient_group(frame, list(frame["split"])),
        split=dict(zip(frame["patient_id"], frame["split"], strict=True)),
        hadm_id=clinical.hadm_id if clinical else {},
        subject_id={r.record: r.subject_id for p in kept for r in p.recordings if r.subject_id is not None},
        charted=clinical.charted if clinical else None,
        attributes={**_attributes(config, rejected, cohort, len(kept)), "build_identity": identity},
        columns=_column_attributes(),
        compression=config.build.compression,
    )
    sha256, n_bytes = call(workers, merge, plan, workspace.dataset)
    with replacing(workspace.metadata) as temporary:
        frame.to_parquet(temporary, index=False)
    tables.write_features(workspace.clinical_features, frame)
    return {
        "patients": len(kept),
        "segments": segments,
        "rejected": rejected,
        "bytes": n_bytes,
        "content_sha256": sha256,
    }


def _split(frame: pd.DataFrame, split_file: dict[str, str], config: Config, reporter: Reporter) -> list[str]:
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


def _warn_of_cohort(
    cohort: Cohort, selected: list[Patient], patients: list[Patient], config: Config, reporter: Reporter
) -> None:
    if config.build.selection == "volume" and len(patients) < len(selected):
        reporter.warning(
            "selection-by-volume",
            f"the {len(patients)} of {len(selected)} patients with most data are built: the longest-monitored, who are"
            " sicker than the rest",
            "set build.selection to random for a fair sample",
        )
    if cohort.ignored_folders:
        reporter.warning(
            "folders-ignored",
            f"{count(cohort.ignored_folders, 'folder')} with headers do not belong to layout {cohort.layout}",
            "set data.layout to wfdb to take every record",
        )
    if cohort.unknown_in_map:
        reporter.warning(
            "patient-map-unused",
            f"{count(cohort.unknown_in_map, 'record')} of data.patient_map are not in the recordings",
            "its column record holds paths under data.waveform_dir, or base names",
        )


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
    totals: dict[str, int] = {}
    for manifest in manifests:
        for label, n in {**manifest.rejected, **manifest.problems}.items():
            totals[label] = totals.get(label, 0) + n
    reasons = ", ".join(f"{n} {label}" for label, n in sorted(totals.items(), key=lambda kv: -kv[1]))
    windows = sum(forecast_windows(p, config) for p in patients)
    return sanitise(
        f"{config.data.waveform_dir}: no segment is usable: {count(windows, 'candidate window')} of"
        f" {count(len(patients), 'patient')}; rejected: {reasons or 'none'}"
    )


def _remove(folder: Path) -> None:
    """Removes the shards all at once, then for good: a kill in between leaves no half of them."""
    trash = _trash(folder)
    shutil.rmtree(trash, ignore_errors=True)
    os.replace(folder, trash)
    shutil.rmtree(trash, ignore_errors=True)


def _trash(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.removed")
