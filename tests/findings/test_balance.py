"""Every patient counts the same."""

from __future__ import annotations

import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgconsole.findings.balance import balanced_rows, capped_rows, effective_patients, half_splits, in_order

patients_of_rows = st.lists(st.integers(0, 8), min_size=1, max_size=80).map(np.array)


@settings(deadline=None)
@given(patients_of_rows, st.integers(1, 10), st.integers(0, 3))
def test_a_balanced_sample_holds_the_smaller_of_cap_and_all_of_each_patient(patient, cap, seed):
    rows = balanced_rows(patient, np.arange(len(patient)), cap, np.random.default_rng(seed))
    assert (np.diff(rows) > 0).all()
    for p in np.unique(patient):
        assert (patient[rows] == p).sum() == min(cap, (patient == p).sum())


def test_a_balanced_sample_draws_only_from_the_rows_given():
    patient = np.repeat([0, 1, 2], 10)
    rows = balanced_rows(patient, np.arange(10, 20), 4, np.random.default_rng(0))
    assert set(patient[rows]) == {1}
    assert len(rows) == 4


def test_every_segment_of_a_patient_is_drawn_about_as_often():
    patient = np.zeros(10, int)
    drawn = np.concatenate(
        [balanced_rows(patient, np.arange(10), 5, np.random.default_rng(seed)) for seed in range(400)]
    )
    counts = np.bincount(drawn, minlength=10)
    assert counts.min() > 160
    assert counts.max() < 240


@settings(deadline=None)
@given(patients_of_rows, st.integers(1, 60))
def test_a_capped_sample_never_exceeds_its_total_and_uses_the_largest_fair_cap(patient, total):
    rows = capped_rows(patient, np.arange(len(patient)), total, np.random.default_rng(0))
    assert len(rows) <= total
    sizes = np.unique(patient, return_counts=True)[1]
    fair = max(
        (int(np.minimum(sizes, c).sum()) for c in range(1, sizes.max() + 1) if np.minimum(sizes, c).sum() <= total),
        default=total,
    )
    assert len(rows) == fair


def test_halves_share_no_patient_and_are_equal():
    for a, b in half_splits(np.arange(11), 20, np.random.default_rng(0)):
        assert len(a) == len(b) == 5
        assert not set(a) & set(b)


def test_effective_patients_of_known_shares():
    assert effective_patients(np.full(10, 7)) == 10
    assert effective_patients(np.array([5, 0, 0])) == 1
    assert effective_patients(np.zeros(4)) == 0
    # Shares 1/2, 1/4, 1/4: 1 / (1/4 + 1/16 + 1/16).
    assert np.isclose(effective_patients(np.array([2, 1, 1])), 8 / 3)


@settings(deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30).filter(any))
def test_effective_patients_lie_between_one_and_all(counts):
    value = effective_patients(np.array(counts))
    assert 1 - 1e-9 <= value <= np.count_nonzero(counts) + 1e-9


def test_results_come_in_order_and_nothing_new_starts_once_the_caller_stops():
    begun = []

    def slow_when_first(i):
        begun.append(i)
        time.sleep(0.05 if i == 0 else 0)
        return i

    assert list(in_order(slow_when_first, range(6), 3)) == list(range(6))
    begun.clear()
    for result in in_order(slow_when_first, range(100), 2):
        if result == 1:
            break
    assert len(begun) <= 5
