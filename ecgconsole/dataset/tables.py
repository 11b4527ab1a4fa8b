"""A row a patient: the metadata, the clinical features, and the group ``/patient`` of the dataset."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgconsole.clinical import charted_rhythm, link_records, patient_table
from ecgconsole.clinical.codes import ENDPOINTS
from ecgconsole.config import Config
from ecgconsole.dataset.people import Patient
from ecgconsole.dataset.segments import Rows, as_bytes
from ecgconsole.text import sanitise

# Patients are split into strata by these.
STRATA_LABELS = ("ever_stroke", "ever_atrial_fibrillation")
LABEL_TIMES = ("concurrent", "history", "future", "ever")
OTHER_LABELS = ("died_in_hospital", "died_within_90_days", "control")
# What codes of the recorded stay or later tell, told at discharge or later: no risk model may see these.
# ``history_stroke`` counts late effects that were coded in the stay itself; ``before_*`` count earlier ones only.
OUTCOME_PREFIXES = ("concurrent_", "future_", "ever_", "died_")
OUTCOME_COLUMNS = ("control", "history_stroke", "history_stroke_brief", "admissions_after")
SPREADSHEET_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def record_frame(patients: Sequence[Patient]) -> pd.DataFrame:
    """A row a record, as ``clinical.link_records`` wants it."""
    recordings = [r for p in patients for r in p.recordings]
    return pd.DataFrame(
        {
            "patient_id": pd.Series([r.patient_id for r in recordings], dtype="str"),
            "subject_id": pd.array([r.subject_id for r in recordings], dtype="Int64"),
            "record": pd.Series([r.record for r in recordings], dtype="str"),
            "start": pd.Series([r.start for r in recordings], dtype="datetime64[ms]"),
            "end": pd.Series([r.end for r in recordings], dtype="datetime64[ms]"),
        }
    )


@dataclass(frozen=True)
class Clinical:
    """What the tables tell: a row a patient; ``record -> hadm_id`` for linked records; charted rhythms of
    these subjects (``subject_id``, ``charttime``, ``rhythm``)."""

    patients: pd.DataFrame
    hadm_id: dict[str, int]
    charted: pd.DataFrame


def read_clinical(config: Config, patients: Sequence[Patient]) -> Clinical | None:
    """Reads the tables for these patients; None where ``data.clinical_dir`` is not set."""
    if config.data.clinical_dir is None:
        return None
    folder = Path(config.data.clinical_dir)
    links = _linked(folder, patients, config)
    linked = links.dropna(subset=["hadm_id"])
    hadm_id = {str(r): int(h) for r, h in zip(linked["record"], linked["hadm_id"], strict=True)}
    return Clinical(patient_table(folder, links), hadm_id, charted_rhythm(folder, links["subject_id"]))


def check_clinical(config: Config, patients: Sequence[Patient]) -> None:
    """Reads all tables but CHARTEVENTS for these patients, so that what is wrong with them is told before hours of
    recordings are read. Raises ``InputError``."""
    if config.data.clinical_dir is not None:
        folder = Path(config.data.clinical_dir)
        patient_table(folder, _linked(folder, patients, config))


def _linked(folder: Path, patients: Sequence[Patient], config: Config) -> pd.DataFrame:
    """``record_frame`` with the admission of each record."""
    records = record_frame(patients)
    links = link_records(folder, records, config.clinical.link_tolerance_hours)
    return records.merge(links, on="record", how="left", validate="1:1")


def metadata_frame(
    patients: Sequence[Patient], entries: Sequence[dict[str, Any]], clinical: pd.DataFrame | None
) -> pd.DataFrame:
    """A row a patient with segments, in dataset order: counts, hours, rhythm over segments (mean, median,
    upper decile), then the clinical columns.

    ``entries`` are the manifests' dicts of the same patients.
    """
    rows = []
    for patient, entry in zip(patients, entries, strict=True):
        starts = [r.start for r in patient.recordings if r.start is not None]
        row: dict[str, Any] = {
            "patient_id": patient.patient_id,
            "segments": entry["segments"],
            "candidate_windows": entry["candidate_windows"],
            "rejected_windows": sum(entry["rejected_windows"].values()),
            "records": len(patient.recordings),
            "recorded_hours": patient.hours,
            "channel_hours": _channel_hours(patient),
            "first_record_start": min(starts) if starts else None,
        }
        for name, values in entry["rhythm"].items():
            row |= {f"{name}_{statistic}": value for statistic, value in values.items()}
        rows.append(row)
    frame = pd.DataFrame(rows)
    frame["first_record_start"] = frame["first_record_start"].astype("datetime64[ms]")
    if clinical is None:
        nulls = {name: pd.array([pd.NA] * len(frame), dtype="boolean") for name in label_names()}
        return pd.concat([frame, pd.DataFrame(nulls, index=frame.index)], axis=1)
    new = clinical[[c for c in clinical.columns if c == "patient_id" or c not in frame.columns]]
    return frame.merge(new, on="patient_id", how="left", validate="1:1")


def _channel_hours(patient: Patient) -> str:
    """Hours under each channel name, a gap counted for none, as JSON: there are as many names as hospitals think of."""
    hours: dict[str, float] = {}
    for recording in patient.recordings:
        for name, seconds in recording.channel_seconds:
            hours[name] = hours.get(name, 0.0) + seconds / 3600
    return json.dumps({name: round(h, 4) for name, h in sorted(hours.items())})


def label_names() -> list[str]:
    """Labels that exist with tables, and are null without."""
    return [f"{time}_{endpoint}" for time in LABEL_TIMES for endpoint in ENDPOINTS] + list(OTHER_LABELS)


def outcome(frame: pd.DataFrame) -> np.ndarray:
    """A number for each combination of ``STRATA_LABELS``, (patients,) int; unknown counts as no."""
    known = frame[list(STRATA_LABELS)].astype("boolean").fillna(False).to_numpy(bool)
    return known @ (1 << np.arange(len(STRATA_LABELS)))


def label_columns(frame: pd.DataFrame) -> list[str]:
    """Boolean columns, sorted."""
    return sorted(c for c in frame.columns if pd.api.types.is_bool_dtype(frame[c].dtype))


def patient_group(frame: pd.DataFrame, split: Sequence[str]) -> Rows:
    """Columns of the group ``/patient``; labels as int8: 1 yes, 0 no, -1 unknown."""
    group: Rows = {
        "id": np.array([as_bytes(p) for p in frame["patient_id"]]),
        "split": np.array([s.encode() for s in split], "S5"),
        "segments": frame["segments"].to_numpy(np.int64),
        "candidate_windows": frame["candidate_windows"].to_numpy(np.int64),
        "records": frame["records"].to_numpy(np.int64),
    }
    for name in label_columns(frame):
        group[f"labels/{name}"] = frame[name].astype("boolean").to_numpy(np.int8, na_value=-1)
    return group


def csv_text(frame: pd.DataFrame) -> str:
    """CSV that no spreadsheet runs: a text cell that looks like a formula is prefixed with ``'``."""
    safe = frame.copy()
    for name in safe.columns:
        if pd.api.types.is_string_dtype(safe[name].dtype) or safe[name].dtype == object:
            safe[name] = [_plain(v) for v in safe[name]]
        elif pd.api.types.is_bool_dtype(safe[name].dtype):
            safe[name] = safe[name].astype("boolean").astype("Int8")
    safe.columns = [_plain(c) for c in safe.columns]
    buffer = io.StringIO()
    safe.to_csv(buffer, index=False, quoting=csv.QUOTE_MINIMAL, lineterminator="\n")
    return buffer.getvalue()


def features_csv(frame: pd.DataFrame) -> str:
    """``clinical_features.csv``: the metadata without outcomes, which stay in the metadata, and without what is no
    number or name."""
    apart = (*OUTCOME_COLUMNS, "channel_hours")
    return csv_text(frame[[c for c in frame.columns if not c.startswith(OUTCOME_PREFIXES) and c not in apart]])


def _plain(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return ("'" if value.startswith(SPREADSHEET_FORMULA) else "") + sanitise(value)
