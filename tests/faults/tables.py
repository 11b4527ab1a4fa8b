"""Clinical tables of a ward: everybody fibrillates, and was admitted around the recording."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

TABLES = {
    "PATIENTS": "SUBJECT_ID,GENDER,DOB,DOD",
    "ADMISSIONS": "SUBJECT_ID,HADM_ID,ADMITTIME,DISCHTIME,ADMISSION_TYPE,HOSPITAL_EXPIRE_FLAG",
    "DIAGNOSES_ICD": "SUBJECT_ID,HADM_ID,ICD9_CODE",
}


def write_tables(
    folder: Path, subjects: Iterable[int], codes: dict[int, str] | None = None, births: dict[int, str] | None = None
) -> Path:
    """The tables, with another code or date of birth for some."""
    rows: dict[str, list[str]] = {name: [columns] for name, columns in TABLES.items()}
    for s in subjects:
        rows["PATIENTS"].append(f"{s},F,{(births or {}).get(s, '2090-01-01')} 00:00:00,")
        rows["ADMISSIONS"].append(f"{s},{100000 + s},2149-12-31 00:00:00,2150-01-09 00:00:00,EMERGENCY,0")
        rows["DIAGNOSES_ICD"].append(f"{s},{100000 + s},{(codes or {}).get(s, '42731')}")
    folder.mkdir()
    for name, lines in rows.items():
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return folder
