"""Every action of the screen of findings: what exists is shown, what is missing is named."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from ecgconsole.console.app import Console
from ecgconsole.console.chart import Chart
from ecgconsole.console.finding_tables import rhythm_of
from ecgconsole.console.rows import Rows
from ecgconsole.console.table import Table
from ecgconsole.dataset import Dataset
from ecgconsole.workspace import Workspace
from tests.console import results
from tests.console.harness import SIZES, has_braille, text, until
from tests.console.results import ids_of


@pytest.fixture
def found(own_folder):
    results.add_embeddings(own_folder)
    results.add_patterns(own_folder)
    results.add_validation(own_folder)
    results.add_stroke(own_folder)
    return own_folder


def shown_on(pilot: Pilot, selector: str) -> str:
    widget = pilot.app.query_one("FindingsPage").query_one(selector, Rows)
    return "\n".join(widget.render_line(y).text for y in range(widget.size.height))


async def opened(pilot: Pilot) -> Table:
    await pilot.press("6")
    await until(pilot, lambda: bool(pilot.app.query("#page-findings")) and "✔ pattern" in shown_on(pilot, "#table"))
    return pilot.app.query_one("FindingsPage").query_one(Table)


@pytest.mark.parametrize("size", SIZES)
async def test_patterns_and_the_waveform_of_a_medoid(found, size):
    async with Console(found).run_test(size=size) as pilot:
        await opened(pilot)
        await until(pilot, lambda: "pattern 0" in shown_on(pilot, "#facts"))
        await until(pilot, lambda: size[1] < 24 or has_braille(pilot.app.query_one("#ecg", Chart)))
        assert "✔ validation" in shown_on(pilot, "#summary") or size[0] < 60
        for name in ids_of(found):
            assert name not in text(pilot)
        for widget in pilot.app.query(Rows):
            assert {len(widget.render_line(y).text) for y in range(widget.size.height)} <= {widget.size.width}


async def test_medoids_one_after_another(found):
    async with Console(found).run_test(size=(160, 45)) as pilot:
        await opened(pilot)
        await until(pilot, lambda: "medoid 1 of 4" in shown_on(pilot, "#facts"))
        assert "✔ ever stroke 9.6" in shown_on(pilot, "#facts")
        await pilot.press("n", "n")
        await until(pilot, lambda: "medoid 3 of 4" in shown_on(pilot, "#facts"))
        with Dataset(found.dataset) as dataset:
            rate = dataset.column("rhythm/heart_rate_bpm")[80]
        await until(pilot, lambda: f"heart rate {rate:.0f}/min" in shown_on(pilot, "#values"))
        await pilot.press("n")
        await until(pilot, lambda: "typical segment 4 of 4" in shown_on(pilot, "#facts"))
        await pilot.press("b", "down")
        await until(pilot, lambda: "pattern 1 · medoid 1 of 4" in shown_on(pilot, "#facts"))
        await pilot.press("plus", "right_square_bracket", "0")


async def test_associations_in_sentences(found):
    async with Console(found).run_test(size=(160, 45)) as pilot:
        await opened(pilot)
        await pilot.press("t")
        await until(pilot, lambda: "12 with the label, 30 without" in shown_on(pilot, "#detail"))
        assert "pattern 0 and ever stroke" in shown_on(pilot, "#detail")
        assert "✔ replicated" in shown_on(pilot, "#table")
        await pilot.press("n")
        assert "pattern 0 and ever diabetes" in shown_on(pilot, "#detail")
        assert "too few to tell" in shown_on(pilot, "#detail")


async def test_the_map_coloured_by_everything(found):
    async with Console(found).run_test(size=(140, 45)) as pilot:
        table = await opened(pilot)
        await pilot.press("c")
        await until(pilot, lambda: has_braille(pilot.app.query_one("#map", Chart)))
        assert "pattern 1" in shown_on(pilot, "#table")
        assert "of the" not in shown_on(pilot, "#map")
        everything = shown_on(pilot, "#map")
        await pilot.press("down")
        assert "pattern" in shown_on(pilot, "#map").splitlines()[0]
        assert len(shown_on(pilot, "#map").splitlines()[0].split("●")) == 3  # others and the one chosen
        await pilot.press("plus", "left_square_bracket")
        assert shown_on(pilot, "#map") != everything
        await pilot.press("0", "c")
        await until(pilot, lambda: "sinus" in shown_on(pilot, "#table"))
        await pilot.press("c")
        await until(pilot, lambda: "in tables" in shown_on(pilot, "#table"))
        await pilot.press("c")
        await until(pilot, lambda: "P-" in shown_on(pilot, "#table"))
        for name in ids_of(found):
            assert name not in text(pilot)
        await pilot.press("slash", "P", "enter", "o", "O")
        assert table.shown_rows > 0


async def test_stroke_risk_and_why_it_cannot_be_told(found):
    async with Console(found).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("t", "t", "t")
        await until(pilot, lambda: "0.70 (0.62–0.78)" in shown_on(pilot, "#table"))
        assert "with history over age and sex: gain" in shown_on(pilot, "#detail")
        assert "Not a medical device." in shown_on(pilot, "#detail")
        await pilot.press("end")
        assert "not estimable: 1 events" in shown_on(pilot, "#detail")


async def test_the_report(found):
    async with Console(found).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("w")
        await until(pilot, lambda: any("no report yet" in str(n.message) for n in pilot.app._notifications))
        (found.folder / "report.html").write_text("<html>")
        pilot.app.query_one("FindingsPage").fresh()
        await until(pilot, lambda: "✔ report" in shown_on(pilot, "#summary"))
        await pilot.press("w")
        assert pilot.app.clipboard == str(found.folder / "report.html")


@pytest.mark.parametrize("view", range(4))
async def test_what_is_missing_is_named(tmp_path, view):
    words = ("stage discover", "stage validate", "stage embed", "stage stroke")[view]
    async with Console(Workspace(tmp_path)).run_test(size=(80, 24)) as pilot:
        await pilot.press("6", *("t" * view))
        await until(pilot, lambda: words in shown_on(pilot, "#table"))
        await pilot.press("n", "b", "enter", "w", "plus", "o", "O", "down")
        assert "○ patterns not yet" in shown_on(pilot, "#summary")


async def test_patterns_without_their_dataset_say_so(tmp_path):
    workspace = Workspace(tmp_path)
    results.add_patterns(workspace)
    async with Console(workspace).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await until(pilot, lambda: "▲" in shown_on(pilot, "#facts"))


def test_a_pattern_without_a_charted_rhythm_says_so():
    assert rhythm_of({"rhythm": {"name": None, "labelled_segments": 0, "shares": {}}}) == "rhythm not charted"
    assert rhythm_of({}) == "rhythm not charted"
    assert rhythm_of({"rhythm": {"name": "atrial_fibrillation", "share": 0.9}}) == "atrial fibrillation 90%"
