"""When a patient counts as exposed, and who is compared with whom."""

from __future__ import annotations

import numpy as np

from ecgconsole.findings.exposure import exposed, fixed_exposure, strata


def test_exposure_needs_a_share_and_a_number():
    counts = np.array([[5, 95], [4, 96], [3, 0], [2, 0], [0, 0], [3, 57], [3, 58]])
    assert exposed(counts, 0.05, 3)[:, 0].tolist() == [True, False, True, False, False, True, False]


def test_with_a_fixed_number_of_segments_longer_monitoring_no_longer_exposes():
    """All patients have 6 % of pattern 0; the long ones would always reach three segments, the short never."""
    counts = np.array([[3, 47]] * 200 + [[60, 940]] * 200)
    enough, draws = fixed_exposure(counts, 50, 0.05, 3, 20, np.random.default_rng(0))
    assert enough.all()
    rate_long = draws[:, 200:, 0].mean()
    # 3 or more of 50 at a share of 6 %: 1 - binomial.cdf(2) = 0.584 (hypergeometric slightly more).
    assert abs(rate_long - 0.584) < 0.03
    assert draws[:, :200, 0].all()
    short = np.array([[3, 40], [30, 20]])
    assert fixed_exposure(short, 50, 0.05, 3, 2, np.random.default_rng(0))[0].tolist() == [False, True]


def test_strata_are_age_sex_and_length_and_unknown_is_one_of_its_own():
    age = np.array([49.9, 50, 65, 90, np.nan, 50])
    found = strata(age, ["F", "F", "F", "F", "F", None], np.full(6, 10), (50, 65, 80))
    assert len(np.unique(found)) == 6
    segments = np.arange(1, 10)
    by_length = strata(np.full(9, 60.0), ["M"] * 9, segments, (50, 65, 80))
    assert np.bincount(by_length).tolist() == [3, 3, 3]
