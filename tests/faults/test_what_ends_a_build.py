"""Faults that end a command: one clear line, the right exit code, nothing lost, nothing run."""

from __future__ import annotations

import fcntl
import gzip
import os
import pickle
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

from ecgconsole.dataset import Dataset
from ecgconsole.errors import ExitCode, InputError
from tests.faults.conftest import Build
from tests.faults.tables import write_tables
from tests.faults.wards import ALL, make_bed

SUBJECTS = (21, 22, 23)


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people and nothing wrong with them."""
    root = tmp_path_factory.mktemp("three") / "waveforms"
    for subject in SUBJECTS:
        make_bed(root, subject)
    return root


@pytest.fixture(scope="module")
def dataset(ward: Path, build: Build) -> Path:
    build(ward.parent / "out", **{"data.waveform_dir": ward, "build.min_segments_per_patient": 1})
    return ward.parent / "out" / "full_dataset.h5"


def command(*arguments: object, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, "-m", "ecgconsole", *map(str, arguments)]
    return subprocess.run(run, capture_output=True, text=True, timeout=120, check=False, **kwargs)


def conflicting_admission(tables: Path) -> str:
    with (tables / "ADMISSIONS.csv").open("a") as file:
        file.write("21,100021,2149-12-31 00:00:00,2150-02-01 00:00:00,EMERGENCY,0\n")
    return r"ADMISSIONS\.csv, lines 2, 5: the same HADM_ID with different values"


def column_missing(tables: Path) -> str:
    text = (tables / "DIAGNOSES_ICD.csv").read_text()
    (tables / "DIAGNOSES_ICD.csv").write_text(text.replace("ICD9_CODE", "CODE"))
    return r"DIAGNOSES_ICD\.csv.*ICD9_CODE"


def bad_encoding(tables: Path) -> str:
    data = (tables / "ADMISSIONS.csv").read_bytes()
    (tables / "ADMISSIONS.csv").write_bytes(data.replace(b"EMERGENCY", b"\xff\xfeMERGENCY", 1))
    return r"ADMISSIONS\.csv, line 2: not UTF-8"


def truncated_gzip(tables: Path) -> str:
    data = gzip.compress((tables / "PATIENTS.csv").read_bytes())
    (tables / "PATIENTS.csv.gz").write_bytes(data[: len(data) - 12])
    (tables / "PATIENTS.csv").unlink()
    return r"PATIENTS\.csv\.gz"


@pytest.mark.parametrize("damage", [conflicting_admission, column_missing, bad_encoding, truncated_gzip])
def test_tables_that_contradict_themselves_or_cannot_be_read_are_named(
    damage: Callable[[Path], str], ward: Path, build: Build, tmp_path: Path
) -> None:
    tables = write_tables(tmp_path / "tables", SUBJECTS)
    says = damage(tables)
    settings = {"data.waveform_dir": ward, "data.clinical_dir": tables, "build.min_segments_per_patient": 1}
    with pytest.raises(InputError, match=says) as caught:
        build(tmp_path / "out", **settings)
    assert caught.value.exit_code == ExitCode.INPUT
    assert not (tmp_path / "out" / "full_dataset.h5").exists()
    assert not list((tmp_path / "out").glob("shards/shard-*"))  # told before any recording was read


def test_a_command_that_meets_them_exits_with_3_and_one_line(ward: Path, tmp_path: Path) -> None:
    tables = write_tables(tmp_path / "tables", SUBJECTS)
    says = conflicting_admission(tables)
    done = command("build", "-o", tmp_path / "out", "--set", f"data.waveform_dir={ward}", "--set",
                   f"data.clinical_dir={tables}", "--output", "plain")  # fmt: skip
    assert done.returncode == ExitCode.INPUT
    assert "Traceback" not in done.stdout + done.stderr
    assert re.fullmatch(rf"ecgconsole: .*{says}[^\n]*\n", done.stderr)


def test_a_full_disk_ends_the_command_with_4_and_the_same_command_continues(
    ward: Path, dataset: Path, tmp_path: Path
) -> None:
    """The quota on the size of a file is the disk's: it is met while HDF5 writes, in a worker process."""
    out = tmp_path / "out"
    build = ("build", "-o", out, "--set", f"data.waveform_dir={ward}", "--set", "build.min_segments_per_patient=1",
             "--set", "build.selection=id", "--set", "build.num_workers=1", "--output", "plain")  # fmt: skip

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    done = command(*build, preexec_fn=limit)
    assert done.returncode == ExitCode.MACHINE, done.stdout + done.stderr
    assert "no space left" in done.stderr
    assert "are needed" in done.stderr
    assert not (out / "full_dataset.h5").exists()
    assert command(*build).returncode == ExitCode.DONE
    with Dataset(dataset) as undisturbed, Dataset(out / "full_dataset.h5") as resumed:
        assert resumed.content_sha256 == undisturbed.content_sha256
        assert resumed.n_segments == len(SUBJECTS) * len(ALL)


def test_shards_of_other_settings_end_the_command_with_2(ward: Path, tmp_path: Path) -> None:
    build = ("build", "-o", tmp_path, "--set", f"data.waveform_dir={ward}", "--set", "build.keep_shards=true",
             "--set", "build.num_workers=1")  # fmt: skip
    assert command(*build).returncode == ExitCode.DONE
    done = command(*build, "--set", "build.ecg_band_hz=[0.5, 30]")
    assert done.returncode == ExitCode.USAGE
    assert "--rebuild" in done.stderr
    assert "build.ecg_band_hz" in done.stderr


def test_a_lock_that_cannot_be_had_ends_the_command_with_4_and_a_hint(dataset: Path) -> None:
    with dataset.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = command("inspect", dataset)
    assert done.returncode == ExitCode.MACHINE
    assert "HDF5_USE_FILE_LOCKING=FALSE" in done.stderr


def test_a_file_that_leads_elsewhere_ends_the_command_with_3(dataset: Path, tmp_path: Path) -> None:
    copy = tmp_path / "full_dataset.h5"
    copy.write_bytes(dataset.read_bytes())
    with h5py.File(copy, "r+") as file:
        del file["signal"]
        file["signal"] = h5py.ExternalLink(str(dataset), "/signal")
    done = command("inspect", copy)
    assert done.returncode == ExitCode.INPUT
    assert "link" in done.stderr


class Bomb:
    """Pickled, it makes a file wherever it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., int], tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


@pytest.mark.parametrize("key", ["data.patient_map", "split.file", "data.clinical_dir"])
def test_a_pickle_in_place_of_an_input_runs_nothing(key: str, ward: Path, build: Build, tmp_path: Path) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "ran"))
    path = tmp_path / "input"
    if key == "data.clinical_dir":
        write_tables(path, SUBJECTS)
        (path / "PATIENTS.csv").write_bytes(bomb)
    else:
        path.write_bytes(bomb)
    with pytest.raises(InputError):
        build(tmp_path / "out", **{"data.waveform_dir": ward, key: path})
    assert not (tmp_path / "ran").exists()


def test_pickles_among_recordings_and_outputs_run_nothing(ward: Path, build: Build, tmp_path: Path) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "ran"))
    root, out = tmp_path / "waveforms", tmp_path / "out"
    bed = make_bed(root, SUBJECTS[0])
    bed.dat("2").write_bytes(bomb)
    (bed.folder / "3000021_0009.hea").write_bytes(bomb)
    (bed.folder / "RECORDS").write_bytes(bomb)
    out.mkdir()
    for name in ("full_dataset.h5", "full_dataset_metadata.parquet", "rejected.parquet", "clinical_features.csv"):
        (out / name).write_bytes(bomb)
    result, _ = build(out, **{"data.waveform_dir": root, "build.min_segments_per_patient": 1})
    assert result["segments"] == 11
    assert not (tmp_path / "ran").exists()
