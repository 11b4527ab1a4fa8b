"""Lines in braille: no extreme is lost, no gap is bridged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgconsole.console.raster import (
    Range,
    braille,
    column_extremes,
    gap_columns,
    held,
    line_dots,
    point_dots,
    short_number,
    smoothed,
    ticks,
    value_range,
    visible,
)


def dots(bits: np.ndarray) -> np.ndarray:
    """Slow truth of the braille code: each cell's 8 bits as 4 x 2 dots."""
    order = {0: (0, 0), 1: (1, 0), 2: (2, 0), 3: (0, 1), 4: (1, 1), 5: (2, 1), 6: (3, 0), 7: (3, 1)}
    out = np.zeros((bits.shape[0] * 4, bits.shape[1] * 2), bool)
    for (row, column), value in np.ndenumerate(bits):
        for bit, (r, c) in order.items():
            out[4 * row + r, 2 * column + c] = bool(value >> bit & 1)
    return out


def slow_extremes(x, y, columns):
    """The joined line sampled very finely, column by column."""
    lows, highs = np.full(columns, np.nan), np.full(columns, np.nan)
    points = [(a, b) for a, b in zip(x, y, strict=True)]
    for k in range(len(points) - 1):
        (x0, y0), (x1, y1) = points[k], points[k + 1]
        if not (np.isfinite(y0) and np.isfinite(y1)):
            continue
        for share in np.linspace(0, 1, 400):
            position, value = x0 + share * (x1 - x0), y0 + share * (y1 - y0)
            if 0 <= position <= 1:
                column = min(int(position * columns), columns - 1)
                lows[column] = np.fmin(lows[column], value)
                highs[column] = np.fmax(highs[column], value)
    for position, value in points:
        if 0 <= position <= 1 and np.isfinite(value):
            column = min(int(position * columns), columns - 1)
            lows[column] = np.fmin(lows[column], value)
            highs[column] = np.fmax(highs[column], value)
    return lows, highs


@given(st.lists(st.one_of(st.floats(-3, 3), st.just(float("nan"))), min_size=1, max_size=25), st.integers(1, 12))
def test_columns_hold_the_extremes_of_the_joined_line(values, columns):
    y = np.array(values)
    x = np.linspace(0.02, 0.97, len(y))
    slow = slow_extremes(x, y, columns)
    shares = column_extremes(x, y, np.linspace(0, 1, columns + 1), Range(0, 1))
    for fast, truth in zip(shares, slow, strict=True):
        both = np.isfinite(fast) & np.isfinite(truth)
        assert np.isfinite(fast[np.isfinite(truth)]).all()
        np.testing.assert_allclose(fast[both], truth[both], atol=0.1)


def test_a_lone_spike_among_a_million_points_is_drawn():
    y = np.zeros(1_000_000)
    y[123_456] = 1
    picture = dots(line_dots(np.arange(1e6), y, 40, 5, Range(0, 1e6), Range(0, 1)))
    assert picture[0].sum() == 1
    assert picture[0].argmax() == int(123_456 / 1e6 * 80)


def test_a_gap_is_not_bridged():
    y = np.array([1.0, 1.0, np.nan, 1.0, 1.0])
    picture = dots(line_dots(np.arange(5.0), y, 20, 2, Range(0, 4), Range(0, 2)))
    columns = picture.any(axis=0)
    assert columns[:11].all()
    assert columns[-10:].all()
    assert not columns[13:27].any()


def test_two_points_are_joined_by_an_unbroken_line():
    picture = dots(line_dots(np.array([0.0, 1]), np.array([0.0, 1]), 10, 10, Range(0, 1), Range(0, 1)))
    assert picture.any(axis=0).all()
    assert picture.any(axis=1).all()
    assert picture[-1, 0]
    assert picture[0, -1]


def test_a_single_point_is_one_dot():
    assert dots(line_dots(np.array([1.0]), np.array([5.0]), 9, 3, Range(0, 2), Range(0, 10))).sum() == 1


def test_nothing_is_drawn_outside_the_ranges():
    bits = line_dots(np.arange(10.0), np.arange(10.0), 10, 4, Range(0, 9), Range(100, 200))
    assert not bits.any()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_or_no_points_are_fine(n):
    assert line_dots(np.arange(float(n)), np.arange(float(n)), 3, 3, Range(0, 1), Range(0, 1)).shape == (3, 3)


def test_text_has_the_size_that_was_asked_for():
    rows = braille(line_dots(np.arange(3.0), np.arange(3.0), 7, 2, Range(0, 2), Range(0, 2)))
    assert [len(r) for r in rows] == [7, 7]
    assert all(c == " " or "\u2801" <= c <= "\u28ff" for row in rows for c in row)


def test_a_log_axis_puts_decades_at_equal_distances_and_drops_what_it_cannot_show():
    axis = value_range(np.array([1.0, 100, -5, 0, np.nan]), log=True)
    assert (axis.low, axis.high) == (1, 100)
    np.testing.assert_allclose(axis.position(np.array([1.0, 10, 100])), [0, 0.5, 1])
    assert np.isnan(axis.position(np.array([-1.0]))).all()
    assert not value_range(np.array([-1.0, -2]), log=True).log


@pytest.mark.parametrize("values", [[], [np.nan], [3.0], [0.0], [np.inf, 2.0], [-4.0, -4.0]])
def test_a_range_is_never_empty(values):
    axis = value_range(np.array(values))
    assert axis.high > axis.low


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(1, 12), st.booleans())
def test_ticks_are_round_few_and_on_the_axis(low, span, most, log):
    low = abs(low) + 1e-3 if log else low
    axis = Range(low, low + span, log)
    if axis.high <= axis.low:
        return
    found = ticks(axis, most)
    assert len(found) <= most
    assert found == sorted(found)
    slack = 1e-9 * max(abs(axis.low), abs(axis.high))
    assert all(axis.low - slack <= t <= axis.high + slack for t in found)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (3e-4, "3.0e-4"), (1.8423, "1.842"), (34_020, "34,020"), (-0.5, "-0.5"), (float("nan"), "–")],
)
def test_numbers_are_short(value, text):
    assert short_number(value) == text


def slow_mean(y, window):
    out = np.full(len(y), np.nan)
    for i in range(len(y)):
        first = max(i - window // 2, 0)
        part = y[first : min(first + window, len(y))]
        part = part[np.isfinite(part)]
        if np.isfinite(y[i]) and len(part):
            out[i] = part.mean()
    return out


@given(st.lists(st.one_of(st.floats(-100, 100), st.just(float("nan"))), min_size=1, max_size=40), st.integers(2, 15))
def test_the_moving_mean_is_that_of_the_numbers_around(values, window):
    y = np.array(values)
    _, fast = smoothed(np.arange(float(len(y))), y, window, 1000)
    np.testing.assert_allclose(fast, slow_mean(y, window), atol=1e-9)


def test_the_moving_mean_of_many_points_is_that_of_their_means():
    rng = np.random.default_rng(1)
    x, y = np.arange(100_000.0), rng.normal(0, 1, 100_000).cumsum()
    y[40_000:42_000] = np.nan
    y[7] = np.nan
    at, mean = smoothed(x, y, 2000, 1000)
    assert 900 <= len(at) <= 1100
    truth = slow_mean(y[: at.size * 100], 2000)[50::100]
    known = np.isfinite(mean) & np.isfinite(truth)
    assert known.sum() > 0.95 * len(at)
    np.testing.assert_allclose(mean[known], truth[known], atol=12)
    assert np.isnan(mean[400:420]).all()


def test_gaps_and_points_fall_into_their_columns():
    y = np.ones(100)
    y[[0, 55, 99]] = np.nan
    assert np.flatnonzero(gap_columns(np.arange(100.0), y, 10, Range(0, 99))).tolist() == [0, 5, 9]
    assert np.flatnonzero(gap_columns(np.arange(100.0), y, 10, Range(50, 60))).tolist() == [5]
    bits = point_dots(np.array([0.0, 1.0, 5.0]), np.array([0.0, 1.0, 0.5]), 5, 2, Range(0, 1), Range(0, 1))
    picture = dots(bits)
    assert picture.sum() == 2
    assert picture[-1, 0]
    assert picture[0, -1]


def test_what_is_visible_has_a_neighbour_on_either_side():
    assert visible(np.arange(10.0), Range(3.5, 5.5)) == slice(3, 7)
    assert visible(np.arange(10.0), Range(-5, 50)) == slice(0, 11)


@pytest.mark.parametrize("log", [False, True])
def test_a_held_axis_moves_in_leaps_and_always_shows_everything(log):
    axis, moved = None, 0
    for step in range(10, 1000):
        needed = Range(1.0, float(step), log)
        now = held(needed, axis)
        moved += now != axis
        axis = now
        low, high = axis.position(np.array([needed.low, needed.high]))
        assert 0 <= low < high <= 1 + 1e-9
    assert moved < 45
    assert held(Range(1.0, 20.0, log), axis) == Range(1.0, 20.0, log)
    assert held(Range(1.0, 20.0, not log), axis) == Range(1.0, 20.0, not log)
