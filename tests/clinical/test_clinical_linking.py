"""Recordings link to the admission they overlap, or say why not."""

from __future__ import annotations

from datetime import datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgconsole.clinical import link_records
from ecgconsole.clinical.linking import link

DAY_1, DAY_5 = "2150-01-01 10:00:00", "2150-01-05 10:00:00"


@pytest.mark.parametrize(
    ("start", "end", "hadm_id", "status"),
    [
        ("2150-01-02 00:00", "2150-01-02 05:00", 11, "inside"),
        ("2150-01-01 08:00", "2150-01-01 11:00", 11, "inside"),  # starts before the admission, as real ones do
        ("2150-01-05 09:00", "2150-01-07 09:00", 11, "inside"),
        ("2150-01-01 02:00", "2150-01-01 05:00", 11, "within tolerance"),
        ("2150-01-05 15:59", "2150-01-05 20:00", 11, "within tolerance"),
        ("2150-01-05 16:01", "2150-01-05 20:00", None, "none"),
        ("2149-01-05 16:01", "2149-01-05 20:00", None, "none"),
        (None, None, None, "none"),
        ("2150-01-02 00:00", None, 11, "inside"),
        ("2150-01-02 00:00", "2150-01-01 23:00", 11, "inside"),  # a length that cannot be
    ],
)
def test_the_overlap_decides(hospital, records_of, start, end, hadm_id, status) -> None:
    hospital.patient(1)
    hospital.admission(1, 11, DAY_1, DAY_5)
    records = records_of(("p1", 1, "r1", start, end))
    got = link_records(hospital.write(), records, 6.0)
    assert got["link_status"].tolist() == [status]
    assert got["hadm_id"].dropna().tolist() == ([hadm_id] if hadm_id else [])


def test_two_admissions_at_once_are_not_guessed(hospital, records_of) -> None:
    hospital.patient(1)
    hospital.admission(1, 11, DAY_1, DAY_5)
    hospital.admission(1, 12, "2150-01-05 14:00:00", "2150-01-09 10:00:00")
    got = link_records(
        hospital.write(),
        records_of(
            ("p1", 1, "across", "2150-01-05 08:00", "2150-01-05 16:00"),
            ("p1", 1, "between", "2150-01-05 11:00", "2150-01-05 12:00"),
            ("p1", 1, "first", "2150-01-05 08:00", "2150-01-05 12:00"),
        ),
        6.0,
    )
    assert got["link_status"].tolist() == ["ambiguous", "ambiguous", "inside"]
    assert got["hadm_id"].isna().tolist() == [True, True, False]


def test_an_admission_that_ends_before_it_begins_still_has_its_time(hospital, records_of) -> None:
    hospital.patient(1)
    hospital.admission(1, 11, "2150-01-01 10:00:00", "2150-01-01 06:00:00", died=1)
    got = link_records(hospital.write(), records_of(("p1", 1, "r", "2150-01-01 07:00", "2150-01-01 08:00")), 0.0)
    assert got["link_status"].tolist() == ["inside"]


def test_the_order_of_the_records_is_kept_and_strangers_are_none(hospital, records_of) -> None:
    hospital.patient(1)
    hospital.admission(1, 11, DAY_1, DAY_5)
    records = records_of(
        ("x", None, "no-subject", "2150-01-02", "2150-01-03"),
        ("p9", 9, "stranger", "2150-01-02", "2150-01-03"),
        ("p1", 1, "known", "2150-01-02", "2150-01-03"),
    ).set_index(pd.Index([7, 7, 3]))
    got = link_records(hospital.write(), records, 6.0)
    assert got["record"].tolist() == ["no-subject", "stranger", "known"]
    assert got["link_status"].tolist() == ["none", "none", "inside"]
    only_strangers = records.iloc[:1]
    assert link_records(hospital.folder, only_strangers, 6.0)["link_status"].tolist() == ["none"]


ORIGIN = datetime(2150, 1, 1)
_span = st.tuples(st.integers(0, 400), st.integers(0, 60)).map(lambda x: (x[0], x[0] + x[1]))


@settings(max_examples=60, deadline=None)
@given(
    stays=st.lists(st.tuples(st.integers(1, 3), _span), max_size=8),
    recordings=st.lists(st.tuples(st.integers(1, 4), _span), min_size=1, max_size=8),
    tolerance_hours=st.integers(0, 24),
)
def test_linking_is_what_a_loop_over_all_pairs_finds(stays, recordings, tolerance_hours) -> None:
    def at(hours: float) -> datetime:
        return ORIGIN + timedelta(hours=hours)

    admissions = pd.DataFrame(
        {
            "hadm_id": range(100, 100 + len(stays)),
            "subject_id": pd.array([s for s, _ in stays], dtype="int64"),
            "first": pd.array([at(a) for _, (a, _) in stays], dtype="datetime64[us]"),
            "last": pd.array([at(b) for _, (_, b) in stays], dtype="datetime64[us]"),
        }
    ).set_index("hadm_id")
    records = pd.DataFrame(
        {
            "subject_id": pd.array([s for s, _ in recordings], dtype="Int64"),
            "record": [f"r{i}" for i in range(len(recordings))],
            "start": pd.array([at(a) for _, (a, _) in recordings], dtype="datetime64[us]"),
            "end": pd.array([at(b) for _, (_, b) in recordings], dtype="datetime64[us]"),
        }
    )
    expected = []
    for subject, (a, b) in recordings:
        start, end = at(a), max(at(b), at(a) + timedelta(seconds=1))
        answer = (None, "none")
        for status, extra in (("inside", 0), ("within tolerance", tolerance_hours)):
            hits = [
                100 + i
                for i, (s, (c, d)) in enumerate(stays)
                if s == subject and start < at(d + extra) and end > at(c - extra)
            ]
            if hits:
                answer = (hits[0], status) if len(hits) == 1 else (None, "ambiguous")
                break
        expected.append(answer)
    got = link(records, admissions, float(tolerance_hours))
    assert [(None if pd.isna(h) else h, s) for h, s in zip(got["hadm_id"], got["link_status"], strict=True)] == expected
