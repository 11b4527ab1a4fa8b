"""Where the build stage begins: worker processes import what they need while this process imports its own.

This module imports nothing heavy.
"""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgconsole.dataset.workers import SINGLE_THREAD, start_server
from ecgconsole.stage import Reporter, Stop
from ecgconsole.workspace import Workspace

if TYPE_CHECKING:
    from ecgconsole.config import Config


def begin(file: Path) -> None:
    """Called first of all, with the file of the run's configuration."""
    gc.set_threshold(100_000)  # what is imported stays, and is not to be searched for garbage again and again
    os.environ.update(SINGLE_THREAD)  # before NumPy: its threads would idle at the cost of workers
    if json.loads(file.read_bytes())["build"]["executor"] == "local":
        start_server()


def run(config: Config, workspace: Workspace, reporter: Reporter, stop: Stop, **options: Any) -> dict[str, Any]:
    """``build.run``."""
    from ecgconsole.dataset import build

    return build.run(config, workspace, reporter, stop, **options)
