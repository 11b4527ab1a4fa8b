from __future__ import annotations

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgconsole.jobs.events import EventReader, EventWriter, sanitised

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def test_numbers_have_no_holes_and_each_event_is_one_line(tmp_path):
    writer = EventWriter(tmp_path / "events.jsonl")
    for n in range(5):
        writer.write({"kind": "x", "text": f"two\nlines {n}"})
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [0, 1, 2, 3, 4]
    assert json.loads(lines[1])["text"] == "two lines 1"


@settings(max_examples=40, deadline=None)
@given(events=st.lists(st.dictionaries(st.text(max_size=8), JSON, max_size=4), max_size=6), cuts=st.data())
def test_a_reader_sees_each_event_once_however_the_file_grows(tmp_path_factory, events, cuts):
    path = tmp_path_factory.mktemp("grow") / "events.jsonl"
    data = b"".join(json.dumps(e).encode() + b"\n" for e in events)
    places = [*sorted(cuts.draw(st.lists(st.integers(0, len(data)), max_size=6))), len(data)]
    reader, seen, before = EventReader(path), [], 0
    for place in places:
        with path.open("ab") as file:
            file.write(data[before:place])
        before = place
        while batch := reader.read_new(cuts.draw(st.integers(1, 40))):
            seen += batch
    assert seen == events


def test_a_torn_last_line_is_left_until_it_is_complete(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"seq": 0}\n{"se')
    reader = EventReader(path)
    assert reader.read_new() == [{"seq": 0}]
    assert reader.read_new() == []
    with path.open("ab") as file:
        file.write(b'q": 1}\n')
    assert reader.read_new() == [{"seq": 1}]


def test_a_writer_after_a_kill_begins_on_a_line_of_its_own(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"torn": ')
    EventWriter(path).write({"kind": "x"})
    assert [e["kind"] for e in EventReader(path).read_new()] == ["x"]


def test_a_number_is_used_again_when_its_line_could_not_be_written(tmp_path, monkeypatch):
    path = tmp_path / "events.jsonl"
    writer = EventWriter(path)
    writer.write({"kind": "a"})
    write, room = os.write, [10]

    def full_disk(fd: int, data: bytes) -> int:
        if room[0] <= 0:
            raise OSError(28, "No space left on device")
        n = write(fd, data[: room[0]])
        room[0] -= n
        return n

    monkeypatch.setattr(os, "write", full_disk)
    with pytest.raises(OSError, match="No space"):
        writer.write({"kind": "b"})
    room[0] = 10_000
    writer.write({"kind": "c"})
    assert [(e["seq"], e["kind"]) for e in EventReader(path).read_new()] == [(0, "a"), (1, "c")]


def test_an_event_file_that_does_not_exist_is_empty(tmp_path):
    assert EventReader(tmp_path / "none").read_new() == []


def test_every_text_of_an_event_is_sanitised_at_any_depth():
    event = {"a": "\x1b]52;c;x\x07ok", "b": [{"\x1b[31mkey": "[/bin/bash -c]"}], "n": 1.5, "t": ("\u202e",)}
    assert sanitised(event) == {"a": "ok", "b": [{"key": "[/bin/bash -c]"}], "n": 1.5, "t": ["\ufffd"]}
