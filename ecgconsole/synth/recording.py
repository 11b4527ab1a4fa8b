"""One person's recordings: segments whose channels differ, gaps between them, numerics beside."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from ecgconsole.synth import rhythm, waveforms, wfdb_files
from ecgconsole.synth.artefacts import Artefact, spoil_ecg, spoil_pulse
from ecgconsole.synth.people import Person, RecordPlan
from ecgconsole.synth.rhythm import Beats, Episode, FloatArray, RhythmTraits
from ecgconsole.synth.waveforms import LEADS, Morphology, Signal, draw_morphology
from ecgconsole.synth.wfdb_files import Channel, SegmentFile

SAMPLING_RATE_HZ = 125.0
LONGEST_SEGMENT_S = 3600.0  # bounds memory, whatever the record's length
WINDOW_S = 10.0


@dataclass(frozen=True)
class RecordTruth:
    """What is true of a record; times in seconds from its first sample."""

    name: str
    duration_s: float
    segments: int
    windows_with_both: int
    episodes: list[Episode]
    artefacts: list[tuple[str, Artefact]]
    charted: list[tuple[datetime, str, int]]


@dataclass(frozen=True)
class SegmentPlan:
    """A stretch of the record: its channels, none in a gap."""

    first_sample: int
    n_samples: int
    channels: tuple[str, ...]


@dataclass(frozen=True)
class Equipment:
    """How one person is monitored."""

    second_lead: str
    has_pulse: bool
    has_lead_ii: bool
    has_pressure: bool
    mains_mv: float
    noise_mv: float
    saturates: bool
    pulse_shift_s: float


def write_person(person: Person, waveforms: Path, truth: Path, seed: int) -> list[RecordTruth]:
    """Writes all records of a person under ``waveforms/pNN/pNNNNNN`` and their beats under ``truth/beats``."""
    name = f"p{person.subject_id:06d}"
    folder = waveforms / name[:3] / name
    folder.mkdir(parents=True, exist_ok=True)
    (truth / "beats").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, 2, person.subject_id])
    traits = rhythm.draw_traits(person.kind, person.age_years, rng)
    morphology = draw_morphology(person.age_years, rng)
    equipment = _draw_equipment(person, rng)
    truths, listed = [], []
    for number, plan in enumerate(person.records):
        record = f"{name}-{plan.start:%Y-%m-%d-%H-%M}"
        record_rng = np.random.default_rng([seed, 3, person.subject_id, number])
        record_truth, segments = _write_record(
            folder, record, plan, person.unit, traits, morphology, equipment, truth, record_rng
        )
        truths.append(record_truth)
        listed += [record, f"{record}n", *segments]
    (folder / "RECORDS").write_text("".join(f"{r}\n" for r in listed), encoding="ascii", newline="\n")
    return truths


def _draw_equipment(person: Person, rng: np.random.Generator) -> Equipment:
    return Equipment(
        second_lead=str(rng.choice(LEADS[1:], p=[0.45, 0.2, 0.1, 0.15, 0.1])),
        has_pulse=person.has_pulse,
        has_lead_ii=bool(rng.random() >= 0.06),
        has_pressure=bool(rng.random() < 0.35),
        mains_mv=float(rng.choice([0.0, 0.005, 0.02], p=[0.5, 0.35, 0.15])),
        noise_mv=float(rng.uniform(0.004, 0.02)),
        saturates=bool(rng.random() < 0.08),
        # Clocks of ECG and PPG drift apart in MIMIC-III by up to half a second.
        pulse_shift_s=float(rng.uniform(-0.2, 0.25)),
    )


def _write_record(
    folder: Path,
    record: str,
    plan: RecordPlan,
    unit: str,
    traits: RhythmTraits,
    morphology: Morphology,
    equipment: Equipment,
    truth: Path,
    rng: np.random.Generator,
) -> tuple[RecordTruth, list[str]]:
    fs = SAMPLING_RATE_HZ
    n_samples = round(plan.duration_s * fs)
    duration_s = n_samples / fs
    episodes = rhythm.draw_episodes(traits, duration_s, rng)
    beats = rhythm.draw_beats(traits, episodes, rng)
    rr_before_s = beats.rr_before_s
    delay_s = morphology.pulse_delay_s + equipment.pulse_shift_s + float(rng.uniform(-0.05, 0.05))
    plans = _plan_segments(n_samples, equipment, rng)
    base = f"{plan.segment_base:07d}"
    files = [SegmentFile(f"{base}_layout", 0)]
    layout: dict[str, Channel] = {}
    artefacts: list[tuple[str, Artefact]] = []
    written: list[str] = []
    for segment in plans:
        if not segment.channels:
            files.append(SegmentFile("~", segment.n_samples))
            continue
        name = f"{base}_{len(written) + 1:04d}"
        channels, spoilt = _render_segment(segment, beats, rr_before_s, traits, morphology, equipment, delay_s, rng)
        start = wfdb_files.segment_start(plan.start, segment.first_sample, fs)
        wfdb_files.write_segment(folder, name, start, fs, channels)
        for channel in channels:
            layout.setdefault(channel.name, channel)
        offset_s = segment.first_sample / fs
        artefacts += [(c, Artefact(a.start_s + offset_s, a.end_s + offset_s, a.kind)) for c, a in spoilt]
        files.append(SegmentFile(name, segment.n_samples))
        written.append(name)
    wfdb_files.write_layout(folder, files[0].name, plan.start, fs, list(layout.values()))
    wfdb_files.write_master(folder, record, plan.start, fs, len(layout), files, unit)
    _write_numerics(folder, f"{record}n", f"{base}n.dat", plan.start, duration_s, beats, traits, equipment, rng)
    np.savez_compressed(
        truth / "beats" / f"{record}.npz",
        r_times_s=beats.times_s,
        kinds=beats.kinds.astype("U1"),
        fibrillating=beats.fibrillating,
        pulse_peak_times_s=waveforms.pulse_peak_times_s(beats, rr_before_s, morphology, delay_s),
        pulse_heights=waveforms.pulse_heights(beats, rr_before_s),
    )
    return (
        RecordTruth(
            name=record,
            duration_s=duration_s,
            segments=len(written),
            windows_with_both=_windows_with_both(plans),
            episodes=episodes,
            artefacts=artefacts,
            charted=_charted(plan, beats, rng),
        ),
        written,
    )


def _plan_segments(n_samples: int, equipment: Equipment, rng: np.random.Generator) -> list[SegmentPlan]:
    """Cuts a record into segments and gaps, as monitors do when channels come and go."""
    fs = SAMPLING_RATE_HZ
    ecg = "II" if equipment.has_lead_ii else equipment.second_lead
    pulse = ("PLETH",) if equipment.has_pulse else ()
    pressure = ("ABP",) if equipment.has_pressure else ()
    full = (ecg, *pulse, *pressure, "RESP")
    sets = [full, (ecg, equipment.second_lead, *pulse, "RESP") if ecg == "II" else full, (ecg, "RESP", *pulse)]
    poor = [pulse or (ecg,), (ecg, *pressure), (ecg,)]
    plans: list[SegmentPlan] = []
    position = 0

    def add(seconds: float, channels: tuple[str, ...]) -> None:
        nonlocal position
        n = min(n_samples - position, max(1, round(seconds * fs)))
        if n > 0:
            plans.append(SegmentPlan(position, n, channels))
            position += n

    duration_s = n_samples / fs
    if rng.random() < 0.6:
        add(float(rng.uniform(0.5, min(30.0, 0.02 * duration_s + 1))), ())
    if rng.random() < 0.5:
        add(float(rng.uniform(4, 20)), poor[int(rng.integers(3))])
    while position < n_samples:
        channels = sets[int(rng.choice(3, p=[0.6, 0.2, 0.2]))]
        longest_s = min(LONGEST_SEGMENT_S, max(120.0, 0.6 * duration_s))
        add(float(rng.uniform(0.3, 1.0)) * longest_s, channels)
        if n_samples - position < 5 * fs:
            add(n_samples, channels)
            break
        if rng.random() < 0.4:
            add(float(rng.uniform(2, 10 + 0.04 * duration_s)), ())
        if rng.random() < 0.25:
            add(float(rng.uniform(5, 15 + 0.06 * duration_s)), poor[int(rng.integers(3))])
    return plans


def _render_segment(
    segment: SegmentPlan,
    beats: Beats,
    rr_before_s: FloatArray,
    traits: RhythmTraits,
    morphology: Morphology,
    equipment: Equipment,
    delay_s: float,
    rng: np.random.Generator,
) -> tuple[list[Channel], list[tuple[str, Artefact]]]:
    fs = SAMPLING_RATE_HZ
    times_s = (segment.first_sample + np.arange(segment.n_samples)) / fs
    near = slice(*np.searchsorted(beats.times_s, [times_s[0] - 2.0, times_s[-1] + 2.0]))
    local = Beats(beats.times_s[near], beats.kinds[near], beats.fibrillating[near])
    local_rr_s = rr_before_s[near]
    breathing = np.sin(rhythm.respiration_phase(traits, times_s)).astype(np.float32)
    channels: list[Channel] = []
    spoilt: list[tuple[str, Artefact]] = []
    for name in segment.channels:
        if name in LEADS:
            samples = waveforms.render_ecg(local, local_rr_s, morphology, name, times_s, fs, breathing, rng)
            samples += np.float32(rng.uniform(0.02, 0.1)) * breathing
            # A converter set too high loses the tips of the QRS: one or two samples in a hundred.
            share, beyond = (1.0, 0.5) if equipment.saturates else (float(rng.uniform(0.55, 0.8)), 0.2)
            gain, baseline = wfdb_files.calibration(samples, share, beyond)
            spoilt += [(name, a) for a in spoil_ecg(samples, fs, equipment.mains_mv, equipment.noise_mv, rng)]
            channels.append(Channel(name, "mV", samples, gain, baseline, equipment.saturates))
        elif name in ("PLETH", "ABP"):
            lead_s = delay_s if name == "PLETH" else delay_s - 0.06
            samples = waveforms.render_pulses(local, local_rr_s, morphology, lead_s, times_s, fs, breathing)
            if name == "PLETH":
                height, floor, units = morphology.pulse_amplitude_nu, 0.3, "NU"
            else:
                floor = morphology.diastolic_mmhg
                height, units = morphology.systolic_mmhg - floor, "mmHg"
            samples = np.float32(floor) + np.float32(height) * samples
            gain, baseline = wfdb_files.calibration(samples, float(rng.uniform(0.5, 0.8)))
            spoilt += [(name, a) for a in spoil_pulse(samples, fs, height, rng)]
            channels.append(Channel(name, units, samples, gain, baseline))
        else:
            samples = 0.5 + 0.3 * breathing + np.float32(0.02) * waveforms.slow_noise(len(breathing), fs, 1.0, rng)
            gain, baseline = wfdb_files.calibration(samples, 0.7)
            channels.append(Channel("RESP", "pm", samples, gain, baseline))
    return channels, spoilt


def _write_numerics(
    folder: Path,
    name: str,
    dat_name: str,
    start: datetime,
    duration_s: float,
    beats: Beats,
    traits: RhythmTraits,
    equipment: Equipment,
    rng: np.random.Generator,
) -> None:
    rate_hz = float(rng.choice([1.0, 1 / 60]))
    times_s = np.arange(0, max(1, int(duration_s * rate_hz))) / rate_hz
    heart_rate = _heart_rate(beats, times_s)
    pulse = heart_rate if equipment.has_pulse else np.full_like(heart_rate, np.nan)
    breaths = np.full_like(heart_rate, 60 * traits.respiration_hz)
    saturation = (97 + waveforms.slow_noise(len(times_s), rate_hz, max(30.0, 2 / rate_hz), rng)).clip(85, 100)
    values: dict[str, tuple[str, Signal]] = {
        "HR": ("bpm", heart_rate),
        "PULSE": ("bpm", pulse),
        "RESP": ("pm", breaths),
        "SpO2": ("%", saturation if equipment.has_pulse else np.full_like(heart_rate, np.nan)),
    }
    wfdb_files.write_numerics(folder, name, dat_name, start, rate_hz, values)


def _heart_rate(beats: Beats, times_s: FloatArray) -> Signal:
    """Beats a minute over the last 10 s, as a monitor shows it."""
    last = np.searchsorted(beats.times_s, times_s)
    first = np.searchsorted(beats.times_s, times_s - 10.0)
    n = last - first
    span = beats.times_s[np.maximum(last - 1, 0)] - beats.times_s[np.minimum(first, len(beats.times_s) - 1)]
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = np.where(n > 2, 60 * (n - 1) / span, np.nan)
    return np.rint(rate).astype(np.float32)


def _charted(plan: RecordPlan, beats: Beats, rng: np.random.Generator) -> list[tuple[datetime, str, int]]:
    """The rhythm as a nurse charts it, every half hour, one in twenty wrong."""
    charted = []
    times_s = np.arange(float(rng.uniform(30, 300)), plan.duration_s, 1800.0)
    for moment_s, rate in zip(times_s, _heart_rate(beats, times_s), strict=True):
        if np.isnan(rate):
            continue
        nearest = min(int(np.searchsorted(beats.times_s, moment_s)), len(beats.times_s) - 1)
        fibrillating = bool(beats.fibrillating[nearest]) != bool(rng.random() < 0.05)
        sinus = (
            "SR (Sinus Rhythm)"
            if 60 <= rate <= 100
            else "ST (Sinus Tachycardia)"
            if rate > 100
            else "SB (Sinus Bradycardia)"
        )
        moment = (plan.start + timedelta(seconds=float(moment_s))).replace(second=0, microsecond=0)
        charted.append((moment, "AF (Atrial Fibrillation)" if fibrillating else sinus, int(rate)))
    return charted


def _windows_with_both(plans: list[SegmentPlan]) -> int:
    """10 s windows, at multiples of 10 s on the record's clock, with ECG and PPG throughout."""
    window = round(WINDOW_S * SAMPLING_RATE_HZ)
    total, begin, end = 0, 0, 0
    for plan in (*plans, SegmentPlan(-1, 0, ())):
        both = "PLETH" in plan.channels and any(c in LEADS for c in plan.channels)
        if both and plan.first_sample == end:
            end += plan.n_samples
            continue
        total += max(0, end // window - -(-begin // window))
        begin, end = (plan.first_sample, plan.first_sample + plan.n_samples) if both else (0, 0)
    return total
