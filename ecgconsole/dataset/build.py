"""The build stage: a folder of recordings to ``full_dataset.h5`` and its tables."""

from __future__ import annotations

import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from ecgconsole.config import Config
from ecgconsole.dataset.discovery import Cohort, waveform_dir
from ecgconsole.dataset.forecast import Foretold
from ecgconsole.dataset.identity import build_identity, split_marker
from ecgconsole.dataset.people import Patient, select
from ecgconsole.dataset.plan import (
    ShardPlan,
    configuration_hash,
    forecast_bytes,
    forecast_windows,
    plan_shards,
    space_bytes,
)
from ecgconsole.dataset.scanning import discovered
from ecgconsole.dataset.schedule import build_shards
from ecgconsole.dataset.shards import Manifest, check_configuration, check_space, is_intact, quarantine, read_manifest
from ecgconsole.dataset.split import read_split_file
from ecgconsole.dataset.workers import Workers, start_workers
from ecgconsole.errors import InputError, MachineError
from ecgconsole.stage import Reporter, Stop
from ecgconsole.text import count
from ecgconsole.workspace import Workspace, sweep_partial


def run(config: Config, workspace: Workspace, reporter: Reporter, stop: Stop, rebuild: bool = False) -> dict[str, Any]:
    """Builds the dataset, or goes on with an interrupted build. See ``stage`` for the contract.

    ``rebuild`` discards shards of an earlier build. Returns ``patients``, ``segments``, ``rejected`` (rows by
    reason), ``bytes``, ``content_sha256``, and ``forecast``: the segments and bytes that the headers promised.
    """
    root = waveform_dir(config)
    if config.build.compression == "zstd":
        from ecgconsole.dataset.storage import import_zstd

        import_zstd()
    with start_workers(config.build.executor, config.build.num_workers, config.build.scheduler_address) as workers:
        split_file = read_split_file(Path(config.split.file)) if config.split.file else {}
        if config.data.clinical_dir is not None:
            from ecgconsole.clinical import check_tables

            check_tables(Path(config.data.clinical_dir))
        _prepare(workspace, config, rebuild)
        cohort = _discovered(config, workspace, workers, reporter, stop)
        selected = _enough_windows(cohort, config)
        patients = select(selected, config)
        _warn_of_cohort(cohort, selected, patients, config, reporter)
        plans = plan_shards(patients, config)
        forecast = _forecast(patients, config)
        identity = build_identity(config, patients)
        result = None
        if workspace.dataset.exists() and not rebuild:
            from ecgconsole.dataset.finished import finished_result
            from ecgconsole.dataset.resplit import another_split

            result = finished_result(workspace, identity) or another_split(
                identity, split_file, config, workspace, workers, reporter
            )
        if result is not None:
            total = sum(len(p.patients) for p in plans)
            reporter.progress(total, total, "patients")
        else:
            if config.data.clinical_dir is not None:
                from ecgconsole.dataset.tables import check_clinical

                check_clinical(config, patients)  # now, not after hours of recordings
            foretold = Foretold(root, patients, config, workers)
            manifests, built = _build(plans, root, config, workspace, workers, reporter, stop, foretold)
            stop.raise_if_requested(f"{len(plans)} of {len(plans)} shards")
            for _ in range(workers.n):  # one of them merges
                workers.submit(import_module, "ecgconsole.dataset.merge")
            from ecgconsole.dataset.assemble import assemble

            result = assemble(cohort, patients, identity, manifests, split_file, config, workspace, workers, reporter)
            foretold.compare(reporter, result, whole=built == len(plans))
    if config.build.keep_shards:
        split_marker(workspace).unlink(missing_ok=True)
    else:
        _remove(workspace.shards)
    return {**result, "forecast": forecast}


def _forecast(patients: list[Patient], config: Config) -> dict[str, int]:
    windows = sum(forecast_windows(p, config) for p in patients)
    return {"segments": windows, "bytes": forecast_bytes(windows, config)}


def _prepare(workspace: Workspace, config: Config, rebuild: bool) -> None:
    """Makes the folder of shards, swept of what interrupted writes left."""
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


def _discovered(config: Config, workspace: Workspace, workers: Workers, reporter: Reporter, stop: Stop) -> Cohort:
    def progress(done: int, total: int) -> None:
        reporter.progress(done, total, "folders")
        stop.raise_if_requested(f"the headers of {done} of {total} folders")

    return discovered(config, workspace.header_index, workers, progress)


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
    workspace: Workspace,
    workers: Workers,
    reporter: Reporter,
    stop: Stop,
    foretold: Foretold,
) -> tuple[list[Manifest], int]:
    """Every shard's manifest, in plan order: reused where it is committed and intact, built where not; and how many
    were built."""
    folder = workspace.shards
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
    # What the end needs takes a while to import: meanwhile, once no shard waits for a worker.
    ahead = threading.Thread(target=import_module, args=("ecgconsole.dataset.assemble",), daemon=True)

    def committed(plan: ShardPlan, manifest: Manifest) -> None:
        nonlocal done, last
        manifests[plan.identity] = manifest
        if ahead.ident is None and len(plans) - len(manifests) <= workers.n:
            ahead.start()
        done += len(plan.patients)
        now = time.monotonic()
        seconds, last = now - last, now
        segments = manifest.segments
        reporter.chunk(plan.number, len(plan.patients), segments, manifest.rejected, manifest.n_bytes, seconds)
        reporter.progress(done, total, "patients")
        foretold.tell(reporter)

    def saved() -> str:
        return f"{len(manifests)} of {len(plans)} shards"

    build_shards(missing, root, config, folder, workers, stop, committed, saved, reporter.warning)
    return [manifests[p.identity] for p in plans], len(missing)


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


def _remove(folder: Path) -> None:
    """Removes the shards all at once, then for good: a kill in between leaves no half of them."""
    trash = _trash(folder)
    shutil.rmtree(trash, ignore_errors=True)
    os.replace(folder, trash)
    with ThreadPoolExecutor() as pool:  # large files take their time
        list(pool.map(_unlink, trash.iterdir()))
    shutil.rmtree(trash, ignore_errors=True)


def _unlink(path: Path) -> None:
    with suppress(OSError):  # the next build tries again
        path.unlink()


def _trash(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.removed")
