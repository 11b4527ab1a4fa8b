"""``ecgconsole checkpoints`` on checkpoints of a real training."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from ecgconsole.cli import app
from ecgconsole.errors import ConfigurationError, InputError
from ecgconsole.text import size
from ecgconsole.training import train
from ecgconsole.workspace import Workspace, write_atomically

from .material import Recorder, small_config


@pytest.fixture
def trained(workspace: Workspace) -> Workspace:
    """Six epochs of one step, the newest five kept, and the parameters of the job."""
    config = small_config("training.num_epochs=6", "training.batch_size=72")
    recorder = Recorder()
    train.run(config, workspace, recorder.reporter, recorder.stop)
    write_atomically(workspace.config, config.to_json())
    return workspace


@pytest.fixture
def command(trained: Workspace) -> Callable[..., str]:
    def run(*arguments: str, raises: type[Exception] | None = None) -> str:
        result = CliRunner().invoke(app, ["checkpoints", *arguments, "-o", str(trained.folder)])
        if raises is None:
            assert result.exception is None, result.exception
        else:
            assert isinstance(result.exception, raises)
        return result.output + str(result.exception or "")

    return run


def flip_a_bit(workspace: Workspace, epoch: int) -> None:
    path = workspace.epoch_checkpoint(epoch)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_the_list_says_epoch_loss_and_why_kept_and_reads_the_bytes(trained, command):
    flip_a_bit(trained, 4)
    found = {entry["path"].rpartition("/")[2]: entry for entry in json.loads(command("list", "--json"))}
    assert set(found) == {
        "latest_checkpoint.pth",
        "best_checkpoint.pth",
        *(f"checkpoint_epoch_{n}.pth" for n in range(2, 7)),
    }
    assert found["latest_checkpoint.pth"]["kept_because"] == "latest"
    assert found["checkpoint_epoch_3.pth"]["kept_because"] == "newest 5"
    assert found["checkpoint_epoch_3.pth"]["epoch"] == found["checkpoint_epoch_3.pth"]["step"] == 3
    assert found["checkpoint_epoch_3.pth"]["val_loss"] > 0
    assert [name for name, entry in found.items() if not entry["verified"]] == ["checkpoint_epoch_4.pth"]
    assert found["checkpoint_epoch_3.pth"]["size_bytes"] == trained.epoch_checkpoint(3).stat().st_size
    text = command("list")
    loss, n_bytes = found["checkpoint_epoch_3.pth"]["val_loss"], size(found["checkpoint_epoch_3.pth"]["size_bytes"])
    row = rf" +3 +3 +{loss:.4g} +\d+ [sm] +{n_bytes} +newest 5 +✔ verified +checkpoint_epoch_3\.pth"
    assert any(re.fullmatch(row, line) for line in text.splitlines()), text
    damaged = [line for line in text.splitlines() if "✖ damaged" in line]
    assert len(damaged) == 1
    assert damaged[0].endswith("checkpoint_epoch_4.pth")
    assert text.count("✔ verified") == 6


def test_verify_reads_all_and_fails_naming_the_damaged_one(trained, command):
    assert command("verify").count("✔") == 7
    flip_a_bit(trained, 5)
    text = command("verify", raises=InputError)
    assert text.count("✔") == 6
    assert "1 checkpoint damaged: checkpoint_epoch_5.pth" in text


def test_show_lists_the_parameters_that_differ_from_the_current_ones(trained, command):
    assert "differs" not in command("show", "latest")
    write_atomically(trained.config, small_config("training.num_epochs=6", "training.temperature=0.3").to_json())
    shown = json.loads(command("show", "3", "--json"))
    assert shown["differences"] == {"training.batch_size": [72, 18], "training.temperature": [0.1, 0.3]}
    assert "differs: training.temperature  0.1 → 0.3" in command("show", "3")


def test_prune_keeps_the_newest_and_what_is_pinned(trained, command):
    command("pin", "2")
    command("prune", "--keep", "1", raises=ConfigurationError)  # nobody to ask
    command("prune", "--keep", "1", "--yes")
    left = {path.name for path in trained.folder.glob("checkpoint_epoch_*.pth")}
    assert left == {"checkpoint_epoch_2.pth", "checkpoint_epoch_6.pth"}
    assert command("verify").count("✔") == 4
