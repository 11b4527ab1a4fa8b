"""The rhythm that nurses charted: for segments a better truth than codes of the whole stay."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd

from ecgconsole.clinical.tables import find_tables, stream_table

# "Heart Rhythm" of the two bedside systems of MIMIC-III, CareVue and MetaVision (D_ITEMS).
RHYTHM_ITEMS = (212, 220048)
OTHER = "other"


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    text = resources.files("ecgconsole.clinical").joinpath("charted_rhythms.json").read_text(encoding="utf-8")
    return tuple((name, re.compile(pattern)) for name, pattern in json.loads(text)["patterns"])


@cache
def rhythm_named(value: str) -> str:
    """The rhythm that a charted value means, by ``charted_rhythms.json``; ``other`` where none."""
    text = value.strip().lower()
    return next((name for name, pattern in _patterns() if pattern.search(text)), OTHER)


def charted_rhythm(folder: Path, subject_ids: pd.Series) -> pd.DataFrame:
    """Charted rhythms of these subjects: ``subject_id``, ``charttime``, ``rhythm``, in that order of time.

    CHARTEVENTS (33 GB in full) is read once as a stream: memory grows with the rows returned. Rows
    without a readable subject, time or value are left out; where one moment has several rhythms, none
    of them is kept. Empty where there is no CHARTEVENTS.

    Raises ``InputError`` for tables that cannot be used.
    """
    empty = pd.DataFrame(
        {
            "subject_id": pd.Series(dtype="int64"),
            "charttime": pd.Series(dtype="datetime64[us]"),
            "rhythm": pd.Series(dtype="str"),
        }
    )
    path = find_tables(folder).get("CHARTEVENTS")
    wanted = pd.DataFrame({"wanted_id": subject_ids.dropna().astype("int64").unique()})
    if path is None or wanted.empty:
        return empty
    rows = stream_table(
        path,
        "CHARTEVENTS",
        where="itemid IN (?, ?) AND value IS NOT NULL AND charttime IS NOT NULL"
        " AND subject_id IN (SELECT wanted_id FROM wanted)",
        parameters=list(RHYTHM_ITEMS),
        frames={"wanted": wanted},
        order="subject_id, charttime, value",
    )
    if rows.empty:
        return empty
    charted = rows[["subject_id", "charttime"]].assign(rhythm=rows["value"].map(rhythm_named)).drop_duplicates()
    once = ~charted.duplicated(["subject_id", "charttime"], keep=False)
    return charted[once].reset_index(drop=True)


def rhythm_at(
    charted: pd.DataFrame, subject_ids: pd.Series, times: pd.Series, tolerance_minutes: float = 60.0
) -> pd.Series:
    """The rhythm charted nearest to each moment, at most ``tolerance_minutes`` away; else null.

    ``charted``: of ``charted_rhythm``. ``subject_ids`` (Int64) and ``times`` (datetime), both possibly
    null, one a segment; the answer has their index.
    """
    answer = pd.Series(pd.NA, index=times.index, dtype="string")
    known = (times.notna() & subject_ids.notna()).to_numpy()
    if not known.any() or charted.empty:
        return answer
    left = pd.DataFrame(
        {
            "row": np.flatnonzero(known),
            "subject_id": subject_ids[known].astype("int64").to_numpy(),
            "charttime": times[known].astype("datetime64[us]").to_numpy(),
        }
    ).sort_values(["charttime", "row"], kind="stable")
    right = charted.astype({"charttime": "datetime64[us]"}).sort_values(["charttime", "subject_id"], kind="stable")
    nearest = pd.merge_asof(
        left,
        right,
        on="charttime",
        by="subject_id",
        direction="nearest",
        tolerance=pd.Timedelta(minutes=tolerance_minutes),
    )
    answer.iloc[nearest["row"].to_numpy()] = nearest["rhythm"].astype("string").to_numpy()
    return answer
