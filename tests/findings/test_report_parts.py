"""What the page is made of: hidden cells, scales, the line of a training."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgconsole.findings.report import charts, svg, words
from ecgconsole.findings.report.disclosure import (
    cell,
    merged_groups,
    parts,
    people_per_value,
    without_small_cells,
)
from ecgconsole.findings.report.sources import training_metrics
from ecgconsole.workspace import Workspace
from tests.findings.report_cohort import write_events

counts_and_minimum = st.tuples(st.lists(st.integers(0, 60), min_size=1, max_size=8), st.integers(2, 20))


@given(counts_and_minimum)
def test_no_small_count_is_shown_nor_left_alone_in_a_known_sum(drawn):
    counts, minimum = drawn
    shown = parts(counts, minimum)
    hidden = [n for n, text in zip(counts, shown, strict=True) if text != f"{n:,}"]
    for n, text in zip(counts, shown, strict=True):
        assert not (0 < n < minimum) or text == f"<{minimum}"
        assert text in (f"{n:,}", f"<{minimum}", f"{minimum} or more")
        assert text != f"{minimum} or more" or n >= minimum
    everything_is_hidden = len(hidden) == sum(n > 0 for n in counts)
    if hidden and not everything_is_hidden:
        assert len(hidden) >= 2
        assert sum(hidden) >= minimum
    if all(n == 0 or n >= minimum for n in counts):
        assert not hidden


def test_the_largest_of_the_others_hides_the_small_one():
    assert parts([5, 68, 2], 10) == ["<10", "10 or more", "<10"]
    assert parts([40, 185, 5], 10) == ["40", "10 or more", "<10"]
    assert parts([0, 50, 12], 10) == ["0", "50", "12"]
    assert parts([3, 200], 0) == ["3", "200"]
    assert [cell(n, 10) for n in (0, 1, 9, 10, 1234)] == ["0", "<10", "<10", "10", "1,234"]


@given(
    st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=60),
    st.integers(0, 6),
)
def test_values_of_too_few_patients_in_a_group_are_not_told(rows, minimum):
    value, group, patient = (np.array(column) for column in zip(*rows, strict=True))
    found = without_small_cells(value, group, patient, minimum)
    for i, v in enumerate(value):
        people = {p for w, g, p in rows if (w, g) == (v, group[i])}
        assert found[i] == (v if v >= 0 and len(people) >= minimum else -1)
    slow = [len({p for w, _, p in rows if w == v}) for v in range(4)]
    assert people_per_value(value, patient, 4).tolist() == slow


@given(
    st.lists(st.tuples(st.integers(1, 40), st.floats(0, 1)), min_size=1, max_size=12),
    st.integers(1, 12),
)
def test_neighbouring_groups_are_joined_until_each_may_be_shown(drawn, minimum):
    patients = [n for n, _ in drawn]
    events = [round(n * share) for n, share in drawn]
    groups = merged_groups(patients, events, minimum)
    assert [i for g in groups for i in g] == (list(range(len(drawn))) if groups else [])
    for group in groups:
        happened = sum(events[i] for i in group)
        assert happened >= minimum
        assert sum(patients[i] for i in group) - happened >= minimum
    if not groups:
        assert min(sum(events), sum(patients) - sum(events)) < minimum


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 8))
def test_ticks_are_round_inside_and_as_many_as_asked_for(low, span, about):
    found = svg.ticks(low, low + span, about)
    room = span * 1e-6
    assert all(low - room <= t <= low + span + room for t in found)
    assert len(found) <= about + 1
    steps = np.diff(found)
    if len(steps):
        step = float(np.median(steps))
        mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
        assert min(abs(mantissa - m) for m in (1, 2, 5, 10)) < 1e-6


def test_a_scale_keeps_to_its_border_and_a_logarithm_to_its_ratios():
    scale = svg.Scale(0.1, 10, 0, 100, log=True)
    assert scale(1) == pytest.approx(50)
    assert (scale(0.001), scale(1000)) == (0, 100)
    assert svg.log_ticks(0.01, 100) == pytest.approx([0.01, 0.1, 1, 10, 100])


def test_what_is_drawn_is_escaped():
    drawn = svg.svg(10, 10, [svg.label(0, 0, "<b>&")], '"><script>')
    assert "<script>" not in drawn
    assert "&lt;b&gt;&amp;" in drawn


def test_a_strip_is_to_scale():
    """A millivolt is twice the height of a half, 0.2 s a fiftieth of ten: as on paper."""
    ecg = np.zeros(1250, np.float32)
    ecg[100] = 1.0
    drawn = str(charts.strip(ecg, None, 125.0, "one beat"))
    trace = drawn.partition('class="trace-ecg"')[2].partition(' d="M')[2].partition('"')[0]
    numbers = [int(n) for n in trace.partition("l")[2].replace("-", " -").split()]
    dx, dy = numbers[0::2], numbers[1::2]
    assert len(dx) == 1249
    assert dy[99] == -400
    assert sum(dx) == pytest.approx(1249 / 1250 * 10_000, abs=1)
    assert drawn.count("PPG") == 0


def test_a_net_benefit_line_ends_where_it_crosses_the_floor():
    assert charts._above([(0.0, 1.0), (1.0, 0.0), (2.0, -2.0), (3.0, 5.0)], -1.0) == [
        (0.0, 1.0),
        (1.0, 0.0),
        (1.5, -1.0),
    ]


def test_numbers_that_do_not_exist_are_a_dash_and_zero_has_no_sign():
    assert words.decimals(None) == "–"
    assert words.decimals(-0.001) == "0.00"
    assert words.decimals(-1.25, 1) == "−1.2"
    assert words.interval(None, 3.0) == "0 to 3.00"
    assert words.interval(0.5, None) == "0.50 to ∞"
    assert words.label_words("concurrent_stroke_ischaemic") == "ischaemic stroke, coded in the recorded stay"


def metric(step: int, loss: float) -> dict:
    return {"kind": "metric", "stage": "train", "step": step, "epoch": 1, "values": {"train_loss": loss}}


def test_a_resumed_training_is_one_line_and_a_new_one_replaces_it(tmp_path):
    workspace = Workspace(tmp_path)
    assert training_metrics(workspace) == []
    write_events(workspace, [metric(1, 9), metric(2, 8), metric(3, 7)], torn='{"seq": 9, "kind": "met')
    write_events(workspace, [{"kind": "metric", "stage": "other", "step": 0, "epoch": 0, "values": {}}])
    # Resumed from the checkpoint of step 2: what the first run did after it never counted.
    write_events(workspace, [metric(3, 6), metric(4, 5)])
    found = training_metrics(workspace)
    assert [(m["step"], m["values"]["train_loss"]) for m in found] == [(1, 9), (2, 8), (3, 6), (4, 5)]
    write_events(workspace, [metric(1, 3)])
    assert [m["values"]["train_loss"] for m in training_metrics(workspace)] == [3]
