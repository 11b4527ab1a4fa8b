"""The number of patterns is the one that other patients would give again."""

from __future__ import annotations

import numpy as np

from ecgconsole.findings.balance import half_splits
from ecgconsole.findings.stability import choose_k, cluster_jaccard, density_check, fit_half_split
from tests.findings.conftest import plant


def test_the_planted_number_of_patterns_is_chosen(tmp_path):
    made = plant(tmp_path)
    halves = half_splits(np.arange(60), 6, np.random.default_rng(0))
    fits = [
        fit_half_split(made.embeddings, made.patient, h, (3, 4, 5, 6, 8), [0, i], 8, 0.95, 3)
        for i, h in enumerate(halves)
    ]
    k, table = choose_k({k: [f.ari[k] for f in fits] for k in (3, 4, 5, 6, 8)})
    assert k == 5
    assert next(row["median_ari"] for row in table if row["k"] == 5) > 0.9


def test_noise_is_not_called_stable():
    rng = np.random.default_rng(0)
    x, patient = rng.normal(size=(2000, 12)).astype(np.float32), np.repeat(np.arange(40), 50)
    fits = [
        fit_half_split(x, patient, h, (6,), [0, i], 12, 1.0, 2)
        for i, h in enumerate(half_splits(np.arange(40), 4, rng))
    ]
    assert np.median([f.ari[6] for f in fits]) < 0.5


def test_the_largest_number_within_one_standard_error_of_the_best_is_chosen():
    spread = np.array([-0.1, 0.0, 0.1, 0.0])
    # Standard error of the best: sqrt(pi / 2) x 0.0816 / 2 = 0.051.
    assert choose_k({2: 0.9 + spread, 4: 0.86 + spread, 8: 0.84 + spread})[0] == 4
    assert choose_k({2: 0.9 + spread, 4: 0.86 + spread, 8: 0.855 + spread})[0] == 8
    assert choose_k({2: [0.9] * 4, 4: [0.89] * 4})[0] == 2


def test_jaccard_against_sets():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 200)
    others = [np.where(rng.random(200) < 0.3, rng.integers(0, 4, 200), labels) for _ in range(3)]

    def sets(values):
        return [set(np.flatnonzero(values == j)) for j in range(4)]

    slow = [np.mean([max(len(a & b) / len(a | b) for b in sets(other)) for other in others]) for a in sets(labels)]
    assert np.allclose(cluster_jaccard(labels, others, 4), slow)
    assert np.isnan(cluster_jaccard(labels, others, 5)[4])


def test_density_agrees_with_planted_patterns_and_finds_none_in_noise(tmp_path):
    made = plant(tmp_path)
    found = density_check(made.embeddings[:1500], made.pattern[:1500])
    assert found["clusters"] == 5
    assert found["ari_where_dense"] > 0.95
    noise = np.random.default_rng(0).normal(size=(600, 6))
    found = density_check(noise, np.random.default_rng(1).integers(0, 4, 600))
    assert found["clusters"] < 3
