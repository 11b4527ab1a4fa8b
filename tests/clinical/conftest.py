"""Small MIMIC-III tables, made row by row."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

HEADERS = {
    "PATIENTS": "ROW_ID,SUBJECT_ID,GENDER,DOB,DOD,DOD_HOSP,DOD_SSN,EXPIRE_FLAG",
    "ADMISSIONS": "ROW_ID,SUBJECT_ID,HADM_ID,ADMITTIME,DISCHTIME,ADMISSION_TYPE,HOSPITAL_EXPIRE_FLAG",
    "DIAGNOSES_ICD": "ROW_ID,SUBJECT_ID,HADM_ID,SEQ_NUM,ICD9_CODE",
    "PRESCRIPTIONS": "ROW_ID,SUBJECT_ID,HADM_ID,STARTDATE,ENDDATE,DRUG,ROUTE",
    "ICUSTAYS": "ROW_ID,SUBJECT_ID,HADM_ID,ICUSTAY_ID,FIRST_CAREUNIT,INTIME,OUTTIME",
    "D_ICD_DIAGNOSES": "ROW_ID,ICD9_CODE,SHORT_TITLE",
    "CHARTEVENTS": "ROW_ID,SUBJECT_ID,HADM_ID,ITEMID,CHARTTIME,VALUE",
}


class Hospital:
    """A folder of tables; each row without its ROW_ID."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[str, list[Sequence[object]]] = {"PATIENTS": [], "ADMISSIONS": [], "DIAGNOSES_ICD": []}

    def patient(self, subject_id: int, gender: str = "F", dob: str = "2100-01-01 00:00:00", dod: str = "") -> None:
        self.rows["PATIENTS"].append((subject_id, gender, dob, dod, "", "", int(bool(dod))))

    def admission(
        self, subject_id: int, hadm_id: int, admitted: str, discharged: str, codes: Sequence[str] = (), died: int = 0
    ) -> None:
        self.rows["ADMISSIONS"].append((subject_id, hadm_id, admitted, discharged, "EMERGENCY", died))
        for number, code in enumerate(codes, 1):
            self.rows["DIAGNOSES_ICD"].append((subject_id, hadm_id, number, code))

    def add(self, table: str, *row: object) -> None:
        self.rows.setdefault(table, []).append(row)

    def write(self, lower: bool = False, compressed: bool = False) -> Path:
        for table, rows in self.rows.items():
            header = HEADERS[table].lower() if lower else HEADERS[table]
            lines = [header] + [",".join(_quoted(v) for v in (n, *row)) for n, row in enumerate(rows, 1)]
            data = ("\n".join(lines) + "\n").encode()
            name = f"{table.lower() if lower else table}.csv" + (".gz" if compressed else "")
            (self.folder / name).write_bytes(gzip.compress(data) if compressed else data)
        return self.folder


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) and value else str(value)


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    folder = tmp_path / "tables"
    folder.mkdir()
    return Hospital(folder)


@pytest.fixture(scope="session")
def records_of() -> Callable[..., pd.DataFrame]:
    """Rows ``(patient, subject, record, start, end)`` as the dataset hands them over."""

    def frame(*rows: tuple[str, int | None, str, str | None, str | None]) -> pd.DataFrame:
        out = pd.DataFrame(rows, columns=["patient_id", "subject_id", "record", "start", "end"])
        out["subject_id"] = out["subject_id"].astype("Int64")
        for column in ("start", "end"):
            out[column] = pd.to_datetime(out[column], format="ISO8601").astype("datetime64[us]")
        return out

    return frame


@pytest.fixture(scope="session")
def demo(real_data: Path) -> Path:
    """The MIMIC-III clinical demo, or a skip that names it."""
    folder = real_data / "mimic3-clinical-demo"
    if not folder.is_dir():
        pytest.skip(f"no clinical demo at {folder}")
    return folder


@pytest.fixture(scope="session")
def demo_rows(demo: Path) -> Callable[[str], list[dict[str, str]]]:
    """A table of the demo by the csv module: the slow truth."""

    def rows(table: str) -> list[dict[str, str]]:
        with (demo / f"{table}.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    return rows
