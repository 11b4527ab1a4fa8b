"""Who is in the cohort, who was left out and why, and what is known of those who stayed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from ecgconsole.findings.labels import label_columns
from ecgconsole.findings.report.disclosure import cell, is_small, parts
from ecgconsole.findings.report.words import SPLIT_NAMES, capital, label_words, plain
from ecgconsole.signals.reasons import Reason, reason_named

AGE_BORDERS = (40, 50, 60, 70, 80, 90)


@dataclass(frozen=True)
class Step:
    """A box of the flow: what it is, how many are in it, and who left before it: (how many, why)."""

    title: str
    count: str
    note: str = ""
    left_out: tuple[tuple[str, str], ...] = ()
    verb: str = "Left out"


def excluded_patients(metadata: pd.DataFrame, rejected: pd.DataFrame) -> dict[str, int]:
    """Patients of whom nothing is in the dataset, by the reason that says most.

    A reason for the patient as a whole comes first, else the one with most rows of the patient.
    """
    kept = set(metadata["patient_id"].astype(str))
    rows = rejected[(rejected["patient_id"] != "") & ~rejected["patient_id"].astype(str).isin(kept)]
    found: dict[str, int] = {}
    for _, own in rows.groupby("patient_id", observed=True):
        whole = own[own["level"] == "patient"]
        labels = (whole if len(whole) else own)["label"].astype(str)
        reason = labels.value_counts().sort_index().sort_values(ascending=False, kind="stable").index[0]
        found[reason] = found.get(reason, 0) + 1
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def reason_words(label: str) -> str:
    if label == Reason.TOO_FEW_SEGMENTS.label:
        return "too few usable segments"
    try:
        return reason_named(label).description
    except KeyError:
        return plain(label)


def flow(
    metadata: pd.DataFrame, rejected: pd.DataFrame | None, validation: dict[str, Any] | None, minimum: int
) -> list[Step]:
    """From the folder of recordings to the patients that each analysis could use."""
    kept = len(metadata)
    steps: list[Step] = []
    excluded = excluded_patients(metadata, rejected) if rejected is not None else {}
    gone = sum(excluded.values())
    if gone and not is_small(gone, minimum):
        shown = parts(list(excluded.values()), minimum)
        reasons = tuple((n, reason_words(label)) for n, label in zip(shown, excluded, strict=True))
        steps.append(Step("Patients with recordings that were looked at", cell(kept + gone, minimum)))
    elif gone:
        reasons = ((cell(gone, minimum), "; ".join(reason_words(label) for label in excluded)),)
    else:
        reasons = ()
    windows = ""
    if "candidate_windows" in metadata:
        candidates, segments = int(metadata["candidate_windows"].sum()), int(metadata["segments"].sum())
        windows = f"{segments:,} segments of {candidates:,} candidate windows"
    steps.append(Step("Patients in the dataset", cell(kept, minimum), windows, reasons))
    steps += _tables(metadata, kept, minimum)
    if validation is not None:
        counts = [validation["patients"]["training"], validation["patients"]["held_out"]]
        shown = parts(counts, minimum)
        note = "patterns are fitted and associations found on training patients, and tested again on held-out ones"
        steps.append(Step("Training and held-out patients", f"{shown[0]} + {shown[1]}", note))
    return steps


def _tables(metadata: pd.DataFrame, kept: int, minimum: int) -> list[Step]:
    """Who is known to the clinical tables, and whose recording lies in an admission."""
    if "in_tables" not in metadata:
        return []
    known = int(metadata["in_tables"].fillna(False).astype(bool).sum())
    if known == 0:
        return [Step("With clinical tables", "0", "no clinical tables were given, or they are of other patients")]
    linked = int(metadata["hadm_id"].notna().sum()) if "hadm_id" in metadata else known
    steps = []
    before = kept
    for title, count, why in (
        ("In the clinical tables", known, "not in the tables: kept without labels"),
        ("Recorded in one identified admission", linked, "no recording inside an admission, or in more than one"),
    ):
        gone = before - count
        if is_small(gone, minimum):
            steps.append(
                Step(title, f"all but fewer than {minimum}", left_out=((cell(gone, minimum), why),), verb="Without")
            )
        else:
            left = ((cell(gone, minimum), why),) if gone else ()
            steps.append(Step(title, cell(count, minimum), left_out=left, verb="Without"))
        before = count
    return steps


def people(metadata: pd.DataFrame, minimum: int) -> list[dict[str, Any]]:
    """Tables of who they are: {``title``, ``rows`` [(name, count)]}; each row a cell that is hidden when small."""
    tables = []
    if "split" in metadata:
        splits = metadata["split"].astype(str)
        tables.append(
            _counted("Split", [(SPLIT_NAMES.get(s, s), int((splits == s).sum())) for s in SPLIT_NAMES], minimum)
        )
    if "sex" in metadata and metadata["sex"].notna().any():
        sex = metadata["sex"].astype("string")
        named = [("women", int((sex == "F").sum())), ("men", int((sex == "M").sum()))]
        tables.append(_with_unknown("Sex", named, len(metadata), minimum))
    if "age_years" in metadata and metadata["age_years"].notna().any():
        age = metadata["age_years"].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
        named = [(f"under {AGE_BORDERS[0]}", int((age < AGE_BORDERS[0]).sum()))]
        named += [
            (f"{low} to {high - 1}", int(((age >= low) & (age < high)).sum())) for low, high in pairwise(AGE_BORDERS)
        ]
        named.append((f"{AGE_BORDERS[-1]} and over", int((age >= AGE_BORDERS[-1]).sum())))
        tables.append(_with_unknown("Age, years", named, len(metadata), minimum))
    for column, title in (("admission_type", "Admission"), ("care_unit", "First care unit")):
        if column in metadata and metadata[column].notna().any():
            values = metadata[column].dropna().astype(str)
            counted = sorted(values.value_counts().items(), key=lambda item: (-item[1], item[0]))
            named = [(capital(str(v).lower()) if column == "admission_type" else str(v), int(n)) for v, n in counted]
            tables.append(_with_unknown(title, named, len(metadata), minimum))
    return tables


def _with_unknown(title: str, named: list[tuple[str, int]], total: int, minimum: int) -> dict[str, Any]:
    unknown = total - sum(n for _, n in named)
    return _counted(title, [*named, ("not known", unknown)] if unknown else named, minimum)


def _counted(title: str, named: list[tuple[str, int]], minimum: int) -> dict[str, Any]:
    shown = parts([n for _, n in named], minimum)
    return {"title": title, "rows": [(name, n) for (name, _), n in zip(named, shown, strict=True)]}


def labels(metadata: pd.DataFrame, minimum: int) -> list[dict[str, Any]]:
    """Clinical labels that at least ``minimum`` patients have: {``name``, ``with``, ``share``, ``unknown``}.

    The share is of those known, to a whole percent: it does not give away how few are not known.
    """
    found = []
    for column in label_columns(metadata):
        known = metadata[column].dropna().astype(bool)
        yes, no = int(known.sum()), int((~known).sum())
        if yes < max(minimum, 1):
            continue
        unknown = len(metadata) - yes - no
        share = f"{100 * yes / (yes + no):.0f} %"
        row = {"name": capital(label_words(column)), "with": cell(yes, minimum), "share": share}
        row["unknown"] = cell(unknown, minimum)
        if is_small(no, minimum):
            row.update(zip(("with", "unknown"), parts([yes, unknown, no], minimum)[:2], strict=True), share="–")
        found.append(row)
    return found


@dataclass(frozen=True)
class Refused:
    """Windows rejected for one reason, and of how many patients they are."""

    label: str
    windows: int
    patients: int


def windows_by_reason(rejected: pd.DataFrame) -> list[Refused]:
    """Most windows first."""
    windows = rejected[rejected["level"] == "window"]
    counted = windows.groupby(windows["label"].astype(str))["patient_id"].agg(["size", "nunique"])
    found = [Refused(str(label), int(row["size"]), int(row["nunique"])) for label, row in counted.iterrows()]
    return sorted(found, key=lambda r: (-r.windows, r.label))
