"""The dataset as tables: patients, rejections, labels; and windows to look at. Everybody by alias.

h5py, pyarrow and the detectors are imported where they are needed: opening this module costs nothing.
"""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgconsole.errors import InputError
from ecgconsole.text import alias, sanitise
from ecgconsole.workspace import Workspace

if TYPE_CHECKING:
    from ecgconsole.dataset.viewing import Window

REJECTED_SHOWN = 2000
_OWN_SALT = secrets.token_bytes(16)


@dataclass(frozen=True)
class Person:
    """One patient. ``patient_id`` is for looking things up and never shown; rows ``first`` to ``stop`` of the
    dataset are the patient's (none for a patient of whom nothing was kept)."""

    patient_id: str
    alias: str
    segments: int = 0
    rejected: int = 0
    hours: float = float("nan")
    records: int = 0
    heart_rate_bpm: float = float("nan")
    split: str = ""
    labels: tuple[str, ...] = ()
    first: int = 0
    stop: int = 0


@dataclass(frozen=True)
class Cohort:
    """``rejections``: label to (number of rows, description); ``prevalence``: label to (yes, no, unknown)."""

    people: tuple[Person, ...]
    rejections: dict[str, tuple[int, str]]
    prevalence: dict[str, tuple[int, int, int]]
    segments: int
    segment_seconds: float
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rejected:
    """One row of ``rejected.parquet``. ``patient_id`` and ``record`` are never shown."""

    patient_id: str
    alias: str
    level: str
    record: str
    start_seconds: float
    where: str
    label: str
    ecg_reason: int
    ppg_reason: int
    detail: str


def salt_of(workspace: Workspace, read_only: bool) -> bytes:
    """The folder's salt for aliases. Where it has none yet and nothing may be written, one for this process."""
    if read_only and not (workspace.folder / ".alias_salt").exists():
        return _OWN_SALT
    return workspace.salt()


def read_cohort(workspace: Workspace, salt: bytes) -> Cohort:
    """Raises ``InputError`` where there is no dataset, or none that can be read."""
    from ecgconsole.dataset import Dataset
    from ecgconsole.dataset.viewing import describe_reason

    if not workspace.dataset.exists():
        raise InputError("no dataset in this folder yet: the stage build makes it")
    with Dataset(workspace.dataset) as dataset:
        group = dataset.patients
        parameters, segments = dataset.parameters, dataset.n_segments
        seconds = dataset.segment_samples / dataset.sampling_rate_hz
    labels = {n.removeprefix("labels/"): v for n, v in group.items() if n.startswith("labels/")}
    facts = _metadata(workspace)
    by_label, by_patient = _rejection_counts(workspace)
    people = []
    for i, patient_id in enumerate(group["id"].tolist()):
        row = facts.get(patient_id, {})
        people.append(
            Person(
                patient_id,
                alias(patient_id, salt),
                int(group["segments"][i]),
                by_patient.pop(patient_id, 0),
                _number(row.get("recorded_hours")),
                int(group["records"][i]),
                _number(row.get("heart_rate_bpm_median")),
                str(group["split"][i]),
                tuple(sorted(name for name, values in labels.items() if values[i] == 1)),
                int(group["row_start"][i]),
                int(group["row_stop"][i]),
            )
        )
    people += [Person(p, alias(p, salt), rejected=n) for p, n in sorted(by_patient.items()) if p]
    return Cohort(
        tuple(people),
        {name: (n, describe_reason(name)) for name, n in sorted(by_label.items(), key=lambda kv: -kv[1])},
        {n: tuple(int((v == x).sum()) for x in (1, 0, -1)) for n, v in sorted(labels.items())},  # type: ignore[misc]
        segments,
        seconds,
        parameters,
    )


def read_rejected(
    workspace: Workspace, salt: bytes, patient_id: str = "", label: str = "", level: str = ""
) -> list[Rejected]:
    """The first ``REJECTED_SHOWN`` rows that fit, in the order of the file."""
    import pyarrow.dataset as tables

    wanted = [tables.field(n) == v for n, v in (("patient_id", patient_id), ("label", label), ("level", level)) if v]
    condition = wanted[0] if wanted else None
    for more in wanted[1:]:
        condition &= more
    if not workspace.rejected.exists():
        return []
    table = tables.dataset(workspace.rejected, format="parquet").head(REJECTED_SHOWN, filter=condition)
    rows = []
    for row in table.to_pylist():
        person = alias(row["patient_id"], salt) if row["patient_id"] else ""
        start = row["start_seconds"]
        rows.append(
            Rejected(
                row["patient_id"],
                person,
                row["level"],
                row["record"],
                float("nan") if start is None else start,
                row["where"] if row["level"] == "window" else "",
                row["label"],
                row["ecg_reason"],
                row["ppg_reason"],
                _nameless(row["detail"], row["patient_id"], row["record"], person),
            )
        )
    return rows


def read_segment(workspace: Workspace, row: int) -> Window:
    """One stored segment. Raises ``InputError``, ``IndexError``."""
    from ecgconsole.dataset import Dataset
    from ecgconsole.dataset.viewing import stored_window

    with Dataset(workspace.dataset) as dataset:
        return stored_window(dataset, row)


def read_recorded(cohort: Cohort, rejected: Rejected) -> Window:
    """What was recorded where a window was rejected."""
    from ecgconsole.dataset.viewing import recorded_window

    return recorded_window(cohort.parameters, rejected.record, rejected.start_seconds)


def why_rejected(rejected: Rejected) -> list[str]:
    """The reason in words, and each signal's own."""
    from ecgconsole.dataset.viewing import reason_text

    lines = []
    for signal, number in (("ECG", rejected.ecg_reason), ("PPG", rejected.ppg_reason)):
        if number:
            lines.append(f"{signal} {reason_text(number)}")
    return lines or [rejected.label + (f": {rejected.detail}" if rejected.detail else "")]


def _metadata(workspace: Workspace) -> dict[str, dict[str, Any]]:
    import pyarrow.parquet as parquet

    if not workspace.metadata.exists():
        return {}
    names = set(parquet.read_schema(workspace.metadata).names)
    wanted = [n for n in ("patient_id", "recorded_hours", "heart_rate_bpm_median") if n in names]
    return {row["patient_id"]: row for row in parquet.read_table(workspace.metadata, columns=wanted).to_pylist()}


def _rejection_counts(workspace: Workspace) -> tuple[Counter[str], dict[str, int]]:
    """Rows by label; windows by patient, and patients of whom anything was lost. Read piece by piece."""
    import pyarrow.parquet as parquet

    by_label: Counter[str] = Counter()
    by_patient: Counter[str] = Counter()
    if workspace.rejected.exists():
        with parquet.ParquetFile(workspace.rejected) as file:
            for batch in file.iter_batches(columns=["label", "patient_id", "level"]):
                for name, counter in (("label", by_label), ("patient_id", by_patient)):
                    counts = batch.column(name).value_counts()
                    counter.update(dict(zip(*(part.to_pylist() for part in counts.flatten()), strict=True)))
    return by_label, dict(by_patient)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _nameless(text: str, patient_id: str, record: str, person: str) -> str:
    """The text with the alias where it names the patient or the record."""
    for name in (record, record.rsplit("/", 1)[-1], patient_id):
        if name:
            text = text.replace(name, person)
    return sanitise(text)


def clock(seconds: float) -> str:
    """``2:14:10`` from a record's start."""
    if not np.isfinite(seconds):
        return "–"
    whole = int(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
