"""Rows a patient, and CSV that no spreadsheet runs."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest

from ecgconsole.dataset.people import Patient, Recording
from ecgconsole.dataset.tables import csv_text, features_csv, label_names, metadata_frame, outcome, patient_group


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_texts_that_a_spreadsheet_would_run_are_prefixed(text: str) -> None:
    frame = pd.DataFrame({"patient_id": [text, "p1"], "=name": [1.5, -2.0], "known": pd.array([True, None], "boolean")})
    rows = list(csv.reader(io.StringIO(csv_text(frame), newline="")))
    assert rows[0] == ["patient_id", "'=name", "known"]
    assert rows[1] == ["'" + text.replace("\t", " ").replace("\r", " "), "1.5", "1"]
    assert rows[2] == ["p1", "-2.0", ""]  # numbers stay numbers


def frame(**labels: list[bool | None]) -> pd.DataFrame:
    n = len(next(iter(labels.values())))
    base = {"patient_id": [f"p{i}" for i in range(n)], "segments": 3, "candidate_windows": 4, "records": 1}
    columns = {name: pd.array([None] * n, "boolean") for name in label_names()}
    return pd.DataFrame(base | columns | {k: pd.array(v, "boolean") for k, v in labels.items()})


def test_labels_are_one_zero_or_unknown() -> None:
    group = patient_group(frame(control=[True, False, None]), ["train", "val", "test"])
    assert group["labels/control"].tolist() == [1, 0, -1]
    assert group["labels/control"].dtype == np.int8
    assert group["split"].tolist() == [b"train", b"val", b"test"]


def test_outcomes_tell_stroke_and_atrial_fibrillation_apart() -> None:
    found = outcome(frame(ever_stroke=[True, False, None, True], ever_atrial_fibrillation=[True, True, None, False]))
    assert found.tolist() == [3, 2, 0, 1]


def test_a_patient_has_hours_of_each_channel_over_all_records_in_the_metadata_alone() -> None:
    def recording(name: str, **seconds: float) -> Recording:
        return Recording(name, "p", None, None, 7200.0, 1, tuple(seconds.items()), "")

    patient = Patient("p", (recording("a", II=3600.0, PLETH=1800.0), recording("b", II=1800.0, ABP=60.0)))
    entry = {"segments": 1, "candidate_windows": 2, "rejected_windows": {}, "rhythm": {}}
    found = metadata_frame([patient], [entry], None)
    assert json.loads(found["channel_hours"][0]) == {"ABP": 0.0167, "II": 1.5, "PLETH": 0.5}
    assert "channel_hours" not in features_csv(found)
    assert "recorded_hours" in features_csv(found)
