"""Metrics come out of event files as JSON would give them, in whatever pieces they are written."""

from __future__ import annotations

import json
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgconsole.console.sources.metrics import MetricReader
from ecgconsole.jobs.events import EventWriter

numbers = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**9), 10**9))
names = st.sampled_from(["train_loss", "val_loss", "grad norm", "a/b", "kNN@5", 'quo"te', "ümlaut", "kind"])
metrics = st.lists(st.dictionaries(names, numbers, min_size=0, max_size=4), max_size=25)


def slowly(path) -> dict[str, list[tuple[float, float, float]]]:
    """The same by JSON, line by line."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for line in path.read_bytes().split(b"\n"):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event.get("kind") == "metric":
            for name, value in event["values"].items():
                number = math.nan if value is None else float(value)
                found.setdefault(name, []).append((event["step"], event["epoch"], number))
    return found


def as_read(reader: MetricReader) -> dict[str, list[tuple[float, float, float]]]:
    return {n: list(zip(c.step, c.epoch, c.value, strict=True)) for n, c in reader.series.items()}


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(
        np.array_equal(np.array(sorted(a[n])), np.array(sorted(b[n])), equal_nan=True) for n in a
    )


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
    monkeypatch.setattr("ecgconsole.console.sources.metrics.json.loads", lambda raw: decoded.append(raw) or {})
    reader = MetricReader(path)
    reader.read_new()
    assert len(reader.series["learning_rate"].value) == 400_000
    assert decoded == []
