"""Rows and sentences about findings, from their JSON: pure, and content with whatever fields there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ecgconsole.console.rows import Row, Span
from ecgconsole.console.sources.findings import Findings
from ecgconsole.console.table import Cell, Column
from ecgconsole.jobs.lines import significant
from ecgconsole.text import sanitise

_CLASSES = {"pattern": ("✔", "done"), "patient-specific": ("○", "warning"), "artefact": ("✖", "muted")}
_NONE = Cell("–", float("nan"), "muted")
Made = tuple[list[Column], list[list[Cell]]]


def pattern_table(findings: Findings) -> Made:
    columns = [
        Column("", 3, True),
        Column("class", 18),
        Column("segments", 9, True),
        Column("people", 6, True),
        Column("rhythm"),
        Column("rate", 4, True),
        Column("RR CV", 6, True),
        Column("largest", 7, True),
        Column("stable", 6, True),
        Column("strongest association", 42),
    ]
    rows = []
    for p in findings.patterns.get("patterns", ()):
        sign, tone = _CLASSES.get(p.get("class", ""), ("?", "plain"))
        tests = findings.associations(p.get("id", -1))
        rows.append(
            [
                Cell(str(p.get("id")), p.get("id"), "strong"),
                Cell(f"{sign} {sanitise(p.get('class'))}", tone=tone),
                _number(p.get("segments"), "{:,.0f}"),
                _number(p.get("patients"), "{:,.0f}"),
                Cell(rhythm_of(p).removeprefix("rhythm ")),
                _number(p.get("heart_rate_bpm"), "{:.0f}"),
                _number(p.get("rr_cv"), "{:.3f}"),
                _number(p.get("largest_share"), "{:.0%}"),
                _number(p.get("jaccard"), "{:.2f}"),
                Cell(association(tests[0])) if tests else _NONE,
            ]
        )
    return columns, rows


def association_table(findings: Findings) -> Made:
    columns = [
        Column("", 1),
        Column("pattern", 7, True),
        Column("label"),
        Column("odds ratio", 24, True),
        Column("q", 8, True),
        Column("adjusted", 8, True),
        Column("max-T p", 8, True),
        Column("held out", 12),
    ]
    rows = []
    for t in findings.tests:
        found = bool(t.get("discovery"))
        again = t.get("replicated")
        said, tone = ("✔ replicated", "done") if again else ("✖ not", "failed")
        if again is None:
            said, tone = "– too few" if found else "", "muted"
        rows.append(
            [
                Cell("✔" if found else "", tone="done"),
                Cell(str(t.get("pattern")), t.get("pattern")),
                Cell(label_name(t.get("label"))),
                Cell(_ratio(t.get("odds_ratio"), t.get("ci_low"), t.get("ci_high")), _or_inf(t.get("odds_ratio"))),
                _number(t.get("q"), "{:.2g}"),
                _number(t.get("adjusted_odds_ratio"), "{:.3g}"),
                _number(t.get("p_max_t"), "{:.2g}"),
                Cell(said, tone=tone),
            ]
        )
    return columns, rows


def stroke_table(findings: Findings) -> Made:
    columns = [
        Column("endpoint", 22),
        Column("model", 16),
        Column("AUROC", 18, True),
        Column("events", 13, True),
        Column("slope", 6, True),
        Column("Brier", 6, True),
        Column("what it says"),
    ]
    rows = []
    for name, e in findings.stroke.get("endpoints", {}).items():
        events = Cell(f"{_count(e.get('events'))} of {_count(e.get('patients'))}", e.get("events"))
        endpoint = Cell(sanitise(name).replace("_", " "), tone="strong")
        verdicts = {d.get("to"): d for d in e.get("differences", ())}
        for m in e.get("models", ()):
            gain = verdicts.get(m.get("name"))
            estimated = m.get("status", "estimated") == "estimated"
            says = _verdict(gain) if estimated else sanitise(f"not estimable: {m.get('reason')}")
            rows.append(
                [
                    endpoint,
                    Cell(sanitise(m.get("name"))),
                    Cell(_interval(m.get("auroc"), m.get("ci")), m.get("auroc")) if estimated else _NONE,
                    events,
                    _number(m.get("calibration_slope"), "{:.2f}"),
                    _number(m.get("brier"), "{:.3f}"),
                    Cell(says, tone="done" if gain and gain.get("verdict") == "gain" else "plain"),
                ]
            )
        if not e.get("models"):
            why = sanitise(f"not estimable: {e.get('reason')}")
            rows.append([endpoint, _NONE, _NONE, events, _NONE, _NONE, Cell(why, tone="warning")])
    return columns, rows


def pattern_facts(findings: Findings, at: int, medoid: int) -> list[Row]:
    """What stands above a pattern's waveform, ``medoid`` counted from 0."""
    p = findings.patterns["patterns"][at]
    examples = examples_of(p)
    kind = "medoid" if medoid < len(p.get("medoids", ())) else "typical segment"
    effective = p.get("effective_patients")
    first: list[Span] = [
        (f"pattern {p.get('id')}", "strong"),
        (f" · {kind} {medoid + 1} of {len(examples)} (n, b: others)", "plain"),
        (f" · {rhythm_of(p)}", "plain"),
    ]
    if effective is not None:
        first.append((f" · as diverse as {effective:.1f} people", "muted"))
    rows: list[Row] = [first]
    if tests := findings.associations(p.get("id", -1)):
        rows.append([("with ", "muted"), (" · ".join(association(t) for t in tests[:3]), "plain")])
    return rows


def association_facts(findings: Findings, test: Mapping[str, Any]) -> list[Row]:
    """All numbers of one test, in sentences."""
    a, b, c, d = test.get("table") or (None,) * 4
    rows: list[Row] = [
        [(f"pattern {test.get('pattern')} and {label_name(test.get('label'))}", "strong")],
        _said("exposed patients", f"{_count(a)} with the label, {_count(b)} without"),
        _said("others", f"{_count(c)} with the label, {_count(d)} without"),
        _said("odds ratio", _ratio(test.get("odds_ratio"), test.get("ci_low"), test.get("ci_high"))
              + f", p {_text(test.get('p'))}, q {_text(test.get('q'))}"),
        _said("same age, sex, length", _ratio(test.get("adjusted_odds_ratio"), test.get("adjusted_ci_low"),
              test.get("adjusted_ci_high")) + f", permutation p {_text(test.get('p_permutation'))}"),
    ]  # fmt: skip
    fixed = test.get("fixed_segments") or {}
    if fixed:
        quartiles = _ratio(fixed.get("odds_ratio"), fixed.get("lower_quartile"), fixed.get("upper_quartile"))
        rows.append(_said("equal numbers of segments", f"{quartiles}, median p {_text(fixed.get('median_p'))}"))
    if again := test.get("replication"):
        said = f"{_count(again.get('exposed'))} exposed of {_count(again.get('patients'))}, p {_text(again.get('p'))}"
        rows.append(_said("held-out patients", said))
    elif test.get("discovery"):
        rows.append(_said("held-out patients", "too few to tell"))
    return [*rows, *control_facts(findings)]


def control_facts(findings: Findings) -> list[Row]:
    control = findings.validation.get("negative_control")
    if not control:
        return []
    fine = control.get("at_or_below_nominal")
    said = (
        f"{_count(control.get('runs_with_discoveries'))} of {_count(control.get('permutations'))} shuffled runs found "
        f"something ({_text(control.get('ci_low'))} to {_text(control.get('ci_high'))}; nominal "
        f"{_text(control.get('nominal'))})"
    )
    return [[*_said("negative control", said), (" ✔" if fine else " ▲ too many", "done" if fine else "warning")]]


def stroke_facts(findings: Findings, row: int) -> list[Row]:
    """The endpoint of a row of ``stroke_table`` in sentences, and the limits."""
    names = [
        name
        for name, e in findings.stroke.get("endpoints", {}).items()
        for _ in range(max(1, len(e.get("models", ()))))
    ]
    if not row < len(names):
        return []
    e = findings.stroke["endpoints"][names[row]]
    rows: list[Row] = [
        [(sanitise(names[row]).replace("_", " "), "strong"), (f" · {sanitise(e.get('meaning'))}", "plain")],
        _said("prevalence", f"{_count(e.get('events'))} of {_count(e.get('patients'))} patients, "
              f"{_count(e.get('unknown'))} unknown"),
    ]  # fmt: skip
    if e.get("status") != "estimated":
        rows.append([("not estimable: ", "warning"), (sanitise(e.get("reason")), "plain")])
    if size := e.get("sample_size"):
        rows.append(_said("sample size", sanitise(size.get("statement"))))
    rows += [_said("model", sanitise(_verdict_line(d))) for d in e.get("differences", ())]
    rows += [[("limit ", "muted"), (sanitise(text), "muted")] for text in findings.stroke.get("limits", ())]
    return rows


def examples_of(pattern: Mapping[str, Any]) -> list[int]:
    """Rows of the dataset to look at: medoids first, then segments as far from the centre as most are."""
    return [int(row) for row in (*pattern.get("medoids", ()), *pattern.get("typical", ()))]


def rhythm_of(pattern: Mapping[str, Any]) -> str:
    rhythm = pattern.get("rhythm")
    if not rhythm or rhythm.get("name") is None:
        return "rhythm not charted"
    name = sanitise(rhythm.get("name")).replace("_", " ")
    return f"{name} {rhythm['share']:.0%}" if rhythm.get("share") is not None else name


def label_name(label: Any) -> str:
    return sanitise(label).replace("_", " ")


def association(test: Mapping[str, Any]) -> str:
    """``✔ ever stroke 4.1 (1.9–8.8)``."""
    sign = "✔ " if test.get("discovery") else ""
    ratio = _ratio(test.get("odds_ratio"), test.get("ci_low"), test.get("ci_high"))
    return f"{sign}{label_name(test.get('label'))} {ratio}"


def _verdict(difference: Mapping[str, Any] | None) -> str:
    if difference is None:
        return "the model to begin from"
    by = _interval(difference.get("auroc"), difference.get("auroc_ci"), True)
    return f"{sanitise(difference.get('verdict'))}: AUROC {by}"


def _verdict_line(d: Mapping[str, Any]) -> str:
    return f"{d.get('to')} over {d.get('from')}: {_verdict(d)}"


def _said(what: str, text: str) -> list[Span]:
    return [(f"{what} ", "muted"), (text, "plain")]


def _ratio(value: Any, low: Any, high: Any) -> str:
    """Odds ratio with its interval; what is null is beyond all bounds."""
    return f"{_text(value, '∞')} ({_text(low, '0')}–{_text(high, '∞')})"


def _interval(value: Any, ends: Any, signed: bool = False) -> str:
    form = "{:+.3f}" if signed else "{:.2f}"
    if value is None:
        return "–"
    low, high = ends or (None, None)
    said = "" if low is None or high is None else f" ({form.format(low)}–{form.format(high)})"
    return form.format(value) + said


def _text(value: Any, none: str = "–") -> str:
    return none if value is None else significant(float(f"{value:.3g}"))


def _count(value: Any) -> str:
    return "–" if value is None else f"{value:,}"


def _number(value: Any, form: str) -> Cell:
    return _NONE if value is None else Cell(form.format(value), float(value))


def _or_inf(value: Any) -> float:
    return float("inf") if value is None else float(value)
