"""The build that a user would write instead: wfdb, SciPy filters a window, gzip HDF5, multiprocessing.Pool.

usage: benchmarks/naive_build.py COHORT OUT.h5 --workers W

COHORT as ``ecgconsole synth`` writes it. Windows with a missing sample or without variation are left out; there are
no indices of rhythm or quality, no checksums, no resuming.
"""

from __future__ import annotations

import argparse
import json
import time
from multiprocessing import Pool
from pathlib import Path

import h5py
import numpy as np
import wfdb
from scipy.signal import butter, filtfilt

FS, WINDOW = 125, 1250


def patient(task: tuple[Path, list[str]]) -> np.ndarray:
    root, names = task
    out = []
    ecg_filter, ppg_filter = butter(3, [0.5, 40], "band", fs=FS), butter(3, [0.5, 8], "band", fs=FS)
    for name in names:
        record = wfdb.rdrecord(str(root / name))
        if "II" not in record.sig_name or "PLETH" not in record.sig_name:
            continue
        ecg, ppg = (record.p_signal[:, record.sig_name.index(channel)] for channel in ("II", "PLETH"))
        for start in range(0, len(ecg) - WINDOW + 1, WINDOW):
            e, p = ecg[start : start + WINDOW], ppg[start : start + WINDOW]
            if np.isnan(e).any() or np.isnan(p).any() or e.std() < 1e-3 or p.std() < 1e-3:
                continue
            e, p = filtfilt(*ecg_filter, e), filtfilt(*ppg_filter, p)
            out.append(np.stack([(e - e.mean()) / e.std(), (p - p.mean()) / p.std()]).astype("f4"))
    return np.array(out, "f4").reshape(-1, 2, WINDOW)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cohort", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    root = arguments.cohort / "waveforms"
    records: dict[str, list[str]] = {}
    for line in (root / "RECORDS-waveforms").read_text().split():
        records.setdefault(line.split("/")[1], []).append(line)
    began, n = time.perf_counter(), 0
    with h5py.File(arguments.out, "w") as file, Pool(arguments.workers) as pool:
        data = file.create_dataset(
            "segments", (0, 2, WINDOW), "f4", maxshape=(None, 2, WINDOW), chunks=(64, 2, WINDOW), compression="gzip"
        )
        for windows in pool.imap(patient, [(root, names) for names in records.values()]):
            data.resize(n + len(windows), 0)
            data[n:] = windows
            n += len(windows)
    seconds = time.perf_counter() - began
    print(json.dumps({"segments": n, "seconds": seconds, "bytes": arguments.out.stat().st_size}))


if __name__ == "__main__":
    main()
