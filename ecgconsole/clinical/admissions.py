"""Patients and admissions, each once: what the other files of this package share."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ecgconsole.clinical.tables import read_table
from ecgconsole.errors import InputError
from ecgconsole.text import sanitise


def read_patients(tables: dict[str, Path], subject_ids: pd.Series) -> pd.DataFrame:
    """PATIENTS of these subjects, one row each, indexed by ``subject_id``."""
    patients = read_table(tables["PATIENTS"], "PATIENTS", subject_ids)
    return _once(patients, "subject_id", tables["PATIENTS"])


def read_admissions(tables: dict[str, Path], subject_ids: pd.Series) -> pd.DataFrame:
    """ADMISSIONS of these subjects, one row each, indexed by ``hadm_id``, with ``first`` and ``last`` moment.

    MIMIC-III has admissions that end before they begin (deaths on arrival): ``first`` is the earlier of
    both times.
    """
    admissions = _once(read_table(tables["ADMISSIONS"], "ADMISSIONS", subject_ids), "hadm_id", tables["ADMISSIONS"])
    admissions["first"] = admissions[["admittime", "dischtime"]].min(axis=1)
    admissions["last"] = admissions[["admittime", "dischtime"]].max(axis=1)
    return admissions.sort_values(["subject_id", "first", "last"], kind="stable")


def _once(rows: pd.DataFrame, key: str, path: Path) -> pd.DataFrame:
    """Drops repeated rows; raises ``InputError`` where two rows of one key differ in a used column."""
    distinct = rows.drop_duplicates([c for c in rows.columns if c != "line"])
    twice = distinct[distinct.duplicated(key, keep=False)]
    if len(twice):
        first = twice[twice[key] == twice[key].iloc[0]]
        lines = ", ".join(str(n) for n in first["line"])
        raise InputError(
            f"{sanitise(path, 300)}, lines {lines}: the same {key.upper()} with different values; keep the right row"
        )
    return distinct.drop(columns="line").set_index(key)
