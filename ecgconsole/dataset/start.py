"""Where the build stage begins: worker processes import what they need while this process imports its own.

This module imports nothing heavy.
"""

from __future__ import annotations

from typing import Any

from ecgconsole.config import Config
from ecgconsole.dataset.workers import start_server
from ecgconsole.stage import Reporter, Stop
from ecgconsole.workspace import Workspace


def run(config: Config, workspace: Workspace, reporter: Reporter, stop: Stop, **options: Any) -> dict[str, Any]:
    """``build.run``."""
    if config.build.executor == "local":
        start_server()
    from ecgconsole.dataset import build

    return build.run(config, workspace, reporter, stop, **options)
