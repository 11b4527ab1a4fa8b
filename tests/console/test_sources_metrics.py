"""Metrics come out of event files as JSON would give them, in whatever pieces they are written."""

from __future__ import annotations

import json
import math
from datetime import datetime

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgconsole.console.sources.metrics import MetricReader
from ecgconsole.jobs.events import EventWriter

numbers = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**9), 10**9))
names = st.sampled_from(
    ["train_loss", "val_loss", "grad norm", "a/b", "kNN@5", "kNN@50", "l1", "l2", "s", "se", "e-", "E", "a:b", "a,b",
     "x: null", 'quo"te', "ümlaut", "kind", "{"]
)  # fmt: skip
metrics = st.lists(st.dictionaries(names, numbers, min_size=0, max_size=4), max_size=25)
# Metrics as another writer may have them: other keys, another order, another form of numbers, or none at all.
HEAD = '{"seq": 1, "time": "2026-11-24T10:01:39.123Z", "kind": "metric", "stage": "train", '
ODD_LINES = [
    *(HEAD + '"step": 1, "epoch": 1, "values": {"s": ' + number + "}}"
      for number in ("1e5", "1E5", "1e+16", "-0.0", "NaN", "1e999", "1.2.3", "--1", "", "01", "true", '"4"',
                     '5, "s": 6')),
    HEAD + '"step": 1, "epoch": 1, "values": {"s": 2}, "more": 3}',
    HEAD + '"step": 1, "epoch": 1, "values": {"s": 2',
    HEAD + '"step": 1, "epoch": 1, "values": "none"}',
    HEAD + '"step": 1, "epoch": 1, "values": {}}',
    HEAD + '"epoch": 1, "step": 1, "values": {"s": 2}}',
    HEAD.replace("train", "embed") + '"step": 1, "epoch": 1, "values": {"s": 2}}',
    HEAD.replace("39.123", "39.1234567") + '"step": 1, "epoch": 1, "values": {"s": 2}}',
    HEAD.replace("39", "xx") + '"step": 1, "epoch": 1, "values": {"s": 2}}',
    HEAD.replace(" ", "") + '"step":1,"epoch":1,"values":{"s":2}}',
    '{"kind": "metric", "values": {"se": 3, "s": 2}, "epoch": 7, "step": 5, "time": "2026-11-24T10:01:39Z"}',
    '{"kind": "metric"}', "[]", "null", "",
]  # fmt: skip


def slowly(path) -> dict[str, list[tuple[float, float, float]]]:
    """The same by JSON, line by line."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for line in path.read_bytes().split(b"\n"):
        try:
            event = json.loads(line)
            datetime.fromisoformat(event["time"])
            if event["kind"] != "metric":
                continue
            place = float(event["step"]), float(event["epoch"])
            values = {name: math.nan if v is None else float(v) for name, v in event["values"].items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        for name, value in values.items():
            found.setdefault(name, []).append((*place, math.nan if math.isinf(value) else value))
    return found


def as_read(reader: MetricReader) -> dict[str, list[tuple[float, float, float]]]:
    return {n: list(zip(c.step, c.epoch, c.value, strict=True)) for n, c in reader.series.items()}


def same(a, b) -> bool:
    """In the file's order, to the bit."""
    return a.keys() == b.keys() and all(np.array_equal(np.array(a[n]), np.array(b[n]), equal_nan=True) for n in a)


@settings(max_examples=60)
@given(metrics, st.lists(st.integers(1, 400), max_size=6))
def test_any_metrics_in_any_pieces_are_those_of_json(tmp_path_factory, values, cuts):
    folder = tmp_path_factory.mktemp("events")
    writer = EventWriter(folder / "whole.jsonl")
    for step, found in enumerate(values):
        writer.write({"kind": "progress", "stage": "train", "done": step, "text": '"kind": "metric" in a text'})
        writer.write({"kind": "metric", "stage": "train", "step": step, "epoch": step // 3, "values": found})
    writer.close()
    whole = (folder / "whole.jsonl").read_bytes()
    path = folder / "grows.jsonl"
    reader = MetricReader(path)
    reader.read_new()
    written = 0
    for cut in [*cuts, len(whole)]:
        piece = whole[written : written + cut]
        with path.open("ab") as file:
            file.write(piece)
        written += len(piece)
        reader.read_new()
    assert same(as_read(reader), slowly(path))


@settings(max_examples=60)
@given(st.lists(st.sampled_from([*ODD_LINES, HEAD + '"step": 1, "epoch": 1, "values": {"s": 2.5e-05}}']), max_size=30))
def test_lines_of_any_other_writer_are_read_as_json_reads_them(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("odd") / "events.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    reader = MetricReader(path)
    reader.read_new()
    assert same(as_read(reader), slowly(path))


def test_events_come_in_order_without_what_only_a_chart_shows(tmp_path):
    path = tmp_path / "events.jsonl"
    writer = EventWriter(path)
    writer.write({"kind": "run_started", "stage": None, "stages": ["build"]})
    writer.write({"kind": "progress", "stage": "build", "done": 1, "unit": "patients"})
    for step in range(1, 7):
        writer.write({"kind": "metric", "stage": "train", "step": step, "epoch": 1, "values": {"train_loss": 1.0}})
        writer.write({"kind": "progress", "stage": "train", "done": step, "unit": "steps"})
        if step % 3 == 0:
            writer.write({"kind": "metric", "stage": "train", "step": step, "epoch": 1, "values": {"val_loss": 2.0}})
            writer.write({"kind": "warning", "stage": "train", "code": "x", "message": '"kind": "metric"'})
    reader = MetricReader(path, with_events=True)
    assert len(reader.take_new()["train_loss"].step) == 6
    kept = reader.take_events()
    assert [e["kind"] for e in kept] == ["run_started", "progress", "metric", "warning", "metric", "warning"]
    assert kept[2]["values"] == {"val_loss": 2.0}
    assert kept[2]["stage"] == "train"
    assert reader.take_events() == []


def test_what_a_kill_tore_is_passed_over_and_a_file_that_shrank_is_another(tmp_path):
    path = tmp_path / "events.jsonl"
    writer = EventWriter(path)
    for step in range(3):
        writer.write({"kind": "metric", "stage": "train", "step": step, "epoch": 1, "values": {"train_loss": 1.0}})
    with path.open("ab") as file:
        file.write(b'{"seq": 3, "time": "2026-11-24T10:01:39.123Z", "kind": "metric", "stage": "tr')
    reader = MetricReader(path)
    assert reader.read_new()
    assert list(reader.series["train_loss"].step) == [0, 1, 2]
    again = EventWriter(path)
    again.write({"kind": "metric", "stage": "train", "step": 9, "epoch": 1, "values": {"train_loss": 2.0}})
    assert reader.read_new()
    assert not reader.read_new()
    assert list(reader.series["train_loss"].step) == [0, 1, 2, 9]
    path.write_text("")
    writer = EventWriter(path)
    writer.write({"kind": "metric", "stage": "train", "step": 7, "epoch": 1, "values": {"val_loss": 2.0}})
    reader.read_new()
    assert list(reader.series) == ["val_loss"]


def test_axes(tmp_path):
    path = tmp_path / "events.jsonl"
    lines = [
        {"seq": s, "time": f"2026-11-24T{10 + s // 4}:{15 * (s % 4):02d}:00.000Z", "kind": "metric", "stage": "train",
         "step": 10 * (s + 1), "epoch": s // 4 + 1, "values": {"train_loss": float(s)}}
        for s in range(8)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    reader = MetricReader(path)
    reader.read_new()
    columns = reader.series["train_loss"]
    np.testing.assert_array_equal(columns.over("step")[0], np.arange(10, 90, 10))
    np.testing.assert_allclose(columns.over("time")[0], np.arange(8) / 4)
    epochs, values = columns.over("epoch")
    np.testing.assert_allclose(epochs[[3, 7]], [1, 2])
    np.testing.assert_allclose(np.diff(epochs[3:]), 0.25)
    assert (np.diff(epochs) > 0).all()
    np.testing.assert_array_equal(values, np.arange(8.0))


def test_an_absent_file_is_an_empty_one(tmp_path):
    reader = MetricReader(tmp_path / "none.jsonl")
    assert not reader.read_new()
    assert reader.series == {}


def test_400_000_metrics_are_read_without_decoding_each_as_json(tmp_path, monkeypatch):
    """What is measured in seconds stands in benchmarks/console.py; here it is counted."""
    path = tmp_path / "events.jsonl"
    line = (
        '{"seq": %d, "time": "2026-11-24T10:01:39.123Z", "kind": "metric", "stage": "train", "step": %d, "epoch": 1, '
        '"values": {"train_loss": 1.25, "learning_rate": 0.0003}}\n'
    )
    path.write_text("".join(line % (i, i) for i in range(400_000)))
    decoded = []
    by_json = json.loads
    monkeypatch.setattr(
        "ecgconsole.console.sources.metric_lines.json.loads", lambda raw: decoded.append(raw) or by_json(raw)
    )
    reader = MetricReader(path)
    reader.read_new()
    assert len(reader.series["learning_rate"].value) == 400_000
    assert len(decoded) < 1000  # one of each block, for its names
