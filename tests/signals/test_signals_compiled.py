"""The compiled kernels against the functions of NumPy that stand in for them: the same to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgconsole.dataset.segments import quantise
from ecgconsole.signals import compiled
from ecgconsole.signals.beats import PULSES, R_PEAKS, BeatRules, find_beats
from ecgconsole.signals.cuts import Cut
from ecgconsole.signals.headers import SignalSpec
from ecgconsole.signals.quality import band_powers, clipped, moments
from ecgconsole.signals.reading import MISSING_CODE, physical_of, sum_and_range
from ecgconsole.signals.rhythm import intervals, rhythm
from ecgconsole.signals.templates import ECG_SPAN_S, PPG_SPAN_S, template_correlation

pytestmark = pytest.mark.skipif(not compiled.available(), reason="kernels.c is not compiled in this installation")

_LIBRARY_FILE = compiled.LIBRARY_FILE
seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def by_both(function: Callable[..., Any], *arguments: Any) -> tuple[Any, Any]:
    """With the kernels, and without them."""
    with pytest.MonkeyPatch.context() as patch:
        fast = function(*arguments)
        patch.setattr(compiled, "available", lambda: False)
        return fast, function(*arguments)


def copied(cut: Cut) -> np.ndarray:
    windows = np.empty((len(cut.start), cut.length), np.float32)
    cut.copy_to(windows)
    return windows


def rough(rng: np.random.Generator, rows: int, length: int) -> np.ndarray:
    """Noise, wander, few different values, silence, or beats of uneven height and distance."""
    kind = rng.integers(5)
    x = rng.normal(size=(rows, length))
    if kind == 1:
        x = x.cumsum(axis=1)
    elif kind == 2:
        x = np.round(2 * x)
    elif kind == 3:
        x *= rng.random((rows, 1)) > 0.5
    elif kind == 4:
        x *= 0.1
        for row in x:
            at = rng.uniform(15, 90, length // 15).cumsum().astype(int)
            at = at[at < length - 5]
            np.add.at(row, at[:, None] + np.arange(5), rng.uniform(0.2, 1.5, (len(at), 1)) * [0.3, 0.8, 1, 0.7, 0.2])
    return x.astype(np.float32)


@given(seeds, st.integers(1, 12), st.integers(3, 3000), st.sampled_from([R_PEAKS, PULSES]), st.floats(20, 130))
@settings(max_examples=150, deadline=None)
def test_beats_are_those_of_numpy(
    rng: np.random.Generator, rows: int, length: int, rules: BeatRules, rate_hz: float
) -> None:
    fast, slow = by_both(find_beats, np.abs(rough(rng, rows, length)), rate_hz, rules)
    for name in ("row", "time_s", "height"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(slow, name))


@given(seeds, st.integers(1, 12), st.integers(2, 1500))
@settings(max_examples=100, deadline=None)
def test_moments_and_band_powers_are_those_of_numpy(rng: np.random.Generator, rows: int, length: int) -> None:
    windows = rough(rng, rows, length)
    for fast, slow in zip(*by_both(moments, windows), strict=True):
        np.testing.assert_array_equal(fast, slow)
    edges_hz = (0.0, 1.0, 5.0, 15.0, 25.0, 40.0, 55.0)
    cut = Cut(windows.reshape(-1), rng.integers(0, windows.size - length + 1, rows), length)
    np.testing.assert_array_equal(*by_both(band_powers, cut, 125.0, edges_hz))
    np.testing.assert_array_equal(*by_both(copied, cut))


@given(seeds, st.integers(1, 30), st.integers(0, 300), st.integers(2, 300))
@settings(max_examples=100, deadline=None)
def test_rhythm_and_templates_are_those_of_numpy(rng: np.random.Generator, n: int, beats: int, grid: int) -> None:
    window, time_s = rng.integers(0, n, beats), np.round(rng.uniform(0, 10, beats) * grid) / grid
    order = np.lexsort((time_s, window))
    window, time_s = window[order], time_s[order]
    fast, slow = by_both(rhythm, intervals(window, time_s), intervals(window[::2], time_s[::2]), n)
    for name in fast:
        np.testing.assert_array_equal(fast[name], slow[name], name)
    windows = rough(rng, n, 1250)
    for span_s in (ECG_SPAN_S, PPG_SPAN_S):
        np.testing.assert_array_equal(*by_both(template_correlation, windows, window, time_s, 125.0, span_s))


@given(seeds, st.integers(1, 400), st.sampled_from([16, 80]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_codes_are_read_as_by_numpy(rng: np.random.Generator, n: int, storage: int, rare: bool) -> None:
    codes = rng.integers(-40, 40, n).astype(np.int16).clip(-30, 30)
    codes[rng.random(n) < (0.01 if rare else 0.5)] = MISSING_CODE[storage]
    signal = SignalSpec("II", "x.dat", storage, 187.3, 11.0, "mV", 16, 0, 0, None, 1, 0, 0)
    np.testing.assert_array_equal(*by_both(physical_of, codes, signal))
    (fast, slow) = by_both(sum_and_range, codes, MISSING_CODE[storage])
    assert fast == slow
    for limit in (30, 31, 2):
        np.testing.assert_array_equal(*by_both(clipped, codes, -limit, limit))


@given(seeds, st.integers(1, 20), st.integers(1, 300))
@settings(max_examples=50, deadline=None)
def test_steps_are_rounded_as_by_numpy(rng: np.random.Generator, n: int, samples: int) -> None:
    signal = rng.integers(-65534, 65535, (n, 2, samples)).astype(np.float32) / 2  # halves: to even
    scale = rng.choice([1.0, 2.0, 0.7, 3.3], (n, 2)).astype(np.float32)
    kept = np.flatnonzero(rng.random(n) < 0.7)
    np.testing.assert_array_equal(*by_both(quantise, signal, scale[kept].clip(1), kept))


@pytest.mark.parametrize("content", [None, b"", b"no library"])
def test_a_library_that_is_not_ours_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    source, library = compiled.LIBRARY_FILE.with_name("kernels.c").read_bytes(), tmp_path / "_kernels.so"
    (tmp_path / "kernels.c").write_bytes(source)
    monkeypatch.setattr(compiled, "LIBRARY_FILE", library)
    if content is not None:
        library.write_bytes(content)
    assert compiled._loaded() is None
    library.write_bytes(_LIBRARY_FILE.read_bytes())
    assert compiled._loaded() is not None
    (tmp_path / "kernels.c").write_bytes(source + b"\n")
    assert compiled._loaded() is None


def test_what_is_not_contiguous_is_read_as_it_is_meant() -> None:
    windows = rough(np.random.default_rng(1), 6, 2 * 1250)
    for fast, slow in zip(*by_both(moments, windows[:, ::2]), strict=True):
        np.testing.assert_array_equal(fast, slow)
    fast, slow = by_both(find_beats, np.abs(windows)[:, ::2], 62.5, R_PEAKS)
    np.testing.assert_array_equal(fast.time_s, slow.time_s)
