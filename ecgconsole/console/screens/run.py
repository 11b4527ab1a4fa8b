"""The screen run."""

from __future__ import annotations

from ecgconsole.console.page import Page


class RunControl(Page):
    NAME = "run"
