"""What is worth a sound: the end of a run, a warning, while the console looks on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ecgconsole.jobs.lines import line_of
from ecgconsole.text import sanitise

_CHARACTERS = 140


def alerts(events: Iterable[Mapping[str, Any]], since: str) -> list[tuple[str, str]]:
    """Text and severity of each warning and each end of a run with a time after ``since`` (UTC ISO 8601)."""
    found: list[tuple[str, str]] = []
    for event in events:
        if str(event.get("time")) <= since:
            continue
        if event.get("kind") == "warning":
            # Without its hint: the list of events has it, and a note must not cover the screen.
            found.append((sanitise(f"{event.get('code')}: {event.get('message')}", _CHARACTERS), "warning"))
        elif event.get("kind") == "run_finished":
            severity = "error" if event.get("status") == "failed" else "information"
            found.append((line_of(dict(event)), severity))
    return found


def osc9(text: str) -> str:
    """The terminal's own notification (iTerm2, WezTerm, kitty, Windows Terminal); others ignore it."""
    return f"\x1b]9;{sanitise(text, 200)}\x07"
