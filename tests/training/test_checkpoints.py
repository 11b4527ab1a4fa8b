"""A checkpoint is whole or absent, damage is found and named, and rotation deletes only what nothing keeps."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ecgconsole.errors import ConfigurationError, InputError, MachineError
from ecgconsole.training import checkpoints, checkpoints_index
from ecgconsole.training.checkpoints import Progress, best_verified, describe, load, newest_verified, pack, save
from ecgconsole.training.checkpoints_index import (
    Sidecar,
    delete,
    find,
    in_use,
    list_checkpoints,
    pending_path,
    pin,
    prune,
    set_aside,
    sidecar_path,
    verify,
    why_kept,
)
from ecgconsole.training.expectations import Expectations
from ecgconsole.workspace import Workspace

from .material import Recorder, small_config

EXPECTATIONS = Expectations(125.0, 500, (0.5, 40.0), (0.5, 8.0))


def contents(epoch: int, val_loss: float | None = None, floats: int = 1000) -> tuple[bytes, Sidecar]:
    generator = torch.Generator().manual_seed(epoch)
    progress = Progress(epoch=epoch, step=10 * epoch, val_loss=val_loss)
    weights = {"weight": torch.rand(floats, generator=generator)}
    data = pack(weights, {}, {}, progress, {}, {"embedding_dim": 4}, EXPECTATIONS)
    parameters = small_config().model_dump(mode="json", include={"model", "training"})
    return data, describe(data, progress, {}, parameters, "c" * 64, "d" * 64)


@pytest.fixture
def folder(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def save_epoch(workspace: Workspace, epoch: int, val_loss: float | None = None, best: bool = False) -> Path:
    path = workspace.epoch_checkpoint(epoch)
    names = [workspace.best_checkpoint] if best else []
    save([*names, workspace.latest_checkpoint, path], *contents(epoch, val_loss))
    return path


def names(workspace: Workspace) -> set[str]:
    return {p.name for p in workspace.folder.glob("*.pth")}


def flip_a_bit(path: Path, at: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * (len(data) - 1))] ^= 0x10
    path.write_bytes(data)


def test_what_is_saved_is_loaded(folder):
    path = save_epoch(folder, 3, val_loss=1.5)
    saved = load(path)
    assert saved.progress == Progress(epoch=3, step=30, val_loss=1.5)
    assert saved.expectations == EXPECTATIONS
    assert torch.equal(saved.contents["model"]["weight"], torch.rand(1000, generator=torch.Generator().manual_seed(3)))
    assert verify(path) == saved.sidecar
    assert json.loads(sidecar_path(path).read_text())["sha256"] == saved.sidecar.sha256


@pytest.mark.parametrize("at", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
def test_one_flipped_bit_is_found_where_torch_finds_nothing(folder, at):
    path = save_epoch(folder, 1)
    flip_a_bit(path, at)
    with pytest.raises(InputError, match="damaged"):
        load(path)
    with pytest.raises(InputError, match="damaged"):
        verify(path)


def test_the_flipped_bit_really_is_one_that_torch_accepts(folder):
    path = save_epoch(folder, 1)
    flip_a_bit(path, 0.5)
    assert torch.load(path, weights_only=True)["model"]["weight"].shape == (1000,)


@pytest.mark.parametrize("keep", [0, 1, 100, 3000])
def test_a_truncated_file_is_found_even_by_the_list(folder, keep):
    path = save_epoch(folder, 1)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=rf"damaged: {keep} bytes"):
        load(path)
    assert [c.path for c in list_checkpoints(folder) if c.problem] == [path]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "is missing"),
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[1]", "not the sidecar"),
        ('{"sha256": "x"}', "not the sidecar"),
        ("\x1b]52;c;aGk=\x07", "not JSON"),
    ],
)
def test_a_sidecar_that_is_missing_or_odd_is_named(folder, text, problem):
    path = save_epoch(folder, 1)
    if text is None:
        sidecar_path(path).unlink()
    else:
        sidecar_path(path).write_text(text)
    with pytest.raises(InputError, match=problem) as raised:
        load(path)
    assert "\x1b" not in str(raised.value)
    assert [c.path for c in list_checkpoints(folder) if c.problem] == [path]


def test_a_pickle_is_never_run(folder, tmp_path):
    path = folder.epoch_checkpoint(1)
    torch.save({"model": Path("anything")}, path)
    data = path.read_bytes()
    _, sidecar = contents(1)
    import hashlib

    honest = replace(sidecar, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
    checkpoints_index.write_sidecar(sidecar_path(path), honest)
    with pytest.raises(InputError, match="not a checkpoint"):
        load(path)


def test_going_on_falls_back_to_the_newest_whole_one_and_says_so(folder):
    for epoch in (1, 2, 3):
        save_epoch(folder, epoch)
    flip_a_bit(folder.latest_checkpoint, 0.5)
    sidecar_path(folder.epoch_checkpoint(3)).unlink()
    folder.epoch_checkpoint(2).write_bytes(b"")
    recorder = Recorder()
    saved = newest_verified(folder, recorder.reporter)
    assert saved is not None
    assert saved.path == folder.epoch_checkpoint(1)
    assert recorder.warnings() == ["checkpoint-damaged"] * 3 or recorder.warnings() == ["checkpoint-damaged"] * 2
    told = " ".join(e["message"] for e in recorder.of("warning"))
    assert "latest_checkpoint.pth" in told
    assert "checkpoint_epoch_2.pth" in told


def test_embedding_falls_back_from_a_damaged_best_to_the_next_best(folder):
    save_epoch(folder, 1, val_loss=3.0)
    save_epoch(folder, 2, val_loss=1.0, best=True)
    save_epoch(folder, 3, val_loss=2.0)
    flip_a_bit(folder.best_checkpoint, 0.5)
    recorder = Recorder()
    saved = best_verified(folder, recorder.reporter)
    assert saved is not None
    assert saved.path == folder.epoch_checkpoint(2)
    assert recorder.warnings() == ["checkpoint-damaged"]


def test_a_kill_at_any_step_of_saving_leaves_a_whole_checkpoint(folder, monkeypatch):
    """Each call that changes the disk is replaced, in turn, by one that dies before or after it."""
    latest = folder.latest_checkpoint
    save([latest], *contents(1))

    class Killed(BaseException):
        pass

    def dying(function, fatal_call, after):
        calls = iter(range(1_000_000))

        def call(*args, **kwargs):
            fatal = next(calls) == fatal_call
            if fatal and not after:
                raise Killed
            result = function(*args, **kwargs)
            if fatal:
                raise Killed
            return result

        return call

    points = 0
    for after in (False, True):
        for fatal_call in range(20):
            save([latest], *contents(1))
            with monkeypatch.context() as patch:
                patch.setattr(os, "replace", dying(os.replace, fatal_call, after))
                try:
                    save([latest], *contents(2))
                except Killed:
                    points += 1
                    assert load(latest).progress.epoch in (1, 2)
                    continue
            break
    assert points >= 6


def test_disk_full_leaves_the_previous_checkpoint_whole(folder):
    """A real limit on file size, in a process of its own."""
    save_epoch(folder, 1)
    before = {p.name: p.read_bytes() for p in folder.folder.iterdir()}
    script = f"""
import resource, sys
from tests.training.test_checkpoints import contents, folder
from ecgconsole.errors import MachineError
from ecgconsole.training.checkpoints import save
from ecgconsole.workspace import Workspace
big = contents(2, floats=100_000)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    save([Workspace({str(folder.folder)!r}).latest_checkpoint], *big)
except MachineError as error:
    print(error)
    sys.exit(4)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == MachineError.exit_code, done.stderr
    assert "needs 402 kB" in done.stdout
    assert {p.name: p.read_bytes() for p in folder.folder.iterdir() if "pending" not in p.name} == before
    assert load(folder.latest_checkpoint).progress.epoch == 1
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 50_000


def test_rotation_keeps_latest_best_newest_pinned_and_what_was_resumed_from(folder):
    for epoch in range(1, 9):
        save_epoch(folder, epoch, best=epoch == 2)
    pin(folder.epoch_checkpoint(3))
    data, sidecar = contents(9)
    save([folder.latest_checkpoint], data, replace(sidecar, resumed_from="checkpoint_epoch_4.pth"))
    deleted = prune(folder, keep=2)
    assert {p.name for p in deleted} == {f"checkpoint_epoch_{e}.pth" for e in (1, 2, 5, 6)}
    assert names(folder) == {
        "latest_checkpoint.pth",
        "best_checkpoint.pth",
        *(f"checkpoint_epoch_{e}.pth" for e in (3, 4, 7, 8)),
    }
    assert {p.stem for p in folder.folder.glob("*.json")} == {Path(n).stem for n in names(folder)}
    reasons = {p.name: reason for p, reason in why_kept(folder, 2).items()}
    assert reasons["checkpoint_epoch_3.pth"] == "pinned"
    assert reasons["checkpoint_epoch_4.pth"] == "resumed from"


def test_a_pinned_epoch_stays_pinned_when_it_is_trained_again(folder):
    path = save_epoch(folder, 1)
    pin(path)
    save_epoch(folder, 1)
    assert verify(path).pinned
    pin(path, False)
    assert not verify(path).pinned


def test_what_is_needed_is_not_deleted(folder):
    save_epoch(folder, 1, best=True)
    save_epoch(folder, 2)
    pin(folder.epoch_checkpoint(2))
    for path in (folder.latest_checkpoint, folder.best_checkpoint, folder.epoch_checkpoint(2)):
        with pytest.raises(ConfigurationError, match="is not deleted"):
            delete(folder, path)
    delete(folder, folder.epoch_checkpoint(1))
    assert not folder.epoch_checkpoint(1).exists()


def test_what_a_running_job_uses_is_neither_deleted_nor_pruned(folder):
    for epoch in range(1, 7):
        save_epoch(folder, epoch)
    data, sidecar = contents(7)
    save([folder.epoch_checkpoint(7)], data, replace(sidecar, resumed_from="checkpoint_epoch_2.pth"))
    for name in ("latest_checkpoint.pth", "latest_checkpoint.json"):
        (folder.folder / name).unlink()  # set aside, as when one resumes from an earlier one
    used = in_use(folder, ["ecgconsole", "run", "--resume", "checkpoint_epoch_4.pth"])
    assert {p.name for p in used} == {f"checkpoint_epoch_{e}.pth" for e in (2, 4, 7)}
    assert used == in_use(folder, ["ecgconsole", "train", f"--resume={folder.epoch_checkpoint(4)}"])
    assert in_use(folder, ["run", "--resume", "gone.pth"]) == in_use(folder, ["run", "--resume", "auto"])
    for epoch in (2, 4, 7):
        with pytest.raises(ConfigurationError, match="the running job uses it"):
            delete(folder, folder.epoch_checkpoint(epoch), used)
    deleted = prune(folder, keep=1, used=used)
    assert {p.name for p in deleted} == {f"checkpoint_epoch_{e}.pth" for e in (1, 3, 5, 6)}
    delete(folder, folder.epoch_checkpoint(4))
    assert not folder.epoch_checkpoint(4).exists()


def test_a_new_line_sets_the_old_one_aside_whole(folder):
    save_epoch(folder, 1)
    first = set_aside(folder)
    save_epoch(folder, 1)
    second = set_aside(folder)
    assert first is not None
    assert second is not None
    assert first != second
    assert names(folder) == set()
    assert set_aside(folder) is None
    for previous in (first, second):
        assert load(previous / "checkpoint_epoch_1.pth").progress.epoch == 1


def test_checkpoints_are_found_as_people_name_them(folder, tmp_path):
    save_epoch(folder, 10, best=True)
    assert find(folder, "best") == folder.best_checkpoint
    assert find(folder, "10") == folder.epoch_checkpoint(10)
    assert find(folder, "checkpoint_epoch_10") == folder.epoch_checkpoint(10)
    assert find(folder, str(folder.latest_checkpoint)) == folder.latest_checkpoint
    with pytest.raises(InputError, match="no checkpoint 11"):
        find(folder, "11")


def test_managing_checkpoints_never_imports_torch():
    script = "import sys, ecgconsole.training.checkpoints_index; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_the_pending_sidecar_is_gone_once_a_save_is_done(folder):
    path = save_epoch(folder, 1)
    assert not pending_path(path).exists()
    assert checkpoints.load(path).progress.epoch == 1
