"""A build as it goes: a fold over its events, and the rows that show it in the chart's place."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

from ecgconsole.console.rows import Row, Span
from ecgconsole.jobs.lines import significant
from ecgconsole.jobs.snapshot import elapsed_seconds
from ecgconsole.text import count, sanitise, size

RECENT_CHUNKS = 20
_DAMAGED = re.compile(r"shard (\d+) is damaged")
_CELLS = {"done": ("█", "done"), "running": ("▒", "running"), "damaged": ("✖", "failed"), "waiting": ("·", "muted")}


class Building:
    """Chunks, what was rejected and how fast it goes, of the last build."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.chunks: set[int] = set()
        self.damaged: set[int] = set()
        self.rejected: Counter[str] = Counter()
        self.patients = self.segments = self.bytes = 0
        self.earlier_patients: int | None = None
        self.total_patients = 0
        self.ended = False
        self._recent: deque[tuple[str, int, int]] = deque(maxlen=RECENT_CHUNKS)

    @property
    def known(self) -> bool:
        return bool(self.chunks or self.total_patients)

    def add(self, event: Mapping[str, Any]) -> None:
        if event.get("stage") != "build":
            return
        kind = event.get("kind")
        if kind == "stage_started":
            self._begin()
        elif kind == "stage_finished":
            self.ended = event.get("status") == "done"
        elif kind == "progress" and event.get("unit") == "patients":
            self.total_patients = event.get("total") or 0
            if self.earlier_patients is None:
                self.earlier_patients = event.get("done") or 0
        elif kind == "warning" and event.get("code") == "shard-damaged":
            self.damaged |= {int(n) for n in _DAMAGED.findall(str(event.get("message")))}
        elif kind == "chunk":
            self.chunks.add(int(event.get("number") or 0))
            self.rejected.update(event.get("rejected") or {})
            self.patients += event.get("patients") or 0
            self.segments += event.get("segments") or 0
            self.bytes += event.get("bytes") or 0
            self._recent.append((str(event.get("time")), event.get("patients") or 0, event.get("segments") or 0))

    def per_minute(self) -> tuple[float, float] | None:
        """Patients and segments a minute over the last chunks; None below three."""
        if len(self._recent) < 3:
            return None
        seconds = elapsed_seconds(self._recent[0][0], self._recent[-1][0])
        if not seconds:
            return None
        later = list(self._recent)[1:]
        return 60 * sum(p for _, p, _ in later) / seconds, 60 * sum(s for _, _, s in later) / seconds

    def cells(self, shard_patients: int | None = None) -> list[str]:
        """A state for each shard. How many there are follows from the patients of those that are known, before the
        first from ``shard_patients``."""
        if not self.chunks and not self.total_patients:
            return []
        earlier = self.earlier_patients or 0
        of_one = self.patients / len(self.chunks) if self.chunks else shard_patients or self.total_patients
        before = round(earlier / of_one)
        total = max(
            [-(-self.total_patients // max(1, round(of_one))), len(self.chunks) + before, *self.chunks, *self.damaged]
        )
        states = ["waiting"] * total
        for number in self.chunks:
            states[number - 1] = "done"
        for number in self.damaged - self.chunks:
            states[number - 1] = "damaged"
        last = max(self.chunks, default=0)
        for index in range(total):
            if states[index] == "waiting" and before and not self.ended:
                states[index], before = "done", before - 1  # committed before this run
            elif states[index] == "waiting" and index < last:
                states[index] = "running"
        return ["done"] * total if self.ended else states


def build_rows(build: Building, width: int, height: int, shard_patients: int | None = None) -> list[Row]:
    """Shards as cells, the rate, and what was rejected by reason, in at most ``height`` rows."""
    if not build.known:
        return [[("no chunk yet: each committed shard shows here", "muted")]]
    cells = build.cells(shard_patients)
    per_cell = -(-len(cells) // max(1, width * max(1, height // 3)))
    if per_cell > 1:  # a cell for several shards has the least finished of their states
        order = ("damaged", "running", "waiting", "done")
        groups = [cells[i : i + per_cell] for i in range(0, len(cells), per_cell)]
        cells = [next(s for s in order if s in group) for group in groups]
    rows: list[Row] = [_cell_row(cells[i : i + width]) for i in range(0, len(cells), width)]
    several = f" · {per_cell} a cell" if per_cell > 1 else ""
    rows.append([(f"█ committed  ▒ in hand  · waiting  ✖ damaged, built again{several}", "muted")])
    facts = f"{count(len(build.chunks), 'shard')} this run: {count(build.segments, 'segment')} of "
    rows.append([(facts + f"{count(build.patients, 'patient')}, {size(build.bytes)}", "plain")])
    if speed := build.per_minute():
        rows.append([(f"{significant(round(speed[0], 1))} patients, {speed[1]:,.0f} segments a minute", "plain")])
    rejected = sum(build.rejected.values())
    windows = rejected + build.segments
    share = f" of {windows:,} windows" if windows else ""
    rows.append([(f"rejected {rejected:,}{share}" + (":" if rejected else ""), "strong")])
    return [*rows, *histogram(build.rejected, width, height - len(rows))]


def histogram(counts: Mapping[str, int], width: int, height: int) -> list[Row]:
    """A bar a reason, the most frequent first; what does not fit is summed up in the last row."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if height < 1 or not ordered:
        return []
    if len(ordered) > height:
        rest = ordered[height - 1 :]
        ordered = [*ordered[: height - 1], (f"{len(rest)} others", sum(n for _, n in rest))]
    names = [sanitise(name, 28) for name, _ in ordered]
    label, number = max(map(len, names)), max(len(f"{n:,}") for _, n in ordered)
    room = max(0, width - label - number - 3)
    top = max(n for _, n in ordered)
    return [
        [
            (f"{name:<{label}} ", "plain"),
            (f"{n:>{number},} ", "plain"),
            ("▇" * round(room * n / top) if n else "", "warning"),
        ]
        for name, (_, n) in zip(names, ordered, strict=True)
    ]


def _cell_row(states: list[str]) -> Row:
    spans: list[Span] = []
    for state in states:
        sign, tone = _CELLS[state]
        if spans and spans[-1][1] == tone and spans[-1][0][0] == sign:
            spans[-1] = (spans[-1][0] + sign, tone)
        else:
            spans.append((sign, tone))
    return spans
