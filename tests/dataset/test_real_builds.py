"""Real recordings through the whole build."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from ecgconsole.config import Config
from ecgconsole.dataset import Dataset
from ecgconsole.errors import InputError

Build = Callable[..., tuple[dict[str, Any], list[dict[str, Any]]]]

pytestmark = pytest.mark.usefixtures("kept_worker")


def test_bidmc_gives_a_thousand_segments_of_thirty_people_each_on_one_side(
    real_data: Path, config_of: Callable[..., Config], build: Build, tmp_path: Path
) -> None:
    manifest = list(csv.DictReader((real_data / "bidmc-matched" / "MANIFEST.csv").open()))
    people = {row["record"]: row["mimic2_id"] for row in manifest}
    table = tmp_path / "people.csv"
    table.write_text("record,patient\n" + "".join(f"{r},{p}\n" for r, p in people.items()))
    config = config_of(real_data / "bidmc-matched", **{"data.patient_map": str(table)})
    result, events = build(config, tmp_path / "out")
    assert result["patients"] == len(set(people.values())) == 30
    assert result["segments"] >= 1000
    assert not [e for e in events if e["kind"] == "warning"]
    with Dataset(tmp_path / "out" / "full_dataset.h5") as dataset:
        records = dataset.column("segment/record")
        assert {people[r.rpartition("/")[2]] for r in records} == set(dataset.patient_id)
        of_split = {s: set(dataset.patient_id[dataset.split == s]) for s in ("train", "val", "test")}
        assert all(of_split.values())
        assert sum(map(len, of_split.values())) == 30
        rate = dataset.column("rhythm/heart_rate_bpm")
        assert np.isfinite(rate).mean() > 0.99
        assert dataset.verify()


def test_matched_subset_keeps_what_can_be_read_and_names_absent_files(
    real_data: Path, config_of: Callable[..., Config], build: Build, tmp_path: Path
) -> None:
    root = real_data / "mimic3wdb-matched"
    config = config_of(root, **{"data.require": "ecg", "build.min_segments_per_patient": 1})
    result, events = build(config, tmp_path)
    assert result["patients"] == 2
    rejected = pd.read_parquet(tmp_path / "rejected.parquet")
    absent = rejected[rejected["label"] == "dat-missing"]
    assert sorted(absent["where"]) == ["p00/p000020/3544749_0005.dat", "p00/p000020/3544749_0008.dat"]
    assert set(absent["record"]) == {"p00/p000020/p000020-2183-04-28-17-47"}
    assert (rejected["label"] == "segment-header-missing").sum() == 30
    codes = [e["code"] for e in events if e["kind"] == "warning"]
    assert {"dat-missing", "segment-header-missing"} <= set(codes)
    assert not any(str(r).endswith("n") for r in rejected["record"])
    with h5py.File(tmp_path / "full_dataset.h5") as file:
        starts = file["segment/start_sample"][()]
        assert (starts % 1250 == 0).all()
        kept = {(r.decode(), int(s)) for r, s in zip(file["segment/record"][()], starts, strict=True)}
    lost = rejected[rejected["level"] == "window"]
    listed = {(r, round(s * 125)) for r, s in zip(lost["record"], lost["start_seconds"], strict=True)}
    # The record's clock counts gaps: of 0006 and 0007, joined without a gap, every whole window.
    record = "p00/p000020/p000020-2183-04-28-17-47"
    first = 93 + 3811 + 124 + 8 + 380 + 7098177
    inside = {(record, s) for s in range(-(-first // 1250) * 1250, first + 45000 - 1249, 1250)}
    assert inside <= kept | listed


def test_the_one_window_with_both_signals_is_found(
    real_data: Path, config_of: Callable[..., Config], build: Build, tmp_path: Path
) -> None:
    config = config_of(real_data / "mimic3wdb-matched", **{"build.min_segments_per_patient": 1})
    result, _ = build(config, tmp_path)
    assert result["segments"] == 1
    with Dataset(tmp_path / "full_dataset.h5") as dataset:
        assert dataset.patient_id.tolist() == ["p000878"]
        assert dataset.present.all()


@pytest.mark.parametrize(
    ("folder", "require", "people"), [("mitdb", "ecg", 20), ("cinc2015", "both", 42), ("mimic-other", "either", 4)]
)
def test_other_databases_are_built(
    real_data: Path,
    config_of: Callable[..., Config],
    build: Build,
    tmp_path: Path,
    folder: str,
    require: str,
    people: int,
) -> None:
    settings = {"data.layout": "wfdb", "data.require": require, "build.min_segments_per_patient": 1}
    result, _ = build(config_of(real_data / folder, **settings), tmp_path)
    assert result["patients"] == people
    with Dataset(tmp_path / "full_dataset.h5") as dataset:
        assert dataset.sampling_rate_hz == 125
        assert dataset.signal_rows(slice(0, 1)).any()
        assert dataset.present.any(axis=1).all()


@pytest.mark.slow
def test_cinc2017_is_built(real_data: Path, config_of: Callable[..., Config], build: Build, tmp_path: Path) -> None:
    settings = {"data.require": "ecg", "build.min_segments_per_patient": 1, "build.shard_patients": 100}
    result, _ = build(config_of(real_data / "cinc2017", **settings), tmp_path)
    assert result["patients"] > 1450
    assert result["segments"] > 4500


def test_real_tables_link_nothing_to_invented_ids(
    real_data: Path, config_of: Callable[..., Config], build: Build, tmp_path: Path
) -> None:
    settings = {"data.clinical_dir": str(real_data / "mimic3-clinical-demo"), "build.max_patients": 3}
    _, events = build(config_of(real_data / "bidmc-matched", **settings), tmp_path)
    assert "patients-not-in-tables" in [e.get("code") for e in events]
    metadata = pd.read_parquet(tmp_path / "full_dataset_metadata.parquet")
    assert not metadata["in_tables"].any()
    assert metadata["control"].isna().all()


def test_an_empty_folder_names_what_was_looked_for(
    config_of: Callable[..., Config], build: Build, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"Looked for WFDB headers.*found 0 headers"):
        build(config_of(tmp_path / "empty"), tmp_path / "out")


@pytest.mark.parametrize(("folder", "require"), [("bidmc-matched", "both"), ("mitdb", "ecg"), ("cinc2015", "both")])
def test_the_forecast_from_headers_is_within_a_quarter(
    real_data: Path, config_of: Callable[..., Config], build: Build, tmp_path: Path, folder: str, require: str
) -> None:
    result, _ = build(config_of(real_data / folder, **{"data.require": require}), tmp_path)
    assert abs(result["forecast"]["segments"] / result["segments"] - 1) < 0.25
    assert abs(result["forecast"]["bytes"] / result["bytes"] - 1) < 0.25
