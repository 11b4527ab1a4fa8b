"""A bad sector costs one segment and is named; a disk of which nothing can be read ends the build."""

from __future__ import annotations

import errno
import os
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ecgconsole.config import resolve
from ecgconsole.dataset import Dataset, discovery, schedule
from ecgconsole.dataset.discovery import discover
from ecgconsole.errors import ExitCode, InputError
from ecgconsole.jobs.done import files_digest
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


def test_a_file_that_cannot_even_be_looked_at_costs_its_segment(ward: Path, build: Build, tmp_path: Path) -> None:
    bed = Bed(ward, 32)
    bad = failing.STAT + bed.dat("2").name
    failing.let_fail(tmp_path / "out" / "shards", bad)
    with failing.bad_places([bad]):
        result, events = build(tmp_path / "out", **{"data.waveform_dir": ward, "build.min_segments_per_patient": 1})
    assert result["segments"] == len(SUBJECTS) * len(ALL) - len(WINDOWS["2"])
    rejected = pd.read_parquet(tmp_path / "out" / "rejected.parquet")
    (row,) = rejected[rejected["level"] == "segment"].to_dict("records")
    assert (row["label"], row["detail"]) == ("unreadable", "Input/output error")
    assert row["where"].endswith(bed.dat("2").name)
    assert "unreadable" in {e["code"] for e in events if e["kind"] == "warning"}


@pytest.mark.parametrize("of", ["list", "look at"])
def test_a_folder_that_cannot_be_listed_or_looked_at_costs_its_patient_and_is_named(
    ward: Path, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    bed = Bed(ward, 32)
    identity = discovery._folder_identity

    def of_good_ones(entry: os.DirEntry[str]) -> Any:
        if entry.name == bed.patient:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return identity(entry)

    failing.let_fail(tmp_path / "out" / "shards", bed.patient)
    with failing.bad_places([bed.patient]), monkeypatch.context() as patch:
        if of == "look at":
            patch.setattr(discovery, "_folder_identity", of_good_ones)
        result, events = build(tmp_path / "out", **{"data.waveform_dir": ward, "build.min_segments_per_patient": 1})
    assert result["patients"] == len(SUBJECTS) - 1
    rejected = pd.read_parquet(tmp_path / "out" / "rejected.parquet")
    (row,) = rejected[rejected["label"] == "unreadable"].to_dict("records")
    assert (row["level"], row["detail"]) == ("record", os.strerror(errno.EIO if of == "list" else errno.ESTALE))
    assert row["where"] == f"{bed.patient[:3]}/{bed.patient}"
    assert [e["message"][:8] for e in events if e.get("code") == "unreadable"] == ["1 times "]
    # Once it can be listed, everybody is there, without being told to look.
    result, _ = build(tmp_path / "out", **{"data.waveform_dir": ward, "build.min_segments_per_patient": 1})
    assert result["patients"] == len(SUBJECTS)


@pytest.fixture
def open_ward() -> Iterator[Path]:
    """Where every user of this machine comes in: a test's own folder is closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        for subject in SUBJECTS:
            make_bed(Path(folder) / "waveforms", subject)
        for path in (Path(folder), *Path(folder).rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield Path(folder) / "waveforms"


def test_what_another_user_may_not_read_is_named_and_the_rest_goes_on(open_ward: Path) -> None:
    """For real: in a process without rights of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody who may not read what is root's")
    Bed(open_ward, 32).folder.chmod(0o700)
    Bed(open_ward, 31).header("2").chmod(0o600)
    config = resolve(overrides=[f"data.waveform_dir={open_ward}"], environment={}).config

    def look() -> None:
        os.setuid(65534)
        cohort = discover(config)
        assert [p.patient_id for p in cohort.patients] == ["p000031", "p000033"]
        assert [p.candidate_windows for p in cohort.patients] == [len(ALL - WINDOWS["2"]), len(ALL)]
        assert [(r.where, r.detail) for r in cohort.rejections] == [("p00/p000032", "Permission denied")]
        assert files_digest(str(open_ward))

    child = os.fork()
    if child == 0:
        status = 1
        try:
            look()
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
