"""What the dataset's work on a window costs against NeuroKit2's on the same windows, on one core; prints a table.

usage: benchmarks/neurokit.py DATA [--windows 300] [--rounds 3]

DATA is any folder that ``build`` takes. Ours is everything that a build does with a window before it is stored:
reading, checksums, resampling, filters, beats, quality, rhythm, quantising. NeuroKit2 gets the windows already read
and filtered, ``ecg_process`` and ``ppg_process`` one window at a time, as its manual shows. Both on one core, in turn;
times are the processor's, so that whatever else runs there counts little; the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

# Before NumPy is loaded: one core is one core.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import numpy as np
from numpy.typing import NDArray

from ecgconsole.config import Config
from ecgconsole.dataset.discovery import discover
from ecgconsole.dataset.segments import kept_rows
from ecgconsole.signals.headers import read_record
from ecgconsole.signals.windows import candidate_windows, extract


def ours(root: Path, records: list[tuple[str, NDArray[np.int64]]], config: Config) -> NDArray[np.float32]:
    """Windows (n, 2, T) that a build would keep, both signals present, in physical units."""
    found = []
    for record, windows in records:
        header = read_record(root, record)
        for batch in extract(root, header, windows, config):
            kept_rows("patient", header, batch, config)
            found.append(batch.signal[(batch.reason == 0) & batch.present.all(axis=1)])
    return np.concatenate(found)


def first_windows(root: Path, config: Config, wanted: int) -> list[tuple[str, NDArray[np.int64]]]:
    """Windows of as many records as it takes."""
    chosen, n = [], 0
    for patient in discover(config).patients:
        for recording in patient.recordings:
            windows = candidate_windows(read_record(root, recording.record), config)[: wanted - n]
            chosen.append((recording.record, windows))
            n += len(windows)
            if n == wanted:
                return chosen
    sys.exit(f"{root}: only {n} windows with both signals; {wanted} are wanted")


def theirs(windows: NDArray[np.float32], rate_hz: int) -> int:
    """Processes each window; returns how many NeuroKit2 could not."""
    import neurokit2

    failed = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for ecg, ppg in windows.astype(np.float64):
            try:
                neurokit2.ecg_process(ecg, sampling_rate=rate_hz)
                neurokit2.ppg_process(ppg, sampling_rate=rate_hz)
            except (ValueError, IndexError, ZeroDivisionError, TypeError, KeyError):
                failed += 1  # too few beats for what it derives from them
    return failed


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--windows", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    try:
        import neurokit2
    except ImportError:
        sys.exit("NeuroKit2 is not installed: pip install neurokit2, in an environment that has ecgconsole too")
    config = Config.model_validate({"data": {"waveform_dir": str(arguments.data)}})
    chosen = first_windows(arguments.data, config, arguments.windows)
    windows = ours(arguments.data, chosen, config)  # warms up both
    rate_hz = round(config.build.sampling_rate_hz)
    theirs(windows[:2], rate_hz)
    of_ours, of_theirs, failed = [], [], 0
    for _ in range(arguments.rounds):
        # As short as it is, once would tell little.
        of_ours += [seconds(lambda: ours(arguments.data, chosen, config)) / arguments.windows for _ in range(5)]

        def process() -> None:
            nonlocal failed
            failed = theirs(windows, rate_hz)

        of_theirs.append(seconds(process) / len(windows))
    own, other = float(np.median(of_ours)), float(np.median(of_theirs))
    print("| | windows | ms a window | windows/s |\n|---|---|---|---|")
    print(f"| ecgconsole | {arguments.windows} | {1000 * own:.3f} | {1 / own:,.0f} |")
    name = f"NeuroKit2 {neurokit2.__version__} (could not process {failed})"
    print(f"| {name} | {len(windows)} | {1000 * other:.1f} | {1 / other:,.1f} |")
    print(f"\nratio: {other / own:,.0f}")


if __name__ == "__main__":
    main()
