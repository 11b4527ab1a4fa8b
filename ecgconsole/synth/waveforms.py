"""What the beats look like: ECG leads, pulse waves and breathing as sums of Gaussians on a sample grid.

The ECG follows the idea of McSharry et al., "A dynamical model for generating synthetic
electrocardiogram signals", IEEE TBME 50 (2003): each wave is a Gaussian at a phase of the beat. Here
each is evaluated only near its centre, for all beats at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgconsole.synth.rhythm import ATRIAL_BEAT, VENTRICULAR_BEAT, Beats, FloatArray

Signal = NDArray[np.float32]

LEADS = ("II", "V", "AVR", "III", "MCL1", "I")


@dataclass(frozen=True)
class Wave:
    """One Gaussian of a beat: when, how wide, how high in each of ``LEADS`` (mV)."""

    offset_s: float
    sigma_s: float
    amplitude_mv: FloatArray
    follows_rr: bool = False  # repolarisation: later and wider in longer cycles


@dataclass(frozen=True)
class Morphology:
    """One person's shapes: the same in every record of that person, different between persons."""

    atrial: tuple[Wave, ...]
    normal: tuple[Wave, ...]
    ventricular: tuple[Wave, ...]
    fibrillation_hz: float
    fibrillation_mv: FloatArray
    pulse_delay_s: float
    pulse_sigma_s: float
    pulse_peak_s: float
    reflection: float
    reflection_s: float
    reflection_sigma_s: float
    pulse_amplitude_nu: float
    respiratory_share: float
    systolic_mmhg: float
    diastolic_mmhg: float


def draw_morphology(age_years: float, rng: np.random.Generator) -> Morphology:
    def leads(in_ii: float) -> FloatArray:
        # V, AVR, III, MCL1 and I as a person's axis has them: a typical ratio to II with its own spread.
        ratios = np.array([1.0, 0.9, -0.85, 0.55, 0.6, 0.65]) * np.exp(rng.normal(0, 0.25, 6))
        ratios[0] = 1.0
        return in_ii * ratios

    def wave(offset_s: float, sigma_s: float, in_ii: float, follows_rr: bool = False) -> Wave:
        return Wave(offset_s, sigma_s, leads(in_ii), follows_rr)

    u = rng.uniform
    pr_s = u(0.13, 0.2)
    width = u(0.85, 1.25)
    r_mv = float(np.exp(rng.normal(np.log(0.95), 0.35)))
    normal = [
        wave(-0.028 * width, 0.009 * width, -r_mv * u(0.0, 0.22)),
        wave(0.0, 0.011 * width, r_mv),
        wave(0.03 * width, 0.011 * width, -r_mv * u(0.02, 0.45)),
    ]
    if rng.random() < 0.12:  # bundle branch block: a second, late hump
        normal.append(wave(u(0.05, 0.075), u(0.016, 0.024), r_mv * u(0.3, 0.7)))
    if rng.random() < 0.25:  # ST deviation
        normal.append(wave(u(0.12, 0.15), 0.04, u(-0.12, 0.12), follows_rr=True))
    t_s, t_sigma_s = u(0.27, 0.34), u(0.042, 0.065)
    t_mv = r_mv * u(0.12, 0.4) * (1 if rng.random() < 0.85 else -0.6)
    normal.append(wave(t_s, t_sigma_s, t_mv, follows_rr=True))
    normal.append(wave(t_s + t_sigma_s, t_sigma_s * 0.6, t_mv * u(0.0, 0.35), follows_rr=True))
    sign = 1 if rng.random() < 0.7 else -1
    v_mv = r_mv * u(1.1, 1.9) * sign
    ventricular = (
        wave(-0.005, u(0.026, 0.036), v_mv),
        wave(u(0.055, 0.08), u(0.024, 0.034), -v_mv * u(0.25, 0.6)),
        wave(u(0.28, 0.33), u(0.06, 0.08), -v_mv * u(0.3, 0.5), follows_rr=True),
    )
    stiffness = np.clip((age_years - 20) / 70, 0, 1)
    diastolic = u(50, 80)
    return Morphology(
        atrial=(wave(-pr_s, u(0.016, 0.026), u(0.06, 0.2)),),
        normal=tuple(normal),
        ventricular=ventricular,
        fibrillation_hz=u(5.0, 8.0),
        fibrillation_mv=leads(u(0.025, 0.09)),
        pulse_delay_s=u(0.2, 0.26) - 0.04 * stiffness,
        pulse_sigma_s=u(0.055, 0.075),
        pulse_peak_s=u(0.12, 0.16),
        reflection=u(0.2, 0.5) + 0.25 * stiffness,
        reflection_s=u(0.2, 0.26) - 0.05 * stiffness,
        reflection_sigma_s=u(0.08, 0.12),
        pulse_amplitude_nu=u(0.15, 0.6),
        respiratory_share=u(0.02, 0.15),
        systolic_mmhg=diastolic + u(35, 80),
        diastolic_mmhg=diastolic,
    )


def render_ecg(
    beats: Beats,
    rr_before_s: FloatArray,
    morphology: Morphology,
    lead: str,
    times_s: FloatArray,
    sampling_rate_hz: float,
    breathing: Signal,
    rng: np.random.Generator,
) -> Signal:
    """One lead in mV on the regular grid ``times_s`` (record clock), without noise.

    ``beats`` are those that may reach into the grid, ``rr_before_s`` their preceding intervals.
    """
    column = LEADS.index(lead)
    start_s, n = float(times_s[0]), len(times_s)
    centre = beats.times_s - start_s
    ventricular = beats.kinds == VENTRICULAR_BEAT
    conducted = ~ventricular
    p_waves = conducted & ~beats.fibrillating
    stretch = np.sqrt(np.clip(rr_before_s, 0.35, 1.5))
    # Beat-to-beat differences of the person's own shape: breathing moves the axis, and nothing is exact.
    scale = 1 + rng.normal(0, 0.02, len(centre))
    ecg = np.zeros(n, np.float32)
    for waves, chosen in (
        (morphology.atrial, p_waves),
        (morphology.normal, conducted),
        (morphology.ventricular, ventricular),
    ):
        if not chosen.any():
            continue
        for wave in waves:
            pace = stretch[chosen] if wave.follows_rr else np.ones(int(chosen.sum()))
            amplitude = wave.amplitude_mv[column] * scale[chosen]
            if waves is morphology.atrial:
                amplitude = np.where(beats.kinds[chosen] == ATRIAL_BEAT, -0.6 * amplitude, amplitude)
            add_gaussians(ecg, centre[chosen] + wave.offset_s * pace, amplitude, wave.sigma_s * pace, sampling_rate_hz)
    ecg *= 1 + np.float32(0.06) * breathing
    if beats.fibrillating.any():
        ecg += _fibrillatory_waves(beats, morphology, column, times_s, rng)
    return ecg


def render_pulses(
    beats: Beats,
    rr_before_s: FloatArray,
    morphology: Morphology,
    delay_s: float,
    times_s: FloatArray,
    sampling_rate_hz: float,
    breathing: Signal,
) -> Signal:
    """Pulse waves, the person's ordinary one 1 high, on the grid ``times_s``: the shape of PPG and pressure.

    ``delay_s``: from the R peak to the foot of the pulse.
    """
    height = pulse_heights(beats, rr_before_s)
    foot = beats.times_s - float(times_s[0]) + delay_s
    pace = np.clip(rr_before_s, 0.4, 1.3) ** 0.35
    pulse = np.zeros(len(times_s), np.float32)
    for offset_s, sigma_s, share in (
        (morphology.pulse_peak_s, morphology.pulse_sigma_s, 1.0),
        (morphology.pulse_peak_s + morphology.reflection_s, morphology.reflection_sigma_s, morphology.reflection),
    ):
        add_gaussians(pulse, foot + offset_s * pace, share * height, sigma_s * pace, sampling_rate_hz)
    pulse *= 1 + np.float32(morphology.respiratory_share) * breathing
    return pulse


def pulse_heights(beats: Beats, rr_before_s: FloatArray) -> FloatArray:
    """Height of each beat's pulse: filling takes time, so an early beat ejects little or nothing."""
    filling = 1.15 * (1 - np.exp(-np.maximum(rr_before_s - 0.22, 0.0) / 0.28))
    return filling * np.where(beats.kinds == VENTRICULAR_BEAT, 0.6, 1.0)


def pulse_peak_times_s(beats: Beats, rr_before_s: FloatArray, morphology: Morphology, delay_s: float) -> FloatArray:
    """When each beat's pulse is highest, seconds from the record's first sample."""
    return beats.times_s + delay_s + morphology.pulse_peak_s * np.clip(rr_before_s, 0.4, 1.3) ** 0.35


def add_gaussians(
    signal: Signal, centres_s: FloatArray, amplitudes: FloatArray, sigmas_s: FloatArray, sampling_rate_hz: float
) -> None:
    """Adds a Gaussian at each centre (seconds from the first sample, any fraction of one), in place."""
    if len(centres_s) == 0:
        return
    n = len(signal)
    half = int(np.ceil(4 * float(np.max(sigmas_s)) * sampling_rate_hz))
    centres = centres_s * sampling_rate_hz
    reaching = (centres > -half) & (centres < n + half)
    centres, amplitudes, sigmas = centres[reaching], amplitudes[reaching], sigmas_s[reaching] * sampling_rate_hz
    nearest = np.rint(centres).astype(np.int64)
    offsets = np.arange(-half, half + 1)
    distance = ((nearest - centres)[:, None] + offsets) / sigmas[:, None]
    values = amplitudes[:, None] * np.exp(-0.5 * distance.astype(np.float32) ** 2)
    positions = nearest[:, None] + (offsets + 2 * half)
    total = np.bincount(positions.ravel(), weights=values.ravel(), minlength=n + 4 * half + 1)
    signal += total[2 * half : 2 * half + n].astype(np.float32)


def slow_noise(n: int, sampling_rate_hz: float, knot_s: float, rng: np.random.Generator) -> Signal:
    """Unit noise below about ``1 / (2 knot_s)`` Hz: random knots, smoothly joined."""
    step = knot_s * sampling_rate_hz
    knots = rng.standard_normal(int(n / step) + 4)
    x = np.arange(n) / step
    i = x.astype(np.int64)
    f = x - i
    ease = f * f * (3 - 2 * f)
    return (knots[i] * (1 - ease) + knots[i + 1] * ease).astype(np.float32)


def _fibrillatory_waves(
    beats: Beats, morphology: Morphology, column: int, times_s: FloatArray, rng: np.random.Generator
) -> Signal:
    n = len(times_s)
    sampling_rate_hz = 1 / (times_s[1] - times_s[0]) if n > 1 else 1.0
    wobble = slow_noise(n, sampling_rate_hz, 0.8, rng)
    frequency = morphology.fibrillation_hz * (1 + 0.08 * wobble)
    phase = 2 * np.pi * np.cumsum(frequency) / sampling_rate_hz
    envelope = 0.75 + 0.25 * slow_noise(n, sampling_rate_hz, 0.6, rng)
    active = np.interp(times_s, beats.times_s, beats.fibrillating.astype(np.float64))
    waves = morphology.fibrillation_mv[column] * envelope * active * (np.sin(phase) + 0.35 * np.sin(2 * phase))
    return waves.astype(np.float32)
