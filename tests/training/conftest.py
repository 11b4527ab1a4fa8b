"""Fixtures of the training tests; what they are made of is in ``material``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ecgconsole.workspace import Workspace

from .material import write_dataset


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests share the machine; one thread also keeps the order of sums the same everywhere."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def dataset_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("dataset") / "full_dataset.h5")


@pytest.fixture
def workspace(tmp_path: Path, dataset_path: Path) -> Workspace:
    """An output folder with a dataset and nothing else."""
    workspace = Workspace(tmp_path / "out")
    workspace.folder.mkdir()
    workspace.dataset.symlink_to(dataset_path)
    return workspace
