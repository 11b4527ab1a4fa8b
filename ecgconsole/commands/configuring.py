"""``config``: write, show, check and compare parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ecgconsole.commands.options import (
    ConfigOption,
    FolderOption,
    JsonOption,
    MaxPatientsOption,
    SetOption,
    resolved,
    say,
    say_json,
    workspace_of,
)
from ecgconsole.errors import ConfigurationError, ExitCode, InputError, MachineError

app = typer.Typer(help="Parameters: write a preset, show, check, compare, schema.", rich_markup_mode=None)

FileArgument = Annotated[Path, typer.Argument(metavar="FILE")]
ForceOption = Annotated[bool, typer.Option("--force", help="replace FILE if it exists")]


@app.command()
def init(
    file: Annotated[Path, typer.Argument(metavar="[FILE]")] = Path("config.json"),
    preset: Annotated[str, typer.Option("--preset", metavar="NAME", help="demo, small, medium, large, ...")] = "full",
    settings: SetOption = None,
    force: ForceOption = False,
) -> None:
    """Writes a preset with every parameter in it, ready to be edited."""
    from ecgconsole.config import preset_path, resolve
    from ecgconsole.workspace import write_atomically

    text = resolve(preset_path(preset), settings or [], environment={}).config.to_json()
    if file.exists() and not force:
        raise ConfigurationError(f"{file} exists; --force replaces it")
    try:
        write_atomically(file, text)
    except OSError as error:
        raise MachineError(f"cannot write {file}: {error.strerror}") from error
    say(f"wrote {file} (preset {preset})")


@app.command()
def show(
    folder: FolderOption = None,
    config: ConfigOption = None,
    settings: SetOption = None,
    max_patients: MaxPatientsOption = None,
    as_json: JsonOption = False,
) -> None:
    """The resolved parameters, each with its source: default, file, environment or command line."""
    from ecgconsole.config import flatten

    workspace = workspace_of(folder, must_exist=True) if folder else None
    result = resolved(workspace, config, settings, max_patients)
    values = flatten(result.config.model_dump(mode="json"))
    if as_json:
        say_json({key: {"value": value, "source": result.sources[key]} for key, value in values.items()})
        return
    texts = {key: json.dumps(value) for key, value in values.items()}
    width = max(map(len, texts))
    for key, text in texts.items():
        say(f"{key:{width}}  {text:30}  {result.sources[key]}")


@app.command()
def check(file: FileArgument, settings: SetOption = None) -> None:
    """Validates a file: every problem at once, each with its path. Exit code 2 if there is one."""
    from ecgconsole.config import PATH_KEYS, resolve

    config = resolve(file, settings or []).config
    paths = {key: config.get(key) for key in PATH_KEYS}
    missing = [
        f"{key}: no such file or folder: {path}" for key, path in paths.items() if path and not Path(path).exists()
    ]
    if missing:
        raise InputError("\n  ".join([f"{file} is valid, but names what is not there:", *missing]))
    say(f"{file} is valid")


@app.command()
def diff(first: FileArgument, second: FileArgument, as_json: JsonOption = False) -> None:
    """What differs between two files, or a file and a checkpoint's parameters. Exit code 1 if anything does."""
    from ecgconsole.config import differences

    a, b = _parameters(first), _parameters(second)
    if first.suffix == ".pth" or second.suffix == ".pth":  # a checkpoint holds some sections only
        shared = set(a) & set(b)
        a, b = ({k: v for k, v in side.items() if k in shared} for side in (a, b))
    found = differences(a, b)
    if as_json:
        say_json({key: list(values) for key, values in found.items()})
    else:
        for key, (one, other) in found.items():
            say(f"{key}: {json.dumps(one)} → {json.dumps(other)}")
        if not found:
            say("no difference")
    raise typer.Exit(int(ExitCode.STAGE_FAILED if found else ExitCode.DONE))


@app.command()
def schema() -> None:
    """The JSON Schema of the parameters, with descriptions and limits."""
    from ecgconsole.config import json_schema

    say_json(json_schema())


def _parameters(path: Path) -> dict[str, Any]:
    if path.suffix == ".pth":
        from ecgconsole.training.checkpoints_index import verify

        return dict(verify(path).parameters)
    from ecgconsole.config import load

    return load(path).model_dump(mode="json")
