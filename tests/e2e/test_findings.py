"""From embeddings to findings by command: each stage on what another folder holds, and all of them on true tables."""

from __future__ import annotations

import csv
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from ecgconsole.workspace import Workspace
from tests.e2e.conftest import SMALL
from tests.findings.conftest import plant, quick_config
from tests.findings.test_stroke import patients
from tests.findings.test_validate import write_metadata

QUICK_SECTIONS = {"discovery", "validation", "stroke"}


def test_each_stage_takes_the_files_it_is_given(commands, tmp_path):
    """discover --embeddings, validate --patterns, stroke --features, predict --model: every one in its own folder."""
    made = plant(tmp_path / "elsewhere")
    quick = tmp_path / "quick.json"
    quick.write_text(quick_config().model_dump_json(include=QUICK_SECTIONS))
    found, tested, assessed, applied = (Workspace(tmp_path / name) for name in "abcd")

    commands.events("discover", "-c", quick, "-o", found.folder, "--embeddings", *made.files)
    assigned = pd.read_parquet(found.assignments)
    assert adjusted_rand_score(made.pattern, assigned["pattern"]) > 0.95

    tested.folder.mkdir()
    write_metadata(tested)
    commands.events("validate", "-c", quick, "-o", tested.folder, "--patterns", found.patterns)
    report = json.loads(tested.validation.read_text())
    patterns = json.loads(found.patterns.read_text())["patterns"]
    assert {t["pattern"] for t in report["tests"]} <= {p["id"] for p in patterns}
    assert report["patients"] == {"training": 42, "held_out": 18}
    assert not tested.patterns.exists()

    table = patients(300)
    half = [tmp_path / "women.csv", tmp_path / "men.csv"]
    for path, sex in zip(half, "FM", strict=True):
        table[table["sex"] == sex].to_csv(path, index=False)
    events = commands.events("stroke", "-c", quick, "-o", assessed.folder, "--features", *half)
    assert json.loads(assessed.stroke_risk.read_text())["patients"] == 300
    warned = [e["message"] for e in events if e["kind"] == "warning" and e["code"] == "not-estimable"]
    assert len(warned) == 1
    assert warned[0].startswith("concurrent_stroke: not estimable")

    applied.folder.mkdir()
    table.to_csv(applied.clinical_features, index=False)
    commands.run("predict", "--model", assessed.stroke_model, "-o", applied.folder)
    keys = ["patient_id", "endpoint", "model"]
    own = pd.read_parquet(assessed.stroke_predictions).set_index(keys)["final"]
    again = pd.read_csv(applied.risk_predictions).set_index(keys)["risk"]
    assert set(own.index) <= set(again.index)
    assert np.abs(own - again.loc[own.index]).max() < 1e-6


@pytest.mark.slow
def test_on_true_tables_all_stages_end_and_few_strokes_are_not_estimable(commands, real_data, tmp_path):
    tables, cohort, out = real_data / "mimic3-clinical-demo", tmp_path / "cohort", tmp_path / "out"
    commands.run("synth", cohort, "--patients", 100, "--hours", 0.1, "--seed", 1, "--clinical", tables)
    quick = tmp_path / "quick.json"
    quick.write_text(quick_config().model_dump_json(include=QUICK_SECTIONS))
    events = commands.events(
        "run", "--no-tui", "-c", quick, "-o", out, *SMALL,
        "--set", f"data.waveform_dir={cohort / 'waveforms'}", "--set", f"data.clinical_dir={tables}",
        "--set", "training.num_epochs=2",
    )  # fmt: skip
    assert (events[-1]["status"], events[-1]["exit_code"]) == ("done", 0)
    assert {e["status"] for e in events if e["kind"] == "stage_finished"} == {"done"}
    report = json.loads((out / "stroke_risk.json").read_text())
    # Occlusive stroke, as a person would count it in the tables: admissions coded 433.x1, 434.x1 or 436.
    with (tables / "DIAGNOSES_ICD.csv").open() as file:
        coded = [row for row in csv.DictReader(file) if is_occlusive(row["icd9_code"])]
    assert len({row["subject_id"] for row in coded}) == 3
    for name in ("concurrent_stroke", "future_stroke"):
        endpoint = report["endpoints"][name]
        assert endpoint["status"] == "not estimable"
        assert f"{endpoint['events']} events" in endpoint["reason"]
        assert "20 of each needed" in endpoint["reason"]
    assert report["endpoints"]["concurrent_stroke"]["events"] <= 10
    validation = json.loads((out / "validation.json").read_text())
    assert validation["patients_without_metadata"] == 0
    assert validation["negative_control"] is None or validation["negative_control"]["at_or_below_nominal"]


def is_occlusive(code: str) -> bool:
    return code == "436" or (code[:3] in ("433", "434") and code[4:5] == "1")
