"""Patterns beside the rhythm that people wrote down."""

from __future__ import annotations

import numpy as np
import pytest

from ecgconsole.errors import InputError
from ecgconsole.findings import rhythm
from ecgconsole.findings.inputs import Segments


def segments(records, starts, patients=None, split=None):
    names, record = np.unique(np.array(records), return_inverse=True)
    patient = record if patients is None else np.array(patients)
    n = len(records)
    return Segments(
        embeddings=np.zeros((n, 2), np.float32),
        segment_index=np.arange(n),
        patient=patient.astype(np.int32),
        patients=np.unique(patient).astype(str),
        record=record.astype(np.int32),
        records=names,
        start_seconds=np.array(starts, float),
        patient_split=np.array(split if split else [0] * len(np.unique(patient)), np.int8),
    )


def test_a_segment_has_the_rhythm_that_covers_most_of_it_if_that_is_half(tmp_path):
    path = tmp_path / "rhythm.csv"
    path.write_text(
        "record,start_seconds,end_seconds,rhythm,extra\n"
        "r1,0,14,sinus,x\nr1,14,26,af,x\nr1,40,44,af,x\na/b/r2,0,100,sinus,x\n"
    )
    table = rhythm.read_intervals(path)
    made = segments(["x/r1"] * 4 + ["a/b/r2", "r3"], [0, 10, 20, 40, 50, 0])
    codes, names = rhythm.rhythm_of_segments(made, table, 10.0)
    found = [names[c] if c >= 0 else None for c in codes]
    # 10 to 20: 4 s sinus, 6 s AF; 20 to 30: 6 s AF; 40 to 50: 4 s are less than half.
    assert found == ["sinus", "af", "af", None, "sinus", None]


def test_bad_interval_files_are_named_with_their_line(tmp_path):
    path = tmp_path / "rhythm.csv"
    path.write_text("record,start_seconds,rhythm\n")
    with pytest.raises(InputError, match="lacks the column end_seconds"):
        rhythm.read_intervals(path)
    path.write_text("record,start_seconds,end_seconds,rhythm\nr,0,1,a\nr,x,1,a\n")
    with pytest.raises(InputError, match=r"rhythm\.csv:3: start_seconds"):
        rhythm.read_intervals(path)
    with pytest.raises(InputError, match="cannot be read"):
        rhythm.read_intervals(tmp_path / "absent.csv")


def test_charts_in_the_dataset_become_codes():
    codes, names = rhythm.rhythm_of_charts(np.array(["", "sinus", "af", "sinus", ""]))
    assert names == ["af", "sinus"]
    assert codes.tolist() == [-1, 1, 0, 1, -1]


def test_a_pattern_is_named_by_training_people_only_and_unexplained_without_a_majority():
    pattern = np.array([0, 0, 0, 1, 1, 2, 0, 0])
    codes = np.array([0, 0, 1, 0, 1, -1, 1, 1])
    training = np.array([1, 1, 1, 1, 1, 1, 0, 0], bool)
    found = rhythm.known_rhythm(pattern, np.arange(8), codes, training, ["af", "sinus"], 3)
    assert [f["name"] for f in found] == ["af", "unexplained by charted rhythm", None]
    assert found[0]["labelled_segments"] == 3
    assert np.isclose(found[0]["lift"], (2 / 3) / (3 / 5))


def lift_of(inside, of_rhythm, patient, repetitions=400, seed=0):
    rng = np.random.default_rng(seed)
    return rhythm.held_out_enrichment(np.array(inside), np.array(of_rhythm), np.array(patient), repetitions, rng)


def test_lift_on_held_out_people_by_counting_and_none_where_there_is_nothing_to_count():
    inside = np.array([1, 1, 1, 0, 0, 0, 0, 0], bool)
    found = lift_of(inside, np.array([1, 1, 0, 1, 0, 0, 0, 0], bool), [0, 0, 1, 1, 2, 2, 3, 3])
    assert (found["segments"], found["people"], found["people_with_rhythm"]) == (3, 2, 2)
    assert np.isclose(found["share"], 2 / 3)
    assert np.isclose(found["lift"], (2 / 3) / (3 / 8))
    assert found["ci_low"] <= found["lift"] <= found["ci_high"]
    nobody = np.zeros(4, bool)
    for inside, of_rhythm in ((nobody, ~nobody), (~nobody, nobody), (nobody[:0], nobody[:0])):
        found = lift_of(inside, of_rhythm, np.arange(len(inside)))
        assert found["lift"] is None
        assert found["ci_low"] is None


def test_the_interval_of_the_lift_covers_a_known_one_though_people_differ():
    """Each has the rhythm, and the pattern, to a share of their own; the pattern twice as often in the rhythm."""
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        patient = np.repeat(np.arange(80), 20)
        of_rhythm = rng.random(1600) < rng.beta(0.5, 1.5, 80)[patient]
        inside = rng.random(1600) < np.where(of_rhythm, 0.4, 0.2) * rng.choice([0.1, 1.9], 80)[patient]
        # In truth the rhythm is a quarter of time: its share in the pattern 0.25 x 0.4 / 0.25.
        found = lift_of(inside, of_rhythm, patient, 200, seed)
        covered += found["ci_low"] <= 0.4 / 0.25 <= found["ci_high"]
    assert 86 <= covered <= 99  # 95 % of 100, four standard errors; segments redrawn as units give 68


def test_agreement_on_held_out_people_uses_the_names_of_training_people():
    made = segments(["a"] * 4 + ["b"] * 4, range(8), split=[0, 2])
    pattern = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    codes = np.array([0, 0, 1, 1, 1, 1, 0, 0])
    found = rhythm.known_rhythm(pattern, made.patient, codes, made.in_split("train"), ["af", "sinus"], 2)
    result = rhythm.agreement(pattern, codes, made, found, ["af", "sinus"])
    assert result["train"]["share_right"] == 1
    assert result["test"]["share_right"] == 0
    assert result["val"] is None
