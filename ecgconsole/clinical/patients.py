"""One row a patient: who, linked how, with which outcomes, and what was known before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ecgconsole.clinical.admissions import read_admissions, read_patients
from ecgconsole.clinical.linking import LINK_STATUSES, with_types
from ecgconsole.clinical.medications import active_medications, medication_classes
from ecgconsole.clinical.outcomes import (
    AFTER,
    BEFORE,
    DURING,
    admission_phases,
    comorbidities,
    controls,
    died_in_hospital,
    died_soon,
    endpoint_labels,
    patient_codes,
)
from ecgconsole.clinical.tables import find_tables, read_table

OLDEST_AGE_YEARS = 90.0


def patient_table(folder: Path, records_with_links: pd.DataFrame) -> pd.DataFrame:
    """The metadata of all patients, one row each, in order of ``patient_id``.

    ``records_with_links``: one row a recording with ``patient_id``, ``subject_id``, ``record``,
    ``start``, ``end``, ``hadm_id``, ``link_status`` (of ``link_records``). Times count from a patient's
    *recorded admissions*, those that a recording links to: ``concurrent_*`` are codes of any of these,
    ``history_*`` of admissions before the first, ``future_*`` of admissions after the last. The columns:

    - ``subject_id``, ``in_tables``, ``records`` and ``records_<status>``: counts of recordings;
    - ``hadm_id`` (the first recorded admission), ``admissions_recorded``, ``admissions_before``,
      ``admissions_after``;
    - ``sex``, ``age_years`` at the first recording (90 for all of 90 or over, whose births MIMIC-III
      shifts), ``age_90_or_over``, ``admission_type``, and ``care_unit`` in which that recording began;
    - ``concurrent_<endpoint>``, ``history_<endpoint>``, ``future_<endpoint>`` for ``codes.ENDPOINTS``.
      ``history_stroke`` and ``history_stroke_brief`` also count codes of late effects (438, V12.54) up to
      and including the recorded admissions. ``future_*`` is null for who was not at risk: died in a
      recorded admission, or had the endpoint by then (for every stroke endpoint: any stroke);
    - ``ever_<endpoint>``: coded in any admission at any time, linked or not. It describes a cohort; it
      is no outcome, as it may lie before the recording or after;
    - ``died_in_hospital`` (in a recorded admission), ``died_within_90_days`` of the first recording;
    - ``control``: no 427.x and no 430 to 438 in any admission, and not dead in a recorded one;
    - ``medication_<class>``: prescribed on a day of a recording; null without PRESCRIPTIONS;
    - ``before_<comorbidity>`` by codes of earlier admissions only (``admissions_before`` = 0: nothing
      known), and ``cha2ds2_vasc_before`` from them, age and sex.

    Labels are nullable booleans: null for patients who are not in the tables or not linked.

    Raises ``InputError`` for tables that cannot be used.
    """
    tables = find_tables(folder)
    records = with_types(records_with_links).sort_values(["patient_id", "start", "record"], kind="stable")
    subjects = records["subject_id"]
    patients = read_patients(tables, subjects)
    admissions = read_admissions(tables, subjects)
    phases = admission_phases(records, admissions)
    codes = patient_codes(tables, subjects, phases)

    identity = _identity(records, patients, phases)
    index, linked, in_tables = identity.index, identity["hadm_id"].notna(), identity["in_tables"]
    start = records.groupby("patient_id")["start"].min().reindex(index)
    person = _looked_up(patients, identity["subject_id"])
    admission = _looked_up(admissions, identity["hadm_id"])
    died = died_in_hospital(phases, admissions, index)
    demographics = _demographics(person, admission, start)
    demographics["care_unit"] = _care_units(identity["subject_id"], start, tables)
    mortality = pd.DataFrame(
        {
            "died_in_hospital": died.astype("boolean").where(linked),
            "died_within_90_days": died_soon(person["dod"], start, in_tables),
            "control": controls(codes, linked, died),
        }
    )
    columns = (
        identity,
        demographics,
        endpoint_labels(codes, linked, died, in_tables),
        mortality,
        _medications(records, in_tables, tables),
        comorbidities(codes, linked, demographics["age_years"], demographics["sex"]),
    )
    return pd.concat(columns, axis=1).reset_index()


def _looked_up(rows: pd.DataFrame, keys: pd.Series) -> pd.DataFrame:
    """The row of each key, nulls where there is none, on the index of ``keys``."""
    return rows.reindex(keys.astype("float64")).set_axis(keys.index)


def _identity(records: pd.DataFrame, patients: pd.DataFrame, phases: pd.DataFrame) -> pd.DataFrame:
    by_patient = records.groupby("patient_id", sort=True)
    out = pd.DataFrame({"subject_id": by_patient["subject_id"].first().astype("Int64")})
    out["in_tables"] = out["subject_id"].isin(patients.index).astype(bool)
    out["records"] = by_patient.size()
    for status in LINK_STATUSES:
        matches = records["patient_id"][records["link_status"] == status].value_counts()
        out[f"records_{status.replace(' ', '_')}"] = matches.reindex(out.index, fill_value=0).astype("int64")
    out["hadm_id"] = by_patient["hadm_id"].first().astype("Int64")
    for name, phase in (("recorded", DURING), ("before", BEFORE), ("after", AFTER)):
        counts = phases["patient_id"][phases["phase"] == phase].value_counts()
        counts = counts.reindex(out.index, fill_value=0).astype("Int64")
        out[f"admissions_{name}"] = counts.where(out["hadm_id"].notna())
    return out


def _demographics(person: pd.DataFrame, admission: pd.DataFrame, start: pd.Series) -> pd.DataFrame:
    moment = start.fillna(admission["first"])
    days = (moment - person["dob"]).dt.days
    age = (days / 365.2425).where(days >= 0)
    return pd.DataFrame(
        {
            "sex": person["gender"].str.upper().astype("string"),
            "age_years": age.clip(upper=OLDEST_AGE_YEARS),
            "age_90_or_over": (age >= OLDEST_AGE_YEARS).astype("boolean").where(age.notna()),
            "admission_type": admission["admission_type"].astype("string"),
        }
    )


def _care_units(subject_ids: pd.Series, start: pd.Series, tables: dict[str, Path]) -> pd.Series:
    """The intensive care unit in which each patient's first recording began; null where not in one."""
    units = pd.Series(pd.NA, index=subject_ids.index, dtype="string")
    if "ICUSTAYS" not in tables:
        return units
    stays = read_table(tables["ICUSTAYS"], "ICUSTAYS", subject_ids)
    begun = pd.DataFrame({"subject_id": subject_ids, "start": start}).dropna().astype({"subject_id": "int64"})
    hits = begun.reset_index().merge(stays, on="subject_id")
    hits = hits[(hits["intime"] <= hits["start"]) & (hits["start"] <= hits["outtime"])]
    found = hits.sort_values(["patient_id", "intime", "line"]).drop_duplicates("patient_id").set_index("patient_id")
    units.loc[found.index] = found["first_careunit"].astype("string")
    return units


def _medications(records: pd.DataFrame, in_tables: pd.Series, tables: dict[str, Path]) -> pd.DataFrame:
    if "PRESCRIPTIONS" in tables:
        prescriptions = read_table(tables["PRESCRIPTIONS"], "PRESCRIPTIONS", records["subject_id"])
        active = active_medications(prescriptions, records).reindex(in_tables.index)
    else:
        active = pd.DataFrame(np.nan, index=in_tables.index, columns=list(medication_classes()))
    return pd.DataFrame(
        {f"medication_{name}": active[name].astype("boolean").where(in_tables) for name in medication_classes()}
    )
