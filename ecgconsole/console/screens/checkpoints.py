"""The checkpoints: which there are, whether they are whole, what one resumes from."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical

from ecgconsole.console.command import command_json, run_command
from ecgconsole.console.dialogs import Text
from ecgconsole.console.page import Page
from ecgconsole.console.rows import Row, Rows, sparkline, wrapped_rows
from ecgconsole.console.table import Cell, Column, Table
from ecgconsole.errors import EcgConsoleError, ExitCode
from ecgconsole.jobs.lines import local_time, significant
from ecgconsole.text import duration, sanitise, size

_TREND = Column("trend", 8)
COLUMNS = (
    Column(" ", 1), Column("epoch", 5, True), Column("step", 9, True), Column("val ↓", 8, True), _TREND,
    Column("age", 9, True), Column("size", 7, True), Column("kept because", 24), Column("state"),
)  # fmt: skip
NARROW = tuple(replace(c, width=14) if c.width == 24 else c for c in COLUMNS if c is not _TREND)
_NEVER_DELETED = ("latest", "best", "pinned")


@dataclass(frozen=True)
class Group:
    """Files with the same bytes: an epoch's checkpoint is often also the best and the latest."""

    files: tuple[dict[str, Any], ...]

    @property
    def first(self) -> dict[str, Any]:
        """The epoch's own file where there is one."""
        return next((f for f in self.files if Path(f["path"]).name.startswith("checkpoint_epoch_")), self.files[0])

    @property
    def path(self) -> str:
        return str(self.first["path"])

    @property
    def reasons(self) -> list[str]:
        """Those that keep it for longer than the newest ones first, and alone."""
        kept = {str(f["kept_because"]) for f in self.files if f["kept_because"]}
        kept |= {"pinned" for f in self.files if f["pinned"]}
        lasting = {k for k in kept if not k.startswith("newest")}
        return sorted(lasting or kept, key=lambda k: (k not in _NEVER_DELETED, k))

    @property
    def stamp(self) -> tuple[Any, ...]:
        """Changes when any of its files does."""
        return tuple((f["path"], f["modified"], f["size_bytes"]) for f in self.files)


def grouped(files: list[dict[str, Any]]) -> list[Group]:
    """The listed files (newest first) by their bytes; a damaged one stands alone."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for file in files:
        key = file["path"] if file["problem"] or not file["sha256"] else file["sha256"]
        groups.setdefault(str(key), []).append(file)
    return [Group(tuple(g)) for g in groups.values()]


class Checkpoints(Page):
    """A row a checkpoint; what is done to one is done by ``ecgconsole checkpoints``."""

    NAME = "checkpoints"
    DEFAULT_CSS = """
    Checkpoints #checkpoint-trend { height: 1; }
    Checkpoints #checkpoint-facts { height: 8; }
    Checkpoints.-short #checkpoint-facts { height: 5; border: none; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._groups: list[Group] = []
        self._listed_at: Any = None
        self._verified: dict[tuple[Any, ...], str | None] = {}  # stamp to problem, None: its bytes are right
        self._differences: dict[tuple[Any, ...], dict[str, list[Any]] | str] = {}
        self._message = "looking for checkpoints …"

    def compose(self) -> ComposeResult:
        yield Rows(id="checkpoint-trend")
        yield Table("", id="checkpoint-table")
        with Vertical(id="checkpoint-facts", classes="panel"):
            yield Rows(id="checkpoint-differences")

    def take_focus(self) -> None:
        self.query_one(Table).focus()
        self._list()

    def fresh(self) -> None:
        snapshot = self.session.snapshot
        saved = (snapshot.run_id, snapshot.checkpoint, snapshot.status) if snapshot else None
        if saved != self._listed_at:
            self._listed_at = saved
            self._list()
        self._draw()

    def _draw(self) -> None:
        losses = [g.first["val_loss"] for g in self._groups if g.first["val_loss"] is not None]
        worst, best = max(losses, default=0.0), min(losses, default=0.0)
        columns = NARROW if self.has_class("-narrow") else COLUMNS
        rows = [self._cells(g, best, worst) for g in self._groups]
        self.query_one(Table).fill(columns, rows, [g.path for g in self._groups])
        self.query_one("#checkpoint-trend", Rows).show([self._trend()])
        self._draw_facts()

    def _cells(self, group: Group, best: float, worst: float) -> list[Cell]:
        file = group.first
        epoch, step, loss = file["epoch"], file["step"], file["val_loss"]
        share = (loss - best) / (worst - best) if loss is not None and worst > best else 0.0
        age = self.session.now().timestamp() - file["modified"]
        nothing = float("nan")
        trend = [] if self.has_class("-narrow") else [Cell("" if loss is None else "▇" * (1 + round(7 * share)), share)]
        return [
            Cell("★" if "best" in group.reasons else " "),
            Cell("–" if epoch is None else str(epoch), nothing if epoch is None else epoch),
            Cell("–" if step is None else f"{step:,}", nothing if step is None else step),
            Cell("–" if loss is None else significant(loss), nothing if loss is None else loss),
            *trend,
            Cell(duration(age if age < 60 else age // 60 * 60).removesuffix(" 0 s"), age),
            Cell(size(file["size_bytes"]), file["size_bytes"]),
            Cell(sanitise(", ".join(group.reasons) or "–", 40)),
            self._state(group),
        ]

    def _state(self, group: Group) -> Cell:
        if problem := self._problem(group):
            what = "damaged" if self.has_class("-narrow") else sanitise(problem.rpartition(": ")[2], 48)
            return Cell(f"✖ {what}", tone="failed")
        return Cell("✔ verified", tone="done") if group.stamp in self._verified else Cell("○ whole")

    def _problem(self, group: Group) -> str | None:
        return self._verified.get(group.stamp) or group.first["problem"]

    def _trend(self) -> Row:
        if not self._groups:
            return [(self._message, "muted")]
        _, values = self.session.history.series("val_loss")
        losses = [float(v) for v in values]
        if not losses:
            return [(" no validation loss yet", "muted")]
        ends = f" {significant(losses[0])} → {significant(losses[-1])}, best {significant(min(losses))}"
        spark = sparkline(losses, max(8, self.size.width - len(ends) - 14))
        return [(" validation ", "strong"), (spark, "running"), (ends, "plain")]

    def _draw_facts(self) -> None:
        group, panel = self._selected, self.query_one("#checkpoint-facts", Vertical)
        panel.border_title = "Parameters that differ from the current ones"
        rows: list[Row] = []
        if group is None:
            rows = [[("training writes checkpoints here; press r to start", "muted")]] if not self._groups else []
        elif problem := self._problem(group):
            panel.border_title = "Damaged"
            rows = wrapped_rows([[(sanitise(problem), "failed")]], self.size.width - 6)
            rows.append([("resuming falls back to the newest whole one, and says so", "plain")])
        else:
            known = self._differences.get(group.stamp)
            if known is None:
                rows = [[("comparing …", "muted")]]
            elif isinstance(known, str):
                rows = [[(sanitise(known), "failed")]]
            else:
                width = max((len(k) for k in known), default=0)
                rows = [
                    [(f"{key:<{width}}  ", "strong"), (f"{json.dumps(a)}  →  {json.dumps(b)}", "plain")]
                    for key, (a, b) in known.items()
                ] or [[("none", "muted")]]
        self.query_one("#checkpoint-differences", Rows).show(rows)

    @property
    def _selected(self) -> Group | None:
        key = self.query_one(Table).key
        return next((g for g in self._groups if g.path == key), None)

    def copied_text(self) -> str | None:
        return self._selected.path if self._selected else None

    # Reading, in threads

    @work(thread=True, exclusive=True, group="checkpoint-list")
    def _list(self) -> None:
        groups: list[Group] = []
        message = "no checkpoints in this folder yet"
        if self.session.workspace.folder.is_dir():
            try:
                groups = grouped(command_json(self._command("list")))
            except EcgConsoleError as error:
                message = str(error)
        self.hand_back(self._take, groups, message)

    def _take(self, groups: list[Group], message: str) -> None:
        self._groups, self._message = groups, message
        self._draw()
        self._compare()

    def on_table_moved(self) -> None:
        self._draw_facts()
        self._compare()

    @work(thread=True, exclusive=True, group="checkpoint-compare")
    def _compare(self) -> None:
        """The differences of the row under the cursor, once; ``show`` reads its bytes, so it is verified too."""
        group = self._selected
        if group is None or group.stamp in self._differences or self._problem(group):
            return
        try:
            found = command_json(self._command("show", group.path))["differences"]
            problem = None
        except EcgConsoleError as error:
            found = problem = str(error)
        self._differences[group.stamp] = found
        self._verified[group.stamp] = problem
        self.hand_back(self._draw)

    @work(thread=True, group="checkpoint-verify")
    def _verify(self, groups: list[Group]) -> None:
        damaged = 0
        for group in groups:
            try:
                found = command_json(self._command("verify", group.path), tolerated=(ExitCode.INPUT,))
                self._verified[group.stamp] = found[0]["problem"]
            except EcgConsoleError as error:
                self._verified[group.stamp] = str(error)
            damaged += self._verified[group.stamp] is not None
            self.hand_back(self._draw)
        text = f"{len(groups)} read: " + (
            f"{damaged} damaged" if damaged else "their bytes are those that were written"
        )
        self.hand_back(self.console.say, text, "error" if damaged else "information")

    @work(thread=True, group="checkpoint-change")
    def _change(self, arguments: list[str], done: str) -> None:
        try:
            run_command(self._command(*arguments))
        except EcgConsoleError as error:
            self.hand_back(self.console.say, str(error), "error")
        else:
            self.hand_back(self.console.say, done)
        self.hand_back(self._list)

    def _command(self, *arguments: str) -> list[str]:
        return ["checkpoints", *arguments, "-o", str(self.session.workspace.folder)]

    # Actions

    def on_table_chosen(self) -> None:
        if not self.session.read_only:
            self.action_resume_from()

    def action_resume_from(self) -> None:
        group = self._selected
        if group is None:
            return
        if self.session.alive:
            self.console.say("a job runs here: stop it first (s), then resume from here", "warning")
        elif self._problem(group):
            self.console.say("a damaged checkpoint is not resumed from", "warning")
        else:
            epoch = group.first["epoch"]
            self.console.confirm(
                f"Train on from epoch {epoch} ({Path(group.path).name})? Newer checkpoints are set aside in previous/, "
                "not deleted; stages that are done are skipped.",
                lambda: self.console.start_run(["--resume", group.path]),
            )

    def action_pin(self) -> None:
        group = self._selected
        if group is None:
            return
        name = Path(group.path).name
        if not name.startswith("checkpoint_epoch_"):
            self.console.say("latest and best are other checkpoints each time: pin an epoch's", "warning")
            return
        pinned = bool(group.first["pinned"])
        undo = ["--undo"] if pinned else []
        self._change(["pin", group.path, *undo], f"{name} {'may be deleted again' if pinned else 'is kept for good'}")

    def action_verify(self) -> None:
        if self._selected is not None:
            self._verify([self._selected])

    def action_verify_all(self) -> None:
        if self._groups:
            self._verify(list(self._groups))

    def action_delete(self) -> None:
        group = self._selected
        if group is None:
            return
        name, never = Path(group.path).name, [r for r in group.reasons if r in _NEVER_DELETED]
        if never:
            self.console.say(f"{name} is not deleted: it is {' and '.join(never)}", "warning")
        else:
            self.console.confirm(
                f"Delete {name}?", lambda: self._change(["delete", group.path, "--yes"], f"{name} deleted")
            )

    def action_details(self) -> None:
        group = self._selected
        if group is None:
            return
        file = group.first
        modified = datetime.fromtimestamp(file["modified"], UTC).isoformat()
        facts = {
            "files": ", ".join(Path(f["path"]).name for f in group.files),
            "folder": str(Path(group.path).parent),
            "epoch": file["epoch"],
            "step": file["step"] and f"{file['step']:,}",
            "written": f"{modified[:10]} {local_time(modified)}",
            "size": size(file["size_bytes"]),
            "SHA-256": file["sha256"],
            "kept because": ", ".join(group.reasons) or "nothing keeps it: rotation may delete it",
        }
        lines = [f"{key:<14} {value}" for key, value in facts.items() if value is not None]
        metrics = (file["metrics"] or {}).items()
        lines += ["", *(f"{key:<24} {'–' if v is None else significant(v)}" for key, v in metrics)]
        if problem := self._problem(group):
            lines = [
                problem,
                "Resuming and embedding fall back to the newest whole checkpoint, and say so.",
                "",
                *lines,
            ]
        self.app.push_screen(Text(Path(group.path).name, "\n".join(sanitise(line) for line in lines)))
