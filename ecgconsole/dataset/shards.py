"""The unit of commit: some patients in one file, whole or absent, and its manifest.

Rows lie there as they are: the merge must cut them into other chunks, so it alone deflates. The manifest says where.

A shard is committed when its manifest is there: the file is written under a temporary name, synced,
renamed, its folder synced, and then the manifest is written the same way.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ecgconsole.config import Config
from ecgconsole.dataset.arrays import Arrays, ArraysWriter, Entry
from ecgconsole.dataset.discovery import Rejection, inputs_digest
from ecgconsole.dataset.people import Patient
from ecgconsole.dataset.plan import ShardPlan, forecast_windows, shard_settings, space_bytes
from ecgconsole.dataset.segments import Rows, Tally, as_bytes, patient_rows, rejection_row
from ecgconsole.errors import ConfigurationError, MachineError
from ecgconsole.signals.headers import RecordHeader
from ecgconsole.signals.reasons import Reason
from ecgconsole.text import sanitise, size
from ecgconsole.workspace import replacing, write_atomically

# Free space to leave, besides what a shard may need.
MARGIN_BYTES = 64 << 20
OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class InputsChanged(Exception):
    """A recording's files are not those that were planned for: changed, or their disk is gone.

    The message names no record: its path holds the patient's id.
    """


@dataclass(frozen=True)
class Manifest:
    """What a committed shard holds. ``arrays``: rows of the dataset by path, ``signal`` first, and of the rejected by
    ``rejected/`` and a name. ``patients``: a dict each, see ``_patient_entry``."""

    file: str
    identity: str
    configuration: str
    settings: dict[str, Any]
    arrays: dict[str, Entry]
    n_bytes: int
    segments: int
    rejected: dict[str, int]
    problems: dict[str, int]
    patients: list[dict[str, Any]]


def build_shard(plan: ShardPlan, root: Path, config: Config, folder: Path, skip: frozenset[str]) -> Manifest:
    """Builds and commits one shard in ``folder``; runs in a worker process that may die.

    Patients in ``skip`` are left out as ``worker-died``. Raises ``MachineError`` where the disk cannot
    hold it, ``InputsChanged`` where the recordings are not those of the plan, ``OSError`` where they cannot
    be read.
    """
    needed = space_bytes(plan.forecast_windows, 0, config)
    check_space(folder, needed)
    marker = marker_path(folder, plan)
    path = folder / plan.file_name
    try:
        with replacing(path) as temporary:
            with temporary.open("wb") as file, marker.open("w+b", buffering=0) as in_hand:
                shard = ShardFile(file)
                patients = [_add_patient(shard, root, patient, config, skip, in_hand) for patient in plan.patients]
                rejected, problems = shard.finish()
            n_bytes = temporary.stat().st_size
        manifest = Manifest(
            file=path.name,
            identity=plan.identity,
            configuration=plan.configuration,
            settings=shard_settings(config),
            arrays=shard.arrays,
            n_bytes=n_bytes,
            segments=sum(p["segments"] for p in patients),
            rejected=rejected,
            problems=problems,
            patients=patients,
        )
        write_atomically(folder / plan.manifest_name, json.dumps(vars(manifest), allow_nan=False))
    except OSError as error:
        raise writing_error(error, folder, needed) from error
    marker.unlink(missing_ok=True)
    return manifest


class ShardFile:
    """A shard being written: signals go to the file as they come, columns at the end."""

    def __init__(self, file: BinaryIO) -> None:
        self._writer = ArraysWriter(file)
        self.arrays = self._writer.entries
        self._columns: dict[str, list[np.ndarray]] = {}
        self._rejected: list[Rows] = []

    def append(self, rows: Rows) -> None:
        for path, values in rows.items():
            if path == "signal":
                self._writer.append(path, values)
            else:
                self._columns.setdefault(path, []).append(values)

    def reject(self, rejected: list[Rows]) -> None:
        self._rejected += rejected

    def finish(self) -> tuple[dict[str, int], dict[str, int]]:
        """Writes the columns; returns rejected windows by reason, and all other rejections by reason."""
        for path, parts in sorted(self._columns.items()):
            self._writer.append(path, np.concatenate(parts))
        if not self._rejected:
            return {}, {}
        rejected = {name: np.concatenate([rows[name] for rows in self._rejected]) for name in self._rejected[0]}
        for name, values in sorted(rejected.items()):
            self._writer.append(f"rejected/{name}", values)
        of_window = rejected["level"] == b"window"
        return _by_label(rejected["reason"][of_window]), _by_label(rejected["reason"][~of_window])


def read_manifest(path: Path) -> Manifest | None:
    """The manifest at ``path``, or None where it is no whole manifest."""
    try:
        data = json.loads(path.read_text())
        return Manifest(**data)
    except (OSError, ValueError, TypeError):
        return None


def is_intact(folder: Path, manifest: Manifest) -> bool:
    """Whether the shard's file has the bytes that were committed."""
    path = folder / manifest.file
    try:
        return path.stat().st_size == manifest.n_bytes and Arrays(path, manifest.arrays).is_intact()
    except OSError:
        return False


def check_configuration(folder: Path, config: Config, configuration: str) -> None:
    """Raises ``ConfigurationError`` where ``folder`` holds a shard that was built with other settings."""
    for path in sorted(folder.glob("shard-*.json")):
        manifest = read_manifest(path)
        if manifest is None or manifest.configuration == configuration:
            continue
        now = shard_settings(config)
        different = tuple(
            f"{key}: {json.dumps(manifest.settings.get(key))} in the shards, {json.dumps(now.get(key))} now"
            for key in sorted({*manifest.settings, *now})
            if manifest.settings.get(key) != now.get(key)
        )
        raise ConfigurationError(
            f"{folder} holds shards of an interrupted build with other settings; go back to those settings,"
            " or use --rebuild to discard the shards:",
            tuple(sanitise(line, 300) for line in different),
        )


def quarantine(folder: Path, plan: ShardPlan) -> None:
    """Moves a damaged shard and its manifest aside."""
    aside = folder / "quarantine"
    aside.mkdir(exist_ok=True)
    for name in (plan.manifest_name, plan.file_name):
        if (folder / name).exists():
            os.replace(folder / name, aside / name)


def marker_path(folder: Path, plan: ShardPlan) -> Path:
    """Names the patient in hand, for whoever finds that the worker died."""
    return folder / f".{plan.file_name}.patient.partial"


def check_space(folder: Path, needed: int) -> None:
    """Raises ``MachineError`` where the disk of ``folder`` has less than ``needed`` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed + MARGIN_BYTES:
        raise MachineError(
            f"{folder}: not enough free space: {size(needed + MARGIN_BYTES)} are needed, {size(free)} are free. Make"
            " room and start the same command: it continues from what is committed"
        )


def _add_patient(
    shard: ShardFile, root: Path, patient: Patient, config: Config, skip: frozenset[str], in_hand: BinaryIO
) -> dict[str, Any]:
    if patient.patient_id in skip:
        reason = Reason.WORKER_DIED
        detail = (
            f"{forecast_windows(patient, config)} candidate windows lost; the next build with --rebuild tries again"
        )
        shard.reject([rejection_row(reason.unit, Rejection(reason, patient.patient_id, "", "", detail))])
        return _patient_entry(patient.patient_id, Tally(candidate_windows=patient.candidate_windows))
    in_hand.truncate(0)
    os.pwrite(in_hand.fileno(), as_bytes(patient.patient_id), 0)
    tally = Tally()
    for rows in patient_rows(root, patient, config, tally):
        shard.append(rows)
    _check_inputs(patient, tally.headers, root)
    shard.reject(_in_order(tally.rejected))
    return _patient_entry(patient.patient_id, tally)


def _patient_entry(patient_id: str, tally: Tally) -> dict[str, Any]:
    """A patient in a manifest: counts, and means, medians, upper deciles of the rhythm columns."""
    windows: Counter[int] = Counter()
    for rows in tally.rejected:
        if rows["level"][0] == b"window":
            windows.update(rows["reason"].tolist())
    rhythm = {}
    if tally.segments:
        for name, parts in sorted(tally.rhythm.items()):
            values = np.concatenate(parts)
            values = values[np.isfinite(values)].astype(np.float64)
            median, p90 = np.quantile(values, [0.5, 0.9]).tolist() if len(values) else (None, None)
            rhythm[name] = {"mean": float(values.mean()) if len(values) else None, "median": median, "p90": p90}
    return {
        "patient_id": patient_id,
        "segments": tally.segments,
        "candidate_windows": tally.candidate_windows,
        "rejected_windows": {Reason(number).label: n for number, n in sorted(windows.items())},
        "rhythm": rhythm,
    }


def _in_order(rejected: list[Rows]) -> list[Rows]:
    """One block of rows, by level, record, place and time: rounds of even selection come in any order."""
    if not rejected:
        return []
    joined = {name: np.concatenate([rows[name] for rows in rejected]) for name in rejected[0]}
    order = np.lexsort((joined["start_seconds"], joined["where"], joined["record"], joined["level"]))
    return [{name: values[order] for name, values in joined.items()}]


def _by_label(reasons: np.ndarray) -> dict[str, int]:
    numbers, counts = np.unique(reasons, return_counts=True)
    return {Reason(int(number)).label: int(n) for number, n in zip(numbers, counts, strict=True)}


def _check_inputs(patient: Patient, headers: list[RecordHeader], root: Path) -> None:
    """Raises ``InputsChanged`` unless every planned record is still made of the same files.

    A folder that is unmounted midway makes each file look absent; this tells it from files that were
    absent from the start.
    """
    if len(headers) < len(patient.recordings):
        raise InputsChanged("a record that was planned for became unreadable")
    for recording, header in zip(patient.recordings, headers, strict=True):
        if inputs_digest(root, header) != recording.inputs:
            raise InputsChanged("files of a record are not those that were planned for")


def writing_error(error: OSError, folder: Path, needed: int) -> Exception:
    """What an ``OSError`` means where ``folder`` is written: ``MachineError`` where that disk is full or refuses.

    Anything else is the error itself: the input's, most likely.
    """
    if error.errno in OUT_OF_SPACE or "No space left" in str(error) or "File too large" in str(error):
        free = shutil.disk_usage(folder).free
        return MachineError(
            f"{folder}: no space left while writing: {size(needed + MARGIN_BYTES)} are needed, {size(free)} are"
            " free (or a quota or file-size limit is reached). Make room and start the same command"
        )
    name = Path(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes)) else None
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) and (name is None or folder in name.parents):
        return MachineError(f"{folder}: cannot be written ({error.strerror}); choose another output folder")
    return error
