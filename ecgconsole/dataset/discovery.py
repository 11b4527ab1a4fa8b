"""Who is in a folder of recordings: records, patients, candidate windows, from headers alone.

The tree is walked, because RECORDS files go stale. Each folder is scanned on its own, in any process,
and what it holds is then joined into patients.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ecgconsole.config import Config
from ecgconsole.dataset.people import (
    Patient,
    Recording,
    base_name,
    patients_of,
    read_patient_map,
    with_mapped_patients,
    with_unique_patients,
)
from ecgconsole.errors import InputError
from ecgconsole.signals.disk import UnreadableFile, patiently
from ecgconsole.signals.headers import (
    RecordError,
    RecordHeader,
    SegmentHeader,
    is_absent,
    is_numerics_name,
    is_waveform,
    read_record,
    record_problems,
)
from ecgconsole.signals.reasons import Reason
from ecgconsole.signals.windows import candidate_windows, channel_seconds
from ecgconsole.text import count, sanitise

MATCHED_FOLDER = re.compile(r"p\d{6}\Z")
MIMIC3_FOLDER = re.compile(r"3\d{6}\Z")
SEGMENT_NAME = re.compile(r".+_\d{4,}\Z")
LOOKED_FOR = {
    "mimic3-matched": "folders like p00/p000020 with headers like p000020-2183-04-28-17-47.hea",
    "mimic3": "folders like 30/3000003 with a header 3000003.hea",
    "wfdb": "WFDB headers (*.hea)",
    "auto": "WFDB headers (*.hea) in any folder layout",
}


@dataclass(frozen=True)
class Rejection:
    """Something left out; one row of ``rejected.parquet`` (those of windows are made by the workers)."""

    reason: Reason
    patient_id: str
    record: str
    where: str
    detail: str


@dataclass(frozen=True)
class HeaderFolder:
    """A folder under the root (``p00/p000020``, or ``""``) and the names in it that end in ``.hea``, without it."""

    path: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class FolderScan:
    """What one folder holds. ``numerics`` counts records that are no waveforms. Not ``certain``: a file could not
    be read, and may be next time."""

    recordings: tuple[Recording, ...]
    unusable: tuple[Rejection, ...]
    other_channels: tuple[tuple[str, int], ...]
    numerics: int
    certain: bool


@dataclass(frozen=True)
class Cohort:
    """Patients who could be built, before selection, and what was met on the way."""

    layout: str
    patients: tuple[Patient, ...]
    rejections: tuple[Rejection, ...]
    other_channels: dict[str, int]
    headers: int
    numerics: int
    ignored_folders: int
    unknown_in_map: int


def discover(
    config: Config, scan_all: Callable[[str, list[HeaderFolder]], Iterable[FolderScan]] | None = None
) -> Cohort:
    """Scans ``data.waveform_dir``. ``scan_all`` scans the folders, here by default, elsewhere for speed.

    Raises ``InputError`` where the folder is absent or nothing in it can be built, naming what was
    looked for and what was found.
    """
    root = waveform_dir(config)
    folders, unlisted = header_folders(root)
    layout, wanted = choose_layout(config.data.layout, folders)
    names = read_patient_map(Path(config.data.patient_map)) if config.data.patient_map else {}
    if scan_all is None:
        scans: Iterable[FolderScan] = [scan_folder(root, folder, layout, config) for folder in wanted]
    else:
        scans = scan_all(layout, wanted)
    recordings: list[Recording] = []
    rejections = [Rejection(Reason.UNREADABLE, "", "", sanitise(f), sanitise(why, 100)) for f, why in unlisted.items()]
    other: Counter[str] = Counter()
    numerics = 0
    for scan in scans:
        recordings += scan.recordings
        rejections += scan.unusable
        other.update(dict(scan.other_channels))
        numerics += scan.numerics
    recordings = with_unique_patients(recordings, layout)
    recordings, used = with_mapped_patients(recordings, names)
    headers = sum(len(f.names) for f in folders)
    if not any(r.candidate_windows for r in recordings):
        raise InputError(_nothing_found(config, root, layout, headers, numerics, recordings, rejections, other))
    rejections += [_without_channel(r) for r in recordings if not r.candidate_windows]
    cohort = Cohort(
        layout=layout,
        patients=patients_of(recordings),
        rejections=tuple(sorted(rejections, key=lambda r: (r.patient_id, r.record, r.where, r.reason))),
        other_channels=dict(sorted(other.items())),
        headers=headers,
        numerics=numerics,
        ignored_folders=len(folders) - len(wanted),
        unknown_in_map=len(set(names) - used),
    )
    return cohort


def waveform_dir(config: Config) -> Path:
    """The folder of recordings. Raises ``InputError`` where it is not given or not there."""
    if config.data.waveform_dir is None:
        raise InputError("no folder of recordings: set data.waveform_dir")
    root = Path(config.data.waveform_dir)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder (data.waveform_dir)")
    return root


def header_folders(root: Path) -> tuple[list[HeaderFolder], dict[str, str]]:
    """All folders with headers, sorted by path; and why others cannot be listed: no permission (``lost+found``, for
    one), a bad place of the disk.

    Links are followed, each real folder entered once. Raises ``OSError`` where the disk itself does not answer.
    """
    found: list[HeaderFolder] = []
    unlisted: dict[str, str] = {}
    entered = {_identity(os.stat(root))}
    pending = [""]
    while pending:
        path = pending.pop()
        try:
            # Whatever is wrong with the root is wrong with all.
            entries = patiently(root / path, partial(_entries, root / path)) if path else _entries(root)
        except UnreadableFile as error:
            unlisted[path] = str(error)
            continue
        names = [e.name[:-4] for e in entries if e.name.endswith(".hea")]
        if names:
            found.append(HeaderFolder(path, tuple(sorted(names))))
        for entry in entries:
            if entry.name.endswith(".hea"):
                continue
            below = f"{path}/{entry.name}" if path else entry.name
            try:
                identity = patiently(root / below, partial(_folder_identity, entry))
            except UnreadableFile as error:
                unlisted[below] = str(error)
                continue
            if identity is not None and identity not in entered:
                entered.add(identity)
                pending.append(below)
    return sorted(found, key=lambda f: f.path), dict(sorted(unlisted.items()))


def choose_layout(layout: str, folders: list[HeaderFolder]) -> tuple[str, list[HeaderFolder]]:
    """The layout, and the folders that belong to it. ``auto``: one of MIMIC's where most folders have its shape."""
    of_layout = {
        "mimic3-matched": [f for f in folders if _is_matched(f)],
        "mimic3": [f for f in folders if MIMIC3_FOLDER.match(base_name(f.path))],
        "wfdb": folders,
    }
    if layout == "auto":
        layout = next(name for name, found in of_layout.items() if 2 * len(found) > len(folders) or name == "wfdb")
    return layout, of_layout[layout]


def scan_folder(root: Path, folder: HeaderFolder, layout: str, config: Config) -> FolderScan:
    """Reads the headers of one folder: which of them are records, which are their segments.

    A header that no record names as its segment is a record, unless its name says segment
    (``3544749_0001``) and the folder has a multi-segment record or an unreadable header, which
    then is the one to repair.
    """
    headers: dict[str, RecordHeader] = {}
    unusable: list[Rejection] = []
    numerics = 0

    def read(names: Iterable[str]) -> None:
        nonlocal numerics
        for name in names:
            record = f"{folder.path}/{name}" if folder.path else name
            try:
                header = read_record(root, record)
            except RecordError as error:
                if is_numerics_name(record):
                    numerics += 1
                    continue
                problem = error.problem
                patient = _patient_id(folder, name, layout, multi_segment=False)
                unusable.append(Rejection(problem.reason, patient, record, problem.where, problem.detail))
                continue
            if is_waveform(header):
                headers[name] = header
            else:
                numerics += 1

    names = [n for n in folder.names if not n.endswith("_layout")]
    read(n for n in names if not SEGMENT_NAME.match(n))
    segment_names = {s.name for name, h in headers.items() for s in h.segments if s.name != name}
    if not segment_names and not unusable:
        read(n for n in names if SEGMENT_NAME.match(n))
    records = {n: h for n, h in headers.items() if n not in segment_names}
    unusable = [u for u in unusable if base_name(u.record) not in segment_names]
    known = {name.casefold() for name in (*config.data.ecg_channels, *config.data.ppg_channels)}
    other: Counter[str] = Counter()
    recordings = []
    for name, header in sorted(records.items()):
        channels = channel_seconds(header)
        other.update(c for c in channels if c.casefold() not in known)
        recordings.append(
            Recording(
                record=header.path,
                patient_id=_patient_id(folder, name, layout, multi_segment=is_multi_segment(header)),
                subject_id=int(base_name(folder.path)[1:]) if layout == "mimic3-matched" else None,
                start=header.start_datetime,
                seconds=header.length_samples / header.sampling_rate_hz,
                candidate_windows=len(candidate_windows(header, config)),
                channel_seconds=tuple(sorted(channels.items())),
                inputs=inputs_digest(root, header),
            )
        )
    reasons = {u.reason for u in unusable} | {p.reason for h in headers.values() for p in record_problems(h)}
    certain = Reason.UNREADABLE not in reasons
    return FolderScan(tuple(recordings), tuple(unusable), tuple(sorted(other.items())), numerics, certain)


def is_multi_segment(header: RecordHeader) -> bool:
    return len(header.segments) != 1 or header.segments[0].name != base_name(header.path)


def inputs_digest(root: Path, header: RecordHeader) -> str:
    """SHA-256 over path, size and modification time of every file that the record is made of.

    An absent file, and one that cannot be looked at, count too: when it appears, the digest changes. Raises ``OSError``
    where the disk itself does not answer.
    """
    parent = header.path.rpartition("/")[0]
    digest = hashlib.sha256()
    for name in sorted(_file_names(header)):
        path = f"{parent}/{name}" if parent else name
        try:
            stat = patiently(root / path, partial(os.stat, root / path))
            line = f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
        except UnreadableFile:
            line = f"{path}\0unreadable\n"
        except OSError as error:
            if not is_absent(error):
                raise
            line = f"{path}\0absent\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _patient_id(folder: HeaderFolder, name: str, layout: str, multi_segment: bool) -> str:
    if layout == "wfdb" and (not multi_segment or not folder.path):
        return name
    return base_name(folder.path)


def _is_matched(folder: HeaderFolder) -> bool:
    base = base_name(folder.path)
    return bool(MATCHED_FOLDER.match(base)) and any(n.startswith(f"{base}-") for n in folder.names)


def _file_names(header: RecordHeader) -> set[str]:
    names = {f"{base_name(header.path)}.hea"}
    for segment in header.segments:
        names |= {f"{segment.name}.hea", *_signal_files(segment)}
    return names


def _signal_files(segment: SegmentHeader) -> set[str]:
    return {s.file for s in segment.signals if s.file != "~"}


def _without_channel(recording: Recording) -> Rejection:
    channels = ", ".join(name for name, _ in recording.channel_seconds) or "none"
    detail = f"no window can have the wanted signals; channels: {channels}"
    return Rejection(
        Reason.NO_CHANNEL, recording.patient_id, recording.record, f"{recording.record}.hea", sanitise(detail, 300)
    )


def _nothing_found(
    config: Config,
    root: Path,
    layout: str,
    headers: int,
    numerics: int,
    recordings: list[Recording],
    rejections: list[Rejection],
    other: Counter[str],
) -> str:
    """What was looked for, what was found."""
    asked = config.data.layout
    wanted = {
        "both": f"an ECG ({', '.join(config.data.ecg_channels)}) and a PPG ({', '.join(config.data.ppg_channels)})",
        "ecg": f"an ECG ({', '.join(config.data.ecg_channels)})",
        "ppg": f"a PPG ({', '.join(config.data.ppg_channels)})",
        "either": "an ECG or a PPG",
    }[config.data.require]
    found = [count(headers, "header")]
    if headers:
        found += [f"{count(len(recordings), 'waveform record')} in layout {layout}", count(numerics, "numerics record")]
    if rejections:
        reasons = Counter(r.reason.label for r in rejections)
        found.append("unusable: " + ", ".join(f"{n} {label}" for label, n in sorted(reasons.items())))
    if recordings:
        channels = Counter(name for r in recordings for name, _ in r.channel_seconds)
        found.append("channels: " + ", ".join(f"{name} ({n})" for name, n in channels.most_common(12)))
    return sanitise(
        f"{root}: no usable recording. Looked for {LOOKED_FOR[asked]} with {config.build.segment_seconds:g} s of"
        f" {wanted}; found {'; '.join(found)}. See data.waveform_dir, data.layout, data.require and the channel lists",
        1500,
    )


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return [e for e in entries if not e.name.startswith(".")]


def _folder_identity(entry: os.DirEntry[str]) -> tuple[int, int] | None:
    """Of a folder, or of that to which a link leads; None where it is none."""
    try:
        return _identity(entry.stat()) if entry.is_dir() else None
    except OSError as error:
        if not is_absent(error):
            raise
        return None  # a link to itself


def _identity(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino
