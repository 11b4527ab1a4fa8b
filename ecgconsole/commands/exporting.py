"""``export``: the trained encoder as a portable file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ecgconsole.commands.options import FolderOption, JsonOption, say, say_json, workspace_of
from ecgconsole.text import sanitise, size


def export(
    folder: FolderOption = None,
    checkpoint: Annotated[
        str, typer.Option("--checkpoint", metavar="CHECKPOINT", help="best, latest, an epoch, a file name or a path")
    ] = "best",
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", metavar="FILE", help="ends in .pt2 or .onnx; default: DIR/encoder.pt2", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Writes the encoder so that torch or ONNX alone can run it, checked against the original on real segments."""
    workspace = workspace_of(folder, must_exist=True)
    path = to or workspace.exported_encoder
    from ecgconsole.dataset import Dataset
    from ecgconsole.training import export as exporting
    from ecgconsole.training import portable
    from ecgconsole.training.checkpoints import load
    from ecgconsole.training.checkpoints_index import find
    from ecgconsole.training.embed import model_of
    from ecgconsole.training.expectations import expectations_of

    portable.require(path)
    saved = load(find(workspace, checkpoint))
    if workspace.dataset.exists():
        with Dataset(workspace.dataset) as dataset:
            saved.expectations.refuse_other(expectations_of(dataset), str(saved.path), str(workspace.dataset))
            done = exporting.export(model_of(saved), saved, dataset, path)
    else:
        done = exporting.export(model_of(saved), saved, None, path)
    facts: dict[str, Any] = {
        "path": str(done.path),
        "sha256": done.sha256,
        "checkpoint": str(saved.path),
        "checked_segments": done.checked_segments,
        "checked_on": done.checked_on,
        "largest_difference_sd": done.largest_difference,
        "tolerance_sd": exporting.TOLERANCE,
    }
    if as_json:
        say_json(facts)
        return
    say(f"wrote {sanitise(done.path)} ({size(done.path.stat().st_size)}), its facts beside it")
    say(
        f"checked on {done.checked_segments} {facts['checked_on']}: within {done.largest_difference:.1e} standard "
        f"deviations of the original (at most {exporting.TOLERANCE:g})"
    )
    say("not a medical device")
