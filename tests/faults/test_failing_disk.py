"""A bad sector costs one segment and is named; a disk of which nothing can be read ends the build."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgconsole.dataset import Dataset, schedule
from ecgconsole.errors import ExitCode, InputError
from tests.faults import failing
from tests.faults.conftest import Build
from tests.faults.wards import ALL, WINDOWS, Bed, make_bed

SUBJECTS = (31, 32, 33)


@pytest.fixture
def ward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for subject in SUBJECTS:
        make_bed(tmp_path / "waveforms", subject)
    monkeypatch.setattr(schedule, "build_shard", failing.build_shard)
    monkeypatch.setattr(schedule, "BACK_OFF_SECONDS", (0.01, 0.02))
    return tmp_path / "waveforms"


def test_a_bad_sector_costs_its_segment_and_is_named(ward: Path, build: Build, tmp_path: Path) -> None:
    bed = Bed(ward, 32)
    failing.let_fail(tmp_path / "out" / "shards", bed.dat("2").name)
    result, events = build(tmp_path / "out", **{"data.waveform_dir": ward, "build.min_segments_per_patient": 1})
    assert result["segments"] == len(SUBJECTS) * len(ALL) - len(WINDOWS["2"])
    rejected = pd.read_parquet(tmp_path / "out" / "rejected.parquet")
    (row,) = rejected[rejected["level"] == "segment"].to_dict("records")
    assert row["label"] == "unreadable"
    assert row["where"].endswith(bed.dat("2").name)
    assert "Input/output error" in row["detail"]
    lost = rejected[rejected["level"] == "window"]
    assert set((lost["start_seconds"] / 10).astype(int)) == WINDOWS["2"]
    assert "unreadable" in {e["code"] for e in events if e["kind"] == "warning"}
    with Dataset(tmp_path / "out" / "full_dataset.h5") as dataset:
        starts = dataset.column("segment/start_seconds")[dataset.rows_of(bed.patient)]
    assert set(np.rint(starts / 10).astype(int)) == ALL - WINDOWS["2"]


def test_a_disk_of_which_nothing_can_be_read_ends_the_build_and_writes_nobody_off(
    ward: Path, build: Build, tmp_path: Path
) -> None:
    failing.let_fail(tmp_path / "out" / "shards", ".dat", ".hea")
    with pytest.raises(InputError, match=r"cannot be read \(Input/output error\), tried 3 times") as caught:
        build(tmp_path / "out", **{"data.waveform_dir": ward, "build.min_segments_per_patient": 1})
    assert caught.value.exit_code == ExitCode.INPUT
    assert not list((tmp_path / "out").glob("**/shard-*.json"))
