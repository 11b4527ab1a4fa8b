"""``run`` and one command a stage."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from ecgconsole.commands.options import (
    ConfigOption,
    FolderOption,
    MaxPatientsOption,
    SetOption,
    complain,
    resolved,
    workspace_of,
)
from ecgconsole.errors import ConfigurationError
from ecgconsole.stage import STAGE_NAMES, STAGES, Stage
from ecgconsole.text import sanitise
from ecgconsole.workspace import Workspace

if TYPE_CHECKING:
    from ecgconsole.jobs.engine_process import EngineProcess
    from ecgconsole.jobs.runner import Outcome

OutputMode = Literal["auto", "rich", "plain", "json"]
ResumeOption = Annotated[
    str, typer.Option("--resume", metavar="auto|none|PATH", help="train: from which checkpoint; none starts anew")
]
CheckpointOption = Annotated[
    Path | None,
    typer.Option("--checkpoint", metavar="PATH", help="embed: with which; default best", show_default=False),
]
RebuildOption = Annotated[bool, typer.Option("--rebuild", help="build: drop what an earlier build left")]
OutputOption = Annotated[OutputMode, typer.Option("--output", help="auto: rich on a terminal, else plain")]
StagesOption = Annotated[str | None, typer.Option("--stages", metavar="A,B,C", help="only these", show_default=False)]
EmbeddingsOption = Annotated[
    list[Path] | None,
    typer.Option("--embeddings", metavar="F", help="discover: files or folders instead of DIR's", show_default=False),
]
PatternsOption = Annotated[
    Path | None, typer.Option("--patterns", metavar="F", help="validate: a file instead of DIR's", show_default=False)
]
FeaturesOption = Annotated[
    list[Path] | None,
    typer.Option("--features", metavar="F", help="stroke: files or folders instead of DIR's", show_default=False),
]
MoreArgument = Annotated[list[Path] | None, typer.Argument(metavar="[F]...", hidden=True)]
BuildDatasetOption = Annotated[bool, typer.Option("--build-dataset", help="same as --stages build")]
TrainOnlyOption = Annotated[bool, typer.Option("--train-only", help="same as --stages train")]
NoTuiOption = Annotated[bool, typer.Option("--no-tui", help="in the foreground, without the console")]


@dataclass(frozen=True)
class Request:
    """What a command line asks to run."""

    folder: Path | None
    config: Path | None = None
    settings: list[str] | None = None
    max_patients: int | None = None
    resume: str = "auto"
    checkpoint: Path | None = None
    rebuild: bool = False
    embeddings: tuple[Path, ...] = ()
    patterns: Path | None = None
    features: tuple[Path, ...] = ()
    output: OutputMode = "auto"

    @property
    def workspace(self) -> Workspace:
        inputs = [*self.embeddings, *([self.patterns] if self.patterns else []), *self.features]
        return workspace_of(self.folder, self.config, inputs)

    def options(self) -> dict[str, dict[str, Any]]:
        """Keyword arguments of stages; each forces its stage to run."""
        given: dict[str, dict[str, Any]] = {}
        if self.rebuild:
            given["build"] = {"rebuild": True}
        if self.resume != "auto":
            given["train"] = {"resume": self.resume if self.resume == "none" else str(_absolute(Path(self.resume)))}
        if self.checkpoint is not None:
            given["embed"] = {"checkpoint": str(_absolute(self.checkpoint))}
        if self.embeddings:
            given["discover"] = {"embeddings": [str(_absolute(p)) for p in self.embeddings]}
        if self.patterns is not None:
            given["validate"] = {"patterns": str(_absolute(self.patterns))}
        if self.features:
            given["stroke"] = {"features": [str(_absolute(p)) for p in self.features]}
        return given


def run(
    folder: FolderOption = None,
    config: ConfigOption = None,
    settings: SetOption = None,
    max_patients: MaxPatientsOption = None,
    resume: ResumeOption = "auto",
    checkpoint: CheckpointOption = None,
    rebuild: RebuildOption = False,
    embeddings: EmbeddingsOption = None,
    patterns: PatternsOption = None,
    features: FeaturesOption = None,
    stages: StagesOption = None,
    build_dataset: BuildDatasetOption = False,
    train_only: TrainOnlyOption = False,
    no_tui: NoTuiOption = False,
    output: OutputOption = "auto",
) -> None:
    """All stages in order; what is done, and whose inputs have not changed, is skipped.

    On a terminal the job is started on its own and the console opens on it. With --no-tui or --output, or
    without a terminal, it runs in the foreground: SIGINT, SIGTERM or SIGUSR1 once is a staged stop, twice is now.
    """
    request = Request(
        folder,
        config,
        settings,
        max_patients,
        resume,
        checkpoint,
        rebuild,
        tuple(embeddings or ()),
        patterns,
        tuple(features or ()),
        output,
    )
    chosen = chosen_stages(stages, build_dataset, train_only)
    if no_tui or output != "auto" or not on_terminal():
        finish(run_foreground(request, chosen))
    else:
        run_with_console(request, chosen)


def stage_command(stage: Stage) -> Callable[..., None]:
    """The command that runs one stage, headless."""

    def command(
        folder: FolderOption = None,
        config: ConfigOption = None,
        settings: SetOption = None,
        max_patients: MaxPatientsOption = None,
        resume: ResumeOption = "auto",
        checkpoint: CheckpointOption = None,
        rebuild: RebuildOption = False,
        embeddings: EmbeddingsOption = None,
        patterns: PatternsOption = None,
        features: FeaturesOption = None,
        more: MoreArgument = None,
        stages: StagesOption = None,
        no_tui: NoTuiOption = False,
        output: OutputOption = "auto",
    ) -> None:
        if stages is not None and chosen_stages(stages) != (stage,):
            raise ConfigurationError(f"--stages {sanitise(stages)}: this command runs {stage.name} alone; use run")
        if more and bool(embeddings) == bool(features):
            raise ConfigurationError(f"unexpected: {sanitise(' '.join(map(str, more)))}")
        several = tuple(more or ())  # a pattern that the shell expanded: --features a.csv b.csv
        request = Request(
            folder,
            config,
            settings,
            max_patients,
            resume,
            checkpoint,
            rebuild,
            (*embeddings, *several) if embeddings else (),
            patterns,
            (*features, *several) if features else (),
            output,
        )
        finish(run_foreground(request, (stage,)))

    command.__doc__ = f"The stage {stage.name} alone, in the foreground. Options as of run."
    return command


def chosen_stages(names: str | None, build_dataset: bool = False, train_only: bool = False) -> tuple[Stage, ...]:
    """Raises ``ConfigurationError`` for a name that is no stage."""
    if build_dataset + train_only + (names is not None) > 1:
        raise ConfigurationError("--build-dataset, --train-only and --stages exclude each other")
    if build_dataset or train_only:
        names = "build" if build_dataset else "train"
    wanted = STAGE_NAMES if names is None else tuple(n.strip() for n in names.split(",") if n.strip())
    unknown = [sanitise(n, 40) for n in wanted if n not in STAGE_NAMES]
    if unknown or not wanted:
        raise ConfigurationError(f"--stages: no stage {', '.join(unknown)}; there are {', '.join(STAGE_NAMES)}")
    return tuple(s for s in STAGES if s.name in wanted)


@contextmanager
def engine_ahead(arguments: Sequence[str]) -> Iterator[None]:
    """Starts the engine of a stage's command before its ``arguments`` are understood, which alone takes longer than to
    start it; whoever did not ask for a run leaves it unused, and here it ends."""
    stage = next((s for s in STAGES if [s.name] == list(arguments[:1])), None)
    if stage is not None and not {"-h", "--help"} & set(arguments) and (engine := _engine(stage)) is not None:
        _ahead.append(engine)
    try:
        yield
    finally:
        while _ahead:
            _ahead.pop().end()


# At most one: that which waits for ``run_foreground``.
_ahead: list[EngineProcess] = []


def _engine(stage: Stage) -> EngineProcess | None:
    """It imports what its stage needs while this process reads the parameters. None where it does not start: the
    runner will try again, and say why."""
    from ecgconsole.jobs.engine_process import EngineProcess
    from ecgconsole.jobs.processes import new_marker

    try:
        return EngineProcess(stage, new_marker())
    except OSError:
        return None


def run_foreground(request: Request, stages: tuple[Stage, ...]) -> Outcome:
    first = _ahead.pop() if _ahead else _engine(stages[0])
    try:
        from ecgconsole.jobs.foreground import run_in_foreground
        from ecgconsole.jobs.runner import Job

        workspace = request.workspace
        config = resolved(workspace, request.config, request.settings, request.max_patients).config
        job = Job(workspace, config, stages, request.options(), tuple(sys.argv))
        return run_in_foreground(job, request.output, first)
    finally:
        if first is not None:
            first.end()


def run_with_console(request: Request, stages: tuple[Stage, ...]) -> None:
    """Starts the job on its own and opens the console on it."""
    from ecgconsole.jobs.steer import start_run

    workspace = request.workspace
    resolved(workspace, request.config, request.settings, request.max_patients)  # errors belong on this terminal
    arguments = ["run", "--no-tui", "--output", "json", "-o", str(workspace.folder)]
    arguments += ["--stages", ",".join(s.name for s in stages), "--resume", request.resume]
    if request.config is not None:
        arguments += ["-c", str(request.config)]
    for text in request.settings or []:
        arguments += ["--set", text]
    if request.max_patients is not None:
        arguments += ["--max-patients", str(request.max_patients)]
    if request.checkpoint is not None:
        arguments += ["--checkpoint", str(request.checkpoint)]
    if request.rebuild:
        arguments += ["--rebuild"]
    if request.patterns is not None:
        arguments += ["--patterns", str(request.patterns)]
    for name, paths in (("--embeddings", request.embeddings), ("--features", request.features)):
        for path in paths:
            arguments += [name, str(path)]
    start_run(workspace, arguments)
    open_console(workspace)


def open_console(workspace: Workspace | None, read_only: bool = False) -> None:
    """The console on a folder, by default the last one opened; where there is none, it asks for one.

    Raises ``ConfigurationError`` without a terminal: Textual itself would hang or scribble.
    """
    if not on_terminal():
        raise ConfigurationError(
            "the console needs a terminal. Without one: ecgconsole run --no-tui -o DIR, ecgconsole status -o DIR"
        )
    from ecgconsole.console.app import main
    from ecgconsole.console.memory import last_opened

    main(workspace or last_opened(), read_only)


def on_terminal() -> bool:
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def finish(outcome: Outcome) -> NoReturn:
    """Ends the process as the run ended: its message on stderr, its exit code."""
    from ecgconsole.jobs.processes import leave

    if outcome.exit_code and outcome.message:
        complain(outcome.message)
    leave(int(outcome.exit_code))


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()
