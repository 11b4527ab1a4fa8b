"""The screen data."""

from __future__ import annotations

from ecgconsole.console.page import Page


class Data(Page):
    NAME = "data"
