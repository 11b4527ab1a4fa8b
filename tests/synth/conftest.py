"""A cohort shared by the tests, written once."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ecgconsole.synth import synthesise


@dataclass(frozen=True)
class Cohort:
    folder: Path
    summary: dict[str, Any]

    def truth(self, name: str) -> list[dict[str, str]]:
        with (self.folder / "truth" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    @property
    def record_paths(self) -> list[Path]:
        lines = (self.folder / "waveforms" / "RECORDS-waveforms").read_text().split()
        return [self.folder / "waveforms" / line for line in lines]


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = tmp_path_factory.mktemp("synth") / "cohort"
    return Cohort(folder, synthesise(folder, patients=30, hours=0.2, seed=5, workers=1))
