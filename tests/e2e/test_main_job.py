"""The main job: from recordings to embeddings in one command."""

from __future__ import annotations

import csv
import json
import math
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from ecgconsole.config import preset_path
from ecgconsole.dataset import Dataset
from ecgconsole.stage import STAGE_NAMES
from ecgconsole.training.checkpoints import load
from ecgconsole.training.device import arithmetic_of
from ecgconsole.training.embed import embed_signals, model_of
from ecgconsole.training.monitors import effective_rank, retrieval
from ecgconsole.training.train import new_model
from ecgconsole.workspace import Workspace
from tests.e2e.conftest import SMALL


def values(events, name):
    return [e["values"][name] for e in events if e["kind"] == "metric" and e["values"].get(name) is not None]


def retrieval_of_test_windows(model, dataset: Dataset) -> float:
    """Of each test window's PPG by its ECG, among all test windows, from the embeddings themselves."""
    rows = np.flatnonzero((dataset.split == "test") & dataset.present.all(axis=1))
    vectors = torch.from_numpy(
        embed_signals(model, dataset.physical(rows), np.ones(2, bool), arithmetic_of("cpu", "fp32"))
    )
    return retrieval(vectors[:, 0], vectors[:, 1])


@pytest.mark.slow
def test_thirty_people_end_to_end(commands, real_data, tmp_path):
    manifest = list(csv.DictReader((real_data / "bidmc-matched" / "MANIFEST.csv").open()))
    people = {row["subject"]: row["mimic2_id"] for row in manifest}
    (tmp_path / "people.csv").write_text(
        "record,patient\n" + "".join(f"{row['record']},{row['mimic2_id']}\n" for row in manifest)
    )
    out = tmp_path / "out"
    events = commands.events(
        "run", "--no-tui", "-c", preset_path("demo"), "-o", out,
        "--set", f"data.waveform_dir={real_data / 'bidmc-matched'}",
        "--set", f"data.patient_map={tmp_path / 'people.csv'}",
    )  # fmt: skip
    finished = {e["stage"]: e for e in events if e["kind"] == "stage_finished"}
    assert finished["build"]["result"]["segments"] >= 1000
    assert finished["build"]["result"]["patients"] == len(set(people.values())) == 30

    train_loss, val_loss = values(events, "train_loss"), values(events, "val_loss")
    assert all(map(math.isfinite, train_loss + val_loss))
    assert train_loss[-1] < train_loss[0]
    assert min(val_loss) < val_loss[0]

    workspace = Workspace(out)
    seen: dict[str, set[str]] = {}
    embeddings = []
    for split in ("train", "val", "test"):
        with np.load(workspace.embeddings(split), allow_pickle=False) as file:
            seen[split] = set(file["patient_id"].tolist())
            embeddings.append(file["embeddings"])
    assert seen["train"] | seen["val"] | seen["test"] == set(people.values())
    assert sum(map(len, seen.values())) == len(set(people.values()))
    joined = np.concatenate(embeddings)
    dim = json.loads(workspace.config.read_text())["model"]["embedding_dim"]
    assert joined.shape == (finished["embed"]["result"]["segments"], dim)
    assert np.isfinite(joined).all()
    assert effective_rank(torch.from_numpy(joined)) >= dim / 20

    saved = load(workspace.best_checkpoint)
    with Dataset(workspace.dataset) as dataset:
        trained = retrieval_of_test_windows(model_of(saved).eval(), dataset)
        untrained = retrieval_of_test_windows(new_model(saved.contents["architecture"], 0).eval(), dataset)
    sys.stdout.write(f"retrieval of test PPG by ECG: trained {trained:.3f}, untrained {untrained:.3f}\n")
    assert trained > untrained

    again = commands.events(
        "run", "--no-tui", "-c", preset_path("demo"), "-o", out,
        "--set", f"data.waveform_dir={real_data / 'bidmc-matched'}",
        "--set", f"data.patient_map={tmp_path / 'people.csv'}",
    )  # fmt: skip
    assert {e["stage"] for e in again if e["kind"] == "stage_skipped"} == set(STAGE_NAMES)
    commands.run("inspect", workspace.dataset, "--verify")


def test_a_synthetic_cohort_end_to_end_and_its_file_in_plain_h5py(commands, cohort, tmp_path):
    out = tmp_path / "out"
    events = commands.events(
        "run", "--no-tui", "-o", out, *SMALL,
        "--set", f"data.waveform_dir={cohort / 'waveforms'}", "--set", f"data.clinical_dir={cohort / 'clinical'}",
        "--set", "training.num_epochs=2",
    )  # fmt: skip
    assert events[-1]["kind"] == "run_finished"
    assert (events[-1]["status"], events[-1]["exit_code"]) == ("done", 0)
    with h5py.File(out / "full_dataset.h5") as file:
        n, channels, samples = file["signal"].shape
        assert (channels, samples) == (2, 1250)
        assert file["signal"].dtype == np.int16
        assert file["scale"].shape == file["present"].shape == (n, 2)
        for name in ("patient_id", "record", "start_sample", "start_seconds", "charttime", "hadm_id", "split"):
            assert len(file[f"segment/{name}"]) == n
        for name in ("heart_rate_bpm", "rr_cv", "rmssd_ms"):
            assert file[f"rhythm/{name}"].dtype == np.float32
        assert len(file.attrs["content_sha256"]) == 64
        assert np.isfinite(file["signal"][:] * file["scale"][:][:, :, None]).all()
    metadata = pd.read_parquet(out / "full_dataset_metadata.parquet")
    assert len(metadata) == next(e for e in events if e["kind"] == "stage_finished")["result"]["patients"]
    for split in ("train", "val", "test"):
        assert (out / "embeddings" / f"{split}_embeddings.npz").is_file()
    status = json.loads(commands.run("status", "-o", out, "--json").stdout)
    assert status["status"] == "done"


@pytest.mark.slow
def test_waveforms_inside_true_stays_link_to_their_admissions(commands, real_data, tmp_path):
    tables = real_data / "mimic3-clinical-demo"
    commands.run("synth", tmp_path / "cohort", "--patients", 100, "--hours", 0.05, "--seed", 1, "--clinical", tables)
    out = tmp_path / "out"
    commands.events(
        "build", "-o", out, "--set", f"data.waveform_dir={tmp_path / 'cohort' / 'waveforms'}",
        "--set", f"data.clinical_dir={tables}", "--set", "build.min_segments_per_patient=1",
        "--set", "data.require=either",
    )  # fmt: skip
    metadata = pd.read_parquet(out / "full_dataset_metadata.parquet")
    assert len(metadata) == 100

    truth = slow_admissions(tables)
    with h5py.File(out / "full_dataset.h5") as file:
        records = np.char.decode(file["segment/record"][:].astype("S"))
        hadm = file["segment/hadm_id"][:]
    starts = {}
    for record in np.unique(records):
        header = (tmp_path / "cohort" / "waveforms" / f"{record}.hea").read_text().splitlines()[0].split()
        starts[record] = pd.to_datetime(f"{header[5]} {header[4]}", dayfirst=True)
    for record, admission in zip(records, hadm, strict=True):
        subject = int(record.split("/")[1][1:])
        inside = [h for h, (s, a, d) in truth.items() if s == subject and a <= starts[record] <= d]
        assert admission in inside
    codes = list(csv.DictReader((tables / "DIAGNOSES_ICD.csv").open()))
    assert len({row["subject_id"] for row in codes if row["icd9_code"] == "42731"}) == 34
    assert metadata["ever_atrial_fibrillation"].sum() == 34


def slow_admissions(tables):
    rows = csv.DictReader((tables / "ADMISSIONS.csv").open())
    return {
        int(r["hadm_id"]): (int(r["subject_id"]), pd.Timestamp(r["admittime"]), pd.Timestamp(r["dischtime"]))
        for r in rows
    }
