"""Drugs by class, and whether they were running at the recording."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ecgconsole.clinical.medications import active_medications, classes_of, medication_classes
from ecgconsole.clinical.tables import read_table


@pytest.mark.parametrize(
    ("drug", "route", "classes"),
    [
        ("Amiodarone HCl", "IV", {"antiarrhythmic"}),
        ("Lidocaine", "IV DRIP", {"antiarrhythmic"}),
        ("Lidocaine 5% Patch", "TD", set()),
        ("Lidocaine Viscous 2%", "PO", set()),
        ("Lidocaine 1%", "SC", set()),
        ("Lidocaine 1%/Epinephrine 1:100000", "SC", set()),
        ("Quinidine Gluconate", "PO", {"antiarrhythmic"}),
        ("Diltiazem Extended-Release", "PO", {"rate_control"}),
        ("Digoxin", "PO", {"rate_control"}),
        ("Warfarin", "PO", {"anticoagulant"}),
        ("Heparin Sodium", "IV", {"anticoagulant"}),
        ("Heparin Flush PICC (100 units/ml)", "IV", set()),
        ("Heparin Lock Flush", "IV", set()),
        ("Heparin Flush (5000 Units/mL)", "DWELL", set()),
        ("Enoxaparin Sodium", "SC", {"anticoagulant"}),
        ("Metoprolol Succinate XL", "PO", {"beta_blocker"}),
        ("Labetalol HCl", "IV DRIP", {"beta_blocker"}),
        ("Timolol Maleate 0.25%", "BOTH EYES", set()),
        ("Dorzolamide 2%/Timolol 0.5% Ophth.", "OU", set()),
        ("Sotalol", "PO", {"antiarrhythmic"}),
        ("NORepinephrine", "IV DRIP", {"vasopressor"}),
        ("Phenylephrine HCl", "IV DRIP", {"vasopressor"}),
        ("Phenylephrine 0.5% Nasal Spray", "NS", set()),
        ("DopAmine", "IV DRIP", {"vasopressor"}),
        ("Vasopressin", "IV DRIP", {"vasopressor"}),
        ("Desmopressin Acetate", "IV", set()),
        ("DOBUTamine", "IV DRIP", set()),
        ("Acetaminophen", "PO", set()),
    ],
)
def test_a_drug_is_known_by_name_and_route(drug: str, route: str, classes: set[str]) -> None:
    assert classes_of(drug, route) == classes


def test_drugs_of_the_demo_that_sound_alike_are_told_apart(demo: Path) -> None:
    rows = read_table(demo / "PRESCRIPTIONS.csv", "PRESCRIPTIONS").fillna({"route": ""})
    named = rows[["drug", "route"]].drop_duplicates()
    got = {c: {d for d, r in named.itertuples(index=False) if c in classes_of(d, r)} for c in medication_classes()}
    assert len(got["anticoagulant"]) >= 5
    assert {"Metoprolol", "Atenolol", "Esmolol", "Carvedilol"} <= got["beta_blocker"]
    assert {"Norepinephrine", "Phenylephrine", "Vasopressin", "Epinephrine"} <= got["vasopressor"]
    assert {"Amiodarone", "Amiodarone HCl", "Lidocaine"} <= got["antiarrhythmic"]
    assert not any("Flush" in d or "Timolol" in d or "Patch" in d for drugs in got.values() for d in drugs)
    assert not any(d.endswith("statin") or "sulfa" in d.lower() for drugs in got.values() for d in drugs)


def _prescriptions(*rows: tuple[int, str, str | None, str]) -> pd.DataFrame:
    out = pd.DataFrame(rows, columns=["subject_id", "startdate", "enddate", "drug"]).assign(route="PO")
    for column in ("startdate", "enddate"):
        out[column] = pd.to_datetime(out[column]).astype("datetime64[us]")
    return out


@pytest.mark.parametrize(
    ("start", "end", "active"),
    [
        ("2150-01-01", "2150-01-02", True),  # ends on the day of the recording
        ("2150-01-03", "2150-01-09", True),  # starts on its last day
        ("2150-01-04", "2150-01-09", False),
        ("2149-12-01", "2150-01-01", False),
        ("2150-01-02", None, True),
        ("2150-01-02", "2149-01-02", True),  # an end before the start: the day it started
        ("2150-01-01", None, False),
    ],
)
def test_a_drug_counts_on_the_days_of_the_recording(records_of, start, end, active) -> None:
    records = records_of(
        ("p1", 1, "r", "2150-01-02 22:00", "2150-01-03 02:00"), ("p2", 2, "s", "2150-01-02", "2150-01-03")
    )
    got = active_medications(_prescriptions((1, start, end, "Warfarin")), records)
    assert got.loc["p1", "anticoagulant"] == active
    assert got.to_numpy().sum() == int(active)


def test_no_prescription_is_no_medication(records_of) -> None:
    records = records_of(("p1", 1, "r", "2150-01-02", "2150-01-03"), ("x", None, "s", None, None))
    got = active_medications(_prescriptions(), records)
    assert got.index.tolist() == ["p1"]
    assert not got.to_numpy().any()
