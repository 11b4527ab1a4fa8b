"""Which patients train, validate and test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecgconsole.dataset.people import read_assignments
from ecgconsole.errors import InputError
from ecgconsole.text import sanitise

SPLITS = ("train", "val", "test")
_SPELLINGS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def strata(outcome: np.ndarray, irregularity: np.ndarray) -> np.ndarray:
    """A stratum number for each patient: outcome (a small number) crossed with the tertile of ``irregularity``.

    Not-a-number (no rhythm known) counts as the lowest tertile.
    """
    known = irregularity[np.isfinite(irregularity)]
    borders = np.quantile(known, [1 / 3, 2 / 3]) if len(known) else np.zeros(2)
    tertile = np.searchsorted(borders, np.nan_to_num(irregularity, nan=-np.inf), side="right")
    return outcome.astype(int) * 3 + tertile


def assign(patient_ids: Sequence[str], stratum: np.ndarray, fractions: Sequence[float], seed: int) -> list[str]:
    """The split of each patient, the same for any order of the patients.

    Within a stratum patients come in an order drawn from the seed; strata follow one another, and each
    patient goes where most is owed, so that shares hold overall and nearly so within each stratum. With
    as many patients as there are splits of a share above 0, or more, none of those splits stays empty.
    """
    keys = [
        hashlib.blake2b(f"{seed}:{p}".encode("utf-8", "surrogateescape"), digest_size=8).digest() for p in patient_ids
    ]
    order = sorted(range(len(patient_ids)), key=lambda i: (int(stratum[i]), keys[i]))
    counts = np.zeros(3, int)
    chosen = [""] * len(patient_ids)
    for n, i in enumerate(order, 1):
        split = int(np.argmax(np.asarray(fractions) * n - counts))
        counts[split] += 1
        chosen[i] = SPLITS[split]
    for split in range(3):
        if fractions[split] > 0 and counts[split] == 0 and counts.max() > 1:
            giver = int(counts.argmax())
            i = next(i for i in reversed(order) if chosen[i] == SPLITS[giver])
            chosen[i] = SPLITS[split]
            counts[[giver, split]] += [-1, 1]
    return chosen


def read_split_file(path: Path) -> dict[str, str]:
    """``patient -> train | val | test`` from a CSV with columns patient,split. Raises ``InputError``."""
    found = read_assignments(path, "patient", "split")
    wrong = sorted({v for v in found.values() if v.lower() not in _SPELLINGS})
    if wrong:
        raise InputError(f"{path}: split {sanitise(wrong[0], 60)} is none of train, val, test")
    return {patient: _SPELLINGS[v.lower()] for patient, v in found.items()}
