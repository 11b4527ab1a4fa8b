"""The screen parameters."""

from __future__ import annotations

from ecgconsole.console.page import Page


class Parameters(Page):
    NAME = "parameters"
