"""One row a patient: outcomes by time, mortality, demographics, against a slow reading of the same tables."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from ecgconsole.clinical import link_records, patient_table, prevalence_warnings


def _table(folder: Path, records: pd.DataFrame) -> pd.DataFrame:
    links = link_records(folder, records, 6.0)
    return patient_table(folder, records.merge(links, on="record")).set_index("patient_id")


def _three_admissions(hospital, before=(), during=(), after=(), died=0) -> Path:  # type: ignore[no-untyped-def]
    hospital.patient(1, gender="F", dob="2080-06-01 00:00:00")
    hospital.admission(1, 10, "2149-01-01 10:00:00", "2149-01-05 10:00:00", before)
    hospital.admission(1, 11, "2150-01-01 10:00:00", "2150-01-05 10:00:00", during, died)
    hospital.admission(1, 12, "2151-01-01 10:00:00", "2151-01-05 10:00:00", after)
    return hospital.write()


@pytest.fixture
def recorded(records_of) -> pd.DataFrame:
    return records_of(("p1", 1, "r1", "2150-01-02 00:00", "2150-01-02 05:00"))


def test_each_endpoint_is_told_by_the_time_of_its_admission(hospital, recorded) -> None:
    row = _table(_three_admissions(hospital, ["4270"], ["42732"], ["42731", "43491"]), recorded).loc["p1"]
    assert row["history_paroxysmal_supraventricular_tachycardia"]
    assert not row["history_atrial_flutter"]
    assert row["concurrent_atrial_flutter"]
    assert not row["concurrent_atrial_fibrillation"]
    assert row["future_atrial_fibrillation"]
    assert row["future_stroke_ischaemic"]
    assert row["future_stroke"]
    assert not row["future_stroke_haemorrhagic"]
    assert pd.isna(row["future_atrial_flutter"]), "had it already"
    assert row["ever_atrial_fibrillation"]
    assert row["ever_atrial_flutter"]
    assert not row["ever_premature_beats"]
    assert row[["hadm_id", "admissions_recorded", "admissions_before", "admissions_after"]].tolist() == [11, 1, 1, 1]


@pytest.mark.parametrize("earlier", ["43491", "431", "43820", "V12.54", "436"])
@pytest.mark.parametrize("when", ["before", "during"])
def test_who_had_a_stroke_by_then_is_not_at_risk_of_a_first_one(hospital, recorded, earlier: str, when: str) -> None:
    row = _table(_three_admissions(hospital, **{when: [earlier]}, after=["43491"]), recorded).loc["p1"]
    for endpoint in ("stroke", "stroke_ischaemic", "stroke_haemorrhagic", "tia", "stroke_brief"):
        assert pd.isna(row[f"future_{endpoint}"]), endpoint
    assert not pd.isna(row["future_atrial_fibrillation"])


def test_late_effects_are_history_and_never_an_outcome(hospital, recorded) -> None:
    row = _table(_three_admissions(hospital, during=["43820"]), recorded).loc["p1"]
    assert row["history_stroke"]
    assert row["history_stroke_brief"]
    assert not row["concurrent_stroke"]
    assert not row["concurrent_stroke_ischaemic"]
    assert row["concurrent_stroke_brief"], "the brief's list holds 430 to 438"
    assert not row["control"]


def test_a_tia_stands_apart_and_leaves_its_patient_at_risk_of_stroke(hospital, recorded) -> None:
    row = _table(_three_admissions(hospital, during=["4359"], after=["43491"]), recorded).loc["p1"]
    assert row["concurrent_tia"]
    assert not row["concurrent_stroke"]
    assert row["future_stroke_ischaemic"]
    assert pd.isna(row["future_tia"])


def test_the_dead_have_no_future(hospital, recorded) -> None:
    row = _table(_three_admissions(hospital, after=["43491"], died=1), recorded).loc["p1"]
    assert row["died_in_hospital"]
    assert not row["control"]
    assert row.filter(like="future_").isna().all()


def test_admissions_between_two_recorded_ones_are_neither_before_nor_after(hospital, records_of) -> None:
    folder = _three_admissions(hospital, during=["42731"])
    records = records_of(
        ("p1", 1, "r1", "2149-01-02", "2149-01-03"),
        ("p1", 1, "r2", "2151-01-02", "2151-01-03"),
    )
    row = _table(folder, records).loc["p1"]
    assert row[["hadm_id", "admissions_recorded", "admissions_before", "admissions_after"]].tolist() == [10, 2, 0, 0]
    labels = [row[f"{when}_atrial_fibrillation"] for when in ("concurrent", "history", "future", "ever")]
    assert labels == [False, False, False, True]


def test_controls_have_no_arrhythmia_and_no_stroke_at_any_time(hospital, recorded) -> None:
    assert _table(_three_admissions(hospital, ["4019"], ["41401"], ["25000"]), recorded).loc["p1", "control"]
    for when in ("before", "during", "after"):
        for code in ("42789", "4371"):
            hospital.rows = {"PATIENTS": [], "ADMISSIONS": [], "DIAGNOSES_ICD": []}
            folder = _three_admissions(hospital, **{when: [code]})
            assert not _table(folder, recorded).loc["p1", "control"]


@pytest.mark.parametrize(
    ("dod", "within"),
    [
        ("", False),
        ("2150-01-02 00:00:00", True),
        ("2150-04-02 00:00:00", True),
        ("2150-04-03 00:00:00", False),
        ("2150-01-01 00:00:00", True),
        ("2149-12-25 00:00:00", None),
    ],
)
def test_death_within_ninety_days_counts_whole_days_from_the_recording(hospital, recorded, dod, within) -> None:
    hospital.patient(1, dod=dod)
    hospital.admission(1, 11, "2150-01-01 10:00:00", "2150-01-05 10:00:00")
    got = _table(hospital.write(), recorded).loc["p1", "died_within_90_days"]
    assert (None if pd.isna(got) else bool(got)) == within


@pytest.mark.parametrize(
    ("dob", "age", "ninety"),
    [
        ("2080-01-02 00:00:00", 70.0, False),
        ("2060-01-03 00:00:00", 90.0, None),
        ("1850-01-01 00:00:00", 90.0, True),
        ("2050-01-01 00:00:00", 90.0, True),
        ("2150-06-01 00:00:00", None, None),
    ],
)
def test_ages_over_89_are_ninety_or_over(hospital, recorded, dob, age, ninety) -> None:
    hospital.patient(1, gender="m", dob=dob)
    hospital.admission(1, 11, "2150-01-01 10:00:00", "2150-01-05 10:00:00")
    row = _table(hospital.write(), recorded).loc["p1"]
    assert row["sex"] == "M"
    if age is None:
        assert pd.isna(row["age_years"])
        assert pd.isna(row["age_90_or_over"])
    else:
        assert row["age_years"] == pytest.approx(age, abs=0.01)
        assert ninety is None or row["age_90_or_over"] == ninety


def test_cha2ds2_vasc_counts_only_what_was_known_before(hospital, recorded) -> None:
    known = ["4280", "4019", "25000", "412", "43491"]
    row = _table(_three_admissions(hospital, known[:3], known, known), recorded).loc["p1"]
    assert row[["before_heart_failure", "before_hypertension", "before_diabetes"]].all()
    assert not row["before_vascular_disease"]
    assert not row["before_stroke_or_thromboembolism"]
    assert row["cha2ds2_vasc_before"] == 3 + 1 + 1  # three diseases, a woman, 69 years old
    hospital.rows = {"PATIENTS": [], "ADMISSIONS": [], "DIAGNOSES_ICD": []}
    assert _table(_three_admissions(hospital, known), recorded).loc["p1", "cha2ds2_vasc_before"] == 4 + 2 + 1 + 1


def test_patients_outside_the_tables_or_without_a_link_are_kept_without_labels(hospital, records_of) -> None:
    hospital.patient(1)
    hospital.admission(1, 11, "2150-01-01 10:00:00", "2150-01-05 10:00:00", ["42731"])
    records = records_of(
        ("p1", 1, "r1", "2160-01-02", "2160-01-03"),
        ("p2", 2, "r2", "2150-01-02", "2150-01-03"),
        ("x", None, "r3", None, None),
    )
    table = _table(hospital.write(), records)
    assert table["in_tables"].tolist() == [True, False, False]
    assert table["records_none"].tolist() == [1, 1, 1]
    labels = [c for c in table if c.startswith(("concurrent_", "history_", "future_", "before_", "medication_"))]
    assert len(labels) > 50
    assert table[[*labels, "control", "died_in_hospital"]].isna().all(axis=None)
    assert table["ever_atrial_fibrillation"].tolist()[:1] == [True]
    assert table["ever_atrial_fibrillation"].isna().tolist() == [False, True, True]
    assert table["died_within_90_days"].isna().tolist() == [False, True, True]


def test_without_optional_tables_their_columns_are_null(hospital, recorded) -> None:
    row = _table(_three_admissions(hospital), recorded).loc["p1"]
    assert pd.isna(row["care_unit"])
    assert row.filter(like="medication_").isna().all()


def test_the_care_unit_is_where_the_first_recording_began(hospital, recorded) -> None:
    _three_admissions(hospital)
    hospital.add("ICUSTAYS", 1, 11, 1, "MICU", "2150-01-01 10:00:00", "2150-01-01 20:00:00")
    hospital.add("ICUSTAYS", 1, 11, 2, "CCU", "2150-01-01 22:00:00", "2150-01-03 20:00:00")
    assert _table(hospital.write(), recorded).loc["p1", "care_unit"] == "CCU"


def test_the_table_does_not_depend_on_the_order_of_the_records(demo: Path, demo_rows) -> None:
    records = _demo_records(demo_rows)
    shuffled = records.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(_table(demo, records), _table(demo, shuffled))


def _demo_records(demo_rows: Callable[[str], list[dict[str, str]]]) -> pd.DataFrame:
    """A recording of two hours in every second admission of the demo, from a minute after its beginning."""
    rows = [
        (
            f"p{int(r['subject_id']):06d}",
            int(r["subject_id"]),
            f"r{r['hadm_id']}",
            datetime.fromisoformat(r["admittime"]),
        )
        for r in demo_rows("ADMISSIONS")
    ]
    by_subject: dict[int, list] = {}
    for row in sorted(rows, key=lambda r: r[3]):
        by_subject.setdefault(row[1], []).append(row)
    kept = [row for subject_rows in by_subject.values() for row in subject_rows[len(subject_rows) // 2 :: 2]]
    out = pd.DataFrame(kept, columns=["patient_id", "subject_id", "record", "start"])
    out["subject_id"] = out["subject_id"].astype("Int64")
    out["start"] = (out["start"] + timedelta(minutes=1)).astype("datetime64[us]")
    out["end"] = out["start"] + timedelta(hours=2)
    return out


def _slow(code: str, endpoint: str) -> bool:
    if endpoint == "stroke_ischaemic":
        return (code[:3] in ("433", "434") and code[4:5] == "1") or code == "436"
    if endpoint == "stroke_haemorrhagic":
        return code[:3] in ("430", "431")
    if endpoint == "atrial_fibrillation":
        return code == "42731"
    if endpoint == "stroke_brief":
        return code[:3] in [str(n) for n in range(430, 439)]
    assert endpoint == "arrhythmia_brief"
    return code[:3] == "427"


def test_labels_of_the_demo_are_those_of_a_slow_reading(demo: Path, demo_rows) -> None:
    records = _demo_records(demo_rows)
    table = _table(demo, records)
    assert len(table) == 100
    assert table["records_inside"].sum() == len(records)
    codes: dict[str, set[str]] = {}
    for r in demo_rows("DIAGNOSES_ICD"):
        codes.setdefault(r["hadm_id"], set()).add(r["icd9_code"])
    admissions = demo_rows("ADMISSIONS")
    assert len(admissions) == 129
    af_patients = {r["subject_id"] for r in admissions if "42731" in codes.get(r["hadm_id"], ())}
    assert len(af_patients) == 34
    assert int(table["ever_atrial_fibrillation"].sum()) == 34
    for patient, row in table.iterrows():
        mine = [r for r in admissions if int(r["subject_id"]) == row["subject_id"]]
        recorded = {r[1:] for r in records.loc[records["patient_id"] == patient, "record"]}
        begin = min(r["admittime"] for r in mine if r["hadm_id"] in recorded)
        end = max(r["dischtime"] for r in mine if r["hadm_id"] in recorded)
        died = any(r["hospital_expire_flag"] == "1" for r in mine if r["hadm_id"] in recorded)
        groups = {
            "concurrent": [r for r in mine if r["hadm_id"] in recorded],
            "history": [r for r in mine if r["hadm_id"] not in recorded and r["admittime"] < begin],
            "future": [r for r in mine if r["hadm_id"] not in recorded and r["admittime"] >= end],
        }
        of = {g: [c for r in rows for c in codes.get(r["hadm_id"], ())] for g, rows in groups.items()}
        late = any(c[:3] == "438" or c == "V1254" for c in of["history"] + of["concurrent"])
        had_stroke = late or any(
            _slow(c, "stroke_ischaemic") or _slow(c, "stroke_haemorrhagic") for c in of["history"] + of["concurrent"]
        )
        assert row["died_in_hospital"] == died
        for endpoint in (
            "stroke_ischaemic",
            "stroke_haemorrhagic",
            "atrial_fibrillation",
            "stroke_brief",
            "arrhythmia_brief",
        ):
            found = {g: any(_slow(c, endpoint) for c in cs) for g, cs in of.items()}
            assert row[f"concurrent_{endpoint}"] == found["concurrent"], (patient, endpoint)
            history = found["history"] or (endpoint == "stroke_brief" and late)
            assert row[f"history_{endpoint}"] == history, (patient, endpoint)
            excluded = died or found["concurrent"] or found["history"] or (endpoint.startswith("stroke") and had_stroke)
            got = row[f"future_{endpoint}"]
            assert pd.isna(got) if excluded else got == found["future"], (patient, endpoint)


def test_ages_of_the_demo_are_plausible(demo: Path, demo_rows) -> None:
    table = _table(demo, _demo_records(demo_rows))
    shifted = {int(r["subject_id"]) for r in demo_rows("PATIENTS") if r["dob"] < "1950"}
    assert len(shifted) >= 5
    assert set(table.loc[table["age_90_or_over"], "subject_id"]) >= shifted
    assert table["age_years"].between(15, 90).all()


def test_a_cohort_far_from_the_known_rates_warns(demo: Path, demo_rows, hospital, records_of) -> None:
    warnings = prevalence_warnings(_table(demo, _demo_records(demo_rows)).reset_index())
    # All 100 patients of the demo are dead: the demo says so. Its share of fibrillation is usual.
    assert [(code, message.split(":")[0]) for code, message, _ in warnings] == [
        ("prevalence-unusual", "death in hospital")
    ]
    rows = []
    for subject in range(1, 61):
        hospital.patient(subject)
        hospital.admission(subject, subject, "2150-01-01 10:00:00", "2150-01-05 10:00:00", died=int(subject % 10 == 0))
        rows.append((f"p{subject}", subject, f"r{subject}", "2150-01-02", "2150-01-03" if subject < 50 else None))
    rows += [(f"q{n}", 1000 + n, f"q{n}", "2150-01-02", "2150-01-03") for n in range(30)]
    table = _table(hospital.write(), records_of(*rows)).reset_index()
    warnings = prevalence_warnings(table)
    assert [code for code, _, _ in warnings] == ["patients-not-in-tables", "few-records-linked", "prevalence-unusual"]
    assert "atrial fibrillation (427.31): 0% of 60 linked patients" in warnings[2][1]
    assert "p1" not in " ".join(m for _, m, _ in warnings)


def test_a_usual_cohort_does_not_warn(hospital, records_of) -> None:
    rows = []
    for subject in range(1, 201):
        hospital.patient(subject)
        codes = ["42731"] if subject % 5 == 0 else []
        hospital.admission(
            subject, subject, "2150-01-01 10:00:00", "2150-01-05 10:00:00", codes, int(subject % 10 == 0)
        )
        rows.append((f"p{subject}", subject, f"r{subject}", "2150-01-02", "2150-01-03"))
    assert prevalence_warnings(_table(hospital.write(), records_of(*rows)).reset_index()) == []


def test_nulls_of_any_type_and_nanoseconds_are_understood(hospital, recorded) -> None:
    folder = _three_admissions(hospital, during=["42731"])
    hospital.rows["PATIENTS"] = []
    hospital.patient(1, dob="1850-01-01 00:00:00")
    hospital.write()
    expected = _table(folder, recorded)
    loose = recorded.astype({"subject_id": object, "start": "datetime64[ns]", "end": "datetime64[ns]"})
    pd.testing.assert_frame_equal(_table(folder, loose), expected)
    assert expected.loc["p1", "age_90_or_over"]
    nothing = pd.DataFrame(
        {"patient_id": ["x"], "subject_id": [None], "record": ["r"], "start": [None], "end": [None]}, dtype=object
    )
    table = _table(folder, nothing)
    assert table["records_none"].tolist() == [1]
    assert table["age_years"].isna().all()
    pd.testing.assert_series_equal(table.dtypes, expected.dtypes)


def test_the_types_of_the_columns_do_not_depend_on_what_is_known(hospital, records_of, recorded) -> None:
    folder = _three_admissions(hospital)
    hospital.add("PRESCRIPTIONS", 1, 11, "2150-01-01 00:00:00", "2150-01-03 00:00:00", "Warfarin", "PO")
    hospital.add("ICUSTAYS", 1, 11, 1, "MICU", "2150-01-01 10:00:00", "2150-01-04 20:00:00")
    hospital.write()
    full = _table(folder, recorded)
    strangers = _table(folder, records_of(("p9", 9, "r", "2150-01-02", "2150-01-03")))
    pd.testing.assert_series_equal(full.dtypes, strangers.dtypes)
    assert full.loc["p1", "medication_anticoagulant"]


@pytest.mark.parametrize(
    ("dob", "gender", "points"),
    [
        ("2085-03-01 00:00:00", "M", 0),
        ("2085-03-01 00:00:00", "F", 1),
        ("2084-12-01 00:00:00", "M", 1),
        ("2075-03-01 00:00:00", "M", 1),
        ("2074-12-01 00:00:00", "M", 2),
        ("1850-12-01 00:00:00", "F", 3),
    ],
)
def test_age_and_sex_have_their_points(hospital, recorded, dob: str, gender: str, points: int) -> None:
    hospital.patient(1, gender=gender, dob=dob)
    hospital.admission(1, 11, "2150-01-01 10:00:00", "2150-01-05 10:00:00", ["4280"])
    assert _table(hospital.write(), recorded).loc["p1", "cha2ds2_vasc_before"] == points
