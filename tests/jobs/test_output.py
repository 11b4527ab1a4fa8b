"""Lines, log and displays: what people read, and that nothing in it can act on their terminal."""

from __future__ import annotations

import os
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_harness import events_of

from ecgconsole.jobs.lines import _TEXTS, Throttle, line_of, log_line
from ecgconsole.jobs.log import ProductionLog

EVIL = "\x1b]52;c;ZXZpbA==\x07 \x1b[31m[/bin/bash -c] [bold red]x[/] \u202e\r overwritten"
LOG_LINE = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (INFO |WARN |ERROR) [a-z_-]+ run=\d{4} \S.*$")


def event(second, kind="progress", **fields):
    time = f"2026-11-24T10:{second // 60:02d}:{second % 60:02d}.000Z"
    return {"seq": second, "time": time, "kind": kind, "stage": "build", **fields}


def test_every_kind_of_event_has_a_line():
    chunk = event(0, "chunk", number=3, patients=1, segments=2391, rejected={"noise": 9}, bytes=2.2e9, seconds=63)
    assert line_of(chunk) == "chunk 3: 1 patient, 2,391 segments, 9 rejected, 2.2 GB, 1 m 3 s"
    progress = event(0, done=12, total=40, unit="patients", rate=3.14159, remaining_seconds=130.0)
    assert line_of(progress) == "12 of 40 patients (30 %), 3.142 patients/s, 2 m 10 s left"
    assert line_of(event(0, done=0, total=0, unit=None, rate=None, remaining_seconds=None)) == "0 of 0 units"
    metric = event(0, "metric", epoch=1, step=18420, values={"train_loss": 1.5, "val_loss": None})
    assert line_of(metric) == "epoch 1, step 18420: train_loss 1.5, val_loss –"
    assert line_of(event(0, "something-new", a=1)) == "something-new stage=build a=1"


@given(
    kind=st.sampled_from([*_TEXTS, "other"]),
    fields=st.dictionaries(
        st.sampled_from(["done", "total", "unit", "rate", "values", "result", "rejected", "bytes", "seconds", "stages",
                         "message", "val_loss", "status", "remaining_seconds"]),
        st.none() | st.text(max_size=5) | st.integers() | st.floats() | st.lists(st.text(max_size=3), max_size=2)
        | st.dictionaries(st.text(max_size=3), st.none() | st.text(max_size=3) | st.integers(), max_size=2),
    ),
)  # fmt: skip
def test_whatever_an_event_holds_it_has_a_printable_line(kind, fields):
    assert [c for c in line_of({"kind": kind, **fields}) if unicodedata.category(c)[0] == "C"] == []


def test_between_units_there_is_one_line_in_ten_seconds():
    throttle = Throttle()
    shown = [s for s in range(0, 31) if throttle.wants(event(s, done=s, total=100))]
    assert shown == [0, 10, 20, 30]
    assert throttle.wants(event(31, done=100, total=100))
    assert throttle.wants(event(31, "chunk"))
    assert throttle.wants(event(31, "metric", values={"val_loss": 1.0}))
    assert not throttle.wants(event(32, "metric", values={"train_loss": 1.0}))


def test_the_log_has_a_fixed_format_and_no_escapes():
    line = log_line(event(1, "warning", code="odd", message=EVIL, hint="none"), "0007")
    assert line.startswith("2026-11-24T10:00:01Z WARN  build run=0007 odd: ")
    assert LOG_LINE.match(line)
    assert not set(line) & set("\x1b\x07\r\n\u202e")
    assert LOG_LINE.match(log_line({**event(1, "run_finished", status="failed", exit_code=3), "stage": None}, "0007"))


def test_a_log_is_rotated_in_place_so_that_tail_goes_on(tmp_path):
    log = ProductionLog(tmp_path / "production.log", "0001", max_bytes=500)
    with (tmp_path / "production.log").open() as tail:
        inode = os.fstat(tail.fileno()).st_ino
        for n in range(60):
            log.write(event(n, "chunk", number=n))
        assert (tmp_path / "production.log").stat().st_ino == inode
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["production.log", "production.log.1", "production.log.2", "production.log.3"]
    kept = "".join((tmp_path / n).read_text() for n in [*reversed(names[1:]), names[0]])
    numbers = [int(n) for n in re.findall(r"chunk (\d+):", kept)]
    assert numbers == list(range(numbers[0], 60))


@pytest.mark.parametrize("output", ["json", "plain", "rich"])
def test_no_output_carries_escapes_or_markup_from_the_data(start, workspace, output):
    job = start(output, "build", plan={"text": EVIL}, env={"TERM": "xterm", "COLUMNS": "200"})
    printed = job.process.stdout.read()
    assert job.wait() == 0
    assert "[/bin/bash -c] [bold red]x[/]" in printed  # shown as it is, not interpreted
    assert not set(printed) & set("\x1b\x07\r\u202e")
    assert "\\u001b" not in printed
    log = workspace.log.read_text()
    assert "[/bin/bash -c]" in log
    assert not set(log) & set("\x1b\x07\r\u202e")
    assert all(LOG_LINE.match(line) for line in log.splitlines())
    assert events_of(workspace)[-1]["status"] == "done"


@pytest.mark.parametrize("no_color", [False, True])
def test_no_color_is_honoured_on_a_terminal(start, no_color):
    main, terminal = os.openpty()
    environment = {"TERM": "xterm-256color", "COLUMNS": "120"} | ({"NO_COLOR": "1"} if no_color else {})
    job = start("auto", "build", plan={"text": "careful"}, stdout=terminal, env=environment)
    os.close(terminal)
    printed = b""
    while True:
        try:
            data = os.read(main, 4096)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        printed += data
    os.close(main)
    assert job.wait() == 0
    assert b"careful" in printed
    assert "━".encode() in printed  # a bar: auto is rich on a terminal
    colours = re.findall(rb"\x1b\[[0-9;]*3[0-9][0-9;]*m", printed)
    assert bool(colours) is not no_color
