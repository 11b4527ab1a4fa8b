"""What is written is what WFDB's own reader reads, in the layout of the Matched Subset."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgconsole.synth.recording import SegmentPlan, _windows_with_both
from ecgconsole.synth.wfdb_files import Channel, calibration, write_numerics, write_segment


def _signed(checksums: list[int]) -> list[int]:
    return [(c + 32768) % 65536 - 32768 for c in checksums]


def _segments(record: Path) -> list[tuple[str, int]]:
    header = wfdb.rdheader(str(record), rd_segments=False)
    return list(zip(header.seg_name, header.seg_len, strict=True))


def test_every_segment_reads_with_its_checksum_length_and_first_value(cohort) -> None:
    seen = 0
    for record in cohort.record_paths:
        for name, length in _segments(record):
            if name == "~" or length == 0:
                continue
            segment = wfdb.rdrecord(str(record.parent / name), physical=False)
            assert segment.sig_len == length
            assert segment.fmt == ["80"] * segment.n_sig
            assert _signed(segment.calc_checksum()) == segment.checksum
            assert segment.init_value == segment.d_signal[0].tolist()
            assert segment.fs == 125
            seen += 1
    assert seen == cohort.summary["segments"] > 60


def test_numerics_read_and_agree_with_the_beats(cohort) -> None:
    for record in cohort.record_paths:
        numerics = wfdb.rdrecord(f"{record}n")
        assert _signed(wfdb.rdrecord(f"{record}n", physical=False).calc_checksum()) == numerics.checksum
        assert numerics.sig_name == ["HR", "PULSE", "RESP", "SpO2"]
        beats = np.load(cohort.folder / "truth" / "beats" / f"{record.name}.npz")["r_times_s"]
        rate = np.nanmean(numerics.p_signal[:, 0])
        duration_s = beats[-1] - beats[0]
        assert rate == pytest.approx(60 * len(beats) / duration_s, rel=0.15)


def test_the_tree_is_that_of_the_matched_subset(cohort) -> None:
    waveforms = cohort.folder / "waveforms"
    folders = (waveforms / "RECORDS").read_text().split()
    assert len(folders) == cohort.summary["patients"] == 30
    for folder in folders:
        assert re.fullmatch(r"p(\d\d)/p\1\d{4}/", folder)
        assert (waveforms / folder / "RECORDS").is_file()
    lines = (waveforms / "RECORDS-waveforms").read_text().split()
    assert (waveforms / "RECORDS-numerics").read_text().split() == [f"{line}n" for line in lines]
    for line in lines:
        assert re.fullmatch(r"p\d\d/(p\d{6})/\1-2\d{3}-\d\d-\d\d-\d\d-\d\d", line)
        header = wfdb.rdheader(str(waveforms / line))
        assert f"{header.base_date:%Y-%m-%d}-{header.base_time:%H-%M}" == line[-16:]
        assert header.sig_len == sum(header.seg_len)
    bases = [_segments(waveforms / line)[0][0] for line in lines]
    assert len(set(bases)) == len(bases)
    assert all(re.fullmatch(r"\d{7}_layout", base) for base in bases)


def test_segments_differ_in_channels_and_gains_and_leave_gaps(cohort) -> None:
    channel_sets, gains, gaps, short = set(), set(), 0, 0
    for record in cohort.record_paths:
        names = _segments(record)
        layout = set(wfdb.rdheader(str(record.parent / names[0][0])).sig_name)
        used = set()
        for name, length in names[1:]:
            if name == "~":
                gaps += 1
                continue
            header = wfdb.rdheader(str(record.parent / name))
            channel_sets.add(tuple(header.sig_name))
            gains.add((header.adc_gain[0], header.baseline[0]))
            short += length < 1250
            used |= set(header.sig_name)
        assert used == layout
    assert len(channel_sets) >= 8
    assert any("II" in c and "PLETH" in c for c in channel_sets)
    assert ("PLETH",) in channel_sets
    assert any(c == ("II",) or ("II" in c and "PLETH" not in c) for c in channel_sets)
    assert len(gains) > 20
    assert gaps > 10
    assert short > 3


def test_segment_headers_tell_the_time_of_their_first_sample(cohort) -> None:
    record = cohort.record_paths[0]
    start = wfdb.rdheader(str(record)).base_datetime
    position = 0
    for name, length in _segments(record):
        if name != "~" and length:
            time = wfdb.rdheader(str(record.parent / name)).base_time
            expected = (start.hour * 60 + start.minute) * 60 + start.second + start.microsecond / 1e6 + position / 125
            got = (time.hour * 60 + time.minute) * 60 + time.second + time.microsecond / 1e6
            assert got == pytest.approx(expected % 86400, abs=0.0011)
        position += length


def test_real_headers_have_the_same_form(real_data: Path, cohort) -> None:
    real = real_data / "mimic3wdb-matched" / "p00" / "p000878"
    if not real.is_dir():
        pytest.skip(f"no record of the Matched Subset at {real}")
    ours = cohort.record_paths[0]
    shape = re.compile(r"[0-9.]+|[A-Za-z]+")

    def form(line: str) -> str:
        return shape.sub(lambda m: "9" if m[0][0].isdigit() else "a", line.replace("-", "_").replace("_9", "9"))

    for theirs, mine in (
        ("p000878-2137-10-26-16-57.hea", f"{ours.name}.hea"),
        ("3269321_layout.hea", f"{_segments(ours)[0][0]}.hea"),
    ):
        first, first_ours = ((p.read_text().splitlines()) for p in (real / theirs, ours.parent / mine))
        assert form(first_ours[0]) == form(first[0])
        assert {form(line).replace("_", "") for line in first_ours[1:]} <= {
            form(line).replace("_", "") for line in first[1:]
        }


_samples = st.lists(st.one_of(st.floats(-3, 3, width=32), st.just(float("nan"))), min_size=1, max_size=40)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_samples, min_size=1, max_size=3), st.booleans(), st.floats(20, 200), st.integers(-100, 100))
def test_any_samples_come_back_within_half_a_step(tmp_path, columns, lost, gain, baseline) -> None:
    n = min(len(c) for c in columns)
    gain = float(f"{gain:.3g}")
    channels = [
        Channel(f"C{i}", "mV", np.array(c[:n], np.float32), gain, baseline, lost) for i, c in enumerate(columns)
    ]
    write_segment(tmp_path, "s", datetime(2150, 1, 1), 125.0, channels)
    digital = wfdb.rdrecord(str(tmp_path / "s"), physical=False)
    physical = wfdb.rdrecord(str(tmp_path / "s")).p_signal
    assert _signed(digital.calc_checksum()) == digital.checksum
    for i, channel in enumerate(channels):
        exact = channel.samples.astype(float)
        scaled = exact * gain + baseline
        missing = np.isnan(exact) | (lost & (np.abs(np.rint(scaled)) > 127))
        near_limit = np.abs(np.abs(scaled) - 127.5) < 1e-3
        assert (np.isnan(physical[:, i]) == missing)[~near_limit].all()
        held = np.clip(scaled, -127, 127)
        error = np.abs(digital.d_signal[:, i] - held)[~missing & ~near_limit]
        assert (error <= 0.5 + 1e-3).all()


def test_a_calibration_spreads_the_signal_over_its_share_of_the_range() -> None:
    samples = (1.5 + 0.5 * np.sin(np.arange(5000) / 7)).astype(np.float32)
    gain, baseline = calibration(samples, 0.6)
    digital = samples * gain + baseline
    assert digital.max() - digital.min() == pytest.approx(0.6 * 254, rel=0.02)
    assert digital.max() + digital.min() == pytest.approx(0, abs=3)


def test_numerics_keep_missing_values(tmp_path) -> None:
    values = {"HR": ("bpm", np.array([70, np.nan, 71.5], np.float32))}
    write_numerics(tmp_path, "n", "n.dat", datetime(2150, 1, 1), 1 / 60, values)
    read = wfdb.rdrecord(str(tmp_path / "n"))
    np.testing.assert_allclose(read.p_signal[:, 0], [70, np.nan, 71.5])
    assert read.fs == pytest.approx(1 / 60)


@given(
    st.lists(st.tuples(st.integers(1, 6000), st.sampled_from([(), ("II",), ("PLETH",), ("II", "PLETH")])), max_size=8)
)
def test_windows_with_both_are_those_that_a_mask_counts(parts) -> None:
    plans, mask = [], []
    for n, channels in parts:
        plans.append(SegmentPlan(len(mask), n, channels))
        mask += [channels == ("II", "PLETH")] * n
    slow = sum(all(mask[i : i + 1250]) for i in range(0, len(mask) - 1249, 1250))
    assert _windows_with_both(plans) == slow
