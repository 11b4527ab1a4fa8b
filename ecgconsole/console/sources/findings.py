"""What the last stages found, as tables and as a map: whatever exists of it, read with bounded memory."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ecgconsole.errors import InputError
from ecgconsole.text import alias, sanitise
from ecgconsole.workspace import Workspace

MAP_POINTS = 4000
COLOURINGS = ("pattern", "rhythm", "label", "patient")
_SPLITS = ("train", "val", "test")
_LARGEST_JSON = 64 << 20


@dataclass(frozen=True)
class Findings:
    """The JSON of each stage, {} where it is missing; ``problems``: stage to why its file cannot be read."""

    patterns: dict[str, Any] = field(default_factory=dict)
    validation: dict[str, Any] = field(default_factory=dict)
    stroke: dict[str, Any] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    @cached_property
    def tests(self) -> list[dict[str, Any]]:
        """Of all patterns and labels, the surest first."""
        return sorted(self.validation.get("tests", ()), key=lambda t: float("inf") if t.get("q") is None else t["q"])

    def associations(self, pattern: int) -> list[dict[str, Any]]:
        """Tests of one pattern, the surest first."""
        return [t for t in self.tests if t.get("pattern") == pattern]


@dataclass(frozen=True, eq=False)
class Map:
    """Segments on the two directions in which embeddings differ most: ``xy`` (n, 2), ``row`` (n,) of the dataset,
    ``patient`` (n,), ``share`` of the variance of either; ``total``: how many segments there are."""

    xy: np.ndarray
    row: np.ndarray
    patient: np.ndarray
    share: tuple[float, float]
    total: int


def read_findings(workspace: Workspace) -> Findings:
    found: dict[str, dict[str, Any]] = {}
    problems: dict[str, str] = {}
    files = {"patterns": workspace.patterns, "validation": workspace.validation, "stroke": workspace.stroke_risk}
    for name, path in files.items():
        try:
            found[name] = _json(path)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            problems[name] = sanitise(f"{path.name} cannot be read: {error}")
    return Findings(**found, problems=problems)


def report_path(workspace: Workspace) -> Path | None:
    path = workspace.folder / "report.html"
    return path if path.is_file() else None


def read_map(workspace: Workspace, most: int = MAP_POINTS) -> Map:
    """Principal components of ``most`` evenly spread segments of all splits. Raises ``InputError``."""
    parts = []
    total = 0
    for split in _SPLITS:
        path = workspace.embeddings(split)
        if path.exists():
            parts.append((path, len(_member(path, "segment_index"))))
            total += parts[-1][1]
    if not total:
        raise InputError("no embeddings in this folder yet: the stage embed makes them")
    vectors, rows, patients = [], [], []
    for path, n in parts:
        take = _evenly(n, max(1, round(most * n / total)) if n else 0)
        vectors.append(np.asarray(_member(path, "embeddings")[take], np.float64))
        rows.append(np.asarray(_member(path, "segment_index")[take]))
        patients.append(np.asarray(_member(path, "patient_id")[take]).astype(str))
    x = np.concatenate(vectors)
    x = x[:, np.isfinite(x).all(axis=0)]
    x = x - x.mean(axis=0)
    values, axes = np.linalg.eigh(x.T @ x / len(x))
    xy = x @ axes[:, ::-1][:, :2]
    # The sign of a component means nothing: its longer tail points to the right and up.
    xy *= np.where(np.abs(xy.max(axis=0)) >= np.abs(xy.min(axis=0)), 1, -1)
    whole = max(float(values.sum()), 1e-12)
    share = (float(values[-1] / whole), float(values[-2] / whole))
    return Map(xy, np.concatenate(rows), np.concatenate(patients), share, total)


def groups(workspace: Workspace, points: Map, by: str, salt: bytes) -> list[tuple[str, np.ndarray]]:
    """Names and who belongs to each, bool (n,): largest first. Labels overlap. Raises ``InputError`` where the file
    that tells is missing."""
    found = _GROUPS[by](workspace, points, salt)
    return sorted(((n, m) for n, m in found if m.any()), key=lambda group: (-int(group[1].sum()), group[0]))


def _by_pattern(workspace: Workspace, points: Map, salt: bytes) -> list[tuple[str, np.ndarray]]:
    import pyarrow.parquet as parquet

    if not workspace.assignments.exists():
        raise InputError("no patterns in this folder yet: the stage discover makes them")
    table = parquet.read_table(workspace.assignments, columns=["segment_index", "pattern"])
    index, pattern = table["segment_index"].to_numpy(), table["pattern"].to_numpy()
    order = np.argsort(index)
    place = np.searchsorted(index[order], points.row).clip(0, max(0, len(index) - 1))
    known = index[order][place] == points.row
    of = np.where(known, pattern[order][place], -1)
    return [(f"pattern {k}" if k >= 0 else "none", of == k) for k in np.unique(of).tolist()]


def _by_rhythm(workspace: Workspace, points: Map, salt: bytes) -> list[tuple[str, np.ndarray]]:
    from ecgconsole.dataset import Dataset

    with Dataset(workspace.dataset) as dataset:
        if "segment/charted_rhythm" not in dataset.column_names:
            raise InputError("no rhythm is charted in this dataset: data.clinical_dir with CHARTEVENTS gives it")
        rhythm = dataset.column("segment/charted_rhythm")
    if points.row.max(initial=-1) >= len(rhythm):
        raise InputError("the embeddings are of another dataset: the stage embed makes them anew")
    of = rhythm[points.row]
    return [(sanitise(name).replace("_", " ") or "not charted", of == name) for name in np.unique(of)]


def _by_label(workspace: Workspace, points: Map, salt: bytes) -> list[tuple[str, np.ndarray]]:
    from ecgconsole.dataset import Dataset

    with Dataset(workspace.dataset) as dataset:
        people = dataset.patients
    result = []
    for name in sorted(n for n in people if n.startswith("labels/")):
        with_it = people["id"][people[name] == 1]
        result.append((sanitise(name.removeprefix("labels/")).replace("_", " "), np.isin(points.patient, with_it)))
    return result


def _by_patient(workspace: Workspace, points: Map, salt: bytes) -> list[tuple[str, np.ndarray]]:
    return [(alias(str(p), salt), points.patient == p) for p in np.unique(points.patient)]


_GROUPS: dict[str, Callable[[Workspace, Map, bytes], list[tuple[str, np.ndarray]]]] = {
    "pattern": _by_pattern,
    "rhythm": _by_rhythm,
    "label": _by_label,
    "patient": _by_patient,
}


def _json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _LARGEST_JSON:
        raise ValueError("far larger than what this stage writes")
    data = json.loads(path.read_bytes())
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")
    return data


def _member(path: Path, name: str) -> np.ndarray:
    """An array of an ``.npz``, mapped where it is stored plainly, so that a few rows cost a few rows.

    Raises ``InputError``.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(f"{name}.npy")
            with archive.open(entry) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, fortran, dtype = read(file)
                header = file.tell()
                if dtype.hasobject or fortran:
                    raise InputError(f"{path.name}: {name} is no plain array; refused")
                if entry.compress_type != zipfile.ZIP_STORED:
                    raw = file.read()
                    return np.frombuffer(raw, dtype).reshape(shape)
        with path.open("rb") as whole:
            # The local header of the entry: its own name and extra field, which the directory does not tell.
            whole.seek(entry.header_offset + 26)
            lengths = np.frombuffer(whole.read(4), "<u2")
        offset = entry.header_offset + 30 + int(lengths.sum()) + header
        return np.memmap(path, dtype, "r", offset, shape) if np.prod(shape) else np.zeros(shape, dtype)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"{path.name} cannot be read: {sanitise(error)}") from error


def _evenly(n: int, k: int) -> np.ndarray:
    return np.arange(n) if k >= n else (np.arange(k) * n + n // 2) // k
