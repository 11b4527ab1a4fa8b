"""An output folder with a result of every stage: a synthetic cohort whose stored rhythm stands in for an embedding."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ecgconsole.config import Config
from ecgconsole.dataset import Dataset, build
from ecgconsole.findings import discover, stroke, validate
from ecgconsole.findings.report import page
from ecgconsole.stage import Reporter, Stop
from ecgconsole.synth.synthesise import synthesise
from ecgconsole.workspace import Workspace, write_json
from tests.findings.conftest import quick_config

PATIENTS = 80


def report_config(cohort: Path, clinical: Path | None = None, **report: object) -> Config:
    return quick_config(
        data={"waveform_dir": str(cohort / "waveforms"), "clinical_dir": str(clinical or cohort / "clinical")},
        build={"min_segments_per_patient": 3, "num_workers": 2},
        discovery={"cluster_counts": (6,), "min_patients": 10, "min_effective_patients": 5, "max_patient_share": 0.5},
        validation={"min_patients": 5},
        stroke={"min_events": 5},
        report={"map_points": 120, **report},
    )


def make_folder(folder: Path, patients: int = PATIENTS, clinical: Path | None = None) -> Workspace:
    """Every stage before the report; ``clinical``: true tables whose patients get the waveforms."""
    cohort, workspace = folder / "cohort", Workspace(folder / "output")
    synthesise(cohort, patients, 0.1, 5, clinical)
    config, quiet = report_config(cohort, clinical), Reporter("test", lambda event: None)
    build.run(config, workspace, quiet, Stop())
    _write_embeddings(workspace)
    _write_training(workspace)
    for stage in (discover, validate, stroke):
        stage.run(config, workspace, quiet, Stop())
    return workspace


def write_report(workspace: Workspace, clinical: Path | None = None, **report: object) -> str:
    config = report_config(workspace.folder.parent / "cohort", clinical, **report)
    page.run(config, workspace, Reporter("report", lambda event: None), Stop())
    return workspace.report.read_text(encoding="utf-8")


def _write_embeddings(workspace: Workspace) -> None:
    with Dataset(workspace.dataset) as dataset:
        names = ("rr_cv", "rmssd_normalised", "rr_irregular_share", "median_rr_s")
        x = np.stack([dataset.column(f"rhythm/{name}") for name in names], axis=1)
        x = np.nan_to_num((x - np.nanmean(x, axis=0)) / np.nanstd(x, axis=0)).astype(np.float32)
        for split in ("train", "val", "test"):
            rows = np.flatnonzero(dataset.split == split)
            path = workspace.embeddings(split)
            path.parent.mkdir(exist_ok=True)
            np.savez(
                path,
                embeddings=x[rows],
                segment_index=rows,
                patient_id=dataset.patient_id[rows],
                record=dataset.column("segment/record")[rows],
                start_seconds=dataset.column("segment/start_seconds")[rows],
            )


def _write_training(workspace: Workspace) -> None:
    """Events and a sidecar as a training of two epochs leaves them."""
    events = [
        {"step": 0, "epoch": 0, "values": {"val_loss": 9.0, "effective_rank": 40.0, "same_patient_share": 0.9}},
        *({"step": s, "epoch": 1, "values": {"train_loss": 9 - s / 10, "learning_rate": 1e-3}} for s in range(1, 20)),
        {"step": 20, "epoch": 2, "values": {"val_loss": 7.0, "effective_rank": 12.0, "same_patient_share": 0.7}},
    ]
    write_events(workspace, [{"kind": "metric", "stage": "train", **e} for e in events])
    write_json(
        workspace.best_checkpoint.with_suffix(".json"),
        {
            "sha256": "ab" * 32,
            "size_bytes": 1,
            "epoch": 2,
            "step": 20,
            "step_in_epoch": 0,
            "val_loss": 7.0,
            "metrics": {"train_loss": 7.1, "val_loss": 7.0, "segments_per_second": 300.0},
            "parameters": {
                "model": {"embedding_dim": 4, "hidden_dims": [8, 16], "projection_dim": 4},
                "training": {"batch_size": 64, "temperature": 0.1, "weight_views": 1.0, "weight_decay": 0.01},
            },
            "configuration_sha256": "cd" * 32,
            "dataset_sha256": "ef" * 32,
            "version": "0.1.0",
            "resumed_from": None,
            "pinned": False,
        },
    )


def write_events(workspace: Workspace, events: list[dict[str, object]], torn: str = "") -> None:
    """A run of its own."""
    run = workspace.new_run()
    lines = [json.dumps({"seq": i, "time": "2026-01-01T00:00:00Z", **e}) for i, e in enumerate(events)]
    run.events.write_text("\n".join([*lines, torn]))
