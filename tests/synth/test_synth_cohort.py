"""The cohort as a whole: reproducible, refusing what is not its own, with tables that match the recordings."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb

from ecgconsole.clinical import charted_rhythm, link_records, patient_table, prevalence_warnings
from ecgconsole.errors import ConfigurationError, InputError
from ecgconsole.synth import synthesise
from ecgconsole.synth.people import PLANTED, draw_people


def _files(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_the_bytes_depend_on_the_arguments_and_not_on_the_workers(tmp_path: Path) -> None:
    once = synthesise(tmp_path / "a", patients=5, hours=0.05, seed=3, workers=1)
    again = synthesise(tmp_path / "b", patients=5, hours=0.05, seed=3, workers=2)
    other = synthesise(tmp_path / "c", patients=5, hours=0.05, seed=4, workers=1)
    assert once == again
    assert _files(tmp_path / "a") == _files(tmp_path / "b")
    assert _files(tmp_path / "a") != _files(tmp_path / "c")
    assert other["patients"] == 5


def test_an_earlier_cohort_is_replaced_whole_and_other_folders_are_refused(tmp_path: Path) -> None:
    synthesise(tmp_path / "a", patients=4, hours=0.05, seed=3, workers=1)
    (tmp_path / "a" / "notes.txt").write_text("mine")
    synthesise(tmp_path / "a", patients=2, hours=0.05, seed=9, workers=1)
    synthesise(tmp_path / "fresh", patients=2, hours=0.05, seed=9, workers=1)
    assert (tmp_path / "a" / "notes.txt").read_text() == "mine"
    (tmp_path / "a" / "notes.txt").unlink()
    assert _files(tmp_path / "a") == _files(tmp_path / "fresh")
    foreign = tmp_path / "mine" / "waveforms"
    foreign.mkdir(parents=True)
    (foreign / "RECORDS").write_text("precious")
    with pytest.raises(ConfigurationError, match="holds waveforms of another origin"):
        synthesise(tmp_path / "mine", patients=2, hours=0.05, seed=9)
    assert (foreign / "RECORDS").read_text() == "precious"


def test_arguments_out_of_range_are_all_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        synthesise(tmp_path / "a", patients=0, hours=1e6, seed=-1)
    assert len(caught.value.problems) == 3
    assert not (tmp_path / "a").exists()


def test_the_summary_counts_what_was_written(cohort) -> None:
    marker = json.loads((cohort.folder / "synth.json").read_text())
    assert marker["complete"]
    assert {k: marker[k] for k in cohort.summary} == cohort.summary
    records = cohort.truth("records")
    assert len(records) == cohort.summary["records"]
    hours = {}
    for row, path in zip(records, cohort.record_paths, strict=True):
        assert path.name == row["record"]
        assert wfdb.rdheader(str(path)).sig_len / 125 == pytest.approx(float(row["duration_seconds"]), abs=0.01)
        hours[row["patient"]] = hours.get(row["patient"], 0) + float(row["duration_seconds"]) / 3600
    assert all(h == pytest.approx(0.2, abs=1e-4) for h in hours.values())
    beats = {p.stem for p in (cohort.folder / "truth" / "beats").iterdir()}
    assert beats == {r["record"] for r in records}


def test_rhythms_of_the_truth_cover_each_record(cohort) -> None:
    end_of = {}
    for row in cohort.truth("rhythm"):
        assert float(row["start_seconds"]) == pytest.approx(end_of.get(row["record"], 0.0))
        end_of[row["record"]] = float(row["end_seconds"])
    for row in cohort.truth("records"):
        assert end_of[row["record"]] == pytest.approx(float(row["duration_seconds"]), abs=0.01)
    kinds = {r["rhythm_kind"] for r in cohort.truth("patients")}
    assert kinds == {"sinus", "ectopy", "paroxysmal_af", "persistent_af"}


def _records(folder: Path) -> pd.DataFrame:
    rows = pd.read_csv(folder / "truth" / "records.csv", dtype={"hadm_id": "Int64"})
    start = pd.to_datetime(rows["start"], format="ISO8601")
    return pd.DataFrame(
        {
            "patient_id": rows["patient"],
            "subject_id": rows["patient"].str[1:].astype("Int64"),
            "record": rows["record"],
            "start": start,
            "end": start + pd.to_timedelta(rows["duration_seconds"], unit="s"),
            "hadm_id": rows["hadm_id"],
            "link_status": rows["link_status"],
        }
    )


@pytest.fixture(scope="module")
def people_tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list]]:
    """Tables of many persons, without their waveforms."""
    from ecgconsole.synth.tables import write_tables

    folder = tmp_path_factory.mktemp("people")
    people = draw_people(1500, 2.0, 11)
    write_tables(folder, people, [])
    return folder, people


def test_every_recording_links_as_planned(people_tables) -> None:
    folder, people = people_tables
    plans = [(p, r) for p in people for r in p.records]
    records = pd.DataFrame(
        {
            "patient_id": [f"p{p.subject_id:06d}" for p, _ in plans],
            "subject_id": pd.array([p.subject_id for p, _ in plans], dtype="Int64"),
            "record": [str(i) for i in range(len(plans))],
            "start": pd.to_datetime([r.start for _, r in plans]),
            "end": pd.to_datetime([r.start for _, r in plans]) + pd.to_timedelta([r.duration_s for _, r in plans], "s"),
        }
    )
    got = link_records(folder, records, 6.0)
    expected = [(r.link_status, r.hadm_id) if p.in_tables else ("none", None) for p, r in plans]
    assert [
        (s, None if pd.isna(h) else int(h)) for s, h in zip(got["link_status"], got["hadm_id"], strict=True)
    ] == expected
    assert {s for s, _ in expected} == {"inside", "within tolerance", "none"}

    table = patient_table(folder, records.merge(got, on="record")).set_index("subject_id")
    known = [p for p in people if p.in_tables]
    assert int((~table["in_tables"]).sum()) == len(people) - len(known) > 5
    # Planted outcomes are what the labels say, wherever the first recording is linked to the index admission.
    linked = [p for p in known if pd.notna(table.loc[p.subject_id, "hadm_id"])]
    assert len(linked) > 1300
    for p in linked:
        row = table.loc[p.subject_id]
        assert row["concurrent_stroke_ischaemic"] == p.planted["stroke_ischaemic_concurrent"]
        assert row["history_stroke_ischaemic"] == p.planted["stroke_ischaemic_before"]
        assert row["concurrent_stroke_haemorrhagic"] == p.planted["stroke_haemorrhagic_concurrent"]
        if pd.notna(row["future_stroke_ischaemic"]):
            assert row["future_stroke_ischaemic"] == p.planted["stroke_ischaemic_future"]
        if all(plan.link_status == "inside" for plan in p.records):
            assert row["medication_antiarrhythmic"] == p.planted["medication_antiarrhythmic"]
        assert row["sex"] == p.sex
        assert row["age_years"] == pytest.approx(min(p.age_years, 90), abs=1.0)
    assert 10 < table["age_90_or_over"].sum() < 200
    assert 0.05 < table["died_in_hospital"].mean() < 0.2
    assert table["medication_antiarrhythmic"].sum() > 50
    # The prevalence of the real database, so that nothing warns but the persons left out on purpose.
    warnings = prevalence_warnings(table.reset_index())
    assert [code for code, _, _ in warnings] == ["patients-not-in-tables"]


def test_the_planted_odds_are_in_the_cohort() -> None:
    people = draw_people(5000, 1.0, 2)
    af = np.array([p.has_af for p in people])
    for name in ("stroke_ischaemic_concurrent", "stroke_haemorrhagic_concurrent", "medication_antiarrhythmic"):
        outcome = np.array([p.planted[name] for p in people])
        table = np.array(
            [[(outcome & af).sum(), (~outcome & af).sum()], [(outcome & ~af).sum(), (~outcome & ~af).sum()]]
        )
        log_odds = np.log(table[0, 0] * table[1, 1] / (table[0, 1] * table[1, 0]))
        error = np.sqrt((1 / table).sum())
        assert abs(log_odds - np.log(PLANTED[name]["odds_ratio_af"])) < 3 * error
        assert error < 0.3
    stronger = {**PLANTED, "stroke_ischaemic_concurrent": {"probability_without_af": 0.07, "odds_ratio_af": 12.0}}
    strokes = [p.planted["stroke_ischaemic_concurrent"] for p in draw_people(5000, 1.0, 2, stronger) if p.has_af]
    assert abs(np.mean(strokes) - 0.84 / (0.84 + 0.93)) < 0.05  # odds 12 x 7 / 93
    assert 0.2 < af.mean() < 0.28
    coded = np.array([any("42731" in a.codes for a in p.admissions) for p in people])
    assert 0.8 < coded[af].mean() < 0.93
    assert 0.02 < coded[~af].mean() < 0.08


def test_tables_have_the_columns_and_dates_of_mimic(people_tables) -> None:
    folder, _ = people_tables
    rows = {}
    for path in folder.iterdir():
        with gzip.open(path, "rt", newline="") as file:
            rows[path.name] = list(csv.DictReader(file))
    assert set(rows) >= {
        f"{t}.csv.gz" for t in ("PATIENTS", "ADMISSIONS", "DIAGNOSES_ICD", "PRESCRIPTIONS", "ICUSTAYS")
    }
    assert all(key == key.upper() for table in rows.values() if table for key in table[0])
    shifted = [r for r in rows["PATIENTS.csv.gz"] if r["DOB"] < "1950"]
    assert shifted
    first = {}
    for r in sorted(rows["ADMISSIONS.csv.gz"], key=lambda r: r["ADMITTIME"]):
        first.setdefault(r["SUBJECT_ID"], r["ADMITTIME"])
        assert "2100" < r["ADMITTIME"] < r["DISCHTIME"] < "2215"
    assert all(int(first[r["SUBJECT_ID"]][:4]) - int(r["DOB"][:4]) == 300 for r in shifted)
    deaths = {r["SUBJECT_ID"] for r in rows["ADMISSIONS.csv.gz"] if r["HOSPITAL_EXPIRE_FLAG"] == "1"}
    assert deaths <= {r["SUBJECT_ID"] for r in rows["PATIENTS.csv.gz"] if r["DOD"]}
    stays = {r["HADM_ID"]: r for r in rows["ADMISSIONS.csv.gz"]}
    for r in rows["ICUSTAYS.csv.gz"]:
        assert stays[r["HADM_ID"]]["ADMITTIME"] <= r["INTIME"] < r["OUTTIME"] <= stays[r["HADM_ID"]]["DISCHTIME"]
    assert len({r["HADM_ID"] for r in rows["ADMISSIONS.csv.gz"]}) == len(rows["ADMISSIONS.csv.gz"])
    assert max(sum(r["SUBJECT_ID"] == s for r in rows["ADMISSIONS.csv.gz"]) for s in list(first)[:200]) >= 3


def test_nurses_chart_the_rhythm_mostly_rightly(cohort) -> None:
    records = _records(cohort.folder)
    charted = charted_rhythm(cohort.folder / "clinical", records["subject_id"])
    assert len(charted) >= 20
    kinds = {int(r["subject_id"]): r["rhythm_kind"] for r in cohort.truth("patients")}
    steady = charted[charted["subject_id"].map(kinds).isin(["sinus", "ectopy", "persistent_af"])]
    right = (steady["rhythm"] == "atrial_fibrillation") == (steady["subject_id"].map(kinds) == "persistent_af")
    assert right.mean() > 0.8


def test_records_are_made_inside_the_true_stays_of_real_tables(real_data: Path, tmp_path: Path) -> None:
    demo = real_data / "mimic3-clinical-demo"
    if not demo.is_dir():
        pytest.skip(f"no clinical demo at {demo}")
    summary = synthesise(tmp_path / "a", patients=1000, hours=0.03, seed=1, clinical=demo, workers=1)
    assert summary["patients"] == 100
    assert not (tmp_path / "a" / "clinical").exists()
    records = _records(tmp_path / "a")
    assert len(records) > 110
    # All of them have both signals, so that none of the hundred is lost on the way to a dataset.
    for record in (tmp_path / "a" / "waveforms" / "RECORDS-waveforms").read_text().split():
        path = tmp_path / "a" / "waveforms" / record
        layout = wfdb.rdheader(str(path), rd_segments=False).seg_name[0]
        assert "PLETH" in wfdb.rdheader(str(path.parent / layout)).sig_name
    got = link_records(demo, records, 0.0)
    assert (got["link_status"] == "inside").all()
    assert got["hadm_id"].tolist() == records["hadm_id"].tolist()
    table = patient_table(demo, records.drop(columns=["hadm_id", "link_status"]).merge(got, on="record"))
    assert table["ever_atrial_fibrillation"].sum() == 34
    with (demo / "ICUSTAYS.csv").open(newline="") as file:
        stays = [(int(r["hadm_id"]), r["intime"], r["outtime"]) for r in csv.DictReader(file)]
    for row in records.itertuples():
        inside = [
            h for h, a, b in stays if h == row.hadm_id and pd.Timestamp(a) <= row.start <= row.end <= pd.Timestamp(b)
        ]
        assert inside, row.record
    some = synthesise(tmp_path / "b", patients=7, hours=0.03, seed=1, clinical=demo, workers=1)
    assert some["patients"] == 7


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "ADMISSIONS.csv.gz").unlink(), "no ADMISSIONS.csv"),
        (lambda f: (f / "PATIENTS.csv.gz").write_bytes(b"junk"), "PATIENTS.csv.gz: cannot be read"),
        (lambda f: (f / "PATIENTS.csv.gz").write_bytes(gzip.compress(b"A,B\n1,2\n")), "line 1: no column SUBJECT_ID"),
        (
            lambda f: (f / "PATIENTS.csv.gz").write_bytes(gzip.compress(b"SUBJECT_ID,GENDER,DOB\nx,M,2100-01-01\n")),
            "line 2: SUBJECT_ID is not a whole number",
        ),
    ],
)
def test_tables_that_cannot_be_read_are_named(cohort, tmp_path: Path, spoil, message: str) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    for path in (cohort.folder / "clinical").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    spoil(folder)
    with pytest.raises(InputError, match=message):
        synthesise(tmp_path / "out", patients=3, hours=0.05, seed=1, clinical=folder)
    assert not (tmp_path / "out").exists()


def test_a_birth_on_a_leap_day_is_shifted_too() -> None:
    # The 296th of these people was born on 29 February and is over 89.
    assert len(draw_people(patients=500, hours=0.05, seed=1)) == 500
