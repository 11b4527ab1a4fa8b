"""Whose recordings are whose: patients of records, the map that says who is one person, and who is taken."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from ecgconsole.config import Config
from ecgconsole.errors import InputError
from ecgconsole.text import sanitise


@dataclass(frozen=True)
class Recording:
    """A waveform record as its headers tell it. ``inputs`` stands for path, size and time of its files."""

    record: str
    patient_id: str
    subject_id: int | None
    start: datetime | None
    seconds: float
    candidate_windows: int
    channel_seconds: tuple[tuple[str, float], ...]
    inputs: str

    @property
    def end(self) -> datetime | None:
        return None if self.start is None else self.start + timedelta(seconds=self.seconds)


@dataclass(frozen=True)
class Patient:
    """One person and the records with candidate windows, sorted by path."""

    patient_id: str
    recordings: tuple[Recording, ...]

    @property
    def candidate_windows(self) -> int:
        return sum(r.candidate_windows for r in self.recordings)

    @property
    def hours(self) -> float:
        return sum(r.seconds for r in self.recordings) / 3600


def with_unique_patients(recordings: list[Recording], layout: str) -> list[Recording]:
    """In layout ``wfdb``, patients named alike in different folders are told apart by their path."""
    if layout != "wfdb":
        return recordings
    # A folder is one place for all multi-segment records in it; a single record is its own place.
    place = {
        r.record: r.record.rpartition("/")[0] if base_name(r.record) != r.patient_id else r.record for r in recordings
    }
    places: dict[str, set[str]] = {}
    for r in recordings:
        places.setdefault(r.patient_id, set()).add(place[r.record])
    return [replace(r, patient_id=place[r.record]) if len(places[r.patient_id]) > 1 else r for r in recordings]


def read_patient_map(path: Path) -> dict[str, str]:
    """``record -> patient`` from a CSV with these two columns. Raises ``InputError`` naming the line."""
    return read_assignments(path, "record", "patient")


def read_assignments(path: Path, key: str, value: str) -> dict[str, str]:
    """Two columns of a small CSV as a dict; a key given twice with two values is an error."""
    found: dict[str, str] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            columns = {(name or "").strip().lower(): name for name in rows.fieldnames or ()}
            if key not in columns or value not in columns:
                raise InputError(f"{path}: needs columns {key},{value}; it has {sanitise(','.join(columns), 200)}")
            for row in rows:
                k, v = ((row[columns[c]] or "").strip() for c in (key, value))
                if not k or not v:
                    raise InputError(f"{path}:{rows.line_num}: {key} or {value} is empty")
                if found.setdefault(k, v) != v:
                    raise InputError(f"{path}:{rows.line_num}: {sanitise(k, 100)} is given twice, with two values")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    return found


def with_mapped_patients(recordings: list[Recording], names: dict[str, str]) -> tuple[list[Recording], set[str]]:
    """Patients by the map (path first, then base name), and the entries of the map that were used."""
    used: set[str] = set()
    mapped = []
    for recording in recordings:
        keys = (recording.record, base_name(recording.record))
        key = next((k for stem in keys for k in (stem, f"{stem}.hea") if k in names), None)
        if key is not None:
            used.add(key)
            recording = replace(recording, patient_id=names[key])
        mapped.append(recording)
    return mapped, used


def patients_of(recordings: list[Recording]) -> tuple[Patient, ...]:
    """Patients sorted by id, with the records that have candidate windows."""
    by_patient: dict[str, list[Recording]] = {}
    for recording in recordings:
        if recording.candidate_windows:
            by_patient.setdefault(recording.patient_id, []).append(recording)
    return tuple(
        Patient(patient_id, tuple(sorted(rs, key=lambda r: r.record))) for patient_id, rs in sorted(by_patient.items())
    )


def select(patients: Sequence[Patient], config: Config) -> list[Patient]:
    """The first ``build.max_patients`` by ``build.selection``, in that order."""
    ordered = sorted(patients, key=lambda p: p.patient_id)
    if config.build.selection == "volume":
        ordered.sort(key=lambda p: -p.candidate_windows)
    elif config.build.selection == "random":
        random.Random(config.build.selection_seed).shuffle(ordered)
    return ordered[: config.build.max_patients]


def base_name(path: str) -> str:
    return path.rpartition("/")[2]
