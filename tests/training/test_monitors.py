"""Monitors tell a healthy representation from a collapsed one, and equal their slow definitions."""

from __future__ import annotations

import math

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
