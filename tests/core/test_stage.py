"""What stages say and what they hear."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from ecgconsole.errors import ConfigurationError, ExitCode, Stopped, error_of
from ecgconsole.stage import STAGES, Reporter, Stop
from ecgconsole.workspace import Workspace


def test_numbers_that_json_has_not_become_null():
    events = []
    Reporter("train", events.append).metric(
        3, 1, {"train_loss": float("nan"), "val_loss": np.float32(2), "rank": np.int64(4), "x": float("inf")}
    )
    assert events == [
        {
            "kind": "metric",
            "stage": "train",
            "step": 3,
            "epoch": 1,
            "values": {"train_loss": None, "val_loss": 2.0, "rank": 4, "x": None},
        }
    ]


def test_the_rate_counts_from_where_a_resumed_stage_began(monkeypatch):
    clock = iter([100.0, 110.0])
    monkeypatch.setattr("ecgconsole.stage.time.monotonic", lambda: next(clock))
    events = []
    reporter = Reporter("build", events.append)
    reporter.progress(90, 200, "patients")
    reporter.progress(100, 200, "patients")
    assert events[0]["rate"] is None
    assert (events[1]["rate"], events[1]["remaining_seconds"]) == (1.0, 100.0)


def test_a_pause_holds_until_resumed_and_a_stop_ends_it():
    for release in (Stop.resume, Stop.request):
        stop = Stop()
        stop.pause()
        waiting = threading.Thread(target=stop.wait_while_paused, daemon=True)
        waiting.start()
        waiting.join(0.05)
        assert waiting.is_alive()
        release(stop)
        waiting.join(5)
        assert not waiting.is_alive()


def test_a_checkpoint_request_is_answered_once():
    stop = Stop()
    stop.request_checkpoint()
    assert stop.checkpoint_requested()
    assert not stop.checkpoint_requested()


def test_a_stop_says_what_is_saved():
    stop = Stop()
    stop.raise_if_requested("nothing")
    stop.request()
    with pytest.raises(Stopped, match="12 of 40 shards"):
        stop.raise_if_requested("12 of 40 shards")


def test_stages_come_after_what_they_need_and_name_real_outputs(tmp_path):
    seen: set[str] = set()
    for stage in STAGES:
        assert set(stage.after) <= seen
        seen.add(stage.name)
        for output in stage.outputs:
            assert getattr(Workspace(tmp_path), output).is_relative_to(tmp_path)


def test_an_exit_code_finds_its_error():
    assert isinstance(error_of(2, "x"), ConfigurationError)
    assert isinstance(error_of(130, "x"), Stopped)
    assert error_of(1, "x").exit_code is ExitCode.STAGE_FAILED
