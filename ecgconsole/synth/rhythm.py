"""When the heart beats: sinus rhythm, atrial fibrillation, ectopy, each with its own intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

SINUS, FIBRILLATION, BIGEMINY = "sinus", "atrial_fibrillation", "bigeminy"
_SHORTEST_RR_S = 0.3  # refractory
_STEP_S = 0.1  # of the grid on which the sinus node's interval is tabulated
NORMAL_BEAT, ATRIAL_BEAT, VENTRICULAR_BEAT = "N", "A", "V"  # as in the MIT-BIH annotations


@dataclass(frozen=True)
class RhythmTraits:
    """How one person's heart is driven.

    ``sinus_rr_s`` and ``fibrillation_rr_s`` are mean RR intervals, ``respiratory_rr_s`` and
    ``slow_rr_s`` amplitudes of the respiratory and of the 0.1 Hz modulation, ``rr_drift`` the relative
    standard deviation of the heart rate over minutes; shares are of beats.
    """

    kind: str  # sinus, ectopy, paroxysmal_af, persistent_af
    sinus_rr_s: float
    respiratory_rr_s: float
    slow_rr_s: float
    rr_drift: float
    respiration_hz: float
    fibrillation_rr_s: float
    fibrillation_rr_cv: float
    ventricular_share: float
    atrial_share: float


@dataclass(frozen=True)
class Beats:
    """The beats of a record: R-peak times from its first sample, kinds, and whether in fibrillation."""

    times_s: FloatArray
    kinds: NDArray[np.str_]
    fibrillating: NDArray[np.bool_]

    @property
    def rr_before_s(self) -> FloatArray:
        """The RR interval that ends at each beat (the first beat's is that which follows it)."""
        rr = np.diff(self.times_s)
        return np.concatenate((rr[:1], rr))


@dataclass(frozen=True)
class Episode:
    """A stretch of one rhythm, seconds from the record's first sample."""

    start_s: float
    end_s: float
    rhythm: str


def draw_traits(kind: str, age_years: float, rng: np.random.Generator) -> RhythmTraits:
    """One person's traits. Variability falls with age; patients in intensive care beat fast."""
    vagal = np.clip(1.5 - age_years / 70, 0.15, 1.2)
    ectopic = kind == "ectopy"
    return RhythmTraits(
        kind=kind,
        sinus_rr_s=60 / float(np.clip(rng.normal(84, 14), 50, 130)),
        respiratory_rr_s=float(rng.uniform(0.005, 0.05) * vagal),
        slow_rr_s=float(rng.uniform(0.003, 0.025) * vagal),
        rr_drift=float(rng.uniform(0.01, 0.04)),
        respiration_hz=float(rng.uniform(0.2, 0.38)),
        fibrillation_rr_s=60 / float(np.clip(rng.normal(98, 18), 60, 150)),
        fibrillation_rr_cv=float(rng.uniform(0.16, 0.3)),
        ventricular_share=float(rng.uniform(0.03, 0.15) if ectopic else rng.choice([0.0, 0.001, 0.004])),
        atrial_share=float(rng.uniform(0.01, 0.06) if ectopic else rng.choice([0.0, 0.002, 0.01])),
    )


def respiration_phase(traits: RhythmTraits, times_s: FloatArray) -> FloatArray:
    """Phase of breathing (radians) at ``times_s``: a steady rate with a slow wobble."""
    return 2 * np.pi * traits.respiration_hz * times_s + 0.8 * np.sin(2 * np.pi * times_s / 97.0)


def draw_episodes(traits: RhythmTraits, duration_s: float, rng: np.random.Generator) -> list[Episode]:
    """The rhythms of a record of ``duration_s``, in order, without holes."""
    if traits.kind == "persistent_af":
        return [Episode(0.0, duration_s, FIBRILLATION)]
    other = {"paroxysmal_af": FIBRILLATION, "ectopy": BIGEMINY}.get(traits.kind)
    if other is None:
        return [Episode(0.0, duration_s, SINUS)]
    mean_s = {SINUS: max(90.0, 0.3 * duration_s), other: max(60.0, 0.2 * duration_s)}
    if other == BIGEMINY:
        mean_s[BIGEMINY] = 40.0
    now, rhythm = 0.0, SINUS if rng.random() < 0.6 else other
    episodes: list[Episode] = []
    while now < duration_s:
        end = min(duration_s, now + 30.0 + float(rng.exponential(mean_s[rhythm])))
        if duration_s - end < 15.0:
            end = duration_s
        episodes.append(Episode(now, end, rhythm))
        now, rhythm = end, other if rhythm == SINUS else SINUS
    return episodes


def draw_beats(traits: RhythmTraits, episodes: list[Episode], rng: np.random.Generator) -> Beats:
    """Beats of all episodes, one after another, each episode beginning where the last beat left off."""
    modulation_s = _sinus_modulation(traits, episodes[-1].end_s, rng)
    times: list[FloatArray] = []
    kinds: list[NDArray[np.str_]] = []
    fibrillating: list[NDArray[np.bool_]] = []
    last_s = -float(rng.uniform(0.0, _SHORTEST_RR_S))
    for episode in episodes:
        in_fibrillation = episode.rhythm == FIBRILLATION
        # A refractory time before it at the earliest, so that no beat of an episode lies in the one before.
        last_s = max(last_s, episode.start_s - _SHORTEST_RR_S)
        if in_fibrillation:
            t = _fibrillation_times(traits, last_s, episode.end_s, rng)
            kind = np.full(len(t), NORMAL_BEAT)
        else:
            t, kind = _sinus_times(traits, last_s, episode, modulation_s, rng)
        times.append(t)
        kinds.append(kind)
        fibrillating.append(np.full(len(t), in_fibrillation))
        last_s = float(t[-1]) if len(t) else last_s
    t, k, f = np.concatenate(times), np.concatenate(kinds), np.concatenate(fibrillating)
    kept = t >= 0
    return Beats(t[kept], k[kept], f[kept])


def _sinus_modulation(traits: RhythmTraits, duration_s: float, rng: np.random.Generator) -> FloatArray:
    """The sinus node's interval (s) at every ``_STEP_S`` of a record: drift, breathing, 0.1 Hz waves."""
    knots_s = np.arange(0.0, duration_s + 120.0, 60.0)
    drift = _autoregressive(len(knots_s), 0.8, rng) * traits.rr_drift
    t = np.arange(0.0, duration_s + 5.0, _STEP_S)
    return (
        traits.sinus_rr_s * (1 + np.interp(t, knots_s, drift))
        + traits.respiratory_rr_s * np.sin(respiration_phase(traits, t))
        + traits.slow_rr_s * np.sin(2 * np.pi * 0.1 * t + 1.0)
    )


def _sinus_times(
    traits: RhythmTraits, start_s: float, episode: Episode, modulation_s: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, NDArray[np.str_]]:
    """Sinus beats after ``start_s``, with early ones among them, and the kind of each."""
    n = int((episode.end_s - start_s) / _SHORTEST_RR_S) + 2
    noise_s = rng.normal(0.0, 0.004, n).tolist()
    coupling, draw = rng.random(n).tolist(), rng.random(n).tolist()
    times, kinds = [], []
    now_s, pause_s = start_s, 0.0
    for i in range(n):
        normal_s = max(modulation_s[max(0, int(now_s / _STEP_S))] + noise_s[i], _SHORTEST_RR_S)
        after_early = pause_s > 0
        kind, rr_s, pause_s = NORMAL_BEAT, pause_s or normal_s, 0.0
        # Early beats do not follow each other; in bigeminy every second one is early.
        if not after_early:
            if (i % 2 == 1) if episode.rhythm == BIGEMINY else draw[i] > 1 - traits.ventricular_share:
                kind, rr_s = VENTRICULAR_BEAT, max(normal_s * (0.5 + 0.22 * coupling[i]), _SHORTEST_RR_S)
                pause_s = 2 * normal_s - rr_s  # full compensatory pause
            elif episode.rhythm != BIGEMINY and draw[i] < traits.atrial_share:
                kind, rr_s = ATRIAL_BEAT, max(normal_s * (0.6 + 0.2 * coupling[i]), _SHORTEST_RR_S)
                pause_s = normal_s * (1 + 0.12 * coupling[i])  # the sinus node is reset
        now_s += rr_s
        if now_s >= episode.end_s:
            break
        times.append(now_s)
        kinds.append(kind)
    return np.array(times), np.array(kinds, dtype="U1")


def _fibrillation_times(traits: RhythmTraits, start_s: float, end_s: float, rng: np.random.Generator) -> FloatArray:
    # A refractory minimum and a gamma tail above it: irregular without memory, as AV conduction in AF.
    excess_s = traits.fibrillation_rr_s - _SHORTEST_RR_S
    shape = (excess_s / (traits.fibrillation_rr_cv * traits.fibrillation_rr_s)) ** 2
    n = int((end_s - start_s) / _SHORTEST_RR_S) + 2
    times = start_s + np.cumsum(np.minimum(_SHORTEST_RR_S + rng.gamma(shape, excess_s / shape, n), 2.4))
    return times[times < end_s]


def _autoregressive(n: int, memory: float, rng: np.random.Generator) -> FloatArray:
    steps = rng.normal(0.0, np.sqrt(1 - memory**2), n)
    out = np.empty(n)
    value = float(rng.normal())
    for i, step in enumerate(steps):
        value = memory * value + step
        out[i] = value
    return out
