"""What is said of a pattern is what its segments are."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ecgconsole.config import DiscoveryConfig
from ecgconsole.findings import profile


def test_counts_are_counts():
    pattern, patient = np.array([0, 1, 1, 2, 0]), np.array([0, 0, 0, 1, 1])
    assert profile.segment_counts(pattern, patient, 3, 3).tolist() == [[1, 2, 0], [1, 0, 1], [0, 0, 0]]


def test_a_pattern_needs_enough_patients_none_of_whom_dominates():
    settings = DiscoveryConfig()

    def called(counts, poor_share=0.0):
        return profile.classify(profile.shares(np.array(counts)), poor_share, settings)

    assert called([10] * 20) == "pattern"
    assert called([10] * 19) == "patient-specific"
    assert called([1] * 80 + [21]) == "patient-specific"  # one patient has 21 of 101
    assert called([1] * 80 + [20]) == "pattern"  # 20 of 100 is not above 20 %
    assert called([40] * 8 + [2] * 30) == "patient-specific"  # effective: 380² / (8 · 1600 + 30 · 4) = 11.2
    assert called([10] * 15 + [0] * 5) == "patient-specific"
    assert called([]) == "patient-specific"
    assert called([10] * 20, 0.51) == "artefact"
    assert called([10] * 20, None) == "pattern"


def test_poor_segments_are_the_poorest_tenth_of_signal_and_no_rhythm_makes_one():
    rng = np.random.default_rng(0)
    noise = rng.random(1000)
    columns = {"quality/ecg_noise_share": noise, "quality/ppg_flat_share": np.full(1000, np.nan)}
    poor = profile.poor_segments(columns)
    assert (poor == (noise > np.quantile(noise, 0.9))).all()
    irregular = {**columns, "quality/ecg_template_correlation": -noise, "rhythm/rr_cv": rng.random(1000)}
    assert (profile.poor_segments(irregular) == poor).all()
    assert profile.poor_segments({"rhythm/rr_cv": noise}) is None
    assert not profile.poor_segments({"quality/ecg_flat_share": np.zeros(50)}).any()


def test_a_profile_weighs_patients_equally_and_leaves_out_what_is_not_known():
    pattern, patient = np.zeros(102, int), np.r_[np.zeros(100, int), 1, 1]
    values = np.r_[np.full(100, 60.0), 100.0, np.nan]
    counts = profile.segment_counts(pattern, patient, 2, 2)
    first, empty = profile.column_profiles({"rate": values}, pattern, patient, counts, 200, np.random.default_rng(0))
    assert first["rate"]["value"] == 80
    assert (first["rate"]["ci_low"], first["rate"]["ci_high"]) == (60, 100)
    assert first["rate"]["p50"] == 60
    assert empty["rate"]["value"] is None


def test_the_interval_of_a_profile_covers_the_truth_as_often_as_it_says():
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        patient = np.repeat(np.arange(40), 5)
        values = 70 + rng.normal(0, 10, 40)[patient] + rng.normal(0, 5, 200)
        pattern = np.zeros(200, int)
        counts = profile.segment_counts(pattern, patient, 1, 40)
        found = profile.column_profiles({"rate": values}, pattern, patient, counts, 300, rng)[0]["rate"]
        covered += found["ci_low"] <= 70 <= found["ci_high"]
    assert 180 <= covered <= 199  # 95 % of 200, five standard errors to either side; segments as units give 60 %


def test_the_first_medoid_has_the_smallest_sum_of_cosine_distances_and_the_next_are_other_patients():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 4)) + np.array([2.0, 0, 0, 0])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    patient = rng.integers(0, 9, 80)
    rows = np.flatnonzero(rng.random(80) < 0.7)
    total = x[rows].sum(axis=0)
    medoids, typical = profile.representatives(x @ total / np.linalg.norm(total), patient, rows, 4)
    slow = min(rows, key=lambda i: sum(1 - x[i] @ x[j] for j in rows))
    assert medoids[0] == slow
    assert len(set(patient[medoids])) == len(medoids) == 4
    assert set(typical) <= set(rows)
    assert [len(v) for v in profile.representatives(np.zeros(3), np.zeros(3, int), np.empty(0, int), 4)] == [0, 0]


def test_transitions_against_a_slow_count_and_never_over_a_gap():
    rng = np.random.default_rng(0)
    record = rng.integers(0, 5, 300)
    start = rng.choice(4000, 300, replace=False) * 10.0
    pattern = rng.integers(0, 3, 300)
    found = profile.transitions(pattern, record, record, start, 60.0, 3)
    slow = np.zeros((3, 3), int)
    for r in range(5):
        rows = sorted(np.flatnonzero(record == r), key=lambda i: start[i])
        for a, b in pairwise(rows):
            if start[b] - start[a] <= 60:
                slow[pattern[a], pattern[b]] += 1
    assert found["counts"] == slow.tolist()
    assert found["pairs"] == slow.sum()
    assert profile.transitions(pattern[:1], record[:1], record[:1], start[:1], 60.0, 3)["probabilities"] == [None] * 3
