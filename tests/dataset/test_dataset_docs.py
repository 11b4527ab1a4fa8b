"""The page on the dataset names every column and every reason as the code has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from ecgconsole.config import Config
from ecgconsole.dataset.rejected import REJECTED_SCHEMA
from ecgconsole.signals.reasons import Reason
from ecgconsole.signals.windows import QUALITY_COLUMNS, RHYTHM_COLUMNS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "dataset.md"


def table(heading: str) -> list[list[str]]:
    """The rows of the table under a heading, cells without marks."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n{heading}\n", 1)[1].split("\n#", 1)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in row] for row in rows[2:]]


def test_every_reason_has_its_number_unit_and_meaning() -> None:
    assert table("### Reasons") == [[str(int(r)), r.label, r.unit, r.description] for r in Reason]


@pytest.mark.parametrize(
    ("heading", "columns"), [("### `/quality`", QUALITY_COLUMNS), ("### `/rhythm`", RHYTHM_COLUMNS)]
)
def test_every_column_has_its_unit_meaning_and_source(heading: str, columns: tuple) -> None:
    assert table(heading) == [[c.name, c.unit, c.description, c.source] for c in columns]


def test_every_column_of_segments_and_of_rejections_is_explained(
    cohort: Path, config_of: Callable[..., Config], build: Callable, kept_worker: None, tmp_path: Path
) -> None:
    build(config_of(cohort / "waveforms", **{"build.max_patients": 2, "build.min_segments_per_patient": 1}), tmp_path)
    with h5py.File(tmp_path / "full_dataset.h5") as file:
        in_file = set(file["segment"])
    named = [name.strip("` ") for row in table("### `/segment`") for name in row[0].split(",")]
    assert set(named) == in_file
    named = [name.strip("` ") for row in table("### `rejected.parquet`") for name in row[0].split(",")]
    assert sorted(named) == sorted(REJECTED_SCHEMA.names)
