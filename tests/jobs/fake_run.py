"""``ecgconsole run --no-tui`` with the fake stages: ``python fake_run.py DIR OUTPUT STAGES [key=value ...]``."""

from __future__ import annotations

import os
import sys

from fake_stages import OTHERS, PIPELINE

from ecgconsole.cli import finish
from ecgconsole.commands.options import complain
from ecgconsole.config import resolve
from ecgconsole.errors import EcgConsoleError
from ecgconsole.jobs.foreground import run_in_foreground
from ecgconsole.jobs.runner import Job, stages_named
from ecgconsole.workspace import Workspace


def main() -> None:
    os.umask(0o077)
    folder, output, names, *rest = sys.argv[1:]
    options = {}
    for text in [r for r in rest if r.startswith("--")]:
        stage, key, value = text[2:].split(":")
        options.setdefault(stage, {})[key] = value
    config = resolve(None, [r for r in rest if not r.startswith("--")], environment={}).config
    stages = stages_named(names.split(","), PIPELINE + OTHERS)
    job = Job(Workspace(folder), config, stages, options, tuple(sys.argv), PIPELINE + OTHERS)
    try:
        finish(run_in_foreground(job, output))
    except EcgConsoleError as error:
        complain(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
