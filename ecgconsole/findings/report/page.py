"""The stage report: one page from all that the output folder holds, without a network, a date or a name."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ecgconsole import __version__
from ecgconsole.config import Config, ReportConfig
from ecgconsole.errors import InputError
from ecgconsole.findings.provenance import parameters as settings_of
from ecgconsole.findings.report import (
    associations,
    cards,
    cohort,
    embedding_map,
    learning,
    patterns,
    quality,
    risk_models,
    summary,
)
from ecgconsole.findings.report.sources import Sources, read_sources
from ecgconsole.findings.report.words import capital
from ecgconsole.stage import STAGES, Reporter, Stop
from ecgconsole.text import sanitise
from ecgconsole.workspace import Workspace, write_atomically

SECTIONS = ("cohort", "quality", "learning", "map", "patterns", "associations", "risk", "cards")


def run(config: Config, workspace: Workspace, reporter: Reporter, stop: Stop) -> dict[str, Any]:
    """Writes report.html; returns its size and which stages it had nothing of."""
    sources = read_sources(workspace)
    missing = sources.missing()
    if len(missing) == len(summary.STAGE_GIVES):
        raise InputError(
            f"{sanitise(workspace.folder)} holds no results to report; run build first, or name its folder"
        )
    page = render(sources, config, reporter, stop).encode()
    write_atomically(workspace.report, page)
    return {"bytes": len(page), "missing": missing}


def render(sources: Sources, config: Config, reporter: Reporter, stop: Stop) -> str:
    """The page as text. Same files and parameters, same text."""
    settings = config.report
    try:
        values = _sections(sources, settings, reporter, stop)
    except KeyError as error:
        raise InputError(
            f"a result in {sanitise(sources.workspace.folder)} lacks {sanitise(error, 200)}: another version wrote it; "
            "run its stage again"
        ) from error
    environment = Environment(
        loader=PackageLoader("ecgconsole.findings.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["capitalize_first"] = capital
    script = _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        **values,
        version=__version__,
        style=Markup(_asset("page.css")),
        script=Markup(script),
        script_hash=digest,
        map_json=_json(values["map"]),
        parameters=cards.parameters(sources, settings_of(config, "report")),
        missing=sources.missing(),
        disagreements=sources.disagreements(),
        stages=[(s.name, summary.STAGE_GIVES[s.name]) for s in STAGES if s.name in summary.STAGE_GIVES],
        minimum=settings.min_cell_patients,
    )


def _sections(sources: Sources, settings: ReportConfig, reporter: Reporter, stop: Stop) -> dict[str, Any]:
    minimum = settings.min_cell_patients
    names = patterns.names(sources.patterns, minimum)
    metadata = sources.metadata
    makers = {
        "cohort": lambda: (
            None
            if metadata is None
            else {
                "flow": cohort.flow(metadata, sources.rejected, sources.validation, minimum),
                "people": cohort.people(metadata, minimum),
                "labels": cohort.labels(metadata, minimum),
            }
        ),
        "quality": lambda: quality.section(sources, minimum),
        "learning": lambda: learning.section(sources),
        "map": lambda: embedding_map.section(sources, settings, names),
        "patterns": lambda: patterns.section(sources, settings),
        "associations": lambda: associations.section(sources, names, minimum),
        "risk": lambda: risk_models.section(sources, minimum),
        "cards": lambda: {
            "dataset": cards.dataset_card(sources, minimum),
            "model": cards.model_card(sources),
            "hashes": cards.hashes(sources),
            "versions": cards.versions(sources),
        },
    }
    values: dict[str, Any] = {"summary": summary.lines(sources, minimum)}
    for done, name in enumerate(SECTIONS):
        reporter.progress(done, len(SECTIONS), "sections")
        stop.wait_while_paused()
        stop.raise_if_requested("nothing of this stage, which takes a minute and starts again")
        values[name] = makers[name]()
    reporter.progress(len(SECTIONS), len(SECTIONS), "sections")
    values["limits"] = [
        (title, [str(limit) for limit in document["limits"]])
        for title, document in (
            ("Patterns", sources.patterns),
            ("Associations", sources.validation),
            ("Risk models", sources.stroke),
        )
        if document is not None
    ]
    return values


def _asset(name: str) -> str:
    return (resources.files("ecgconsole.findings.report") / "templates" / name).read_text(encoding="utf-8")


def _json(value: Any) -> Markup:
    """JSON that may stand in a script element: no ``<`` can end it or begin another."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)
