"""Where a training starts: from nothing, or from a checkpoint that belongs to what is asked for."""

from __future__ import annotations

from typing import Any

from ecgconsole.config import Config, flatten, is_execution_key
from ecgconsole.errors import ConfigurationError
from ecgconsole.stage import Reporter
from ecgconsole.training.checkpoints import Saved, load, newest_verified, save
from ecgconsole.training.checkpoints_index import (
    find,
    is_same,
    parameter_differences,
    set_aside,
)
from ecgconsole.workspace import Workspace

# Parameters that may change between a checkpoint and its continuation, besides those of execution.
_FREE = {
    "training.num_epochs",
    "training.max_minutes",
    "training.patience",
    "training.checkpoint_every",
    "training.device",
    "training.world_size",
    "training.compile",
    "training.micro_batch_size",
}


def starting_point(
    resume: str, config: Config, dataset_sha256: str, workspace: Workspace, reporter: Reporter
) -> Saved | None:
    """The checkpoint to go on from; None: from nothing. ``resume`` is auto, none or a path.

    ``auto``: the newest whole one of the folder, if model, dataset and training parameters are the same.
    ``none``: what is there moves to ``previous/``. A path: that one; training parameters may differ, and the
    newer ones move to ``previous/``. Raises ``ConfigurationError`` with every difference, ``InputError`` for a
    damaged file that was named.
    """
    if resume == "none":
        set_aside(workspace)
        return None
    if resume != "auto":
        named = load(find(workspace, resume))
        differing = _refuse_unless_same(named, config, dataset_sha256, named=True)
        if differing:
            reporter.warning(
                "resumed-with-other-parameters",
                f"{named.path.name} was trained with other parameters: {'; '.join(differing)}",
                "the new values hold from here on",
            )
        set_aside(workspace, after_step=named.sidecar.step, but=named.path)
        return named
    saved = newest_verified(workspace, reporter)
    if saved is None:
        folder = set_aside(workspace)
        if folder is not None:
            reporter.warning(
                "training-starts-again",
                "no checkpoint is whole: training starts from nothing",
                f"the damaged ones are in {folder}",
            )
        return None
    _refuse_unless_same(saved, config, dataset_sha256, named=False)
    _write_what_a_kill_left_out(saved, config, workspace)
    return saved


def _refuse_unless_same(saved: Saved, config: Config, dataset_sha256: str, named: bool) -> list[str]:
    """Raises for what does not belong together; returns the differences of training parameters that may be."""
    known = flatten(config.model_dump())
    all_differences = {
        key: values
        for key, values in parameter_differences(saved.sidecar, config).items()
        if key not in _FREE and not (key in known and is_execution_key(key))
    }
    of_network = {key: v for key, v in all_differences.items() if _changes_the_network(key, v)}
    of_training = {key: v for key, v in all_differences.items() if key not in of_network}
    fatal = of_network if named else all_differences
    problems = [_difference(*item) for item in fatal.items()]
    if saved.sidecar.dataset_sha256 != dataset_sha256:
        problems.append(
            f"dataset: {saved.sidecar.dataset_sha256[:12]}… in the checkpoint, {dataset_sha256[:12]}… in this folder"
        )
    if problems:
        raise ConfigurationError(
            f"{saved.path} does not belong to what is asked for "
            "(--resume none starts a new line and keeps the old one in previous/):",
            tuple(problems),
        )
    return [_difference(*item) for item in of_training.items()]


def _changes_the_network(key: str, values: tuple[Any, Any]) -> bool:
    """Whether weights of the one have no place in the other."""
    if key in ("training.weight_beat", "training.learn_temperature"):
        return bool(values[0]) != bool(values[1])
    return not key.startswith("training.")


def _difference(key: str, values: tuple[Any, Any]) -> str:
    return f"{key}: {values[0]} in the checkpoint, {values[1]} now"


def _write_what_a_kill_left_out(saved: Saved, config: Config, workspace: Workspace) -> None:
    """At an epoch's end several names are written one after the other; a kill can fall between them."""
    progress = saved.progress
    if progress.step_in_epoch:
        return
    due = [workspace.latest_checkpoint]
    if progress.epoch % config.training.checkpoint_every == 0 or progress.ended:
        due.append(workspace.epoch_checkpoint(progress.epoch))
    data = saved.path.read_bytes()
    save([path for path in due if not is_same(path, saved.sidecar)], data, saved.sidecar)
