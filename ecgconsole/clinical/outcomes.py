"""What happened to the patients, and when: before, during or after the recorded admissions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ecgconsole.clinical.codes import COMORBIDITIES, ENDPOINTS, LATE_EFFECTS, STROKE_ENDPOINTS, matching, normalise
from ecgconsole.clinical.tables import read_table

BEFORE, DURING, AFTER, UNKNOWN = "history", "concurrent", "future", "unknown"
MORTALITY_DAYS = 90


def admission_phases(linked: pd.DataFrame, admissions: pd.DataFrame) -> pd.DataFrame:
    """``patient_id``, ``hadm_id``, ``phase`` of every admission of these patients.

    ``linked``: ``patient_id``, ``subject_id``, ``hadm_id`` (null without a link), a row a recording.
    ``history`` begins before a patient's first recorded admission, ``future`` begins when the last has
    ended or later; ``unknown`` lies between two recorded ones, or belongs to a patient without a link.
    """
    persons = linked.dropna(subset=["subject_id"])[["patient_id", "subject_id"]].drop_duplicates("patient_id")
    every = persons.astype({"subject_id": "int64"}).merge(
        admissions.reset_index()[["subject_id", "hadm_id", "first"]], on="subject_id"
    )
    recorded = (
        linked.dropna(subset=["hadm_id"])[["patient_id", "hadm_id"]].drop_duplicates().astype({"hadm_id": "int64"})
    )
    spans = recorded.merge(admissions[["first", "last"]], left_on="hadm_id", right_index=True)
    spans = spans.groupby("patient_id").agg(begin=("first", "min"), end=("last", "max"))
    every = every.merge(spans, left_on="patient_id", right_index=True, how="left")
    during = pd.MultiIndex.from_frame(every[["patient_id", "hadm_id"]]).isin(pd.MultiIndex.from_frame(recorded))
    choices = [during, (every["first"] < every["begin"]).to_numpy(), (every["first"] >= every["end"]).to_numpy()]
    every["phase"] = np.select(choices, [DURING, BEFORE, AFTER], UNKNOWN)
    return every[["patient_id", "hadm_id", "phase"]]


def patient_codes(tables: dict[str, Path], subjects: pd.Series, phases: pd.DataFrame) -> pd.DataFrame:
    """``patient_id``, ``phase``, ``code`` (normalised) of every diagnosis in an admission of ``phases``."""
    diagnoses = read_table(tables["DIAGNOSES_ICD"], "DIAGNOSES_ICD", subjects).dropna(subset=["icd9_code", "hadm_id"])
    valid: set[str] = set()
    if "D_ICD_DIAGNOSES" in tables:
        valid = set(read_table(tables["D_ICD_DIAGNOSES"], "D_ICD_DIAGNOSES")["icd9_code"].dropna())
    spellings = {code: normalise(code, valid) for code in diagnoses["icd9_code"].unique()}
    diagnoses["code"] = diagnoses["icd9_code"].map(spellings)
    coded = diagnoses[["hadm_id", "code"]].drop_duplicates().astype({"hadm_id": "int64"})
    return phases.merge(coded, on="hadm_id")[["patient_id", "phase", "code"]]


def endpoint_labels(codes: pd.DataFrame, linked: pd.Series, died: pd.Series, in_tables: pd.Series) -> pd.DataFrame:
    """``concurrent_``, ``history_``, ``future_`` and ``ever_`` columns of ``ENDPOINTS``, nullable booleans.

    ``linked``, ``died`` (in a recorded admission), ``in_tables``: booleans by patient, whose index is
    the answer's.
    """
    index = linked.index
    late_effects = _has(codes, LATE_EFFECTS, (BEFORE, DURING), index)
    any_stroke = _has(codes, ENDPOINTS["stroke"], (BEFORE, DURING), index) | late_effects
    columns: dict[str, dict[str, pd.Series]] = {DURING: {}, BEFORE: {}, AFTER: {}, "ever": {}}
    for endpoint, pattern in ENDPOINTS.items():
        history = _has(codes, pattern, (BEFORE,), index)
        concurrent = _has(codes, pattern, (DURING,), index)
        future = _has(codes, pattern, (AFTER,), index)
        not_at_risk = died | history | concurrent
        if endpoint in STROKE_ENDPOINTS:
            not_at_risk |= any_stroke
        if endpoint in ("stroke", "stroke_brief"):
            history = history | late_effects
        columns[DURING][endpoint] = concurrent.astype("boolean").where(linked)
        columns[BEFORE][endpoint] = history.astype("boolean").where(linked)
        columns[AFTER][endpoint] = future.astype("boolean").where(linked & ~not_at_risk)
        ever = _has(codes, pattern, (BEFORE, DURING, AFTER, UNKNOWN), index)
        columns["ever"][endpoint] = ever.astype("boolean").where(in_tables)
    return pd.DataFrame({f"{phase}_{e}": v for phase, of_phase in columns.items() for e, v in of_phase.items()})


def died_in_hospital(phases: pd.DataFrame, admissions: pd.DataFrame, index: pd.Index) -> pd.Series:
    """Booleans by patient: died in a recorded admission."""
    recorded = phases[phases["phase"] == DURING]
    dead = recorded["hadm_id"].map(admissions["hospital_expire_flag"]) == 1
    return pd.Series(index.isin(recorded.loc[dead, "patient_id"]), index=index)


def died_soon(dod: pd.Series, start: pd.Series, in_tables: pd.Series) -> pd.Series:
    """Death at most ``MORTALITY_DAYS`` days after ``start``, nullable booleans by patient.

    Null without a start, for patients not in the tables, and where death lies more than a day before
    the recording: then record and table do not belong together.
    """
    days = (dod.dt.floor("D") - start.dt.floor("D")).dt.days
    soon = (days <= MORTALITY_DAYS).astype("boolean")
    return soon.where(in_tables & start.notna() & ~(days < -1))


def controls(codes: pd.DataFrame, linked: pd.Series, died: pd.Series) -> pd.Series:
    """Patients without 427.x and 430 to 438 in any admission, discharged alive: nullable booleans."""
    pattern = f"{ENDPOINTS['arrhythmia_brief']}|{ENDPOINTS['stroke_brief']}"
    ill = _has(codes, pattern, (BEFORE, DURING, AFTER, UNKNOWN), linked.index)
    return (~ill & ~died).astype("boolean").where(linked)


def comorbidities(codes: pd.DataFrame, linked: pd.Series, age_years: pd.Series, sex: pd.Series) -> pd.DataFrame:
    """``before_<comorbidity>`` by codes of earlier admissions, and ``cha2ds2_vasc_before``.

    The score: Lip et al., Chest 137 (2010), table 2: two points each for age of 75 or over and for
    stroke or thromboembolism, one for each of the others, for age from 65 and for female sex.
    """
    index = linked.index
    known = {name: _has(codes, pattern, (BEFORE,), index) for name, pattern in COMORBIDITIES.items()}
    points = sum((k.astype("Int64") for k in known.values()), pd.Series(0, index=index, dtype="Int64"))
    points += known["stroke_or_thromboembolism"].astype("Int64")
    points += (age_years >= 65).astype("Int64") + (age_years >= 75).astype("Int64")
    points += (sex == "F").fillna(False).astype("Int64")
    out = pd.DataFrame({f"before_{name}": k.astype("boolean").where(linked) for name, k in known.items()})
    out["cha2ds2_vasc_before"] = points.where(linked & age_years.notna() & sex.notna())
    return out


def _has(codes: pd.DataFrame, pattern: str, phases: tuple[str, ...], index: pd.Index) -> pd.Series:
    """Booleans by patient: has a code that matches, in one of these phases."""
    hits = codes["code"].isin(matching(codes["code"].unique(), pattern)) & codes["phase"].isin(phases)
    return pd.Series(index.isin(codes.loc[hits, "patient_id"]), index=index)
