"""The screen runs."""

from __future__ import annotations

from ecgconsole.console.page import Page


class Runs(Page):
    NAME = "runs"
