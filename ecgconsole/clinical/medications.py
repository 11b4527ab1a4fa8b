"""Which drugs were running at a recording, by classes that a data file defines."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from typing import Any

import pandas as pd


@cache
def _rules() -> dict[str, dict[str, Any]]:
    text = resources.files("ecgconsole.clinical").joinpath("medications.json").read_text(encoding="utf-8")
    return {name: rule for name, rule in json.loads(text).items() if name != "about"}


def medication_classes() -> tuple[str, ...]:
    """The classes of ``medications.json``, in its order."""
    return tuple(dict.fromkeys(rule.get("into", name) for name, rule in _rules().items()))


@cache
def classes_of(drug: str, route: str) -> frozenset[str]:
    """Classes of a drug by its name and route, as PRESCRIPTIONS writes them; empty for most."""
    drug, route = drug.lower(), route.strip().lower()
    return frozenset(
        rule.get("into", name)
        for name, rule in _rules().items()
        if any(re.search(rf"\b{re.escape(n)}", drug) for n in rule["names"])
        and not any(word in drug for word in rule["except"])
        and route not in rule["except_routes"]
        and ("routes" not in rule or route in rule["routes"])
    )


def active_medications(prescriptions: pd.DataFrame, records: pd.DataFrame) -> pd.DataFrame:
    """For each patient: was a drug of each class prescribed on a day of one of the recordings?

    ``prescriptions``: ``subject_id``, ``startdate``, ``enddate``, ``drug``, ``route``: whole days (MIMIC-III
    has no hours); an order that ends before it starts, or has no end, counts for its first day.
    ``records``: ``patient_id``, ``subject_id``, ``start``, ``end``. Returns booleans indexed by
    ``patient_id``, one column a class, for patients with a timed recording.
    """
    timed = records[records["subject_id"].notna() & records["start"].notna()]
    timed = timed.assign(subject_id=timed["subject_id"].astype("int64"), end=timed[["start", "end"]].max(axis=1))
    named = prescriptions.dropna(subset=["drug", "startdate"])
    # A hospital has a few thousand drugs and a million orders: classify each name once.
    pairs = named[["drug", "route"]].fillna("").drop_duplicates()
    classes = [classes_of(drug, route) for drug, route in zip(pairs["drug"], pairs["route"], strict=True)]
    pairs = pairs.assign(classes=pd.Series(classes, index=pairs.index, dtype=object))
    relevant = named.fillna({"route": ""}).merge(pairs[pairs["classes"].map(len) > 0], on=["drug", "route"])
    both = relevant.merge(timed[["patient_id", "subject_id", "start", "end"]], on="subject_id")
    last_day = both[["startdate", "enddate"]].max(axis=1).dt.floor("D")
    active = both[(both["startdate"].dt.floor("D") <= both["end"]) & (last_day >= both["start"].dt.floor("D"))]
    taken = active[["patient_id", "classes"]].explode("classes").drop_duplicates()
    out = pd.DataFrame(
        False, index=pd.Index(timed["patient_id"].unique(), name="patient_id"), columns=list(medication_classes())
    )
    for name in out.columns:
        out.loc[taken.loc[taken["classes"] == name, "patient_id"], name] = True
    return out
