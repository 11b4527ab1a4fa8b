"""Every error a user can meet, and the exit code of each: the one table.

A message says what, where and what to do, in one line where possible. Text that came
from a file goes through ``ecgconsole.text.sanitise`` before it enters a message.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    STAGE_FAILED = 1
    USAGE = 2
    INPUT = 3
    MACHINE = 4
    BUSY = 5
    STOPPED = 130


class EcgConsoleError(Exception):
    """A stage failed for a reason that has a message but no better class."""

    exit_code = ExitCode.STAGE_FAILED


class ConfigurationError(EcgConsoleError):
    """Usage or configuration is wrong, or things do not belong together.

    ``problems`` holds every problem found, each with its path (``training.learning_rate``).
    """

    exit_code = ExitCode.USAGE

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__("\n  ".join((message, *problems)))
        self.problems = problems


class InputError(EcgConsoleError):
    """The input cannot be used: no such folder, nothing usable in it, a corrupt named file."""

    exit_code = ExitCode.INPUT


class MachineError(EcgConsoleError):
    """The machine cannot: disk full, no GPU where one is required, out of memory, no locks."""

    exit_code = ExitCode.MACHINE


class FolderBusy(EcgConsoleError):
    """Another job holds the output folder."""

    exit_code = ExitCode.BUSY


class Stopped(EcgConsoleError):
    """The stage stopped on request, with its state saved; the same command continues."""

    exit_code = ExitCode.STOPPED


def error_of(exit_code: int, message: str) -> EcgConsoleError:
    """The exception that stands for an exit code, for a caller that knows only the number."""
    classes = (ConfigurationError, InputError, MachineError, FolderBusy, Stopped)
    return next((c(message) for c in classes if c.exit_code == exit_code), EcgConsoleError(message))
