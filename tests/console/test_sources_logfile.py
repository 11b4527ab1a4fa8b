"""Lines of a log, read from anywhere in it, are those that reading it whole would give."""

from __future__ import annotations

import builtins
import re
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgconsole.console.sources import logfile
from ecgconsole.console.sources.logfile import (
    Filter,
    level_of,
    lines_after,
    lines_before,
    log_files,
    pattern_of,
    place_of_time,
)
from ecgconsole.text import sanitise
from ecgconsole.workspace import Workspace


def yes() -> bool:
    return True


def whole(raw: bytes) -> list[tuple[int, int, str]]:
    """The complete lines of a small file, with their places."""
    found, start = [], 0
    for line in raw.split(b"\n")[:-1]:
        found.append((start, start + len(line) + 1, sanitise(line.decode(errors="replace"))))
        start += len(line) + 1
    return found


def as_tuples(lines):
    return [(line.start, line.end, line.text) for line in lines]


lines_of_bytes = st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"?")), max_size=20)


@given(lines_of_bytes, st.binary(max_size=10).map(lambda b: b.replace(b"\n", b"?")), st.integers(1, 30), st.data())
def test_forwards_and_backwards_see_the_same_lines(tmp_path_factory, lines, torn, piece, data):
    path = tmp_path_factory.mktemp("log") / "a.log"
    raw = b"".join(line + b"\n" for line in lines) + torn
    path.write_bytes(raw)
    truth = whole(raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logfile, "PIECE_BYTES", piece)
        count = data.draw(st.integers(0, 25))
        at = data.draw(st.sampled_from([0, len(raw), *(end for _, end, _ in truth)]))
        before = [t for t in truth if t[1] <= at]
        assert (
            as_tuples(lines_before(path, at, count, Filter(), yes)) == before[len(before) - min(count, len(before)) :]
        )
        found, ended = lines_after(path, min(at, len(raw) - len(torn)), count, Filter(), yes)
        expected = [t for t in truth if t[0] >= min(at, len(raw) - len(torn))][:count]
        assert as_tuples(found) == expected
        assert ended == (expected[-1][1] if expected else min(at, len(raw) - len(torn)))


def test_the_end_of_a_large_file_is_read_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "large.log"
    with path.open("wb") as file:
        file.seek(20_000_000_000)
        file.write(b"\n" + b"".join(b"line %d\n" % i for i in range(10_000)))
    read = []
    opened = builtins.open

    def counting(*args, **kwargs):
        file = opened(*args, **kwargs)
        of_file = file.read
        file.read = lambda n=-1: read.append(n) or of_file(n)
        return file

    monkeypatch.setattr("pathlib.io.open", counting)
    lines = lines_before(path, path.stat().st_size, 40, Filter(), yes)
    assert [line.text for line in lines] == [f"line {i}" for i in range(9960, 10_000)]
    assert 0 < sum(read) <= logfile.PIECE_BYTES


def test_a_line_of_a_megabyte_without_newline_is_shown_by_its_beginning(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b"first\n" + b"x" * 1_000_000 + b"\nlast\n" + b"y" * 1_000_000)
    lines = lines_before(path, path.stat().st_size, 10, Filter(), yes)
    assert [line.text[:5] for line in lines] == ["first", "xxxxx", "last"]
    assert "1,000,001 bytes" in lines[1].text
    assert len(lines[1].text) < 5000
    assert as_tuples(lines_after(path, 0, 10, Filter(), yes)[0]) == as_tuples(lines)


def test_escapes_and_what_is_no_text_are_made_harmless(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b"\x1b]52;c;aGk=\x07see [/bin/bash -c] \xff\xfe \x1b[2Jend\n")
    line = lines_before(path, path.stat().st_size, 1, Filter(), yes)[0]
    assert line.text.startswith("see [/bin/bash -c] ")
    assert "\x1b" not in line.text


def test_filters(tmp_path):
    path = tmp_path / "a.log"
    rows = ["2026-11-24T10:00:00Z INFO  train run=1 an error rate of 0.1", "2026-11-24T10:00:01Z WARN  train run=1 b",
            "2026-11-24T10:00:02Z ERROR train run=1 c",
            "Traceback (most recent call last):", "plain words"]  # fmt: skip
    path.write_text("".join(row + "\n" for row in rows))
    end = path.stat().st_size

    def texts(wanted):
        return [line.text[-1] for line in lines_before(path, end, 9, wanted, yes)]

    assert texts(Filter("WARN")) == ["b", "c", ":"]
    assert texts(Filter("ERROR")) == ["c", ":"]
    assert texts(Filter(pattern=pattern_of("RUN=1 [bc]"))) == ["b", "c"]
    assert [line.text[-1] for line in lines_after(path, 0, 1, Filter("ERROR"), yes)[0]] == ["c"]
    assert pattern_of("") is None
    with pytest.raises(re.error):
        pattern_of("(")
    assert level_of(b"UserWarning: x") == "INFO"
    assert level_of(b"FutureWarning: warning: x") == "WARN"


def test_a_search_that_takes_long_can_be_ended(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b"nothing here\n" * 200_000)
    asked = []

    def go_on() -> bool:
        asked.append(1)
        return len(asked) < 3

    wanted = Filter(pattern=pattern_of("never"))
    assert lines_before(path, path.stat().st_size, 1, wanted, go_on) == []
    assert len(asked) == 3
    asked.clear()
    _, ended = lines_after(path, 0, 1, wanted, go_on)
    assert ended < path.stat().st_size


@pytest.mark.parametrize("gap", [0, 7, 400])
def test_the_place_of_a_time_is_its_first_line(tmp_path, gap):
    """Lines without a time, as many as ``gap`` between two with one, belong to the line before them."""
    path = tmp_path / "a.log"
    begin = datetime(2026, 11, 24, 10)
    rows = []
    for i in range(300):
        rows.append(f"{(begin + timedelta(seconds=10 * i)).isoformat()}Z INFO  a run=1 number {i}")
        rows += ["  more of it"] * (gap if i % 50 == 7 else 0)
    path.write_text("".join(row + "\n" for row in rows))
    raw = path.read_bytes()

    def line_at(when: datetime) -> bytes:
        return raw[place_of_time(path, when) :].split(b"\n")[0]

    for i in (0, 1, 7, 8, 57, 58, 150, 299):
        exact = begin + timedelta(seconds=10 * i)
        assert line_at(exact).endswith(f"number {i}".encode())
        assert line_at(exact - timedelta(seconds=3)).endswith(f"number {i}".encode())
    assert place_of_time(path, begin + timedelta(days=1)) == len(raw)
    assert place_of_time(path, begin - timedelta(days=1)) == 0


def test_files_of_a_folder(tmp_path):
    workspace = Workspace(tmp_path)
    assert log_files(workspace) == []
    workspace.log.write_text("a\n")
    (tmp_path / "production.log.1").write_text("b\n")
    for _ in range(2):
        workspace.new_run().engine_log.write_text("c\n")
    names = [str(path.relative_to(tmp_path)) for path in log_files(workspace)]
    assert names == ["production.log", "production.log.1", "runs/0002/engine.log", "runs/0001/engine.log"]
