"""Monitors tell a healthy representation from a collapsed one, and equal their slow definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ecgconsole.training import monitors


@pytest.fixture
def spread() -> torch.Tensor:
    return torch.randn(400, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def collapsed(spread: torch.Tensor) -> torch.Tensor:
    direction = torch.ones(16)
    return direction + 1e-3 * spread[:, :1] * torch.linspace(0, 1, 16)


def test_effective_rank_is_the_dimension_when_spread_and_one_when_collapsed(spread, collapsed):
    assert monitors.effective_rank(spread) == pytest.approx(16, rel=0.05)
    assert monitors.effective_rank(collapsed) == pytest.approx(1, abs=0.05)


def test_effective_rank_ignores_a_common_offset(spread):
    assert monitors.effective_rank(spread + 1000) == pytest.approx(monitors.effective_rank(spread), rel=1e-3)


def test_uniformity_equals_its_definition(spread):
    z = torch.nn.functional.normalize(spread[:30].double(), dim=1)
    terms = [math.exp(-2 * float((z[i] - z[j]).square().sum())) for i in range(30) for j in range(i)]
    assert monitors.uniformity(spread[:30]) == pytest.approx(math.log(sum(terms) / len(terms)), rel=1e-4)


def test_deviation_and_uniformity_see_a_collapse(spread, collapsed):
    assert monitors.deviation(spread) == pytest.approx(1, abs=0.05)
    assert monitors.deviation(collapsed) < 0.01
    assert monitors.uniformity(spread) < -3
    assert monitors.uniformity(collapsed) > -0.01


def test_alignment_is_zero_for_equal_views_and_two_for_unrelated_ones(spread):
    assert monitors.alignment(spread, 3 * spread) == pytest.approx(0, abs=1e-5)
    assert monitors.alignment(spread, spread.roll(1, 0)) == pytest.approx(2, abs=0.1)


def test_retrieval_is_the_mean_reciprocal_rank(spread):
    ecg = spread[:40]
    ppg = ecg + 2 * spread[40:80]
    ranks = []
    for i in range(40):
        similarity = torch.nn.functional.cosine_similarity(ecg[i][None], ppg)
        ranks.append(1 + int((similarity > similarity[i]).sum()))
    assert monitors.retrieval(ecg, ppg) == pytest.approx(sum(1 / r for r in ranks) / 40)
    assert monitors.retrieval(ecg, ecg) == 1


def test_retrieval_of_a_collapsed_network_is_not_mistaken_for_success():
    same = torch.ones(50, 8)
    assert monitors.retrieval(same, same) == pytest.approx(1 / 50)


def test_same_patient_share_counts_nearest_neighbours():
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    assert monitors.same_patient_share(embeddings, torch.tensor([0, 0, 1, 1])) == 1
    assert monitors.same_patient_share(embeddings, torch.tensor([0, 1, 1, 0])) == 0


def labelled(rng, n_patients=12, segments=20, by_patient=0.0):
    """Embeddings (n, 8) in which two labels, and with ``by_patient`` each patient, lie apart."""
    patient = np.repeat(np.arange(n_patients), segments)
    label = (patient % 2).astype(np.int16)
    x = rng.standard_normal((len(patient), 8))
    x[:, 0] += 3 * label
    x[:, 2:] += by_patient * rng.standard_normal((n_patients, 6))[patient]
    return torch.from_numpy(x), patient, label


def test_knn_equals_its_definition_and_leaves_the_same_patient_out():
    x, patient, label = labelled(np.random.default_rng(0), n_patients=6, segments=8)
    z = torch.nn.functional.normalize(x, dim=1).numpy()
    right: dict[int, list[bool]] = {0: [], 1: []}
    for i in range(len(z)):
        others = [j for j in range(len(z)) if patient[j] != patient[i]]
        nearest = sorted(others, key=lambda j: -float(z[i] @ z[j]))[: monitors.KNN_NEIGHBOURS]
        votes = [sum(math.exp(float(z[i] @ z[j]) / 0.1) for j in nearest if label[j] == c) for c in (0, 1)]
        right[int(label[i])].append(int(np.argmax(votes)) == label[i])
    expected = (np.mean(right[0]) + np.mean(right[1])) / 2
    assert monitors.knn_accuracy(x, patient, label) == pytest.approx(expected)
    assert 0.6 < expected < 1


@pytest.mark.parametrize("accuracy", [monitors.knn_accuracy, monitors.probe_accuracy])
def test_rhythm_that_lies_apart_is_found_and_noise_is_at_chance(accuracy):
    rng = np.random.default_rng(1)
    x, patient, label = labelled(rng)
    assert accuracy(x, patient, label) > 0.8
    assert 0.3 < accuracy(torch.from_numpy(rng.standard_normal(x.shape)), patient, label) < 0.7


@pytest.mark.parametrize("accuracy", [monitors.knn_accuracy, monitors.probe_accuracy])
def test_knowing_the_patient_is_not_knowing_the_rhythm(accuracy):
    """Patients far apart, labels not at all: only by neighbours of the same patient could it be told."""
    rng = np.random.default_rng(2)
    x, patient, label = labelled(rng, n_patients=16, by_patient=20.0)
    x[:, 0] = torch.from_numpy(rng.standard_normal(len(x)))
    assert accuracy(x, patient, label) < 0.75
    z = torch.nn.functional.normalize(x, dim=1)
    assert monitors.same_patient_share(z, torch.from_numpy(patient)) > 0.95


def test_balanced_accuracy_is_the_mean_recall():
    label = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    assert monitors.balanced_accuracy(label, np.zeros(8, int)) == 0.5
    assert monitors.balanced_accuracy(label, label) == 1


@pytest.mark.parametrize(
    ("patient", "label", "known"),
    [
        ([0, 1, 2, 3], [0, 0, 1, 1], [1, 1, 1, 1]),
        ([0, 1, 2, 2], [0, 0, 1, 1], [0, 0, 0, 0]),  # one patient alone has rhythm 1
        ([0, 1, 2, 3, 4], [0, 0, 1, 1, 2], [1, 1, 1, 1, 0]),
        ([0, 1, 2, 3], [-1, -1, -1, -1], [0, 0, 0, 0]),
        ([0, 1, 2, 3], [0, 0, -1, -1], [0, 0, 0, 0]),
    ],
)
def test_only_rhythms_of_two_patients_are_asked_for(patient, label, known):
    found = monitors.testable(np.array(patient), np.array(label, np.int16))
    assert found.tolist() == [bool(k) for k in known]
