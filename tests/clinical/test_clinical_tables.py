"""Tables are found, checked and read as they come; what cannot be read is named."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from ecgconsole.clinical import check_tables, link_records
from ecgconsole.clinical.tables import connected, find_tables, read_table
from ecgconsole.errors import InputError

SUBJECTS = pd.Series([1, 2], dtype="Int64")


def _two_patients(hospital) -> None:  # type: ignore[no-untyped-def]
    hospital.patient(1)
    hospital.patient(2, gender="M")
    hospital.admission(1, 11, "2150-01-01 10:00:00", "2150-01-05 10:00:00", ["42731"])
    hospital.admission(2, 21, "2150-02-01 10:00:00", "2150-02-05 10:00:00", ["4019"])


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_any_case_and_compression_reads_the_same(hospital, lower: bool, compressed: bool) -> None:
    _two_patients(hospital)
    tables = find_tables(hospital.write(lower=lower, compressed=compressed))
    diagnoses = read_table(tables["DIAGNOSES_ICD"], "DIAGNOSES_ICD")
    assert diagnoses.to_dict("list") == {
        "line": [2, 3],
        "subject_id": [1, 2],
        "hadm_id": [11, 21],
        "icd9_code": ["42731", "4019"],
    }


def test_only_rows_of_the_wanted_subjects_come_with_their_lines(hospital) -> None:
    for subject in range(5000):
        hospital.add("PATIENTS", subject, "F", "2100-01-01 00:00:00", "", "", "", 0)
    hospital.write()
    patients = read_table(hospital.folder / "PATIENTS.csv", "PATIENTS", pd.Series([4321, 17, None], dtype="Int64"))
    assert patients[["line", "subject_id"]].to_numpy().tolist() == [[19, 17], [4323, 4321]]
    assert patients["dod"].isna().all()


def test_a_missing_folder_or_table_is_named(hospital, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere is not a folder"):
        find_tables(tmp_path / "nowhere")
    hospital.add("ADMISSIONS", 1, 1, "2150-01-01", "2150-01-02", "", 0)
    hospital.write()
    (hospital.folder / "DIAGNOSES_ICD.csv").unlink()
    (hospital.folder / "PATIENTS.csv").rename(hospital.folder / "PATIENTS.txt")
    with pytest.raises(InputError, match=r"no PATIENTS, DIAGNOSES_ICD.*found: ADMISSIONS.csv, PATIENTS.txt"):
        find_tables(hospital.folder)


def test_two_spellings_of_one_table_are_refused_and_an_unpacked_copy_is_not(hospital) -> None:
    _two_patients(hospital)
    hospital.write()
    hospital.write(compressed=True)
    assert find_tables(hospital.folder)["PATIENTS"].name == "PATIENTS.csv"
    hospital.write(lower=True)
    if len(list(hospital.folder.glob("[Pp]*.csv"))) == 1:
        pytest.skip("this file system does not tell upper from lower case")
    with pytest.raises(InputError, match=r"ADMISSIONS\.csv and admissions\.csv"):
        find_tables(hospital.folder)


def _spoilt(hospital, change: Callable[[list[bytes]], list[bytes]]) -> Path:  # type: ignore[no-untyped-def]
    _two_patients(hospital)
    for number in range(3000):
        hospital.admission(2, 1000 + number, "2150-02-01 10:00:00", "2150-02-05 10:00:00", ["4019"])
    path = hospital.write() / "DIAGNOSES_ICD.csv"
    path.write_bytes(b"\n".join(change(path.read_bytes().split(b"\n"))))
    return path


def _at(line: int, text: bytes) -> Callable[[list[bytes]], list[bytes]]:
    return lambda lines: [*lines[: line - 1], text, *lines[line:]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_at(1, b"ROW_ID,SUBJECT_ID,HADM_ID,SEQ_NUM,CODE"), r"line 1: no column ICD9_CODE"),
        (_at(2500, b"5,2,7,1,\xff\xfe"), r"line 2500: not UTF-8"),
        (_at(2500, b"5,2,7,1"), r"line 2500: 4 values where the header names 5"),
        (_at(2500, b"5,2,7,1,4019,extra"), r"line 2500: 6 values where the header names 5"),
        (_at(2500, b'5,2,7,1,"40'), r"DIAGNOSES_ICD\.csv"),
        (_at(2500, b"5,two,7,1,4019"), r"line 2500: SUBJECT_ID is not a whole number"),
        (_at(2500, b"5,2,seven,1,4019"), r"line 2500: HADM_ID is not a whole number"),
        (lambda lines: [], r"line 1: no column SUBJECT_ID, HADM_ID, ICD9_CODE"),
    ],
)
def test_a_spoilt_table_is_named_with_its_line(hospital, change: Callable, message: str) -> None:
    path = _spoilt(hospital, change)
    with pytest.raises(InputError, match=message) as caught:
        read_table(path, "DIAGNOSES_ICD", SUBJECTS)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_error_never_shows_what_a_row_holds(hospital) -> None:
    path = _spoilt(hospital, _at(2500, b"5,2,7,1,secret,extra"))
    with pytest.raises(InputError) as caught:
        read_table(path, "DIAGNOSES_ICD", SUBJECTS)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("cut", ["truncated", "checksum", "flipped"])
def test_a_damaged_gzip_is_refused(hospital, cut: str) -> None:
    _two_patients(hospital)
    for number in range(3000):
        hospital.admission(2, 1000 + number, "2150-02-01 10:00:00", "2150-02-05 10:00:00", ["4019"])
    path = hospital.write(compressed=True) / "DIAGNOSES_ICD.csv.gz"
    data = bytearray(path.read_bytes())
    if cut == "truncated":
        del data[-2000:]
    else:
        data[-6 if cut == "checksum" else len(data) // 2] ^= 0x10
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"DIAGNOSES_ICD\.csv\.gz, after line \d+: the compressed file is truncated"):
        read_table(path, "DIAGNOSES_ICD", SUBJECTS)


def test_dates_that_are_none_are_refused_and_empty_ones_only_where_they_must_be(hospital) -> None:
    hospital.patient(1, dod="")
    hospital.add("ADMISSIONS", 1, 11, "01/02/2150", "2150-01-02 00:00:00", "", 0)
    hospital.add("ADMISSIONS", 1, 12, "", "2150-01-02 00:00:00", "", 0)
    folder = hospital.write()
    assert read_table(folder / "PATIENTS.csv", "PATIENTS")["dod"].isna().all()
    with pytest.raises(InputError, match="lines 2, 3: ADMITTIME is not a date"):
        read_table(folder / "ADMISSIONS.csv", "ADMISSIONS")


def test_a_folder_name_is_no_pattern(tmp_path: Path, hospital) -> None:
    _two_patients(hospital)
    odd = tmp_path / "tab[les]*?'"
    hospital.write().rename(odd)
    assert len(read_table(odd / "PATIENTS.csv", "PATIENTS")) == 2


def test_a_byte_order_mark_and_dos_line_ends_are_read(hospital) -> None:
    _two_patients(hospital)
    path = hospital.write() / "PATIENTS.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_table(path, "PATIENTS")["gender"].tolist() == ["F", "M"]


def test_a_conflicting_duplicate_admission_names_its_rows_and_a_repeated_row_is_nothing(hospital, records_of) -> None:
    _two_patients(hospital)
    hospital.admission(1, 11, "2150-01-01 10:00:00", "2150-01-05 10:00:00")
    records = records_of(("p1", 1, "r1", "2150-01-02", "2150-01-03"))
    assert link_records(hospital.write(), records, 6.0)["hadm_id"].tolist() == [11]
    hospital.admission(1, 11, "2150-01-01 10:00:00", "2150-01-06 10:00:00")
    with pytest.raises(InputError, match=r"ADMISSIONS\.csv, lines 2, 5: the same HADM_ID with different values"):
        link_records(hospital.write(), records, 6.0)


def test_duckdb_takes_no_extension_spills_nowhere_and_draws_nothing(tmp_path: Path) -> None:
    with connected(tmp_path) as connection:
        settings = dict(
            connection.execute(
                "SELECT name, value FROM duckdb_settings() WHERE name IN "
                "('autoinstall_known_extensions', 'autoload_known_extensions', 'temp_directory', 'enable_progress_bar')"
            ).fetchall()
        )
    assert settings == {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "enable_progress_bar": "false",
        "temp_directory": "",
    }


def test_a_gzip_that_changes_is_checked_again(hospital) -> None:
    _two_patients(hospital)
    path = hospital.write(compressed=True) / "PATIENTS.csv.gz"
    assert len(read_table(path, "PATIENTS")) == 2
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()))[:-9])
    with pytest.raises(InputError, match="truncated"):
        read_table(path, "PATIENTS")


def test_a_check_before_a_long_job_reads_the_headers(hospital) -> None:
    _two_patients(hospital)
    hospital.add("CHARTEVENTS", 1, 11, 212, "2150-01-01 12:00:00", "Normal Sinus")
    folder = hospital.write(compressed=True)
    assert check_tables(folder) == ["ADMISSIONS", "CHARTEVENTS", "DIAGNOSES_ICD", "PATIENTS"]
    (folder / "CHARTEVENTS.csv.gz").write_bytes(gzip.compress(b"SUBJECT_ID,ITEMID\n1,2\n"))
    with pytest.raises(InputError, match=r"CHARTEVENTS\.csv\.gz, line 1: no column CHARTTIME, VALUE"):
        check_tables(folder)
    (folder / "CHARTEVENTS.csv.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"CHARTEVENTS\.csv\.gz"):
        check_tables(folder)
