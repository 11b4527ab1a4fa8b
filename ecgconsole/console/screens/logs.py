"""The screen logs."""

from __future__ import annotations

from ecgconsole.console.page import Page


class Logs(Page):
    NAME = "logs"
