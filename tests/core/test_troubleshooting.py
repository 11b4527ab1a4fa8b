"""Every warning that the program can give is explained on its page."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.conftest import REPOSITORY

_CODE = re.compile(r"[a-z]+(-[a-z0-9]+)*")


def codes_in(path: Path) -> set[str]:
    """First arguments of ``warning``, ``warn`` and ``Finding``, and ``code=`` of events, as far as they are literal."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        arguments = [k.value for k in node.keywords if k.arg == "code"]
        if name in ("warning", "warn", "_warn", "Finding"):
            arguments += node.args[:1]
        found |= {a.value for a in arguments if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    return {code for code in found if _CODE.fullmatch(code)}


def test_every_warning_code_is_on_the_page_and_no_other():
    page = (REPOSITORY / "docs" / "troubleshooting.md").read_text().partition("## Warnings")[2]
    explained = set(re.findall(r"^\| `([a-z0-9-]+)` \|", page, re.MULTILINE))
    raised = set().union(*(codes_in(p) for p in (REPOSITORY / "ecgconsole").rglob("*.py")))
    in_tables = {"patients-not-in-tables", "few-records-linked", "prevalence-unusual"}
    assert explained == raised | in_tables
