"""A run in the foreground: the runner in this process, and a printer beside it."""

from __future__ import annotations

from ecgconsole.jobs.engine_process import EngineProcess
from ecgconsole.jobs.output import Output, Printer
from ecgconsole.jobs.runner import Job, Outcome, run_job
from ecgconsole.workspace import RunFolder


def run_in_foreground(job: Job, output: Output, first: EngineProcess | None = None) -> Outcome:
    """See ``run_job``; prints the run's events on stdout meanwhile."""
    printers: list[Printer] = []

    def start_printing(run: RunFolder) -> None:
        printers.append(Printer(run.events, output))
        printers[0].start()

    try:
        return run_job(job, start_printing, first)
    finally:
        for printer in printers:
            printer.finish()
