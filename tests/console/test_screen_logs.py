"""Every action of the screen of logs."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from ecgconsole.console.app import Console
from ecgconsole.console.screens.logs import LogView
from ecgconsole.workspace import Workspace
from tests.console.harness import SIZES, text, until


def log_lines(numbers, level="INFO ") -> str:
    return "".join(
        f"2026-11-24T{10 + i // 3600:02d}:{i // 60 % 60:02d}:{i % 60:02d}Z {level} train run=0001 number {i}\n"
        for i in numbers
    )


@pytest.fixture
def folder(tmp_path):
    workspace = Workspace(tmp_path / "out")
    run = workspace.new_run()
    workspace.log.write_text(log_lines(range(5000)))
    run.engine_log.write_text("Traceback (most recent call last):\n  File x\nValueError: a fault\n")
    return workspace


def seen(pilot: Pilot) -> list[str]:
    view = pilot.app.query_one(LogView)
    return [view.render_line(y).text.rstrip() for y in range(view.size.height)]


def ends_with(pilot: Pilot, end: str) -> bool:
    return any(line.endswith(end) for line in seen(pilot)[-1:])


async def opened(pilot: Pilot) -> None:
    await pilot.press("7")
    await until(pilot, lambda: ends_with(pilot, "number 4999"))


@pytest.mark.parametrize("size", SIZES)
async def test_the_end_of_the_log_and_what_is_added_to_it(folder, size):
    async with Console(folder).run_test(size=size) as pilot:
        await pilot.press("7")
        await until(pilot, lambda: "number 4999" in text(pilot) or "run=0001" in text(pilot))
        assert "● following" in text(pilot)
        with folder.log.open("a") as file:
            file.write("2026-11-24T12:00:00Z WARN  build run=1 z" + "\n2026-11-24T12:")
        await until(pilot, lambda: "WARN  build run=1" in seen(pilot)[-1])


async def test_up_stays_and_end_follows_again(folder):
    async with Console(folder).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        height = len(seen(pilot))
        await pilot.press("up", "up", "up")
        await until(pilot, lambda: ends_with(pilot, "number 4996"))
        with folder.log.open("a") as file:
            file.write(log_lines([5000]))
        await until(pilot, lambda: "not following" in text(pilot))
        await pilot.pause(0.7)
        assert ends_with(pilot, "number 4996")
        await pilot.press("pageup")
        await until(pilot, lambda: ends_with(pilot, f"number {4996 - height + 1}"))
        await pilot.press("home")
        await until(pilot, lambda: seen(pilot)[0].endswith("number 0"))
        await pilot.press("down", "down", "pagedown")
        await until(pilot, lambda: seen(pilot)[0].endswith(f"number {height + 1}"))
        await pilot.press("end")
        await until(pilot, lambda: ends_with(pilot, "number 5000"))
        await pilot.press("e")
        await until(pilot, lambda: "not following" in text(pilot))
        await pilot.press("e")
        await until(pilot, lambda: "● following" in text(pilot))


async def test_search_up_and_down(folder):
    async with Console(folder).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("slash", *r"number 12\d\d$", "enter")
        await until(pilot, lambda: ends_with(pilot, "number 1299"))
        await pilot.press("n")
        await until(pilot, lambda: ends_with(pilot, "number 1298"))
        assert pilot.app.query_one("Logs").copied_text().endswith("number 1298") or "12" in str(seen(pilot)[-1])
        await pilot.press("N")
        await until(pilot, lambda: "number 12" in seen(pilot)[0])
        await pilot.press("slash", *"number 77777", "enter")
        await until(pilot, lambda: any("no further match" in str(n.message) for n in pilot.app._notifications))
        await pilot.press("slash", "left_parenthesis", "enter")
        await until(pilot, lambda: any("regular expression" in str(n.message) for n in pilot.app._notifications))


async def test_filter_by_expression_and_level(folder):
    with folder.log.open("a") as file:
        file.write(log_lines([5000, 5001], "WARN ") + log_lines([5002], "ERROR") + log_lines(range(5003, 5100)))
    async with Console(folder).run_test(size=(120, 40)) as pilot:
        await pilot.press("7")
        await until(pilot, lambda: ends_with(pilot, "number 5099"))
        await pilot.press("v")
        await until(pilot, lambda: [s.split()[-1] for s in seen(pilot) if s] == ["5000", "5001", "5002"])
        assert "warnings and errors" in text(pilot)
        await pilot.press("v")
        await until(pilot, lambda: [s.split()[-1] for s in seen(pilot) if s] == ["5002"])
        await pilot.press("v", "f", *"number .?.?77$", "enter")
        await until(pilot, lambda: [s.split()[-1] for s in seen(pilot) if s][-2:] == ["4977", "5077"])
        with folder.log.open("a") as file:
            file.write(log_lines([77, 78]))
        await until(pilot, lambda: [s.split()[-1] for s in seen(pilot) if s][-2:] == ["5077", "77"])
        await pilot.press("f", "enter")
        await until(pilot, lambda: ends_with(pilot, "number 78"))


async def test_going_to_a_time(folder):
    async with Console(folder).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("g", *"10:30", "enter")
        await until(pilot, lambda: seen(pilot)[0].endswith("number 1800"))
        await pilot.press("g", *"2026-11-24 11:00:05", "enter")
        await until(pilot, lambda: seen(pilot)[0].endswith("number 3605"))
        await pilot.press("g", *"soon", "enter")
        await until(pilot, lambda: any("not a time" in str(n.message) for n in pilot.app._notifications))


async def test_the_next_file_and_levels_of_lines_without_one(folder):
    async with Console(folder).run_test(size=(80, 24)) as pilot:
        await pilot.press("7")
        await until(pilot, lambda: "production.log" in text(pilot))
        await pilot.press("t")
        await until(pilot, lambda: "ValueError: a fault" in text(pilot))
        assert "runs/0001/engine.log" in text(pilot)
        await pilot.press("t")
        await until(pilot, lambda: "production.log" in text(pilot))


async def test_a_hostile_line_is_text(folder):
    with folder.log.open("ab") as file:
        file.write(
            b"\x1b]52;c;aGk=\x07see [/bin/bash -c] and [bold\n" + b"x" * 1_000_000 + b"\nthe last\n" + b"y" * 1000000
        )
    async with Console(folder).run_test(size=(80, 24)) as pilot:
        await pilot.press("7")
        await until(pilot, lambda: "the last" in text(pilot))
        assert "see [/bin/bash -c] and [bold" in text(pilot)
        assert "\x1b" not in text(pilot)
        await pilot.press("right", "right", "left")
        await until(pilot, lambda: "xxxxxx" in text(pilot))
        assert {len(pilot.app.query_one(LogView).render_line(y).text) for y in range(5)} == {
            pilot.app.query_one(LogView).size.width
        }


async def test_a_rotated_log_is_read_from_its_new_beginning(folder):
    async with Console(folder).run_test(size=(80, 24)) as pilot:
        await pilot.press("7")
        await until(pilot, lambda: "number 4999" in text(pilot))
        folder.log.write_text(log_lines([1, 2]))
        await until(pilot, lambda: [s.split()[-1] for s in seen(pilot) if s] == ["1", "2"])


async def test_no_log_says_so(tmp_path):
    async with Console(Workspace(tmp_path)).run_test(size=(80, 24)) as pilot:
        await pilot.press("7")
        await until(pilot, lambda: "no log in this folder yet" in text(pilot))
        await pilot.press("t", "n", "e", "up", "home", "end", "escape", "right", "e")
        Workspace(tmp_path).log.write_text("first\n")
        pilot.app.query_one("Logs").fresh()
        await until(pilot, lambda: "first" in text(pilot))


async def test_nothing_is_drawn_while_nothing_is_written(folder, monkeypatch):
    async with Console(folder).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.pause(0.6)
        drawn = []
        monkeypatch.setattr(LogView, "refresh", lambda self, *regions, **kw: drawn.append(regions))
        await pilot.pause(1.2)
        assert drawn == []
        monkeypatch.undo()
        with folder.log.open("a") as file:
            file.write(log_lines([5000]))
        await until(pilot, lambda: ends_with(pilot, "number 5000"))
