"""Splits by patient: shares, strata, small cohorts, files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgconsole.dataset.split import SPLITS, assign, read_split_file, strata
from ecgconsole.errors import InputError

FRACTIONS = (0.7, 0.15, 0.15)


def patients(n: int) -> list[str]:
    return [f"p{i:06d}" for i in range(n)]


@given(n=st.integers(1, 60), seed=st.integers(0, 5), strata_count=st.integers(1, 6))
def test_shares_hold_and_no_split_stays_empty(n: int, seed: int, strata_count: int) -> None:
    stratum = np.random.default_rng(seed).integers(0, strata_count, n)
    counts = Counter(assign(patients(n), stratum, FRACTIONS, seed))
    assert sum(counts.values()) == n
    for split, fraction in zip(SPLITS, FRACTIONS, strict=True):
        assert abs(counts[split] - fraction * n) <= 1.5
    if n >= 3:
        assert all(counts[split] >= 1 for split in SPLITS)


def test_a_split_without_share_gets_nobody() -> None:
    assert set(assign(patients(50), np.zeros(50, int), (0.8, 0.2, 0.0), 0)) == {"train", "val"}
    assert set(assign(patients(3), np.zeros(3, int), (1.0, 0.0, 0.0), 0)) == {"train"}


def test_rare_outcomes_reach_every_split() -> None:
    stratum = strata(np.arange(200) < 20, np.full(200, np.nan))
    splits = np.array(assign(patients(200), stratum, FRACTIONS, 1))
    counts = Counter(splits[:20])
    assert counts["train"] in (13, 14, 15)
    assert counts["val"] >= 2
    assert counts["test"] >= 2


def test_the_draw_does_not_depend_on_the_order_of_patients_but_on_the_seed() -> None:
    names, stratum = patients(40), np.arange(40) % 3
    forward = dict(zip(names, assign(names, stratum, FRACTIONS, 7), strict=True))
    backward = dict(zip(names[::-1], assign(names[::-1], stratum[::-1], FRACTIONS, 7), strict=True))
    assert forward == backward
    assert forward != dict(zip(names, assign(names, stratum, FRACTIONS, 8), strict=True))


def test_strata_are_outcome_by_tertile_of_irregularity() -> None:
    irregularity = np.array([0.01, 0.02, 0.1, 0.2, 0.3, np.nan])
    found = strata(np.array([0, 0, 0, 0, 1, 1]), irregularity)
    assert found[0] == 0
    assert found[5] == 3  # unknown rhythm is the lowest tertile
    assert found[4] == 5
    assert found[3] == 2
    assert list(strata(np.zeros(3, int), np.full(3, np.nan))) == [0, 0, 0]


def test_a_split_file_says_who_is_where(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    path.write_text("patient,split\na,Training\nb,validation\nc,test\n")
    assert read_split_file(path) == {"a": "train", "b": "val", "c": "test"}
    path.write_text("patient,split\na,everywhere\n")
    with pytest.raises(InputError, match="everywhere is none of train, val, test"):
        read_split_file(path)
