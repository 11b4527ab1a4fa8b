"""Headers scanned by worker processes, folder by folder, through the index of an earlier scan."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from ecgconsole.config import Config
from ecgconsole.dataset.discovery import Cohort, FolderScan, HeaderFolder, discover, waveform_dir
from ecgconsole.dataset.header_index import Answered, Asked, scan_changed, scan_with_index
from ecgconsole.dataset.schedule import BACK_OFF_SECONDS, why
from ecgconsole.dataset.workers import Workers, call
from ecgconsole.errors import InputError

# So many headers are read before the first worker process has imported what it needs.
SCAN_IN_PROCESS_HEADERS = 1500
SCAN_FOLDERS_AT_ONCE = 16

Progress = Callable[[int, int], None]


def discovered(config: Config, index: Path, workers: Workers | None, progress: Progress) -> Cohort:
    """The cohort, by ``workers`` where there are many headers. Tried again where the disk fails.

    ``progress(done, total)`` counts folders, where there are many. ``index`` is the file of
    ``header_index``. Raises ``InputError`` as ``discover`` does, and where the disk stays away.
    """
    root = waveform_dir(config)

    def scan_all(layout: str, folders: list[HeaderFolder]) -> list[FolderScan]:
        if workers is None or sum(len(f.names) for f in folders) < SCAN_IN_PROCESS_HEADERS:
            return scan_with_index(layout, folders, config, index, partial(_here, root, layout, config))
        scan = partial(_by_workers, root, layout, config, workers, progress)
        return scan_with_index(layout, folders, config, index, scan)

    for seconds in (*BACK_OFF_SECONDS, None):
        try:
            return discover(config, scan_all)
        except OSError as error:
            if seconds is None:
                raise InputError(
                    f"{root}: the recordings cannot be read ({why(error)}); is the disk still mounted?"
                ) from error
            time.sleep(seconds)
    raise AssertionError("the last attempt returns or raises")


def _here(root: Path, layout: str, config: Config, asked: list[Asked]) -> list[Answered]:
    return scan_changed(root, asked, layout, config)


def _by_workers(
    root: Path, layout: str, config: Config, workers: Workers, progress: Progress, asked: list[Asked]
) -> Iterator[Answered]:
    batches = [asked[i : i + SCAN_FOLDERS_AT_ONCE] for i in range(0, len(asked), SCAN_FOLDERS_AT_ONCE)]
    futures = [workers.submit(scan_changed, root, batch, layout, config) for batch in batches]
    done = 0
    for batch, future in zip(batches, futures, strict=True):
        try:
            answers = future.result()
        except workers.deaths:
            answers = call(workers, scan_changed, root, batch, layout, config)
        yield from answers
        done += len(batch)
        progress(done, len(asked))
