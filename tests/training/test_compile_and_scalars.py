"""Options of how a training runs: torch.compile with its fallback, event files for TensorBoard."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from ecgconsole.errors import ConfigurationError
from ecgconsole.training import scalars, train
from ecgconsole.training.checkpoints import load
from ecgconsole.training.encoder import SignalEncoder
from ecgconsole.workspace import Workspace

from .material import Recorder, small_config, write_dataset


def trained(workspace: Workspace, *overrides: str) -> Recorder:
    recorder = Recorder()
    train.run(small_config("training.num_epochs=2", *overrides), workspace, recorder.reporter, recorder.stop)
    return recorder


def weights(workspace: Workspace) -> dict[str, torch.Tensor]:
    return load(workspace.latest_checkpoint).contents["model"]


def test_where_compiling_fails_training_goes_on_without_it_and_says_so(workspace, tmp_path, monkeypatch):
    def broken(self, *args, **kwargs):
        raise RuntimeError("no compiler here")

    plain = Workspace(tmp_path / "plain")
    plain.folder.mkdir()
    plain.dataset.symlink_to(workspace.dataset.resolve())
    trained(plain)
    monkeypatch.setattr(SignalEncoder, "compile", broken)
    recorder = trained(workspace, "training.compile=on")
    assert recorder.warnings() == ["compile-failed"]
    assert "no compiler here" in recorder.of("warning")[0]["message"]
    assert all(torch.equal(w, weights(plain)[name]) for name, w in weights(workspace).items())


@pytest.mark.slow
def test_compiled_encoders_train_as_plain_ones_and_their_checkpoints_are_the_same(tmp_path, monkeypatch):
    """Of the smallest network and one shape of batch: what takes time is the compiler, once for each."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    plain, compiled = Workspace(tmp_path / "plain"), Workspace(tmp_path / "fast")
    small = ("model.hidden_dims=[4]", "model.embedding_dim=4", "model.projection_dim=4", "training.batch_size=72")
    for workspace in (plain, compiled):
        workspace.folder.mkdir()
        every = {"present": np.ones((144, 2), bool), "segment/split": np.full(144, b"train")}
        write_dataset(workspace.dataset, **every)
    trained(plain, *small)
    before = counters["stats"]["unique_graphs"]
    recorder = trained(compiled, *small, "training.compile=on")
    assert recorder.warnings() == ["no-validation"]
    assert counters["stats"]["unique_graphs"] - before == 2  # one an encoder, none of them twice
    assert weights(compiled).keys() == weights(plain).keys()
    for name, weight in weights(plain).items():
        torch.testing.assert_close(weights(compiled)[name], weight, rtol=5e-3, atol=5e-4)


def test_event_files_hold_the_metrics_and_a_resumed_run_writes_no_step_twice(workspace):
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recorder = trained(workspace, "training.tensorboard=true")
    again = Recorder()
    train.run(small_config("training.num_epochs=3", "training.tensorboard=true"), workspace, again.reporter, again.stop)
    events = EventAccumulator(str(workspace.tensorboard))
    events.Reload()
    told = {
        e["step"]: e["values"]["val_loss"]
        for e in [*recorder.of("metric"), *again.of("metric")]
        if "val_loss" in e["values"]
    }
    written = {e.step: e.value for e in events.Scalars("val_loss")}
    assert list(written) == [0, 4, 8, 12]
    assert written == pytest.approx(told, rel=1e-6)


def test_event_files_without_the_extra_say_what_to_install(workspace, monkeypatch):
    monkeypatch.setattr(scalars.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"ecgconsole\[tensorboard\]"):
        trained(workspace, "training.tensorboard=true")
