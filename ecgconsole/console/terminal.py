"""The terminal that the console stands on: whether it keeps up, and what happens when it goes."""

from __future__ import annotations

import os
import select
import signal
import threading

_IN, _OUT = 0, 2  # where Textual reads and writes


def terminal_is_behind(output: int = _OUT) -> bool:
    """Whether it has not taken what was written: its buffer is full, and the next write, or one under way, waits."""
    poll = select.poll()
    poll.register(output, select.POLLOUT)
    return not poll.poll(0)


def end_with_the_terminal() -> None:
    """Ends this process when its terminal goes, by SIGHUP as everywhere, even where it was started with that ignored
    (``nohup``) or has the terminal without its session: it would stay, and read the end of its input for ever.
    """
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    threading.Thread(target=_wait_for_hangup, name="hangup", daemon=True).start()


def _wait_for_hangup() -> None:
    poll = select.poll()
    poll.register(_IN, 0)  # a hang-up is told unasked
    poll.poll()
    os.kill(os.getpid(), signal.SIGHUP)
