"""The learning rate by step, the horizon under a time limit, and the reasons to end."""

from __future__ import annotations

import itertools

import pytest

from ecgconsole.training.checkpoints import Progress
from ecgconsole.training.schedule import horizon, learning_rate, reason_to_end

from .material import small_config

SETTINGS = small_config("training.learning_rate=0.5", "training.warmup_fraction=0.1").training


def test_the_rate_rises_peaks_and_falls_to_a_hundredth():
    rates = [learning_rate(step, 100, SETTINGS) for step in range(120)]
    assert rates[:10] == pytest.approx([0.05 * (i + 1) for i in range(10)])
    assert max(rates) == rates[9] == rates[10] == 0.5
    assert all(before > after for before, after in itertools.pairwise(rates[10:100]))
    assert rates[55] == pytest.approx(0.5 * 0.505)
    assert rates[100:] == [0.005] * 20


def test_a_single_step_has_a_rate():
    assert 0 < learning_rate(0, 1, SETTINGS) <= 0.5


def test_the_horizon_is_all_steps_where_time_suffices_and_what_fits_where_not():
    limited = small_config("training.max_minutes=1").training
    assert horizon(Progress(step=10, seconds=5.0), 100, limited) == 100
    assert horizon(Progress(step=10, seconds=20.0), 100, limited) == 30
    assert horizon(Progress(step=10, seconds=90.0), 100, limited) == 10
    assert horizon(Progress(), 100, limited) == 100
    assert horizon(Progress(step=10, seconds=1e9), 100, SETTINGS) == 100


def test_why_training_ends():
    settings = small_config("training.num_epochs=5", "training.patience=2", "training.max_minutes=1").training
    assert reason_to_end(Progress(epoch=4, best_epoch=3), settings) == ""
    assert reason_to_end(Progress(epoch=5, best_epoch=5), settings) == "epochs"
    assert reason_to_end(Progress(epoch=4, best_epoch=2), settings) == "patience"
    assert reason_to_end(Progress(epoch=1, best_epoch=1, seconds=60.0), settings) == "time"
    assert reason_to_end(Progress(epoch=1, best_epoch=1, seconds=60.0, step_in_epoch=3), settings) == ""
