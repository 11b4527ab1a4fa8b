"""Windows of whole records: which exist, which are kept, and that they hold the right samples."""

from __future__ import annotations

import csv
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import signal

from ecgconsole.config import Config
from ecgconsole.signals.filtering import BUTTERWORTH_ORDER
from ecgconsole.signals.headers import Problem, RecordError, read_record
from ecgconsole.signals.reasons import Reason
from ecgconsole.signals.windows import (
    QUALITY_COLUMNS,
    RHYTHM_COLUMNS,
    WindowBatch,
    candidate_windows,
    channel_seconds,
    extract,
    quantum_of,
)

from .records import ecg_and_ppg, write_master, write_segment

MAKE = Callable[..., Config]
SUBJECT_20 = "mimic3wdb-matched/p00/p000020/p000020-2183-04-28-17-47"
SUBJECT_878 = "mimic3wdb-matched/p00/p000878/p000878-2137-10-26-16-57"


def all_windows(
    root: Path, record: str, config: Config, windows: np.ndarray | None = None
) -> tuple[WindowBatch, list[Problem]]:
    """All batches of a record as one."""
    header = read_record(root, record)
    problems: list[Problem] = []
    wanted = candidate_windows(header, config) if windows is None else windows
    parts = list(extract(root, header, wanted, config, problems.append))
    joined = {
        name: np.concatenate([getattr(p, name) for p in parts])
        for name in WindowBatch.__dataclass_fields__
        if name not in ("record", "quality", "rhythm")
    }
    columns = {
        group: {c: np.concatenate([getattr(p, group)[c] for p in parts]) for c in getattr(parts[0], group)}
        for group in ("quality", "rhythm")
    }
    return WindowBatch(record=record, **joined, **columns), problems


def slowly_readable(root: Path, record: str, channels: tuple[str, ...]) -> dict[int, set[str]]:
    """Windows that can be read, and by which channels: one segment after another through wfdb, sample by sample."""
    wfdb = pytest.importorskip("wfdb")
    folder = (root / record).parent
    master = wfdb.rdheader(str(root / record))
    names = master.seg_name or [Path(record).name]
    lengths = master.seg_len or [master.sig_len]
    samples: dict[str, dict[int, float]] = {}
    position = 0
    for name, length in zip(names, lengths, strict=True):
        if name != "~" and length > 0 and (folder / f"{name}.dat").exists():
            segment = wfdb.rdrecord(str(folder / name))
            for i, channel in enumerate(segment.sig_name):
                if channel in channels:
                    values = segment.p_signal[:, i].tolist()
                    samples.setdefault(channel, {}).update(enumerate(values, start=position))
        position += length
    per_window = 10 * master.fs
    readable: dict[int, set[str]] = {}
    for channel, values in samples.items():
        for k in {int(s // per_window) for s in values}:
            window = [values.get(s) for s in range(int(k * per_window), int((k + 1) * per_window))]
            if None in window:
                continue
            missing, run, longest = 0, 0, 0
            before = [values.get(s, 0.0) for s in range(int(k * per_window) - 26, int(k * per_window))]
            after = [values.get(s, 0.0) for s in range(int((k + 1) * per_window), int((k + 1) * per_window) + 26)]
            for v in before + window + after:
                run = run + 1 if v != v else 0
                longest = max(longest, run)
            missing = sum(v != v for v in window)
            if longest <= 25 and missing <= 0.05 * per_window:
                readable.setdefault(k, set()).add(channel)
    return readable


@pytest.mark.parametrize(
    "record", [SUBJECT_20, SUBJECT_878, "mimic-other/mimic2wdb-matched/s25047/s25047-2704-05-04-10-44"]
)
def test_every_readable_window_is_kept_or_has_a_reason(real_data: Path, config: MAKE, record: str) -> None:
    settings = config(data={"require": "ecg"})
    expected = slowly_readable(real_data, record, settings.data.ecg_channels)
    batch, problems = all_windows(real_data, record, settings)
    judged = np.isin(batch.reason, (Reason.KEPT, Reason.DISCONNECTED, Reason.CLIPPING, Reason.NOISE))
    assert set(batch.window[judged].tolist()) == set(expected)
    assert set(np.unique(batch.reason[~judged]).tolist()) <= {Reason.MISSING_SAMPLES}
    assert problems == []
    kept = batch.reason == Reason.KEPT
    assert kept.sum() > 0.9 * len(expected)
    for k, channel in zip(batch.window[kept].tolist(), batch.ecg_channel[kept].tolist(), strict=True):
        assert settings.data.ecg_channels[channel] in expected[k]
    np.testing.assert_array_equal(batch.start_sample, batch.window * 1250)


def test_the_one_window_of_subject_878_with_both_signals_is_found(real_data: Path, config: MAKE) -> None:
    batch, _ = all_windows(real_data, SUBJECT_878, config(data={"require": "both"}))
    kept = batch.reason == Reason.KEPT
    assert batch.window[kept].tolist() == [5]
    assert batch.present[kept].all()
    assert 0 < batch.quality["ecg_missing_share"][kept][0] < 0.05
    assert batch.rhythm["heart_rate_bpm"][kept][0] == pytest.approx(80, abs=2)


def test_windows_hold_what_a_whole_span_filter_gives(real_data: Path, config: MAKE) -> None:
    """Across segment borders, where the gain changes and segments may have four samples."""
    wfdb = pytest.importorskip("wfdb")
    record = "mimic-other/mimic2wdb-matched/s25047/s25047-2704-05-04-10-44"
    header = read_record(real_data, record)
    batch, _ = all_windows(real_data, record, config(data={"require": "ecg", "ecg_channels": ("II",)}))
    span: list[np.ndarray] = []
    start, stop = None, 0
    for segment in header.segments:
        names = [s.name for s in segment.signals]
        if "II" not in names or (start is not None and segment.start_sample != stop):
            break
        start = segment.start_sample if start is None else start
        stop = segment.stop_sample
        path = (real_data / record).parent / segment.name
        span.append(wfdb.rdrecord(str(path)).p_signal[:, names.index("II")])
    assert len(span) > 5
    assert len({s.gain for p in header.segments[: len(span)] for s in p.signals if s.name == "II"}) > 1
    raw = np.concatenate(span)
    missing = np.isnan(raw)
    raw[missing] = np.interp(np.flatnonzero(missing), np.flatnonzero(~missing), raw[~missing])
    sections = signal.butter(BUTTERWORTH_ORDER, (0.5, 40.0), "bandpass", fs=125, output="sos")
    slow = signal.sosfiltfilt(sections, np.pad(raw, 2000, mode="reflect"))[2000:-2000]
    # Runs of missing samples that cut the span: the slow filter saw a line there.
    long = signal.convolve(missing, np.ones(26), "valid") > 25.5
    compared = 0
    for i in np.flatnonzero(batch.reason == Reason.KEPT):
        at = int(batch.start_sample[i]) - start
        if at >= 0 and at + 1250 <= len(slow) and not long[max(0, at - 1000) : at + 2250].any():
            np.testing.assert_allclose(batch.signal[i, 0], slow[at : at + 1250], atol=2e-3 * slow.std())
            compared += 1
    assert compared >= 20


@pytest.mark.parametrize(
    ("folder", "require", "rate_hz", "records", "kept"),
    [
        ("mitdb", "ecg", 360, 20, 0.99),
        ("cinc2015", "both", 250, 42, 0.9),
        ("cinc2017", "ecg", 300, 100, 0.99),
        ("cpsc2021", "ecg", 200, 18, 0.99),
    ],
)
def test_other_rates_and_formats(
    real_data: Path, config: MAKE, folder: str, require: str, rate_hz: float, records: int, kept: float
) -> None:
    settings = config(data={"require": require})
    total = good = 0
    for path in sorted((real_data / folder).glob("*.hea"))[:records]:
        header = read_record(real_data, f"{folder}/{path.stem}")
        assert header.sampling_rate_hz == rate_hz
        windows = candidate_windows(header, settings)
        np.testing.assert_array_equal(windows, np.arange(int(header.length_samples // (10 * rate_hz))))
        for batch in extract(real_data, header, windows, settings):
            total += len(batch.window)
            good += int((batch.reason == Reason.KEPT).sum())
            rates = batch.rhythm["heart_rate_bpm"][batch.present[:, 0]]
            assert ((rates > 5) & (rates < 300) | np.isnan(rates)).all()
    assert total >= records
    assert good >= kept * total


def test_nothing_is_rejected_for_its_rhythm(real_data: Path, config: MAKE, annotated: Callable) -> None:
    """AF windows and windows with a ventricular beat are lost at most one point more often than normal ones."""
    wfdb = pytest.importorskip("wfdb")
    settings = config(data={"require": "ecg"})
    lost: dict[str, list[bool]] = {"normal": [], "af": [], "ventricular": []}
    for folder in ("mitdb", "cpsc2021"):
        for path in sorted((real_data / folder).glob("*.hea")):
            record = f"{folder}/{path.stem}"
            batch, _ = all_windows(real_data, record, settings)
            annotation = wfdb.rdann(str(real_data / record), "atr")
            rate_hz = read_record(real_data, record).sampling_rate_hz
            changes = [
                (s / rate_hz, n) for s, n in zip(annotation.sample, annotation.aux_note, strict=True) if n[:1] == "("
            ]
            beats_s, symbols, _ = annotated(record)
            for start, reason in zip(batch.start_seconds.tolist(), batch.reason.tolist(), strict=True):
                before = [n for s, n in changes if s <= start][-1:]
                inside = [n for s, n in changes if start < s < start + 10]
                af = any(n.startswith("(AF") for n in before + inside)
                ventricular = "V" in symbols[(beats_s >= start) & (beats_s < start + 10)]
                kind = "af" if af else "ventricular" if ventricular else "normal"
                lost[kind].append(reason != Reason.KEPT)
    assert all(len(v) > 200 for v in lost.values()), {k: len(v) for k, v in lost.items()}
    for kind in ("af", "ventricular"):
        assert np.mean(lost[kind]) <= np.mean(lost["normal"]) + 0.01


def test_true_asystole_and_fibrillation_alarms_keep_their_windows(real_data: Path, config: MAKE) -> None:
    settings = config(data={"require": "both"})
    with (real_data / "cinc2015" / "ALARMS").open() as file:
        alarms = [
            row[0] for row in csv.reader(file) if row[1] in ("Asystole", "Ventricular_Flutter_Fib") and row[2] == "1"
        ]
    seen = 0
    for name in alarms:
        if not (real_data / "cinc2015" / f"{name}.hea").exists():
            continue
        # The alarm is raised at 5 minutes: its cause lies in the 10 s before.
        batch, _ = all_windows(real_data, f"cinc2015/{name}", settings, np.array([28, 29]))
        assert (batch.reason == Reason.KEPT).all(), name
        assert batch.present[:, 0].all()
        seen += 1
    assert seen >= 8


def test_a_window_does_not_depend_on_the_windows_asked_for(real_data: Path, config: MAKE) -> None:
    settings = config(data={"require": "either"})
    record = "bidmc-matched/p99/p990024/p990024-2190-01-25-00-48"
    whole, _ = all_windows(real_data, record, settings)
    chosen = np.flatnonzero(np.arange(len(whole.window)) % 7 == 3)
    part, _ = all_windows(real_data, record, settings, whole.window[chosen])
    for name in ("signal", "quantum", "present", "reason", "signal_reason", "ecg_channel", "start_seconds"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[chosen], err_msg=name)
    for name, values in (whole.quality | whole.rhythm).items():
        np.testing.assert_array_equal((part.quality | part.rhythm)[name], values[chosen], err_msg=name)


def test_a_signal_stored_by_its_quantum_fits_int16_and_the_promised_error(real_data: Path, config: MAKE) -> None:
    for record in ("cpsc2021/data_101_6", "cinc2015/a142s", SUBJECT_20, "mitdb/100"):
        batch, _ = all_windows(real_data, record, config(data={"require": "either"}))
        header = read_record(real_data, record)
        steps = {s.adc_step for p in header.segments for s in p.signals}
        quantum = batch.quantum[batch.present][:, None]
        filtered = batch.signal[batch.present]
        codes = np.rint(filtered / quantum)
        assert np.abs(codes).max() <= 32767
        limit = np.maximum(max(steps) / 8, filtered.std(axis=1, keepdims=True) / 2048)
        roomy = np.abs(filtered).max(axis=1, keepdims=True) / 32767 < limit
        assert (quantum[roomy] <= limit[roomy] * (1 + 1e-5)).all()
        assert (np.abs(codes * quantum - filtered) <= quantum * 0.501).all()
    assert quantum_of(np.array([0.008]), np.array([0.1], np.float32), np.array([1.0], np.float32))[0] == np.float32(
        0.001
    )


# Records made on the spot.


def two_segments(folder: Path, gap: int = 0, change: dict[str, str] | None = None, **second: float) -> None:
    ecg, ppg = ecg_and_ppg(60)
    rename = change or {}
    write_segment(folder, "a", {"II": ecg[:3750], "PLETH": ppg[:3750]})
    write_segment(folder, "b", {rename.get("II", "II"): ecg[3750:], "PLETH": ppg[3750:]}, **second)
    write_master(folder, "r", [("a", 3750), *([("~", gap)] if gap else []), ("b", 3750)])


def test_windows_run_across_a_border_and_stop_at_a_gap(tmp_path: Path, config: MAKE) -> None:
    two_segments(tmp_path)
    settings = config(build={"segment_seconds": 20.0, "min_segments_per_patient": 1})
    header = read_record(tmp_path, "r")
    assert candidate_windows(header, settings).tolist() == [0, 1, 2]
    assert channel_seconds(header) == {"II": 60.0, "PLETH": 60.0}
    whole, _ = all_windows(tmp_path, "r", settings)
    assert (whole.reason == Reason.KEPT).all()
    two_segments(tmp_path, gap=1)
    assert candidate_windows(read_record(tmp_path, "r"), settings).tolist() == [0, 2]
    asked, _ = all_windows(tmp_path, "r", settings, np.arange(3))
    assert asked.reason.tolist() == [Reason.KEPT, Reason.GAP, Reason.KEPT]


def test_each_segment_has_its_own_gain(tmp_path: Path, config: MAKE) -> None:
    settings = config(build={"segment_seconds": 20.0, "min_segments_per_patient": 1})
    two_segments(tmp_path)
    same, _ = all_windows(tmp_path, "r", settings)
    two_segments(tmp_path, gain=2000.0)
    other, _ = all_windows(tmp_path, "r", settings)
    np.testing.assert_allclose(other.signal, same.signal, atol=2e-3)
    np.testing.assert_allclose(other.quantum[:, 0] / same.quantum[:, 0], [1, 0.5, 0.5], rtol=0.1)


def test_the_next_channel_stands_in_where_the_preferred_one_is_absent_or_bad(tmp_path: Path, config: MAKE) -> None:
    settings = config()
    two_segments(tmp_path, change={"II": "V"})
    batch, _ = all_windows(tmp_path, "r", settings)
    preferred, second = (settings.data.ecg_channels.index(c) for c in ("II", "V"))
    assert batch.ecg_channel.tolist() == [preferred] * 3 + [second] * 3
    ecg, ppg = ecg_and_ppg(30)
    write_segment(tmp_path, "s", {"V": ecg, "II": np.zeros(3750), "PLETH": ppg})
    batch, _ = all_windows(tmp_path, "s", settings)
    assert batch.ecg_channel.tolist() == [second] * 3
    assert batch.signal_reason[:, 0].tolist() == [0, 0, 0]


def test_names_match_in_any_case_and_an_unknown_name_is_no_channel(tmp_path: Path, config: MAKE) -> None:
    ecg, ppg = ecg_and_ppg(30)
    write_segment(tmp_path, "s", {"ii": ecg, "Pleth": ppg})
    assert candidate_windows(read_record(tmp_path, "s"), config()).tolist() == [0, 1, 2]
    write_segment(tmp_path, "s", {"ABP": ecg, "RESP": ppg})
    assert candidate_windows(read_record(tmp_path, "s"), config()).tolist() == []
    batch, _ = all_windows(tmp_path, "s", config(), np.arange(3))
    assert batch.reason.tolist() == [Reason.NO_CHANNEL] * 3


def test_a_damaged_segment_costs_its_windows_and_is_told_once(tmp_path: Path, config: MAKE) -> None:
    two_segments(tmp_path)
    data = bytearray((tmp_path / "b.dat").read_bytes())
    data[1000] ^= 4
    (tmp_path / "b.dat").write_bytes(data)
    batch, problems = all_windows(tmp_path, "r", config())
    assert batch.reason.tolist() == [0, 0, 0] + [Reason.CHECKSUM] * 3
    assert [(p.reason, p.where) for p in problems] == [(Reason.CHECKSUM, "b.dat")]
    (tmp_path / "b.dat").unlink()
    batch, _ = all_windows(tmp_path, "r", config(), np.arange(6))
    assert batch.reason.tolist() == [0, 0, 0] + [Reason.DAT_MISSING] * 3
    assert candidate_windows(read_record(tmp_path, "r"), config()).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("constant", Reason.DISCONNECTED),
        ("saturated", Reason.CLIPPING),
        ("noise", Reason.NOISE),
        ("hole", Reason.MISSING_SAMPLES),
        ("many holes", Reason.MISSING_SAMPLES),
        ("few holes", Reason.KEPT),
        ("short pause", Reason.KEPT),
        ("mains", Reason.KEPT),
        ("wander", Reason.KEPT),
    ],
)
def test_each_fault_of_an_ecg_has_its_reason(tmp_path: Path, config: MAKE, fault: str, reason: Reason) -> None:
    ecg, ppg = ecg_and_ppg(40)
    rng = np.random.default_rng(0)
    inside = slice(1250, 2500)
    t = np.arange(1250) / 125
    match fault:
        case "constant":
            ecg[1300:2450] = 0.3
        case "saturated":
            ecg[inside] = np.clip(ecg[inside] + 2 * np.sin(2 * np.pi * 1.5 * t), -1.2, 1.2)
        case "noise":
            ecg[inside] = rng.normal(0, 0.5, 1250)
        case "hole":
            ecg[1500:1526] = np.nan
        case "many holes":
            ecg[1250:2500:125] = ecg[1251:2500:125] = np.nan
            ecg[1300:2500:25] = ecg[1301:2500:25] = np.nan
        case "few holes":
            ecg[1300:2500:60] = ecg[1301:2500:60] = np.nan
        case "short pause":
            ecg[1300:1700] = 0.0
        case "mains":
            ecg[inside] += np.sin(2 * np.pi * 60 * t)
        case "wander":
            ecg[inside] += 3 * np.sin(2 * np.pi * 0.1 * t)
    write_segment(tmp_path, "s", {"II": ecg, "PLETH": ppg})
    batch, _ = all_windows(tmp_path, "s", config())
    assert batch.reason.tolist() == [0, reason, 0, 0]
    assert batch.present[1].tolist() == [reason == Reason.KEPT, True]
    if reason != Reason.KEPT:
        assert not batch.signal[1, 0].any()


def test_a_ppg_without_a_pulse_leaves_the_ecg(tmp_path: Path, config: MAKE) -> None:
    ecg, ppg = ecg_and_ppg(30)
    ppg[1250:2500] = 0.5
    write_segment(tmp_path, "s", {"II": ecg, "PLETH": ppg})
    batch, _ = all_windows(tmp_path, "s", config())
    assert batch.reason.tolist() == [0, 0, 0]
    assert batch.present.tolist() == [[True, True], [True, False], [True, True]]
    assert batch.signal_reason[1, 1] == Reason.DISCONNECTED
    assert np.isnan(batch.rhythm["pulse_rate_bpm"][1])
    alone, _ = all_windows(tmp_path, "s", config(data={"require": "ppg"}))
    assert alone.reason.tolist() == [0, Reason.DISCONNECTED, 0]


def test_asystole_is_kept_and_flagged(tmp_path: Path, config: MAKE) -> None:
    ecg, ppg = ecg_and_ppg(30)
    ecg[1250:2500] = np.convolve(np.random.default_rng(0).normal(0, 0.01, 1250), np.ones(4) / 4, "same")
    write_segment(tmp_path, "s", {"II": ecg, "PLETH": ppg})
    batch, _ = all_windows(tmp_path, "s", config())
    assert batch.reason.tolist() == [0, 0, 0]
    assert batch.quality["ecg_silent"].tolist() == [0, 1, 0]
    assert np.isnan(batch.rhythm["heart_rate_bpm"]).tolist() == [False, True, False]


def test_an_uncalibrated_channel_is_kept_and_flagged(tmp_path: Path, config: MAKE) -> None:
    ecg, ppg = ecg_and_ppg(30)
    write_segment(tmp_path, "s", {"II": ecg, "PLETH": ppg}, gain=200)
    text = (tmp_path / "s.hea").read_text().replace("200(0)/mV", "0(0)/mV")
    (tmp_path / "s.hea").write_text(text)
    batch, _ = all_windows(tmp_path, "s", config())
    assert batch.reason.tolist() == [0, 0, 0]
    assert batch.quality["ecg_uncalibrated"].tolist() == [1, 1, 1]
    assert batch.quality["ppg_uncalibrated"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(("unit", "factor"), [("uV", 1000.0), ("V", 0.001), ("mV", 1.0)])
def test_volts_of_any_kind_become_millivolts(tmp_path: Path, config: MAKE, unit: str, factor: float) -> None:
    ecg, ppg = ecg_and_ppg(30)
    write_segment(tmp_path, "s", {"II": ecg, "PLETH": ppg}, gain=1000)
    expected, _ = all_windows(tmp_path, "s", config())
    text = (tmp_path / "s.hea").read_text().replace("1000(0)/mV", f"{1000 / factor:g}(0)/{unit}")
    (tmp_path / "s.hea").write_text(text)
    batch, _ = all_windows(tmp_path, "s", config())
    np.testing.assert_allclose(batch.signal, expected.signal, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(batch.quantum, expected.quantum, rtol=1e-5)


def test_a_batch_is_complete(tmp_path: Path, config: MAKE) -> None:
    two_segments(tmp_path)
    batch, _ = all_windows(tmp_path, "r", config())
    assert batch.signal.shape == (6, 2, 1250)
    assert batch.signal.dtype == np.float32
    assert list(batch.quality) == [c.name for c in QUALITY_COLUMNS]
    assert list(batch.rhythm) == [c.name for c in RHYTHM_COLUMNS]
    assert all(v.dtype == np.float32 and v.shape == (6,) for v in (batch.quality | batch.rhythm).values())
    np.testing.assert_allclose(batch.rhythm["heart_rate_bpm"], 75, atol=0.5)
    np.testing.assert_allclose(batch.rhythm["pulse_rate_bpm"], 75, atol=0.5)
    np.testing.assert_array_equal(batch.start_seconds, np.arange(6) * 10.0)


def test_a_record_without_samples_has_no_windows(tmp_path: Path, config: MAKE) -> None:
    (tmp_path / "r.hea").write_text("r 1 125 0\nr.dat 16 200 16 0 0 0 0 II\n")
    (tmp_path / "r.dat").write_bytes(b"")
    settings = config(data={"require": "either"})
    assert candidate_windows(read_record(tmp_path, "r"), settings).tolist() == []
    batch, _ = all_windows(tmp_path, "r", settings, np.arange(2))
    assert batch.reason.tolist() == [Reason.NO_CHANNEL] * 2


def test_no_window_is_asked_for_and_none_comes(tmp_path: Path, config: MAKE) -> None:
    two_segments(tmp_path)
    assert list(extract(tmp_path, read_record(tmp_path, "r"), np.zeros(0, np.int64), config())) == []


@pytest.mark.parametrize("rate_hz", [62.4725, 128.0, 257.0, 1000.0])
def test_odd_rates_keep_the_clock(tmp_path: Path, config: MAKE, rate_hz: float) -> None:
    ecg, ppg = ecg_and_ppg(65, rate_hz=rate_hz)
    write_segment(tmp_path, "s", {"II": ecg, "PLETH": ppg}, rate_hz=rate_hz)
    text = (tmp_path / "s.hea").read_text()
    (tmp_path / "s.hea").write_text(text.replace(f"2 {rate_hz:g} ", f"2 {rate_hz} ", 1))
    batch, _ = all_windows(tmp_path, "s", config())
    assert batch.window.tolist() == [0, 1, 2, 3, 4, 5]
    # R waves at 0.3 s and every 0.8 s: the first of window k lies at a known sample of it.
    for k in range(6):
        beat = next(t for t in np.arange(0.3, 65, 0.8) if t >= 10 * k + 0.1)
        at = round((beat - 10 * k) * 125)
        assert abs(int(np.argmax(batch.signal[k, 0, at - 6 : at + 7])) - 6) <= 1


@pytest.mark.parametrize(
    ("seconds", "rate_hz", "band_hz"),
    [
        (4.0, 125.0, (0.5, 40.0)),
        (30.0, 250.0, (0.05, 40.0)),
        (10.0, 60.0, (1.0, 25.0)),
        (7.5, 1000.0, (0.5, 100.0)),
        (10.3, 100.0, (0.5, 40.0)),
    ],
)
def test_other_lengths_rates_and_bands_of_the_dataset(
    tmp_path: Path, config: MAKE, seconds: float, rate_hz: float, band_hz: tuple[float, float]
) -> None:
    ecg, ppg = ecg_and_ppg(300, bpm=90)
    write_segment(tmp_path, "s", {"II": ecg, "PLETH": ppg})
    settings = config(build={"segment_seconds": seconds, "sampling_rate_hz": rate_hz, "ecg_band_hz": band_hz})
    batch, _ = all_windows(tmp_path, "s", settings)
    assert batch.signal.shape == (int(300 // seconds), 2, round(seconds * rate_hz))
    assert (batch.reason == Reason.KEPT).all()
    np.testing.assert_allclose(batch.rhythm["heart_rate_bpm"], 90, atol=1)
    np.testing.assert_allclose(batch.rhythm["pulse_rate_bpm"], 90, atol=1)
    np.testing.assert_allclose(batch.start_seconds, np.arange(len(batch.window)) * seconds)


def test_records_of_real_cohorts_never_raise(real_data: Path, config: MAKE) -> None:
    settings = config(data={"require": "either"})
    seen: Counter[str] = Counter()
    for folder in ("mimic-other", "mimic3wdb-matched"):
        for path in sorted((real_data / folder).rglob("*.hea")):
            record = str(path.relative_to(real_data))[:-4]
            try:
                header = read_record(real_data, record)
            except RecordError as error:
                seen[error.problem.reason.label] += 1
                continue
            for batch in extract(real_data, header, candidate_windows(header, settings)[:50], settings):
                seen.update(Reason(r).label for r in batch.reason)
    assert seen["kept"] > 300
    assert set(seen) <= {"kept", "dat-missing", "disconnected", "missing-samples", "clipping", "noise"}


def test_memory_does_not_grow_with_the_length_of_a_record(tmp_path: Path, config: MAKE) -> None:
    peaks = []
    # Both well beyond the blocks in which checksums are verified.
    for hours in (6, 9):
        ecg, ppg = ecg_and_ppg(360)
        repeats = hours * 10
        write_segment(tmp_path, "s", {"II": np.tile(ecg, repeats), "PLETH": np.tile(ppg, repeats)})
        header = read_record(tmp_path, "s")
        windows = candidate_windows(header, config())
        assert len(windows) == hours * 360
        # Once before measuring: caches of filters and imports.
        next(extract(tmp_path, header, windows[:20], config()))
        tracemalloc.start()
        for batch in extract(tmp_path, header, windows, config()):
            assert (batch.reason == Reason.KEPT).all()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] < 50e6
