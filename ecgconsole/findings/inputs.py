"""Embeddings files as one table of segments, checked before anything is computed from them."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgconsole.errors import InputError
from ecgconsole.text import count, sanitise

SPLITS = ("train", "val", "test")
_ARRAYS = ("embeddings", "segment_index", "patient_id", "record", "start_seconds")
_CHECK_ROWS = 65536


@dataclass(frozen=True)
class Segments:
    """Segments with their embeddings; strings are kept once, rows carry codes into them.

    ``embeddings`` float32 (n, d); ``segment_index`` int64 (n,), rows of the dataset's ``/signal``;
    ``patient`` and ``record`` int32 (n,), codes into ``patients`` and ``records``;
    ``start_seconds`` float64 (n,); ``patient_split`` int8 (len(patients),), codes into ``SPLITS``.
    """

    embeddings: NDArray[np.float32]
    segment_index: NDArray[np.int64]
    patient: NDArray[np.int32]
    patients: NDArray[np.str_]
    record: NDArray[np.int32]
    records: NDArray[np.str_]
    start_seconds: NDArray[np.float64]
    patient_split: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.embeddings)

    def in_split(self, name: str) -> NDArray[np.bool_]:
        """Rows (n,) of the patients of one split."""
        return self.patient_split[self.patient] == SPLITS.index(name)


def embedding_files(path: Path) -> list[Path]:
    """The files of a path: itself, or what a folder holds (its ``*embeddings.npz``, here or in ``embeddings/``)."""
    if path.is_file():
        return [path]
    for folder in (path, path / "embeddings"):
        found = sorted(folder.glob("*embeddings.npz"))
        if found:
            return found
    raise InputError(f"no embeddings at {sanitise(path)}: name an .npz file, or run the stage embed first")


def read_segments(files: Sequence[Path], fractions: tuple[float, float, float], seed: int) -> Segments:
    """One table of several embeddings files, in the order of their ``segment_index``.

    A file named ``train_…``, ``val_…`` or ``test_…`` gives its patients that split. Patients of
    files without such a name are split by ``fractions`` and ``seed``. Raises ``InputError`` for a
    file that is damaged, lacks an array, holds values that are not finite or contradicts another.
    """
    parts = [_read(file) for file in files]
    widths = {part["embeddings"].shape[1] for part in parts}
    if len(widths) > 1:
        raise InputError(
            f"the embeddings files differ in length ({', '.join(map(str, sorted(widths)))} numbers a segment): "
            "they come from different encoders; run embed again for all of them"
        )
    split_of_row = np.concatenate(
        [np.full(len(part["embeddings"]), _named_split(f), np.int8) for f, part in zip(files, parts, strict=True)]
    )
    joined = {name: np.concatenate([part[name] for part in parts]) for name in _ARRAYS[1:]}
    order = np.argsort(joined["segment_index"], kind="stable")
    index = joined["segment_index"][order]
    if len(index) and (np.diff(index) == 0).any():
        raise InputError(
            f"{files[-1]}: segment {index[np.flatnonzero(np.diff(index) == 0)[0]]} occurs twice in the embeddings "
            "given; name each segment's file once"
        )
    embeddings = np.empty((len(index), next(iter(widths))), np.float32)
    position = np.empty(len(index), np.int64)
    position[order] = np.arange(len(index))
    first = 0
    for part in parts:
        embeddings[position[first : first + len(part["embeddings"])]] = part["embeddings"]
        first += len(part.pop("embeddings"))
    patients, patient = np.unique(joined["patient_id"][order].astype(np.str_), return_inverse=True)
    records, record = np.unique(joined["record"][order].astype(np.str_), return_inverse=True)
    return Segments(
        embeddings=embeddings,
        segment_index=index.astype(np.int64),
        patient=patient.astype(np.int32),
        patients=patients,
        record=record.astype(np.int32),
        records=records,
        start_seconds=joined["start_seconds"][order].astype(np.float64),
        patient_split=_split_of_patients(patient, len(patients), split_of_row[order], fractions, seed),
    )


def _read(path: Path) -> dict[str, NDArray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in _ARRAYS if name not in file.files]
            if missing:
                raise InputError(f"{path}: not an embeddings file, it lacks {', '.join(missing)}")
            arrays = {name: file[name] for name in _ARRAYS}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as an .npz of plain arrays ({sanitise(error, 200)})") from error
    embeddings = arrays["embeddings"]
    if embeddings.ndim != 2 or not np.issubdtype(embeddings.dtype, np.floating):
        raise InputError(f"{path}: embeddings must be real numbers (segments, dimensions), not {embeddings.shape}")
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"{path}: its arrays differ in length: {lengths}")
    for first in range(0, len(embeddings), _CHECK_ROWS):
        bad = ~np.isfinite(embeddings[first : first + _CHECK_ROWS]).all(axis=1)
        if bad.any():
            raise InputError(
                f"{path}: the embedding of row {first + int(np.argmax(bad))} is not finite; embed again with a "
                "checkpoint whose loss was finite"
            )
    return arrays


def _named_split(path: Path) -> int:
    match = re.match(r"(train|val|test)_", path.name)
    return SPLITS.index(match.group(1)) if match else -1


def _split_of_patients(
    patient: NDArray, n_patients: int, split_of_row: NDArray, fractions: tuple[float, float, float], seed: int
) -> NDArray[np.int8]:
    split = np.full(n_patients, -1, np.int8)
    split[patient] = split_of_row
    contradictory = len(np.unique(patient[split[patient] != split_of_row]))
    if contradictory:
        raise InputError(
            f"{count(contradictory, 'patient')} in more than one split of the embeddings given: results on "
            "held-out patients would be false; embed again from one dataset"
        )
    unnamed = np.flatnonzero(split < 0)
    drawn = np.random.default_rng([seed, 0]).permutation(unnamed)
    borders = np.round(np.cumsum(fractions)[:2] * len(unnamed)).astype(int)
    for code, group in enumerate(np.split(drawn, borders)):
        split[group] = code
    return split
