"""Shards into one file: every row in its place, whole or absent, also when killed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from crash import survivors_of_kills

from ecgconsole.config import Config
from ecgconsole.dataset import merge as merging
from ecgconsole.dataset.arrays import Arrays
from ecgconsole.dataset.discovery import discover
from ecgconsole.dataset.merge import MergePlan, merge
from ecgconsole.dataset.plan import plan_shards
from ecgconsole.dataset.rejected import REJECTED_SCHEMA, write_rejected
from ecgconsole.dataset.shards import Manifest, build_shard
from ecgconsole.errors import MachineError


@pytest.fixture(scope="module")
def shards(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Arrays], list[Manifest]]:
    from ecgconsole.config import resolve

    folder = tmp_path_factory.mktemp("shards")
    overrides = [f"data.waveform_dir={cohort / 'waveforms'}", "build.shard_patients=2"]
    config = resolve(overrides=overrides, environment={}).config
    plans = plan_shards(discover(config).patients[:4], config)
    manifests = [build_shard(p, cohort / "waveforms", config, folder, frozenset()) for p in plans]
    return [Arrays(folder / m.file, m.arrays) for m in manifests], manifests


@pytest.fixture
def plan(shards: tuple[list[Arrays], list[Manifest]]) -> MergePlan:
    arrays, manifests = shards
    patients = [p for m in manifests for p in m.patients if p["segments"]]
    ids = [p["patient_id"] for p in patients]
    return MergePlan(
        shards=tuple(arrays),
        segments=sum(m.segments for m in manifests),
        patients={
            "id": np.array([i.encode() for i in ids]),
            "segments": np.array([p["segments"] for p in patients]),
        },
        split={patient: ("train", "val")[n % 2] for n, patient in enumerate(ids)},
        hadm_id={},
        subject_id={},
        charted=None,
        attributes={"format_version": 1},
        columns={"rhythm/rr_cv": {"unit": "1"}},
        compression="gzip",
    )


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_rows_follow_one_another_in_plan_order(plan: MergePlan, tmp_path: Path, compression: str) -> None:
    sha256, n_bytes = merge(replace(plan, compression=compression), tmp_path / "x.h5")
    assert n_bytes == (tmp_path / "x.h5").stat().st_size
    with h5py.File(tmp_path / "x.h5") as file:
        assert file.attrs["content_sha256"] == sha256
        start = 0
        for shard in plan.shards:
            n = shard.n_rows("signal")
            for name in ("signal", "scale", "present", "segment/record", "segment/start_sample", "rhythm/rr_cv"):
                np.testing.assert_array_equal(file[name][start : start + n], shard.read(name))
            start += n
        assert start == plan.segments
        ids = file["segment/patient_id"][()]
        assert [plan.split[i.decode()].encode() for i in ids] == file["segment/split"][()].tolist()
        assert "rejected" not in file


@pytest.mark.parametrize("name", ["signal", "rhythm/rr_cv"])
def test_a_shard_that_the_disk_changed_is_named(plan: MergePlan, tmp_path: Path, name: str) -> None:
    shard = plan.shards[-1]
    offset = shard.entries[name]["offset"]
    with shard.path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))
    try:
        with pytest.raises(MachineError, match=f"other bytes of {name} than were written"):
            merge(plan, tmp_path / "x.h5")
        assert not (tmp_path / "x.h5").exists()
    finally:
        with shard.path.open("r+b") as file:
            file.seek(offset)
            file.write(byte)


def test_any_cut_into_shards_gives_the_same_bytes(
    plan: MergePlan, cohort: Path, config_of: Callable[..., Config], tmp_path: Path
) -> None:
    sha256, _ = merge(plan, tmp_path / "x.h5")
    config = config_of(cohort / "waveforms")
    one = plan_shards(discover(config).patients[:4], config)[0]
    manifest = build_shard(one, cohort / "waveforms", config, tmp_path, frozenset())
    assert (
        merge(replace(plan, shards=(Arrays(tmp_path / manifest.file, manifest.arrays),)), tmp_path / "y.h5")[0]
        == sha256
    )
    assert (tmp_path / "x.h5").read_bytes() == (tmp_path / "y.h5").read_bytes()


def test_killed_at_any_write_the_dataset_is_whole_or_absent(plan: MergePlan, tmp_path: Path) -> None:
    reference = tmp_path / "reference.h5"
    merge(plan, reference)
    output = tmp_path / "out" / "x.h5"
    output.parent.mkdir()
    seen = set()
    kills = 0
    for _ in survivors_of_kills(lambda: merge(plan, output)):
        kills += 1
        seen.add(output.exists())
        if output.exists():
            assert output.read_bytes() == reference.read_bytes()
            output.unlink()
        for path in output.parent.glob(".*.partial"):
            path.unlink()
    assert seen == {True, False}
    assert kills > 40
    assert output.read_bytes() == reference.read_bytes()


def test_an_earlier_dataset_stays_until_the_new_one_is_whole(plan: MergePlan, tmp_path: Path) -> None:
    output = tmp_path / "x.h5"
    output.write_bytes(b"earlier")
    killed = survivors_of_kills(lambda: merge(plan, output))
    for _ in range(20):
        next(killed)
        assert output.read_bytes() == b"earlier"


def test_a_disk_that_returns_other_bytes_is_noticed(
    plan: MergePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = merging._write

    def one_bit_off(plan: MergePlan, file: h5py.File) -> str:
        sha256 = original(plan, file)
        file["scale"].id.write_direct_chunk((0, 0), merging_chunk(file["scale"]))
        return sha256

    def merging_chunk(dataset: h5py.Dataset) -> bytes:
        from ecgconsole.dataset import codec

        values = dataset[: dataset.chunks[0]]
        values[0, 0] += 1
        return codec.encode(values)

    monkeypatch.setattr(merging, "_write", one_bit_off)
    with pytest.raises(MachineError, match="other bytes of /scale than were written"):
        merge(plan, tmp_path / "x.h5")
    assert not (tmp_path / "x.h5").exists()


def test_rejections_of_all_shards_are_one_table(plan: MergePlan, tmp_path: Path) -> None:
    write_rejected(plan.shards, None, tmp_path / "rejected.parquet")
    table = pq.read_table(tmp_path / "rejected.parquet").to_pandas()
    assert len(table) == sum(shard.n_rows("rejected/reason") for shard in plan.shards) > 0
    windows = table[table["level"] == "window"]
    assert windows["start_seconds"].notna().all()
    assert set(windows["where"]) <= {"ECG", "PPG", "ECG+PPG"}
    reasons = windows[["ecg_reason", "ppg_reason"]].to_numpy()
    assert (reasons == windows["reason"].to_numpy()[:, None]).any(axis=1).all()


def test_no_rejection_gives_an_empty_table_with_the_same_columns(tmp_path: Path) -> None:
    write_rejected([], None, tmp_path / "rejected.parquet")
    assert pq.read_table(tmp_path / "rejected.parquet").schema.equals(REJECTED_SCHEMA)
