"""When the heart beats: sinus rhythm, atrial fibrillation, ectopy, each with its own intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

SINUS, FIBRILLATION, BIGEMINY = "sinus", "atrial_fibrillation", "bigeminy"
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
    duration_s = episodes[-1].end_s
    knots_s = np.arange(0.0, duration_s + 120.0, 60.0)
    drift = _autoregressive(len(knots_s), 0.8, rng) * traits.rr_drift
    times: list[FloatArray] = []
    kinds: list[NDArray[np.str_]] = []
    fibrillating: list[NDArray[np.bool_]] = []
    last_s = -float(rng.uniform(0.0, 0.7))
    for episode in episodes:
        n = int((episode.end_s - last_s) / 0.25) + 8
        if episode.rhythm == FIBRILLATION:
            rr = _fibrillation_rr(traits, n, rng)
            kind = np.full(n, NORMAL_BEAT)
        else:
            rr = _sinus_rr(traits, last_s, n, knots_s, drift, rng)
            rr, kind = _with_ectopy(traits, rr, episode.rhythm == BIGEMINY, rng)
        t = last_s + np.cumsum(rr)
        inside = t < episode.end_s
        if not inside.any():
            continue
        times.append(t[inside])
        kinds.append(kind[inside])
        fibrillating.append(np.full(int(inside.sum()), episode.rhythm == FIBRILLATION))
        last_s = float(t[inside][-1])
    t, k, f = np.concatenate(times), np.concatenate(kinds), np.concatenate(fibrillating)
    kept = t >= 0
    return Beats(t[kept], k[kept], f[kept])


def _sinus_rr(
    traits: RhythmTraits,
    start_s: float,
    n: int,
    knots_s: FloatArray,
    drift: FloatArray,
    rng: np.random.Generator,
) -> FloatArray:
    noise = rng.normal(0.0, 0.004, n)
    rr = np.full(n, traits.sinus_rr_s)
    # The modulation is a function of time and time the sum of the intervals: three rounds settle it.
    for _ in range(3):
        t = start_s + np.cumsum(rr)
        rr = (
            traits.sinus_rr_s * (1 + np.interp(t, knots_s, drift))
            + traits.respiratory_rr_s * np.sin(respiration_phase(traits, t))
            + traits.slow_rr_s * np.sin(2 * np.pi * 0.1 * t + 1.0)
            + noise
        )
    return np.maximum(rr, 0.33)


def _fibrillation_rr(traits: RhythmTraits, n: int, rng: np.random.Generator) -> FloatArray:
    # A refractory minimum and a gamma tail above it: irregular without memory, as AV conduction in AF.
    refractory_s = 0.3
    excess_s = traits.fibrillation_rr_s - refractory_s
    shape = (excess_s / (traits.fibrillation_rr_cv * traits.fibrillation_rr_s)) ** 2
    return np.clip(refractory_s + rng.gamma(shape, excess_s / shape, n), refractory_s, 2.4)


def _with_ectopy(
    traits: RhythmTraits, rr: FloatArray, bigeminy: bool, rng: np.random.Generator
) -> tuple[FloatArray, NDArray[np.str_]]:
    n = len(rr)
    kinds = np.full(n, NORMAL_BEAT)
    if bigeminy:
        kinds[1::2] = VENTRICULAR_BEAT
    else:
        draw = rng.random(n)
        kinds[draw < traits.atrial_share] = ATRIAL_BEAT
        kinds[draw > 1 - traits.ventricular_share] = VENTRICULAR_BEAT
        early = kinds != NORMAL_BEAT
        kinds[1:][early[1:] & early[:-1]] = NORMAL_BEAT  # no two early beats in a row
    rr, normal = rr.copy(), rr
    ventricular = np.flatnonzero(kinds == VENTRICULAR_BEAT)
    rr[ventricular] = np.maximum(normal[ventricular] * rng.uniform(0.5, 0.72, len(ventricular)), 0.3)
    after = ventricular[ventricular + 1 < n]
    rr[after + 1] = 2 * normal[after] - rr[after]  # full compensatory pause
    atrial = np.flatnonzero(kinds == ATRIAL_BEAT)
    rr[atrial] = np.maximum(normal[atrial] * rng.uniform(0.6, 0.8, len(atrial)), 0.3)
    after = atrial[atrial + 1 < n]
    rr[after + 1] = normal[after] * rng.uniform(1.0, 1.12, len(after))  # the sinus node is reset
    return rr, kinds


def _autoregressive(n: int, memory: float, rng: np.random.Generator) -> FloatArray:
    steps = rng.normal(0.0, np.sqrt(1 - memory**2), n)
    out = np.empty(n)
    value = float(rng.normal())
    for i, step in enumerate(steps):
        value = memory * value + step
        out[i] = value
    return out
