"""Where the build stage begins: worker processes import what they need while this process imports its own.

This module imports nothing heavy.
"""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING, Any

from ecgconsole.dataset.workers import SINGLE_THREAD, start_server
from ecgconsole.stage import Reporter, Stop
from ecgconsole.workspace import Workspace

if TYPE_CHECKING:
    from ecgconsole.config import Config


def begin() -> None:
    """Called first of all, before the configuration is known: on a cluster, the server will have nothing to do."""
    gc.set_threshold(100_000)  # what is imported stays, and is not to be searched for garbage again and again
    os.environ.update(SINGLE_THREAD)  # before NumPy: its threads would idle at the cost of workers
    start_server()
    from ecgconsole.dataset import build  # noqa: F401 - now, while whoever started this reads the configuration


def run(config: Config, workspace: Workspace, reporter: Reporter, stop: Stop, **options: Any) -> dict[str, Any]:
    """``build.run``."""
    from ecgconsole.dataset import build

    return build.run(config, workspace, reporter, stop, **options)
