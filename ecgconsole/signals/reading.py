"""Samples of WFDB signal files, decoded by NumPy, with their checksums verified.

Storage formats are those of signal(5) of the WFDB manual,
https://physionet.org/physiotools/wag/signal-5.htm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgconsole.errors import InputError
from ecgconsole.signals import compiled
from ecgconsole.signals.disk import UnreadableFile, read_bytes
from ecgconsole.signals.headers import UNTRUSTED_FORMATS, Problem, SegmentHeader, SignalSpec, is_absent
from ecgconsole.signals.reasons import Reason
from ecgconsole.text import sanitise

Codes = NDArray[Any]

# The code that stands for "no sample" in each format; format 8 has none.
MISSING_CODE = {
    16: -(2**15), 24: -(2**23), 32: -(2**31), 61: -(2**15), 80: -(2**7), 160: -(2**15), 212: -(2**11), 310: -(2**9),
    311: -(2**9), 508: -(2**7), 516: -(2**15), 524: -(2**23),
}  # fmt: skip
# None of 16 bits.
NO_CODE = -(2**31)
BLOCK_BYTES = 4_000_000
# Of decoded samples, for the checksums and the signals of the same recording.
KEPT_BYTES = 10_000_000
# Every block of this many samples begins at a whole byte, pair (212) and triple (310, 311).
_ALIGNMENT = 6
# Bytes of a sample in formats that are nothing but such numbers.
_PLAIN_BYTES = {16: 2, 80: 1}
_WHOLE_FILE_FORMATS = (8, 508, 516, 524)


class SegmentError(InputError):
    """A segment that cannot be decoded; everything else goes on."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.where}: {problem.detail} ({problem.reason.label})")
        self.problem = problem

    def __reduce__(self) -> tuple[type[SegmentError], tuple[Problem]]:
        return SegmentError, (self.problem,)


@dataclass(frozen=True)
class ChannelSamples:
    """A channel of a segment: ``physical`` float32 (n,), not-a-number where missing."""

    physical: NDArray[np.float32]
    adc_step: float


@dataclass(frozen=True)
class CodeRange:
    """Lowest and highest code of a channel in a segment; ``lowest > highest`` where all are missing."""

    lowest: int
    highest: int


def read_channel(root: Path, record: str, segment: SegmentHeader, channel: int) -> ChannelSamples:
    """A whole channel of a segment, checksum verified. Raises ``SegmentError``."""
    samples = SegmentSamples(root, record)
    samples.verify(segment, (channel,))
    signal = segment.signals[channel]
    codes = samples.codes(segment, channel, 0, segment.length_samples)
    return ChannelSamples(physical_of(codes, signal), signal.adc_step)


def physical_of(codes: Codes, signal: SignalSpec, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Physical units (mV for volts) of ADC codes; a gain of 0 counts as 200 (uncalibrated). Missing: NaN.

    In ``out`` (n,), contiguous, where it is given.
    """
    out = np.empty(len(codes), np.float32) if out is None else out
    # 2**24 is as far as float32 counts exactly.
    wide = codes.dtype.itemsize > 2 or abs(signal.baseline) > 2**23
    kind: type[np.floating] = np.float64 if wide else np.float32
    missing = MISSING_CODE.get(signal.format)
    if not wide and compiled.takes(codes):
        none = NO_CODE if missing is None else missing
        compiled.call("physical", codes, len(codes), none, float(signal.baseline), float(signal.scale), out)
        return out
    physical = codes.astype(kind)
    physical -= kind(signal.baseline)
    physical *= kind(signal.scale)
    if missing is not None:
        mask = codes == missing
        if mask.any():
            physical[mask] = np.nan
    out[:] = physical
    return out


class SegmentSamples:
    """Reads pieces of a record's segments; a file's piece is read and decoded once for all its channels.

    Memory is bounded by the pieces asked for and ``KEPT_BYTES``, whatever the length of the record (formats 8
    and FLAC excepted, which can only be decoded from their beginning).
    """

    def __init__(self, root: Path, record: str) -> None:
        self._folder = (root / record).parent
        self._parent = record.rpartition("/")[0]
        # (segment, file, first frame, last): samples (frame_samples, frames), the oldest first.
        self._kept: dict[tuple[str, str, int, int], Codes] = {}
        self._verified: dict[tuple[str, int], CodeRange | Problem] = {}

    def codes(self, segment: SegmentHeader, channel: int, start: int, stop: int) -> Codes:
        """ADC codes of frames ``start`` to ``stop`` of the segment, ``samples_per_frame`` for each frame."""
        signal = segment.signals[channel]
        if signal.skew == 0:
            return self._stored(segment, channel, start, stop)
        # Skew: the file is ``skew`` frames behind for this signal; the last ones are not recorded.
        length = segment.length_samples
        late = self._stored(segment, channel, min(start + signal.skew, length), min(stop + signal.skew, length))
        result = np.full((stop - start) * signal.samples_per_frame, MISSING_CODE.get(signal.format, 0), late.dtype)
        result[: len(late)] = late
        return result

    def verify(self, segment: SegmentHeader, channels: tuple[int, ...]) -> dict[int, CodeRange]:
        """Reads the channels once and compares their sums with the header's checksums.

        Raises ``SegmentError`` (again on each call) where the sums differ.
        """
        todo = [c for c in channels if (segment.name, c) not in self._verified]
        if todo:
            for channel, outcome in zip(todo, self._check(segment, todo), strict=True):
                self._verified[segment.name, channel] = outcome
        outcomes = {c: self._verified[segment.name, c] for c in channels}
        for outcome in outcomes.values():
            if isinstance(outcome, Problem):
                raise SegmentError(outcome)
        return {c: r for c, r in outcomes.items() if isinstance(r, CodeRange)}

    def _check(self, segment: SegmentHeader, channels: list[int]) -> Iterator[CodeRange | Problem]:
        signals = [segment.signals[c] for c in channels]
        sums = [0] * len(channels)
        lowest, highest = [2**31] * len(channels), [-(2**31)] * len(channels)
        try:
            for start, stop in _blocks(segment):
                for i, channel in enumerate(channels):
                    codes = self._stored(segment, channel, start, stop)
                    total, low, high = sum_and_range(codes, MISSING_CODE.get(signals[i].format, NO_CODE))
                    sums[i] += total
                    lowest[i], highest[i] = min(lowest[i], low), max(highest[i], high)
        except SegmentError as error:
            yield from [error.problem] * len(channels)
            return
        for signal, total, low, high in zip(signals, sums, lowest, highest, strict=True):
            problem = self._checksum_problem(signal, total)
            yield problem if problem is not None else CodeRange(low, high)

    def _checksum_problem(self, signal: SignalSpec, total: int) -> Problem | None:
        """Sums are compared modulo 2**16. Writers that keep no checksum leave the field out, or 0."""
        declared = signal.checksum
        agrees = declared is not None and (total - declared) % 65536 == 0
        where = self._where(signal.file)
        if signal.format in UNTRUSTED_FORMATS and not agrees:
            return Problem(Reason.UNVERIFIED_FORMAT, where, f"format {signal.format}, checksum not confirmed")
        if declared and not agrees and signal.skew == 0:
            detail = f"{signal.name}: checksum {declared % 65536} declared, {total % 65536} found"
            return Problem(Reason.CHECKSUM, where, detail)
        return None

    def _stored(self, segment: SegmentHeader, channel: int, start: int, stop: int) -> Codes:
        """Codes as they lie in the file, skew left alone."""
        signal = segment.signals[channel]
        group = [s for s in segment.signals if s.file == signal.file]
        frame_samples = sum(s.samples_per_frame for s in group)
        before = sum(s.samples_per_frame for s in segment.signals[:channel] if s.file == signal.file)
        if signal.format in _WHOLE_FILE_FORMATS:
            return self._whole_file(segment, channel, frame_samples)[
                start * signal.samples_per_frame : stop * signal.samples_per_frame
            ]
        frames = self._frames(segment, group, frame_samples, start, stop)[before : before + signal.samples_per_frame]
        return frames[0] if len(frames) == 1 else np.ascontiguousarray(frames.T).reshape(-1)

    def _frames(
        self, segment: SegmentHeader, group: list[SignalSpec], frame_samples: int, start: int, stop: int
    ) -> Codes:
        """All samples (frame_samples, stop - start) of frames of a file, that of the signals in ``group``."""
        file = group[0].file
        for (name, of, first, last), kept in self._kept.items():
            if name == segment.name and of == file and first <= start and stop <= last:
                return kept[:, start - first : stop - first]
        # Each signal contiguous: whoever comes next runs over it several times.
        frames = self._signals(group[0], start, stop, frame_samples)
        self._kept[segment.name, file, start, stop] = frames
        while sum(k.nbytes for k in self._kept.values()) > max(KEPT_BYTES, frames.nbytes):
            del self._kept[next(iter(self._kept))]
        return frames

    def _signals(self, signal: SignalSpec, start: int, stop: int, frame_samples: int) -> Codes:
        """Samples (frame_samples, stop - start) of frames of a file, contiguous."""
        at, n = start * frame_samples, stop - start
        width = _PLAIN_BYTES.get(signal.format)
        if width is not None and compiled.available():
            raw = self._bytes(signal.file, signal.byte_offset + at * width, n * frame_samples * width)
            frames = np.empty((frame_samples, n), np.int16)
            compiled.call("deinterleave", raw, width, n, frame_samples, frames)
            return frames
        aligned = at - at % _ALIGNMENT
        codes = self._decoded(signal, aligned, stop * frame_samples)[at - aligned :]
        return np.ascontiguousarray(codes.reshape(n, frame_samples).T)

    def _decoded(self, signal: SignalSpec, first: int, last: int) -> Codes:
        """All interleaved samples ``first`` (a multiple of 6) to ``last`` of a file."""
        to_bytes, decode = _DECODERS[signal.format]
        begin, end = to_bytes(first), to_bytes(last)
        return decode(self._bytes(signal.file, signal.byte_offset + begin, end - begin), last - first)

    def _bytes(self, file: str, start: int, count: int) -> NDArray[np.uint8]:
        try:
            raw = read_bytes(self._folder / file, start, count)
        except (PermissionError, IsADirectoryError) as error:
            raise SegmentError(Problem(Reason.UNREADABLE, self._where(file), "not readable")) from error
        except UnreadableFile as error:
            raise SegmentError(Problem(Reason.UNREADABLE, self._where(file), sanitise(error, 200))) from error
        except OSError as error:
            if not is_absent(error):
                raise
            raise SegmentError(Problem(Reason.DAT_MISSING, self._where(file), "no such file")) from error
        if len(raw) < count:
            detail = f"{start + count} bytes expected, {start + len(raw)} found"
            raise SegmentError(Problem(Reason.DAT_TRUNCATED, self._where(file), detail))
        return raw

    def _whole_file(self, segment: SegmentHeader, channel: int, frame_samples: int) -> Codes:
        signal = segment.signals[channel]
        if signal.format == 8:
            count = segment.length_samples * frame_samples
            raw = self._bytes(signal.file, signal.byte_offset, count).view(np.int8)
            before = sum(s.samples_per_frame for s in segment.signals[:channel] if s.file == signal.file)
            steps = raw.reshape(-1, frame_samples)[:, before : before + signal.samples_per_frame].reshape(-1)
            return np.cumsum(steps, dtype=np.int32) + np.int32(signal.initial_value or 0)
        return self._flac(segment, channel)

    def _flac(self, segment: SegmentHeader, channel: int) -> Codes:
        """FLAC formats are rare enough for the reference reader, which takes the whole segment."""
        import wfdb

        try:
            record = wfdb.rdrecord(
                str(self._folder / segment.name), channels=[channel], physical=False, smooth_frames=False
            )
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, RuntimeError, ImportError) as error:
            where = self._where(segment.signals[channel].file)
            raise SegmentError(Problem(Reason.UNREADABLE, where, sanitise(error, 200))) from error
        return np.asarray(record.e_d_signal[0])

    def _where(self, file: str) -> str:
        return sanitise(f"{self._parent}/{file}" if self._parent else file)


def _blocks(segment: SegmentHeader) -> Iterator[tuple[int, int]]:
    """Frames of the segment in blocks of a few megabytes."""
    per_frame = max(1, sum(s.samples_per_frame for s in segment.signals)) * 2
    step = max(_ALIGNMENT, BLOCK_BYTES // per_frame // _ALIGNMENT * _ALIGNMENT)
    for start in range(0, segment.length_samples, step):
        yield start, min(start + step, segment.length_samples)


def sum_and_range(codes: Codes, missing: int) -> tuple[int, int, int]:
    """Sum modulo 2**16; lowest and highest code, missing ones left out."""
    if compiled.takes(codes):
        found = np.empty(3, np.int64)
        valid = bool(compiled.call("code_range", codes, len(codes), missing, found))
        total, low, high = found.tolist()
    else:
        total = int(codes.astype(np.int16, copy=False).sum(dtype=np.int16)) % 65536
        low, high, valid = int(codes.min()), int(codes.max()), True
        if low == missing:
            present = codes[codes != missing]
            valid = len(present) > 0
            low, high = (int(present.min()), int(present.max())) if valid else (0, 0)
    return (total, low, high) if valid else (total, 2**31, -(2**31))


def _offset_8(raw: NDArray[np.uint8], count: int) -> Codes:
    return raw.astype(np.int16) - np.int16(128)


def _little_16(raw: NDArray[np.uint8], count: int) -> Codes:
    return raw.view("<i2")


def _big_16(raw: NDArray[np.uint8], count: int) -> Codes:
    return raw.view(">i2").astype(np.int16)


def _offset_16(raw: NDArray[np.uint8], count: int) -> Codes:
    return (raw.view("<u2") ^ np.uint16(0x8000)).view(np.int16)


def _little_24(raw: NDArray[np.uint8], count: int) -> Codes:
    parts = raw.reshape(-1, 3).astype(np.int32)
    return (parts[:, 0] | parts[:, 1] << 8 | parts[:, 2] << 16) - ((parts[:, 2] & 0x80) << 17)


def _little_32(raw: NDArray[np.uint8], count: int) -> Codes:
    return raw.view("<i4")


def _packed_212(raw: NDArray[np.uint8], count: int) -> Codes:
    """Two 12-bit two's complement samples in three bytes; the middle byte holds both high parts."""
    if count % 2:
        raw = np.append(raw, np.uint8(0))
    parts = raw.reshape(-1, 3)
    middle = parts[:, 1].astype(np.int16)
    codes = np.empty((len(parts), 2), np.int16)
    # Shifting to the top and back extends the sign.
    codes[:, 0] = ((middle << 12) | (parts[:, 0].astype(np.int16) << 4)) >> 4
    codes[:, 1] = (((middle & 0xF0) << 8) | (parts[:, 2].astype(np.int16) << 4)) >> 4
    return codes.reshape(-1)[:count]


def _packed_310(raw: NDArray[np.uint8], count: int) -> Codes:
    """Three 10-bit samples in two 16-bit words: each word's bits 1 to 10, then both words' top five bits."""
    words = _padded(raw, 4).view("<u2").reshape(-1, 2).astype(np.int32)
    third = (words[:, 0] >> 11) | (words[:, 1] >> 11 << 5)
    codes = np.stack([words[:, 0] >> 1 & 0x3FF, words[:, 1] >> 1 & 0x3FF, third], axis=1)
    return ((codes ^ 0x200) - 0x200).astype(np.int16).reshape(-1)[:count]


def _packed_311(raw: NDArray[np.uint8], count: int) -> Codes:
    """Three 10-bit samples in the lower 30 bits of a 32-bit word."""
    words = _padded(raw, 4).view("<u4")
    codes = np.stack([words & 0x3FF, words >> 10 & 0x3FF, words >> 20 & 0x3FF], axis=1).astype(np.int32)
    return ((codes ^ 0x200) - 0x200).astype(np.int16).reshape(-1)[:count]


def _padded(raw: NDArray[np.uint8], multiple: int) -> NDArray[np.uint8]:
    return np.concatenate([raw, np.zeros(-len(raw) % multiple, np.uint8)])


def _bytes_of(numerator: int, denominator: int = 1) -> Callable[[int], int]:
    return lambda samples: -(-samples * numerator // denominator)


def _bytes_of_311(samples: int) -> int:
    return samples // 3 * 4 + (0, 2, 3)[samples % 3]


def _bytes_of_310(samples: int) -> int:
    return samples // 3 * 4 + samples % 3 * 2


_DECODERS: dict[int, tuple[Callable[[int], int], Callable[[NDArray[np.uint8], int], Codes]]] = {
    16: (_bytes_of(2), _little_16),
    24: (_bytes_of(3), _little_24),
    32: (_bytes_of(4), _little_32),
    61: (_bytes_of(2), _big_16),
    80: (_bytes_of(1), _offset_8),
    160: (_bytes_of(2), _offset_16),
    212: (_bytes_of(3, 2), _packed_212),
    310: (_bytes_of_310, _packed_310),
    311: (_bytes_of_311, _packed_311),
}
