"""The table draws the rows one sees; it sorts, searches, and keeps the row in hand."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult

from ecgconsole.console.table import Cell, Column, Table

COLUMNS = [Column("name", 8), Column("n", 6, True), Column("what"), Column("far", 30)]


def people(n: int) -> list[list[Cell]]:
    return [
        [Cell(f"P-{i:04d}"), Cell(f"{(i * 37) % n:,}", (i * 37) % n), Cell("even" if i % 2 == 0 else "odd"), Cell("x")]
        for i in range(n)
    ]


class OneTable(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[str, int | None]] = []

    def compose(self) -> ComposeResult:
        yield Table("nobody")

    def on_table_moved(self, event: Table.Moved) -> None:
        self.said.append(("moved", event.table.cursor))

    def on_table_chosen(self, event: Table.Chosen) -> None:
        self.said.append(("chosen", event.table.cursor))


def rows(table: Table) -> list[str]:
    return [table.render_line(y).text for y in range(table.size.height)]


@pytest.mark.parametrize("size", [(120, 30), (50, 20), (20, 6), (6, 3)])
async def test_every_row_fills_the_width_and_columns_that_do_not_fit_go_whole(size):
    async with OneTable().run_test(size=size) as pilot:
        table = pilot.app.query_one(Table)
        assert "nobody"[: size[0] - 3] in "".join(rows(table))
        table.fill(COLUMNS, people(500))
        assert {len(row) for row in rows(table)} == {size[0]}
        assert ("far" in rows(table)[0]) == (size[0] >= 70)
        assert "▸" in rows(table)[1]


async def test_keys_go_through_all_rows_and_enter_chooses():
    async with OneTable().run_test(size=(60, 12)) as pilot:
        table = pilot.app.query_one(Table)
        table.fill(COLUMNS, people(100))
        table.focus()
        await pilot.press("down", "down", "up", "enter")
        assert pilot.app.said[-1] == ("chosen", 1)
        await pilot.press("end")
        assert table.cursor == 99
        assert "P-0099" in rows(table)[-1]
        await pilot.press("down", "pageup")
        assert table.cursor == 89
        await pilot.press("home")
        assert "P-0000" in rows(table)[1]


async def test_sorting_by_number_and_back_keeps_the_row_in_hand():
    async with OneTable().run_test(size=(60, 12)) as pilot:
        table = pilot.app.query_one(Table)
        table.fill(COLUMNS, people(100))
        table.select(10)
        table.sort("next")
        table.sort("next")
        assert "n▼" in rows(table)[0]
        assert table.cursor == 10
        table.action_move(-1000)
        numbers = [int(row.split()[-2]) for row in rows(table)[1:]]
        assert numbers == sorted(numbers, reverse=True)
        assert numbers[0] == 99
        table.sort("reversed")
        assert [int(row.split()[-2]) for row in rows(table)[1:]] != numbers
        await pilot.click(Table, offset=(4, 0))
        assert "name▲" in rows(table)[0]
        await pilot.click(Table, offset=(4, 0))
        assert "name▼" in rows(table)[0]


async def test_what_is_not_a_number_comes_last_either_way():
    async with OneTable().run_test(size=(60, 12)) as pilot:
        table = pilot.app.query_one(Table)
        values = [1.0, float("nan"), 3.0, 2.0]
        table.fill([Column("v", 6, True)], [[Cell("–" if v != v else str(v), v)] for v in values])
        table.sort("next")
        assert [r.strip("▸ ") for r in rows(table)[1:5]] == ["3.0", "2.0", "1.0", "–"]
        table.sort("reversed")
        assert [r.strip("▸ ") for r in rows(table)[1:5]] == ["1.0", "2.0", "3.0", "–"]


async def test_a_search_shows_what_matches_and_a_refill_keeps_it():
    async with OneTable().run_test(size=(60, 12)) as pilot:
        table = pilot.app.query_one(Table)
        table.fill(COLUMNS, people(100))
        table.search("p-007")
        assert table.shown_rows == 10
        table.fill(COLUMNS, people(80))
        assert table.shown_rows == 10
        table.search("nobody is called that")
        assert table.cursor is None
        assert "nothing matches" in rows(table)[1]
        await pilot.press("down", "enter")
        table.search("")
        assert table.shown_rows == 80


async def test_with_keys_the_cursor_stays_on_its_row_whatever_comes_before_it():
    async with OneTable().run_test(size=(60, 12)) as pilot:
        table = pilot.app.query_one(Table)
        table.fill(COLUMNS, people(3), ["a", "b", "c"])
        table.select(1)
        assert table.key == "b"
        table.fill(COLUMNS, people(5), ["new", "newer", "a", "b", "c"])
        assert table.key == "b"
        table.fill(COLUMNS[:2], [row[:2] for row in people(2)], ["c", "b"])
        assert table.key == "b"
        table.fill(COLUMNS, people(2), ["a", "c"])
        assert table.key == "c"  # where the other was
        table.fill(COLUMNS, people(1), ["d"])
        assert table.key == "d"
        table.fill(COLUMNS, [])
        assert table.key is None


async def test_a_fixed_table_keeps_its_order_under_the_mouse():
    class Fixed(OneTable):
        def compose(self) -> ComposeResult:
            yield Table("nobody", fixed=True)

    async with Fixed().run_test(size=(60, 12)) as pilot:
        table = pilot.app.query_one(Table)
        table.fill(COLUMNS, people(5))
        before = rows(table)
        await pilot.click(Table, offset=(12, 0))
        assert rows(table) == before


async def test_ten_thousand_rows_are_drawn_as_few(monkeypatch):
    async with OneTable().run_test(size=(60, 12)) as pilot:
        table = pilot.app.query_one(Table)
        drawn = []
        of_line = Table._line
        monkeypatch.setattr(Table, "_line", lambda self, *a: drawn.append(1) or of_line(self, *a))
        table.fill(COLUMNS, people(10_000))
        assert len(drawn) <= 12
        table.action_move(1)
        assert len(drawn) <= 24


async def test_a_click_puts_the_cursor_and_a_second_one_chooses():
    async with OneTable().run_test(size=(60, 12)) as pilot:
        table = pilot.app.query_one(Table)
        table.fill(COLUMNS, people(100))
        await pilot.click(Table, offset=(4, 4))
        assert table.cursor == 3
        assert ("chosen", 3) not in pilot.app.said
        await pilot.click(Table, offset=(4, 4))
        await pilot.pause()
        assert ("chosen", 3) in pilot.app.said
        assert "[" not in rows(table)[1]
        table.fill([Column("m")], [[Cell("see [/bin/bash -c] [bold]")]])
        assert "see [/bin/bash -c] [bold]" in rows(table)[1]
