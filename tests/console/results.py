"""An output folder with a real dataset, and with findings about it as the stages write them."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgconsole.config import resolve
from ecgconsole.dataset import Dataset
from ecgconsole.dataset.build import run
from ecgconsole.dataset.workers import LocalWorkers
from ecgconsole.stage import Reporter, Stop
from ecgconsole.synth import synthesise
from ecgconsole.workspace import Workspace, write_json

SALT = b"the salt of tests"


def build_folder(cohort: Path, output: Path) -> Workspace:
    """Eight people of 0.1 h through the real build."""
    synthesise(cohort, patients=8, hours=0.1, seed=5, workers=1)
    settings = [f"data.waveform_dir={cohort / 'waveforms'}", f"data.clinical_dir={cohort / 'clinical'}",
                "build.num_workers=1", "build.min_segments_per_patient=3"]  # fmt: skip
    workspace = Workspace(output)
    with LocalWorkers(1) as workers, pytest.MonkeyPatch.context() as patch:
        patch.setattr("ecgconsole.dataset.build.start_workers", lambda *_: nullcontext(workers))
        config = resolve(overrides=settings, environment={}).config
        run(config, workspace, Reporter("build", lambda event: None), Stop())
    (output / ".alias_salt").write_bytes(SALT)
    return workspace


def add_embeddings(workspace: Workspace) -> None:
    """16 numbers a segment; what distinguishes segments most is whose they are."""
    with Dataset(workspace.dataset) as dataset:
        patient, split = dataset.patient_id, dataset.split
        record, start = dataset.column("segment/record"), dataset.column("segment/start_seconds")
    rng = np.random.default_rng(0)
    of = np.unique(patient, return_inverse=True)[1]
    vectors = rng.normal(0, 0.1, (len(patient), 16))
    vectors[:, 3] += 3.0 * of
    vectors[:, 7] += of % 2
    for name in ("train", "val", "test"):
        rows = np.flatnonzero(split == name)
        workspace.embeddings(name).parent.mkdir(exist_ok=True)
        np.savez(
            workspace.embeddings(name),
            embeddings=vectors[rows].astype(np.float32),
            segment_index=rows.astype(np.int64),
            patient_id=patient[rows],
            record=record[rows],
            start_seconds=start[rows],
        )
    assignments = {"segment_index": np.arange(len(patient)), "patient_id": patient, "split": split, "pattern": of % 3}
    pd.DataFrame(assignments).to_parquet(workspace.assignments)


def add_patterns(workspace: Workspace) -> None:
    classes = ("pattern", "patient-specific", "artefact")
    patterns = [
        {"id": k, "class": classes[k], "segments": 100 - 10 * k, "patients": 5 - k, "effective_patients": 4.25,
         "largest_share": 0.11, "heart_rate_bpm": 81.4 + k, "rr_cv": 0.044, "jaccard": 0.71,
         "rhythm": {"name": "atrial_fibrillation", "share": 0.82} if k == 0 else None,
         "medoids": [3 + k, 40 + k, 80 + k], "typical": [7]}
        for k in range(3)
    ]  # fmt: skip
    write_json(workspace.patterns, {"format_version": 1, "patterns": patterns})


def a_test(pattern: int, label: str, q: float, discovery: bool, replicated: bool | None) -> dict:
    return {"pattern": pattern, "label": label, "table": [12, 30, 5, 120], "odds_ratio": 9.6, "ci_low": 2.9,
            "ci_high": None, "p": q / 3, "q": q, "adjusted_odds_ratio": 8.125, "adjusted_ci_low": 2.2,
            "adjusted_ci_high": 30.0, "p_permutation": 0.001, "p_max_t": 0.004, "discovery": discovery,
            "fixed_segments": {"odds_ratio": 7.7, "lower_quartile": 6.0, "upper_quartile": 9.0, "median_p": 0.003},
            "replicated": replicated,
            "replication": {"patients": 60, "exposed": 9, "p": 0.03} if replicated is not None else None}  # fmt: skip


def add_validation(workspace: Workspace) -> None:
    tests = [a_test(1, "history_heart_failure", 0.4, False, None), a_test(0, "ever_stroke", 0.0123, True, True),
             a_test(0, "ever_diabetes", 0.02, True, None)]  # fmt: skip
    control = {"permutations": 200, "nominal": 0.05, "runs_with_discoveries": 7, "rate": 0.035, "ci_low": 0.014,
               "ci_high": 0.071, "at_or_below_nominal": True}  # fmt: skip
    write_json(workspace.validation, {"format_version": 1, "tests": tests, "negative_control": control})


def add_stroke(workspace: Workspace) -> None:
    models = [
        {"name": "age and sex", "status": "estimated", "auroc": 0.61, "ci": [0.52, 0.7], "calibration_slope": 0.97,
         "brier": 0.081},
        {"name": "with history", "status": "estimated", "auroc": 0.7, "ci": [0.62, 0.78], "calibration_slope": 0.88,
         "brier": 0.079},
    ]  # fmt: skip
    gain = {"from": "age and sex", "to": "with history", "auroc": 0.09, "auroc_ci": [0.02, 0.16], "verdict": "gain"}
    endpoints = {
        "concurrent_stroke": {"status": "estimated", "reason": None, "meaning": "a stroke coded in the recorded stay",
                              "events": 44, "patients": 510, "unknown": 3, "models": models, "differences": [gain]},
        "future_stroke": {"status": "not estimable", "reason": "1 events and 26 without; 20 of each needed",
                          "meaning": "a later stroke", "events": 1, "patients": 27, "unknown": 0, "models": []},
    }  # fmt: skip
    write_json(
        workspace.stroke_risk, {"format_version": 1, "endpoints": endpoints, "limits": ["Not a medical device."]}
    )


def ids_of(workspace: Workspace) -> list[str]:
    """True patient ids and the last parts of record names: what no screen may show."""
    with Dataset(workspace.dataset) as dataset:
        records = [r.rsplit("/", 1)[-1] for r in np.unique(dataset.column("segment/record")).tolist()]
        return [*dataset.patients["id"].tolist(), *records]


def as_json(path: Path) -> dict:
    return json.loads(path.read_text())
