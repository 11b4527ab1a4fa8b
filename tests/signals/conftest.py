"""Configurations, and the beats that annotators saw in real records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ecgconsole.config import Config
from ecgconsole.signals import compiled

BEAT_SYMBOLS = frozenset("NLRBAaJSVrFejnE/fQ?")


@pytest.fixture(scope="module", params=["kernels", "numpy"])
def with_kernels_and_without(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything twice: as compiled, and as where nothing could be compiled."""
    if request.param == "kernels" and not compiled.available():
        pytest.skip("kernels.c is not compiled in this installation")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "numpy":
            patch.setattr(compiled, "available", lambda: False)
        yield


@pytest.fixture
def config() -> Callable[..., Config]:
    """A configuration with some parameters changed, by dotted key."""

    def make(**sections: dict[str, object]) -> Config:
        return Config.model_validate(sections)

    return make


@pytest.fixture(scope="session")
def annotated(real_data: Path) -> Callable[[str], tuple[NDArray, NDArray, list[tuple[float, float]]]]:
    """Beats of a record in seconds, their symbols, and episodes of ventricular flutter."""
    wfdb = pytest.importorskip("wfdb")

    def read(record: str) -> tuple[NDArray, NDArray, list[tuple[float, float]]]:
        annotation = wfdb.rdann(str(real_data / record), "atr")
        rate_hz = annotation.fs or wfdb.rdheader(str(real_data / record)).fs
        symbols, time_s = np.array(annotation.symbol), annotation.sample / rate_hz
        beat = np.array([s in BEAT_SYMBOLS for s in symbols])
        flutter = list(zip(time_s[symbols == "["], time_s[symbols == "]"], strict=True))
        return time_s[beat], symbols[beat], flutter

    return read
