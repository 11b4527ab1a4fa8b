"""Stopped, killed or damaged, a training goes on to the same bits; what does not belong is refused by name."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ecgconsole.errors import ConfigurationError, InputError, Stopped
from ecgconsole.training.checkpoints import load
from ecgconsole.training.checkpoints_index import set_aside
from ecgconsole.workspace import Workspace

from .material import Recorder, assert_same_weights, stopping_after, trained, write_dataset


def _copy_checkpoints(source: Workspace, target: Workspace) -> None:
    for path in (*source.folder.glob("*.pth"), *source.folder.glob("*.json")):
        shutil.copy(path, target.folder)


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


def _killed(folder: Path, seconds: float) -> bool:
    """``seconds`` count from its first event; a run that ends before was not killed, nor one that the last kill left
    nothing to do, which says nothing.
    """
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    begun = process.stdout.readline()
    try:
        process.communicate(timeout=seconds if begun else None)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    assert process.returncode in (0, -signal.SIGKILL)
    return process.returncode != 0


def _assert_it_goes_on_to_the_same_weights(workspace: Workspace, undisturbed: Workspace) -> None:
    trained(workspace)
    assert_same_weights(workspace.latest_checkpoint, undisturbed.latest_checkpoint)
    assert_same_weights(workspace.best_checkpoint, undisturbed.best_checkpoint)
    for epoch in (1, 2, 3):
        assert_same_weights(workspace.epoch_checkpoint(epoch), undisturbed.epoch_checkpoint(epoch))


def test_kill_9_and_the_same_command_give_the_same_weights(workspace, undisturbed):
    assert _killed(workspace.folder, 0.2)
    _assert_it_goes_on_to_the_same_weights(workspace, undisturbed)


@pytest.mark.slow
def test_kill_9_at_ten_random_moments_gives_the_same_weights(workspace, undisturbed):
    """In a row: what one kill leaves, the next begins with, until a run outlives its moment."""
    moments, kills = np.random.default_rng(), 0
    for _ in range(40):
        if _killed(workspace.folder, moments.uniform(0, 0.6)):
            kills += 1
        else:
            _assert_it_goes_on_to_the_same_weights(workspace, undisturbed)
            set_aside(workspace)
        if kills == 10:
            break
    assert kills == 10
    _assert_it_goes_on_to_the_same_weights(workspace, undisturbed)


@pytest.mark.parametrize("written", [1, 2, 3])
def test_a_kill_between_the_names_of_an_epochs_end_is_made_good(workspace, undisturbed, written):
    """The first epoch is also the best so far; its names are written one after the other."""
    first = undisturbed.epoch_checkpoint(1)
    names = (workspace.best_checkpoint, workspace.latest_checkpoint, workspace.epoch_checkpoint(1))
    for name in names[:written]:
        for suffix in (".pth", ".json"):
            shutil.copy(first.with_suffix(suffix), name.with_suffix(suffix))
    _assert_it_goes_on_to_the_same_weights(workspace, undisturbed)


def test_a_kill_before_the_last_epochs_own_name_is_made_good(workspace, undisturbed):
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


def test_a_parameter_that_is_newer_than_the_checkpoint_counts_as_its_default(workspace, undisturbed):
    """Else the program could not be brought up to date between a stop and its continuation."""
    with pytest.raises(Stopped):
        trained(workspace, recorder=stopping_after(3))
    for path in workspace.folder.glob("*_checkpoint.json"):
        sidecar = json.loads(path.read_text())
        del sidecar["parameters"]["training"]["learn_temperature"]
        path.write_text(json.dumps(sidecar))
    with pytest.raises(ConfigurationError) as refusal:
        trained(workspace, "training.learn_temperature=true")
    assert any("learn_temperature" in p for p in refusal.value.problems)
    trained(workspace)
    assert_same_weights(workspace.latest_checkpoint, undisturbed.latest_checkpoint)


def test_how_the_work_is_done_may_change(workspace):
    trained(workspace)
    trained(workspace, "training.num_workers=2", "training.keep_checkpoints=1", "training.num_epochs=4")


def test_a_checkpoint_of_another_dataset_is_refused(workspace, tmp_path):
    trained(workspace)
    workspace.dataset.unlink()
    write_dataset(workspace.dataset, seed=1)
    with pytest.raises(ConfigurationError, match="dataset: 000000000000… in the checkpoint"):
        trained(workspace)
    with pytest.raises(ConfigurationError, match="dataset: 000000000000… in the checkpoint"):
        trained(workspace, resume="latest")
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


@pytest.mark.parametrize(
    "override", ["model.embedding_dim=10", "training.weight_beat=0", "training.learn_temperature=true"]
)
def test_resume_from_a_path_refuses_another_network_by_name(workspace, override):
    trained(workspace)
    changed = ("training.learning_rate=1e-4", "model.projection_dim=4", override)
    with pytest.raises(ConfigurationError) as raised:
        trained(workspace, *changed, resume=str(workspace.epoch_checkpoint(2)))
    assert f"{override.partition('=')[0]}: " in str(raised.value)
    assert "model.projection_dim: 8 in the checkpoint, 4 now" in str(raised.value)
    assert "learning_rate" not in str(raised.value)


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


def test_a_stop_after_time_ran_out_still_ends_the_epoch_it_cut_short(workspace):
    """The stop falls into the validation that follows the last step."""
    limit = ("training.num_epochs=1000", "training.max_minutes=0.0001")
    recorder = stopping_after(3)
    with pytest.raises(Stopped):
        trained(workspace, *limit, recorder=recorder)
    assert load(workspace.latest_checkpoint).progress.step_in_epoch == 1
    assert trained(workspace, *limit)["epochs"] == 1
    assert load(workspace.best_checkpoint).progress.ended == "time"
