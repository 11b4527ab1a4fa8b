"""Which hospital admission a recording belongs to. Never guessed: the status says how it was found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ecgconsole.clinical.admissions import read_admissions
from ecgconsole.clinical.tables import find_tables

INSIDE, WITHIN_TOLERANCE, NONE, AMBIGUOUS = "inside", "within tolerance", "none", "ambiguous"
LINK_STATUSES = (INSIDE, WITHIN_TOLERANCE, NONE, AMBIGUOUS)


def link_records(folder: Path, records: pd.DataFrame, tolerance_hours: float) -> pd.DataFrame:
    """Links each recording to the admission whose interval overlaps its own.

    ``records``: ``patient_id``, ``subject_id`` (Int64, may be null), ``record``, ``start``, ``end``
    (datetime, may be null). Returns ``record``, ``hadm_id`` (Int64, null without a link) and
    ``link_status``, one row a recording, in the order given:

    - ``inside``: overlaps exactly one admission;
    - ``within tolerance``: overlaps none, but exactly one that is widened by ``tolerance_hours`` on both sides;
    - ``ambiguous``: overlaps two or more at the first of these steps that finds any;
    - ``none``: no admission near, no time, or no such patient in the tables.

    Raises ``InputError`` for tables that cannot be used.
    """
    records = with_types(records)
    admissions = read_admissions(find_tables(folder), records["subject_id"])
    return link(records, admissions, tolerance_hours)


def with_types(records: pd.DataFrame) -> pd.DataFrame:
    """The records with the types that this package counts on, whatever a caller's nulls made of them.

    Microseconds: a shifted birth lies 300 years back, and that difference does not fit nanoseconds.
    """
    times = {c: pd.to_datetime(records[c]).astype("datetime64[us]") for c in ("start", "end")}
    return records.assign(subject_id=records["subject_id"].astype("Int64"), **times)


def link(records: pd.DataFrame, admissions: pd.DataFrame, tolerance_hours: float) -> pd.DataFrame:
    """As ``link_records``, on admissions indexed by ``hadm_id`` with ``subject_id``, ``first``, ``last``."""
    timed = records.assign(row=np.arange(len(records)))[["row", "subject_id", "start", "end"]]
    timed = timed[timed["subject_id"].notna() & timed["start"].notna()]
    timed = timed.assign(
        subject_id=timed["subject_id"].astype("int64"),
        # A recording without a length still is somewhere.
        end=timed[["start", "end"]].max(axis=1).clip(lower=timed["start"] + pd.Timedelta(seconds=1)),
    )
    stays = admissions.reset_index()[["subject_id", "hadm_id", "first", "last"]]
    pairs = timed.merge(stays, on="subject_id")
    out = pd.DataFrame(
        {
            "record": records["record"].to_numpy(),
            "hadm_id": pd.array([pd.NA] * len(records), dtype="Int64"),
            "link_status": NONE,
        }
    )
    unlinked = np.ones(len(records), bool)
    for status, tolerance in ((INSIDE, pd.Timedelta(0)), (WITHIN_TOLERANCE, pd.Timedelta(hours=tolerance_hours))):
        near = (pairs["start"] < pairs["last"] + tolerance) & (pairs["end"] > pairs["first"] - tolerance)
        hits = pairs[near & unlinked[pairs["row"].to_numpy()]]
        n_hits = hits.groupby("row")["hadm_id"].agg(["size", "first"])
        one, several = n_hits[n_hits["size"] == 1], n_hits[n_hits["size"] > 1]
        out.loc[one.index, "hadm_id"] = one["first"].astype("Int64")
        out.loc[one.index, "link_status"] = status
        out.loc[several.index, "link_status"] = AMBIGUOUS
        unlinked[n_hits.index] = False
    return out
