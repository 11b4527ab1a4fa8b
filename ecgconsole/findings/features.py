"""What a risk model may see: an explicit list, fixed in advance, of what was known before the outcome.

A diagnosis code of the stay itself is assigned at discharge, so it already knows the outcome. No such
column can become a feature: whatever stands in the table, models see only ``FEATURES``, and a feature
made of a label's column is refused when this file is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgconsole.errors import ConfigurationError, InputError
from ecgconsole.text import count, sanitise
from ecgconsole.workspace import Workspace

# Columns that tell what happened during or after the recorded stay.
OUTCOME_PREFIXES = ("concurrent_", "future_", "died_", "control", "medication_", "hadm_id", "split")
EMBEDDING_GROUP = "embedding"


@dataclass(frozen=True)
class Feature:
    """One number a patient. ``columns`` of clinical_features.csv that ``compute`` turns into values (n,)."""

    name: str
    group: str
    columns: tuple[str, ...]
    compute: Callable[[pd.DataFrame], pd.Series]

    def __post_init__(self) -> None:
        leaks = [name for name in self.columns if name.startswith(OUTCOME_PREFIXES)]
        if leaks:
            raise ConfigurationError(
                f"feature {self.name} uses {', '.join(leaks)}, which is known only at discharge or later: refused"
            )


@dataclass(frozen=True)
class Endpoint:
    """``label``: column of clinical_features.csv; ``meaning``: what the estimate may be called."""

    name: str
    label: str
    meaning: str


def _number(column: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda table: table[column]


def _points(table: pd.DataFrame) -> pd.Series:
    """CHA2DS2-VASc without age and sex (Lip et al., Chest 137 (2010) 263), from admissions before the recorded one."""
    single = ("before_heart_failure", "before_hypertension", "before_diabetes", "before_vascular_disease")
    return table[list(single)].sum(axis=1, skipna=False) + 2 * table["before_stroke_or_thromboembolism"]


FEATURES = (
    Feature("age_years", "age and sex", ("age_years",), _number("age_years")),
    Feature("male", "age and sex", ("sex",), lambda table: table["sex"].map({"M": 1.0, "F": 0.0})),
    Feature(
        "cha2ds2_vasc_without_age_and_sex",
        "history",
        (
            "before_heart_failure",
            "before_hypertension",
            "before_diabetes",
            "before_vascular_disease",
            "before_stroke_or_thromboembolism",
        ),
        _points,
    ),
    Feature(
        "history_atrial_fibrillation",
        "history",
        ("history_atrial_fibrillation",),
        _number("history_atrial_fibrillation"),
    ),
    Feature("heart_rate_bpm_median", "rhythm", ("heart_rate_bpm_median",), _number("heart_rate_bpm_median")),
    Feature(
        "rr_irregular_share_median", "rhythm", ("rr_irregular_share_median",), _number("rr_irregular_share_median")
    ),
    Feature("rr_irregular_share_p90", "rhythm", ("rr_irregular_share_p90",), _number("rr_irregular_share_p90")),
)

# Nested: each sees what the one before it sees, and one group more.
MODELS = (
    ("age and sex", ("age and sex",)),
    ("with history", ("age and sex", "history")),
    ("with rhythm", ("age and sex", "history", "rhythm")),
    ("with embedding", ("age and sex", "history", "rhythm", EMBEDDING_GROUP)),
)

ENDPOINTS = (
    Endpoint(
        "concurrent_stroke",
        "concurrent_stroke",
        "a stroke coded in the recorded stay, before or after the recording: association, not prediction",
    ),
    Endpoint(
        "future_stroke",
        "future_stroke",
        "a stroke coded in a later admission, among patients without an earlier one who left alive: prediction",
    ),
    Endpoint("death_within_90_days", "died_within_90_days", "death within 90 days of the first recording"),
)


def features_files(path: Path) -> list[Path]:
    """The file itself, or the clinical_features.csv of a folder."""
    return [path / "clinical_features.csv"] if path.is_dir() else [path]


def read_features(files: Sequence[Path]) -> pd.DataFrame:
    """A row a patient, index ``patient_id``; labels that a file lacks come from the metadata in its folder.

    Raises ``InputError`` for an unreadable file or a patient given twice.
    """
    parts = []
    for path in files:
        try:
            # A text that a spreadsheet would run was given an apostrophe when it was written.
            table = pd.read_csv(path, dtype={"patient_id": str, "sex": str}, low_memory=False)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path}: cannot be read as CSV ({sanitise(error, 200)}); run the stage build first"
            ) from error
        if "patient_id" not in table or table["patient_id"].isna().any():
            raise InputError(f"{path}: each row must have a patient_id")
        table["patient_id"] = table["patient_id"].str.removeprefix("'")
        parts.append(_with_outcomes(table, Workspace(path.parent).metadata))
    joined = pd.concat(parts, ignore_index=True)
    repeated = int(joined["patient_id"].duplicated().sum())
    if repeated:
        raise InputError(
            f"{files[0]}: {count(repeated, 'patient')} given twice; a patient in two rows would train and test the "
            "same model; give one row a patient"
        )
    return joined.set_index("patient_id")


def _with_outcomes(table: pd.DataFrame, metadata: Path) -> pd.DataFrame:
    """``table`` with the labels that it lacks, from the metadata beside it: a code of the stay is no feature."""
    absent = [endpoint.label for endpoint in ENDPOINTS if endpoint.label not in table]
    if not absent or not metadata.is_file():
        return table
    try:
        labels = pd.read_parquet(metadata)
    except (OSError, ValueError) as error:
        raise InputError(f"{metadata}: cannot be read as Parquet ({sanitise(error, 200)})") from error
    known = [name for name in absent if name in labels]
    if not known or "patient_id" not in labels:
        return table
    by_patient = labels.assign(patient_id=labels["patient_id"].astype(str)).set_index("patient_id")[known]
    return table.merge(by_patient, how="left", left_on="patient_id", right_index=True, validate="many_to_one")


def feature_values(table: pd.DataFrame, components: pd.DataFrame | None) -> tuple[pd.DataFrame, dict[str, str]]:
    """Values (n, features) of all features that the table allows, float64, and why others are missing.

    ``components``: mean embedding components by patient (index ``patient_id``), already cut to those
    used; None without embeddings.
    """
    values: dict[str, NDArray] = {}
    missing: dict[str, str] = {}
    for feature in FEATURES:
        absent = [name for name in feature.columns if name not in table]
        if absent:
            missing[feature.name] = f"no column {', '.join(absent)}"
            continue
        numbers = pd.to_numeric(feature.compute(table), errors="coerce").to_numpy(np.float64, na_value=np.nan)
        if np.isnan(numbers).all():
            missing[feature.name] = "known for no patient"
            continue
        values[feature.name] = numbers
    if components is None:
        missing[EMBEDDING_GROUP] = "no patient_embeddings.parquet: the stage discover writes it"
    else:
        for name in components:
            values[str(name)] = components[name].reindex(table.index).to_numpy(np.float64)
    return pd.DataFrame(values, index=table.index), missing


def features_of(model: str, available: Sequence[str], missing: dict[str, str]) -> tuple[list[str], str | None]:
    """Names of a model's features among the ``available``, and why the model cannot be estimated, if it cannot.

    A model can do without single features, not without all of the group that it adds.
    """
    groups = dict(MODELS)[model]
    group_of = {feature.name: feature.group for feature in FEATURES}
    names = [name for name in available if group_of.get(name, EMBEDDING_GROUP) in groups]
    if any(group_of.get(name, EMBEDDING_GROUP) == groups[-1] for name in names):
        return names, None
    wanted = [f.name for f in FEATURES if f.group == groups[-1]] or [EMBEDDING_GROUP]
    return names, "; ".join(f"{name}: {missing[name]}" for name in wanted if name in missing) or "no feature of its own"


def outcome_of(table: pd.DataFrame, label: str) -> NDArray[np.float64]:
    """0, 1 or not-a-number (n,) of a label column; not-a-number throughout where there is none."""
    if label not in table:
        return np.full(len(table), np.nan)
    values = table[label].astype("object").replace({"True": 1, "False": 0, True: 1, False: 0})
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    if not np.isin(numbers[~np.isnan(numbers)], (0, 1)).all():
        raise InputError(f"column {label}: a label is 0, 1 or empty")
    return np.asarray(numbers)
