"""Stand-ins for the work of a worker process, importable there: they die, fail or wait, then do the work.

What to do is read from files, as nothing else reaches a process that was spawned.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

from ecgconsole.dataset import header_index, shards
from ecgconsole.dataset import merge as merging


def switch(folder: Path, name: str, times: int) -> None:
    """Lets ``name`` happen so many times in workers that write to ``folder``."""
    (folder.parent / f"lethal.{name}").write_text(str(times))


def happens(folder: Path, name: str) -> bool:
    path = folder.parent / f"lethal.{name}"
    left = int(path.read_text()) if path.exists() else 0
    if left:
        path.write_text(str(left - 1))
    return left > 0


def dying_build(plan: Any, root: Path, config: Any, folder: Path, skip: frozenset[str]) -> Any:
    """Killed, as by the kernel for its memory, once it has begun the second patient of the first shard."""
    original = shards.patient_rows
    if plan.number == 1:

        def rows(root: Path, patient: Any, *rest: Any) -> Any:
            if patient == plan.patients[1] and happens(folder, "die"):
                os.kill(os.getpid(), signal.SIGKILL)
            return original(root, patient, *rest)

        shards.patient_rows = rows
    try:
        return shards.build_shard(plan, root, config, folder, skip)
    finally:
        shards.patient_rows = original


def limited_build(plan: Any, root: Path, config: Any, folder: Path, skip: frozenset[str]) -> Any:
    """Writes at most 20 kB a file, as on a disk with a quota."""
    if happens(folder, "limit"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    return shards.build_shard(plan, root, config, folder, skip)


def failing_build(plan: Any, root: Path, config: Any, folder: Path, skip: frozenset[str]) -> Any:
    """The disk of the recordings fails."""
    if happens(folder, "fail"):
        raise OSError(5, "Input/output error", str(root / "x.dat"))
    return shards.build_shard(plan, root, config, folder, skip)


def slow_build(plan: Any, root: Path, config: Any, folder: Path, skip: frozenset[str]) -> Any:
    """Says that it has begun, and takes its time."""
    (folder.parent / f"begun.{plan.number}").touch()
    time.sleep(0.5)
    return shards.build_shard(plan, root, config, folder, skip)


def dying_merge(plan: Any, output: Path) -> Any:
    if happens(output.parent / "shards", "die"):
        os.kill(os.getpid(), signal.SIGKILL)
    return merging.merge(plan, output)


def limited_merge(plan: Any, output: Path) -> Any:
    if happens(output.parent / "shards", "limit"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    return merging.merge(plan, output)


def dying_scan(root: Path, asked: Any, layout: str, config: Any) -> Any:
    if happens(Path(config.data.patient_map).parent / "shards", "die"):
        os.kill(os.getpid(), signal.SIGKILL)
    return header_index.scan_changed(root, asked, layout, config)
