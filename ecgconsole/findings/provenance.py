"""Which bytes a result came from."""

from __future__ import annotations

import hashlib
from pathlib import Path


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def named_file(path: Path) -> dict[str, str]:
    """A file that lies beside the result, by name and hash."""
    return {"file": path.name, "sha256": file_sha256(path)}
