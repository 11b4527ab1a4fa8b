"""Metrics as event files for TensorBoard, beside the events that the runner writes."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ecgconsole.errors import ConfigurationError
from ecgconsole.stage import Reporter


@contextmanager
def recorded(reporter: Reporter, folder: Path, first_step: int) -> Iterator[Reporter]:
    """A reporter that hands everything on to ``reporter`` and writes the metrics to ``folder`` too.

    Values of earlier runs at or beyond ``first_step``, where this run begins, are hidden. Raises
    ``ConfigurationError`` where the extra is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigurationError("training.tensorboard needs the extra: pip install 'ecgconsole[tensorboard]'")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder), purge_step=first_step, flush_secs=10) as writer:

        def emit(event: dict[str, Any]) -> None:
            if event["kind"] == "metric":
                for name, value in event["values"].items():
                    if value is not None:
                        writer.add_scalar(name, value, event["step"])
            reporter.emit(event["kind"], **{k: v for k, v in event.items() if k not in ("kind", "stage")})

        yield Reporter(reporter.stage, emit)
