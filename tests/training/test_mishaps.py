"""What may go wrong while a training runs: it is skipped or survived, and said; a healthy run says nothing."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ecgconsole.dataset import Dataset
from ecgconsole.errors import ConfigurationError, EcgConsoleError, MachineError, Stopped
from ecgconsole.jobs.rules import Rules
from ecgconsole.text import alias
from ecgconsole.training import learner, telling, train
from ecgconsole.training.checkpoints import load
from ecgconsole.training.device import arithmetic_of
from ecgconsole.training.encoder import Model
from ecgconsole.training.loader import Loader
from ecgconsole.training.sampler import Sampler
from ecgconsole.training.segments import read_split
from ecgconsole.training.step import Arithmetic, backward
from ecgconsole.workspace import Workspace

from .material import (
    RATE_HZ,
    Recorder,
    assert_same_weights,
    small_config,
    stopping_after,
    trained,
    weights,
    write_dataset,
)


def test_segments_with_a_scale_that_is_not_finite_are_named_and_skipped(workspace):
    scale = np.full((144, 2), 1 / 2000, "<f4")
    scale[13, 0] = np.inf
    workspace.dataset.unlink()
    write_dataset(workspace.dataset, scale=scale)
    recorder = Recorder()
    result = trained(workspace, "training.num_epochs=2", recorder=recorder)
    assert result["bad_steps"] >= 1
    warning = recorder.of("warning")[0]
    assert warning["code"] == "loss-not-finite"
    with Dataset(workspace.dataset) as dataset:
        patient = str(dataset.patient_id[13])
    assert f"segments 13 ({alias(patient, workspace.salt())})" in warning["message"]
    assert patient not in str(recorder.events)
    assert math.isfinite(result["train_loss"])
    assert all(torch.isfinite(w).all() for w in weights(workspace.latest_checkpoint).values())


def test_too_many_bad_steps_in_a_row_end_training_with_the_last_checkpoint_whole(workspace, dataset_path):
    trained(workspace, "training.num_epochs=2")
    before = weights(workspace.latest_checkpoint)
    workspace.dataset.unlink()
    write_dataset(workspace.dataset, scale=np.full((144, 2), np.nan, "<f4"))
    with pytest.raises(EcgConsoleError, match="3 steps in a row without a finite loss") as raised:
        trained(workspace, "training.num_epochs=4", "training.max_bad_steps=3", resume=str(workspace.latest_checkpoint))
    assert raised.value.exit_code == 1
    assert all(torch.equal(before[name], w) for name, w in weights(workspace.latest_checkpoint).items())


def test_a_collapsed_run_raises_its_warning_once(workspace):
    recorder = Recorder()
    trained(
        workspace, "model.embedding_dim=256", "training.learning_rate=1", "training.num_epochs=6", recorder=recorder
    )
    assert recorder.warnings() == ["representation-collapse"]


def test_embeddings_that_are_one_point_are_a_collapse_whatever_their_rank(workspace, monkeypatch):
    """What a network gives whose output does not depend on its input."""
    encode = Model.encode
    monkeypatch.setattr(Model, "encode", lambda *args: 1.0 + 1e-4 * encode(*args))
    recorder = Recorder()
    trained(workspace, "training.num_epochs=2", recorder=recorder)
    assert recorder.warnings() == ["representation-collapse"]
    assert min(e["values"].get("effective_rank", 12) for e in recorder.of("metric")) > 3


def test_more_dimensions_than_validation_segments_are_no_collapse(workspace):
    """36 segments cannot fill a twentieth of 512 dimensions, however well they are spread."""
    recorder = Recorder()
    trained(workspace, "model.embedding_dim=512", recorder=recorder)
    assert recorder.warnings() == []
    assert max(e["values"].get("effective_rank", 0) for e in recorder.of("metric")) < 512 / 20


def test_a_gpu_that_is_required_and_absent_is_the_machines_fault(workspace):
    with pytest.raises(MachineError, match=r"training\.device=cuda:7"):
        trained(workspace, "training.device=cuda:7")
    with pytest.raises(ConfigurationError, match="fp16"):
        arithmetic_of("cpu", "fp16")


def test_encoding_in_pieces_gives_the_gradients_of_the_whole_batch(dataset_path):
    config = small_config()
    arithmetic = arithmetic_of("cpu", "fp32")
    with Dataset(dataset_path) as dataset:
        segments = read_split(dataset, "train", with_beats=True)
        sampler = Sampler(segments, 18, 6, 4.0, 0)
        batch = next(Loader(dataset, sampler, segments.rhythm, 0, arithmetic.device).batches(0))
    gradients = []
    for micro in (36, 7, 2):
        model = train.new_model(train.architecture_of(config), 0)
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        backward(model, batch, config.training, RATE_HZ, arithmetic, scaler, micro)
        gradients.append([p.grad for p in model.parameters()])
    for pieces in gradients[1:]:
        for whole, piece in zip(gradients[0], pieces, strict=True):
            torch.testing.assert_close(piece, whole, rtol=1e-3, atol=1e-4)


def assert_nearly_the_same_weights(a: Path, b: Path) -> None:
    """But for the order of sums."""
    one, other = weights(a), weights(b)
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=5e-3, atol=5e-4)


@pytest.fixture
def encoded(monkeypatch) -> list[int]:
    """How many views were encoded at once, each time that gradients, and so memory, were asked for."""
    sizes: list[int] = []
    original = Model.encode

    def encode(model, signal, present):
        if torch.is_grad_enabled():
            sizes.append(len(signal))
        return original(model, signal, present)

    monkeypatch.setattr(Model, "encode", encode)
    return sizes


def test_out_of_memory_halves_the_pieces_and_the_result_is_the_same(workspace, undisturbed, encoded, monkeypatch):
    counted = Model.encode

    def tight(model, signal, present):
        found = counted(model, signal, present)
        if encoded and encoded[-1] > 10:
            encoded.pop()
            for parameter in model.parameters():  # what was done of the failed attempt
                parameter.grad = torch.ones_like(parameter)
            raise torch.OutOfMemoryError
        return found

    monkeypatch.setattr(Model, "encode", tight)
    recorder = Recorder()
    assert trained(workspace, recorder=recorder)["epochs"] == 3
    assert recorder.warnings() == ["gpu-out-of-memory"] * 2
    assert set(encoded) == {9}
    assert_nearly_the_same_weights(workspace.epoch_checkpoint(1), undisturbed.epoch_checkpoint(1))


def test_a_micro_batch_is_encoded_at_once_and_the_result_is_the_same(workspace, undisturbed, encoded):
    recorder = Recorder()
    trained(workspace, "training.micro_batch_size=4", recorder=recorder)
    assert max(encoded) == 8
    assert recorder.warnings() == []
    assert_nearly_the_same_weights(workspace.epoch_checkpoint(1), undisturbed.epoch_checkpoint(1))


def test_out_of_memory_with_the_smallest_pieces_is_the_machines_fault(workspace, monkeypatch):
    def never(*args):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(learner, "backward", never)
    with pytest.raises(MachineError, match="smaller model"):
        trained(workspace)


def test_a_gpu_that_is_lost_is_the_machines_fault_and_the_same_command_continues(workspace, undisturbed, monkeypatch):
    original, steps = learner.backward, itertools.count(1)

    def lost(*args):
        if next(steps) == 6:
            raise torch.AcceleratorError("CUDA error: unspecified launch failure\nCUDA kernel errors might be ...")
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(learner, "backward", lost)
        with pytest.raises(MachineError, match=r"the GPU failed \(CUDA error: unspecified launch failure\)") as raised:
            trained(workspace)
    assert raised.value.exit_code == 4
    trained(workspace)
    assert_same_weights(workspace.latest_checkpoint, undisturbed.latest_checkpoint)


@pytest.mark.parametrize(
    ("capability", "precision"),
    [((6, 1), torch.float32), ((7, 0), torch.float16), ((7, 5), torch.float16), ((9, 0), torch.bfloat16)],
)
def test_the_precision_is_the_fastest_that_the_gpu_itself_has(monkeypatch, capability, precision):
    """GPUs of before 2020 say that they support bf16, and emulate it."""
    answers = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_device_capability": lambda device: capability,
        "is_bf16_supported": lambda including_emulation=True: including_emulation or capability >= (8, 0),
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    assert arithmetic_of("auto", "auto").precision == precision


@pytest.fixture
def fp16(monkeypatch) -> None:
    """The arithmetic of a GPU without bf16, on the processor."""
    monkeypatch.setattr(train, "arithmetic_of", lambda *_: Arithmetic(torch.device("cpu"), torch.float16))


def test_fp16_trains_with_a_scaler_that_a_checkpoint_keeps(workspace, tmp_path, fp16):
    """Stopped in between or not: the scale goes on too."""
    recorder = Recorder()
    trained(workspace, "training.num_epochs=6", recorder=recorder)
    losses = [e["values"]["train_loss"] for e in recorder.of("metric") if "val_loss" in e["values"] and e["epoch"]]
    assert losses[-1] < losses[0]
    assert recorder.warnings() == []
    saved = load(workspace.latest_checkpoint)
    assert saved.contents["scaler"]["scale"] > 1
    assert all(w.dtype == torch.float32 for w in saved.contents["model"].values())

    other = Workspace(tmp_path / "other")
    other.folder.mkdir()
    other.dataset.symlink_to(workspace.dataset.resolve())
    with pytest.raises(Stopped):
        trained(other, "training.num_epochs=6", recorder=stopping_after(9))
    trained(other, "training.num_epochs=6")
    assert_same_weights(other.latest_checkpoint, workspace.latest_checkpoint)
    assert load(other.latest_checkpoint).contents["scaler"] == saved.contents["scaler"]


def test_fp16_gradients_that_overflow_at_any_scale_are_bad_steps(workspace, fp16, monkeypatch):
    """While the scaler looks for its scale, 65,536 at first and halved each time, a skipped step is none."""
    original = learner.backward

    def overflowing(model, *args):
        terms = original(model, *args)
        next(model.parameters()).grad.fill_(math.inf)
        return terms

    monkeypatch.setattr(learner, "backward", overflowing)
    recorder = Recorder()
    with pytest.raises(EcgConsoleError, match="3 steps in a row without a finite loss") as raised:
        trained(workspace, "training.num_epochs=10", "training.max_bad_steps=3", recorder=recorder)
    assert "at step 19" in str(raised.value)
    assert recorder.warnings() == ["loss-not-finite"] * 3


def rules_told(recorder: Recorder) -> list[str]:
    """What the runner's rules say of a training's events."""
    rules = Rules(silence_seconds=600, expects_gpu=False, now=0.0)
    return [finding.code for n, event in enumerate(recorder.events) for finding in rules.on_event(event, float(n))]


def test_a_healthy_training_raises_no_warning_of_any_rule(workspace, monkeypatch):
    monkeypatch.setattr(telling, "STEP_METRIC_SECONDS", 0.0)
    recorder = Recorder()
    trained(workspace, "training.num_epochs=14", recorder=recorder)
    assert len([e for e in recorder.of("metric") if "loader_wait_seconds" in e["values"]]) == 56
    assert recorder.warnings() == rules_told(recorder) == []


def test_a_training_that_no_longer_learns_raises_plateau(workspace):
    recorder = Recorder()
    trained(workspace, "training.learning_rate=1e-30", "training.num_epochs=12", recorder=recorder)
    assert rules_told(recorder) == ["plateau"]


def test_a_loader_that_is_too_slow_raises_loader_starved(workspace, monkeypatch):
    original = Loader._prepare

    def slow(*args):
        time.sleep(0.2)
        return original(*args)

    monkeypatch.setattr(Loader, "_prepare", slow)
    recorder = Recorder()
    trained(workspace, "training.num_epochs=1", recorder=recorder)
    assert rules_told(recorder) == ["loader-starved"]


def test_one_batch_of_absurd_targets_raises_loss_spike(workspace, monkeypatch):
    monkeypatch.setattr(telling, "STEP_METRIC_SECONDS", 0.0)
    original, batches = Loader._prepare, itertools.count()

    def absurd(loader, *args):
        batch = original(loader, *args)
        spoilt = loader._stream == 0 and next(batches) == 60
        return dataclasses.replace(batch, rhythm=1000 * batch.rhythm) if spoilt else batch

    monkeypatch.setattr(Loader, "_prepare", absurd)
    recorder = Recorder()
    trained(workspace, "training.num_epochs=16", recorder=recorder)
    assert rules_told(recorder) == ["loss-spike"]
