"""The demo's training on real ECG and PPG of 30 people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ecgconsole.config import resolve
from ecgconsole.dataset import Dataset, build
from ecgconsole.training import embed, export, monitors, train
from ecgconsole.training.checkpoints import load
from ecgconsole.training.device import arithmetic_of
from ecgconsole.training.encoder import Model
from ecgconsole.workspace import Workspace

from .material import Recorder

DEMO = Path(__file__).resolve().parents[2] / "configs" / "demo.json"


def retrieval_on_test(model: Model, dataset: Dataset) -> float:
    """Of each test window's PPG by its ECG, among all test windows."""
    rows = np.flatnonzero((dataset.split == "test") & dataset.present.all(1))
    vectors = torch.from_numpy(
        embed.embed_signals(model, dataset.physical(rows), np.ones(2, bool), arithmetic_of("cpu", "fp32"))
    )
    return monitors.retrieval(vectors[:, 0], vectors[:, 1])


@pytest.mark.slow
def test_training_on_real_recordings_learns_without_collapse(real_data, tmp_path):
    overrides = [f"data.waveform_dir={real_data / 'bidmc-matched'}", "build.num_workers=1"]
    overrides += ["training.max_minutes=null", "training.num_epochs=6"]
    config = resolve(DEMO, overrides, {}).config
    workspace = Workspace(tmp_path)
    recorder = Recorder()
    build.run(config, workspace, recorder.reporter, recorder.stop)
    result = train.run(config, workspace, recorder.reporter, recorder.stop)
    embed.run(config, workspace, recorder.reporter, recorder.stop)

    epochs = [e["values"] for e in recorder.of("metric") if {"train_loss", "val_loss"} <= e["values"].keys()]
    assert len(epochs) == 6
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"]
    assert result["val_loss"] < epochs[0]["val_loss"]
    assert "representation-collapse" not in recorder.warnings()
    with np.load(workspace.test_embeddings) as file:
        assert np.isfinite(file["embeddings"]).all()
        assert monitors.effective_rank(torch.from_numpy(file["embeddings"])) >= config.model.embedding_dim / 20
    saved = load(workspace.best_checkpoint)
    untrained = train.new_model(saved.contents["architecture"], seed=1)
    with Dataset(workspace.dataset) as dataset:
        assert retrieval_on_test(embed.model_of(saved), dataset) > 2 * retrieval_on_test(untrained, dataset)
        exported = export.export(embed.model_of(saved), saved, dataset, workspace.exported_encoder)
        assert exported.checked_segments == 256
        assert exported.largest_difference <= export.TOLERANCE
        rows = np.flatnonzero(dataset.split == "test")
        with np.load(workspace.test_embeddings) as file:
            again = embed.Encoder.load(exported.path)(dataset.physical(rows))
            np.testing.assert_allclose(again, file["embeddings"], rtol=0, atol=1e-4)
