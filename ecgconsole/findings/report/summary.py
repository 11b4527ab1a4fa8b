"""The first lines of the page: what was found, in plain words, with what speaks against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ecgconsole.findings.report.disclosure import cell
from ecgconsole.findings.report.sources import Sources
from ecgconsole.findings.report.words import decimals, interval, plain
from ecgconsole.text import count

STAGE_GIVES = {
    "build": "the dataset",
    "train": "the encoder",
    "embed": "the embeddings",
    "discover": "the patterns",
    "validate": "the associations with clinical labels",
    "stroke": "the risk models",
}


@dataclass(frozen=True)
class Line:
    """A finding. ``tone``: good, caution or plain; it chooses a mark that stands beside words of the same meaning."""

    title: str
    text: str
    tone: str = "plain"


def lines(sources: Sources, minimum: int) -> list[Line]:
    found = []
    if sources.metadata is not None:
        segments = int(sources.metadata["segments"].sum())
        found.append(Line("Data", f"{cell(len(sources.metadata), minimum)} patients, {segments:,} clean segments."))
    if sources.patterns is not None:
        found.append(_patterns(sources.patterns))
    if sources.validation is not None:
        found.append(_associations(sources.validation))
    if sources.stroke is not None:
        found += [_risk(name, endpoint) for name, endpoint in sources.stroke["endpoints"].items()]
    return found


def _patterns(found: dict[str, Any]) -> Line:
    classes = [p["class"] for p in found["patterns"]]
    shared, ari = classes.count("pattern"), found["selection"]["median_ari"]
    text = f"{count(len(classes), 'cluster')}, {shared} of them shared by enough patients to be called a pattern. "
    agreement = f"two halves of the patients agree to {decimals(ari)} (1 is perfect, 0 is chance)"
    if ari < 0.5:
        return Line("Patterns", f"{text}Not stable: {agreement}. Use them to page through the data.", "caution")
    if not shared:
        return Line("Patterns", f"{text}There is nothing to conclude for other people.", "caution")
    steady = "Stable" if ari >= 0.75 else "Moderately stable"
    return Line("Patterns", f"{text}{steady}: {agreement}.", "good" if ari >= 0.75 else "plain")


def _associations(found: dict[str, Any]) -> Line:
    tests = found["tests"]
    discoveries = sum(bool(t["discovery"]) for t in tests)
    replicated = sum(t["replicated"] is True for t in tests)
    if not tests:
        return Line(
            "Associations", "No pattern and label had enough patients on each side: nothing was tested.", "caution"
        )
    text = f"{count(len(tests), 'pair')} of pattern and label tested. "
    if not discoveries:
        return Line("Associations", f"{text}None holds after correction for so many tests.")
    text += f"{discoveries} held after correction, {replicated} of them again in held-out patients."
    control = found["negative_control"]
    if control is not None and not control["at_or_below_nominal"]:
        return Line("Associations", f"{text} But the negative control found too much: do not believe them.", "caution")
    return Line("Associations", text, "good" if replicated else "plain")


def _risk(name: str, endpoint: dict[str, Any]) -> Line:
    title = plain(name).capitalize()
    if endpoint["status"] != "estimated":
        return Line(title, "Not estimable: too few patients with or without the event, or it is not known.", "caution")
    models = [m for m in endpoint["models"] if m["status"] == "estimated"]
    best = models[-1]
    gains = [d["to"] for d in endpoint["differences"] if d["verdict"] == "gain"]
    text = f"AUROC of the largest model ({best['name']}) {decimals(best['auroc'])} ({interval(*best['ci'])}). "
    if best["ci"][0] <= 0.5:
        text += "It may be no better than chance. "
    text += f"A gain over the model before it: {', '.join(gains)}." if gains else "No step shows evidence of a gain."
    return Line(title, text, "caution" if best["ci"][0] <= 0.5 else "plain")
