from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def cli(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``cli("status", "-o", folder)``: the command in a process, without a terminal, in an empty folder."""

    def call(*arguments: object, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ECGCONSOLE_")}
        environment |= {"XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONPATH": "", **kwargs.pop("env", {})}
        return subprocess.run(
            [sys.executable, "-m", "ecgconsole", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=environment,
            cwd=tmp_path,
            **kwargs,
        )

    return call
