"""Records made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def write_segment(
    folder: Path,
    name: str,
    channels: dict[str, NDArray[np.float64]],
    rate_hz: float = 125.0,
    gain: float = 1000.0,
    length: int | None = None,
    dat: bool = True,
) -> None:
    """Channels in physical units as a format 16 segment with right checksums; NaN is written as missing."""
    codes = {}
    for channel, values in channels.items():
        scaled = np.rint(np.nan_to_num(values) * gain)
        codes[channel] = np.where(np.isnan(values), -32768, scaled).astype("<i2")
    n = len(next(iter(codes.values())))
    lines = [f"{name} {len(codes)} {rate_hz:g} {n if length is None else length}"]
    for channel, code in codes.items():
        unit = "NU" if channel == "PLETH" else "mV"
        checksum = int(code.astype(np.int64).sum()) % 65536
        lines.append(f"{name}.dat 16 {gain:g}(0)/{unit} 16 0 {int(code[0])} {checksum} 0 {channel}")
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")
    if dat:
        np.stack(list(codes.values()), axis=1).tofile(folder / f"{name}.dat")


def write_master(
    folder: Path, name: str, segments: list[tuple[str, int]], rate_hz: float = 125.0, signals: int = 2
) -> None:
    """A multi-segment header; ``~`` is a gap."""
    total = sum(n for _, n in segments)
    lines = [f"{name}/{len(segments)} {signals} {rate_hz:g} {total} 10:00:00.000 01/01/2150"]
    lines += [f"{segment} {n}" for segment, n in segments]
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")


def ecg_and_ppg(seconds: float, rate_hz: float = 125.0, bpm: float = 75.0, seed: int = 0) -> tuple[NDArray, NDArray]:
    """Narrow R waves with T waves, and pulses that follow; a little noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    ecg, ppg = rng.normal(0, 0.01, len(t)), rng.normal(0, 0.002, len(t))
    for beat in np.arange(0.3, seconds, 60 / bpm):
        # Farther away, a wave of this width is nothing.
        near = slice(max(0, int((beat - 1) * rate_hz)), int((beat + 2) * rate_hz))
        since_s = t[near] - beat
        ecg[near] += np.exp(-((since_s / 0.012) ** 2)) + 0.2 * np.exp(-(((since_s - 0.25) / 0.05) ** 2))
        ppg[near] += 0.5 * np.exp(-(((since_s - 0.35) / 0.09) ** 2))
    return ecg, ppg


def encode(codes: list[int], fmt: int) -> bytes:
    """Interleaved ADC codes as a signal file holds them: slow and obvious, byte by byte, from signal(5)."""
    out = bytearray()
    if fmt == 212:
        padded = [c & 0xFFF for c in codes] + [0] * (len(codes) % 2)
        for a, b in zip(padded[::2], padded[1::2], strict=True):
            out += bytes([a & 0xFF, (a >> 8) | (b >> 8 << 4), b & 0xFF])
        return bytes(out)
    if fmt in (310, 311):
        padded = [c & 0x3FF for c in codes] + [0] * (-len(codes) % 3)
        for i in range(0, len(padded), 3):
            a, b, c = padded[i : i + 3]
            if fmt == 310:
                words = (a << 1 | (c & 0x1F) << 11, b << 1 | (c >> 5) << 11)
                out += words[0].to_bytes(2, "little") + words[1].to_bytes(2, "little")
            else:
                out += (a | b << 10 | c << 20).to_bytes(4, "little")
        return bytes(out)
    for code in codes:
        match fmt:
            case 80:
                out += bytes([code + 128])
            case 16:
                out += (code & 0xFFFF).to_bytes(2, "little")
            case 61:
                out += (code & 0xFFFF).to_bytes(2, "big")
            case 160:
                out += (code + 32768).to_bytes(2, "little")
            case 24:
                out += (code & 0xFFFFFF).to_bytes(3, "little")
            case 32:
                out += (code & 0xFFFFFFFF).to_bytes(4, "little")
    return bytes(out)
