"""One patient's windows: which are taken, how they are stored, what is said of the others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgconsole.config import Config
from ecgconsole.dataset.discovery import discover
from ecgconsole.dataset.people import Patient
from ecgconsole.dataset.segments import Rows, Tally, chart_times, evenly, patient_rows, quantise
from ecgconsole.signals.headers import read_record
from ecgconsole.signals.reasons import Reason
from ecgconsole.signals.windows import candidate_windows, extract


@given(n=st.integers(0, 500), k=st.integers(1, 600))
def test_evenly_spaced_choices_differ_in_their_gaps_by_one_at_most(n: int, k: int) -> None:
    chosen = evenly(n, k)
    assert len(chosen) == min(n, k)
    assert len(set(chosen.tolist())) == len(chosen)
    if len(chosen) > 1:
        gaps = np.diff(chosen)
        assert gaps.max() - gaps.min() <= 1
        assert chosen[0] <= gaps.max()
        assert n - 1 - chosen[-1] <= gaps.max()


def test_stored_signal_is_off_by_half_a_quantum_at_most() -> None:
    random = np.random.default_rng(0)
    signal = random.normal(0, 1, (20, 2, 1250)).astype(np.float32)
    scale = random.uniform(1e-4, 1e-2, (20, 2)).astype(np.float32)
    stored = quantise(signal, scale, np.arange(len(signal)))
    assert stored.dtype == np.int16
    off = np.abs(stored.astype(float) * scale[:, :, None].astype(float) - signal)
    # A float32 holds a signal of several volts of steps to 1e-3 of a step.
    assert (off <= scale[:, :, None] * 0.502).all()


def test_chart_times_are_iso_to_the_millisecond() -> None:
    start = datetime(2183, 4, 28, 17, 47, 59, 486000)
    assert chart_times(start, np.array([0.0, 10.0])).tolist() == [
        b"2183-04-28T17:47:59.486",
        b"2183-04-28T17:48:09.486",
    ]
    assert chart_times(None, np.array([0.0])).tolist() == [b""]


def rows_of(root: Path, patient: Patient, config: Config) -> tuple[Rows, Tally]:
    tally = Tally()
    parts = list(patient_rows(root, patient, config, tally))
    return {path: np.concatenate([p[path] for p in parts]) for path in parts[0]} if parts else {}, tally


@pytest.fixture
def first(cohort: Path, config_of: Callable[..., Config]) -> Patient:
    return max(discover(config_of(cohort / "waveforms")).patients, key=lambda p: p.candidate_windows)


def test_rows_are_the_kept_windows_in_order(cohort: Path, first: Patient, config_of: Callable[..., Config]) -> None:
    root, config = cohort / "waveforms", config_of(cohort / "waveforms")
    rows, tally = rows_of(root, first, config)
    expected = []
    for recording in first.recordings:
        header = read_record(root, recording.record)
        for batch in extract(root, header, candidate_windows(header, config), config):
            keep = batch.reason == 0
            expected += [(recording.record, int(s)) for s in batch.start_sample[keep]]
            stored = rows["signal"][len(expected) - keep.sum() : len(expected)]
            scale = rows["scale"][len(expected) - keep.sum() : len(expected)]
            off = np.abs(stored * scale[:, :, None].astype(float) - batch.signal[keep])
            assert (off <= 0.502 * scale[:, :, None]).all()
    found = list(zip(rows["segment/record"].astype(str), rows["segment/start_sample"].tolist(), strict=True))
    assert found == expected
    assert tally.segments == len(expected)
    windows_rejected = sum((r["level"] == b"window").sum() for r in tally.rejected)
    assert len(expected) + windows_rejected == tally.candidate_windows


def test_a_maximum_is_reached_in_spite_of_rejections_and_spreads_over_all_records(
    cohort: Path, first: Patient, config_of: Callable[..., Config]
) -> None:
    root = cohort / "waveforms"
    everything, all_tally = rows_of(root, first, config_of(root))
    assert 12 < all_tally.segments < all_tally.candidate_windows  # some are rejected, or this proves nothing
    for maximum in (10, 12, all_tally.segments):
        config = config_of(root, **{"build.max_segments_per_patient": maximum})
        rows, tally = rows_of(root, first, config)
        assert tally.segments == maximum
        keys = list(zip(rows["segment/record"].tolist(), rows["segment/window"].tolist(), strict=True))
        assert keys == sorted(set(keys))
        full = list(zip(everything["segment/record"].tolist(), everything["segment/window"].tolist(), strict=True))
        at = [full.index(key) for key in keys]
        # The same rows as in a build of everything: no value depends on which windows are asked for.
        for path in rows:
            np.testing.assert_array_equal(rows[path], everything[path][at], err_msg=path)
        beyond = [r for r in tally.rejected if r["reason"][0] == Reason.BEYOND_MAXIMUM]
        decoded = sum((r["level"] == b"window").sum() for r in tally.rejected)
        left = tally.candidate_windows - maximum - decoded
        assert bool(beyond) == bool(left)
        assert not left or beyond[0]["detail"][0].startswith(f"{left} of {tally.candidate_windows} ".encode())


def test_a_patient_with_too_few_segments_gives_none_and_says_so(
    cohort: Path, first: Patient, config_of: Callable[..., Config]
) -> None:
    root = cohort / "waveforms"
    _, everything = rows_of(root, first, config_of(root))
    enough = config_of(root, **{"build.min_segments_per_patient": everything.segments})
    assert rows_of(root, first, enough)[1].segments == everything.segments
    rows, tally = rows_of(root, first, config_of(root, **{"build.min_segments_per_patient": everything.segments + 1}))
    assert rows == {}
    assert tally.segments == 0
    assert tally.rejected[-1]["reason"][0] == Reason.TOO_FEW_SEGMENTS
    assert tally.rejected[-1]["level"][0] == b"patient"


def test_the_maximum_is_spread_over_the_whole_record(
    cohort: Path, first: Patient, config_of: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = np.arange(5, 6005)
    random = np.random.default_rng(4)
    usable = random.random(6005) < np.where(np.arange(6005) < 3000, 0.9, 0.3)  # the second half is noisy

    def batches(root: Path, header: object, chosen: np.ndarray, config: Config, on_problem: object) -> list[object]:
        return [chosen]

    def rows(patient_id: str, header: object, chosen: np.ndarray, config: Config) -> Rows:
        keep = chosen[usable[chosen]]
        return {"segment/window": keep, "scale": np.zeros((len(keep), 2))}

    monkeypatch.setattr("ecgconsole.dataset.segments.candidate_windows", lambda header, config: windows)
    monkeypatch.setattr("ecgconsole.dataset.segments.extract", batches)
    monkeypatch.setattr("ecgconsole.dataset.segments.kept_rows", rows)
    monkeypatch.setattr("ecgconsole.dataset.segments._rejected_rows", lambda *_: [])
    one_record = Patient(first.patient_id, first.recordings[:1])
    config = config_of(cohort / "waveforms", **{"build.max_segments_per_patient": 600})
    found, _ = rows_of(cohort / "waveforms", one_record, config)
    kept = found["segment/window"]
    assert len(kept) == 600
    assert (np.diff(kept) > 0).all()
    per_tenth = np.histogram(kept, bins=10, range=(5, 6005))[0]
    assert per_tenth[:5].min() >= 60
    # Where seven windows of ten are rejected there are fewer, but no part goes without.
    assert per_tenth[5:].min() >= 20
    assert (np.diff(kept) == 1).mean() > 0.4  # neighbours stay together
