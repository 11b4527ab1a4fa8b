"""Fixtures of the training tests; what they are made of is in ``material``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ecgconsole.workspace import Workspace

from .material import trained, write_dataset


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tests share the machine; and sums come in the same order only with the same number of threads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _one_thread_again() -> Iterator[None]:
    """UMAP's numba sets the threads of OpenMP, which are also torch's, to all cores, and leaves them so."""
    yield
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


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, dataset_path: Path) -> Workspace:
    """Three epochs of four steps, never interrupted."""
    workspace = Workspace(tmp_path_factory.mktemp("undisturbed"))
    workspace.dataset.symlink_to(dataset_path)
    trained(workspace)
    return workspace
