"""What the output files depend on, and whether they belong together."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ecgconsole.config import Config
from ecgconsole.dataset.people import Patient
from ecgconsole.dataset.plan import configuration_hash, identity_of
from ecgconsole.workspace import Workspace

# What the files depend on, and what only the columns of the split do.
MERGE_SETTINGS = ("data", "build", "clinical")
SPLIT_SETTINGS = ("split",)


def build_identity(config: Config, patients: Sequence[Patient]) -> str:
    """All that the output files depend on, as two SHA-256 joined by a dot: of settings, recordings and clinical
    tables; and of the split's settings and file."""
    digest = hashlib.sha256(config.identity(MERGE_SETTINGS).encode())
    digest.update(identity_of(configuration_hash(config), patients).encode())
    _add_files(digest, _clinical_files(config))
    of_split = hashlib.sha256(config.identity(SPLIT_SETTINGS).encode())
    _add_files(of_split, [Path(config.split.file)] if config.split.file else [])
    return f"{digest.hexdigest()}.{of_split.hexdigest()}"


def split_marker(workspace: Workspace) -> Path:
    """Exists while output files with different splits may lie side by side."""
    return workspace.shards / "split-in-change"


def _add_files(digest: Any, paths: Sequence[Path]) -> None:
    for path in paths:
        stat = os.stat(path)
        digest.update(f"\n{path}\0{stat.st_size}\0{stat.st_mtime_ns}".encode("utf-8", "surrogateescape"))


def _clinical_files(config: Config) -> list[Path]:
    if config.data.clinical_dir is None:
        return []
    return sorted(p for p in Path(config.data.clinical_dir).iterdir() if p.is_file())
