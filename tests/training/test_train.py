"""The training stage learns, reports, ends when it should, and depends on nothing that it should not."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from ecgconsole.errors import ConfigurationError, InputError
from ecgconsole.training.checkpoints import load
from ecgconsole.training.checkpoints_index import list_checkpoints
from ecgconsole.training.encoder import HEADS_DIM
from ecgconsole.workspace import Workspace

from .material import Recorder, assert_same_weights, small_config, trained, weights, write_dataset


def test_it_learns_and_reports(workspace):
    recorder = Recorder()
    result = trained(workspace, "training.num_epochs=12", recorder=recorder)
    epochs = [e for e in recorder.of("metric") if {"train_loss", "val_loss"} <= e["values"].keys()]
    assert [e["epoch"] for e in epochs] == list(range(1, 13))
    values = [e["values"] for e in epochs]
    assert values[-1]["train_loss"] < 0.95 * values[0]["train_loss"]
    assert min(v["val_loss"] for v in values) < values[0]["val_loss"]
    assert values[-1]["effective_rank"] > 12 / 20
    wanted = "learning_rate grad_norm loader_wait_share segments_per_second alignment uniformity embedding_deviation"
    assert all(math.isfinite(v[name]) for v in values for name in wanted.split())
    assert result["epochs"] == 12
    assert result["val_loss"] == min(v["val_loss"] for v in values)
    assert result["train_loss"] == values[-1]["train_loss"]
    assert result["segments_per_second"] > 0
    assert recorder.warnings() == []
    last = recorder.of("progress")[-1]
    assert last["done"] == last["total"]
    shas = {load(Path(e["path"])).sidecar.sha256 for e in recorder.of("checkpoint")[-5:]}
    assert shas == {e["sha256"] for e in recorder.of("checkpoint")[-5:]}


def test_best_is_the_epoch_with_the_lowest_validation_loss(workspace):
    recorder = Recorder()
    result = trained(workspace, "training.num_epochs=6", recorder=recorder)
    losses = {
        e["epoch"]: e["values"]["val_loss"] for e in recorder.of("metric") if e["epoch"] and "val_loss" in e["values"]
    }
    assert result["best_epoch"] == min(losses, key=losses.get)
    assert load(workspace.best_checkpoint).progress.epoch == result["best_epoch"]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_number_of_loader_threads_changes_nothing(workspace, undisturbed, workers):
    trained(workspace, f"training.num_workers={workers}")
    assert_same_weights(workspace.latest_checkpoint, undisturbed.latest_checkpoint)


def test_known_rhythm_of_validation_people_is_monitored(workspace):
    """A third of the patients is irregular; with two rhythms of two validation people each there is what to tell."""
    patients, segments = 24, 6
    workspace.dataset.unlink()
    write_dataset(workspace.dataset, patients=patients, segments=segments)
    rhythm = np.repeat([b"af" if i % 3 == 0 else b"sinus" for i in range(patients)], segments)
    with h5py.File(workspace.dataset, "a") as file:
        file["segment/charted_rhythm"] = rhythm
    recorder = Recorder()
    trained(workspace, recorder=recorder)
    values = [e["values"] for e in recorder.of("metric") if "val_loss" in e["values"]]
    assert all(0 <= v[name] <= 1 for v in values for name in ("knn_rhythm", "probe_rhythm"))
    assert values[-1]["probe_rhythm"] > 0.6


def test_pause_waits_between_steps_and_counts_no_time(workspace):
    recorder = Recorder()
    recorder.stop.pause()
    thread = threading.Thread(target=trained, args=(workspace,), kwargs={"recorder": recorder})
    thread.start()
    thread.join(1.5)
    assert thread.is_alive()
    assert recorder.of("metric") == []
    recorder.stop.resume()
    thread.join(60)
    assert not thread.is_alive()
    assert recorder.of("metric")[-1]["epoch"] == 3


def test_max_minutes_ends_training_as_done_with_a_checkpoint(workspace):
    result = trained(workspace, "training.num_epochs=10000", "training.max_minutes=0.02")
    assert 1 <= result["epochs"] < 10000
    saved = load(workspace.latest_checkpoint)
    assert saved.progress.ended == "time"
    assert saved.progress.seconds >= 1.2
    assert load(workspace.epoch_checkpoint(result["epochs"])).progress == saved.progress


def test_patience_ends_training(workspace):
    """Steps too small for single precision: every epoch is as good as the first."""
    result = trained(workspace, "training.num_epochs=50", "training.patience=2", "training.learning_rate=1e-30")
    assert (result["epochs"], result["best_epoch"]) == (3, 1)
    assert load(workspace.latest_checkpoint).progress.ended == "patience"


def test_without_validation_patients_the_last_epoch_is_the_best(workspace):
    workspace.dataset.unlink()
    write_dataset(workspace.dataset, **{"segment/split": np.full(144, b"train")})
    recorder = Recorder()
    result = trained(workspace, recorder=recorder)
    assert recorder.warnings() == ["no-validation"]
    assert result["best_epoch"] == 3
    assert result["val_loss"] is None


def test_without_training_patients_it_says_so(workspace):
    workspace.dataset.unlink()
    write_dataset(workspace.dataset, **{"segment/split": np.full(144, b"test")})
    with pytest.raises(InputError, match="nothing to learn from"):
        trained(workspace)


def ecg_alone(workspace: Workspace, but_for: slice = slice(0)) -> None:
    present = np.tile([True, False], (144, 1))
    present[but_for] = [False, True]
    workspace.dataset.unlink()
    write_dataset(workspace.dataset, present=present)


def test_ecg_alone_trains(workspace):
    ecg_alone(workspace)
    recorder = Recorder()
    trained(workspace, recorder=recorder)
    values = recorder.of("metric")[-1]["values"]
    assert values["loss_cross"] == 0
    assert values["retrieval"] is None


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_embedding_of_all_that_is_pooled_trains_as_its_map_does_to_the_bit(workspace, tmp_path, precision):
    """The map to ``HEADS_DIM`` only moves from the embedding to the heads: the arithmetic is the same."""
    ecg_alone(workspace)
    mapped = Workspace(tmp_path / "mapped")
    mapped.folder.mkdir()
    mapped.dataset.symlink_to(workspace.dataset)
    settings = ("training.weight_cross=0", "training.num_epochs=2", f"training.precision={precision}")
    trained(mapped, f"model.embedding_dim={HEADS_DIM}", *settings)
    trained(workspace, "model.embedding_dim=null", *settings)
    assert_same_weights(mapped.latest_checkpoint, workspace.latest_checkpoint)


def test_two_signals_whose_embeddings_share_no_space_are_refused_by_the_cross_term():
    with pytest.raises(ConfigurationError, match=r"model\.embedding_dim=null is for one signal"):
        small_config("model.embedding_dim=null")


def test_two_signals_whose_embeddings_share_no_space_are_refused_without_the_cross_term_too(workspace):
    with pytest.raises(ConfigurationError, match=r"model\.embedding_dim=null is for one signal alone, .* has two"):
        trained(workspace, "model.embedding_dim=null", "training.weight_cross=0")
    assert not workspace.latest_checkpoint.exists()


def test_a_signal_that_only_other_people_have_is_refused_before_training(workspace):
    """People 3, 7 and 11 are tested: an encoder of PPG would have learnt from nobody."""
    ecg_alone(workspace, but_for=slice(3 * 12, 3 * 12 + 2))
    with pytest.raises(ConfigurationError, match="the training split has ECG alone, which 2 of 144 segments lack"):
        trained(workspace)
    assert not workspace.latest_checkpoint.exists()


def test_every_term_can_be_on_at_once(workspace):
    recorder = Recorder()
    trained(workspace, "training.weight_decorrelation=0.5", "training.num_epochs=1", recorder=recorder)
    values = recorder.of("metric")[-1]["values"]
    terms = {name: values[f"loss_{name}"] for name in ("views", "cross", "rhythm", "beat", "decorrelation")}
    assert values["train_loss"] == pytest.approx(sum(terms.values()) - 0.5 * terms["decorrelation"], rel=1e-5)


@pytest.mark.parametrize("weight", ["weight_views", "weight_cross", "weight_rhythm", "weight_beat"])
def test_a_term_of_weight_zero_is_not_computed(workspace, weight):
    recorder = Recorder()
    trained(workspace, f"training.{weight}=0", "training.num_epochs=1", recorder=recorder)
    values = recorder.of("metric")[-1]["values"]
    assert "loss_" + weight.removeprefix("weight_") not in values
    assert math.isfinite(values["train_loss"])


def test_half_precision_trains_too(workspace):
    recorder = Recorder()
    trained(workspace, "training.precision=bf16", "training.num_epochs=6", recorder=recorder)
    losses = [e["values"]["train_loss"] for e in recorder.of("metric") if "train_loss" in e["values"]]
    assert losses[-1] < losses[0]
    assert all(w.dtype == torch.float32 for w in weights(workspace.latest_checkpoint).values())


def test_shifts_longer_than_a_segment_can_bear_are_refused(workspace):
    with pytest.raises(ConfigurationError, match=r"training\.cross_shift_seconds=2"):
        trained(workspace, "training.cross_shift_seconds=2")


def test_rotation_keeps_as_many_epochs_as_configured(workspace):
    trained(workspace, "training.num_epochs=6", "training.keep_checkpoints=2", "training.checkpoint_every=2")
    names = {c.name for c in list_checkpoints(workspace)}
    assert names - {"best_checkpoint.pth"} == {
        "latest_checkpoint.pth",
        "checkpoint_epoch_4.pth",
        "checkpoint_epoch_6.pth",
    }


def test_a_learnt_temperature_moves_and_goes_on_with_its_checkpoint(workspace):
    recorder = Recorder()
    trained(workspace, "training.learn_temperature=true", recorder=recorder)
    told = [e["values"]["temperature"] for e in recorder.of("metric") if "temperature" in e["values"]]
    assert told[0] != 0.1
    assert told[0] == pytest.approx(0.1, rel=0.05)
    assert told[-1] != told[0]
    change = weights(workspace.latest_checkpoint)["temperature_change"]
    assert told[-1] == pytest.approx(0.1 * math.exp(change), rel=1e-6)
    again = Recorder()
    trained(workspace, "training.learn_temperature=true", "training.num_epochs=4", recorder=again)
    assert again.of("metric")[-1]["values"]["temperature"] == pytest.approx(told[-1], rel=0.05)


def test_blocks_from_disk_train_too_and_too_small_ones_are_refused(workspace):
    """72 segments of 2,000 bytes, of which 40 may be in a block."""
    result = trained(workspace, "training.memory_gb=2.4e-4", "training.batch_size=8", "training.num_workers=2")
    assert 3 * 6 <= result["steps"] <= 3 * 9
    assert math.isfinite(result["train_loss"])
    with pytest.raises(
        ConfigurationError, match=r"blocks of 16 segments, which make no batch of training\.batch_size=9"
    ):
        trained(workspace, "training.memory_gb=1e-4", "training.batch_size=9", resume="none")
