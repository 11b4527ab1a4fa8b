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


def _chart(screen: str) -> tuple[Key, ...]:
    """The keys of a screen's chart: the wheel, dragging and a click do the same."""
    return (
        Key("plus,equals_sign", "chart('zoom_in')", "zoom in", "half as much of the x axis", screen=screen),
        Key("minus", "chart('zoom_out')", "zoom out", "twice as much of the x axis", screen=screen),
        Key("left_square_bracket", "chart('left')", "left", "earlier on the x axis", screen=screen),
        Key("right_square_bracket", "chart('right')", "right", "later on the x axis", screen=screen),
        Key("0", "chart('all')", "all", "the whole x axis", screen=screen),
        Key("c", "chart('crosshair')", "crosshair", "values at one place; a click sets it", screen=screen),
        Key("comma", "chart('cross_left')", "cross ←", "the crosshair to the left", screen=screen),
        Key("full_stop", "chart('cross_right')", "cross →", "the crosshair to the right", screen=screen),
    )


EVERYWHERE = (
    *(Key(s.key, f"show('{s.name}')", s.label, f"the screen {s.label}") for s in SCREENS),
    Key("r", "start", "run", "choose stages, see the forecast, start", True),
    Key("s", "stop", "stop", "stop after the unit in hand, with everything saved", True),
    Key("p", "pause", "pause", "pause at the next unit, or go on", True),
    Key("k", "checkpoint", "checkpoint", "save a checkpoint now", True),
    Key("S", "stop_now", "stop now", "stop at once; what was committed is kept", True),
    Key("y", "copy", "copy", "copy what this screen is about to the clipboard"),
    Key("ctrl+t", "next_theme", "theme", "the next theme"),
    Key("ctrl+o", "other_folder", "folder", "open another output folder"),
    Key("ctrl+p", "command_palette", "palette", "everything that can be done, by name"),
    Key("f12", "picture", "picture", "this screen as an SVG file in the output folder"),
    Key("question_mark", "help", "help", "this list"),
    Key("q", "leave", "quit", "leave the console; the job goes on"),
)
DASHBOARD = (
    Key("m", "next_metric", "metric", "the next metric, or the chunks of a build", screen="dashboard"),
    Key("M", "previous_metric", "", "the metric before", screen="dashboard"),
    Key("l", "chart('log')", "log axis", "logarithmic or linear axis", screen="dashboard"),
    Key("e", "events", "events", "the last events, whole", screen="dashboard"),
    Key("t", "processes", "processes", "the job's process tree", screen="dashboard"),
    Key("escape", "hide_away", "", "hide what happened while you were away", screen="dashboard"),
    Key("w", "chart('smooth')", "mean", "moving means of more and more points, then none", screen="dashboard"),
    *_chart("dashboard"),
)
RUN = (
    Key(
        "f",
        "forecast",
        "forecast",
        "patients, segments, bytes, minutes, free space; and what would stop it",
        screen="run",
    ),
    Key("r", "begin", "start", "start what is chosen", True, "run"),
)
PARAMETERS = (
    Key("enter", "edit", "edit", "change this value", screen="parameters"),
    Key("w", "save", "save", "write config.json of this folder", True, "parameters"),
    Key("u", "undo", "undo", "take the edit back", screen="parameters"),
    Key("d", "default", "default", "the default value", screen="parameters"),
    Key("c", "compare", "compare", "with the defaults, the last run, the best checkpoint", screen="parameters"),
    Key("slash", "filter", "find", "only parameters with this text in name or description", screen="parameters"),
    Key("escape", "all", "", "all parameters again", screen="parameters"),
    Key("j", "edit_json", "JSON", "edit all as JSON", screen="parameters"),
    Key("o", "preset", "preset", "load a preset", screen="parameters"),
    Key("W", "save_as", "save as", "write another file", True, "parameters"),
)
CHECKPOINTS = (
    Key("enter", "resume_from", "resume from here", "train on from this checkpoint", True, "checkpoints"),
    Key("p", "pin", "pin", "never delete it, or no longer", True, "checkpoints"),
    Key("v", "verify", "verify", "read it and compare its SHA-256", screen="checkpoints"),
    Key("V", "verify_all", "", "verify all of them", screen="checkpoints"),
    Key(
        "x",
        "delete",
        "delete",
        "delete it; never the latest, the best, a pinned one or one in use",
        True,
        "checkpoints",
    ),
    Key("d", "details", "details", "all that is known of it", screen="checkpoints"),
)


def _table(screen: str) -> tuple[Key, ...]:
    """The keys of a screen's table; arrows, page up and down, home, end and enter are the table's own."""
    return (
        Key("slash", "search", "search", "only the rows that contain a text", screen=screen),
        Key("o", "sort('next')", "sort", "by the next column; a click on a column's head does the same", screen=screen),
        Key("O", "sort('reversed')", "reverse", "the other way round", screen=screen),
    )


DATA: tuple[Key, ...] = (
    Key("t", "next_table", "tables", "patients, rejections by reason, labels", screen="data"),
    Key("n", "step('next')", "next", "the next segment, or rejected window", screen="data"),
    Key("b", "step('back')", "back", "the one before", screen="data"),
    Key("x", "rejected", "rejected", "this patient's rejected windows, and why", screen="data"),
    Key("escape", "back", "close", "back to the table", screen="data"),
    *_table("data"),
    *_chart("data"),
)
FINDINGS: tuple[Key, ...] = (
    Key("t", "next_table", "tables", "patterns, associations, the map of embeddings, stroke risk", screen="findings"),
    Key("n", "step('next')", "next", "the pattern's next medoid; elsewhere the next row", screen="findings"),
    Key("b", "step('back')", "back", "the one before", screen="findings"),
    Key("c", "colouring", "map", "the map; again: by pattern, rhythm, label, patient", screen="findings"),
    Key("w", "report", "report", "where the report is, to the clipboard", screen="findings"),
    *_table("findings"),
    *(k for k in _chart("findings") if k.key != "c"),
)
LOGS: tuple[Key, ...] = (
    Key("t", "next_file", "file", "the next log: the folder's, then each run's own", screen="logs"),
    Key("slash", "ask('search')", "search", "go up to a line that matches a regular expression", screen="logs"),
    Key("n", "again('up')", "up", "the next match upwards", screen="logs"),
    Key("N", "again('down')", "down", "the next match downwards", screen="logs"),
    Key("f", "ask('filter')", "filter", "only lines that match a regular expression", screen="logs"),
    Key("v", "level", "level", "all lines, warnings and errors, errors", screen="logs"),
    Key("g", "ask('time')", "time", "go to a time, as the log writes it (UTC)", screen="logs"),
    Key("e", "follow", "follow", "follow the end, or stay here", screen="logs"),
    Key("escape", "give_up", "stop searching", "end a search that takes long", screen="logs"),
)
RUNS: tuple[Key, ...] = (
    Key("space", "mark", "draw", "draw this run's metric, or no longer; so does enter", screen="runs"),
    Key("m", "metric", "metric", "the next metric", screen="runs"),
    Key("a", "axis", "axis", "by step, by epoch, by time", screen="runs"),
    Key("l", "chart('log')", "log axis", "logarithmic or linear axis", screen="runs"),
    Key("w", "chart('smooth')", "mean", "moving means of more and more points, then none", screen="runs"),
    Key(
        "i", "folder", "add folder", "runs of another output folder; the same folder again takes it away", screen="runs"
    ),
    *_table("runs"),
    *_chart("runs"),
)

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
