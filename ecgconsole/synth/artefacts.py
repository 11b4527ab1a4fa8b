"""What goes wrong at the bedside: noise, movement, leads that fall off, converters that clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ecgconsole.synth.waveforms import Signal, slow_noise

# Episodes an hour, and the shortest and longest length in seconds, of each artefact.
ECG_ARTEFACTS = {
    "muscle_noise": (4.0, 2.0, 20.0),
    "motion": (2.0, 3.0, 15.0),
    "lead_off": (1.0, 2.0, 40.0),
    "flat": (0.6, 5.0, 30.0),
    "clipping": (0.6, 5.0, 20.0),
}
PULSE_ARTEFACTS = {
    "motion": (8.0, 3.0, 40.0),
    "flat": (1.5, 5.0, 60.0),
    "no_sample": (0.8, 1.0, 20.0),
}


@dataclass(frozen=True)
class Artefact:
    """A stretch of a channel that is spoilt; seconds from the segment's first sample."""

    start_s: float
    end_s: float
    kind: str


def spoil_ecg(
    ecg: Signal, sampling_rate_hz: float, mains_mv: float, noise_mv: float, rng: np.random.Generator
) -> list[Artefact]:
    """Adds mains (60 Hz), wander and noise to a lead in mV, and artefacts; in place. Returns the artefacts."""
    n = len(ecg)
    phase = 2 * np.pi * 60.0 / sampling_rate_hz * np.arange(n) + rng.uniform(0, 2 * np.pi)
    ecg += (mains_mv * np.sin(phase)).astype(np.float32)
    ecg += np.float32(0.08) * slow_noise(n, sampling_rate_hz, 2.5, rng)
    ecg += np.float32(noise_mv) * rng.standard_normal(n, dtype=np.float32)
    artefacts = _draw(ECG_ARTEFACTS, n / sampling_rate_hz, rng)
    for artefact in artefacts:
        part = ecg[_samples(artefact, sampling_rate_hz)]
        if artefact.kind == "muscle_noise":
            part += np.float32(rng.uniform(0.05, 0.3)) * rng.standard_normal(len(part), dtype=np.float32)
        elif artefact.kind == "motion":
            part += np.float32(rng.uniform(0.5, 2.0)) * slow_noise(len(part), sampling_rate_hz, 0.4, rng)
        elif artefact.kind == "lead_off":
            part[:] = np.nan
        elif artefact.kind == "flat":
            part[:] = np.float32(rng.uniform(-0.3, 0.3))
        elif artefact.kind == "clipping":
            part += np.float32(rng.choice([-8.0, 8.0]))
    return artefacts


def spoil_pulse(pulse: Signal, sampling_rate_hz: float, height: float, rng: np.random.Generator) -> list[Artefact]:
    """Adds wander, noise and artefacts to a pulse wave of the given ``height``; in place."""
    n = len(pulse)
    pulse += np.float32(0.12 * height) * slow_noise(n, sampling_rate_hz, 4.0, rng)
    pulse += np.float32(0.01 * height) * rng.standard_normal(n, dtype=np.float32)
    artefacts = _draw(PULSE_ARTEFACTS, n / sampling_rate_hz, rng)
    for artefact in artefacts:
        part = pulse[_samples(artefact, sampling_rate_hz)]
        if artefact.kind == "motion":
            part += np.float32(height * rng.uniform(0.6, 2.5)) * slow_noise(len(part), sampling_rate_hz, 0.18, rng)
        elif artefact.kind == "flat":
            part[:] = part[0]
        elif artefact.kind == "no_sample":
            part[:] = np.nan
    return artefacts


def _draw(table: dict[str, tuple[float, float, float]], duration_s: float, rng: np.random.Generator) -> list[Artefact]:
    artefacts = []
    for kind, (per_hour, shortest_s, longest_s) in table.items():
        for _ in range(rng.poisson(per_hour * duration_s / 3600)):
            start = rng.uniform(0, duration_s)
            end = min(duration_s, start + rng.uniform(shortest_s, longest_s))
            artefacts.append(Artefact(round(start, 3), round(end, 3), kind))
    # Samples that are lost or clipped come last: nothing is added to them afterwards.
    return sorted(artefacts, key=lambda a: (a.kind in ("flat", "lead_off", "no_sample", "clipping"), a.start_s))


def _samples(artefact: Artefact, sampling_rate_hz: float) -> slice:
    return slice(int(artefact.start_s * sampling_rate_hz), max(1, int(artefact.end_s * sampling_rate_hz)))
