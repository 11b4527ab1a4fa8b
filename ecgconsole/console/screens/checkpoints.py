"""The screen checkpoints."""

from __future__ import annotations

from ecgconsole.console.page import Page


class Checkpoints(Page):
    NAME = "checkpoints"
