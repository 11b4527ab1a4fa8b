"""Findings on what the stages before them really write: true tables, a true dataset."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from ecgconsole.clinical import link_records, patient_table
from ecgconsole.dataset import Dataset, build
from ecgconsole.findings import discover, stroke, validate
from ecgconsole.findings.features import EMBEDDING_GROUP, ENDPOINTS, FEATURES, feature_values
from ecgconsole.findings.labels import read_labels
from ecgconsole.signals.rhythm import RHYTHM_COLUMNS
from ecgconsole.stage import Reporter, Stop
from ecgconsole.synth.synthesise import synthesise
from ecgconsole.workspace import Workspace
from tests.findings.conftest import quick_config


@pytest.fixture(scope="module")
def demo_patients(real_data):
    """The 100 patients of the clinical demo, each with a recording an hour after the first admission."""
    folder = real_data / "mimic3-clinical-demo"
    admissions = pd.read_csv(folder / "ADMISSIONS.csv", parse_dates=["admittime"])
    first = admissions.sort_values("admittime").drop_duplicates("subject_id")
    ids = [f"p{s:06d}" for s in first["subject_id"]]
    records = pd.DataFrame(
        {
            "patient_id": ids,
            "subject_id": first["subject_id"].astype("Int64").to_numpy(),
            "record": [f"{i}-1" for i in ids],
            "start": (first["admittime"] + pd.Timedelta(hours=1)).to_numpy(),
            "end": (first["admittime"] + pd.Timedelta(hours=2)).to_numpy(),
        }
    )
    return patient_table(folder, records.merge(link_records(folder, records, 6.0), on="record"))


def test_every_feature_and_endpoint_has_its_column_in_what_build_writes(demo_patients):
    rhythm = {f"{c.name}_{kind}" for c in RHYTHM_COLUMNS for kind in ("median", "p90")}
    written = set(demo_patients.columns) | rhythm
    assert {name for feature in FEATURES for name in feature.columns} <= written
    assert {endpoint.label for endpoint in ENDPOINTS} <= written


def test_on_real_tables_stroke_is_not_estimable_and_says_why(demo_patients, tmp_path, events):
    workspace = Workspace(tmp_path)
    demo_patients.to_csv(workspace.clinical_features, index=False)
    result = stroke.run(quick_config(), workspace, events.reporter, events.stop)
    report = json.loads(workspace.stroke_risk.read_text())
    for name in ("concurrent_stroke", "future_stroke"):
        assert result["endpoints"][name] == "not estimable"
        assert report["endpoints"][name]["events"] < 20
        assert "20 of each needed" in report["endpoints"][name]["reason"]
    deaths = report["endpoints"]["death_within_90_days"]
    assert deaths["events"] == int(demo_patients["died_within_90_days"].sum())
    assert deaths["status"] == "estimated"
    assert [m["name"] for m in deaths["models"] if m["status"] == "estimated"] == ["age and sex", "with history"]


def test_labels_of_real_tables_are_the_outcomes_and_nothing_else(demo_patients, tmp_path):
    demo_patients.to_parquet(tmp_path / "metadata.parquet")
    labels = read_labels(tmp_path / "metadata.parquet", demo_patients["patient_id"].to_numpy(str))
    assert {"concurrent_atrial_fibrillation", "future_stroke", "died_in_hospital", "control"} <= set(labels.names)
    assert not {"in_tables", "age_90_or_over"} & set(labels.names)
    assert np.nanmax(labels.age_years) <= 90
    assert set(labels.sex) == {"F", "M"}
    values, missing = feature_values(demo_patients.set_index("patient_id"), None)
    assert values["cha2ds2_vasc_without_age_and_sex"].between(0, 6).all()
    assert EMBEDDING_GROUP in missing


@pytest.mark.slow
def test_a_built_dataset_gives_profiles_charted_rhythm_and_an_association(tmp_path, events):
    """Synthetic waveforms through build; their stored rhythm stands in for an embedding."""
    synthesise(tmp_path / "cohort", 60, 0.15, 3)
    workspace = Workspace(tmp_path / "output")
    cohort = tmp_path / "cohort"
    config = quick_config(
        data={"waveform_dir": str(cohort / "waveforms"), "clinical_dir": str(cohort / "clinical")},
        discovery={
            "rhythm_file": str(cohort / "truth" / "rhythm.csv"),
            "cluster_counts": (4,),
            "min_patients": 8,
            "min_effective_patients": 5,
            "max_patient_share": 0.5,
        },
        validation={"min_patients": 5},
    )
    build.run(config, workspace, Reporter("build", events.events.append), Stop())
    with Dataset(workspace.dataset) as dataset:
        names = ("rr_cv", "rmssd_normalised", "rr_irregular_share", "median_rr_s")
        rhythm = np.stack([dataset.column(f"rhythm/{name}") for name in names], axis=1)
        rhythm = np.nan_to_num((rhythm - np.nanmean(rhythm, axis=0)) / np.nanstd(rhythm, axis=0))
        for split in ("train", "val", "test"):
            rows = np.flatnonzero(dataset.split == split)
            path = workspace.embeddings(split)
            path.parent.mkdir(exist_ok=True)
            np.savez(
                path,
                embeddings=rhythm[rows].astype(np.float32),
                segment_index=rows,
                patient_id=dataset.patient_id[rows],
                record=dataset.column("segment/record")[rows],
                start_seconds=dataset.column("segment/start_seconds")[rows],
            )
        heart_rate = dataset.column("rhythm/heart_rate_bpm")
    discover.run(config, workspace, events.reporter, events.stop)
    report = json.loads(workspace.patterns.read_text())
    assert report["rhythm_agreement"]["test"]["share_right"] > 0.8
    table = pd.read_parquet(workspace.assignments).set_index("segment_index").assign(rate=heart_rate)
    for p in report["patterns"]:
        of_patients = table[table["pattern"] == p["id"]].groupby("patient_id", observed=True)
        assert np.isclose(p["heart_rate_bpm"], of_patients["rate"].mean().mean(), rtol=1e-5)
        assert p["profile"]["quality/ecg_noise_share"]["patients"] > 0
        assert p["poor_quality_share"] is not None
    validate.run(config, workspace, events.reporter, events.stop)
    fibrillation = [p["id"] for p in report["patterns"] if p["rhythm"]["name"] == "atrial_fibrillation"]
    tests = json.loads(workspace.validation.read_text())["tests"]
    of_af = [t for t in tests if t["pattern"] in fibrillation and t["label"] == "concurrent_atrial_fibrillation"]
    assert of_af
    assert max(t["odds_ratio"] or np.inf for t in of_af) > 3
