"""Augmentations that change how a segment looks and not its rhythm, on whole batches.

None of them moves a beat against another: there is no time-warp and no resampling, because on a regular
rhythm a time-warp makes RR intervals as irregular as atrial fibrillation.

All randomness of one segment is a row of uniform numbers, drawn from (seed, epoch, batch) by ``draw`` on the CPU;
white noise is cut from one fixed bank at a drawn place. So a view depends neither on the number of threads or
processes that prepare batches nor on the device.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ecgconsole.training.encoder import SD_FLOOR, normalise
from ecgconsole.training.sampler import AUGMENT_STREAM

# Limits, in standard deviations of the segment where they are amplitudes.
NOISE_SD = 0.4
WANDER_SD = 0.5
WANDER_HZ = (0.05, 0.5)
MAINS_SD = 0.15
MAINS_HZ = (50.0, 60.0)
GAIN_DRIFT = 0.3
GAIN_DRIFT_HZ = (0.05, 0.4)
DROPPED_SECONDS = 2.0
SMOOTHING_SECONDS = 0.04
# Amplitudes to a power between 2 ** -BEND and 2 ** BEND.
BEND = 0.5
# A delayed copy of up to this share and delay, either sign.
ECHO = 0.6
ECHO_SECONDS = 0.032
FLIP_SHARE = (0.5, 0.0)

_NAMES = (
    "offset", "noise", "noise_at", "wander", "wander_hz", "wander_phase", "mains", "mains_hz", "mains_phase",
    "drift", "drift_hz", "drift_phase", "drop", "drop_at", "smooth", "flip", "bend", "echo", "echo_at",
)  # fmt: skip
N_DRAWS = len(_NAMES)
_NOISE_BANK_SAMPLES = 1 << 20


def draw(seed: int, epoch: int, batch: int, n: int, stream: int = 0) -> NDArray[np.float32]:
    """Uniform numbers for the views of one batch: float32 (views 2, n, signals 2, N_DRAWS)."""
    rng = np.random.default_rng([AUGMENT_STREAM, seed, epoch, batch, stream])
    return rng.random((n, 2, 2, N_DRAWS), dtype=np.float32).transpose(1, 0, 2, 3)


def crop_samples(sampling_rate_hz: float, shift_seconds: float) -> int:
    """How many samples shorter than its segment a view is, so that it can lie ``shift_seconds`` off either way."""
    return 2 * round(shift_seconds * sampling_rate_hz)


def augment(signal: Tensor, uniform: Tensor, sampling_rate_hz: float, shorter_by: int) -> Tensor:
    """Views of segments: (n, 2, T) physical and uniform (n, 2, N_DRAWS) to (n, 2, T - shorter_by), in units of sd.

    Each signal of each segment gets, independently: a crop of the same rate, smoothing or sharpening, an echo of a few
    hundredths of a second and bent amplitudes (waves of another shape at the same times, as from an electrode
    elsewhere), slow gain drift, baseline wander, mains, white noise, one block dropped (half of the segments), and
    half of the ECG are turned upside down. A signal that is all zero stays near zero but for noise.
    """
    u = dict(zip(_NAMES, uniform.unbind(-1), strict=True))
    x = torch.stack([normalise(signal[:, c], floor) for c, floor in enumerate(SD_FLOOR)], dim=1)
    x = _crop(x, u["offset"], shorter_by)
    samples = x.shape[-1]
    time_s = torch.arange(samples, device=x.device, dtype=torch.float32) / sampling_rate_hz

    width = 2 * round(SMOOTHING_SECONDS * sampling_rate_hz / 2) + 1
    smooth = F.avg_pool1d(x, width, 1, width // 2, count_include_pad=False)
    x = torch.lerp(x, smooth, (1.5 * u["smooth"] - 0.5).unsqueeze(-1))
    x = _bent(_with_echo(x, u["echo"], u["echo_at"], sampling_rate_hz), u["bend"])
    x = x * (1 + _sine(time_s, GAIN_DRIFT * u["drift"], _between(GAIN_DRIFT_HZ, u["drift_hz"]), u["drift_phase"]))
    x = x + _sine(time_s, WANDER_SD * u["wander"], _between(WANDER_HZ, u["wander_hz"]), u["wander_phase"])
    if sampling_rate_hz > 2 * max(MAINS_HZ):
        mains_hz = torch.where(u["mains_hz"] < 0.5, *MAINS_HZ)
        x = x + _sine(time_s, MAINS_SD * (2 * u["mains"] - 1).clamp_min(0), mains_hz, u["mains_phase"])
    x = x + NOISE_SD * u["noise"].square().unsqueeze(-1) * _noise(u["noise_at"], samples)
    x = x * ~_dropped(time_s, u["drop"], u["drop_at"])
    flip = u["flip"] < torch.tensor(FLIP_SHARE, device=x.device)
    return torch.where(flip.unsqueeze(-1), -x, x)


def _between(limits: tuple[float, float], u: Tensor) -> Tensor:
    return limits[0] + (limits[1] - limits[0]) * u


def _crop(x: Tensor, u: Tensor, shorter_by: int) -> Tensor:
    """(n, 2, T) to (n, 2, T - shorter_by), each signal from its own offset."""
    if shorter_by == 0:
        return x
    offset = (u * (shorter_by + 1)).long().clamp_max(shorter_by)
    index = offset.unsqueeze(-1) + torch.arange(x.shape[-1] - shorter_by, device=x.device)
    return x.gather(-1, index)


def _with_echo(x: Tensor, u_share: Tensor, u_delay: Tensor, sampling_rate_hz: float) -> Tensor:
    """x(t) + share x(t + delay): one filter for the whole segment, which moves all beats alike."""
    samples = x.shape[-1]
    delay = 1 + (u_delay * ECHO_SECONDS * sampling_rate_hz).long().clamp_max(samples - 1)
    index = (torch.arange(samples, device=x.device) + delay.unsqueeze(-1)).clamp_max(samples - 1)
    return x + (ECHO * (2 * u_share - 1)).unsqueeze(-1) * x.gather(-1, index)


def _bent(x: Tensor, u: Tensor) -> Tensor:
    """Amplitudes to a power, signs kept: small waves beside large ones grow or shrink."""
    return x.sign() * x.abs() ** torch.exp2(BEND * (2 * u - 1)).unsqueeze(-1)


def _sine(time_s: Tensor, amplitude: Tensor, frequency_hz: Tensor, phase: Tensor) -> Tensor:
    """(n, 2) parameters to (n, 2, samples)."""
    angle = 2 * math.pi * (frequency_hz.unsqueeze(-1) * time_s + phase.unsqueeze(-1))
    return amplitude.unsqueeze(-1) * torch.sin(angle)


def _dropped(time_s: Tensor, u_length: Tensor, u_place: Tensor) -> Tensor:
    """Bool (n, 2, samples): in half of the segments one block of at most ``DROPPED_SECONDS``."""
    length_s = (DROPPED_SECONDS * (2 * u_length - 1).clamp_min(0)).unsqueeze(-1)
    begin_s = u_place.unsqueeze(-1) * (time_s[-1] - length_s).clamp_min(0)
    return (time_s >= begin_s) & (time_s < begin_s + length_s)


def _noise(u_place: Tensor, samples: int) -> Tensor:
    """Standard normal (n, 2, samples), cut from the bank."""
    bank = _noise_bank(str(u_place.device))
    begin = (u_place * (len(bank) - samples)).long()
    return bank.unfold(0, samples, 1)[begin]


@lru_cache(maxsize=4)
def _noise_bank(device: str) -> Tensor:
    noise = np.random.default_rng([AUGMENT_STREAM]).standard_normal(_NOISE_BANK_SAMPLES, dtype=np.float32)
    return torch.from_numpy(noise).to(device)
