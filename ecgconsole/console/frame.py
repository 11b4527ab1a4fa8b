"""What stands around every screen: the tabs and the keys, as rows of spans for any width."""

from __future__ import annotations

from collections.abc import Sequence

from ecgconsole.console.keys import Key, shown
from ecgconsole.console.rows import Row, Span
from ecgconsole.console.screens import SCREENS

_ALWAYS = ("help", "leave")
_OF_A_JOB = ("stop", "stop_now", "pause", "checkpoint")


def tabs(current: str, width: int) -> Row:
    """``1 dashboard 2 run …``; where that does not fit, the labels of the others go, whole."""
    spans: list[Span] = []
    for labelled, gap in ((True, " "), (True, ""), (False, "")):
        spans = []
        for entry in SCREENS:
            here = entry.name == current
            click = f"app.show('{entry.name}')"
            label = f" {entry.label}{gap}" if labelled or here else ""
            spans += [(f" {entry.key}", "strong", click), (label, "selected" if here else "muted", click)]
        if sum(len(s[0]) for s in spans) <= width:
            break
    return spans


def keys_row(keys: Sequence[Key], width: int, read_only: bool, alive: bool, paused: bool) -> Row:
    """The keys that fit whole and have something to act upon; help and quit always, digits never: they are the tabs."""
    idle = ("start",) if alive else _OF_A_JOB
    wanted = [k for k in keys if k.label and not k.action.startswith("show(") and (k.screen or k.action not in idle)]
    wanted.sort(key=_rank)
    flag: list[Span] = [(" read-only ", "warning")] if read_only else []
    room = width - sum(len(s[0]) for s in flag) - sum(len(_text(k, paused)) for k in wanted if k.action in _ALWAYS)
    spans = flag
    for key in wanted:
        text = _text(key, paused)
        if key.action not in _ALWAYS:
            if len(text) > room:
                continue
            room -= len(text)
        click = f"app.on_page('{key.action}')" if key.screen else f"app.{key.action}"
        sign = shown(key.key)
        spans = [*spans, (f" {sign} ", "strong", click), (text[len(sign) + 2 :], "muted", click)]
    return spans


def _rank(key: Key) -> int:
    """The screen's own keys, then those of the job, then those of its chart, of which there are many."""
    if key.screen:
        return 2 if key.action.startswith("chart(") else 0
    return 1 if key.steers else 3


def _text(key: Key, paused: bool) -> str:
    return f" {shown(key.key)} {'resume' if key.action == 'pause' and paused else key.label} "
