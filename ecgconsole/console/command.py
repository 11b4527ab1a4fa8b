"""The program's own commands, run in a process: whatever the console does to a file, a command does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from ecgconsole.errors import EcgConsoleError, error_of
from ecgconsole.text import sanitise

PATIENCE_SECONDS = 600.0


def run_command(arguments: Sequence[str], tolerated: tuple[int, ...] = ()) -> str:
    """What ``ecgconsole ARGUMENTS`` prints. Raises its own error, unless its exit code is ``tolerated``."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "ecgconsole", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EcgConsoleError(f"ecgconsole {arguments[0]} did not answer within {PATIENCE_SECONDS:.0f} s") from error
    if done.returncode and done.returncode not in tolerated:
        said = sanitise(done.stderr.strip().removeprefix("ecgconsole: "))
        raise error_of(done.returncode, said or f"ecgconsole {arguments[0]} ended with exit code {done.returncode}")
    return done.stdout


def command_json(arguments: Sequence[str], tolerated: tuple[int, ...] = ()) -> Any:
    """The same, for a command with ``--json``."""
    text = run_command([*arguments, "--json"], tolerated)
    try:
        return json.loads(text)
    except ValueError as error:
        raise EcgConsoleError(
            f"ecgconsole {' '.join(arguments[:2])} said what is no JSON: {sanitise(text, 200)}"
        ) from error
