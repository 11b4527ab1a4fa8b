"""The stage: from a folder of recordings to the files, through every interruption to the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import lethal
import numpy as np
import pandas as pd
import psutil
import pytest

from ecgconsole.config import Config, resolve
from ecgconsole.dataset import Dataset, assemble, scanning, schedule, shards, tables
from ecgconsole.dataset import build as build_module
from ecgconsole.dataset.people import Patient, Recording
from ecgconsole.errors import ConfigurationError, InputError, MachineError, Stopped
from ecgconsole.stage import Stop

Build = Callable[..., tuple[dict[str, Any], list[dict[str, Any]]]]
OUTPUTS = ("full_dataset.h5", "full_dataset_metadata.parquet", "rejected.parquet", "clinical_features.csv")


@pytest.fixture(scope="module")
def reference(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[dict]]:
    """An undisturbed build by one worker, with tables: its folder, result and events."""
    from ecgconsole.config import resolve
    from ecgconsole.dataset.build import run
    from ecgconsole.stage import Reporter
    from ecgconsole.workspace import Workspace

    settings = {"data.waveform_dir": cohort / "waveforms", "data.clinical_dir": cohort / "clinical"}
    overrides = [f"{k}={v}" for k, v in settings.items()] + ["build.num_workers=1", "build.shard_patients=4"]
    output = tmp_path_factory.mktemp("reference")
    events: list[dict[str, Any]] = []
    config = resolve(overrides=overrides, environment={}).config
    return output, run(config, Workspace(output), Reporter("build", events.append), Stop()), events


@pytest.fixture
def config(cohort: Path, config_of: Callable[..., Config]) -> Config:
    return config_of(cohort / "waveforms", **{"data.clinical_dir": str(cohort / "clinical")})


def same_files(a: Path, b: Path) -> bool:
    return all((a / name).read_bytes() == (b / name).read_bytes() for name in OUTPUTS)


def of_kind(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [e for e in events if e["kind"] == kind]


def codes(events: list[dict[str, Any]]) -> set[str]:
    return {e["code"] for e in of_kind(events, "warning")}


def test_events_count_patients_and_shards(reference: tuple[Path, dict[str, Any], list[dict]]) -> None:
    output, result, events = reference
    progress = of_kind(events, "progress")
    assert progress[0]["done"] == 0
    assert progress[-1]["done"] == progress[-1]["total"]
    assert {e["unit"] for e in progress} == {"patients"}
    chunks = of_kind(events, "chunk")
    assert sorted(e["number"] for e in chunks) == [1, 2, 3]
    assert sum(e["segments"] for e in chunks) == result["segments"]
    assert result["bytes"] == (output / "full_dataset.h5").stat().st_size
    assert not (output / "shards").exists()
    assert sorted(p.name for p in output.iterdir() if p.suffix != "") == sorted([*OUTPUTS, "header_index.jsonl.gz"])


def test_no_patient_is_named_in_events(reference: tuple[Path, dict[str, Any], list[dict]]) -> None:
    output, result, events = reference
    text = json.dumps([result, events])
    for patient in pd.read_parquet(output / "full_dataset_metadata.parquet")["patient_id"]:
        assert patient not in text


def test_the_file_is_what_the_interface_says_in_plain_h5py(
    reference: tuple[Path, dict[str, Any], list[dict]], cohort: Path
) -> None:
    output, result, _ = reference
    with h5py.File(output / "full_dataset.h5") as file:
        n = result["segments"]
        assert file["signal"].dtype == "<i2"
        assert file["signal"].shape == (n, 2, 1250)
        assert file["scale"].shape == file["present"].shape == (n, 2)
        assert file["scale"].dtype == "<f4"
        assert file["present"].dtype == bool
        for name in ("patient_id", "record", "start_sample", "start_seconds", "charttime", "hadm_id", "split"):
            assert file[f"segment/{name}"].shape == (n,)
        for name in ("heart_rate_bpm", "rr_cv", "rmssd_ms"):
            assert file[f"rhythm/{name}"].dtype == "<f4"
            assert file[f"rhythm/{name}"].attrs["unit"] is not None
        assert file["signal"].shuffle
        assert file["signal"].fletcher32
        assert file["signal"].compression == "gzip"
        assert json.loads(file.attrs["parameters"])["build"]["segment_seconds"] == 10
        assert "h5py" in json.loads(file.attrs["versions"])
        assert list(file.attrs["channel_names"]) == ["ECG", "PPG"]
        assert file.attrs["content_sha256"] == result["content_sha256"]
        everything = file["signal"][()]  # inflated by HDF5 itself
        ids = file["segment/patient_id"].asstr()[()]
        starts, stops = file["patient/row_start"][()], file["patient/row_stop"][()]
        for patient, start, stop in zip(file["patient/id"].asstr()[()], starts, stops, strict=True):
            assert set(ids[start:stop]) == {patient}
        assert stops[-1] == n
        record = file["segment/record"].asstr()[0]
        assert (cohort / "waveforms" / f"{record}.hea").exists()
    with Dataset(output / "full_dataset.h5") as dataset:
        np.testing.assert_array_equal(dataset.signal_rows(slice(None)), everything)


def test_every_candidate_window_is_kept_or_listed_with_its_reason(
    reference: tuple[Path, dict[str, Any], list[dict]],
) -> None:
    output, result, _ = reference
    rejected = pd.read_parquet(output / "rejected.parquet")
    metadata = pd.read_parquet(output / "full_dataset_metadata.parquet")
    windows = rejected[(rejected["level"] == "window") & rejected["patient_id"].isin(metadata["patient_id"])]
    assert metadata["segments"].sum() == result["segments"]
    counted = windows.groupby("patient_id").size().reindex(metadata["patient_id"], fill_value=0)
    np.testing.assert_array_equal(counted.to_numpy(), metadata["candidate_windows"] - metadata["segments"])
    assert (windows["reason"] > 0).all()
    assert rejected.groupby("label").size().to_dict() == result["rejected"]


def test_segments_carry_the_admission_of_their_record_and_metadata_the_labels(
    reference: tuple[Path, dict[str, Any], list[dict]], cohort: Path
) -> None:
    output, _, _ = reference
    admissions = pd.read_csv(cohort / "clinical" / "ADMISSIONS.csv.gz")
    with Dataset(output / "full_dataset.h5") as dataset:
        frame = pd.DataFrame(
            {
                "hadm_id": dataset.column("segment/hadm_id"),
                "time": pd.to_datetime(dataset.column("segment/charttime")),
                "subject": [int(p[1:]) for p in dataset.patient_id],
            }
        ).merge(admissions, left_on="hadm_id", right_on="HADM_ID")
        unlinked = dataset.column("segment/hadm_id") == 0
        assert len(frame) == dataset.n_segments - unlinked.sum()
        absent = {int(p[1:]) for p in dataset.patient_id[unlinked]}
        labels = dataset.patients["labels/concurrent_atrial_fibrillation"]
    assert (frame["subject"] == frame["SUBJECT_ID"]).all()
    assert (pd.to_datetime(frame["ADMITTIME"]) <= frame["time"]).all()
    assert (frame["time"] <= pd.to_datetime(frame["DISCHTIME"])).all()
    # One person of the cohort is in no table: kept, without labels.
    assert len(absent) == 1
    assert not absent & set(admissions["SUBJECT_ID"])
    metadata = pd.read_parquet(output / "full_dataset_metadata.parquet")
    assert metadata.loc[~metadata["in_tables"], "concurrent_atrial_fibrillation"].isna().all()
    assert (labels[~metadata["in_tables"].to_numpy()] == -1).all()
    np.testing.assert_array_equal(labels == 1, metadata["concurrent_atrial_fibrillation"].fillna(False))


def test_the_features_hold_no_code_of_the_stay_and_the_metadata_all_outcomes(
    reference: tuple[Path, dict[str, Any], list[dict]], cohort: Path, tmp_path: Path
) -> None:
    """What codes of the recorded stay and later are, changed in the tables, changes the metadata alone."""
    output, _, _ = reference
    metadata = pd.read_parquet(output / "full_dataset_metadata.parquet")
    features = pd.read_csv(output / "clinical_features.csv")
    assert list(features["patient_id"]) == list(metadata["patient_id"])
    assert {"age_years", "before_hypertension", "history_atrial_fibrillation", "rr_entropy_median"} <= set(features)
    later = {"concurrent_stroke", "future_stroke", "ever_stroke", "died_in_hospital", "died_within_90_days", "control"}
    assert later <= set(metadata)
    assert not later & set(features)

    recordings = [
        Recording(f"p{s:06d}", f"p{s:06d}", int(s), start.to_pydatetime(), 600.0, 60, (), "")
        for s, start in zip(metadata["subject_id"], metadata["first_record_start"], strict=True)
    ]
    tables_folder = tmp_path / "clinical"
    shutil.copytree(cohort / "clinical", tables_folder)
    patients = [Patient(r.patient_id, (r,)) for r in recordings]
    settings = resolve(overrides=[f"data.clinical_dir={tables_folder}"], environment={}).config

    def features_of_tables() -> tuple[str, pd.DataFrame]:
        clinical = tables.read_clinical(settings, patients)
        assert clinical is not None
        return tables.features_csv(clinical.patients), clinical.patients

    before, was = features_of_tables()
    (diagnoses,) = tables_folder.glob("DIAGNOSES_ICD*")
    codes_ = pd.read_csv(diagnoses, dtype=str)
    column = {c.upper(): c for c in codes_.columns}
    admissions = pd.read_csv(next(tables_folder.glob("ADMISSIONS*")))
    admissions.columns = admissions.columns.str.upper()
    first_recorded = was.set_index("subject_id")["hadm_id"]
    recorded_at = admissions.set_index("HADM_ID")["ADMITTIME"].reindex(first_recorded).to_numpy()
    since = dict(zip(first_recorded.index, recorded_at, strict=True))
    of_stay = [
        {column["SUBJECT_ID"]: str(a.SUBJECT_ID), column["HADM_ID"]: str(a.HADM_ID), column["ICD9_CODE"]: code}
        for a in admissions.itertuples()
        if isinstance(since.get(a.SUBJECT_ID), str) and since[a.SUBJECT_ID] <= a.ADMITTIME
        for code in ("43401", "431", "42731", "42741", "438", "V1254", "4280", "4019", "25000", "412")
    ]
    assert len(of_stay) >= 100
    pd.concat([codes_, pd.DataFrame(of_stay)]).to_csv(diagnoses, index=False)
    after, is_now = features_of_tables()
    assert not is_now.equals(was)
    assert after == before


def test_splits_share_no_patient_and_none_is_empty(reference: tuple[Path, dict[str, Any], list[dict]]) -> None:
    with Dataset(reference[0] / "full_dataset.h5") as dataset:
        of_split = {s: set(dataset.patient_id[dataset.split == s]) for s in ("train", "val", "test")}
    assert all(of_split.values())
    assert sum(len(p) for p in of_split.values()) == len(set.union(*of_split.values()))


def test_two_workers_and_other_shards_give_the_same_bytes(
    config_of: Callable[..., Config],
    cohort: Path,
    build: Build,
    reference: tuple[Path, dict[str, Any], list[dict]],
    tmp_path: Path,
) -> None:
    settings = {"data.clinical_dir": str(cohort / "clinical"), "build.num_workers": 2, "build.chunk_size": 3}
    result, _ = build(config_of(cohort / "waveforms", **settings), tmp_path)
    assert result == reference[1]
    assert same_files(tmp_path, reference[0])


@pytest.mark.usefixtures("kept_worker")
def test_shards_of_one_patient_give_the_same_bytes(
    config_of: Callable[..., Config],
    cohort: Path,
    build: Build,
    reference: tuple[Path, dict[str, Any], list[dict]],
    tmp_path: Path,
) -> None:
    settings = {"data.clinical_dir": str(cohort / "clinical"), "build.shard_patients": 1}
    result, _ = build(config_of(cohort / "waveforms", **settings), tmp_path)
    assert result == reference[1]
    assert same_files(tmp_path, reference[0])


@pytest.mark.usefixtures("kept_worker")
def test_without_tables_labels_are_null_and_signals_the_same(
    config_of: Callable[..., Config],
    cohort: Path,
    build: Build,
    reference: tuple[Path, dict[str, Any], list[dict]],
    tmp_path: Path,
) -> None:
    settings = {"build.keep_shards": True, "build.max_patients": 5, "split.file": str(tmp_path / "split.csv")}
    ids = pd.read_parquet(reference[0] / "full_dataset_metadata.parquet")["patient_id"]
    (tmp_path / "split.csv").write_text("patient,split\n" + "".join(f"{p},test\n" for p in ids[:4]))
    output = tmp_path / "out"
    _, events = build(config_of(cohort / "waveforms", **settings), output)
    metadata = pd.read_parquet(output / "full_dataset_metadata.parquet")
    assert metadata["future_stroke"].isna().all()
    assert metadata["control"].isna().all()
    assert list(metadata["split"][:4]) == ["test"] * 4
    assert {"selection-by-volume", "split-file-incomplete"} <= codes(events)
    assert len(list((output / "shards").glob("*.rows"))) == 2
    with Dataset(output / "full_dataset.h5") as few, Dataset(reference[0] / "full_dataset.h5") as all_of_them:
        for patient in metadata["patient_id"]:
            np.testing.assert_array_equal(
                few.signal_rows(few.rows_of(patient)), all_of_them.signal_rows(all_of_them.rows_of(patient))
            )
        assert set(few.patients["labels/control"]) == {-1}
    # With its shards still there, a build of more patients builds only what is missing.
    more = config_of(cohort / "waveforms", **{**settings, "build.max_patients": None})
    _, events = build(more, output)
    assert [e["number"] for e in of_kind(events, "chunk")] != [1, 2, 3]
    assert of_kind(events, "progress")[0]["done"] == 4


def test_headers_are_read_in_workers_too_also_when_one_dies(
    config_of: Callable[..., Config],
    cohort: Path,
    build: Build,
    reference: tuple[Path, dict[str, Any], list[dict]],
    tmp_path: Path,
    monkeypatch: Any,
) -> None:
    monkeypatch.setattr(scanning, "SCAN_IN_PROCESS_HEADERS", 0)
    monkeypatch.setattr(scanning, "SCAN_FOLDERS_AT_ONCE", 5)
    monkeypatch.setattr(scanning, "scan_changed", lethal.dying_scan)
    lethal.switch(tmp_path / "shards", "die", 1)
    # A map that maps nobody also tells the stand-in where its switch lies.
    (tmp_path / "map.csv").write_text("record,patient\nabsent,x\n")
    settings = {"data.clinical_dir": str(cohort / "clinical"), "data.patient_map": str(tmp_path / "map.csv")}
    result, events = build(config_of(cohort / "waveforms", **settings), tmp_path / "out")
    assert result == reference[1] | {"bytes": result["bytes"]}
    assert "patient-map-unused" in codes(events)
    folders = [e for e in of_kind(events, "progress") if e["unit"] == "folders"]
    assert [e["done"] for e in folders] == [5, 10, 12]
    assert {e["total"] for e in folders} == {12}
    assert (tmp_path / "lethal.die").read_text() == "0"


@pytest.mark.usefixtures("kept_worker")
def test_killed_after_the_shards_were_removed_nothing_is_built_again(
    config: Config, build: Build, reference: tuple[Path, dict[str, Any], list[dict]], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    shutil.copytree(reference[0], output)
    result, events = build(config, output)
    assert result == reference[1]
    assert not of_kind(events, "chunk")
    # But not where a file is missing, or the dataset was damaged since.
    with h5py.File(output / "full_dataset.h5", "r+") as file:
        file["segment/hadm_id"][0] += 1
    result, events = build(config, output)
    assert len(of_kind(events, "chunk")) == 3
    assert result == reference[1]
    assert same_files(output, reference[0])


@pytest.mark.usefixtures("kept_worker")
def test_a_stop_lets_running_shards_finish_and_the_next_build_goes_on(
    config: Config, build: Build, reference: tuple[Path, dict[str, Any], list[dict]], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(schedule, "build_shard", lethal.slow_build)
    stop = Stop()

    def request() -> None:
        while not (tmp_path / "begun.1").exists():
            time.sleep(0.01)
        stop.request()

    thread = threading.Thread(target=request)
    thread.start()
    with pytest.raises(Stopped, match=r"saved: 1 of 3 shards\. The same"):
        build(config, tmp_path, stop)
    thread.join()
    assert not (tmp_path / "begun.2").exists()
    assert len(list((tmp_path / "shards").glob("*.json"))) == 1
    monkeypatch.undo()
    result, events = build(config, tmp_path)
    assert len(of_kind(events, "chunk")) == 2
    assert of_kind(events, "progress")[0]["done"] == 4
    assert result == reference[1]
    for name in OUTPUTS:
        assert (tmp_path / name).read_bytes() == (reference[0] / name).read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("kept_worker")
def test_a_pause_holds_between_shards(config: Config, build: Build, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(schedule, "build_shard", lethal.slow_build)
    stop = Stop()
    seen: list[bool] = []

    def pause() -> None:
        while not (tmp_path / "begun.1").exists():
            time.sleep(0.01)
        stop.pause()
        while not list((tmp_path / "shards").glob("*.json")):
            time.sleep(0.01)
        time.sleep(1.0)
        seen.append((tmp_path / "begun.2").exists())
        stop.resume()

    thread = threading.Thread(target=pause)
    thread.start()
    build(config, tmp_path, stop)
    thread.join()
    assert seen == [False]
    assert (tmp_path / "begun.3").exists()


@pytest.mark.slow
def test_a_worker_killed_once_costs_nothing(
    config: Config, build: Build, reference: tuple[Path, dict[str, Any], list[dict]], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(schedule, "build_shard", lethal.dying_build)
    lethal.switch(tmp_path / "shards", "die", 1)
    result, events = build(config, tmp_path)
    assert "worker-died" in codes(events)
    assert result == reference[1]
    assert same_files(tmp_path, reference[0])


def test_a_worker_killed_twice_on_one_patient_costs_that_patient(
    config: Config, build: Build, reference: tuple[Path, dict[str, Any], list[dict]], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(schedule, "build_shard", lethal.dying_build)
    lethal.switch(tmp_path / "shards", "die", 2)
    result, events = build(config, tmp_path)
    assert "patient-skipped" in codes(events)
    assert result["patients"] == reference[1]["patients"] - 1
    assert result["rejected"]["worker-died"] == 1
    rejected = pd.read_parquet(tmp_path / "rejected.parquet")
    whole = pd.read_parquet(reference[0] / "full_dataset_metadata.parquet")
    lost = rejected.loc[rejected["label"] == "worker-died", "patient_id"].item()
    assert set(whole["patient_id"]) - {lost} == set(
        pd.read_parquet(tmp_path / "full_dataset_metadata.parquet")["patient_id"]
    )


@pytest.mark.slow
def test_a_merge_killed_once_is_done_again(
    config: Config, build: Build, reference: tuple[Path, dict[str, Any], list[dict]], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(assemble, "merge", lethal.dying_merge)
    lethal.switch(tmp_path / "shards", "die", 1)
    assert build(config, tmp_path)[0] == reference[1]


def test_a_disk_that_fills_up_stops_the_build_and_loses_nothing(
    config: Config, build: Build, reference: tuple[Path, dict[str, Any], list[dict]], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(schedule, "build_shard", lethal.limited_build)
    lethal.switch(tmp_path / "shards", "limit", 1)
    with pytest.raises(MachineError, match=r"no space left.*are needed"):
        build(config, tmp_path)
    monkeypatch.setattr(schedule, "build_shard", shards.build_shard)
    monkeypatch.setattr(assemble, "merge", lethal.limited_merge)
    lethal.switch(tmp_path / "shards", "limit", 1)
    with pytest.raises(MachineError, match=r"no space left.*are needed"):
        build(config, tmp_path)
    assert not (tmp_path / "full_dataset.h5").exists()
    result, events = build(config, tmp_path)
    assert not of_kind(events, "chunk")
    assert result == reference[1]
    assert same_files(tmp_path, reference[0])


def test_a_forecast_beyond_the_free_space_stops_before_anything_is_built(
    config: Config, build: Build, tmp_path: Path, monkeypatch: Any
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("ecgconsole.dataset.shards.shutil.disk_usage", lambda path: usage._replace(free=70_000_000))
    monkeypatch.setattr(build_module, "space_bytes", lambda missing, windows, config: 10**9)
    with pytest.raises(MachineError, match=r"not enough free space: 1\.1 GB are needed, 70\.0 MB are free"):
        build(config, tmp_path)
    assert not list((tmp_path / "shards").iterdir())


@pytest.mark.usefixtures("kept_worker")
def test_tables_that_cannot_be_used_are_told_before_anything_is_built(
    cohort: Path, config_of: Callable[..., Config], build: Build, tmp_path: Path
) -> None:
    tables = tmp_path / "tables"
    shutil.copytree(cohort / "clinical", tables)
    (tables / "DIAGNOSES_ICD.csv.gz").unlink()
    with pytest.raises(InputError, match="no DIAGNOSES_ICD"):
        build(config_of(cohort / "waveforms", **{"data.clinical_dir": str(tables)}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_recordings_that_cannot_be_read_are_tried_again_then_named(
    config: Config, build: Build, reference: tuple[Path, dict[str, Any], list[dict]], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(schedule, "build_shard", lethal.failing_build)
    monkeypatch.setattr(schedule, "BACK_OFF_SECONDS", (0.01, 0.02))
    lethal.switch(tmp_path / "shards", "fail", 2)
    assert build(config, tmp_path)[0] == reference[1]
    other = tmp_path / "other"
    other.mkdir()
    lethal.switch(other / "shards", "fail", 99)
    with pytest.raises(InputError, match=r"cannot be read \(Input/output error\), tried 3 times") as caught:
        build(config, other)
    assert "x.dat" not in str(caught.value)  # a path would name a patient


@pytest.mark.usefixtures("kept_worker")
def test_a_folder_that_is_unmounted_midway_is_named_and_later_the_build_goes_on(
    own_cohort: Path, config_of: Callable[..., Config], build: Build, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(schedule, "BACK_OFF_SECONDS", (0.01,))
    config, output, away = config_of(own_cohort / "waveforms"), tmp_path / "out", own_cohort / "away"
    original = Path(str(config.data.waveform_dir))

    def unmounting(*args: Any) -> Any:
        monkeypatch.setattr(build_module, "build_shards", build_shards)
        committed = args[6]

        def first_then_unmount(*of_shard: Any) -> None:
            committed(*of_shard)
            if original.exists():
                original.rename(away)

        return build_shards(*args[:6], first_then_unmount, *args[7:])

    build_shards = build_module.build_shards
    monkeypatch.setattr(build_module, "build_shards", unmounting)
    with pytest.raises(InputError, match="cannot be read"):
        build(config, output)
    away.rename(original)
    result, events = build(config, output)
    assert len(of_kind(events, "chunk")) == 2
    assert result["content_sha256"] == build(config, tmp_path / "undisturbed")[0]["content_sha256"]


@pytest.mark.usefixtures("kept_worker")
def test_damaged_shards_are_rebuilt_and_shards_of_other_settings_refused(
    config_of: Callable[..., Config],
    cohort: Path,
    build: Build,
    reference: tuple[Path, dict[str, Any], list[dict]],
    tmp_path: Path,
) -> None:
    settings = {"data.clinical_dir": str(cohort / "clinical"), "build.keep_shards": True}
    config = config_of(cohort / "waveforms", **settings)
    build(config, tmp_path)
    one, two, _ = sorted((tmp_path / "shards").glob("*.rows"))
    data = bytearray(one.read_bytes())
    data[len(data) // 3] ^= 16
    one.write_bytes(data)
    os.truncate(two, two.stat().st_size // 2)
    result, events = build(config, tmp_path)
    assert result["content_sha256"] == reference[1]["content_sha256"]
    assert len([e for e in of_kind(events, "warning") if e["code"] == "shard-damaged"]) == 2
    assert len(of_kind(events, "chunk")) == 2
    other = config_of(cohort / "waveforms", **settings, **{"build.ppg_band_hz": [0.5, 7]})
    with pytest.raises(ConfigurationError, match="--rebuild") as caught:
        build(other, tmp_path)
    assert "build.ppg_band_hz" in str(caught.value)
    result, _ = build(other, tmp_path, rebuild=True)
    assert result["content_sha256"] != reference[1]["content_sha256"]


def test_an_output_folder_that_cannot_be_made_is_a_machine_error(config: Config, build: Build, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot be written"):
        build(config, tmp_path / "file" / "out")


def test_too_short_recordings_are_an_input_error(
    config_of: Callable[..., Config], cohort: Path, build: Build, tmp_path: Path
) -> None:
    settings = {"build.min_segments_per_patient": 1000}
    with pytest.raises(InputError, match=r"none of \d+ patients can have 1000 segments"):
        build(config_of(cohort / "waveforms", **settings), tmp_path)


RUN = """
import json, os, sys
from ecgconsole.config import resolve
from ecgconsole.dataset.build import run
from ecgconsole.stage import Reporter, Stop
from ecgconsole.workspace import Workspace
if __name__ == "__main__":
    emit = lambda event: print(json.dumps(event), flush=True)
    config = resolve(overrides=sys.argv[2:], environment={}).config
    print(json.dumps(run(config, Workspace(sys.argv[1]), Reporter("build", emit), Stop())), flush=True)
"""


class Builder:
    """A build in a process of its own, whose descendants are known by a variable in their environment."""

    def __init__(self, tmp_path: Path, output: Path, config: Config) -> None:
        script = tmp_path / "run_build.py"
        script.write_text(RUN)
        self.token = f"{output}:{time.time_ns()}"
        settings = [
            f"data.waveform_dir={config.data.waveform_dir}",
            f"data.clinical_dir={config.data.clinical_dir}",
            "build.num_workers=2",
            "build.shard_patients=4",
        ]
        self.process = subprocess.Popen(
            [sys.executable, script, output, *settings],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "ECGCONSOLE_TEST_TOKEN": self.token},
        )

    def kill(self) -> None:
        """``kill -9``; then nothing that it started may live."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        deadline = time.monotonic() + 10
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not self.alive()

    def alive(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("ECGCONSOLE_TEST_TOKEN") == self.token and process.status() != "zombie":
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found


def test_killed_after_its_first_shard_a_build_leaves_no_process_and_is_resumed(
    config: Config, build: Build, reference: tuple[Path, dict[str, Any], list[dict]], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    builder = Builder(tmp_path, output, config)
    assert builder.process.stdout is not None
    for line in builder.process.stdout:
        if json.loads(line)["kind"] == "chunk":
            break
    builder.kill()
    result, events = build(config, output)
    assert len(of_kind(events, "chunk")) < 3
    assert result == reference[1]
    assert same_files(output, reference[0])


@pytest.mark.slow
def test_killed_at_ten_moments_a_build_ends_with_the_same_bytes(
    config: Config, build: Build, reference: tuple[Path, dict[str, Any], list[dict]], tmp_path: Path
) -> None:
    undisturbed = time.monotonic()
    builder = Builder(tmp_path, tmp_path / "timed", config)
    builder.process.communicate()
    undisturbed = time.monotonic() - undisturbed
    random = np.random.default_rng(5)
    for i, moment in enumerate(np.sort(random.uniform(0, undisturbed, 10))):
        output = tmp_path / f"out{i}"
        builder = Builder(tmp_path, output, config)
        time.sleep(moment)
        builder.kill()
        assert build(config, output)[0] == reference[1]
        assert same_files(output, reference[0])
        assert not list(output.glob(".*partial"))
