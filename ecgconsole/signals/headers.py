"""WFDB headers: what a record holds, and what is wrong with it, before any sample is read.

The format is that of header(5) of the WFDB manual, https://physionet.org/physiotools/wag/header-5.htm.
"""

from __future__ import annotations

import errno
import math
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from ecgconsole.errors import InputError
from ecgconsole.signals.disk import UnreadableFile, read_bytes, size_of
from ecgconsole.signals.reasons import Reason
from ecgconsole.text import sanitise

MAXIMUM_HEADER_BYTES = 4_000_000
# More than a year, or a rate above any recorder's: a typing error or an attack, not a recording.
MAXIMUM_SECONDS = 366 * 86_400.0
MAXIMUM_RATE_HZ = 1e6
MINIMUM_WAVEFORM_RATE_HZ = 20.0
DEFAULT_RATE_HZ = 250.0
DEFAULT_GAIN = 200.0
# Beyond these, no float32 holds what the samples would mean.
MAXIMUM_GAIN = 1e9
MAXIMUM_BASELINE = 2.0**32
# No such name can be: absent, below a file, a link to itself, longer than any name. All else is the disk's fault.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_MILLIVOLTS = {"nv": 1e-6, "uv": 1e-3, "\N{MICRO SIGN}v": 1e-3, "\N{GREEK SMALL LETTER MU}v": 1e-3, "v": 1e3}

# Bits a stored sample takes. FLAC formats (508, 516, 524) have no fixed size.
FORMAT_BITS: dict[int, float | None] = {
    8: 8, 16: 16, 24: 24, 32: 32, 61: 16, 80: 8, 160: 16, 212: 12, 310: 32 / 3, 311: 32 / 3, 508: None, 516: None,
    524: None,
}  # fmt: skip
ADC_RESOLUTION_BITS = {
    8: 8, 16: 16, 24: 24, 32: 32, 61: 16, 80: 8, 160: 16, 212: 12, 310: 10, 311: 10, 508: 8, 516: 16, 524: 24,
}  # fmt: skip
# Formats whose published decoders are known to go wrong: trusted only when the checksum agrees.
UNTRUSTED_FORMATS = (8, 310, 311)

_FORMAT = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?\Z")
_GAIN = re.compile(r"([^/()]*)(?:\(([^()]*)\))?(?:/(\S*))?\Z")
_NUMERICS_NAME = re.compile(r"(?:\d{4}-\d\d-\d\d-\d\d-\d\d|(?:\A|/)[a-z]?\d{5,})n\Z")


@dataclass(frozen=True)
class Problem:
    """One thing wrong: the reason, where (path under the root) and what exactly, sanitised."""

    reason: Reason
    where: str
    detail: str


class RecordError(InputError):
    """The whole record is unusable."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.where}: {problem.detail} ({problem.reason.label})")
        self.problem = problem

    def __reduce__(self) -> tuple[type[RecordError], tuple[Problem]]:
        return RecordError, (self.problem,)


@dataclass(frozen=True)
class SignalSpec:
    """One signal line. ``gain`` in ADC units per physical unit, 0 where uncalibrated."""

    name: str
    file: str
    format: int
    gain: float
    baseline: float
    unit: str
    adc_resolution_bits: int
    adc_zero: int
    initial_value: int | None
    checksum: int | None
    samples_per_frame: int
    byte_offset: int
    skew: int

    @property
    def scale(self) -> float:
        """Physical units of one ADC step, negative where the signal is inverted; volts of any kind become mV."""
        return _MILLIVOLTS.get(self.unit.casefold(), 1.0) / (self.gain or DEFAULT_GAIN)

    @property
    def adc_step(self) -> float:
        """Physical units (mV for volts) of one ADC step."""
        return abs(self.scale)


@dataclass(frozen=True)
class SegmentHeader:
    """A stretch of samples with its own header. ``start_sample`` counts frames from the record's first."""

    name: str
    start_sample: int
    length_samples: int
    sampling_rate_hz: float
    signals: tuple[SignalSpec, ...]
    problem: Problem | None

    @property
    def stop_sample(self) -> int:
        return self.start_sample + self.length_samples


@dataclass(frozen=True)
class RecordHeader:
    """A record: its segments in time order (gaps left out), and problems that cost nothing but deserve a line."""

    path: str
    sampling_rate_hz: float
    length_samples: int
    start_datetime: datetime | None
    segments: tuple[SegmentHeader, ...]
    problems: tuple[Problem, ...]


class _Bad(Exception):
    """A fault in the header in hand; the caller decides whether it costs a segment or the record."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class _RecordLine:
    segments: int | None
    signals: int
    rate_hz: float
    length: int | None
    start: datetime | None
    date_problem: str | None


def read_record(root: Path, record: str) -> RecordHeader:
    """The header of ``record`` (path under ``root`` without extension) and of its segments.

    Signal files are looked at by size only. A fault in a segment becomes that segment's ``problem``;
    a fault that leaves nothing raises ``RecordError``. ``OSError`` other than an absent, forbidden or
    damaged file passes through: it says that the disk, not the record, is at fault.
    """
    folder = (root / record).parent
    name = record.rsplit("/", 1)[-1]
    where = f"{sanitise(record)}.hea"
    try:
        lines = _header_lines(folder / f"{name}.hea", Reason.HEADER_MISSING)
        first = _record_line(lines[0])
        if first.segments is None:
            own = _segment(folder, record, name, 0, first, lines)
            own = replace(own, problem=own.problem or _file_problem(folder, record, own))
            if own.problem is not None:
                raise RecordError(own.problem)
            segments: tuple[SegmentHeader, ...] = (own,)
            problems: list[Problem] = []
            length = own.length_samples
        else:
            segments, problems, length = _segments(folder, record, name, first, lines)
    except _Bad as bad:
        raise RecordError(Problem(bad.reason, where, bad.detail)) from bad
    if first.date_problem:
        problems.append(Problem(Reason.DATE_MALFORMED, where, first.date_problem))
    problems += _uncalibrated(record, segments)
    return RecordHeader(record, first.rate_hz, length, first.start, segments, tuple(problems))


def record_problems(header: RecordHeader) -> tuple[Problem, ...]:
    """All that headers alone tell: the record's own problems, then one for each unusable segment."""
    return header.problems + tuple(s.problem for s in header.segments if s.problem is not None)


def is_waveform(header: RecordHeader) -> bool:
    """Whether any signal is sampled fast enough to be a waveform; numerics records are not."""
    if not header.segments or header.sampling_rate_hz >= MINIMUM_WAVEFORM_RATE_HZ:
        return header.sampling_rate_hz >= MINIMUM_WAVEFORM_RATE_HZ
    per_frame = max((s.samples_per_frame for segment in header.segments for s in segment.signals), default=1)
    return header.sampling_rate_hz * per_frame >= MINIMUM_WAVEFORM_RATE_HZ


def is_numerics_name(record: str) -> bool:
    """Whether MIMIC's naming says numerics (``p000020-2183-04-28-17-47n``, ``3000003n``)."""
    return _NUMERICS_NAME.search(record) is not None


def is_safe_name(name: str) -> bool:
    """A bare relative file name: no folder, no drive, no address, no ``..``, no control character."""
    return (
        bool(name)
        and name not in (".", "..")
        and ".." not in name
        and name.isprintable()
        and not set(name) & set("/\\:")
    )


def is_absent(error: OSError) -> bool:
    """Whether the error says that a name leads to no file, rather than that the disk failed."""
    return error.errno in _ABSENT


def channel_rate_hz(segment: SegmentHeader, signal: SignalSpec) -> float:
    return segment.sampling_rate_hz * signal.samples_per_frame


def expected_bytes(segment: SegmentHeader, file: str) -> int | None:
    """Size that ``file`` must have at least; None where the format does not fix it."""
    group = [s for s in segment.signals if s.file == file]
    bits = FORMAT_BITS[group[0].format]
    if bits is None:
        return None
    samples = segment.length_samples * sum(s.samples_per_frame for s in group)
    # Formats 310 and 311 pack three samples in four bytes; what a rest takes differs, at least a byte each.
    packed = group[0].format in (310, 311)
    n_bytes = samples // 3 * 4 + samples % 3 if packed else math.ceil(samples * bits / 8)
    return group[0].byte_offset + n_bytes


def _header_lines(path: Path, absent: Reason) -> list[str]:
    try:
        data = read_bytes(path, 0, MAXIMUM_HEADER_BYTES + 1).tobytes()
    except UnreadableFile as error:
        raise _Bad(Reason.UNREADABLE, f"{sanitise(path.name)}: {sanitise(error, 100)}") from error
    except OSError as error:
        if not is_absent(error) and not isinstance(error, IsADirectoryError):
            raise
        raise _Bad(absent, f"no file {sanitise(path.name)}") from error
    if len(data) > MAXIMUM_HEADER_BYTES or b"\0" in data:
        raise _Bad(Reason.HEADER_JUNK, "not a text of header size")
    text = data.decode("utf-8", errors="replace")
    lines = [line.strip() for line in text.split("\n")]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise _Bad(Reason.HEADER_EMPTY, "the header holds no record line")
    return lines


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise _Bad(Reason.HEADER_JUNK, f"{what} is no number: {sanitise(text, 60)}") from error
    if not math.isfinite(value):
        raise _Bad(Reason.HEADER_JUNK, f"{what} is not finite: {sanitise(text, 60)}")
    return value


def _integer(text: str, what: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,30}", text, re.ASCII):
        raise _Bad(Reason.HEADER_JUNK, f"{what} is no whole number: {sanitise(text, 60)}")
    return int(text)


def _record_line(line: str) -> _RecordLine:
    fields = line.split()
    if len(fields) < 2:
        raise _Bad(Reason.HEADER_JUNK, f"no record line: {sanitise(line, 80)}")
    _, slash, count = fields[0].rpartition("/")
    segments = _integer(count, "number of segments") if slash else None
    signals = _integer(fields[1], "number of signals")
    if signals < 0 or signals > 100_000 or (segments is not None and not 0 < segments <= 10_000_000):
        raise _Bad(Reason.HEADER_JUNK, f"impossible counts: {sanitise(line, 80)}")
    rate_text = fields[2].split("/")[0].split("(")[0] if len(fields) > 2 else ""
    rate_hz = _number(rate_text, "sampling rate") if rate_text else DEFAULT_RATE_HZ
    if rate_hz <= 0:
        raise _Bad(Reason.SAMPLING_RATE_ZERO, f"sampling rate {rate_hz:g} Hz")
    if rate_hz > MAXIMUM_RATE_HZ:
        raise _Bad(Reason.HEADER_JUNK, f"sampling rate {rate_hz:g} Hz")
    length = _integer(fields[3], "length") if len(fields) > 3 else 0
    if length < 0 or length / rate_hz > MAXIMUM_SECONDS:
        raise _Bad(Reason.ABSURD_LENGTH, f"{length} samples at {rate_hz:g} Hz")
    start, problem = _start(fields[4:])
    return _RecordLine(segments, signals, rate_hz, length or None, start, problem)


def _start(fields: list[str]) -> tuple[datetime | None, str | None]:
    """Date and time of day of the first sample; without a date the time is unknown."""
    if len(fields) < 2:
        return None, None
    try:
        clock = [float(part) for part in fields[0].split(":")]
        day, month, year = (int(part) for part in fields[1].split("/"))
        if len(clock) > 3 or not all(0 <= part < 61 for part in clock):
            raise ValueError(fields[0])
        seconds = sum(part * 60**power for power, part in enumerate(reversed(clock)))
        return datetime(year, month, day) + timedelta(milliseconds=round(seconds * 1000)), None
    except (ValueError, OverflowError):
        return None, f"date or time unreadable: {sanitise(' '.join(fields[:2]), 60)}"


def _signal(line: str) -> SignalSpec:
    fields = line.split(maxsplit=8)
    if len(fields) < 2:
        raise _Bad(Reason.HEADER_JUNK, f"no signal line: {sanitise(line, 80)}")
    layout = _FORMAT.match(fields[1])
    if layout is None:
        raise _Bad(Reason.HEADER_JUNK, f"no format: {sanitise(fields[1], 40)}")
    code, per_frame, skew, offset = (int(group[:18]) if group else 0 for group in layout.groups())
    gain, baseline, unit = 0.0, None, "mV"
    if len(fields) > 2:
        parts = _GAIN.match(fields[2])
        if parts is None:
            raise _Bad(Reason.HEADER_JUNK, f"no gain: {sanitise(fields[2], 40)}")
        gain = _number(parts[1], "gain")
        baseline = _number(parts[2], "baseline") if parts[2] else None
        unit = parts[3] or "mV"
        if (gain and not 1 / MAXIMUM_GAIN <= abs(gain) <= MAXIMUM_GAIN) or abs(baseline or 0) > MAXIMUM_BASELINE:
            raise _Bad(Reason.HEADER_JUNK, f"impossible gain or baseline: {sanitise(fields[2], 60)}")
    numbers: list[int | None] = [_integer(text, "signal field") for text in fields[3:7]]
    resolution, zero, initial, checksum = numbers + [None] * (4 - len(numbers))
    resolution = resolution or ADC_RESOLUTION_BITS.get(code)
    name = fields[8].strip() if len(fields) > 8 else ""
    return SignalSpec(
        name=sanitise(name, 80),
        file=fields[0],
        format=code,
        gain=gain,
        baseline=float(zero or 0) if baseline is None else baseline,
        unit=sanitise(unit, 20),
        adc_resolution_bits=min(resolution or 0, 32),
        adc_zero=zero or 0,
        initial_value=initial,
        checksum=checksum,
        samples_per_frame=per_frame or 1,
        byte_offset=offset,
        skew=skew,
    )


def _segment(folder: Path, record: str, name: str, start: int, first: _RecordLine, lines: list[str]) -> SegmentHeader:
    """A single-segment header. Raises ``_Bad`` for what cannot be understood; files are not looked at."""
    if len(lines) - 1 < first.signals:
        detail = f"{first.signals} signals declared, {len(lines) - 1} signal lines"
        raise _Bad(Reason.SIGNAL_LINES_MISSING, detail)
    signals = tuple(_signal(line) for line in lines[1 : 1 + first.signals])
    for signal in signals:
        if signal.file != "~" and not is_safe_name(signal.file):
            raise _Bad(Reason.UNSAFE_NAME, f"signal file {sanitise(signal.file, 120)}")
        if signal.format not in FORMAT_BITS and signal.file != "~":
            raise _Bad(Reason.UNKNOWN_FORMAT, f"format {signal.format}")
        if not 1 <= signal.samples_per_frame <= 10_000:
            raise _Bad(Reason.HEADER_JUNK, f"{signal.samples_per_frame} samples a frame")
    segment = SegmentHeader(name, start, first.length or 0, first.rate_hz, signals, None)
    if first.length is None and signals:
        segment = replace(segment, length_samples=_length_from_file(folder, segment))
    return segment


def _length_from_file(folder: Path, segment: SegmentHeader) -> int:
    """Frames that the first signal's file holds, where the header does not say. 0 without a file."""
    file = segment.signals[0].file
    group = [s for s in segment.signals if s.file == file]
    bits = FORMAT_BITS.get(group[0].format)
    try:
        n_bytes = size_of(folder / file) - group[0].byte_offset
    except UnreadableFile as error:
        raise _Bad(Reason.UNREADABLE, f"{sanitise(file)}: {sanitise(error, 100)}") from error
    except OSError as error:
        if not is_absent(error):
            raise
        return 0
    if bits is None or n_bytes <= 0:
        return 0
    return int(n_bytes * 8 // (bits * sum(s.samples_per_frame for s in group)))


def _file_problem(folder: Path, record: str, segment: SegmentHeader) -> Problem | None:
    """The first signal file that is absent, cannot be looked at, or is too short."""
    parent = record.rpartition("/")[0]
    for file in dict.fromkeys(s.file for s in segment.signals if s.file != "~"):
        where = sanitise(f"{parent}/{file}" if parent else file)
        try:
            found = size_of(folder / file)
        except UnreadableFile as error:
            return Problem(Reason.UNREADABLE, where, sanitise(error, 100))
        except OSError as error:
            if not is_absent(error):
                raise
            return Problem(Reason.DAT_MISSING, where, "no such file")
        expected = expected_bytes(segment, file)
        if expected is not None and found < expected:
            return Problem(Reason.DAT_TRUNCATED, where, f"{expected} bytes expected, {found} found")
    return None


def _segments(
    folder: Path, record: str, name: str, first: _RecordLine, lines: list[str]
) -> tuple[tuple[SegmentHeader, ...], list[Problem], int]:
    """The segments of a multi-segment record, its problems, and its length in frames."""
    where = f"{sanitise(record)}.hea"
    assert first.segments is not None
    problems: list[Problem] = []
    if len(lines) - 1 != first.segments:
        detail = f"{first.segments} segments declared, {len(lines) - 1} lines"
        problems.append(Problem(Reason.SEGMENT_COUNT_DIFFERS, where, detail))
    segments: list[SegmentHeader] = []
    position = 0
    for line in lines[1:]:
        fields = line.split()
        if len(fields) < 2:
            raise _Bad(Reason.HEADER_JUNK, f"no segment line: {sanitise(line, 80)}")
        length = _integer(fields[1], "segment length")
        if length < 0 or (position + length) / first.rate_hz > MAXIMUM_SECONDS:
            raise _Bad(Reason.ABSURD_LENGTH, f"segment {sanitise(fields[0], 80)} of {length} samples")
        # A segment of no samples is the layout of a variable-layout record.
        if fields[0] != "~" and length > 0:
            segments.append(_checked_segment(folder, record, name, fields[0], position, length, first))
        position += length
    if first.length is not None and position != first.length:
        detail = f"{first.length} samples declared, segments hold {position}"
        problems.append(Problem(Reason.LENGTH_DIFFERS, where, detail))
    return tuple(segments), problems, position


def _checked_segment(
    folder: Path, record: str, master: str, name: str, start: int, length: int, first: _RecordLine
) -> SegmentHeader:
    """The segment with its ``problem``, whatever is wrong with it."""
    parent = record.rpartition("/")[0]
    lost = SegmentHeader(sanitise(name, 200), start, length, first.rate_hz, (), None)
    path = sanitise(f"{parent}/{name}.hea" if parent else f"{name}.hea")
    try:
        if not is_safe_name(name):
            raise _Bad(Reason.UNSAFE_NAME, f"segment {sanitise(name, 120)}")
        if name == master:
            raise _Bad(Reason.SELF_REFERENCE, "the record names itself as its segment")
        lines = _header_lines(folder / f"{name}.hea", Reason.SEGMENT_HEADER_MISSING)
        own = _record_line(lines[0])
        if own.segments is not None:
            raise _Bad(Reason.NESTED_SEGMENTS, f"{sanitise(name, 80)} has segments of its own")
        segment = _segment(folder, record, name, start, replace(own, length=own.length or length), lines)
        if segment.length_samples != length:
            detail = f"{length} samples in the record's header, {segment.length_samples} in the segment's"
            raise _Bad(Reason.SEGMENT_LENGTH_DIFFERS, detail)
        if abs(own.rate_hz - first.rate_hz) > 1e-6 * first.rate_hz:
            detail = f"{first.rate_hz:g} Hz in the record's header, {own.rate_hz:g} Hz in the segment's"
            raise _Bad(Reason.SEGMENT_RATE_DIFFERS, detail)
    except _Bad as bad:
        return replace(lost, problem=Problem(bad.reason, path, bad.detail))
    return replace(segment, problem=_file_problem(folder, record, segment))


def _uncalibrated(record: str, segments: tuple[SegmentHeader, ...]) -> list[Problem]:
    names = {s.name or s.file for segment in segments for s in segment.signals if s.gain == 0 and s.file != "~"}
    if not names:
        return []
    detail = f"gain 0: {', '.join(sorted(names))}"
    return [Problem(Reason.UNCALIBRATED, f"{sanitise(record)}.hea", detail)]
