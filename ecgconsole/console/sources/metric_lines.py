"""The lines of an event file, many at a time: metrics as arrays, and what else there is.

Lines that differ in nothing but their numbers have one *skeleton*: what is left without digits, points and signs. All
metrics of a skeleton are decoded at once, as one JSON list of their numbers, in a third of the time that a line by
itself takes; what fits none is decoded by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from pydantic_core import from_json

TIME_BYTES = 23
# As ``EventWriter`` writes them: the time and what follows the step of a metric; nothing of a training's progress, of
# which there are as many; any other line whole.
_LINES = re.compile(
    rb'^(?:\{"seq": \d+, "time": "(.{23})Z", "kind": "(?:metric", "stage": "train", "step": (.+)'
    rb'|progress", "stage": "train", .+)|(.+))$',
    re.MULTILINE,
)
_METRIC = b'{"time": "%bZ", "kind": "metric", "stage": "train", "step": %b'
_DIGITS = b"0123456789"
_DIGITS_AS_0 = bytes.maketrans(_DIGITS, b"0" * len(_DIGITS))
_OF_NUMBERS = _DIGITS + b".+-E"
_NO_NUMBERS = bytes(c for c in range(256) if c not in _OF_NUMBERS + b",:\n")
_LINE_AS_COMMA = bytes.maketrans(b"\n", b",")


class Piece(NamedTuple):
    """Metrics of the same names: ``lines`` (n,) which lines of the block they are, ``times`` n times of 23 bytes,
    ``numbers`` (2 + names, n): step, epoch and a value for each name, NaN for null.
    """

    names: tuple[str, ...]
    lines: Sequence[int]
    times: bytes
    numbers: np.ndarray


def take_apart(block: bytes) -> tuple[list[Piece], list[tuple[int, bytes]]]:
    """Whole lines as metrics and as all else but a training's progress, with their places. What is torn is left out
    of the metrics.
    """
    found = _LINES.findall(block)
    places = [i for i, (_, tail, _) in enumerate(found) if tail]
    others = [(i, line) for i, (_, _, line) in enumerate(found) if line]
    metrics = list(_by_skeleton(places, [found[i][0] for i in places], [found[i][1] for i in places]))
    odd = [(i, line) for i, line in others if b'"metric"' in line]
    return metrics + list(_one_by_one(odd)), others + [
        (i, _METRIC % found[i][:2]) for piece in metrics if "val_loss" in piece.names for i in piece.lines
    ]


def _by_skeleton(places: Sequence[int], times: Sequence[bytes], tails: Sequence[bytes]) -> Iterator[Piece]:
    if not tails:
        return
    body = b"\n".join(tails)
    if b"null" in body:
        body = body.replace(b": null", b": 9E999")  # which is read as infinite
    body = body.replace(b"e-", b"E-") + b"\n"
    skeletons = body.translate(None, _OF_NUMBERS)
    if skeletons == skeletons[: skeletons.index(b"\n") + 1] * len(tails):
        yield from _of_one_skeleton(places, times, tails, body)
        return
    each = skeletons.split(b"\n")[:-1]
    groups: dict[bytes, list[int]] = {}
    for i, skeleton in enumerate(each):
        if skeleton != each[0]:
            groups.setdefault(skeleton, []).append(i)
    bodies = body.split(b"\n")
    for group in ([i for i, skeleton in enumerate(each) if skeleton == each[0]], *groups.values()):
        yield from _of_one_skeleton(
            [places[i] for i in group],
            [times[i] for i in group],
            [tails[i] for i in group],
            b"\n".join([bodies[i] for i in group]) + b"\n",
        )


def _of_one_skeleton(
    places: Sequence[int], times: Sequence[bytes], tails: Sequence[bytes], body: bytes
) -> Iterator[Piece]:
    """``body``: the tails, their exponents by a capital letter, a newline after each."""
    n, names, joined = len(tails), _names(tails[0]), b"".join(times)
    numbers = None
    if (
        body[: body.index(b"\n")].translate(None, _OF_NUMBERS) == _skeleton(names)
        and joined.translate(_DIGITS_AS_0) == b"0000-00-00T00:00:00.000" * n
    ):
        numbers = _numbers(body, n, len(names))
    if numbers is None:
        yield from _one_by_one(zip(places, map(_METRIC.__mod__, zip(times, tails, strict=True)), strict=True))
    else:
        yield Piece(names, places, joined, numbers)


def _one_by_one(lines: Iterable[tuple[int, bytes]]) -> Iterator[Piece]:
    """The same by JSON."""
    for place, line in lines:
        try:
            event = json.loads(line)
            if event["kind"] != "metric":
                continue
            time = str(np.datetime64(event["time"].rstrip("Z"), "ms")).encode()
            values = {str(k): float("nan") if v is None else float(v) for k, v in event["values"].items()}
            numbers = np.array([[float(event["step"])], [float(event["epoch"])], *([v] for v in values.values())])
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            continue  # torn by a kill, or no metric of ours
        if len(time) == TIME_BYTES:
            numbers[np.isinf(numbers)] = np.nan
            yield Piece(tuple(values), [place], time, numbers)


def _names(tail: bytes) -> tuple[str, ...]:
    """Of the values of a metric; () where it has none."""
    try:
        return tuple(json.loads(b'{"step": ' + tail)["values"])
    except (ValueError, TypeError, KeyError):
        return ()


def _skeleton(names: Sequence[str]) -> bytes:
    """Of what ``EventWriter`` writes from the step on."""
    values = ", ".join(f"{json.dumps(name)}: " for name in names)
    return f', "epoch": , "values": {{{values}}}}}'.encode().replace(b"e-", b"E-").translate(None, _OF_NUMBERS)


def _numbers(body: bytes, n: int, names: int) -> np.ndarray | None:
    """(2 + names, n) of the lines of one skeleton; None where a name holds what a number may.

    Every number but the step follows a colon. A digit in a name leaves its colon behind it, and so no list of numbers.
    """
    text = body.translate(_LINE_AS_COMMA, _NO_NUMBERS)
    bare = text.replace(b",::", b",").replace(b",:", b",")
    if len(text) - len(bare) != n * (names + 2):
        return None
    try:
        found = np.array(from_json(b"[" + bare[:-1] + b"]"), float)
    except (ValueError, OverflowError):
        return None
    if len(found) != n * (names + 2):
        return None
    found[np.isinf(found)] = np.nan
    return np.ascontiguousarray(found.reshape(n, names + 2).T)
