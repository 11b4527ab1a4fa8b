"""A cohort of made embeddings whose patterns are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ecgconsole.config import Config
from ecgconsole.stage import Reporter, Stop


@dataclass
class Planted:
    """Segments (n, d) of known patterns: ``pattern`` (n,), ``patient`` (n,), and where their files are."""

    embeddings: np.ndarray
    pattern: np.ndarray
    patient: np.ndarray
    files: list[Path]


def write_embeddings(path: Path, rows: np.ndarray, embeddings: np.ndarray, patient: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        embeddings=embeddings[rows].astype(np.float32),
        segment_index=rows.astype(np.int64),
        patient_id=np.array([f"p{p:06d}" for p in patient[rows]]),
        record=np.array([f"p00/p{p:06d}/p{p:06d}-2100-01-01-00-00" for p in patient[rows]]),
        start_seconds=(rows % 1000) * 10.0,
    )
    return path


def plant(folder: Path, patients: int = 60, segments: int = 40, patterns: int = 5, seed: int = 0) -> Planted:
    """Each patient has its own mixture of the patterns and its own offset; 70 % train, 15 %, 15 %."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(patterns, 24)) * 1.5
    patient = np.repeat(np.arange(patients), segments)
    mixtures = rng.dirichlet(np.full(patterns, 0.5), patients)
    pattern = np.concatenate([rng.choice(patterns, segments, p=m) for m in mixtures])
    offset = rng.normal(size=(patients, 24)) * 0.2
    x = (centres[pattern] + offset[patient] + rng.normal(size=(len(patient), 24)) * 0.4).astype(np.float32)
    split = np.select([patient < 0.7 * patients, patient < 0.85 * patients], ["train", "val"], "test")
    files = [
        write_embeddings(folder / "embeddings" / f"{name}_embeddings.npz", np.flatnonzero(split == name), x, patient)
        for name in ("train", "val", "test")
    ]
    return Planted(x, pattern, patient, files)


def quick_config(**sections: dict) -> Config:
    """Few repetitions; sections override."""
    base = {
        "discovery": {
            "half_splits": 6,
            "initialisations": 2,
            "cluster_counts": (3, 4, 5, 6, 8),
            "bootstrap_repetitions": 50,
            "density_sample": 500,
            "neighbour_sample": 500,
        },
        "validation": {"permutations": 300, "control_permutations": 40, "fixed_segments": 20, "fixed_repetitions": 3},
        "stroke": {
            "folds": 4,
            "repetitions": 2,
            "inner_folds": 2,
            "penalties": (0.01, 0.1),
            "bootstrap_repetitions": 200,
        },
    }
    return Config.model_validate(
        {name: {**base.get(name, {}), **sections.get(name, {})} for name in {*base, *sections}}
    )


class Events:
    """A reporter whose events can be looked at."""

    def __init__(self) -> None:
        self.events: list[dict] = []
        self.reporter = Reporter("test", self.events.append)
        self.stop = Stop()

    def codes(self) -> list[str]:
        return [e["code"] for e in self.events if e["kind"] == "warning"]


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory):
    """A folder with a result of every stage and its report; to be read, never changed."""
    from tests.findings.report_cohort import make_folder, write_report

    workspace = make_folder(tmp_path_factory.mktemp("reported"))
    write_report(workspace)
    return workspace


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    return plant(tmp_path / "output")
