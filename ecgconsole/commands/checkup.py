"""The checks of ``doctor``: what would stop a long job, found before it starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ecgconsole.config import PATH_KEYS, Config
from ecgconsole.errors import EcgConsoleError, ExitCode, InputError
from ecgconsole.text import count, duration, sanitise, size
from ecgconsole.workspace import Workspace

if TYPE_CHECKING:
    from ecgconsole.dataset.discovery import Cohort

OPEN_FILES_WANTED = 1024
CHANNELS_SHOWN = 12
_HDF5_TRIAL = """
import sys, h5py
with h5py.File(sys.argv[1], "w") as file:
    file["a"] = [1]
with h5py.File(sys.argv[1], "r") as one, h5py.File(sys.argv[1], "r") as other:
    assert one["a"][0] == other["a"][0]
"""


@dataclass(frozen=True)
class Check:
    """One thing looked at. ``exit_code`` is 0 for what is worth knowing but stops nothing."""

    name: str
    ok: bool
    message: str
    hint: str = ""
    exit_code: ExitCode = ExitCode.DONE


def checkup(workspace: Workspace | None, config: Config) -> list[Check]:
    """Everything that applies; without an output folder, what can be said of the machine and the inputs."""
    checks = [_python(), _kernels(), _cores(), _memory(), _gpu(config), _open_files()]
    if workspace is not None:
        checks += [*_folder(workspace), _job(workspace)]
    checks += _inputs(config)
    if config.data.waveform_dir is not None:
        checks += _recordings(workspace, config)
    return checks


def _python() -> Check:
    return Check("python", True, f"{sys.version.split()[0]} at {sys.executable}")


def _kernels() -> Check:
    from ecgconsole.signals import compiled

    if compiled.available():
        return Check("kernels", True, "compiled")
    hint = "install a C compiler (cc, or set CC), then ecgconsole again; datasets come out the same either way"
    return Check("kernels", False, "not compiled, or of another version: a build takes half as long again", hint)


def _cores() -> Check:
    return Check("processors", True, f"{_usable_cores()} usable of {os.cpu_count()}")


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> Check:
    import psutil

    memory = psutil.virtual_memory()
    return Check(
        "memory",
        memory.available > 2e9,
        f"{size(memory.available)} free of {size(memory.total)}",
        "a build needs about 0.5 GB a worker, training about 2 GB; close something, or lower build.num_workers",
    )


def _gpu(config: Config) -> Check:
    from ecgconsole.jobs.gauges import gpu_reader

    gpus = gpu_reader()()
    names = ", ".join(f"{g['name']} ({size(g.get('memory_total_bytes') or 0)})" for g in gpus)
    needed = config.training.device.startswith("cuda")
    return Check(
        "gpu",
        bool(gpus) or not needed,
        names or "none: training runs on the processor",
        f"training.device = {config.training.device} needs one; auto or cpu do without",
        ExitCode.MACHINE,
    )


def _open_files() -> Check:
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Check("open files", limit >= OPEN_FILES_WANTED, f"limit {limit:,}", f"ulimit -n {OPEN_FILES_WANTED}")


def _folder(workspace: Workspace) -> Iterator[Check]:
    """Writing in the output folder, or in the nearest folder above it that exists."""
    place = _existing(workspace.folder)
    free = shutil.disk_usage(place).free
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor.", dir=place) as trial:
            yield Check("folder", True, f"{workspace.folder} can be written, {size(free)} free")
            yield _hdf5(Path(trial))
    except OSError as error:
        yield Check("folder", False, f"cannot write in {place}: {error.strerror}", "another -o", ExitCode.MACHINE)


def _hdf5(folder: Path) -> Check:
    """In a process of its own: HDF5 can take the interpreter down with it."""
    path = folder / "trial.h5"
    result = subprocess.run([sys.executable, "-c", _HDF5_TRIAL, str(path)], capture_output=True, text=True, check=False)
    said = result.stderr.strip().splitlines()[-1:] or [f"exit code {result.returncode}"]
    return Check(
        "hdf5",
        result.returncode == 0,
        "writes, locks and reads there" if result.returncode == 0 else said[0],
        "on a network disk without locks: export HDF5_USE_FILE_LOCKING=FALSE",
        ExitCode.MACHINE,
    )


def _job(workspace: Workspace) -> Check:
    from ecgconsole.jobs.state import read_snapshot

    snapshot = read_snapshot(workspace)
    if snapshot is None:
        return Check("job", True, "none has run there")
    if snapshot.alive:
        return Check("job", False, f"run {snapshot.run_id} is running there", "wait, or: ecgconsole stop")
    return Check("job", True, f"none runs there; run {snapshot.run_id} is {snapshot.status}")


def _inputs(config: Config) -> Iterator[Check]:
    if config.data.waveform_dir is None:
        yield Check("inputs", False, "data.waveform_dir is not set", "--set data.waveform_dir=FOLDER, or in a file -c")
    for key in PATH_KEYS:
        path = config.get(key)
        if path is not None:
            there = Path(path).exists() and os.access(path, os.R_OK)
            yield Check(key, there, path, "no such file or folder, or it cannot be read", ExitCode.INPUT)
            if there and key == "data.clinical_dir":
                yield _tables(Path(path))


def _tables(folder: Path) -> Check:
    from ecgconsole.clinical import check_tables

    try:
        return Check("tables", True, ", ".join(check_tables(folder)))
    except InputError as error:
        return Check("tables", False, str(error), "", ExitCode.INPUT)


def _recordings(workspace: Workspace | None, config: Config) -> Iterator[Check]:
    """Who is there with hours of what, by the headers; what a build would give and take, by a sample of the samples."""
    import time

    from ecgconsole.dataset.discovery import discover
    from ecgconsole.dataset.scanning import discovered

    began = time.monotonic()
    try:
        if workspace is None:
            cohort = discover(config)
        else:
            cohort = discovered(config, workspace.header_index, None, lambda done, total: None)
        yield Check("recordings", True, _cohort_text(cohort, duration(time.monotonic() - began)))
        yield _forecast(workspace, cohort, config)
    except EcgConsoleError as error:
        yield Check("forecast", False, str(error), "", error.exit_code)


def _cohort_text(cohort: Cohort, took: str) -> str:
    seconds_of: dict[str, float] = defaultdict(float)
    recordings = [r for patient in cohort.patients for r in patient.recordings]
    for recording in recordings:
        for name, seconds in recording.channel_seconds:
            seconds_of[name] += seconds
    most = sorted(seconds_of.items(), key=lambda item: -item[1])[:CHANNELS_SHOWN]
    channels = ", ".join(f"{name} {duration(seconds)}" for name, seconds in most)
    unused = ", ".join(
        f"{name} ({count(n, 'record')})" for name, n in Counter(cohort.other_channels).most_common(CHANNELS_SHOWN)
    )
    return sanitise(
        f"{count(len(cohort.patients), 'patient')} with {count(len(recordings), 'record')}, layout {cohort.layout}:"
        f" {channels}{f'; not in the channel lists: {unused}' if unused else ''}"
        f" ({count(cohort.headers, 'header')} looked at in {took})"
    )


def _forecast(workspace: Workspace | None, cohort: Cohort, config: Config) -> Check:
    from ecgconsole.dataset.discovery import waveform_dir
    from ecgconsole.dataset.forecast import forecast
    from ecgconsole.dataset.people import select

    workers = config.build.num_workers or _usable_cores()
    made = forecast(waveform_dir(config), select(cohort.patients, config), config, workers)
    free = shutil.disk_usage(_existing(workspace.folder)).free if workspace else None
    return Check(
        "forecast",
        free is None or made.space_bytes < free,
        f"{count(made.patients, 'patient')}, about {count(made.segments, 'segment')}, {size(made.bytes)}, "
        f"{duration(max(1.0, made.seconds))} of build and {size(made.memory_bytes)} of memory with "
        f"{count(workers, 'worker')}{'' if free is None else f', {size(free)} free'} "
        f"({made.sampled:,} windows tried)",
        f"shards and merged file together need {size(made.space_bytes)}; lower build.max_patients, or another disk",
        ExitCode.MACHINE,
    )


def _existing(folder: Path) -> Path:
    return next(p for p in (folder, *folder.parents) if p.is_dir())
