"""The console in a real terminal on a real job: whatever happens to the terminal, the job goes on."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest
import torch

from ecgconsole.config import resolve
from ecgconsole.jobs.done import read_records
from ecgconsole.jobs.events import EventReader
from ecgconsole.jobs.state import read_snapshot
from ecgconsole.workspace import Workspace
from tests.e2e.conftest import SMALL


class Terminal:
    """A pseudo-terminal with ``ecgconsole ARGUMENTS`` on it."""

    def __init__(
        self, commands, *arguments: object, columns: int = 120, rows: int = 40, no_hangup: bool = False
    ) -> None:
        """``no_hangup``: it ignores SIGHUP, as what ``nohup`` starts."""
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.text = ""
        environment = {k: v for k, v in commands.environment.items() if k != "NO_COLOR"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ecgconsole", *map(str, arguments)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: _in_the_child(no_hangup),
            env={
                **environment,
                "TERM": "xterm-256color",
                "XDG_STATE_HOME": f"{commands.mark}/state",
                "XDG_CONFIG_HOME": f"{commands.mark}/config",
            },
        )
        os.close(slave)
        self._read = threading.Event()
        self._read.set()
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        """As a terminal does, unless told not to."""
        while True:
            self._read.wait()
            try:
                if select.select([self.master], [], [], 0.1)[0]:
                    self.text += os.read(self.master, 65536).decode(errors="replace")
            except (OSError, ValueError):  # closed, on this side or the other
                return

    def stop_reading(self) -> None:
        self._read.clear()

    def read_again(self) -> None:
        self._read.set()

    def wait_for(self, pattern: str, seconds: float = 60) -> None:
        """Waits until the bytes that came, escapes left out, match."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.text)):
            assert time.monotonic() < deadline, f"{pattern} never came; last:\n{self.text[-3000:]}"
            time.sleep(0.1)

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())
        time.sleep(0.3)

    def forget(self) -> None:
        """What comes from now on is what ``wait_for`` looks at."""
        self.text = ""

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.kill(self.process.pid, signal.SIGWINCH)
        time.sleep(0.5)

    def close(self) -> None:
        os.close(self.master)
        self.process.wait(30)


def _in_the_child(no_hangup: bool) -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN if no_hangup else signal.SIG_DFL)


def training(cohort: Path, out: Path, epochs: int) -> tuple[object, ...]:
    return ("-o", out, *SMALL, "--set", f"data.waveform_dir={cohort / 'waveforms'}",
            "--set", f"training.num_epochs={epochs}")  # fmt: skip


def until_ended(out: Path, seconds: float = 240) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        snapshot = read_snapshot(Workspace(out))
        if snapshot is not None and not snapshot.alive:
            return snapshot.status
        time.sleep(0.2)
    raise AssertionError(f"the job did not end within {seconds} s")


def sequence(out: Path) -> list[int]:
    reader = EventReader(Workspace(out).run("0001").events)
    events = []
    while batch := reader.read_new():
        events += batch
    return [e["seq"] for e in events]


def test_without_a_terminal_the_console_says_what_to_do(commands, tmp_path):
    done = commands.run("-o", tmp_path, exit_code=2)
    assert "--no-tui" in done.stderr or "terminal" in done.stderr
    assert done.stdout == ""


def test_run_opens_the_console_and_its_keys_stop_the_job(commands, cohort, tmp_path):
    out = tmp_path / "a folder with spaces"
    terminal = Terminal(commands, "run", *training(cohort, out, epochs=500), columns=80, rows=24)
    terminal.wait_for(r"of [\d,]+ steps")
    terminal.press("s")
    terminal.wait_for("Stop the job after the unit in hand")
    terminal.press("y")
    assert until_ended(out) == "stopped"
    terminal.wait_for("■ stopped")
    terminal.press("q")
    assert terminal.process.wait(20) == 0
    assert Workspace(out).latest_checkpoint.is_file()
    assert commands.none_left()
    terminal.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", ["terminal closed", "terminal of a nohup closed", "console killed", "terminal not read"]
)
def test_the_job_does_not_notice_what_happens_to_its_terminal(commands, cohort, tmp_path, how):
    out = tmp_path / "out"
    terminal = Terminal(commands, "run", *training(cohort, out, epochs=6), no_hangup="nohup" in how)
    terminal.wait_for(r"of [\d,]+ steps")
    if how.startswith("terminal") and how.endswith("closed"):
        terminal.close()  # and waits until the console has ended
    elif how == "console killed":
        os.kill(terminal.process.pid, signal.SIGKILL)
        terminal.process.wait(30)
    else:
        terminal.stop_reading()
    assert until_ended(out) == "done"
    seen = sequence(out)
    assert seen == list(range(len(seen)))
    if how == "terminal not read":
        terminal.process.kill()
    again = Terminal(commands, "--read-only", "-o", out)
    again.wait_for("✔ done")
    again.wait_for("read-only")
    again.press("sySy")
    again.press("q")
    assert again.process.wait(20) == 0
    again.close()


@pytest.mark.slow
def test_a_minute_unread_costs_neither_the_job_nor_the_console_anything(commands, cohort, tmp_path):
    out = tmp_path / "out"
    terminal = Terminal(commands, "run", *training(cohort, out, epochs=5000))
    terminal.wait_for(r"[1-9][\d,]* of [\d,]+ steps")
    terminal.stop_reading()
    time.sleep(1)  # what was being read is over
    unread_from, came = len(sequence(out)), len(terminal.text)
    begun = time.monotonic()
    written = []
    while time.monotonic() - begun < 60:
        time.sleep(10)
        written.append(len(sequence(out)))
    assert len(terminal.text) == came
    assert written[0] > unread_from
    assert written == sorted(set(written)), f"events in each ten seconds: {written}"
    terminal.read_again()
    terminal.forget()
    commands.run("pause", "-o", out)
    terminal.wait_for("paused")
    commands.run("stop", "-o", out)
    assert until_ended(out) == "stopped"
    seen = sequence(out)
    assert seen == list(range(len(seen)))
    terminal.wait_for("■ stopped")
    terminal.press("q")
    assert terminal.process.wait(20) == 0
    terminal.close()
    assert commands.none_left()


@pytest.mark.slow
def test_two_consoles_and_a_command_steer_one_job(commands, cohort, tmp_path):
    out = tmp_path / "out"
    first = Terminal(commands, "run", *training(cohort, out, epochs=500))
    first.wait_for(r"of [\d,]+ steps")
    second = Terminal(commands, "-o", out, columns=80, rows=24)
    second.wait_for(r"of [\d,]+ steps")
    second.press("p")
    first.wait_for("paused")
    commands.run("resume", "-o", out)
    second.wait_for("running")
    commands.run("checkpoint-now", "-o", out)
    commands.run("stop", "-o", out)
    assert until_ended(out) == "stopped"
    first.wait_for("■ stopped")
    assert json.loads((out / "latest_checkpoint.json").read_text())["step"] > 0
    first.close()
    second.close()
    assert commands.none_left()


@pytest.mark.parametrize("no_hangup", [False, True])
def test_a_console_ends_with_its_terminal(commands, tmp_path, no_hangup):
    terminal = Terminal(commands, "-o", tmp_path, no_hangup=no_hangup)
    terminal.wait_for("dashboard")
    terminal.close()
    assert terminal.process.returncode == -signal.SIGHUP
    assert commands.none_left()


def test_without_a_folder_ever_opened_it_asks_for_one(commands, tmp_path):
    terminal = Terminal(commands, columns=80, rows=24)
    terminal.wait_for("output folder: one that exists is opened")
    terminal.press("\x1b")
    assert terminal.process.wait(20) == 0
    terminal.close()


def test_hostile_log_lines_and_any_size_harm_neither_terminal_nor_console(commands, tmp_path):
    out = tmp_path / "out"
    (out / "runs" / "0001").mkdir(parents=True)
    evil = "2026-11-24T10:01:39Z INFO  build run=0001 see \x1b]52;c;aGVsbG8=\x07 [/bin/bash -c] [bold]\n"
    (out / "production.log").write_text(evil * 5 + "x" * 1_000_000)
    terminal = Terminal(commands, "attach", "--read-only", "-o", out)
    terminal.wait_for("dashboard")
    terminal.press("7")
    terminal.wait_for(re.escape("[/bin/bash -c]"))
    for columns, rows in ((50, 20), (10, 3), (200, 60), (80, 24)):
        terminal.resize(columns, rows)
    for digit in "12345678":
        terminal.press(digit)
    terminal.press("1q")
    assert terminal.process.wait(30) == 0
    assert "\x1b]52" not in terminal.text
    terminal.close()


@pytest.mark.slow
def test_steered_by_keys_alone_it_ends_with_the_weights_of_a_headless_run(commands, cohort, tmp_path):
    """Start, pause, go on, checkpoint, stop, and resume from the table of checkpoints."""
    settings = [text for text in SMALL if text != "--set"]
    settings += [f"data.waveform_dir={cohort / 'waveforms'}", "training.num_epochs=12", "training.device=cpu"]
    config = resolve(None, settings, environment={}).config
    headless, out = tmp_path / "headless", tmp_path / "by keys"
    for folder in (headless, out):
        folder.mkdir()
        (folder / "config.json").write_text(config.to_json())
    commands.run("run", "--no-tui", "--stages", "build,train", "-o", headless)

    terminal = Terminal(commands, "-o", out)
    terminal.wait_for("press r")
    terminal.press("r")
    terminal.wait_for("not done yet")
    down, space = "\x1b[B", " "
    for _ in range(2):
        terminal.press(down)
    for _ in range(5):  # embed and all after it
        terminal.press(space)
        terminal.press(down)
    terminal.wait_for("not chosen")
    terminal.press("r")
    terminal.wait_for(r"Start: build, train\?")
    terminal.press("y")
    terminal.wait_for(r"[1-9][\d,]* of [\d,]+ steps", 120)
    terminal.forget()
    terminal.press("p")
    terminal.wait_for("paused")
    terminal.forget()
    terminal.press("p")
    terminal.wait_for("running")
    terminal.press("k")
    terminal.press("s")
    terminal.wait_for("Stop the job after the unit in hand")
    terminal.press("y")
    assert until_ended(out) == "stopped"
    terminal.forget()
    terminal.press("4")
    terminal.wait_for("whole|verified")
    terminal.press("\r")
    terminal.wait_for("Train on from epoch")
    terminal.press("y")
    deadline = time.monotonic() + 240
    while "train" not in read_records(Workspace(out)):
        assert time.monotonic() < deadline, terminal.text[-3000:]
        time.sleep(0.2)
    assert Workspace(out).run_ids() == ["0001", "0002"]
    commands.run("stop", "--now", "-o", out)  # the stages after it are not asked here
    terminal.press("q")
    assert terminal.process.wait(20) == 0
    terminal.close()

    def weights(folder: Path) -> dict[str, torch.Tensor]:
        return torch.load(Workspace(folder).latest_checkpoint, weights_only=True)["model"]

    expected, found = weights(headless), weights(out)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    for run_id in Workspace(out).run_ids():
        events = EventReader(Workspace(out).run(run_id).events).read_new()
        assert [e["seq"] for e in events] == list(range(len(events)))
    assert commands.none_left()
