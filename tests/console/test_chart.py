"""The chart widget redraws what changed, and nothing else."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from textual.app import App, ComposeResult

from ecgconsole.console.chart import Chart, Marks, Series
from ecgconsole.console.history import MetricHistory
from ecgconsole.console.sources.metrics import Columns


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


def column_of(chart: Chart, sign: str) -> list[int]:
    return sorted({i for row in rows(chart) for i, c in enumerate(row) if c == sign})


async def test_a_line_that_grows_redraws_few_rows(monkeypatch):
    async with OneChart().run_test(size=(100, 30)) as pilot:
        chart = pilot.app.query_one(Chart)
        chart.plot(loss(300)[:1])
        await pilot.pause()
        rows_drawn = []
        monkeypatch.setattr(chart, "refresh", lambda *regions: rows_drawn.append(len(regions)))
        for n in range(301, 401):
            chart.plot(loss(n)[:1])
        assert np.mean(rows_drawn) < 6  # of 30: the number of points, and where the line grows
        assert max(rows_drawn) >= 20  # when the axis leaps


async def test_zoom_shows_a_part_and_says_how_many_points_it_is():
    async with OneChart().run_test(size=(100, 14)) as pilot:
        chart = pilot.app.query_one(Chart)
        chart.plot(loss(1000)[:1])
        assert "1,000 of 1,000 points" in rows(chart)[-1]
        chart.act("zoom_in")
        seen = int(rows(chart)[-1].split(" of ")[0].split()[-1].replace(",", ""))
        assert 500 <= seen <= 502
        chart.act("right")
        chart.plot(loss(1000)[:1])
        moved = rows(chart)
        assert "625" in moved[-1] or "600" in moved[-1]
        chart.act("left")
        chart.act("left")
        chart.act("left")
        assert rows(chart)[-1].split()[0] == "0"
        chart.act("zoom_out")
        chart.act("zoom_out")
        assert "1,000 of 1,000 points" in rows(chart)[-1]


async def test_zooming_in_for_ever_ends_at_a_few_points():
    async with OneChart().run_test(size=(100, 14)) as pilot:
        chart = pilot.app.query_one(Chart)
        chart.plot(loss(1000)[:1])
        for _ in range(60):
            chart.act("zoom_in")
        assert "points" in rows(chart)[-1]
        assert any("\u2801" <= c <= "\u28ff" for row in rows(chart) for c in row)


async def test_a_growing_line_is_followed_unless_one_has_zoomed():
    async with OneChart().run_test(size=(100, 14)) as pilot:
        chart = pilot.app.query_one(Chart)
        chart.plot(loss(100)[:1])
        chart.plot(loss(200)[:1])
        assert "200 of 200" in rows(chart)[-1]
        chart.act("zoom_in")
        before = rows(chart)[-1]
        chart.plot(loss(400)[:1])
        assert rows(chart)[-1].split("  ")[1:4] == before.split("  ")[1:4]
        chart.act("all")
        assert "400 of 400" in rows(chart)[-1]


async def test_the_crosshair_says_the_values_of_every_line_at_one_point():
    async with OneChart().run_test(size=(100, 14)) as pilot:
        chart = pilot.app.query_one(Chart)
        chart.plot(loss(11))
        chart.act("crosshair")
        train, val = (s.y[5] for s in loss(11))
        assert f"step 5  train {train:.4g}  val {val:.4g}" in rows(chart)[-1]
        chart.act("cross_right")
        assert "step 6" in rows(chart)[-1]
        for _ in range(20):
            chart.act("cross_left")
        assert "step 0" in rows(chart)[-1]
        await pilot.click(Chart, offset=(99, 3))
        assert "step 10" in rows(chart)[-1]
        chart.act("crosshair")
        assert "points" in rows(chart)[-1]


async def test_the_wheel_zooms_where_the_pointer_is():
    async with OneChart().run_test(size=(100, 14)) as pilot:
        chart = pilot.app.query_one(Chart)
        chart.plot(loss(1000)[:1])
        chart.zoom(0.1, around=100.0)
        assert "100" in rows(chart)[-1]
        assert "500" not in rows(chart)[-1]


async def test_what_is_not_a_number_is_marked_where_it_is():
    async with OneChart().run_test(size=(109, 14)) as pilot:
        chart = pilot.app.query_one(Chart)
        x = np.arange(1000.0)
        y = np.ones(1000)
        assert column_of(chart, "×") == []
        y[500] = np.nan
        chart.plot((Series("train", x, y, "train"),))
        assert column_of(chart, "×") == [9 + 50]
        y[:] = np.nan
        chart.plot((Series("train", x, y, "train"),))
        assert "no metric yet" in "\n".join(rows(chart))


async def test_smoothing_draws_the_mean_and_keeps_the_raw_line_behind_it():
    async with OneChart().run_test(size=(109, 22)) as pilot:
        chart = pilot.app.query_one(Chart)
        rng = np.random.default_rng(0)
        noisy = (Series("train", np.arange(5000.0), rng.normal(0, 1, 5000), "train"),)
        chart.plot(noisy)
        filled = [sum(c > "\u2800" for c in row) for row in rows(chart)[:-1]]
        for _ in range(3):
            chart.act("smooth")
        assert "mean of 500" in rows(chart)[-1]
        again = [sum(c > "\u2800" for c in row) for row in rows(chart)[:-1]]
        assert again == filled
        accent = chart.tone("train").color
        coloured = [
            y
            for y in range(chart.size.height)
            for segment in chart.render_line(y)
            if segment.style and segment.style.color == accent
        ]
        assert 0 < len(set(coloured)) <= 3
        chart.act("smooth")
        assert "mean of" not in rows(chart)[-1]


async def test_lines_of_an_overlay_are_told_apart_by_signs_too():
    async with OneChart().run_test(size=(100, 14)) as pilot:
        chart = pilot.app.query_one(Chart)
        chart.legend = True
        first, second = loss(100)
        chart.plot((Series("run 1", first.x, first.y, "train", "1"), Series("run 2", second.x, second.y, "val", "2")))
        assert rows(chart)[0].split() == ["1", "run", "1", "2", "run", "2"]
        plot = rows(chart)[1:-1]
        assert any("1" in row[-3:] for row in plot)
        assert any("2" in row[-3:] for row in plot)


async def test_marks_and_unit():
    async with OneChart().run_test(size=(109, 14)) as pilot:
        chart = pilot.app.query_one(Chart)
        chart.unit = "mV"
        chart.plot(loss(1000)[:1], (Marks(np.array([0.0, 500.0, 2000.0]), "▾", "warning"),))
        assert column_of(chart, "▾") == [9, 59]
        assert rows(chart)[-1].startswith("      mV ")


async def test_a_million_points_make_no_copy_of_them(monkeypatch):
    async with OneChart().run_test(size=(120, 30)) as pilot:
        chart = pilot.app.query_one(Chart)
        x = np.arange(1e6)
        y = np.sin(x / 1e4)
        chart.plot((Series("train", x, y, "train"),))
        tracemalloc.start()
        chart.plot((Series("train", x, y, "train"),))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < y.nbytes / 4


def metrics(rows) -> dict[str, Columns]:
    columns = Columns()
    for step, value in rows:
        columns.step.append(step)
        columns.value.append(value)
    return {"train_loss": columns}


def test_history_keeps_gaps():
    history = MetricHistory()
    history.add(metrics([(1, 1.0), (2, np.nan)]))
    history.add({})
    history.add(metrics([(3, 0.5)]))
    steps, values = history.series("train_loss")
    assert steps.tolist() == [1, 2, 3]
    assert np.isnan(values).tolist() == [False, True, False]
    assert history.series("unheard")[0].size == 0


def test_history_of_a_resumed_run_goes_on_where_it_resumed_and_one_from_the_start_is_new():
    history = MetricHistory()
    history.add(metrics([(s, 1.0) for s in range(1, 11)]))
    history.begin_run()
    history.add(metrics([(8, 2.0), (9, 2.0)]))
    steps, values = history.series("train_loss")
    assert steps.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert values[-3:].tolist() == [1, 2, 2]
    history.begin_run()
    history.add(metrics([(1, 3.0)]))
    assert history.series("train_loss")[0].tolist() == [1]
