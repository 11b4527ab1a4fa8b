"""Measures of risk against scikit-learn, slow versions, and what they must be by construction."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from ecgconsole.findings import performance


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(0)
    outcome = (rng.random(200) < 0.3).astype(int)
    risk = np.round(np.clip(rng.normal(0.3 + 0.1 * outcome, 0.15), 0.01, 0.99), 2)  # with ties
    return outcome, risk, performance.bootstrap_weights(200, 30, rng)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (performance.auroc, roc_auc_score),
        (performance.auprc, average_precision_score),
        (performance.brier, brier_score_loss),
    ],
)
def test_measures_with_weights_are_those_of_scikit_learn(sample, ours, theirs):
    outcome, risk, weights = sample
    assert np.allclose(ours(outcome, risk, weights), [theirs(outcome, risk, sample_weight=w) for w in weights])
    # A weight of two is a patient who stands there twice.
    again = np.repeat(np.arange(200), weights[1].astype(int))
    assert np.isclose(ours(outcome, risk, weights)[1], theirs(outcome[again], risk[again]))


def test_the_first_sample_is_the_sample_itself_and_others_have_its_size(sample):
    weights = sample[2]
    assert (weights[0] == 1).all()
    assert (weights.sum(axis=1) == 200).all()


def test_one_class_has_no_area():
    outcome, risk, weights = np.zeros(5, int), np.arange(5) / 5, np.ones((1, 5))
    assert np.isnan(performance.auroc(outcome, risk, weights)).all()
    assert np.isnan(performance.auprc(outcome, risk, weights)).all()
    assert np.isnan(performance.auprc(outcome + 1, risk, weights)).all()


def test_true_risks_are_calibrated_and_exaggerated_ones_are_not():
    rng = np.random.default_rng(1)
    x = rng.normal(-1, 1, 20000)
    true = 1 / (1 + np.exp(-x))
    outcome = (rng.random(20000) < true).astype(int)
    found = performance.calibration(outcome, true)
    assert abs(found["slope"][0] - 1) < 3 * found["slope"][1]
    assert abs(found["in_the_large"][0]) < 3 * found["in_the_large"][1]
    exaggerated = performance.calibration(outcome, 1 / (1 + np.exp(-2 * x)))
    assert abs(exaggerated["slope"][0] - 0.5) < 3 * exaggerated["slope"][1]
    shifted = performance.calibration(outcome, 1 / (1 + np.exp(-(x + 1))))
    assert abs(shifted["in_the_large"][0] + 1) < 4 * shifted["in_the_large"][1]
    assert np.isnan(performance.calibration(outcome, np.full(20000, 0.3))["slope"][0])


def test_the_calibration_curve_holds_every_patient_once(sample):
    outcome, risk, _ = sample
    curve = performance.calibration_curve(outcome, risk, 7)
    assert sum(point["patients"] for point in curve) == 200
    assert sum(point["events"] for point in curve) == outcome.sum()
    assert all(point["ci_low"] <= point["observed"] <= point["ci_high"] for point in curve)
    assert (np.diff([point["mean_risk"] for point in curve]) >= 0).all()
    # Wilson's interval of 8 in 10: 0.490 to 0.943 (Newcombe, Statistics in Medicine 17 (1998) 857, method 3).
    eight = performance.calibration_curve(np.array([1] * 8 + [0] * 2), np.full(10, 0.5), 1)[0]
    assert np.allclose((eight["ci_low"], eight["ci_high"]), (0.4902, 0.9433), atol=5e-4)


def test_net_benefit_by_counting():
    outcome, risk = np.array([1, 1, 0, 0, 0]), np.array([0.9, 0.2, 0.5, 0.1, 0.2])
    # At 0.2: 2 true, 2 false: (2 - 2 x 0.25) / 5.
    assert np.isclose(performance.net_benefit(outcome, risk, 0.2), 0.3)
    assert np.isclose(performance.net_benefit(outcome, np.ones(5), 0.4), 0.4 - 0.6 * 0.4 / 0.6)
    assert performance.net_benefit(outcome, np.zeros(5), 0.2) == 0
