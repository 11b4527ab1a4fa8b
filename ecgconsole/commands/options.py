"""Options that several commands share, and what they mean together."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecgconsole.errors import ConfigurationError, InputError
from ecgconsole.text import sanitise
from ecgconsole.workspace import Workspace

if TYPE_CHECKING:
    from ecgconsole.config import Resolved

FolderOption = Annotated[
    Path | None, typer.Option("-o", "--output-dir", metavar="DIR", help="the output folder", show_default=False)
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "-c",
        "--config",
        metavar="FILE",
        help="parameters (JSON); without it DIR/config.json, if a job has run there. "
        "Named DIR/config.json, it also says -o DIR.",
        show_default=False,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="one parameter, repeatable", show_default=False),
]
MaxPatientsOption = Annotated[
    int | None,
    typer.Option("--max-patients", metavar="N", help="same as --set build.max_patients=N", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="as JSON")]


def say(text: str = "") -> None:
    """One line of data on stdout."""
    sys.stdout.write(text + "\n")


def complain(text: object) -> None:
    """An error on stderr: sanitised, its lines kept."""
    lines = "\n".join(sanitise(line) for line in str(text).split("\n"))
    sys.stderr.write(f"ecgconsole: {lines}\n")


def say_json(value: Any) -> None:
    say(json.dumps(value, indent=2, allow_nan=False))


def workspace_of(
    folder: Path | None, config: Path | None = None, inputs: Sequence[Path] = (), *, must_exist: bool = False
) -> Workspace:
    """The output folder that was meant. Raises ``ConfigurationError`` when none was named.

    Without ``folder`` it is where ``config`` lies, if that is an output folder's ``config.json``, else where the
    first of ``inputs`` lies (embeddings lie one folder deeper).
    """
    if folder is None and config is not None and config.name == "config.json":
        folder = config.parent
    if folder is None and inputs:
        first = inputs[0].absolute()
        holder = first if first.is_dir() else first.parent
        folder = holder.parent if holder.name == "embeddings" else holder
    if folder is None:
        raise ConfigurationError("say which output folder: -o DIR, for example -o production_full")
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"{sanitise(folder)} is a file; -o takes a folder")
    if must_exist and not folder.is_dir():
        raise InputError(f"no such folder: {sanitise(folder)}")
    return Workspace(folder)


def resolved(
    workspace: Workspace | None, config: Path | None, settings: list[str] | None, max_patients: int | None = None
) -> Resolved:
    """All layers merged; the file is ``config``, else that of the folder's last job, else none."""
    from ecgconsole.config import resolve

    if config is None and workspace is not None and workspace.config.is_file():
        config = workspace.config
    limit = [] if max_patients is None else [f"build.max_patients={max_patients}"]
    return resolve(config, [*(settings or []), *limit])
