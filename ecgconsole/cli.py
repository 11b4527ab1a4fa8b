"""The command line: which commands there are, and how errors become exit codes. No logic."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from ecgconsole import __version__
from ecgconsole.commands import checkpoints, configuring, exporting, running, steering, tools
from ecgconsole.commands.options import ConfigOption, FolderOption, MaxPatientsOption, SetOption, complain, say
from ecgconsole.commands.running import BuildDatasetOption, TrainOnlyOption, finish
from ecgconsole.errors import ConfigurationError, EcgConsoleError
from ecgconsole.stage import STAGES

__all__ = ["app", "finish", "main"]

app = typer.Typer(
    name="ecgconsole",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"ecgconsole {__version__}")
        raise typer.Exit


VersionOption = Annotated[bool, typer.Option("--version", help="print it", callback=_version, is_eager=True)]


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    folder: FolderOption = None,
    config: ConfigOption = None,
    settings: SetOption = None,
    max_patients: MaxPatientsOption = None,
    build_dataset: BuildDatasetOption = False,
    train_only: TrainOnlyOption = False,
    read_only: steering.ReadOnlyOption = False,
    version: VersionOption = False,
) -> None:
    """From raw ICU waveforms to rhythm patterns and stroke risk.

    Without a command: the interactive console on an output folder, attached if a job runs there. With
    --build-dataset or --train-only: that stage, as by `run`.
    """
    given = folder or config or settings or max_patients or build_dataset or train_only or read_only
    if context.invoked_subcommand is not None:
        if given:
            name = context.invoked_subcommand
            raise ConfigurationError(f"options go behind the command: ecgconsole {name} -o DIR ...")
        return
    if build_dataset or train_only:
        running.run(
            folder, config, settings, max_patients, build_dataset=build_dataset, train_only=train_only
        )  # fmt: skip
        return
    if settings or max_patients:
        raise ConfigurationError("--set and --max-patients need a command: ecgconsole run -o DIR ...")
    no_folder = folder is None and config is None
    running.open_console(None if no_folder else running.workspace_of(folder, config), read_only)


app.command("run")(running.run)
for _stage in STAGES:
    app.command(_stage.name)(running.stage_command(_stage))
app.command("status")(steering.status)
app.command("stop")(steering.stop)
app.command("pause")(steering.pause)
app.command("resume")(steering.resume)
app.command("checkpoint-now")(steering.checkpoint_now)
app.command("attach")(steering.attach)
app.add_typer(checkpoints.app, name="checkpoints")
app.add_typer(configuring.app, name="config")
app.command("synth")(tools.synth)
app.command("inspect")(tools.inspect)
app.command("doctor")(tools.doctor)
app.command("predict")(tools.predict)
app.command("export")(exporting.export)


def main() -> None:
    """Entry point: every error that has a class becomes one line and its exit code."""
    os.umask(0o077)
    # Our configuration needs no plugins of others: pydantic would look through all that is installed, in each process.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    _open_standard_streams()
    try:
        with running.engine_ahead(sys.argv[1:]):
            app(prog_name="ecgconsole")
    except EcgConsoleError as error:
        complain(error)
        raise SystemExit(int(error.exit_code)) from None


def _open_standard_streams() -> None:
    """A stream that the caller closed would lend its number to the next file we open: prints would land there."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
