"""A shard is whole or absent, whatever happens; and it is never taken for another."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from crash import survivors_of_kills

from ecgconsole.config import Config
from ecgconsole.dataset import shards
from ecgconsole.dataset.arrays import Arrays
from ecgconsole.dataset.discovery import discover
from ecgconsole.dataset.people import select
from ecgconsole.dataset.plan import ShardPlan, plan_shards
from ecgconsole.dataset.shards import (
    InputsChanged,
    Manifest,
    build_shard,
    check_configuration,
    is_intact,
    quarantine,
    read_manifest,
)
from ecgconsole.errors import ConfigurationError, EcgConsoleError, MachineError
from ecgconsole.workspace import sweep_partial

NOBODY: frozenset[str] = frozenset()


@pytest.fixture
def planned(cohort: Path, config_of: Callable[..., Config]) -> tuple[Config, Path, ShardPlan]:
    config = config_of(cohort / "waveforms", **{"build.shard_patients": 2})
    plan = plan_shards(select(discover(config).patients, config), config)[0]
    return config, cohort / "waveforms", plan


def content(folder: Path, plan: ShardPlan) -> tuple[bytes, bytes]:
    return (folder / plan.file_name).read_bytes(), (folder / plan.manifest_name).read_bytes()


def test_a_shard_and_its_manifest_agree(planned: tuple[Config, Path, ShardPlan], tmp_path: Path) -> None:
    config, root, plan = planned
    manifest = build_shard(plan, root, config, tmp_path, NOBODY)
    assert read_manifest(tmp_path / plan.manifest_name) == manifest
    assert is_intact(tmp_path, manifest)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([plan.file_name, plan.manifest_name])
    shard = Arrays(tmp_path / plan.file_name, manifest.arrays)
    assert shard.read("signal").shape == (manifest.segments, 2, 1250)
    rows = {path: len(shard.read(path)) for path in ("scale", "segment/record", "quality/ecg_noise_share")}
    assert set(rows.values()) == {manifest.segments}
    of_window = shard.read("rejected/level") == b"window"
    reasons, counts = np.unique(shard.read("rejected/reason")[of_window], return_counts=True)
    assert dict(zip(reasons.tolist(), counts.tolist(), strict=True)) == {
        int(shards.Reason[label.upper().replace("-", "_")]): n for label, n in manifest.rejected.items()
    }
    assert manifest.segments + sum(manifest.rejected.values()) == sum(p["candidate_windows"] for p in manifest.patients)


def test_the_same_plan_gives_the_same_bytes(planned: tuple[Config, Path, ShardPlan], tmp_path: Path) -> None:
    config, root, plan = planned
    contents = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        build_shard(plan, root, config, folder, NOBODY)
        contents.append(content(folder, plan))
    assert contents[0] == contents[1]


def test_killed_at_any_write_a_shard_is_whole_or_absent(
    cohort: Path, config_of: Callable[..., Config], tmp_path: Path
) -> None:
    root = cohort / "waveforms"
    config = config_of(root, **{"build.shard_patients": 1})
    plan = plan_shards(discover(config).patients, config)[0]
    reference = tmp_path / "reference"
    reference.mkdir()
    build_shard(plan, root, config, reference, NOBODY)
    folder = tmp_path / "killed"
    folder.mkdir()
    states = set()
    kills = 0
    for _ in survivors_of_kills(lambda: build_shard(plan, root, config, folder, NOBODY)):
        kills += 1
        manifest = read_manifest(folder / plan.manifest_name)
        states.add((manifest is not None, (folder / plan.file_name).exists()))
        if manifest is not None:
            assert is_intact(folder, manifest)
        for path in (folder / plan.file_name, folder / plan.manifest_name):
            if path.exists():
                assert path.read_bytes() == (reference / path.name).read_bytes()
        shutil.rmtree(folder)
        folder.mkdir()
    # From "nothing", over "file without manifest", to "committed, but the marker is not removed yet".
    assert states == {(False, False), (False, True), (True, True)}
    assert kills > 50
    assert content(folder, plan) == content(reference, plan)


def test_what_a_killed_writer_left_is_swept_and_overwritten(
    planned: tuple[Config, Path, ShardPlan], tmp_path: Path
) -> None:
    config, root, plan = planned
    killed = survivors_of_kills(lambda: build_shard(plan, root, config, tmp_path, NOBODY))
    for _ in range(5):
        next(killed)
    assert list(tmp_path.glob(".*.partial"))
    sweep_partial(tmp_path)
    assert not list(tmp_path.iterdir())
    assert is_intact(tmp_path, build_shard(plan, root, config, tmp_path, NOBODY))


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damage_is_noticed_and_set_aside(planned: tuple[Config, Path, ShardPlan], tmp_path: Path, damage: str) -> None:
    config, root, plan = planned
    manifest = build_shard(plan, root, config, tmp_path, NOBODY)
    before = content(tmp_path, plan)
    path = tmp_path / plan.file_name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "flip":
        path.write_bytes(data)
    elif damage == "truncate":
        os.truncate(path, 1000)
    else:
        path.unlink()
    assert not is_intact(tmp_path, manifest)
    quarantine(tmp_path, plan)
    assert (tmp_path / "quarantine" / plan.manifest_name).exists()
    assert read_manifest(tmp_path / plan.manifest_name) is None
    build_shard(plan, root, config, tmp_path, NOBODY)
    assert content(tmp_path, plan) == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"file": "x"}', '{"file": 1, "more": 2}'])
def test_a_manifest_that_is_not_whole_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "shard-x.json").write_text(text)
    assert read_manifest(tmp_path / "shard-x.json") is None


def test_a_shard_of_another_configuration_is_refused_naming_what_differs(
    planned: tuple[Config, Path, ShardPlan], config_of: Callable[..., Config], tmp_path: Path
) -> None:
    config, root, plan = planned
    build_shard(plan, root, config, tmp_path, NOBODY)
    check_configuration(tmp_path, config, plan.configuration)
    other = config_of(root, **{"build.ecg_band_hz": [1.0, 40.0], "build.chunk_size": 3})
    other_plan = plan_shards(discover(other).patients, other)[0]
    with pytest.raises(ConfigurationError, match=r"--rebuild") as caught:
        check_configuration(tmp_path, other, other_plan.configuration)
    assert caught.value.problems == ("build.ecg_band_hz: [0.5, 40.0] in the shards, [1.0, 40.0] now",)


def test_settings_that_change_no_byte_change_no_identity(
    planned: tuple[Config, Path, ShardPlan], config_of: Callable[..., Config]
) -> None:
    _, root, plan = planned
    settings = {
        "build.shard_patients": 2,
        "build.num_workers": 7,
        "build.chunk_size": 1,
        "build.compression": "none",
        "split.seed": 4,
    }
    config = config_of(root, **settings)
    assert plan_shards(select(discover(config).patients, config), config)[0] == plan


def test_files_that_changed_since_they_were_planned_for_commit_nothing(
    own_cohort: Path, config_of: Callable[..., Config], tmp_path: Path
) -> None:
    root = own_cohort / "waveforms"
    config = config_of(root)
    plan = plan_shards(discover(config).patients, config)[0]
    folder = tmp_path / "shards"
    folder.mkdir()
    dat = next(iter(sorted((root / plan.patients[0].recordings[0].record).parent.glob("*_0001.dat"))))
    os.utime(dat, ns=(5, 5))
    with pytest.raises(InputsChanged):
        build_shard(plan, root, config, folder, NOBODY)
    root.rename(own_cohort / "unmounted")
    with pytest.raises(InputsChanged):
        build_shard(plan, root, config, folder, NOBODY)
    assert [p.name for p in folder.iterdir() if not p.name.startswith(".")] == []


def in_child(action: Callable[[], object]) -> str:
    """What ``action`` did in a process of its own: ``done``, or the error's class and message."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            action()
            answer = "done"
        except (EcgConsoleError, OSError) as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(write, answer.encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as file:
        return file.read()


def test_a_file_size_limit_is_a_machine_error_naming_the_bytes(
    planned: tuple[Config, Path, ShardPlan], tmp_path: Path
) -> None:
    config, root, plan = planned
    size = build_shard(plan, root, config, tmp_path, NOBODY).n_bytes
    folder = tmp_path / "limited"
    folder.mkdir()
    for limit in (200, 3000, size // 2, size - 1):

        def limited(limit: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            build_shard(plan, root, config, folder, NOBODY)

        answer = in_child(limited)
        assert answer.startswith("MachineError"), answer
        assert "no space left" in answer
        assert "are needed" in answer
        assert not (folder / plan.manifest_name).exists()
    sweep_partial(folder)
    assert in_child(lambda: build_shard(plan, root, config, folder, NOBODY)) == "done"
    assert content(folder, plan) == content(tmp_path, plan)


def test_a_full_disk_is_a_machine_error(
    planned: tuple[Config, Path, ShardPlan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, root, plan = planned
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this machine does not let us mount a small disk")
    try:
        answer = in_child(lambda: build_shard(plan, root, config, disk, NOBODY))
        assert answer.startswith("MachineError")
        assert "not enough free space" in answer  # seen before anything is written
        monkeypatch.setattr(shards, "check_space", lambda folder, needed: None)
        answer = in_child(lambda: build_shard(plan, root, config, disk, NOBODY))
        assert answer.startswith("MachineError")
        assert "no space left while writing" in answer
    finally:
        subprocess.run(["umount", disk], check=True)


def test_an_output_that_cannot_be_written_is_a_machine_error(
    planned: tuple[Config, Path, ShardPlan], tmp_path: Path
) -> None:
    error = OSError(30, "Read-only file system", str(tmp_path / "x"))
    assert isinstance(shards.writing_error(error, tmp_path, 0), MachineError)
    of_input = OSError(5, "Input/output error", "/somewhere/x.dat")
    assert shards.writing_error(of_input, tmp_path, 0) is of_input


def test_a_patient_whose_worker_died_is_left_out_with_a_reason(
    planned: tuple[Config, Path, ShardPlan], tmp_path: Path
) -> None:
    config, root, plan = planned
    lethal = plan.patients[0].patient_id
    manifest: Manifest = build_shard(plan, root, config, tmp_path, frozenset({lethal}))
    assert [p["segments"] > 0 for p in manifest.patients] == [False, True]
    assert manifest.problems["worker-died"] == 1
    shard = Arrays(tmp_path / plan.file_name, manifest.arrays)
    row = shard.read("rejected/level").tolist().index(b"patient")
    assert shard.read("rejected/patient_id")[row].decode() == lethal
    assert json.loads((tmp_path / plan.manifest_name).read_text())["problems"]["worker-died"] == 1
