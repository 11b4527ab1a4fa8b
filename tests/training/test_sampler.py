"""Batches: patients times segments, each segment once an epoch, order from seed and epoch alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgconsole.training.sampler import Sampler
from ecgconsole.training.segments import Segments, neighbours


def segments_of(sizes: list[int], step_s: float = 10.0) -> Segments:
    """``sizes[i]`` segments of patient i, one record each, ``step_s`` apart."""
    n = sum(sizes)
    patient = np.repeat(np.arange(len(sizes)), sizes).astype(np.int64)
    start_s = np.concatenate([np.arange(size) * step_s for size in sizes])
    return Segments(
        rows=np.arange(n, dtype=np.int64) * 2,
        patient=patient,
        record=patient.copy(),
        start_s=start_s,
        scale=np.ones((n, 2), np.float32),
        present=np.ones((n, 2), bool),
        rhythm=np.zeros((n, 3), np.float32),
    )


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    batch_size=st.integers(2, 24),
    k=st.integers(1, 9),
    epoch=st.integers(0, 5),
)
def test_each_segment_is_an_anchor_at_most_once_and_only_a_rest_is_left_out(sizes, batch_size, k, epoch):
    sampler = Sampler(segments_of(sizes), batch_size, k, 20.0, seed=0)
    plans = list(sampler.epoch(epoch))
    anchors = np.concatenate([p.anchors for p in plans])
    assert len(np.unique(anchors)) == len(anchors)
    assert sum(sizes) - len(anchors) < sampler.batch_size
    assert len(plans) == sampler.batches_per_epoch
    assert [p.index for p in plans] == list(range(len(plans)))
    assert {len(p.anchors) for p in plans} == {sampler.batch_size}


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=12), within=st.sampled_from([0.0, 10.0, 25.0, 1e9]))
def test_a_partner_is_of_the_same_record_and_near(sizes, within):
    segments = segments_of(sizes)
    for plan in Sampler(segments, 8, 4, within, seed=3).epoch(0):
        assert np.array_equal(segments.record[plan.anchors], segments.record[plan.partners])
        assert np.abs(segments.start_s[plan.anchors] - segments.start_s[plan.partners]).max() <= within


def test_neighbours_equal_the_slow_search():
    rng = np.random.default_rng(0)
    segments = segments_of([5, 1, 40, 7])
    start_s = np.concatenate([np.sort(rng.choice(2000, size, replace=False)) for size in (5, 1, 40, 7)]).astype(float)
    segments = Segments(**{**segments.__dict__, "start_s": start_s})
    first, last = neighbours(segments, 150.0)
    for i in range(len(segments)):
        near = np.flatnonzero((segments.record == segments.record[i]) & (np.abs(start_s - start_s[i]) <= 150))
        assert (first[i], last[i]) == (near[0], near[-1])


def test_segments_out_of_order_have_only_themselves_as_neighbours():
    segments = segments_of([6])
    segments.start_s[2] = 1e6
    first, last = neighbours(segments, 30.0)
    assert np.array_equal(first, np.arange(6))
    assert np.array_equal(last, np.arange(6))


def test_a_batch_holds_several_segments_of_each_of_several_patients():
    segments = segments_of([40] * 10)
    for plan in Sampler(segments, 40, 8, 0.0, seed=0).epoch(0):
        _, counts = np.unique(segments.patient[plan.anchors], return_counts=True)
        assert len(counts) >= 3
        assert np.all(counts % 8 == 0)


def test_order_depends_on_seed_and_epoch_alone():
    segments = segments_of([20] * 6)

    def order(seed: int, epoch: int, stream: int = 0) -> list[int]:
        plans = Sampler(segments, 24, 4, 20.0, seed).epoch(epoch, stream)
        return np.concatenate([np.concatenate((p.anchors, p.partners)) for p in plans]).tolist()

    assert order(0, 1) == order(0, 1)
    assert len({tuple(order(*key)) for key in ((0, 1), (0, 2), (1, 1), (0, 1, 1))}) == 4


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_block_holds_whole_patients_and_all_that_its_batches_need(epoch):
    segments = segments_of([20, 3, 50, 31, 20, 8])
    sampler = Sampler(segments, 6, 3, 1e9, seed=0, block_segments=60)
    blocks = sampler.block_positions(epoch)
    assert np.array_equal(np.sort(np.concatenate(blocks)), np.arange(len(segments)))
    assert max(len(b) for b in blocks) <= 60
    owner = {int(p): i for i, block in enumerate(blocks) for p in segments.patient[block]}
    assert all(owner[int(segments.patient[p])] == i for i, block in enumerate(blocks) for p in block)
    for plan in sampler.epoch(epoch):
        assert np.isin(plan.anchors, blocks[plan.block]).all()
        assert np.isin(plan.partners, blocks[plan.block]).all()
