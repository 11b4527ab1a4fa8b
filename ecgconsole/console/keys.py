"""The keys: one table feeds dispatch, the footer, the palette and the help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ecgconsole.console.screens import SCREENS


class Key(NamedTuple):
    """``action`` is a method ``action_<name>`` of the page ``screen``, or of the app where ``screen`` is empty.

    ``key`` may hold several, with commas; the first is shown. A key without a label is not in the footer.
    ``steers``: it touches the job or a file, and is gone with ``--read-only``. On a page its own keys come before
    those that hold everywhere.
    """

    key: str
    action: str
    label: str
    help: str
    steers: bool = False
    screen: str = ""

    @property
    def id(self) -> str:
        """Its name in the user's ``console.json``: ``stop``, ``show.data``, ``checkpoints.pin``."""
        action = self.action.replace("('", ".").removesuffix("')")
        return f"{self.screen}.{action}" if self.screen else action


EVERYWHERE = (
    *(Key(s.key, f"show('{s.name}')", s.label, f"the screen {s.label}") for s in SCREENS),
    Key("r", "start", "run", "choose stages, see the forecast, start", True),
    Key("s", "stop", "stop", "stop after the unit in hand, with everything saved", True),
    Key("S", "stop_now", "stop now", "stop at once; what was committed is kept", True),
    Key("p", "pause", "pause", "pause at the next unit, or go on", True),
    Key("k", "checkpoint", "checkpoint", "save a checkpoint now", True),
    Key("y", "copy", "copy", "copy what this screen is about to the clipboard"),
    Key("ctrl+t", "next_theme", "theme", "the next theme"),
    Key("ctrl+p", "command_palette", "palette", "everything that can be done, by name"),
    Key("f12", "picture", "picture", "this screen as an SVG file in the output folder"),
    Key("question_mark", "help", "help", "this list"),
    Key("q", "leave", "quit", "leave the console; the job goes on"),
)
DASHBOARD = (
    Key("m", "next_metric", "metric", "the next metric, or the chunks of a build", screen="dashboard"),
    Key("M", "previous_metric", "", "the metric before", screen="dashboard"),
    Key("l", "log_axis", "log axis", "logarithmic or linear axis", screen="dashboard"),
    Key("e", "events", "events", "the last events, whole", screen="dashboard"),
    Key("t", "processes", "processes", "the job's process tree", screen="dashboard"),
    Key("escape", "hide_away", "", "hide what happened while you were away", screen="dashboard"),
)
RUN: tuple[Key, ...] = ()
PARAMETERS: tuple[Key, ...] = ()
CHECKPOINTS: tuple[Key, ...] = ()
DATA: tuple[Key, ...] = ()
FINDINGS: tuple[Key, ...] = ()
LOGS: tuple[Key, ...] = ()
RUNS: tuple[Key, ...] = ()

KEYS: tuple[Key, ...] = (
    *EVERYWHERE, *DASHBOARD, *RUN, *PARAMETERS, *CHECKPOINTS, *DATA, *FINDINGS, *LOGS, *RUNS
)  # fmt: skip

_NAMES = {"question_mark": "?", "comma": ",", "full_stop": ".", "slash": "/", "space": "space", "escape": "esc",
          "left_square_bracket": "[", "right_square_bracket": "]", "plus": "+", "minus": "-", "equals_sign": "=",
          "left": "←", "right": "→", "up": "↑", "down": "↓"}  # fmt: skip


def shown(key: str) -> str:
    """The key as a person reads it."""
    first = key.partition(",")[0]
    return _NAMES.get(first, first.replace("ctrl+", "^"))


def remapped(wanted: Mapping[str, str], keys: tuple[Key, ...] = KEYS) -> tuple[tuple[Key, ...], list[str]]:
    """The keys with the user's own (``{"stop": "x"}``, by ``Key.id``), and what is wrong with those, in words.

    A name that does not exist, or a key that something else on the same screen has, is left as it was.
    """
    problems = [f"{name}: there is no such action" for name in wanted if name not in {k.id for k in keys}]
    result = list(keys)
    for index, key in enumerate(keys):
        new = wanted.get(key.id)
        if new is None or new == key.key:
            continue
        taken = next(
            (k for i, k in enumerate(result) if i != index and k.screen == key.screen and _share(k.key, new)), None
        )
        if taken is not None:
            problems.append(f"{key.id}: {shown(new)} is taken by {taken.id}")
        else:
            result[index] = key._replace(key=new)
    return tuple(result), problems


def _share(a: str, b: str) -> bool:
    return bool(set(a.split(",")) & set(b.split(",")))


def on_screen(keys: tuple[Key, ...], screen: str, read_only: bool) -> list[Key]:
    """The keys that do something there: the screen's own first, then those everywhere that they do not hide."""
    own = [k for k in keys if k.screen == screen]
    hidden = {part for k in own for part in k.key.split(",")}
    rest = [k for k in keys if not k.screen and k.key not in hidden]
    return [k for k in (*own, *rest) if not (read_only and k.steers)]
