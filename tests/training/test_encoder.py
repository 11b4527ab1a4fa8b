"""What an embedding may depend on, and what not."""

from __future__ import annotations

import pytest
import torch

from ecgconsole.training.encoder import HEADS_DIM, Model, blur_and_halve, normalise, segment_embedding


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    return Model(12, (8, 16), 8, 3).eval()


@pytest.fixture
def signal() -> torch.Tensor:
    return torch.randn(10, 2, 500, generator=torch.Generator().manual_seed(0))


ALL = torch.ones(10, 2, dtype=torch.bool)


def test_an_embedding_does_not_depend_on_the_rest_of_the_batch(model, signal):
    model.train()
    torch.testing.assert_close(model.encode(signal, ALL)[3:5], model.encode(signal[3:5], ALL[:2]), rtol=0, atol=1e-5)


def test_gain_and_offset_of_a_recording_do_not_matter(model, signal):
    changed = 3.7 * signal + 11
    torch.testing.assert_close(model.encode(signal, ALL), model.encode(changed, ALL), rtol=0, atol=1e-4)


def test_a_missing_signal_gives_zero_and_leaves_the_others_as_they_are(model, signal):
    present = ALL.clone()
    present[2, 1] = present[7, 0] = False
    whole, part = model.encode(signal, ALL), model.encode(signal, present)
    torch.testing.assert_close(part[present], whole[present], rtol=0, atol=1e-5)
    assert torch.equal(part[~present], torch.zeros(2, 12))


def test_a_dataset_of_one_signal_is_encoded(model, signal):
    present = torch.tensor([[True, False]]).expand(10, 2)
    assert torch.equal(model.encode(signal, present)[:, 1], torch.zeros(10, 12))


def test_segment_embedding_is_the_mean_of_the_signals_present():
    embeddings = torch.tensor([[[2.0], [4.0]], [[2.0], [4.0]], [[2.0], [4.0]]])
    present = torch.tensor([[True, True], [False, True], [False, False]])
    assert segment_embedding(embeddings, present).tolist() == [[3.0], [4.0], [0.0]]


def test_without_a_length_the_embedding_is_what_was_pooled_and_heads_see_its_map(signal):
    torch.manual_seed(0)
    pooled = Model(None, (8, 16), 8, 3).eval()
    torch.manual_seed(0)
    mapped = Model(HEADS_DIM, (8, 16), 8, 3).eval()
    embeddings = pooled.encode(signal, ALL)
    assert embeddings.shape == (10, 2, pooled.embedding_dim) == (10, 2, 3 * (8 + 16))
    assert torch.equal(pooled.seen_by_heads(embeddings, ALL), mapped.encode(signal, ALL))
    assert torch.equal(mapped.seen_by_heads(embeddings, ALL), embeddings)


def test_what_is_kept_of_what_was_pooled_are_its_square_roots(signal):
    pooled, mapped = Model(None, (8, 16), 8).eval(), Model(12, (8, 16), 8).eval()
    embeddings = pooled.encode(torch.cat((signal, torch.zeros(1, 2, 500))), torch.ones(11, 2, dtype=torch.bool))
    torch.testing.assert_close(pooled.finished(embeddings).square(), embeddings)
    assert torch.equal(mapped.finished(embeddings), embeddings)


@pytest.mark.parametrize("samples", [250, 251, 1250, 1876])
def test_any_length_is_encoded(model, samples):
    assert model.encode(torch.randn(3, 2, samples), ALL[:3]).shape == (3, 2, 12)


@pytest.mark.parametrize("level", [0.0, 5.0])
def test_a_flat_line_is_finite_with_finite_gradients(model, level):
    model.encode(torch.full((2, 2, 500), level), ALL[:2]).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.encoders.parameters())


def test_a_flat_line_is_not_blown_up_to_unit_variance():
    noise = 1e-4 * torch.randn(1, 500)
    assert normalise(noise, 0.01).std() < 0.02
    assert normalise(1e4 * noise, 0.01).std() == pytest.approx(1, abs=0.01)


def test_halving_removes_what_would_alias():
    time = torch.arange(400.0)
    fastest = torch.cos(torch.pi * time).expand(1, 1, -1)
    assert blur_and_halve(fastest)[..., 2:-2].abs().max() < 1e-6
    slow = torch.sin(2 * torch.pi * time / 100).expand(1, 1, -1)
    torch.testing.assert_close(blur_and_halve(slow)[..., 2:-2], slow[..., ::2][..., 2:-2], rtol=0, atol=0.01)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_generator_alone():
    from ecgconsole.training.train import new_model

    architecture = {"embedding_dim": 12, "hidden_dims": [8], "projection_dim": 8, "n_rhythm": 3}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = new_model(architecture, 1), new_model(architecture, 1)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
