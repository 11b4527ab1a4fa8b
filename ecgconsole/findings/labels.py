"""Which columns of the patients' metadata are outcomes to test, and which make the strata."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgconsole.errors import InputError
from ecgconsole.text import sanitise

LABEL_PREFIXES = ("concurrent_", "future_", "history_", "before_", "medication_", "died_")
LABEL_NAMES = ("control",)


@dataclass(frozen=True)
class Labels:
    """Labels of patients in a given order: ``values`` float (p, l) of 0, 1, not-a-number; age and sex for strata."""

    names: list[str]
    values: NDArray[np.float64]
    age_years: NDArray[np.float64]
    sex: list[str | None]
    without_metadata: int


def label_columns(metadata: pd.DataFrame) -> list[str]:
    """Boolean columns whose names say that they are labels."""
    return [
        name
        for name in metadata.columns
        if pd.api.types.is_bool_dtype(metadata[name].dtype) and (name.startswith(LABEL_PREFIXES) or name in LABEL_NAMES)
    ]


def read_labels(path: Path, patients: NDArray) -> Labels:
    """The labels of ``patients`` (p,), by id. A patient whom the metadata lacks has none, and is counted."""
    try:
        metadata = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as Parquet ({sanitise(error, 200)}); run build first") from error
    if "patient_id" not in metadata or metadata["patient_id"].duplicated().any():
        raise InputError(f"{path}: it must have one row for each patient_id")
    names = label_columns(metadata)
    rows = metadata.set_index(metadata["patient_id"].astype(str)).reindex(patients)
    values = rows[names].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    age = rows["age_years"].astype("Float64") if "age_years" in rows else pd.Series(np.nan, rows.index)
    sex = [None if pd.isna(v) else str(v) for v in (rows["sex"] if "sex" in rows else [None] * len(rows))]
    return Labels(
        names=names,
        values=values.reshape(len(rows), len(names)),
        age_years=np.asarray(age.to_numpy(dtype=np.float64, na_value=np.nan)),
        sex=sex,
        without_metadata=int(rows["patient_id"].isna().sum()),
    )
