"""Made embeddings through discover, validate and stroke: minutes and peak memory of each.

    .venv/bin/python benchmarks/findings.py                                    # 2 million x 256 of 2,400 patients
    .venv/bin/python benchmarks/findings.py --segments 200000 --patients 800   # smaller

Each stage runs in a process of its own. ``profiles`` is the part of discover that reads the dataset's
columns, on made columns.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from ecgconsole.config import Config
from ecgconsole.findings import discover, profile, stroke, validate
from ecgconsole.stage import Reporter, Stop
from ecgconsole.workspace import Workspace

LABELS = 60
COLUMNS = 30
PATTERNS = 8


def make(folder: Path, segments: int, patients: int, dimensions: int) -> None:
    """Embeddings with eight patterns, patients who differ, noise; and a metadata table with labels."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(PATTERNS, dimensions))
    person = rng.normal(size=(patients, dimensions)) * 0.5
    patient = np.sort(rng.integers(0, patients, segments))
    mixture = rng.dirichlet(np.full(PATTERNS, 0.4), patients)
    split_of = np.select([np.arange(patients) % 20 < 14, np.arange(patients) % 20 < 17], [0, 1], 2)
    (folder / "embeddings").mkdir(parents=True)
    for code, name in enumerate(("train", "val", "test")):
        rows = np.flatnonzero(split_of[patient] == code)
        x = np.empty((len(rows), dimensions), np.float32)
        for first in range(0, len(rows), 50_000):
            p = patient[rows[first : first + 50_000]]
            pattern = (mixture[p].cumsum(axis=1) < rng.random((len(p), 1))).sum(axis=1).clip(max=PATTERNS - 1)
            x[first : first + 50_000] = centres[pattern] + person[p] + rng.normal(size=(len(p), dimensions)) * 0.7
        np.savez(
            folder / "embeddings" / f"{name}_embeddings.npz",
            embeddings=x,
            segment_index=rows,
            patient_id=np.array([f"p{p:06d}" for p in range(patients)])[patient[rows]],
            record=np.array([f"p00/p{p:06d}/p{p:06d}-2150-01-01-00-00" for p in range(patients)])[patient[rows]],
            start_seconds=rows * 10.0,
        )
    workspace = Workspace(folder)
    table = pd.DataFrame({"patient_id": [f"p{p:06d}" for p in range(patients)]})
    table["age_years"] = rng.uniform(20, 90, patients)
    table["sex"] = rng.choice(["F", "M"], patients)
    table["heart_rate_bpm_median"] = rng.normal(85, 12, patients)
    table["rr_irregular_share_median"] = mixture[:, 0]
    table["rr_irregular_share_p90"] = mixture[:, :2].sum(axis=1)
    for name in ("heart_failure", "hypertension", "diabetes", "vascular_disease", "stroke_or_thromboembolism"):
        table[f"before_{name}"] = pd.array(rng.random(patients) < 0.2, dtype="boolean")
    table["history_atrial_fibrillation"] = pd.array(rng.random(patients) < 0.2, dtype="boolean")
    rates = {"concurrent_stroke": 0.03, "future_stroke": 0.02, "died_within_90_days": 0.15}
    rates |= {f"concurrent_{i}": float(rng.uniform(0.01, 0.4)) for i in range(LABELS)}
    labels = {n: pd.array(rng.random(patients) < rate, dtype="boolean") for n, rate in rates.items()}
    table = pd.concat([table, pd.DataFrame(labels)], axis=1)
    table.to_parquet(workspace.metadata)
    table.to_csv(workspace.clinical_features, index=False)


def profiles(segments: int, patients: int) -> None:
    rng = np.random.default_rng(0)
    patient = np.sort(rng.integers(0, patients, segments)).astype(np.int32)
    pattern = rng.integers(0, 16, segments).astype(np.int16)
    columns = {f"quality/{i}_noise_share": rng.random(segments, np.float32) for i in range(COLUMNS)}
    counts = profile.segment_counts(pattern, patient, 16, patients)
    profile.column_profiles(columns, pattern, patient, counts, 200, rng)
    profile.poor_segments(columns)
    profile.transitions(pattern, patient, patient, np.arange(segments) * 10.0, 60.0, 16)


def stage(run: Callable, folder: Path) -> None:
    run(Config(), Workspace(folder), Reporter("benchmark", lambda event: None), Stop())


def measured(function: Callable, *arguments: object) -> tuple[float, float]:
    """Seconds and peak resident bytes; called in a fresh process."""
    started = time.monotonic()
    function(*arguments)
    return time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=2_000_000)
    parser.add_argument("--patients", type=int, default=2_400)
    parser.add_argument("--dimensions", type=int, default=256)
    options = parser.parse_args()
    size = (options.segments, options.patients, options.dimensions)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "output"
        parts: list[tuple[str, Callable, tuple[object, ...]]] = [
            ("make", make, (folder, *size)),
            ("discover", stage, (discover.run, folder)),
            ("profiles", profiles, size[:2]),
            ("validate", stage, (validate.run, folder)),
            ("stroke", stage, (stroke.run, folder)),
        ]
        print(f"{size[0]:,} segments x {size[2]} of {size[1]:,} patients")
        for title, function, arguments in parts:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                seconds, peak = pool.submit(measured, function, *arguments).result()
            print(f"{title:10} {seconds / 60:6.2f} min  {peak / 2**30:5.2f} GiB peak", flush=True)


if __name__ == "__main__":
    main()
