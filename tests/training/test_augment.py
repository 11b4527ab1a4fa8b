"""Augmentation may change everything about a segment but its rhythm."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import interp1d
from scipy.signal import find_peaks

from ecgconsole.training import augment as module
from ecgconsole.training.augment import N_DRAWS, augment, crop_samples, draw

from .material import RATE_HZ, heartbeats

SECONDS = 10
N = 64


@pytest.fixture(scope="module")
def segments() -> torch.Tensor:
    rng = np.random.default_rng(0)
    pairs = [heartbeats(rng, SECONDS, rr_s=rng.uniform(0.6, 1.1), rr_cv=0.0)[:2] for _ in range(N)]
    return torch.tensor(np.array(pairs), dtype=torch.float32)


def uniform(epoch: int = 0) -> torch.Tensor:
    return torch.from_numpy(draw(0, epoch, 0, N)[0].copy())


def dropped_seconds(u: torch.Tensor, samples: int) -> tuple[float, float]:
    """The block that one signal's draws drop, from the definition and not from the code under test."""
    length = module.DROPPED_SECONDS * max(0.0, 2 * float(u[module._NAMES.index("drop")]) - 1)
    begin = float(u[module._NAMES.index("drop_at")]) * max(0.0, (samples - 1) / RATE_HZ - length)
    return begin, begin + length


def beat_times_s(signal: np.ndarray) -> np.ndarray:
    """Peaks of the matched filter, between samples by the parabola through each."""
    t = np.arange(-0.1, 0.1, 1 / RATE_HZ)
    template = np.exp(-((t / 0.02) ** 2))
    score = np.abs(np.correlate(signal - np.median(signal), template - template.mean(), "same"))
    peaks, _ = find_peaks(score, height=0.45 * np.quantile(score, 0.995), distance=round(0.4 * RATE_HZ))
    peaks = peaks[(peaks > 12) & (peaks < len(score) - 13)]
    left, middle, right = score[peaks - 1], score[peaks], score[peaks + 1]
    return (peaks + 0.5 * (left - right) / (left - 2 * middle + right)) / RATE_HZ


def rr_cv(beats_s: np.ndarray, block_s: tuple[float, float]) -> float:
    """Over the intervals that do not touch the dropped block (with the width of a beat beside it)."""
    low, high = block_s[0] - 0.15, block_s[1] + 0.15
    beats_s = beats_s[(beats_s < low) | (beats_s > high)] if block_s[1] > block_s[0] else beats_s
    begin, end = beats_s[:-1], beats_s[1:]
    outside = (end < low) | (begin > high) if block_s[1] > block_s[0] else np.full(len(begin), True)
    intervals = (end - begin)[outside]
    assert len(intervals) >= 3, "too few beats are found to say anything"
    return float(intervals.std() / intervals.mean())


def test_augmentation_keeps_rr_variability_within_a_hundredth(segments):
    shorter_by = crop_samples(RATE_HZ, 0.5)
    for epoch in range(3):
        u = uniform(epoch)
        views = augment(segments, u, RATE_HZ, shorter_by).numpy()
        for i in range(N):
            cv = rr_cv(beat_times_s(views[i, 0]), dropped_seconds(u[i, 0], views.shape[-1]))
            assert cv < 0.01, f"epoch {epoch}, segment {i}: a regular rhythm has RR CV {cv:.3f} after augmentation"


def test_the_measure_would_see_a_time_warp(segments):
    """The same measure on a gentle warp (±20 %), so that the test above can fail."""
    time_s = np.arange(SECONDS * RATE_HZ) / RATE_HZ
    warped_s = time_s + 0.1 * np.sin(2 * np.pi * time_s / 3)
    warped = [
        interp1d(time_s, s[0], kind="cubic", bounds_error=False, fill_value=0.0)(warped_s) for s in segments.numpy()
    ]
    assert min(rr_cv(beat_times_s(w), (0, 0)) for w in warped) > 0.05


def test_a_view_depends_on_seed_epoch_and_batch_alone():
    assert np.array_equal(draw(1, 2, 3, 8), draw(1, 2, 3, 8))
    others = [draw(0, 2, 3, 8), draw(1, 0, 3, 8), draw(1, 2, 0, 8), draw(1, 2, 3, 8, stream=1)]
    assert all(not np.array_equal(draw(1, 2, 3, 8), other) for other in others)
    assert draw(0, 0, 0, 5).shape == (2, 5, 2, N_DRAWS)


def test_a_view_does_not_depend_on_the_rest_of_the_batch(segments):
    u = uniform()
    whole = augment(segments, u, RATE_HZ, 124)
    part = augment(segments[10:20], u[10:20], RATE_HZ, 124)
    torch.testing.assert_close(whole[10:20], part, rtol=0, atol=1e-5)


def test_views_differ_and_stay_recognisable(segments):
    first, second = (augment(segments, torch.from_numpy(v.copy()), RATE_HZ, 0) for v in draw(0, 0, 0, N))
    correlation = [abs(np.corrcoef(a, b)[0, 1]) for a, b in zip(first[:, 0].numpy(), second[:, 0].numpy(), strict=True)]
    assert 0.5 < np.median(correlation) < 0.98
    assert torch.isfinite(first).all()


def test_crops_are_cut_and_not_stretched(segments):
    """Without any other change a crop is a part of the original, sample by sample."""
    u = torch.full((N, 2, N_DRAWS), 0.0)
    u[..., module._NAMES.index("smooth")] = 1 / 3
    u[..., module._NAMES.index("flip")] = 1.0
    u[..., module._NAMES.index("echo")] = 0.5
    u[..., module._NAMES.index("offset")] = torch.linspace(0, 0.999, N)[:, None]
    views = augment(segments, u, RATE_HZ, 124)
    plain = augment(segments, u, RATE_HZ, 0)
    for i in range(N):
        offset = int(u[i, 0, 0] * 125)
        torch.testing.assert_close(views[i, 0], plain[i, 0, offset : offset + views.shape[-1]], rtol=0, atol=1e-5)


def test_polarity_turns_for_ecg_and_never_for_ppg(segments):
    u = uniform()
    views = augment(segments, u, RATE_HZ, 0)
    similarity = (views * augment(segments, u * 0 + 0.4999, RATE_HZ, 0)).sum(-1)
    assert 0.3 < (similarity[:, 0] < 0).float().mean() < 0.7
    assert (similarity[:, 1] > 0).all()


@pytest.mark.parametrize("value", [0.0, 1 - 2**-24])
def test_the_ends_of_the_range_of_draws_are_valid(segments, value):
    views = augment(segments, torch.full((N, 2, N_DRAWS), value), RATE_HZ, 124)
    assert views.shape == (N, 2, SECONDS * 125 - 124)
    assert torch.isfinite(views).all()


def test_a_flat_line_stays_near_zero():
    views = augment(torch.zeros(N, 2, 1250), uniform(), RATE_HZ, 0)
    assert views.abs().max() < 3
