"""The same batches for any number of threads, from memory or from disk."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from ecgconsole.dataset import Dataset
from ecgconsole.training.loader import Batch, Loader, block_segments
from ecgconsole.training.sampler import Sampler
from ecgconsole.training.segments import read_split, rhythm_statistics


def batches(path: Path, workers: int, block: int | None = None, first: int = 0, epoch: int = 1) -> list[Batch]:
    with Dataset(path) as dataset:
        segments = read_split(dataset, "train")
        sampler = Sampler(segments, 10, 5, 4.0, seed=0, block_segments=block)
        loader = Loader(dataset, sampler, segments.rhythm, workers, torch.device("cpu"))
        return list(loader.batches(epoch, first))


def assert_same(a: list[Batch], b: list[Batch]) -> None:
    assert len(a) == len(b) > 0
    for one, other in zip(a, b, strict=True):
        for field in dataclasses.fields(Batch):
            x, y = getattr(one, field.name), getattr(other, field.name)
            if field.name == "share":
                assert x == y
                continue
            assert torch.equal(torch.nan_to_num(x), torch.nan_to_num(y)), field.name


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("block", [None, 30])
def test_batches_are_the_same_for_any_number_of_threads(dataset_path, workers, block):
    assert_same(batches(dataset_path, 0, block), batches(dataset_path, workers, block))


def test_one_block_from_disk_is_the_same_as_memory(dataset_path):
    assert_same(batches(dataset_path, 2, None), batches(dataset_path, 2, 10_000))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("block", [None, 30])
def test_going_on_within_an_epoch_gives_its_remaining_batches(dataset_path, workers, block):
    assert_same(batches(dataset_path, workers, block)[3:], batches(dataset_path, workers, block, first=3))


@pytest.mark.parametrize("block", [None, 30])
def test_a_batch_holds_what_the_dataset_holds(dataset_path, block):
    with Dataset(dataset_path) as dataset:
        for batch in batches(dataset_path, 2, block):
            rows = batch.rows.flatten().numpy()
            np.testing.assert_array_equal(batch.physical().flatten(0, 1).numpy(), dataset.physical(rows))
            np.testing.assert_array_equal(batch.present.flatten(0, 1).numpy(), dataset.present[rows])
            assert set(dataset.split[rows]) == {"train"}


def test_leaving_an_epoch_early_leaves_no_thread_behind(dataset_path):
    import threading

    before = threading.active_count()
    with Dataset(dataset_path) as dataset:
        segments = read_split(dataset, "train")
        loader = Loader(dataset, Sampler(segments, 10, 5, 4.0, 0), segments.rhythm, 2, torch.device("cpu"))
        generator = loader.batches(0)
        next(generator)
        generator.close()
    assert threading.active_count() == before


def test_blocks_are_sized_so_that_three_fit():
    assert block_segments(1000, 1250, 1e9) is None
    assert block_segments(1_000_000, 1250, 1e9) == 66_666


def test_rhythm_statistics_leave_out_what_is_not_known(dataset_path):
    with Dataset(dataset_path) as dataset:
        segments = read_split(dataset, "train")
    segments.rhythm[::3] = np.nan
    mean, sd = rhythm_statistics(segments)
    np.testing.assert_allclose(mean, np.nanmean(segments.rhythm.astype(np.float64), 0), rtol=1e-4)
    np.testing.assert_allclose(sd, np.nanstd(segments.rhythm.astype(np.float64), 0), rtol=1e-4)


def test_a_segment_without_any_signal_is_left_out(tmp_path):
    from .material import write_dataset

    present = np.ones((144, 2), bool)
    present[7] = False
    with Dataset(write_dataset(tmp_path / "full_dataset.h5", present=present)) as dataset:
        assert 7 not in read_split(dataset, "train").rows
        assert len(read_split(dataset, "train")) == 71
