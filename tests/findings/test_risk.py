"""The risk model is ridge logistic regression, and out of fold means out of fold."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics import roc_auc_score

from ecgconsole.findings import risk


def cohort(seed=0, n=300, features=3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, features)) * [1, 10, 0.1][:features] + [0, 50, 3][:features]
    y = (rng.random(n) < 1 / (1 + np.exp(-(x[:, 0] - 1)))).astype(int)
    return x, y


def test_the_fit_minimises_the_penalised_loss():
    x, y = cohort()
    model = risk.fit(("a", "b", "c"), x, y, [0.1], 5, [0])
    z = (x - x.mean(axis=0)) / x.std(axis=0)

    def loss(w):
        eta = z @ w[1:] + w[0]
        return 0.1 * np.sum(np.log1p(np.exp(eta)) - y * eta) + 0.5 * w[1:] @ w[1:]

    slow = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-8}).x
    assert np.allclose(np.r_[model.intercept, model.coefficient], slow, atol=1e-5)
    assert np.allclose(model.risk(x), 1 / (1 + np.exp(-(z @ slow[1:] + slow[0]))), atol=1e-4)


def test_what_is_not_known_becomes_the_median_and_a_feature_without_data_or_spread_carries_nothing():
    x, y = cohort()
    x[:100, 0] = np.nan
    x[:, 1] = 7
    x[:, 2] = np.nan
    model = risk.fit(("a", "b", "c"), x, y, [1.0], 5, [0])
    assert np.isclose(model.median[0], np.nanmedian(x[:, 0]))
    assert np.allclose(model.coefficient[1:], 0, atol=1e-9)
    unknown, median = np.full((1, 3), np.nan), np.array([[np.nanmedian(x[:, 0]), 7, 0]])
    assert np.isclose(model.risk(unknown)[0], model.risk(median)[0])


def test_noise_is_shrunk_harder_than_signal():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 10))
    noise = (rng.random(200) < 0.3).astype(int)
    signal = (rng.random(200) < 1 / (1 + np.exp(-2 * x[:, 0]))).astype(int)
    grid = [0.001, 0.01, 0.1, 1.0, 10.0]
    names = [str(i) for i in range(10)]
    assert risk.fit(names, x, noise, grid, 5, [0]).c < risk.fit(names, x, signal, grid, 5, [0]).c


def test_a_model_written_and_read_predicts_the_same():
    x, y = cohort()
    model = risk.fit(("a", "b", "c"), x, y, [0.1, 1.0], 4, [0])
    again = risk.model_from_json(json.loads(json.dumps(model.to_json())))
    assert (again.risk(x) == model.risk(x)).all()
    assert again.features == ("a", "b", "c")
    broken = {**model.to_json(), "mean": [0.0]}
    with pytest.raises(ValueError, match="do not match"):
        risk.model_from_json(broken)


def test_folds_share_no_patient_and_each_has_both_outcomes():
    y = np.r_[np.ones(20, int), np.zeros(180, int)]
    folds = risk.outer_folds(y, 5, 4, 0)
    for fold in folds:
        assert np.bincount(fold).sum() == 200
        for number in range(5):
            assert y[fold == number].sum() == 4
    assert (folds[0] != folds[1]).any()
    assert (folds == risk.outer_folds(y, 5, 4, 0)).all()


def test_a_patient_is_predicted_by_models_that_never_saw_that_patient():
    """Changing one patient's outcome changes nobody's risk but of those whose model saw the patient."""
    x, y = cohort(n=60)
    fold = np.arange(60)[None, :] % 4
    before = next(risk.out_of_fold(("a", "b", "c"), x, y, fold, [1.0], 3, 0))
    flipped = y.copy()
    flipped[8] = 1 - y[8]
    after = next(risk.out_of_fold(("a", "b", "c"), x, flipped, fold, [1.0], 3, 0))
    same = fold[0] == fold[0, 8]
    assert np.allclose(before[same], after[same], atol=1e-12)
    assert (before[~same] != after[~same]).all()


def test_noise_has_no_discrimination_out_of_fold():
    areas = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(120, 15)), rng.permutation(np.r_[np.ones(30, int), np.zeros(90, int)])
        names = [str(i) for i in range(15)]
        predicted = next(risk.out_of_fold(names, x, y, risk.outer_folds(y, 4, 1, seed), [0.1, 1.0], 3, seed))
        areas.append(roc_auc_score(y, predicted))
    assert np.mean(areas) < 0.55
