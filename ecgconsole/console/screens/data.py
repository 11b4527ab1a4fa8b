"""The data: who is in it, what was left out and why, which labels there are, and every window to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.timer import Timer
from textual.widgets import Input
from textual.worker import get_current_worker

from ecgconsole.console.page import Page
from ecgconsole.console.rows import Row, Rows
from ecgconsole.console.search import SearchLine
from ecgconsole.console.sources import cohort as source
from ecgconsole.console.sources.cohort import Cohort, Person, Rejected, clock
from ecgconsole.console.table import Cell, Column, Table
from ecgconsole.console.waveform import Waveform
from ecgconsole.errors import EcgConsoleError
from ecgconsole.text import count, duration, sanitise

if TYPE_CHECKING:
    from ecgconsole.dataset.viewing import Window

TABLES = ("patients", "rejections", "labels")
# Of one's own accord nothing is read while a key is held down.
_REST_SECONDS = 0.08


@dataclass(frozen=True)
class Viewed:
    """What the viewer shows: a person's stored segment, or a rejected window."""

    person: Person | None = None
    segment: int = 0
    rejected: Rejected | None = None


class Data(Page):
    NAME = "data"
    DEFAULT_CSS = """
    Data #summary { height: 1; padding: 0 1; }
    Data #tables { height: 2fr; }
    Data #viewer { height: 3fr; }
    Data.-short #viewer, Data.-short.-viewing #tables { display: none; }
    Data.-short.-viewing #viewer { display: block; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._stamp: object = None
        self._cohort: Cohort | None = None
        self._kind = TABLES[0]
        self._listed: list[Rejected] = []
        self._listed_for = ""
        self._viewed = Viewed()
        self._rest: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Rows(id="summary")
        with Vertical(id="tables", classes="panel"):
            yield Table("reading the dataset", id="table")
        with Vertical(id="viewer", classes="panel"):
            yield Waveform(id="wave")
        yield SearchLine()

    def on_mount(self) -> None:
        self.entitle("#viewer", "Waveform")
        self._wave.show([[("enter on a patient shows the first segment", "muted")]], None)

    @property
    def _table(self) -> Table:
        return self.query_one("#table", Table)

    @property
    def _wave(self) -> Waveform:
        return self.query_one("#wave", Waveform)

    def take_focus(self) -> None:
        (self if self.has_class("-short") and self.has_class("-viewing") else self._table).focus()

    def on_descendant_blur(self) -> None:
        # A terminal that became smaller hides the table, and with it what had the focus.
        self.call_after_refresh(self._keep_focus)

    def _keep_focus(self) -> None:
        if self.screen.focused is None and self.console.page is self:
            self.take_focus()

    def fresh(self) -> None:
        workspace = self.session.workspace
        stamp = tuple(
            (stat.st_mtime_ns, stat.st_size) if path.exists() and (stat := path.stat()) else None
            for path in (workspace.dataset, workspace.rejected)
        )
        if stamp != self._stamp:
            self._stamp = stamp
            self._read()

    @work(thread=True, exclusive=True, group="cohort")
    def _read(self) -> None:
        salt = source.salt_of(self.session.workspace, self.session.read_only)
        try:
            found: Cohort | str = source.read_cohort(self.session.workspace, salt)
        except (EcgConsoleError, OSError) as error:
            found = str(error)
        self.app.call_from_thread(self._take, found)

    def _take(self, found: Cohort | str) -> None:
        if isinstance(found, str):
            self._cohort = None
            self._table.empty = sanitise(found)
            self._table.fill((), ())
            self.query_one("#summary", Rows).show([[("▲ ", "warning"), (sanitise(found), "plain")]])
            return
        self._cohort = found
        kept = [p for p in found.people if p.segments]
        facts = [
            count(len(kept), "patient"),
            f"{count(found.segments, 'segment')} of {found.segment_seconds:g} s",
            duration(found.segments * found.segment_seconds),
            f"{sum(n for n, _ in found.rejections.values()):,} rejected",
        ]
        self.query_one("#summary", Rows).show([[(" · ".join(facts), "strong")]])
        self._fill()

    def _fill(self) -> None:
        if self._cohort is None:
            return
        columns, rows = {
            "patients": lambda: patient_table(self._cohort),
            "rejections": lambda: rejection_table(self._cohort),
            "labels": lambda: label_table(self._cohort),
            "rejected": lambda: rejected_table(self._listed),
        }[self._kind]()
        self._table.fill(columns, rows)
        what = f"Rejected: {self._listed_for}" if self._kind == "rejected" else self._kind.capitalize()
        more = " (the first)" if len(self._listed) == source.REJECTED_SHOWN and self._kind == "rejected" else ""
        self.entitle("#tables", f"{what} · {len(rows):,}{more}")

    # Tables

    def action_next_table(self) -> None:
        at = TABLES.index(self._kind) + 1 if self._kind in TABLES else 0
        self._kind = TABLES[at % len(TABLES)]
        self.remove_class("-viewing")
        self._fill()
        self._table.focus()

    def action_back(self) -> None:
        if self.has_class("-viewing"):
            self.remove_class("-viewing")
        elif self._kind == "rejected":
            self._kind = TABLES[0]
            self._fill()
        self._table.focus()

    def action_search(self) -> None:
        self.query_one(SearchLine).open()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._table.search(event.value)

    def action_sort(self, how: str) -> None:
        self._table.sort(how)

    def on_table_moved(self, event: Table.Moved) -> None:
        if not self.has_class("-short"):
            self._view_cursor()

    def on_table_chosen(self, event: Table.Chosen) -> None:
        if self._kind == "rejections" and self._cohort is not None and self._table.cursor is not None:
            self._list_rejected(label=list(self._cohort.rejections)[self._table.cursor])
        elif self._kind != "labels":
            self.add_class("-viewing")
            if self.has_class("-short"):
                # The table is hidden now, and a hidden widget takes no keys.
                self.focus()
            self._view_cursor()

    # Windows

    def action_rejected(self) -> None:
        person = self._person()
        if person is not None:
            self._list_rejected(person=person)

    def action_step(self, way: str) -> None:
        by = 1 if way == "next" else -1
        person = self._viewed.person
        if self._kind == "rejected":
            self._table.action_move(by)
            self._view_cursor()
        elif person is not None:
            self._view(Viewed(person, min(max(self._viewed.segment + by, 0), person.segments - 1)))
        else:
            self._view_cursor()

    def action_chart(self, what: str) -> None:
        self._wave.act(what)

    def _person(self) -> Person | None:
        """Whom the cursor, or the viewer, is about."""
        if self._cohort is None:
            return None
        if self._kind == "patients" and self._table.cursor is not None:
            return self._cohort.people[self._table.cursor]
        return self._viewed.person

    def _view_cursor(self) -> None:
        at = self._table.cursor
        if at is None or self._cohort is None:
            return
        if self._kind == "patients":
            self._view(Viewed(self._cohort.people[at]))
        elif self._kind == "rejected":
            self._view(Viewed(rejected=self._listed[at]))

    def _view(self, viewed: Viewed) -> None:
        if viewed == self._viewed and self._rest is None:
            return
        self._viewed = viewed
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(_REST_SECONDS, self._rested)

    def _rested(self) -> None:
        self._rest = None
        if self._cohort is not None:
            self._read_window(self._viewed, self._cohort)

    @work(thread=True, exclusive=True, group="window")
    def _read_window(self, viewed: Viewed, cohort: Cohort) -> None:
        window: Window | None = None
        try:
            if viewed.rejected is not None:
                facts = rejected_facts(viewed.rejected)
                if viewed.rejected.level == "window":
                    window = source.read_recorded(cohort, viewed.rejected)
            else:
                person = viewed.person
                assert person is not None
                if person.segments:
                    window = source.read_segment(self.session.workspace, person.first + viewed.segment)
                facts = segment_facts(person, viewed.segment, window)
        except (EcgConsoleError, OSError, IndexError) as error:
            facts = [[("▲ ", "warning"), (sanitise(error), "warning")]]
        if not get_current_worker().is_cancelled:
            self.app.call_from_thread(self._wave.show, facts, window)

    @work(thread=True, exclusive=True, group="rejected")
    def _list_rejected(self, person: Person | None = None, label: str = "") -> None:
        salt = source.salt_of(self.session.workspace, self.session.read_only)
        listed = source.read_rejected(self.session.workspace, salt, person.patient_id if person else "", label)
        self.app.call_from_thread(self._show_rejected, listed, person.alias if person else label)

    def _show_rejected(self, listed: list[Rejected], of: str) -> None:
        if not listed:
            self.console.say(f"nothing of {of} was rejected")
            return
        self._kind, self._listed, self._listed_for = "rejected", listed, of
        self.remove_class("-viewing")
        self._fill()
        self._table.focus()
        self._view_cursor()

    def copied_text(self) -> str | None:
        """The command that says the same of the whole dataset."""
        return f"ecgconsole inspect {self.session.workspace.dataset}"


def patient_table(cohort: Cohort | None) -> tuple[list[Column], list[list[Cell]]]:
    columns = [
        Column("patient", 11),
        Column("segments", 9, True),
        Column("rejected", 9, True),
        Column("hours", 7, True),
        Column("rate", 5, True),
        Column("labels"),
        Column("split", 5),
        Column("records", 8, True),
    ]
    rows = []
    for p in cohort.people if cohort else ():
        endpoints = [n.removeprefix("ever_").replace("_", " ") for n in p.labels if n.startswith("ever_")]
        labels = ", ".join(n for n in endpoints if not n.endswith("brief"))
        rows.append(
            [
                Cell(p.alias, tone="plain" if p.segments else "warning"),
                Cell(f"{p.segments:,}", p.segments),
                Cell(f"{p.rejected:,}", p.rejected),
                Cell("–" if p.hours != p.hours else f"{p.hours:,.1f}", p.hours),
                Cell("–" if p.heart_rate_bpm != p.heart_rate_bpm else f"{p.heart_rate_bpm:.0f}", p.heart_rate_bpm),
                Cell(labels),
                Cell(p.split or "none"),
                Cell(f"{p.records}", p.records),
            ]
        )
    return columns, rows


def rejection_table(cohort: Cohort | None) -> tuple[list[Column], list[list[Cell]]]:
    found = cohort.rejections if cohort else {}
    most = max((n for n, _ in found.values()), default=1)
    columns = [Column("reason", 22), Column("times", 9, True), Column("", 16), Column("what it means")]
    rows = [
        [
            Cell(sanitise(name)),
            Cell(f"{n:,}", n),
            Cell("▇" * max(1, round(16 * n / most)), n, "warning"),
            Cell(description, tone="muted"),
        ]
        for name, (n, description) in found.items()
    ]
    return columns, rows


def label_table(cohort: Cohort | None) -> tuple[list[Column], list[list[Cell]]]:
    columns = [Column("label"), Column("share", 7, True), Column("yes", 7, True), Column("no", 7, True),
               Column("unknown", 8, True)]  # fmt: skip
    rows = []
    for name, (yes, no, unknown) in cohort.prevalence.items() if cohort else ():
        share = yes / (yes + no) if yes + no else float("nan")
        rows.append(
            [
                Cell(sanitise(name).replace("_", " ")),
                Cell("–" if share != share else f"{share:.1%}", share),
                Cell(f"{yes:,}", yes),
                Cell(f"{no:,}", no),
                Cell(f"{unknown:,}", unknown, "warning" if unknown else "plain"),
            ]
        )
    return columns, rows


def rejected_table(listed: list[Rejected]) -> tuple[list[Column], list[list[Cell]]]:
    columns = [Column("patient", 11), Column("at", 9, True), Column("reason", 20), Column("level", 8),
               Column("signal", 8), Column("detail")]  # fmt: skip
    rows = [
        [
            Cell(r.alias or "–"),
            Cell(clock(r.start_seconds), r.start_seconds),
            Cell(sanitise(r.label)),
            Cell(r.level),
            Cell(r.where),
            Cell(r.detail, tone="muted"),
        ]
        for r in listed
    ]
    return columns, rows


def segment_facts(person: Person, segment: int, window: Window | None) -> list[Row]:
    if window is None:
        return [[(person.alias, "strong"), (" · nothing of this patient was kept; x shows why", "warning")]]
    columns = window.columns
    facts = [f" · segment {segment + 1:,} of {person.segments:,}"]
    facts.append(f"{clock(float(columns.get('segment/start_seconds', float('nan'))))} into its recording")
    facts.append(person.split)
    if rhythm := sanitise(columns.get("segment/charted_rhythm", "")):
        facts.append(f"charted: {rhythm.replace('_', ' ')}")
    return [[(person.alias, "strong"), (" · ".join(facts), "plain")]]


def rejected_facts(rejected: Rejected) -> list[Row]:
    at = (
        f" · {clock(rejected.start_seconds)} into its recording"
        if rejected.level == "window"
        else f" · {rejected.level}"
    )
    head: Row = [("✖ rejected ", "failed"), (rejected.alias, "strong"), (at, "plain"), (" · as recorded", "muted")]
    return [head, *([(sanitise(line), "warning")] for line in source.why_rejected(rejected))]
