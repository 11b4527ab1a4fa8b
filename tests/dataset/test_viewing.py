"""A window as a person looks at it: the stored one with its beats, the rejected one as recorded."""

from __future__ import annotations

import shutil
from contextlib import nullcontext

import numpy as np
import pyarrow.parquet as pq
import pytest

from ecgconsole.config import resolve
from ecgconsole.dataset import Dataset
from ecgconsole.dataset.build import run
from ecgconsole.dataset.viewing import describe_reason, reason_text, recorded_window, stored_window
from ecgconsole.signals.reasons import Reason
from ecgconsole.stage import Reporter, Stop
from ecgconsole.workspace import Workspace


@pytest.fixture(scope="module")
def built(cohort, worker, tmp_path_factory):
    """The cohort's dataset, built once. Read-only by convention."""
    out = tmp_path_factory.mktemp("built")
    settings = [f"data.waveform_dir={cohort / 'waveforms'}", "build.shard_patients=4", "build.num_workers=1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ecgconsole.dataset.build.start_workers", lambda *_: nullcontext(worker))
        config = resolve(overrides=settings, environment={}).config
        run(config, Workspace(out), Reporter("build", lambda event: None), Stop())
    return out


def rejected_windows(built):
    rows = pq.read_table(built / "rejected.parquet").to_pylist()
    return [r for r in rows if r["level"] == "window"]


def test_a_stored_segment_has_the_beats_that_its_stored_heart_rate_was_made_of(built):
    with Dataset(built / "full_dataset.h5") as dataset:
        rates = dataset.column("rhythm/heart_rate_bpm")
        rows = np.flatnonzero(np.isfinite(rates))[::5]
        found = []
        for row in rows:
            window = stored_window(dataset, int(row))
            assert (np.diff(window.ecg.beats_s) > 0.2).all()
            found.append(60 / np.diff(window.ecg.beats_s).mean())
        assert len(rows) > 30
        # Borders differ: a beat within a few milliseconds of the edge may be on either side.
        assert np.median(np.abs(found - rates[rows])) < 0.1
        assert np.mean(np.abs(found - rates[rows]) < 3) > 0.95


def test_a_stored_segment_is_that_of_the_dataset(built):
    with Dataset(built / "full_dataset.h5") as dataset:
        row = int(np.flatnonzero(dataset.present.all(axis=1))[7])
        window = stored_window(dataset, row)
        truth = dataset.physical(slice(row, row + 1))[0]
        np.testing.assert_array_equal(window.ecg.values, truth[0])
        np.testing.assert_array_equal(window.ppg.values, truth[1])
        assert (window.ecg.unit, window.ppg.unit) == ("mV", "NU")
        assert window.columns["segment/record"] == dataset.column("segment/record")[row]
        assert window.columns["quality/ecg_noise_share"] == dataset.column("quality/ecg_noise_share")[row]
        lone = np.flatnonzero(~dataset.present[:, 1])
        if len(lone):
            assert stored_window(dataset, int(lone[0])).ppg is None
        with pytest.raises(IndexError):
            stored_window(dataset, dataset.n_segments)


def test_a_rejected_window_shows_what_was_recorded_there(built):
    with Dataset(built / "full_dataset.h5") as dataset:
        parameters = dataset.parameters
    flat = [r for r in rejected_windows(built) if r["ecg_reason"] == Reason.DISCONNECTED]
    assert flat
    for row in flat[:3]:
        window = recorded_window(parameters, row["record"], row["start_seconds"])
        assert window.problem is None
        assert len(window.ecg.values) == round(10 * window.ecg.sampling_rate_hz)
        still = np.diff(window.ecg.values) == 0
        assert still.mean() > 0.4


def test_gaps_in_a_recording_stay_open(built):
    with Dataset(built / "full_dataset.h5") as dataset:
        parameters = dataset.parameters
    holed = [r for r in rejected_windows(built) if Reason.MISSING_SAMPLES in (r["ecg_reason"], r["ppg_reason"])]
    assert holed
    row = holed[0]
    window = recorded_window(parameters, row["record"], row["start_seconds"])
    trace = window.ecg if row["ecg_reason"] == Reason.MISSING_SAMPLES else window.ppg
    assert trace is None or np.isnan(trace.values).any()


def test_beyond_the_end_of_a_record_there_is_nothing_and_it_says_so(built):
    with Dataset(built / "full_dataset.h5") as dataset:
        parameters, record = dataset.parameters, str(dataset.column("segment/record", slice(0, 1))[0])
    window = recorded_window(parameters, record, 1e6)
    assert (window.ecg, window.ppg) == (None, None)
    assert "no sample" in window.problem


def test_recordings_that_are_gone_are_said_to_be_gone_without_naming_anybody(built, own_cohort):
    with Dataset(built / "full_dataset.h5") as dataset:
        record = str(dataset.column("segment/record", slice(0, 1))[0])
        parameters = dataset.parameters
    parameters["data"]["waveform_dir"] = str(own_cohort / "waveforms")
    (own_cohort / "waveforms" / f"{record}.hea").unlink()
    problem = recorded_window(parameters, record, 0.0).problem
    assert "header" in problem
    assert record.rsplit("/", 1)[-1] not in problem
    shutil.rmtree(own_cohort / "waveforms")
    assert "not there" in recorded_window(parameters, record, 0.0).problem


def test_every_reason_has_words():
    assert reason_text(13).startswith("noise: ")
    assert "patient" in describe_reason("too-few-segments")
    assert describe_reason("unheard-of") == ""
