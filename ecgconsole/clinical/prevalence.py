"""Does the cohort look like the one that the tables are known to describe? Wrong joins show here first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ecgconsole.text import count


@dataclass(frozen=True)
class Known:
    """The share of patients with a label in the whole of MIMIC-III."""

    label: str
    name: str
    share: float


# Coded fibrillation: about 22 % of MIMIC-III's patients; no publication states it. Death in hospital: 11.5 % of
# adults, Johnson et al., "MIMIC-III, a freely accessible critical care database", Scientific Data 3:160035 (2016).
KNOWN_SHARES = (
    Known("concurrent_atrial_fibrillation", "atrial fibrillation (427.31)", 0.22),
    Known("died_in_hospital", "death in hospital", 0.115),
)
FACTOR = 2.0
LEAST_PATIENTS = 20
LEAST_LINKED_SHARE = 0.8


def prevalence_warnings(patient_table: pd.DataFrame) -> list[tuple[str, str, str]]:
    """``(code, message, hint)`` for each label whose rate is far from what is known, and for poor linking.

    Far: the whole 99 % interval (Wilson) of the rate among patients with the label lies beyond half or
    twice the known rate. Nothing is said of fewer than ``LEAST_PATIENTS`` patients.
    """
    warnings = []
    unknown = int((~patient_table["in_tables"]).sum())
    n = len(patient_table)
    records = int(patient_table["records"].sum())
    linked = int(patient_table["records_inside"].sum() + patient_table["records_within_tolerance"].sum())
    if unknown:
        warnings.append(
            (
                "patients-not-in-tables",
                f"{unknown:,} of {count(n, 'patient')} are not in the clinical tables; they are kept without labels",
                "check that data.clinical_dir is of the same database as the recordings",
            )
        )
    if records and linked < LEAST_LINKED_SHARE * records:
        warnings.append(
            (
                "few-records-linked",
                f"only {linked:,} of {count(records, 'recording')} lie in one admission; the others have no labels",
                "check the dates in the record names, or raise clinical.link_tolerance_hours",
            )
        )
    for known in KNOWN_SHARES:
        labels = patient_table[known.label].dropna().astype(bool)
        if len(labels) < LEAST_PATIENTS:
            continue
        low, high = _wilson(int(labels.sum()), len(labels))
        if low > FACTOR * known.share or high < known.share / FACTOR:
            warnings.append(
                (
                    "prevalence-unusual",
                    f"{known.name}: {labels.mean():.0%} of {count(len(labels), 'linked patient')}, "
                    f"known is about {known.share:.0%}",
                    "either the patients were selected for it, or the diagnoses were joined or read wrongly",
                )
            )
    return warnings


def _wilson(successes: int, n: int, z: float = 2.576) -> tuple[float, float]:
    """Wilson, JASA 22 (1927): the score interval of a proportion, 99 % at the default."""
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return float(centre - half), float(centre + half)
