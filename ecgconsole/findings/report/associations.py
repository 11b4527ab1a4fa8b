"""Which patterns go with which clinical labels: the forest plot and what protects from reading too much into it."""

from __future__ import annotations

from typing import Any

from ecgconsole.findings.report import charts
from ecgconsole.findings.report.disclosure import cell, is_small
from ecgconsole.findings.report.sources import Sources
from ecgconsole.findings.report.words import capital, label_words, p_value, significant

MOST_ROWS = 25


def section(sources: Sources, pattern_names: dict[int, str], minimum: int) -> dict[str, Any] | None:
    found = sources.validation
    if found is None:
        return None
    told = set(pattern_names) or {t["pattern"] for t in found["tests"]}
    tests = [t for t in found["tests"] if t["pattern"] in told and not _has_small_margin(t["table"], minimum)]
    shown = tests[:MOST_ROWS]
    scale = charts.forest_scale(
        [t["ci_low"] for t in shown if t["ci_low"]], [t["ci_high"] for t in shown if t["ci_high"]]
    )
    return {
        "rows": [_row(t, scale, pattern_names, minimum) for t in shown],
        "axis": charts.forest_axis(scale),
        "tested": len(found["tests"]),
        "not_shown": len(found["tests"]) - len(shown),
        "untested": len(found["untested"]),
        "discoveries": sum(bool(t["discovery"]) for t in found["tests"]),
        "replicated": sum(t["replicated"] is True for t in found["tests"]),
        "level": charts.percent(found["parameters"]["false_discovery_rate"]),
        "training": cell(found["patients"]["training"], minimum),
        "held_out": cell(found["patients"]["held_out"], minimum),
        "exposure_share": charts.percent(found["parameters"]["exposure_share"]),
        "exposure_segments": found["parameters"]["exposure_segments"],
        "min_patients": found["parameters"]["min_patients"],
        "control": _control(found["negative_control"]),
    }


def _has_small_margin(table: list[int], minimum: int) -> bool:
    a, b, c, d = table
    return any(is_small(n, minimum) for n in (a + b, c + d, a + c, b + d))


def _row(test: dict[str, Any], scale: Any, pattern_names: dict[int, str], minimum: int) -> dict[str, Any]:
    a, b, c, d = test["table"]
    # Margins with an odds ratio give the cells inside away.
    telling = any(is_small(n, minimum) for n in (a, b, c, d))
    low, high = test["ci_low"] or scale.low / 2, test["ci_high"] or scale.high * 2
    ratio = _with_interval(test["odds_ratio"], test["ci_low"], test["ci_high"])
    label = capital(label_words(test["label"]))
    number, _, rhythm = pattern_names.get(test["pattern"], str(test["pattern"])).partition(": ")
    pattern = f"Pattern {number} ({rhythm})" if rhythm else f"Pattern {number}"
    adjusted = _with_interval(test["adjusted_odds_ratio"], test["adjusted_ci_low"], test["adjusted_ci_high"])
    words = f"{pattern}, {label}: odds ratio {ratio}, adjusted {adjusted}"
    return {
        "pattern": pattern,
        "label": label,
        "ratio": ratio,
        "adjusted": adjusted,
        "q": p_value(test["q"]),
        "margins": "" if telling else f"{a + b:,} exposed, {a + c:,} with the label",
        "discovery": test["discovery"],
        "replicated": {True: "held in other patients", False: "did not hold in other patients", None: ""}[
            test["replicated"]
        ]
        or ("too few other patients to tell" if test["discovery"] else ""),
        "svg": charts.forest_row(
            scale, test["odds_ratio"], low, high, test["adjusted_odds_ratio"], bool(test["discovery"]), words
        ),
    }


def _with_interval(ratio: float | None, low: float | None, high: float | None) -> str:
    if ratio is None or (low is None and high is None):
        return "not estimable" if ratio is None else significant(ratio)
    return f"{significant(ratio)} ({significant(low or 0.0)} to {'∞' if high is None else significant(high)})"


def _control(found: dict[str, Any] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    alone = found["fisher_alone"]
    return {
        "permutations": f"{found['permutations']:,}",
        "nominal": charts.percent(found["nominal"]),
        "rate": charts.percent(round(found["rate"], 3)),
        "ci": f"{charts.percent(round(found['ci_low'], 3))} to {charts.percent(round(found['ci_high'], 3))}",
        "passed": found["at_or_below_nominal"],
        "alone_rate": charts.percent(round(alone["rate"], 3)),
        "alone_passed": alone["at_or_below_nominal"],
    }
