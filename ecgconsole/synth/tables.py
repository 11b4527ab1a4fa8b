"""The clinical tables: writing the synthetic ones, and taking persons from real ones."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from ecgconsole.errors import InputError
from ecgconsole.synth.people import Admission, Person, RecordPlan, segment_base, split_duration
from ecgconsole.text import sanitise

HEADERS = {
    "PATIENTS": "ROW_ID,SUBJECT_ID,GENDER,DOB,DOD,DOD_HOSP,DOD_SSN,EXPIRE_FLAG",
    "ADMISSIONS": "ROW_ID,SUBJECT_ID,HADM_ID,ADMITTIME,DISCHTIME,DEATHTIME,ADMISSION_TYPE,ADMISSION_LOCATION,"
    "DISCHARGE_LOCATION,INSURANCE,LANGUAGE,RELIGION,MARITAL_STATUS,ETHNICITY,EDREGTIME,EDOUTTIME,DIAGNOSIS,"
    "HOSPITAL_EXPIRE_FLAG,HAS_CHARTEVENTS_DATA",
    "DIAGNOSES_ICD": "ROW_ID,SUBJECT_ID,HADM_ID,SEQ_NUM,ICD9_CODE",
    "PRESCRIPTIONS": "ROW_ID,SUBJECT_ID,HADM_ID,ICUSTAY_ID,STARTDATE,ENDDATE,DRUG_TYPE,DRUG,DRUG_NAME_POE,"
    "DRUG_NAME_GENERIC,FORMULARY_DRUG_CD,GSN,NDC,PROD_STRENGTH,DOSE_VAL_RX,DOSE_UNIT_RX,FORM_VAL_DISP,"
    "FORM_UNIT_DISP,ROUTE",
    "ICUSTAYS": "ROW_ID,SUBJECT_ID,HADM_ID,ICUSTAY_ID,DBSOURCE,FIRST_CAREUNIT,LAST_CAREUNIT,FIRST_WARDID,"
    "LAST_WARDID,INTIME,OUTTIME,LOS",
    "CHARTEVENTS": "ROW_ID,SUBJECT_ID,HADM_ID,ICUSTAY_ID,ITEMID,CHARTTIME,STORETIME,CGID,VALUE,VALUENUM,VALUEUOM,"
    "WARNING,ERROR,RESULTSTATUS,STOPPED",
}
HEART_RATE_ITEM, RHYTHM_ITEM = 220045, 220048


def write_tables(
    folder: Path, people: Sequence[Person], charted: Iterable[tuple[int, int, int, datetime, str, int]]
) -> None:
    """Writes the tables as the full MIMIC-III has them: ``.csv.gz``, upper case columns.

    ``charted``: subject, admission, ICU stay, time, rhythm as a nurse charts it, heart rate (1/min).
    """
    known = [p for p in people if p.in_tables]
    stays = [(p, a) for p in known for a in p.admissions]
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, "PATIENTS", (_patient_row(p) for p in known))
    _write(folder, "ADMISSIONS", (_admission_row(p, a) for p, a in stays))
    _write(
        folder,
        "DIAGNOSES_ICD",
        ([p.subject_id, a.hadm_id, i, code] for p, a in stays for i, code in enumerate(a.codes, 1)),
    )
    _write(
        folder,
        "ICUSTAYS",
        (
            [
                *(p.subject_id, a.hadm_id, a.icustay_id, "metavision", a.unit, a.unit, 50, 50, a.icu_in, a.icu_out),
                f"{(a.icu_out - a.icu_in).total_seconds() / 86400:.4f}",
            ]
            for p, a in stays
        ),
    )
    _write(
        folder,
        "PRESCRIPTIONS",
        (
            [
                *(p.subject_id, a.hadm_id, a.icustay_id, r.start, r.end, "MAIN", r.drug, r.drug, r.generic),
                *[""] * 8,
                r.route,
            ]
            for p, a in stays
            for r in a.prescriptions
        ),
    )
    known_ids = {p.subject_id for p in known}
    _write(
        folder,
        "CHARTEVENTS",
        (
            [subject, hadm, stay, item, time, time, 15000, value, number, unit, 0, 0, "", ""]
            for subject, hadm, stay, time, rhythm, rate in charted
            if subject in known_ids
            for item, value, number, unit in (
                (HEART_RATE_ITEM, rate, rate, "bpm"),
                (RHYTHM_ITEM, rhythm, "", ""),
            )
        ),
    )


def _patient_row(p: Person) -> list[object]:
    in_hospital = p.died if p.admissions[-1].died else None
    return [p.subject_id, p.sex, p.born, p.died, in_hospital, p.died, int(p.died is not None)]


def _admission_row(p: Person, a: Admission) -> list[object]:
    location = "DEAD/EXPIRED" if a.died else "HOME"
    return [
        *(p.subject_id, a.hadm_id, a.admitted, a.discharged, a.discharged if a.died else None, a.admission_type),
        *("EMERGENCY ROOM ADMIT", location, "Medicare" if p.age_years > 65 else "Private", "ENGL", "", "", "WHITE"),
        *("", "", "SYNTHETIC", int(a.died), 1),
    ]


def _write(folder: Path, table: str, rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADERS[table].split(","))
    for number, row in enumerate(rows, 1):
        writer.writerow([number, *(_cell(v) for v in row)])
    # No time stamp in the compressed file: the same cohort has the same bytes.
    (folder / f"{table}.csv.gz").write_bytes(gzip.compress(text.getvalue().encode(), 6, mtime=0))


def _cell(value: object) -> object:
    return "" if value is None else f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else value


def people_of_tables(folder: Path, patients: int, hours: float, seed: int) -> list[Person]:
    """Persons of real tables, with records planned inside their true stays.

    At most ``patients`` of them, drawn by ``seed``; all, where there are fewer. A person coded 427.31
    gets fibrillation in four of five cases, others in one of twenty-five.

    Raises ``InputError`` where a table or a column is missing or cannot be read.
    """
    born = {r["subject_id"]: r for r in _read(folder, "PATIENTS", ("subject_id", "gender", "dob"))}
    admitted: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in _read(folder, "ADMISSIONS", ("subject_id", "hadm_id", "admittime", "dischtime")):
        admitted[row["subject_id"]].append(row)
    stays: dict[int, list[dict[str, Any]]] = defaultdict(list)
    if _find(folder, "ICUSTAYS"):
        for row in _read(folder, "ICUSTAYS", ("hadm_id", "icustay_id", "intime", "outtime")):
            stays[row["hadm_id"]].append(row)
    fibrillation = {
        r["subject_id"]
        for r in _read(folder, "DIAGNOSES_ICD", ("subject_id", "icd9_code"))
        if r["icd9_code"].replace(".", "") == "42731"
    }
    subjects = np.array(sorted(s for s in born if admitted[s]), dtype=np.int64)
    if patients < len(subjects):
        subjects = np.sort(np.random.default_rng([seed, 0]).choice(subjects, patients, replace=False))
    people = []
    for number, subject in enumerate(subjects.tolist()):
        rng = np.random.default_rng([seed, 1, subject])
        has_af = rng.random() < (0.8 if subject in fibrillation else 0.04)
        kinds = ("paroxysmal_af", "persistent_af") if has_af else ("sinus", "ectopy")
        admissions = sorted(admitted[subject], key=lambda r: (r["admittime"], r["hadm_id"]))
        records = _records_in_stays(admissions, stays, hours, number, rng)
        age = (records[0].start - born[subject]["dob"]).days / 365.25
        people.append(
            Person(
                subject_id=subject,
                kind=str(rng.choice(kinds, p=(0.4, 0.6) if has_af else (0.76, 0.24))),
                sex=born[subject]["gender"],
                age_years=min(age, 91.4),  # shifted births: the median age of those over 89
                born=born[subject]["dob"],
                died=None,
                admissions=[],
                records=records,
            )
        )
    return people


def _records_in_stays(
    admissions: list[dict[str, Any]],
    stays: dict[int, list[dict[str, Any]]],
    hours: float,
    number: int,
    rng: np.random.Generator,
) -> list[RecordPlan]:
    # Two records of one person go to two admissions, where there are two.
    order = rng.permutation(len(admissions))
    plans: list[RecordPlan] = []
    for part, duration_s in enumerate(split_duration(hours, rng)):
        admission = admissions[order[part % len(order)]]
        admitted, discharged = sorted((admission["admittime"], admission["dischtime"]))
        choices = stays.get(admission["hadm_id"], [])
        if choices:
            stay = choices[int(rng.integers(len(choices)))]
            icustay_id: int | None = stay["icustay_id"]
            # Some stays in ICUSTAYS begin before or end after their admission: the link is to the latter.
            first, last = max(stay["intime"], admitted), min(stay["outtime"], discharged)
        else:
            icustay_id, first, last = None, admitted, discharged
        length_s = (last - first).total_seconds() - 2
        duration_s = min(duration_s, max(60.0, length_s))
        start = first + timedelta(seconds=1 + round(max(0.0, length_s - duration_s) * float(rng.random()), 3))
        if any(abs((start - p.start).total_seconds()) < p.duration_s + duration_s for p in plans):
            continue  # a single short stay holds no second record
        base = segment_base(2 * number + part)
        plans.append(RecordPlan(base, start, float(duration_s), admission["hadm_id"], icustay_id, "inside"))
    return plans


def _find(folder: Path, table: str) -> Path | None:
    names = {f"{table}.csv".lower(), f"{table}.csv.gz".lower()}
    found = sorted(p for p in folder.iterdir() if p.name.lower() in names) if folder.is_dir() else []
    return found[0] if found else None


def _read(folder: Path, table: str, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rows of a table: ``..._id`` as numbers, times as datetimes, the rest as text."""
    path = _find(folder, table)
    if path is None:
        raise InputError(f"{folder}: no {table}.csv or {table}.csv.gz there; it must hold the MIMIC-III tables")
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            names = {name.strip().lower(): name for name in reader.fieldnames or ()}
            missing = [c.upper() for c in columns if c not in names]
            if missing:
                raise InputError(f"{path}, line 1: no column {', '.join(missing)}")
            return [{c: _value(path, reader.line_num, c, row[names[c]]) for c in columns} for row in reader]
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {sanitise(error, 200)}") from error


def _value(path: Path, line: int, column: str, text: str | None) -> Any:
    text = (text or "").strip()
    try:
        if column.endswith("_id"):
            return int(text)
        if column.endswith("time") or column == "dob":
            return datetime.fromisoformat(text)
    except ValueError:
        kind = "a whole number" if column.endswith("_id") else "a date (YYYY-MM-DD HH:MM:SS)"
        raise InputError(f"{path}, line {line}: {column.upper()} is not {kind}") from None
    return text
