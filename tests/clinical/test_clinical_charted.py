"""Charted rhythm: streamed, named, and found for each segment."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from ecgconsole.clinical import charted_rhythm, rhythm_at
from ecgconsole.clinical.charted import rhythm_named
from ecgconsole.errors import InputError

# Every value of items 212 (CareVue) and 220048 (MetaVision) that public analyses of MIMIC list.
VALUES = {
    "sinus": ("Normal Sinus", "SR (Sinus Rhythm)"),
    "sinus_tachycardia": ("Sinus Tachy", "ST (Sinus Tachycardia) "),
    "sinus_bradycardia": ("Sinus Brady", "SB (Sinus Bradycardia)"),
    "sinus_arrhythmia": ("Sinus Arrhythmia", "SA (Sinus Arrhythmia)"),
    "atrial_fibrillation": ("Atrial Fib", "AF (Atrial Fibrillation)"),
    "atrial_flutter": ("Atrial Flutter", "A Flut (Atrial Flutter) "),
    "multifocal_atrial_tachycardia": ("MultFocalAtrTach", "MAT (Multifocal atrial tachycardia)"),
    "supraventricular_tachycardia": (
        "Supravent Tachy", "SVT (Supra Ventricular Tachycardia)", "Parox Atr Tachy", "Parox Atrial Tach",
        "PAT (Paroxysmal Atrial Tachycardia)",
    ),
    "wandering_pacemaker": ("Wand.Atrial Pace", "WAP (Wandering atrial pacemaker)"),
    "junctional": (
        "Junctional", "JR (Junctional Rhythm)", "JT (Junctional Tachycardia)",
        "PJT (Paroxysmal Junctional Tachycardia)",
    ),
    "ventricular_tachycardia": ("Vent. Tachy", "VT (Ventricular Tachycardia) "),
    "ventricular_fibrillation": ("Ventricular Fib", "VF (Ventricular Fibrillation) "),
    "idioventricular": ("Idioventricular",),
    "asystole": ("Asystole",),
    "paced": ("Paced", "A Paced", "V Paced", "AV Paced", "Zoll Paced"),
    "av_block": (
        "1st Deg AV Block", "1st AV (First degree AV Block) ", "2nd AVB/Mobitz I", "2nd AVB Mobitz 2",
        "2nd AV W-M1 (Second degree AV Block Wenckebach - Mobitz1) ", "2nd AV M2 (Second degree AV Block - Mobitz 2) ",
        "Comp Heart Block", "3rd AV (Complete Heart Block) ",
    ),
    "bundle_branch_block": ("LBBB (Left Bundle Branch Block)", "RBBB (Right Bundle Branch Block)"),
    "other": ("Other/Remarks", ""),
}  # fmt: skip


@pytest.mark.parametrize(("value", "rhythm"), [(value, name) for name, values in VALUES.items() for value in values])
def test_charted_words_of_both_systems_have_one_name(value: str, rhythm: str) -> None:
    assert rhythm_named(value) == rhythm


def _chart(hospital, *rows: tuple[object, ...]) -> Path:  # type: ignore[no-untyped-def]
    hospital.patient(1)
    hospital.admission(1, 11, "2150-01-01 10:00:00", "2150-01-05 10:00:00")
    hospital.rows.setdefault("CHARTEVENTS", [])
    for row in rows:
        hospital.add("CHARTEVENTS", *row)
    return hospital.write(compressed=True)


def test_only_the_rhythm_of_wanted_subjects_is_taken(hospital) -> None:
    folder = _chart(
        hospital,
        (1, 11, 220048, "2150-01-01 12:00:00", "AF (Atrial Fibrillation)"),
        (1, 11, 212, "2150-01-01 11:00:00", "Normal Sinus"),
        (1, 11, 220045, "2150-01-01 12:00:00", "88"),
        (2, 21, 220048, "2150-01-01 12:00:00", "SR (Sinus Rhythm)"),
        (1, 11, 220048, "", "SR (Sinus Rhythm)"),
        (1, 11, 220048, "2150-01-01 13:00:00", ""),
        ("", 11, 220048, "2150-01-01 13:00:00", "SR (Sinus Rhythm)"),
        (1, 11, "n/a", "2150-01-01 13:00:00", "SR (Sinus Rhythm)"),
    )
    got = charted_rhythm(folder, pd.Series([1, None], dtype="Int64"))
    assert got["rhythm"].tolist() == ["sinus", "atrial_fibrillation"]
    assert got["charttime"].is_monotonic_increasing


def test_two_rhythms_at_one_moment_are_not_guessed_and_one_charted_twice_counts_once(hospital) -> None:
    folder = _chart(
        hospital,
        (1, 11, 220048, "2150-01-01 12:00:00", "AF (Atrial Fibrillation)"),
        (1, 11, 220048, "2150-01-01 12:00:00", "SR (Sinus Rhythm)"),
        (1, 11, 220048, "2150-01-01 13:00:00", "SR (Sinus Rhythm)"),
        (1, 11, 212, "2150-01-01 13:00:00", "Normal Sinus"),
    )
    got = charted_rhythm(folder, pd.Series([1], dtype="Int64"))
    assert got[["charttime", "rhythm"]].to_numpy().tolist() == [[pd.Timestamp("2150-01-01 13:00"), "sinus"]]


def test_no_chart_is_an_empty_answer(hospital) -> None:
    hospital.patient(1)
    folder = hospital.write()
    got = charted_rhythm(folder, pd.Series([1], dtype="Int64"))
    assert got.columns.tolist() == ["subject_id", "charttime", "rhythm"]
    assert got.empty
    times = pd.Series(pd.to_datetime(["2150-01-01"]))
    assert rhythm_at(got, pd.Series([1], dtype="Int64"), times).isna().all()


def test_a_truncated_chart_is_named(hospital) -> None:
    folder = _chart(hospital, *((1, 11, 220048, f"2150-01-01 {h:02d}:00:00", "SR") for h in range(24)))
    path = folder / "CHARTEVENTS.csv.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"CHARTEVENTS\.csv\.gz.*truncated"):
        charted_rhythm(folder, pd.Series([1], dtype="Int64"))


def test_a_segment_gets_the_nearest_charted_rhythm_within_the_tolerance() -> None:
    charted = pd.DataFrame(
        {
            "subject_id": [1, 1, 2],
            "charttime": pd.to_datetime(["2150-01-01 12:00", "2150-01-01 14:00", "2150-01-01 13:00"]),
            "rhythm": ["sinus", "atrial_fibrillation", "paced"],
        }
    )
    times = pd.Series(
        pd.to_datetime(
            ["2150-01-01 13:10", "2150-01-01 12:20", None, "2150-01-01 10:30", "2150-01-01 13:00", "2150-01-01 12:30"]
        ),
        index=[9, 8, 7, 6, 5, 4],
    )
    subjects = pd.Series([1, 1, 1, 1, 2, None], dtype="Int64", index=times.index)
    got = rhythm_at(charted, subjects, times)
    assert got.index.tolist() == times.index.tolist()
    assert got.fillna("-").tolist() == ["atrial_fibrillation", "sinus", "-", "-", "paced", "-"]


@pytest.mark.slow
def test_millions_of_rows_stream_in_bounded_memory(hospital) -> None:
    n = 4_000_000
    _chart(hospital)
    header = b"ROW_ID,SUBJECT_ID,HADM_ID,ITEMID,CHARTTIME,VALUE,NOTE\n"
    with gzip.open(hospital.folder / "CHARTEVENTS.csv.gz", "wb", compresslevel=1) as file:
        file.write(header)
        for block in range(0, n, 100_000):
            file.write(
                b"".join(
                    b"%d,%d,11,%d,2150-01-%02d %02d:%02d:00,SR (Sinus Rhythm),%s\n"
                    % (i, i % 500, 220048 if i % 40 == 0 else 220045, i % 28 + 1, i % 24, i // 500 % 60, b"x" * 100)
                    for i in range(block, block + 100_000)
                )
            )
    code = (
        "import sys, pandas as pd; from pathlib import Path\n"
        "from ecgconsole.clinical import charted_rhythm\n"
        "got = charted_rhythm(Path(sys.argv[1]), pd.Series(range(0, 500, 100), dtype='Int64'))\n"
        # Not ru_maxrss, which a child inherits from this process and all the tests that it has run.
        "held = next(l for l in open('/proc/self/status') if l.startswith('VmHWM'))\n"
        "print(len(got), int(held.split()[1]) // 1024)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, str(hospital.folder)], capture_output=True, text=True, check=True
    )
    rows, megabytes = map(int, answer.stdout.split())
    assert rows > 1000
    assert megabytes < 700, "the uncompressed table has 650 MB, all DuckDB needs is buffers"
