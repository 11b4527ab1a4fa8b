"""Which bytes and which parameters a result came from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ecgconsole.config import PATH_KEYS, Config, is_execution_key


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def named_file(path: Path) -> dict[str, str]:
    """A file that lies beside the result, by name and hash."""
    return {"file": path.name, "sha256": file_sha256(path)}


def parameters(config: Config, section: str) -> dict[str, Any]:
    """A section's parameters that change results; of files only the name, as folders differ between machines."""
    values = config.get(section).model_dump(mode="json")
    kept = {name: value for name, value in values.items() if not is_execution_key(f"{section}.{name}")}
    return {n: Path(v).name if v and f"{section}.{n}" in PATH_KEYS else v for n, v in kept.items()}
