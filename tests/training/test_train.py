"""The training stage: it learns, resumes to the bit, refuses what does not belong, and says what goes wrong."""

from __future__ import annotations

import itertools
import math
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from ecgconsole.dataset import Dataset
from ecgconsole.errors import ConfigurationError, EcgConsoleError, InputError, MachineError, Stopped
from ecgconsole.text import alias
from ecgconsole.training import train
from ecgconsole.training.checkpoints import load
from ecgconsole.training.checkpoints_index import list_checkpoints, set_aside
from ecgconsole.training.device import arithmetic_of
from ecgconsole.training.loader import Loader
from ecgconsole.training.sampler import Sampler
from ecgconsole.training.segments import read_split
from ecgconsole.training.step import backward
from ecgconsole.workspace import Workspace

from .material import RATE_HZ, Recorder, small_config, write_dataset


def trained(workspace: Workspace, *overrides: str, resume: str = "auto", recorder: Recorder | None = None) -> dict:
    recorder = recorder or Recorder()
    return train.run(small_config(*overrides), workspace, recorder.reporter, recorder.stop, resume=resume)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load(path).contents["model"]


def assert_same_weights(a: Path, b: Path) -> None:
    one, other = weights(a), weights(b)
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def _copy_checkpoints(source: Workspace, target: Workspace) -> None:
    for path in (*source.folder.glob("*.pth"), *source.folder.glob("*.json")):
        shutil.copy(path, target.folder)


def stopping_after(step: int) -> Recorder:
    """A recorder whose training stops before the step after ``step``."""
    recorder = Recorder()
    count = itertools.count(1)
    original = recorder.stop.wait_while_paused

    def at_boundary(seconds: float | None = None) -> None:
        if next(count) > step:
            recorder.stop.request()
        original(seconds)

    recorder.stop.wait_while_paused = at_boundary
    return recorder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, dataset_path: Path) -> Workspace:
    """Three epochs of four steps, never interrupted."""
    workspace = Workspace(tmp_path_factory.mktemp("undisturbed"))
    workspace.dataset.symlink_to(dataset_path)
    trained(workspace)
    return workspace


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


@pytest.mark.parametrize("boundary", range(1, 21, 3))
def test_stop_and_resume_give_the_same_weights_wherever_it_stops(workspace, undisturbed, boundary):
    """Boundaries lie before each step and each validation batch, so some stops fall into a validation."""
    with pytest.raises(Stopped, match=r"latest_checkpoint\.pth"):
        trained(workspace, recorder=stopping_after(boundary))
    trained(workspace)
    assert_same_weights(workspace.latest_checkpoint, undisturbed.latest_checkpoint)
    assert_same_weights(workspace.best_checkpoint, undisturbed.best_checkpoint)
    one, other = load(workspace.latest_checkpoint), load(undisturbed.latest_checkpoint)
    assert one.progress.best_val_loss == other.progress.best_val_loss
    assert one.progress.train_loss == other.progress.train_loss
    torch.testing.assert_close(one.contents["optimizer"], other.contents["optimizer"], rtol=0, atol=0)


def test_stopping_at_every_single_step_gives_the_same_weights(workspace, undisturbed):
    for _ in range(100):
        try:
            trained(workspace, recorder=stopping_after(2))
            break
        except Stopped:
            continue
    assert_same_weights(workspace.latest_checkpoint, undisturbed.latest_checkpoint)


def test_stop_and_resume_at_an_epochs_end_give_the_same_weights(workspace, undisturbed):
    def stop_after_epoch_1(event):
        if event["kind"] == "checkpoint" and event["epoch"] == 1:
            recorder.stop.request()

    recorder = Recorder(stop_after_epoch_1)
    with pytest.raises(Stopped):
        trained(workspace, recorder=recorder)
    assert load(workspace.latest_checkpoint).progress.step_in_epoch == 0
    trained(workspace)
    assert_same_weights(workspace.latest_checkpoint, undisturbed.latest_checkpoint)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_number_of_loader_threads_changes_nothing(workspace, undisturbed, workers):
    trained(workspace, f"training.num_workers={workers}")
    assert_same_weights(workspace.latest_checkpoint, undisturbed.latest_checkpoint)


KILLED = """
import sys
from pathlib import Path
from ecgconsole.stage import Reporter, Stop
from ecgconsole.training import train
from ecgconsole.workspace import Workspace
from tests.training.material import small_config
emit = lambda event: print(event["kind"], flush=True)
train.run(small_config(), Workspace(sys.argv[1]), Reporter("train", emit), Stop())
"""


def _run_until_killed(folder: Path, seconds: float) -> None:
    """``seconds`` count from its first event; a run that ends before is one that was not killed."""
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline()
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    assert process.returncode in (0, -signal.SIGKILL)


def _killed_and_resumed(workspace: Workspace, undisturbed: Workspace, moments_s: list[float]) -> None:
    for moment_s in moments_s:
        _run_until_killed(workspace.folder, moment_s)
    trained(workspace)
    assert_same_weights(workspace.latest_checkpoint, undisturbed.latest_checkpoint)
    assert_same_weights(workspace.best_checkpoint, undisturbed.best_checkpoint)
    for epoch in (1, 2, 3):
        assert_same_weights(workspace.epoch_checkpoint(epoch), undisturbed.epoch_checkpoint(epoch))


def test_kill_9_and_the_same_command_give_the_same_weights(workspace, undisturbed):
    _killed_and_resumed(workspace, undisturbed, [0.3])


@pytest.mark.slow
def test_kill_9_at_ten_random_moments_gives_the_same_weights(workspace, undisturbed):
    for moment_s in np.random.default_rng().uniform(0, 0.6, 10):
        _killed_and_resumed(workspace, undisturbed, [moment_s])
        set_aside(workspace)


def test_a_kill_between_the_names_of_an_epochs_end_is_made_good(workspace, undisturbed):
    """Best and latest are written, the epoch's own file not yet."""
    _copy_checkpoints(undisturbed, workspace)
    for suffix in (".pth", ".json"):
        workspace.epoch_checkpoint(3).with_suffix(suffix).unlink()
    trained(workspace)
    assert_same_weights(workspace.epoch_checkpoint(3), undisturbed.latest_checkpoint)


def test_going_on_from_a_damaged_latest_falls_back_and_ends_the_same(workspace, undisturbed):
    _copy_checkpoints(undisturbed, workspace)
    for path in (workspace.latest_checkpoint, workspace.epoch_checkpoint(3)):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    recorder = Recorder()
    trained(workspace, recorder=recorder)
    assert set(recorder.warnings()) == {"checkpoint-damaged"}
    assert_same_weights(workspace.latest_checkpoint, undisturbed.latest_checkpoint)


def test_all_checkpoints_damaged_starts_again_and_says_so(workspace, undisturbed):
    _copy_checkpoints(undisturbed, workspace)
    for path in workspace.folder.glob("*.pth"):
        path.write_bytes(path.read_bytes()[:1000])
    recorder = Recorder()
    trained(workspace, recorder=recorder)
    assert recorder.warnings()[-1] == "training-starts-again"
    assert_same_weights(workspace.latest_checkpoint, undisturbed.latest_checkpoint)


def test_a_finished_training_is_not_trained_again(workspace):
    first = trained(workspace)
    recorder = Recorder()
    second = trained(workspace, recorder=recorder)
    assert recorder.of("metric") == []
    assert {**second, "segments_per_second": 0} == {**first, "segments_per_second": 0}


def test_more_epochs_go_on_from_where_it_ended(workspace):
    trained(workspace)
    recorder = Recorder()
    assert trained(workspace, "training.num_epochs=5", recorder=recorder)["epochs"] == 5
    assert {e["epoch"] for e in recorder.of("metric")} == {4, 5}
    assert load(workspace.latest_checkpoint).progress.resumed_from == "latest_checkpoint.pth"


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("model.embedding_dim=10", "model.embedding_dim: 12 in the checkpoint, 10 now"),
        ("model.hidden_dims=[8,8,8]", "model.hidden_dims"),
        ("training.temperature=0.2", "training.temperature: 0.1 in the checkpoint, 0.2 now"),
    ],
)
def test_a_checkpoint_of_other_parameters_is_refused_by_name(workspace, override, named):
    trained(workspace)
    with pytest.raises(ConfigurationError) as raised:
        trained(workspace, override)
    assert named in str(raised.value)
    assert "--resume none" in str(raised.value)


def test_how_the_work_is_done_may_change(workspace):
    trained(workspace)
    trained(workspace, "training.num_workers=2", "training.keep_checkpoints=1", "training.num_epochs=4")


def test_a_checkpoint_of_another_dataset_is_refused(workspace, tmp_path):
    trained(workspace)
    workspace.dataset.unlink()
    write_dataset(workspace.dataset, seed=1)
    with pytest.raises(ConfigurationError, match="dataset: 000000000000… in the checkpoint"):
        trained(workspace)
    trained(workspace, resume="none")


def test_resume_none_starts_a_new_line_and_keeps_the_old(workspace, undisturbed):
    trained(workspace, "training.seed=7")
    trained(workspace, resume="none")
    assert_same_weights(workspace.latest_checkpoint, undisturbed.latest_checkpoint)
    (previous,) = (workspace.folder / "previous").iterdir()
    assert load(previous / "best_checkpoint.pth").sidecar.parameters["training"]["seed"] == 7


@pytest.mark.parametrize("resume", ["auto", "none", "checkpoint_epoch_1.pth"])
def test_a_stop_says_which_command_continues(workspace, resume):
    """The same command with --resume none would begin once more, and with a path go back to it."""
    trained(workspace, "training.num_epochs=1")
    if resume.endswith(".pth"):
        resume = str(workspace.folder / resume)
    with pytest.raises(Stopped) as raised:
        trained(workspace, "training.num_epochs=2", resume=resume, recorder=stopping_after(3))
    again = "The same command continues" if resume == "auto" else "The same command with --resume auto continues"
    assert again in str(raised.value)
    step = load(workspace.latest_checkpoint).sidecar.step
    recorder = Recorder()
    trained(workspace, "training.num_epochs=2", recorder=recorder)
    assert recorder.of("progress")[0]["done"] >= step


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


def test_resume_from_a_path_goes_on_from_there(workspace, undisturbed):
    trained(workspace)
    result = trained(workspace, resume=str(workspace.epoch_checkpoint(1)))
    assert result["epochs"] == 3
    assert_same_weights(workspace.latest_checkpoint, undisturbed.latest_checkpoint)
    assert load(workspace.latest_checkpoint).sidecar.resumed_from == "checkpoint_epoch_1.pth"
    assert list((workspace.folder / "previous").glob("*/checkpoint_epoch_3.pth"))


def test_resume_from_a_path_lets_training_parameters_change_and_says_so(workspace):
    trained(workspace)
    recorder = Recorder()
    trained(workspace, "training.learning_rate=1e-4", resume=str(workspace.epoch_checkpoint(2)), recorder=recorder)
    assert recorder.warnings() == ["resumed-with-other-parameters"]
    assert "training.learning_rate: 0.003 in the checkpoint, 0.0001 now" in recorder.of("warning")[0]["message"]
    with pytest.raises(ConfigurationError, match=r"model\.embedding_dim"):
        trained(workspace, "model.embedding_dim=10", resume=str(workspace.epoch_checkpoint(2)))


def test_resume_from_a_damaged_path_is_an_error_and_no_fallback(workspace):
    trained(workspace)
    workspace.epoch_checkpoint(1).write_bytes(b"junk")
    with pytest.raises(InputError, match="damaged"):
        trained(workspace, resume=str(workspace.epoch_checkpoint(1)))


def test_a_checkpoint_on_request_is_saved_within_the_epoch(workspace):
    recorder = Recorder()
    recorder.stop.request_checkpoint()
    trained(workspace, recorder=recorder)
    first = recorder.of("checkpoint")[0]
    assert first["path"] == str(workspace.latest_checkpoint)
    assert first["epoch"] == 0


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


def test_a_collapsed_run_raises_its_warning_and_a_healthy_one_none(workspace):
    recorder = Recorder()
    scaled = "model.embedding_dim=256"
    trained(workspace, scaled, "training.learning_rate=1", "training.num_epochs=6", recorder=recorder)
    assert recorder.warnings().count("representation-collapse") == 1


def test_max_minutes_ends_training_as_done_with_a_checkpoint(workspace):
    result = trained(workspace, "training.num_epochs=10000", "training.max_minutes=0.02")
    assert 1 <= result["epochs"] < 10000
    saved = load(workspace.latest_checkpoint)
    assert saved.progress.ended == "time"
    assert saved.progress.seconds >= 1.2
    assert load(workspace.epoch_checkpoint(result["epochs"])).progress == saved.progress


def test_a_stop_after_time_ran_out_still_ends_the_epoch_it_cut_short(workspace):
    """The stop falls into the validation that follows the last step."""
    limit = ("training.num_epochs=1000", "training.max_minutes=0.0001")
    recorder = stopping_after(3)
    with pytest.raises(Stopped):
        trained(workspace, *limit, recorder=recorder)
    assert load(workspace.latest_checkpoint).progress.step_in_epoch == 1
    assert trained(workspace, *limit)["epochs"] == 1
    assert load(workspace.best_checkpoint).progress.ended == "time"


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


def test_ecg_alone_trains(workspace):
    present = np.tile([True, False], (144, 1))
    workspace.dataset.unlink()
    write_dataset(workspace.dataset, present=present)
    recorder = Recorder()
    trained(workspace, recorder=recorder)
    values = recorder.of("metric")[-1]["values"]
    assert values["loss_cross"] == 0
    assert values["retrieval"] is None


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


def test_a_gpu_that_is_required_and_absent_is_the_machines_fault(workspace):
    with pytest.raises(MachineError, match=r"training\.device=cuda:7"):
        trained(workspace, "training.device=cuda:7")
    with pytest.raises(ConfigurationError, match="fp16"):
        arithmetic_of("cpu", "fp16")


def test_half_precision_trains_too(workspace):
    recorder = Recorder()
    trained(workspace, "training.precision=bf16", "training.num_epochs=6", recorder=recorder)
    losses = [e["values"]["train_loss"] for e in recorder.of("metric") if "train_loss" in e["values"]]
    assert losses[-1] < losses[0]
    assert all(w.dtype == torch.float32 for w in weights(workspace.latest_checkpoint).values())


def test_shifts_longer_than_a_segment_can_bear_are_refused(workspace):
    with pytest.raises(ConfigurationError, match=r"training\.cross_shift_seconds=2"):
        trained(workspace, "training.cross_shift_seconds=2")


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


def test_out_of_memory_halves_the_pieces_and_goes_on(workspace, monkeypatch):
    original = train.backward

    def tight(model, batch, training, rate, arithmetic, scaler, micro, ranks):
        if micro > 10:
            raise torch.OutOfMemoryError
        return original(model, batch, training, rate, arithmetic, scaler, micro, ranks)

    monkeypatch.setattr(train, "backward", tight)
    recorder = Recorder()
    assert trained(workspace, "training.num_epochs=1", recorder=recorder)["epochs"] == 1
    assert recorder.warnings() == ["gpu-out-of-memory"] * 2


def test_out_of_memory_with_the_smallest_pieces_is_the_machines_fault(workspace, monkeypatch):
    def never(*args):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(train, "backward", never)
    with pytest.raises(MachineError, match="smaller model"):
        trained(workspace)


def test_rotation_keeps_as_many_epochs_as_configured(workspace):
    trained(workspace, "training.num_epochs=6", "training.keep_checkpoints=2", "training.checkpoint_every=2")
    names = {c.name for c in list_checkpoints(workspace)}
    assert names - {"best_checkpoint.pth"} == {
        "latest_checkpoint.pth",
        "checkpoint_epoch_4.pth",
        "checkpoint_epoch_6.pth",
    }
