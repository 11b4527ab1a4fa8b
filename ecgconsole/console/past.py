"""What earlier runs left: how long each stage took, and what a configuration would do again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ecgconsole.config import Config
from ecgconsole.jobs.done import read_records
from ecgconsole.jobs.state import read_run
from ecgconsole.stage import STAGES, Stage
from ecgconsole.text import duration
from ecgconsole.workspace import Workspace


class Plan(NamedTuple):
    """A stage under a configuration: ``why`` it would run, None when it is skipped; what it took when last done."""

    stage: Stage
    why: str | None
    last_seconds: float | None


def plan(config: Config, workspace: Workspace, stages: Sequence[Stage] = STAGES) -> list[Plan]:
    """By the parameters alone, without a look at 60 GB of input files: the run itself looks at those too."""
    records = read_records(workspace)
    run_again: set[str] = set()
    plans: list[Plan] = []
    for stage in stages:
        record = records.get(stage.name)
        above = [name for name in stage.after if name in run_again]
        if record is None:
            why: str | None = "not done yet"
        elif record.get("inputs", {}).get("settings") != config.identity(stage.settings):
            why = "parameters changed"
        elif above:
            why = f"comes after {' and '.join(above)}"
        elif any(not getattr(workspace, name).exists() for name in stage.outputs):
            why = "its files are missing"
        else:
            why = None
        if why is not None:
            run_again.add(stage.name)
        plans.append(Plan(stage, why, _seconds(workspace, stage.name, record and record.get("run_id"))))
    return plans


def what_is_redone(plans: Sequence[Plan]) -> str:
    """``2 h 10 m of build, 12 h of train are done again``: finished work that would be done again; else empty."""
    again = [p for p in plans if p.why not in (None, "not done yet")]
    if not again:
        return ""
    parts = [f"{duration(p.last_seconds)} of {p.stage.name}" if p.last_seconds else p.stage.name for p in again]
    return f"{', '.join(parts)} {'is' if len(parts) == 1 else 'are'} done again"


def _seconds(workspace: Workspace, stage: str, run_id: object) -> float | None:
    if not isinstance(run_id, str) or not run_id.isdigit() or not workspace.run(run_id).folder.is_dir():
        return None
    return next((s.seconds for s in read_run(workspace.run(run_id)).stages if s.name == stage), None)
