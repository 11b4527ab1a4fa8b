"""The screen findings."""

from __future__ import annotations

from ecgconsole.console.page import Page


class Findings(Page):
    NAME = "findings"
