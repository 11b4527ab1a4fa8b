"""Every action of the screen of data, on a real dataset."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from textual.pilot import Pilot

from ecgconsole.console.app import Console
from ecgconsole.console.chart import Chart
from ecgconsole.console.rows import Rows
from ecgconsole.console.search import SearchLine
from ecgconsole.console.table import Table
from ecgconsole.dataset import Dataset
from ecgconsole.text import alias
from ecgconsole.workspace import Workspace
from tests.console.harness import SIZES, has_braille, text, until
from tests.console.results import SALT, ids_of


def shown_on(pilot: Pilot, selector: str) -> str:
    widget = pilot.app.query_one(selector, Rows)
    return "\n".join(widget.render_line(y).text for y in range(widget.size.height))


async def opened(pilot: Pilot) -> Table:
    await pilot.press("5")
    table = pilot.app.query_one("#table", Table)
    await until(pilot, lambda: "P-" in shown_on(pilot, "#table"))
    return table


@pytest.mark.parametrize("size", SIZES)
async def test_patients_by_alias_and_the_first_segment_on_enter(own_folder, size):
    async with Console(own_folder).run_test(size=size) as pilot:
        await opened(pilot)
        with Dataset(own_folder.dataset) as dataset:
            first, total = alias(str(dataset.patients["id"][0]), SALT), dataset.n_segments
        assert first in shown_on(pilot, "#table")
        assert f"{total:,} segments of 10 s" in shown_on(pilot, "#summary") or size[0] < 60
        await pilot.press("enter")
        await until(pilot, lambda: has_braille(pilot.app.query_one("#ecg", Chart)))
        assert f"{first} · segment 1 of" in shown_on(pilot, "#facts")
        for name in ids_of(own_folder):
            assert name not in text(pilot)
        for widget in pilot.app.query(Rows):
            assert {len(widget.render_line(y).text) for y in range(widget.size.height)} <= {widget.size.width}


async def test_stepping_through_segments_and_the_beats_of_each(own_folder):
    async with Console(own_folder).run_test(size=(120, 45)) as pilot:
        await opened(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "segment 1 of" in shown_on(pilot, "#facts"))
        await pilot.press("n", "n", "n", "b")
        await until(pilot, lambda: "segment 3 of" in shown_on(pilot, "#facts"))
        with Dataset(own_folder.dataset) as dataset:
            rate = dataset.column("rhythm/heart_rate_bpm")[2]
        assert f"heart rate {rate:.0f}/min" in shown_on(pilot, "#values")
        signs = shown_on(pilot, "#ecg").count("▾")
        assert abs(signs - rate / 6) <= 2
        await pilot.press("b", "b", "b", "b")
        await until(pilot, lambda: "segment 1 of" in shown_on(pilot, "#facts"))


async def test_on_a_small_terminal_the_waveform_takes_the_place_of_the_table_and_gives_it_back(own_folder):
    async with Console(own_folder).run_test(size=(80, 24)) as pilot:
        table = await opened(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "segment 1 of" in shown_on(pilot, "#facts"))
        await pilot.press("n", "n")
        await until(pilot, lambda: "segment 3 of" in shown_on(pilot, "#facts"))
        await pilot.press("1", "5", "b")
        await until(pilot, lambda: "segment 2 of" in shown_on(pilot, "#facts"))
        assert not table.parent.display
        await pilot.press("escape", "down")
        assert table.parent.display
        assert table.cursor == 1
        await pilot.press("enter", "t")
        assert table.parent.display
        assert "Rejections" in str(pilot.app.query_one("#tables").border_title)


async def test_keys_work_after_the_terminal_became_smaller(own_folder):
    async with Console(own_folder).run_test(size=(160, 45)) as pilot:
        await opened(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "segment 1 of" in shown_on(pilot, "#facts"))
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: not pilot.app.query_one("#tables").display)
        await pilot.pause(0.2)
        await pilot.press("n")
        await until(pilot, lambda: "segment 2 of" in shown_on(pilot, "#facts"))


async def test_zoom_pan_and_crosshair_move_both_signals(own_folder):
    async with Console(own_folder).run_test(size=(140, 45)) as pilot:
        await opened(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "1,250 of 1,250 points" in shown_on(pilot, "#ecg"))
        await pilot.press("plus", "plus", "left_square_bracket")
        for name in ("#ecg", "#ppg"):
            seen = int(shown_on(pilot, name).split(" of ")[-2].split()[-1].replace(",", ""))
            assert 310 <= seen <= 316
        await pilot.press("c", "full_stop", "comma")
        assert "II, s 4.3" in shown_on(pilot, "#ecg")
        await pilot.press("minus", "minus", "0")
        await pilot.press("c", "right_square_bracket")
        assert "1,250 of 1,250 points" in shown_on(pilot, "#ppg")


async def test_rejected_windows_of_a_patient_say_why_and_show_what_was_recorded(own_folder):
    async with Console(own_folder).run_test(size=(120, 45)) as pilot:
        table = await opened(pilot)
        await pilot.press("o", "o", "o")  # by rejected windows, most first
        await pilot.press("home", "x")
        await until(pilot, lambda: "Rejected: P-" in str(pilot.app.query_one("#tables").border_title))
        await until(pilot, lambda: "✖ rejected" in shown_on(pilot, "#facts"))
        await until(pilot, lambda: has_braille(pilot.app.query_one("#ecg", Chart)))
        await until(pilot, lambda: any(word in shown_on(pilot, "#facts") for word in ("ECG ", "PPG ")))
        before = table.cursor
        await pilot.press("n")
        assert table.cursor == before + 1
        for name in ids_of(own_folder):
            assert name not in text(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: "Patients" in str(pilot.app.query_one("#tables").border_title))


async def test_recordings_that_are_gone_are_said_to_be_gone(built_folder, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(built_folder.folder, folder)
    cohort = built_folder.folder.parent / "cohort"
    away = cohort.with_name("elsewhere")
    cohort.rename(away)
    try:
        async with Console(Workspace(folder)).run_test(size=(120, 45)) as pilot:
            await opened(pilot)
            await pilot.press("o", "o", "o", "home", "x")
            await until(pilot, lambda: "waveform folder is not there" in shown_on(pilot, "#facts"))
    finally:
        away.rename(cohort)


async def test_reasons_with_their_meaning_lead_to_their_windows(own_folder):
    async with Console(own_folder).run_test(size=(140, 45)) as pilot:
        await opened(pilot)
        await pilot.press("t")
        assert "Rejections" in str(pilot.app.query_one("#tables").border_title)
        assert "▇" in shown_on(pilot, "#table")
        reason = shown_on(pilot, "#table").splitlines()[1].split()[1]
        await pilot.press("enter")
        await until(pilot, lambda: f"Rejected: {reason}" in str(pilot.app.query_one("#tables").border_title))
        await until(pilot, lambda: "✖ rejected" in shown_on(pilot, "#facts"))
        await until(pilot, lambda: reason in shown_on(pilot, "#facts"))


async def test_labels_with_prevalence_sorted_and_searched(own_folder):
    async with Console(own_folder).run_test(size=(120, 45)) as pilot:
        table = await opened(pilot)
        await pilot.press("t", "t")
        with Dataset(own_folder.dataset) as dataset:
            group = dataset.patients
        yes = int((group["labels/ever_atrial_fibrillation"] == 1).sum())
        await pilot.press("slash", *"ever atrial fib")
        assert table.shown_rows == 1
        row = shown_on(pilot, "#table").splitlines()[1]
        assert row.split()[-3:] == [str(yes), str(len(group["id"]) - yes), "0"]
        await pilot.press("escape")
        assert table.shown_rows > 20
        assert not pilot.app.query_one(SearchLine).display
        await pilot.press("o", "o", "O")
        await pilot.press("t")
        assert "Patients" in str(pilot.app.query_one("#tables").border_title)


async def test_no_dataset_and_one_that_comes_later(tmp_path, built_folder):
    out = tmp_path / "out"
    out.mkdir()
    async with Console(Workspace(out)).run_test(size=(80, 24)) as pilot:
        await pilot.press("5")
        await until(pilot, lambda: "the stage build makes it" in text(pilot))
        await pilot.press("x", "n", "b", "enter", "t", "t", "o", "O", "t", "escape")
        shutil.copytree(built_folder.folder, out, dirs_exist_ok=True)
        pilot.app.query_one("Data").fresh()
        await until(pilot, lambda: "P-" in shown_on(pilot, "#table"))


async def test_read_only_writes_nothing(own_folder):
    (own_folder.folder / ".alias_salt").unlink()
    before = sorted(p.name for p in own_folder.folder.iterdir())
    async with Console(own_folder, read_only=True).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("enter", "x", "escape")
        await pilot.pause(0.3)
    assert sorted(p.name for p in own_folder.folder.iterdir()) == before


async def test_the_first_paint_imports_no_hdf5_and_no_arrow(own_folder):
    import subprocess
    import sys

    code = (
        "import asyncio, sys\n"
        "from ecgconsole.console.app import Console\n"
        "from ecgconsole.workspace import Workspace\n"
        "async def main():\n"
        "    async with Console(Workspace(sys.argv[1])).run_test() as pilot:\n"
        "        await pilot.press('5', '6', '7', '8', '1')\n"
        "        print([m for m in ('torch', 'scipy', 'sklearn', 'wfdb') if m in sys.modules])\n"
        "import ecgconsole.console.screens.data, ecgconsole.console.screens.findings\n"
        "import ecgconsole.console.screens.logs, ecgconsole.console.screens.runs\n"
        "print([m for m in ('h5py', 'pyarrow', 'pandas', 'scipy', 'torch') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(own_folder.folder)], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr[-2000:]


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_columns_that_matter_are_there_at_any_usual_size(own_folder, size):
    async with Console(own_folder).run_test(size=size) as pilot:
        await opened(pilot)
        head = shown_on(pilot, "#table").splitlines()[0]
        assert all(word in head for word in ("patient", "segments", "rejected", "hours", "labels"))
        hours = np.array([float(line.split()[4]) for line in shown_on(pilot, "#table").splitlines()[2:6]])
        assert (hours > 0).all()
