"""The chart widget redraws what changed, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from textual.app import App, ComposeResult

from ecgconsole.console.chart import Chart, Series
from ecgconsole.console.history import MetricHistory


class OneChart(App[None]):
    def compose(self) -> ComposeResult:
        yield Chart("step", "no metric yet")


def rows(chart: Chart) -> list[str]:
    return [chart.render_line(y).text for y in range(chart.size.height)]


def loss(n: int) -> tuple[Series, ...]:
    x = np.arange(float(n))
    return (Series("train", x, 5 * np.exp(-x / 300) + 1, "train"), Series("val", x, 4 * np.exp(-x / 300) + 1, "val"))


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (50, 20), (14, 5), (3, 2)])
async def test_every_row_fills_the_width_at_any_size(size):
    async with OneChart().run_test(size=size) as pilot:
        chart = pilot.app.query_one(Chart)
        for series in ((), loss(1), loss(1000)):
            chart.plot(series)
            await pilot.pause()
            assert {len(row) for row in rows(chart)} == {chart.size.width}


async def test_an_empty_chart_says_so():
    async with OneChart().run_test(size=(60, 10)) as pilot:
        assert "no metric yet" in "\n".join(rows(pilot.app.query_one(Chart)))


async def test_the_number_of_points_counts_gaps_apart():
    async with OneChart().run_test(size=(100, 12)) as pilot:
        chart = pilot.app.query_one(Chart)
        y = np.array([1.0, np.nan, 3.0])
        chart.plot((Series("train", np.arange(3.0), y, "train"),))
        assert "2 of 3 points" in rows(chart)[-1]


async def test_what_did_not_change_is_not_drawn_again(monkeypatch):
    async with OneChart().run_test(size=(100, 12)) as pilot:
        chart = pilot.app.query_one(Chart)
        chart.plot(loss(100))
        await pilot.pause()
        asked = []
        monkeypatch.setattr(chart, "refresh", lambda *regions: asked.append(regions))
        chart.plot(loss(100))
        assert asked == []
        x = np.arange(100.0)
        y = loss(100)[0].y.copy()
        y[-1] = y[-2] + 0.3
        chart.plot((Series("train", x, y, "train"), loss(100)[1]))
        assert len(asked) == 1
        assert 0 < len(asked[0]) < 6


async def test_a_log_axis_straightens_a_decay():
    async with OneChart().run_test(size=(100, 22)) as pilot:
        chart = pilot.app.query_one(Chart)
        x = np.arange(100.0)
        chart.plot((Series("train", x, 10 ** (-x / 25), "train"),))
        linear = rows(chart)
        chart.toggle_log()
        assert rows(chart) != linear
        filled = [sum(c > "\u2800" for c in row) for row in rows(chart)[:-1]]
        assert max(filled) - min(filled) <= 3


def metric(step: int, loss: float | None) -> dict:
    return {"kind": "metric", "step": step, "values": {"train_loss": loss}}


def test_history_keeps_gaps():
    history = MetricHistory()
    assert history.add([metric(1, 1.0), metric(2, None), metric(3, 0.5)])
    assert not history.add([{"kind": "progress", "done": 1}])
    steps, values = history.series("train_loss")
    assert steps.tolist() == [1, 2, 3]
    assert np.isnan(values).tolist() == [False, True, False]
    assert history.series("unheard")[0].size == 0


def test_history_of_a_resumed_run_goes_on_where_it_resumed_and_one_from_the_start_is_new():
    history = MetricHistory()
    history.add([metric(s, 1.0) for s in range(1, 11)])
    history.begin_run()
    history.add([metric(8, 2.0), metric(9, 2.0)])
    steps, values = history.series("train_loss")
    assert steps.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert values[-3:].tolist() == [1, 2, 2]
    history.begin_run()
    history.add([metric(1, 3.0)])
    assert history.series("train_loss")[0].tolist() == [1]
