"""Each statistic against a library, a slow version or a published figure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import fisher_exact, nchypergeom_fisher
from statsmodels.stats.contingency_tables import StratifiedTable
from statsmodels.stats.multitest import multipletests

from ecgconsole.findings import enrichment

# Graduate admissions at Berkeley, 1973 (Bickel et al., Science 187 (1975) 398): by department, men admitted,
# men rejected, women admitted, women rejected.
BERKELEY = (
    (512, 313, 89, 19),
    (353, 207, 17, 8),
    (120, 205, 202, 391),
    (138, 279, 131, 244),
    (53, 138, 94, 299),
    (22, 351, 24, 317),
)


def patients_of(tables):
    """Exposure, label and stratum of each patient behind 2 x 2 tables by stratum."""
    rows = [
        (exposed, label, stratum)
        for stratum, (a, b, c, d) in enumerate(tables)
        for exposed, label, n in ((1, 1, a), (1, 0, b), (0, 1, c), (0, 0, d))
        for _ in range(n)
    ]
    exposed, label, stratum = np.array(rows).T
    return exposed.astype(bool), label.astype(float), stratum


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 40)] * 4), min_size=1, max_size=8))
def test_fisher_p_is_that_of_scipy(tables):
    counts = np.array(tables).T[:, None, :]
    slow = [fisher_exact([[a, b], [c, d]]).pvalue for a, b, c, d in tables]
    assert np.allclose(enrichment.fisher_p(counts)[0], slow, rtol=1e-6, atol=1e-12)


def test_fisher_p_of_large_tables_is_that_of_scipy():
    table = np.array([200, 1800, 50, 4000])
    assert np.isclose(
        enrichment.fisher_p(table[:, None, None])[0, 0], fisher_exact(table.reshape(2, 2)).pvalue, rtol=1e-6
    )


def test_fisher_of_the_lady_tasting_tea():
    # Fisher, The Design of Experiments (1935): 3 of 4 cups right, one-sided 17/70, two-sided 34/70.
    tea = np.array([3, 1, 1, 3])
    assert np.isclose(enrichment.fisher_p(tea[:, None, None])[0, 0], 34 / 70)
    ratio, low, high = enrichment.fisher_odds_ratio(tea)
    # R's fisher.test: odds ratio 6.408309, interval 0.2117329 to 621.9337505 (its root finder stops early).
    assert np.allclose((ratio, low, high), (6.408309, 0.2117329, 621.9337505), rtol=1e-2)
    # The exact interval by its definition: a tail of 2.5 % at either end.
    assert np.isclose(nchypergeom_fisher.sf(2, 8, 4, 4, low), 0.025)
    assert np.isclose(nchypergeom_fisher.cdf(3, 8, 4, 4, high), 0.025)


def test_tables_leave_out_patients_whose_label_is_not_known():
    exposure = np.array([[1, 0], [1, 1], [0, 1], [0, 0]], bool)
    labels = np.array([[1.0], [np.nan], [0.0], [1.0]])
    assert enrichment.tables(exposure, labels)[:, :, 0].T.tolist() == [[1, 0, 1, 1], [0, 1, 2, 0]]


def test_only_margins_decide_what_is_tested():
    assert enrichment.testable(np.array([0, 10, 10, 0])[:, None, None], 10).all()
    assert not enrichment.testable(np.array([9, 0, 20, 20])[:, None, None], 10).any()


def test_q_values_are_those_of_benjamini_and_hochberg_over_the_tested():
    p = np.random.default_rng(0).random((4, 6)) ** 3
    tested = np.random.default_rng(1).random((4, 6)) < 0.7
    q = enrichment.q_values(p, tested)
    assert np.allclose(q[tested], multipletests(p[tested], method="fdr_bh")[1])
    assert np.isnan(q[~tested]).all()
    assert np.isnan(enrichment.q_values(p, np.zeros((4, 6), bool))).all()


def test_the_adjusted_odds_ratio_of_berkeley_is_the_published_one():
    # R's mantelhaen.test(UCBAdmissions): 0.9046968, interval 0.7719074 to 1.0603298; crude, it is 1.84.
    exposed, label, stratum = patients_of(BERKELEY)
    found = enrichment.adjusted_odds_ratio(exposed, label, stratum)
    assert np.allclose(found[:3], (0.9046968, 0.7719074, 1.0603298), rtol=1e-4)
    assert found[3] == 6
    crude = enrichment.fisher_odds_ratio(enrichment.tables(exposed[:, None], label[:, None])[:, 0, 0])
    assert crude[1] > 1.6


def test_strata_that_carry_nothing_leave_no_odds_ratio():
    found = enrichment.adjusted_odds_ratio(np.array([True, True]), np.array([0.0, 1.0]), np.array([0, 1]))
    assert np.isnan(found[0])
    assert found[3] == 0
    zero = enrichment.adjusted_odds_ratio(*patients_of([(0, 5, 5, 5)]))
    assert zero[0] == 0
    assert np.isnan(zero[1])


def test_the_square_of_z_is_the_cochran_mantel_haenszel_statistic():
    exposed, label, stratum = patients_of(BERKELEY)
    rows = enrichment.rows_by_stratum(stratum)
    z = enrichment.stratified_z(exposed[:, None], label[:, None], rows)[0, 0]
    reference = StratifiedTable([np.array(t, float).reshape(2, 2) for t in BERKELEY])
    assert np.isclose(z**2, reference.test_null_odds(correction=False).statistic)
    # With unknown labels the statistic is that of the patients whose label is known.
    some = label.copy()
    some[::7] = np.nan
    known = ~np.isnan(some)
    assert np.isclose(
        enrichment.stratified_z(exposed[:, None], some[:, None], rows)[0, 0],
        enrichment.stratified_z(exposed[known, None], label[known, None], enrichment.rows_by_stratum(stratum[known]))[
            0, 0
        ],
    )


def test_permuted_profiles_stay_whole_and_in_their_stratum():
    rng = np.random.default_rng(0)
    exposure = rng.random((60, 5)) < 0.5
    stratum = rng.integers(0, 4, 60)
    shuffled = enrichment.permuted(exposure, enrichment.rows_by_stratum(stratum), rng)
    assert (shuffled != exposure).any()
    for s in range(4):
        assert sorted(map(tuple, shuffled[stratum == s])) == sorted(map(tuple, exposure[stratum == s]))


def test_max_t_finds_a_strong_effect_and_its_critical_value_says_the_same_as_its_p():
    rng = np.random.default_rng(0)
    exposure = rng.random((300, 6)) < 0.4
    labels = (rng.random((300, 8)) < 0.3).astype(float)
    labels[:, 0] = rng.random(300) < np.where(exposure[:, 0], 0.6, 0.2)
    stratum = rng.integers(0, 6, 300)
    tested = np.ones((6, 8), bool)
    found = enrichment.max_t(exposure, labels, stratum, tested, 500, 0.05, rng)
    z = np.abs(enrichment.stratified_z(exposure, labels, enrichment.rows_by_stratum(stratum)))
    assert found.p_max[0, 0] <= 2 / 501
    assert ((found.p_max <= 0.05) == (z > found.critical + 1e-9)).all()
    assert (found.p_max >= found.p).all()


def test_permutation_p_agrees_with_the_exact_one_where_that_is_known():
    # One stratum: the permutation distribution of |z| is hypergeometric.
    exposed, label, stratum = patients_of([(7, 3, 6, 24)])
    found = enrichment.max_t(
        exposed[:, None], label[:, None], stratum, np.ones((1, 1), bool), 4000, 0.05, np.random.default_rng(0)
    )
    assert abs(found.p[0, 0] - fisher_exact([[7, 3], [6, 24]]).pvalue) < 0.01


def test_the_negative_control_fails_where_strata_confound_and_the_rule_ignores_them():
    """Exposure and label both rise with the stratum, and have nothing else in common."""
    rng = np.random.default_rng(0)
    stratum = np.repeat(np.arange(4), 150)
    exposure = rng.random((600, 5)) < (0.1 + 0.2 * stratum)[:, None]
    labels = (rng.random((600, 6)) < (0.1 + 0.2 * stratum)[:, None]).astype(float)
    tested = np.ones((5, 6), bool)
    critical = enrichment.max_t(exposure, labels, stratum, tested, 500, 0.05, rng).critical
    found = enrichment.negative_control(exposure, labels, stratum, tested, critical, 60, 0.05, rng)
    assert found["fisher_alone"]["rate"] > 0.9
    assert not found["fisher_alone"]["at_or_below_nominal"]
    assert found["at_or_below_nominal"]
    assert found["ci_low"] <= found["rate"] <= found["ci_high"]


@pytest.mark.parametrize(("table", "up", "expected"), [((9, 1, 5, 15), True, True), ((9, 1, 5, 15), False, False)])
def test_replication_is_one_sided_in_the_direction_found(table, up, expected):
    found = enrichment.replication(np.array(table), up, 0.05)
    assert found["replicated"] is expected
    a, b, c, d = table
    slow = fisher_exact([[a, b], [c, d]], alternative="greater" if up else "less").pvalue
    assert np.isclose(found["p"], slow)


def test_what_held_out_patients_cannot_show_is_not_called_a_failure():
    assert enrichment.replication(np.array([1, 0, 0, 5]), True, 0.05)["replicated"] is None
    assert enrichment.replication(np.array([0, 4, 0, 5]), True, 0.05)["replicated"] is None
    assert enrichment.replication(np.array([1, 0, 0, 50]), True, 0.05)["replicated"] is True
