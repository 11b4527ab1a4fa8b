"""Every term against a slow, obvious reference in float64: value and gradient, extreme logits too."""

from __future__ import annotations

import math

import pytest
import torch

from ecgconsole.training.objectives import cross_nce, decorrelation, info_nce, negatives, nt_xent, rhythm_error


def slow_info_nce(queries, keys, positive, negative, temperature):
    """The definition, term by term, with the exponentials scaled by their largest."""
    total = torch.zeros((), dtype=torch.float64)
    for i, query in enumerate(queries):
        logit = [torch.dot(query, key) / (query.norm() * key.norm()) / temperature for key in keys]
        competing = [logit[j] for j in range(len(keys)) if negative[i, j] or j == positive[i]]
        largest = max(float(c.detach()) for c in competing)
        total = total + largest + torch.log(sum(torch.exp(c - largest) for c in competing)) - logit[positive[i]]
    return total / len(queries)


def value_and_gradients(function, *tensors):
    leaves = [t.clone().requires_grad_() for t in tensors]
    value = function(*leaves)
    value.backward()
    return value.detach(), [leaf.grad for leaf in leaves]


@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.001])
@pytest.mark.parametrize("seed", range(3))
def test_info_nce_equals_the_slow_reference_in_value_and_gradient(temperature, seed):
    generator = torch.Generator().manual_seed(seed)
    queries = 10 * torch.randn(7, 5, generator=generator)
    keys = torch.randn(9, 5, generator=generator)
    keys[4] = queries[2] * 3
    positive = torch.randint(9, (7,), generator=generator)
    negative = torch.rand(7, 9, generator=generator) < 0.6
    negative[5] = False

    assert_equal_in_value_and_gradient(
        lambda a, b: info_nce(a, b, positive, negative, temperature),
        lambda a, b: slow_info_nce(a, b, positive, negative, temperature),
        queries,
        keys,
    )


def assert_equal_in_value_and_gradient(fast, slow, *tensors):
    """``fast`` on single precision against ``slow`` on double."""
    value, gradients = value_and_gradients(fast, *tensors)
    expected, expected_gradients = value_and_gradients(slow, *(t.double() for t in tensors))
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-4)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        scale = wanted.abs().max().item()
        torch.testing.assert_close(gradient.double(), wanted, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.001])
def test_nt_xent_equals_the_slow_reference_in_value_and_gradient(temperature):
    generator = torch.Generator().manual_seed(3)
    view_1, view_2 = torch.randn(6, 5, generator=generator), 30 * torch.randn(6, 5, generator=generator)
    view_2[3] = -view_1[3]  # a positive as far away as can be
    negative = torch.rand(12, 12, generator=generator) < 0.7
    partner = torch.arange(12).roll(6)

    def slow(a, b):
        both = torch.cat((a, b))
        return slow_info_nce(both, both, partner, negative, temperature)

    assert_equal_in_value_and_gradient(lambda a, b: nt_xent(a, b, negative, temperature), slow, view_1, view_2)


@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.001])
def test_the_cross_term_equals_the_slow_reference_in_value_and_gradient(temperature):
    generator = torch.Generator().manual_seed(4)
    ecg, ppg = 100 * torch.randn(6, 5, generator=generator), torch.randn(6, 5, generator=generator)
    ppg[2] = -ecg[2]
    negative = torch.rand(6, 6, generator=generator) < 0.7
    own = torch.arange(6)

    def slow(a, b):
        there, back = (slow_info_nce(*pair, temperature) for pair in ((a, b, own, negative), (b, a, own, negative.T)))
        return (there + back) / 2

    assert_equal_in_value_and_gradient(lambda a, b: cross_nce(a, b, negative, temperature), slow, ecg, ppg)


def test_a_learnt_temperature_gets_the_gradient_of_the_slow_reference():
    generator = torch.Generator().manual_seed(5)
    queries, keys = (torch.randn(6, 5, generator=generator) for _ in range(2))
    negative = torch.rand(6, 6, generator=generator) < 0.7
    own = torch.arange(6)
    for temperature in (1.0, 0.1, 0.01):
        assert_equal_in_value_and_gradient(
            lambda t: info_nce(queries, keys, own, negative, t),
            lambda t: slow_info_nce(queries.double(), keys.double(), own, negative, t),
            torch.tensor(temperature),
        )


def test_a_query_without_negatives_costs_nothing_and_pulls_nothing():
    queries, keys = torch.randn(3, 4), torch.randn(3, 4)
    none = torch.zeros(3, 3, dtype=torch.bool)
    value, gradients = value_and_gradients(lambda a, b: info_nce(a, b, torch.arange(3), none, 0.1), queries, keys)
    assert value == 0
    assert all(torch.equal(g, torch.zeros_like(g)) for g in gradients)


def test_no_rows_give_zero_with_a_gradient():
    empty = torch.zeros(0, 4, requires_grad=True)
    value = info_nce(empty, empty, torch.zeros(0, dtype=torch.long), torch.zeros(0, 0, dtype=torch.bool), 0.1)
    value.backward()
    assert value == 0


def test_half_precision_embeddings_are_summed_in_single_precision():
    z = torch.randn(16, 8)
    negative = ~torch.eye(16, dtype=torch.bool)
    exact = info_nce(z.bfloat16().float(), z.bfloat16().float(), torch.arange(16), negative, 0.01)
    assert info_nce(z.bfloat16(), z.bfloat16(), torch.arange(16), negative, 0.01) == exact


def test_nt_xent_is_the_published_loss_of_both_views():
    generator = torch.Generator().manual_seed(0)
    view_1, view_2 = (torch.randn(6, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    negative = ~torch.eye(12, dtype=torch.bool)
    both = torch.cat((view_1, view_2))
    total = 0.0
    for i in range(12):
        partner = (i + 6) % 12
        similarity = torch.nn.functional.cosine_similarity(both[i][None], both) / 0.5
        others = [j for j in range(12) if j != i]
        total += -math.log(math.exp(similarity[partner]) / sum(math.exp(similarity[j]) for j in others))
    assert float(nt_xent(view_1, view_2, negative, 0.5)) == pytest.approx(total / 12, rel=1e-5)


def test_cross_term_is_symmetric_and_falls_when_signals_agree():
    generator = torch.Generator().manual_seed(0)
    ecg, ppg = (torch.randn(8, 4, generator=generator) for _ in range(2))
    negative = torch.rand(8, 8, generator=generator) < 0.7
    assert float(cross_nce(ecg, ppg, negative, 0.1)) == pytest.approx(float(cross_nce(ppg, ecg, negative.T, 0.1)))
    assert cross_nce(ecg, ecg, negative, 0.1) < cross_nce(ecg, ppg, negative, 0.1)


def test_only_far_segments_of_a_record_repel_each_other():
    patient = torch.tensor([0, 0, 0, 1, 0])
    record = torch.tensor([0, 0, 0, 1, 2])
    start_s = torch.tensor([0.0, 10.0, 300.0, 0.0, 0.0], dtype=torch.float64)
    where = (patient, record, start_s)
    got = negatives(*where, *where, 60.0)
    expected = torch.tensor(
        [[0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [1, 1, 0, 1, 1], [1, 1, 1, 0, 1], [1, 1, 1, 1, 0]], dtype=torch.bool
    )
    assert torch.equal(got, expected)


def test_a_segment_never_repels_itself_even_without_a_gap():
    where = (torch.tensor([0, 0]), torch.tensor([0, 0]), torch.tensor([0.0, 10.0]))
    assert torch.equal(negatives(*where, *where, 0.0), torch.tensor([[False, True], [True, False]]))


def slow_decorrelation(z):
    n, dimensions = z.shape
    mean = [sum(z[i, a] for i in range(n)) / n for a in range(dimensions)]

    def covariance(a, b):
        return sum((z[i, a] - mean[a]) * (z[i, b] - mean[b]) for i in range(n)) / (n - 1)

    shortfall = sum(torch.relu(1 - torch.sqrt(covariance(a, a) + 1e-4)) for a in range(dimensions)) / dimensions
    pairs = [(a, b) for a in range(dimensions) for b in range(dimensions) if a != b]
    return shortfall + sum(covariance(a, b) ** 2 for a, b in pairs) / dimensions


@pytest.mark.parametrize("scale", [0.01, 1.0, 300.0])
def test_decorrelation_equals_the_slow_reference_in_value_and_gradient(scale):
    z = scale * torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    assert_equal_in_value_and_gradient(decorrelation, slow_decorrelation, z)


def test_decorrelation_sees_a_collapse_and_survives_it():
    same = torch.ones(8, 4, requires_grad=True)
    value = decorrelation(same)
    value.backward()
    assert float(value.detach()) == pytest.approx(0.99)
    assert torch.isfinite(same.grad).all()
    assert decorrelation(torch.randn(0, 4)) == decorrelation(torch.randn(1, 4)) == 0


def slow_rhythm_error(predicted, target):
    errors = []
    for said, true in zip(predicted.flatten(), target.flatten(), strict=True):
        if not math.isnan(true):
            distance = (said - true.double()).abs()
            errors.append(distance**2 / 2 if distance < 1 else distance - 0.5)
    return sum(errors) / len(errors)


@pytest.mark.parametrize("scale", [0.01, 1.0, 1e4])
def test_rhythm_error_equals_the_slow_reference_in_value_and_gradient(scale):
    generator = torch.Generator().manual_seed(6)
    predicted, target = (scale * torch.randn(7, 4, generator=generator) for _ in range(2))
    target[torch.rand(7, 4, generator=generator) < 0.3] = math.nan
    assert_equal_in_value_and_gradient(
        lambda p: rhythm_error(p, target), lambda p: slow_rhythm_error(p, target), predicted
    )


def test_rhythm_error_leaves_out_what_is_not_known():
    predicted = torch.tensor([[1.0, 5.0], [0.0, 0.0]], requires_grad=True)
    target = torch.tensor([[0.5, float("nan")], [3.0, float("nan")]])
    error = rhythm_error(predicted, target)
    error.backward()
    assert float(error.detach()) == pytest.approx((0.5 * 0.5**2 + (3 - 0.5)) / 2)
    assert torch.equal(predicted.grad[:, 1], torch.zeros(2))
    assert float(rhythm_error(predicted.detach(), torch.full((2, 2), float("nan")))) == 0
