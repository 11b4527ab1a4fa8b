"""What stands around every screen: keys and their remapping, palette, themes, notes, the welcome."""

from __future__ import annotations

import itertools
import json
import os
import pty
import threading
import time

import numpy as np
import pytest
from textual.widgets import Input, OptionList, Select

from ecgconsole.console import app as app_module
from ecgconsole.console import frame, memory
from ecgconsole.console.app import Console
from ecgconsole.console.keys import KEYS, on_screen, remapped, shown
from ecgconsole.console.screens import SCREENS, page_class
from ecgconsole.console.terminal import terminal_is_behind
from ecgconsole.console.themes import DARK, LIGHT
from tests.console.harness import text, train_a_little, until

# Severity 1.0, linear RGB: Machado, Oliveira and Fernandes, IEEE TVCG 15 (2009), table 1.
DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(colour):
    srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb
    xyz = xyz / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(a, b):
    """WCAG 2.1."""
    light, dark = sorted((float(np.array([0.2126, 0.7152, 0.0722]) @ linear(c)) for c in (a, b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=lambda t: t.name)
@pytest.mark.parametrize("eyes", DEFICIENCIES)
def test_the_four_meanings_stay_apart_for_all_eyes(theme, eyes):
    colours = [theme.accent, theme.success, theme.warning, theme.error]
    seen = [lab(np.clip(np.array(DEFICIENCIES[eyes]) @ linear(c), 0, 1)) for c in colours]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) >= 20
    assert all(contrast(c, theme.background) >= 4.5 for c in [*colours, theme.foreground])


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=lambda t: t.name)
def test_the_themes_use_colours_that_256_colour_terminals_have(theme):
    names = ("primary", "secondary", "accent", "success", "warning", "error", "foreground", "background", "surface")
    greys = {f"{8 + 10 * n:02x}" for n in range(24)}
    for name in names:
        colour = getattr(theme, name)
        parts = [colour[i : i + 2] for i in (1, 3, 5)]
        cube = all(p in ("00", "5f", "87", "af", "d7", "ff") for p in parts)
        assert cube or (len(set(parts)) == 1 and parts[0] in greys), f"{name} {colour}"


def test_keys_are_remapped_and_what_is_wrong_is_said():
    keys, problems = remapped({"stop": "ctrl+x", "pause": "q", "nonsense": "z", "checkpoints.pin": "P"})
    by_id = {k.id: k.key for k in keys}
    assert by_id["stop"] == "ctrl+x"
    assert by_id["checkpoints.pin"] == "P"
    assert by_id["pause"] == "p"
    assert problems == ["nonsense: there is no such action", "pause: q is taken by leave"]


def test_no_two_keys_of_one_screen_are_the_same_and_every_action_exists():
    for screen in ["", *(s.name for s in SCREENS)]:
        own = [part for k in KEYS if k.screen == screen for part in k.key.split(",")]
        assert len(own) == len(set(own)), screen
        holder = page_class(screen) if screen else Console
        for key in KEYS:
            if key.screen == screen:
                assert hasattr(holder, f"action_{key.action.partition('(')[0]}"), key
    assert len({k.id for k in KEYS}) == len(KEYS)


@pytest.mark.parametrize("width", [20, 50, 80, 120, 200])
def test_footer_and_tabs_cut_no_key_in_the_middle(width):
    for screen in (s.name for s in SCREENS):
        keys = on_screen(KEYS, screen, read_only=False)
        row = frame.keys_row(keys, width, read_only=False, alive=True, paused=False)
        line = "".join(s[0] for s in row)
        assert "? help" in line
        assert "q quit" in line
        assert len(line) <= max(width, len(" ? help  q quit "))
        if width >= 50:
            tabs = "".join(s[0] for s in frame.tabs(screen, width))
            assert len(tabs) <= width
            assert all(s.key in tabs for s in SCREENS)


def test_read_only_offers_nothing_that_steers():
    assert not any(k.steers for k in on_screen(KEYS, "checkpoints", read_only=True))


async def test_users_keys_and_theme_hold_and_help_and_footer_say_so(job, tmp_path):
    train_a_little(job)
    memory.settings_path().parent.mkdir(parents=True)
    memory.settings_path().write_text(json.dumps({"theme": "ecg-light", "keys": {"stop": "x", "show.data": "9"}}))
    async with Console(job.workspace).run_test(size=(200, 60)) as pilot:
        await until(pilot, lambda: " x stop" in text(pilot))
        assert pilot.app.theme == "ecg-light"
        await pilot.press("s")
        assert len(pilot.app.screen_stack) == 1
        await pilot.press("question_mark")
        assert "x  stop " in str(pilot.app.screen._text)
        await pilot.press("escape", "x", "y")
        await until(pilot, lambda: job.requests() == ["stop"])
        await pilot.press("ctrl+t")
        assert memory.read_settings().theme == pilot.app.theme
        assert memory.read_settings().keys == {"stop": "x", "show.data": "9"}


async def test_a_settings_file_that_says_nonsense_is_named_and_left_alone(job):
    memory.settings_path().parent.mkdir(parents=True)
    memory.settings_path().write_text("{not json")
    async with Console(job.workspace).run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        assert any("console.json" in n.message for n in pilot.app._notifications)
        await pilot.press("ctrl+t")
    assert memory.settings_path().read_text() == "{not json"


async def test_every_screen_opens_by_digit_and_by_mouse_at_any_size(job):
    train_a_little(job)
    async with Console(job.workspace).run_test(size=(50, 20)) as pilot:
        for entry in SCREENS:
            await pilot.press(entry.key)
            await until(pilot, lambda name=entry.name: name == pilot.app.page.NAME)
        await pilot.resize_terminal(120, 40)
        await pilot.pause()
        await pilot.click("#tabs", offset=(1, 0))
        await until(pilot, lambda: pilot.app.page.NAME == "dashboard")
        await pilot.resize_terminal(10, 4)
        await pilot.pause()


async def test_the_palette_has_what_can_be_done_here_and_does_it(job):
    train_a_little(job)
    async with Console(job.workspace).run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "running" in text(pilot))
        commands = {c.title: c for c in pilot.app.get_system_commands(pilot.app.screen)}
        assert {"stop", "pause", "log axis", "palette", "theme ecg-light"} <= set(commands)
        assert "pin" not in commands  # a key of another screen
        await pilot.press("ctrl+p")
        await pilot.pause()
        await pilot.press(*"checkpoints")
        await pilot.pause(0.5)
        await pilot.press("down", "enter") if pilot.app.screen is pilot.app.screen_stack[0] else await pilot.press(
            "enter"
        )
        await until(pilot, lambda: pilot.app.page.NAME == "checkpoints")


async def test_a_warning_and_the_end_of_a_run_are_told_by_note_bell_and_terminal(job, monkeypatch):
    train_a_little(job)
    job.emit("warning", "train", code="old", message="before the console opened", hint="")
    written = []
    bells = []
    async with Console(job.workspace).run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "running" in text(pilot))
        monkeypatch.setattr(pilot.app._driver, "write", written.append)
        monkeypatch.setattr(pilot.app, "bell", lambda: bells.append(1))
        job.emit("warning", "train", code="loss-spike", message="evil \x1b]52;c;aGk=\x07 [bold]", hint="look")
        await until(pilot, lambda: bool(bells))
        (note,) = [n.message for n in pilot.app._notifications]
        assert "loss-spike: evil" in note
        assert "\x1b" not in note
        job.emit("run_finished", run_id="0001", status="done", exit_code=0, seconds=3.0)
        await until(pilot, lambda: len(bells) == 2)
        assert len(pilot.app._notifications) == 1, "notes replace one another, or they would cover the screen"
    told = [w for w in written if w.startswith("\x1b]9;")]
    assert len(told) == 2
    assert "\x1b" not in told[0][4:]


async def test_copy_and_picture(job, monkeypatch):
    train_a_little(job)
    async with Console(job.workspace).run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "running" in text(pilot))
        await pilot.press("y")
        assert "train" in pilot.app.clipboard or str(job.workspace.folder) in pilot.app.clipboard
        await pilot.press("f12")
        await until(pilot, lambda: any(job.workspace.folder.glob("*.svg")))


def test_a_screen_is_imported_only_when_it_is_opened():
    import subprocess
    import sys

    code = "import sys, ecgconsole.console.app; print([m for m in ('torch','h5py','pandas','pyarrow','duckdb',"
    code += "'ecgconsole.console.screens.data') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_welcome_makes_a_new_folder_with_a_preset(tmp_path):
    (tmp_path / "waveforms here").mkdir()
    folder = tmp_path / "new folder"
    async with Console(None).run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        screen = pilot.app.screen
        screen.query_one("#welcome-folder", Input).value = str(folder)
        screen.query_one("#welcome-preset", Select).value = "demo"
        screen.query_one("#welcome-waveforms", Input).value = str(tmp_path / "nothing")
        await pilot.press("f5")
        await pilot.pause()
        assert "no such folder" in str(screen.query_one("#welcome-said").render())
        assert not folder.exists()
        screen.query_one("#welcome-waveforms", Input).value = str(tmp_path / "waveforms here")
        await pilot.press("f5")
        await until(pilot, lambda: "new folder" in text(pilot))
    config = json.loads((folder / "config.json").read_text())
    assert config["training"]["batch_size"] == 64
    assert config["data"]["waveform_dir"] == str(tmp_path / "waveforms here")
    assert memory.last_opened().folder == folder


async def test_welcome_offers_what_was_opened_before_and_esc_leaves(job, tmp_path):
    train_a_little(job)
    memory.remember_opened(job.workspace)
    async with Console(None).run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        assert pilot.app.screen.query_one(OptionList).option_count == 1
        await pilot.press("enter")
        await until(pilot, lambda: "● running" in text(pilot))
        await pilot.press("ctrl+o")
        await pilot.pause()
        await pilot.press("s", "escape")  # a letter is text here, and an open folder stays open
        await until(pilot, lambda: len(pilot.app.screen_stack) == 1)
        assert "● running" in text(pilot)
    app = Console(None)
    async with app.run_test(size=(50, 20)) as pilot:
        await pilot.pause()
        await pilot.press("escape")
        await pilot.pause()
    assert app.return_value is None
    assert job.requests() == []


def test_keys_are_shown_as_people_read_them():
    assert [shown(k) for k in ("question_mark", "ctrl+p", "f5,r", "slash")] == ["?", "^p", "f5", "/"]


async def test_a_terminal_that_is_slow_gets_fewer_pictures_and_then_the_newest(job, monkeypatch):
    train_a_little(job)
    behind = [False]
    monkeypatch.setattr(app_module, "terminal_is_behind", lambda: behind[0])
    async with Console(job.workspace).run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "120 of 500 steps" in text(pilot))
        behind[0] = True
        job.emit("progress", "train", done=130, total=500, unit="steps", rate=10.0, remaining_seconds=37.0)
        await until(pilot, lambda: pilot.app.snapshot is not None and pilot.app.snapshot.stage.done == 130)
        assert "130 of 500 steps" not in text(pilot)
        behind[0] = False
        await until(pilot, lambda: "130 of 500 steps" in text(pilot))


def test_at_80_columns_every_tab_is_whole_and_the_keys_of_the_job_come_before_those_of_the_chart():
    for entry in SCREENS:
        tabs = "".join(span[0] for span in frame.tabs(entry.name, 80))
        assert tabs.split() == [word for e in SCREENS for word in (e.key, e.label)]
        assert len(tabs) <= 80
        narrow = "".join(span[0] for span in frame.tabs(entry.name, 50))
        assert narrow.split() == [word for e in SCREENS for word in ((e.key, e.label) if e == entry else (e.key,))]
    row = frame.keys_row(on_screen(KEYS, "dashboard", False), 80, False, True, False)
    shown_keys = "".join(span[0] for span in row)
    assert all(f" {key} " in shown_keys for key in ("s stop", "p pause", "k checkpoint", "? help", "q quit"))
    assert "zoom" not in shown_keys


async def test_help_begins_with_the_screen_on_which_one_asks(job):
    async with Console(job.workspace).run_test(size=(120, 40)) as pilot:
        await pilot.press("7", "question_mark")
        await pilot.pause()
        assert pilot.app.screen._text.startswith("logs\n")


def test_a_terminal_that_nobody_reads_is_behind_until_it_is_read():
    master, slave = pty.openpty()
    try:
        assert not terminal_is_behind(slave)
        writer = threading.Thread(target=os.write, args=(slave, b"x" * 1_000_000), daemon=True)
        writer.start()
        deadline = time.monotonic() + 20
        while not terminal_is_behind(slave):
            assert time.monotonic() < deadline, "a write that cannot go on went unseen"
            time.sleep(0.01)
        read = 0
        while read < 1_000_000:
            read += len(os.read(master, 65536))
        writer.join(20)
        assert not terminal_is_behind(slave)
    finally:
        os.close(master)
        os.close(slave)
