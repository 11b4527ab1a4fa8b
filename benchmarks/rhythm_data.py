"""Open recordings and what annotators said of them, as datasets of ecgconsole and as tasks over their windows."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import wfdb
from numpy.typing import NDArray

from ecgconsole.dataset import Dataset

# Columns of the dataset that a logistic regression is given, and whether their logarithm is too.
RHYTHM_FEATURES = {
    "rhythm/median_rr_s": True,
    "rhythm/rr_cv": True,
    "rhythm/rmssd_normalised": True,
    "rhythm/rr_irregular_share": False,
    "rhythm/rr_entropy": False,
    "rhythm/early_beats": False,
    "rhythm/heart_rate_bpm": False,
}
VENTRICULAR = frozenset("VE")
# Windows with these and no ventricular beat are neither: fusion of both, and flutter waves.
DOUBTFUL = frozenset("F![]")
FLUTTER = ("(AFL", "(VFL")


@dataclass(frozen=True)
class Windows:
    """Windows of a dataset, in its order: ``folder``, ``record``, ``person`` str (n,), ``start_s`` (n,).

    ``label`` is the recording's in REFERENCE.csv; ``rhythm`` the annotated rhythm in force throughout the window;
    ``ventricular`` yes, no; each empty where there is no such annotation or it is ambiguous.
    """

    folder: NDArray[np.str_]
    record: NDArray[np.str_]
    person: NDArray[np.str_]
    start_s: NDArray[np.float64]
    label: NDArray[np.str_]
    rhythm: NDArray[np.str_]
    ventricular: NDArray[np.str_]


@dataclass(frozen=True)
class Task:
    """Rows of ``Windows`` with a class each, bool (n,); ``by_recording``: a recording's windows are averaged."""

    name: str
    rows: NDArray[np.int64]
    positive: NDArray[np.bool_]
    by_recording: bool


def joined_folder(folders: Sequence[Path], root: Path) -> Path:
    """A folder of links to ``folders``, by their own names, which must differ."""
    root.mkdir(parents=True, exist_ok=True)
    if len({f.name for f in folders}) < len(folders):
        raise SystemExit(f"two folders of one name: {', '.join(map(str, folders))}")
    for link in root.iterdir():
        link.unlink()
    for folder in folders:
        if not folder.is_dir():
            raise SystemExit(f"{folder}: no such folder")
        (root / folder.name).symlink_to(folder.resolve())
    return root


def write_patient_map(folders: Sequence[Path], given: Path | None, path: Path) -> Path:
    """Who is one person: CPSC 2021's ``data_<person>_<n>``, MIT-BIH 201 and 202, a MANIFEST.csv, then ``given``."""
    people: dict[str, str] = {}
    for folder in folders:
        for header in folder.glob("data_*_*.hea"):
            people[f"{folder.name}/{header.stem}"] = f"{folder.name}-{header.stem.split('_')[1]}"
        if folder.name == "mitdb":
            people |= {"mitdb/201": "mitdb-201", "mitdb/202": "mitdb-201"}
        manifest = folder / "MANIFEST.csv"
        if manifest.is_file():
            with manifest.open(newline="") as file:
                people |= {row["record"]: f"{folder.name}-{row['mimic2_id']}" for row in csv.DictReader(file)}
    if given is not None:
        with given.open(newline="") as file:
            people |= {row["record"]: row["patient"] for row in csv.DictReader(file)}
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("record", "patient"), *sorted(people.items())])
    return path


def read_windows(dataset: Dataset, root: Path) -> Windows:
    """All windows of ``dataset``, which was built from ``root``, with their annotations."""
    record = dataset.column("segment/record")
    start_s = dataset.column("segment/start_seconds")
    seconds = dataset.segment_samples / dataset.sampling_rate_hz
    label, rhythm, ventricular = (np.full(len(record), "", "U8") for _ in range(3))
    for folder in sorted({r.partition("/")[0] for r in record}):
        reference = root / folder / "REFERENCE.csv"
        if reference.is_file():
            with reference.open(newline="") as file:
                labels = {f"{folder}/{name}": value for name, value in csv.reader(file)}
            at = np.flatnonzero(np.char.startswith(record, folder + "/"))
            label[at] = [labels.get(r, "") for r in record[at]]
    for path in np.unique(record):
        if os.path.isfile(root / f"{path}.atr"):
            at = np.flatnonzero(record == path)
            rhythm[at], ventricular[at] = annotated(root / path, start_s[at], seconds)
    folder_of = np.array([r.partition("/")[0] for r in record])
    return Windows(folder_of, record, dataset.patient_id, start_s, label, rhythm, ventricular)


def annotated(record: Path, start_s: NDArray[np.float64], seconds: float) -> tuple[list[str], list[str]]:
    """Rhythm and presence of ventricular beats for each window of a record with an ``.atr`` file."""
    notes = wfdb.rdann(str(record), "atr")
    time_s = notes.sample / wfdb.rdheader(str(record)).fs
    symbols = np.array(notes.symbol)
    changes = [(t, n.rstrip("\0")) for t, n in zip(time_s, notes.aux_note, strict=True) if n.startswith("(")]
    rhythm, ventricular = [], []
    for start in start_s:
        before = [r for t, r in changes if t <= start][-1:]
        changed = any(start < t < start + seconds for t, _ in changes)
        rhythm.append("" if changed or not before else before[0].removeprefix("("))
        inside = set(symbols[(time_s >= start) & (time_s < start + seconds)])
        ventricular.append("yes" if inside & VENTRICULAR else "" if inside & DOUBTFUL or not inside else "no")
    return rhythm, ventricular


def tasks_of(windows: Windows) -> list[Task]:
    """The tasks that the annotations allow."""
    label, rhythm = windows.label, windows.rhythm
    has_normal = {f for f in np.unique(windows.folder) if ("N" in label[windows.folder == f])}
    graded = np.isin(windows.folder, list(has_normal))
    ventricular = (windows.ventricular != "") & (windows.folder == "mitdb")
    flutter = np.isin(rhythm, [f.removeprefix("(") for f in FLUTTER])
    tasks = [
        _task("A against N", graded & np.isin(label, ["A", "N"]), label == "A", True),
        _task("A against N and O", graded & np.isin(label, ["A", "N", "O"]), label == "A", True),
        _task("N against O", graded & np.isin(label, ["N", "O"]), label == "O", True),
        _task("AFIB against all but flutter", (rhythm != "") & ~flutter, rhythm == "AFIB", False),
        _task("ventricular beat against none", ventricular, windows.ventricular == "yes", False),
    ]
    return [t for t in tasks if 0 < t.positive.sum() < len(t.positive)]


def _task(name: str, rows: NDArray[np.bool_], positive: NDArray[np.bool_], by_recording: bool) -> Task:
    return Task(name, np.flatnonzero(rows), positive[rows], by_recording)


def rhythm_features(dataset: Dataset) -> NDArray[np.float32]:
    """(N, columns) for a logistic regression; not a number where a window has too few beats."""
    columns = []
    for name, skewed in RHYTHM_FEATURES.items():
        values = dataset.column(name)
        columns.append(values)
        if skewed:
            columns.append(np.log(np.maximum(values, 1e-3)))
    return np.stack(columns, axis=1).astype(np.float32)
