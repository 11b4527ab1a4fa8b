"""Writing WFDB files as the MIMIC-III Waveform Database Matched Subset has them.

Format: PhysioNet, header(5) and signal(5). Format 80 is one unsigned byte a sample, offset by 128;
-128 means "no sample". The checksum is the 16-bit sum of the digital samples, -128 included.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from ecgconsole.synth.waveforms import Signal

NO_SAMPLE = -128


@dataclass(frozen=True)
class Channel:
    """One signal of a segment in physical units; not-a-number where there is no sample.

    ``gain`` (digital units a physical unit) and ``baseline`` (the digital value of physical 0) are the
    segment's own. Values beyond the converter's range clip to it, or, where ``saturation_lost``, are
    stored as "no sample", as some of MIMIC-III's converters did.
    """

    name: str
    units: str
    samples: Signal
    gain: float
    baseline: int
    saturation_lost: bool = False

    @property
    def calibration(self) -> str:
        return f"{self.gain:g}({self.baseline})/{self.units}"


@dataclass(frozen=True)
class SegmentFile:
    """One line of a master header: a segment's name, or ``~`` for a gap, and its samples."""

    name: str
    n_samples: int


def write_segment(folder: Path, name: str, start: datetime, sampling_rate_hz: float, channels: list[Channel]) -> None:
    """Writes ``name.hea`` and ``name.dat`` (format 80, channels interleaved)."""
    n_samples = len(channels[0].samples)
    digital = np.empty((n_samples, len(channels)), np.int16)
    for column, channel in enumerate(channels):
        digital[:, column] = _digitise(channel)
    (folder / f"{name}.dat").write_bytes((digital + 128).astype(np.uint8).tobytes())
    lines = [f"{name} {len(channels)} {sampling_rate_hz:g} {n_samples} {_clock(start)}"]
    for column, channel in enumerate(channels):
        initial, checksum = digital[0, column], _checksum(digital[:, column])
        lines.append(f"{name}.dat 80 {channel.calibration} 8 0 {initial} {checksum} 0 {channel.name}")
    _write_lines(folder / f"{name}.hea", lines)


def write_layout(folder: Path, name: str, start: datetime, sampling_rate_hz: float, channels: list[Channel]) -> None:
    """Writes the layout segment: every channel that occurs in the record, each by its first calibration."""
    lines = [f"{name} {len(channels)} {sampling_rate_hz:g} 0 {_clock(start)}"]
    lines += [f"~ 0 {c.calibration} 8 0 {NO_SAMPLE} 0 0 {c.name}" for c in channels]
    _write_lines(folder / f"{name}.hea", lines)


def write_master(
    folder: Path,
    name: str,
    start: datetime,
    sampling_rate_hz: float,
    n_channels: int,
    segments: list[SegmentFile],
    location: str,
) -> None:
    """Writes the multi-segment header; ``segments`` begin with the layout."""
    n_samples = sum(s.n_samples for s in segments)
    lines = [
        f"{name}/{len(segments)} {n_channels} {sampling_rate_hz:g} {n_samples} {_clock(start)} {start:%d/%m/%Y}",
        *(f"{s.name} {s.n_samples}" for s in segments),
        f"# Location: {location}",
    ]
    _write_lines(folder / f"{name}.hea", lines)


def write_numerics(
    folder: Path, name: str, dat_name: str, start: datetime, rate_hz: float, values: dict[str, tuple[str, Signal]]
) -> None:
    """Writes a numerics record: format 16, a tenth of each unit, -32768 where there is none.

    ``values``: name to units and values; not-a-number where the monitor showed nothing.
    """
    columns = [
        np.where(np.isnan(v), -32768, np.rint(10 * np.nan_to_num(v))).astype(np.int16) for _, v in values.values()
    ]
    (folder / dat_name).write_bytes(np.stack(columns, axis=1).astype("<i2").tobytes())
    rate = "1" if rate_hz == 1 else f"{rate_hz:.12g}/125"
    lines = [f"{name} {len(values)} {rate} {len(columns[0])} {_clock(start)} {start:%d/%m/%Y}"]
    for (label, (units, _)), digital in zip(values.items(), columns, strict=True):
        lines.append(f"{dat_name} 16 10/{units} 16 0 {digital[0]} {_checksum(digital)} 0 {label}")
    _write_lines(folder / f"{name}.hea", lines)


def calibration(samples: Signal, share_of_range: float, beyond_percent: float = 0.2) -> tuple[float, int]:
    """Gain and baseline that spread ``samples``, but ``beyond_percent`` at each end, over that share of 8 bits."""
    ends = [beyond_percent, 100 - beyond_percent]
    low, high = np.percentile(samples[:: max(1, len(samples) // 20000)], ends)
    # As in the archive's headers: three significant digits at most, and a whole baseline.
    gain = float(f"{254 * share_of_range / max(float(high - low), 1e-3):.3g}")
    return gain, round(-gain * float(high + low) / 2)


def segment_start(record_start: datetime, first_sample: int, sampling_rate_hz: float) -> datetime:
    return record_start + timedelta(seconds=first_sample / sampling_rate_hz)


def _digitise(channel: Channel) -> np.ndarray:
    scaled = np.rint(channel.samples * np.float32(channel.gain) + np.float32(channel.baseline))
    missing = np.isnan(scaled)
    if channel.saturation_lost:
        missing |= np.abs(np.nan_to_num(scaled)) > 127
    scaled = np.where(missing, NO_SAMPLE, np.clip(scaled, -127, 127))
    return scaled.astype(np.int16)


def _checksum(digital: np.ndarray) -> int:
    return (int(digital.sum(dtype=np.int64)) + 32768) % 65536 - 32768


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="ascii", newline="\n")
