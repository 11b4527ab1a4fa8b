"""The parameters as a form: what the JSON Schema says of each, and the values being edited."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ecgconsole.config import Config, Resolved, flatten, json_schema, resolve
from ecgconsole.errors import ConfigurationError
from ecgconsole.text import sanitise


@dataclass(frozen=True)
class Parameter:
    """One parameter: ``kind`` says type and limits in words (``number above 0, at most 1``)."""

    key: str
    kind: str
    description: str
    default: Any

    @property
    def section(self) -> str:
        return self.key.partition(".")[0]


@cache
def parameters() -> dict[str, Parameter]:
    """Every parameter by dotted key, in the schema's order."""
    schema = json_schema()
    defaults = flatten(Config().model_dump(mode="json"))
    found: dict[str, Parameter] = {}
    for section, reference in schema["properties"].items():
        for name, part in schema["$defs"][_name(reference)]["properties"].items():
            key = f"{section}.{name}"
            found[key] = Parameter(key, kind_of(part), part.get("description", ""), defaults[key])
    return found


@cache
def section_texts() -> dict[str, str]:
    schema = json_schema()
    return {s: schema["$defs"][_name(r)].get("description", "") for s, r in schema["properties"].items()}


def kind_of(part: Mapping[str, Any]) -> str:
    """Type and limits of a schema's property, in words."""
    if "anyOf" in part:
        return " or ".join(kind_of(one) for one in part["anyOf"])
    if "enum" in part:
        return "one of " + ", ".join(map(str, part["enum"]))
    if part.get("type") == "array":
        if "prefixItems" in part:
            kinds = [kind_of(one) for one in part["prefixItems"]]
            return f"list of {len(kinds)}, each a {kinds[0]}" if len(set(kinds)) == 1 else "list of " + "; ".join(kinds)
        return f"list of {kind_of(part.get('items', {}))}"
    words = {
        "integer": "whole number",
        "boolean": "true or false",
        "string": "text",
        "number": "number",
        "null": "null",
    }
    limits = [
        f"{text} {part[key]:g}"
        for key, text in (
            ("exclusiveMinimum", "above"), ("minimum", "at least"),
            ("exclusiveMaximum", "below"), ("maximum", "at most"),
        )
        if key in part
    ]  # fmt: skip
    return ", ".join([words.get(str(part.get("type")), "value"), *limits])


@dataclass(frozen=True)
class Draft:
    """Edits (dotted key to value) over a file, or over the defaults; immutable, so that nothing is half changed."""

    file: Path | None = None
    edits: Mapping[str, Any] = field(default_factory=dict)

    def resolved(self) -> Resolved:
        """Raises ``ConfigurationError`` with every problem."""
        base = resolve(self.file, [f"{key}={json.dumps(value)}" for key, value in self.edits.items()])
        return Resolved(base.config, {k: "edited here" if k in self.edits else s for k, s in base.sources.items()})

    def with_value(self, key: str, value: Any) -> Draft:
        return Draft(self.file, {**self.edits, key: value})

    def without(self, key: str) -> Draft:
        return Draft(self.file, {k: v for k, v in self.edits.items() if k != key})

    def with_config(self, config: Config) -> Draft:
        """The edits that make it this configuration."""
        base = flatten(resolve(self.file).config.model_dump(mode="json"))
        wanted = flatten(config.model_dump(mode="json"))
        return Draft(self.file, {k: v for k, v in wanted.items() if base.get(k) != v})


def value_of(text: str) -> Any:
    """What was typed: JSON where it parses as JSON, else text, as on the command line."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def shown_value(value: Any) -> str:
    """As it is typed: text without quotes, the rest as JSON."""
    return sanitise(value) if isinstance(value, str) else json.dumps(value)


def problem_of(draft: Draft) -> str:
    """Every problem in one line; empty when the draft is valid."""
    try:
        draft.resolved()
    except ConfigurationError as error:
        return sanitise("; ".join(error.problems) or str(error))
    return ""


def _name(reference: Mapping[str, Any]) -> str:
    target = reference.get("$ref") or reference["allOf"][0]["$ref"]
    return str(target).rpartition("/")[2]
