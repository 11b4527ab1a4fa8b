"""The keys: one table feeds dispatch, the footer and the help."""

from __future__ import annotations

from typing import NamedTuple


class Key(NamedTuple):
    """``action`` is a method ``action_<name>`` of the app; ``steers``: it touches the job."""

    key: str
    action: str
    label: str
    help: str
    steers: bool = False


KEYS = (
    Key("r", "start", "run", "run all stages; those already done are skipped", True),
    Key("s", "stop", "stop", "stop after the unit in hand, with everything saved", True),
    Key("S", "stop_now", "stop now", "stop at once; what was committed is kept", True),
    Key("p", "pause", "pause", "pause at the next unit, or go on", True),
    Key("k", "checkpoint", "checkpoint", "save a checkpoint now", True),
    Key("l", "log_axis", "log axis", "logarithmic or linear loss axis"),
    Key("question_mark", "help", "help", "this list"),
    Key("q", "leave", "quit", "leave the console; the job goes on"),
)


def shown(key: str) -> str:
    """The key as a person reads it."""
    return "?" if key == "question_mark" else key
