"""What a scan of headers found, kept in the output folder: a second build or ``doctor`` reads only what changed.

A line a folder, compressed. The folder's signature covers name, size and times of every file in it, so whatever
is changed, added or removed is read again. An index that is damaged, or of another program or other settings,
is as good as none.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from ecgconsole import __version__
from ecgconsole.config import Config
from ecgconsole.dataset.discovery import FolderScan, HeaderFolder, Rejection, scan_folder
from ecgconsole.dataset.people import Recording
from ecgconsole.dataset.plan import FORMULAS, formulas_hash
from ecgconsole.signals.reasons import Reason
from ecgconsole.workspace import write_atomically

FORMAT = 1
MAXIMUM_LINE_BYTES = 64 << 20

Index = dict[str, tuple[str, FolderScan]]
# A folder, and its signature when it was scanned last.
Asked = tuple[HeaderFolder, str | None]
# Its signature now, and its scan where that differs.
Answered = tuple[str, FolderScan | None]


def scan_with_index(
    layout: str,
    folders: list[HeaderFolder],
    config: Config,
    path: Path,
    scan: Callable[[list[Asked]], Iterable[Answered]],
) -> list[FolderScan]:
    """Scans of ``folders``, in their order: from the index at ``path`` where nothing changed, else by ``scan``.

    The index is renewed where its folder exists and can be written.
    """
    key = index_key(layout, config)
    known = read_index(path, key)
    fresh: Index = {}
    asked = [(folder, known[folder.path][0] if folder.path in known else None) for folder in folders]
    changed = len(known) != len(folders)
    try:
        for folder, (signature, found) in zip(folders, scan(asked), strict=True):
            changed = changed or found is not None
            fresh[folder.path] = (signature, known[folder.path][1] if found is None else found)
    finally:
        # Whatever ends a scan, what it read stays read.
        if changed and path.parent.is_dir():
            unread = {f.path: known[f.path] for f in folders if f.path in known}
            _keep(path, key, {**unread, **fresh})
    return [found for _, found in fresh.values()]


def scan_changed(root: Path, asked: list[Asked], layout: str, config: Config) -> list[Answered]:
    """Scans the folders whose signature is another than it was."""
    answers: list[Answered] = []
    for folder, known in asked:
        # First the signature: what is written meanwhile is then scanned again next time.
        signature = folder_signature(root, folder.path)
        answers.append((signature, None if signature == known else scan_folder(root, folder, layout, config)))
    return answers


def folder_signature(root: Path, folder: str) -> str:
    """Changes when a file of the folder is written, added, removed, renamed, or its permissions change."""
    lines = []
    with os.scandir(root / folder) as entries:
        for entry in entries:
            try:
                stat = entry.stat()
                lines.append(f"{entry.name}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}")
            except OSError as error:
                lines.append(f"{entry.name}\0{error.errno}")  # a link that leads nowhere
    return hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest()


def index_key(layout: str, config: Config) -> str:
    """What a scan depends on, besides the files."""
    data, build = config.data, config.build
    program = [FORMAT, __version__, formulas_hash(*FORMULAS)]
    settings = [program, layout, data.ecg_channels, data.ppg_channels, data.require, build.segment_seconds]
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()


def read_index(path: Path, key: str) -> Index:
    """``folder -> (signature, scan)``; empty where the file is absent, damaged, or of another ``key``."""
    found: Index = {}
    try:
        with gzip.open(path, "rb") as file:
            if json.loads(file.readline(MAXIMUM_LINE_BYTES)) != {"key": key}:
                return {}
            while line := file.readline(MAXIMUM_LINE_BYTES):
                entry = json.loads(line)
                found[entry["folder"]] = (entry["signature"], _scan_of(entry["scan"]))
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return found


def write_index(path: Path, key: str, index: Mapping[str, tuple[str, FolderScan]]) -> None:
    """Atomically. What could not be read for certain is left out, to be tried again next time."""
    lines = (json.dumps(line, separators=(",", ":"), default=datetime.isoformat) for line in _lines(key, index))
    write_atomically(path, gzip.compress("\n".join(lines).encode(), compresslevel=1, mtime=0))


def _keep(path: Path, key: str, index: Index) -> None:
    try:
        write_index(path, key, index)
    except OSError:
        return  # no room, or read-only: the next scan takes as long as this one


def _lines(key: str, index: Mapping[str, tuple[str, FolderScan]]) -> Iterator[dict[str, Any]]:
    yield {"key": key}
    for folder, (signature, scan) in sorted(index.items()):
        if scan.certain:
            yield {"folder": folder, "signature": signature, "scan": asdict(scan)}


def _scan_of(fields: dict[str, Any]) -> FolderScan:
    return FolderScan(
        recordings=tuple(_recording_of(r) for r in fields["recordings"]),
        unusable=tuple(Rejection(**{**u, "reason": Reason(u["reason"])}) for u in fields["unusable"]),
        other_channels=tuple((str(name), int(n)) for name, n in fields["other_channels"]),
        numerics=int(fields["numerics"]),
        certain=True,
    )


def _recording_of(fields: dict[str, Any]) -> Recording:
    start = fields["start"]
    channels = tuple((str(name), float(seconds)) for name, seconds in fields["channel_seconds"])
    return Recording(
        **{**fields, "start": None if start is None else datetime.fromisoformat(start), "channel_seconds": channels}
    )
