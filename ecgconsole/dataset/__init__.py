"""From a folder of recordings to ``full_dataset.h5``, and its reader: ``from ecgconsole.dataset import Dataset``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecgconsole.dataset.inspection import describe
    from ecgconsole.dataset.reader import Dataset

__all__ = ["Dataset", "describe"]


def __getattr__(name: str) -> Any:
    # On first use: worker processes and the command line import this package before they need NumPy or h5py.
    if name == "Dataset":
        from ecgconsole.dataset.reader import Dataset

        return Dataset
    if name == "describe":
        from ecgconsole.dataset.inspection import describe

        return describe
    raise AttributeError(f"module {__name__} has no attribute {name}")
