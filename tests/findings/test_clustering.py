"""Whitening and spherical k-means against what they are by definition."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from ecgconsole.errors import ConfigurationError
from ecgconsole.findings import clustering
from ecgconsole.findings.clustering import (
    PatternModel,
    fit_whitening,
    load_model,
    nearest,
    patient_means,
    spherical_kmeans,
    unit_rows,
)
from tests.findings.conftest import plant


def test_whitened_components_have_unit_variance_and_no_correlation():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(5000, 6)) @ rng.normal(size=(6, 6)) + 3).astype(np.float32)
    scores = fit_whitening(x, 6, 1.0).scores(x)
    assert np.allclose(np.cov(scores.T), np.eye(6), atol=2e-3)
    assert np.allclose(scores.mean(axis=0), 0, atol=1e-3)


def test_no_more_components_than_the_variance_asked_for_and_none_of_rounding_noise():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 5)) * [10, 5, 1, 0.1, 0]
    assert len(fit_whitening(x, 5, 0.95).components) == 2
    assert len(fit_whitening(x, 5, 1.0).components) == 4
    assert len(fit_whitening(x, 1, 1.0).components) == 1
    assert np.isfinite(fit_whitening(np.ones((20, 3)), 3, 1.0).directions(np.ones((20, 3)))).all()


def test_planted_patterns_are_found(tmp_path):
    made = plant(tmp_path)
    directions = fit_whitening(made.embeddings, 4, 1.0).directions(made.embeddings)
    centroids, _ = spherical_kmeans(directions, 5, 0, 4)
    assert adjusted_rand_score(made.pattern, nearest(directions, centroids)[0]) > 0.95


@pytest.mark.parametrize("seed", range(5))
def test_the_result_is_a_fixed_point_of_slow_spherical_kmeans(seed):
    x = unit_rows(np.random.default_rng(seed).normal(size=(300, 4)))
    centroids, objective = spherical_kmeans(x, 6, seed, 3)
    labels = np.array([int(np.argmax([float(row @ c) for c in centroids])) for row in x])
    for j in range(6):
        total = x[labels == j].sum(axis=0)
        assert np.allclose(centroids[j], total / np.linalg.norm(total), atol=5e-3)
    assert np.isclose(objective, np.mean([x[i] @ centroids[labels[i]] for i in range(300)]), atol=1e-4)
    assert (np.diff(np.bincount(labels, minlength=6)) <= 0).all()


def test_more_starts_never_fit_worse():
    x = unit_rows(np.random.default_rng(0).normal(size=(400, 3)))
    assert spherical_kmeans(x, 8, 0, 10)[1] >= spherical_kmeans(x, 8, 0, 1)[1]


def test_faiss_finds_the_same_patterns_and_without_it_the_message_says_what_to_do(tmp_path, monkeypatch):
    made = plant(tmp_path)
    directions = fit_whitening(made.embeddings, 4, 1.0).directions(made.embeddings)
    with monkeypatch.context() as absent:
        absent.setitem(sys.modules, "faiss", None)
        with pytest.raises(ConfigurationError, match=r"ecgconsole\[faiss\]"):
            spherical_kmeans(directions, 5, 0, 4, "faiss")
    pytest.importorskip("faiss", reason="the extra faiss is not installed")
    ours, fit = spherical_kmeans(directions, 5, 0, 4)
    theirs, other_fit = spherical_kmeans(directions, 5, 0, 4, "faiss")
    assert np.isclose(fit, other_fit, atol=1e-4)
    assert adjusted_rand_score(nearest(directions, ours)[0], nearest(directions, theirs)[0]) > 0.99
    assert (theirs == spherical_kmeans(directions, 5, 0, 4, "faiss")[0]).all()


def test_a_cluster_that_empties_is_seeded_again():
    x = unit_rows(np.concatenate([np.tile([[1.0, 0, 0]], (50, 1)), np.eye(3)]))
    centroids, _ = spherical_kmeans(x, 3, 0, 4)
    assert len(np.unique(nearest(x, centroids)[0])) == 3


def test_assignment_in_blocks_is_that_of_each_segment_and_the_same_after_saving(tmp_path, monkeypatch):
    made = plant(tmp_path)
    whitening = fit_whitening(made.embeddings, 8, 0.99)
    model = PatternModel(whitening, spherical_kmeans(whitening.directions(made.embeddings), 5, 0, 2)[0])
    model.save(tmp_path / "model.npz")
    whole = model.assign(made.embeddings)
    again = load_model(tmp_path / "model.npz").assign(made.embeddings)
    assert (whole[0] == again[0]).all()
    assert (whole[1] == again[1]).all()
    monkeypatch.setattr(clustering, "_BLOCK_ROWS", 37)
    small = model.assign(made.embeddings)
    assert (whole[0] == small[0]).all()
    assert np.allclose(whole[1], small[1], atol=1e-5)


def test_patient_means_are_means():
    rng = np.random.default_rng(0)
    x, patient = rng.normal(size=(50, 4)).astype(np.float32), rng.integers(0, 3, 50)
    whitening = fit_whitening(x, 3, 1.0)
    slow = [whitening.scores(x[patient == p]).mean(axis=0) for p in range(3)]
    assert np.allclose(patient_means(whitening, x, patient, 3), slow, atol=1e-5)
