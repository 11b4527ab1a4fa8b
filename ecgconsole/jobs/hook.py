"""A command of the user's, run at a warning and at the end of a run: to send a message, ring a bell."""

from __future__ import annotations

import json
import shlex
import subprocess
import threading
from typing import Any

HOOK_SECONDS = 60.0


def call_hook(command: str, event: dict[str, Any]) -> threading.Thread:
    """Starts the command with the event on its standard input and returns; it has a minute.

    Whether it works is its own affair: a job does not fail because a message could not be sent.
    """
    thread = threading.Thread(target=_run, args=(command, json.dumps(event)), name="hook", daemon=True)
    thread.start()
    return thread


def _run(command: str, text: str) -> None:
    try:
        subprocess.run(
            shlex.split(command),
            input=text.encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=HOOK_SECONDS,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return
