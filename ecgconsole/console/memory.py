"""What the console remembers between its openings: the folders, and the user's own keys and theme.

Folders are state, the rest is configuration, each where the XDG base directory specification puts it. A home that
cannot be written, or a file that says nonsense, costs the memory and nothing else.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from ecgconsole.workspace import Workspace, write_atomically

RECENT = 12


@dataclass(frozen=True)
class Settings:
    """``console.json``: ``theme`` and ``keys`` (action to key, see ``console.keys.Key.id``)."""

    theme: str | None = None
    keys: dict[str, str] = field(default_factory=dict)
    problem: str | None = None


def settings_path() -> Path:
    return _home("XDG_CONFIG_HOME", ".config") / "console.json"


def read_settings() -> Settings:
    """``problem`` says in words why a file that is there was not used."""
    path = settings_path()
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError) as error:
        return Settings(problem=f"{path} cannot be read: {error}")
    keys = data.get("keys", {}) if isinstance(data, dict) else None
    if not isinstance(keys, dict) or not all(isinstance(v, str) and v for v in keys.values()):
        return Settings(problem=f'{path}: write it as {{"theme": "…", "keys": {{"stop": "x"}}}}')
    theme = data.get("theme")
    return Settings(theme if isinstance(theme, str) else None, keys)


def write_theme(theme: str) -> None:
    settings = read_settings()
    if settings.problem is None:
        _write(settings_path(), json.dumps({"theme": theme, "keys": settings.keys}, indent=2) + "\n")


def recent_folders() -> list[Path]:
    """Output folders that were opened here and still exist, the last one first."""
    try:
        lines = _folders().read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return [Path(line) for line in lines if line and Path(line).is_dir()]


def last_opened() -> Workspace | None:
    folders = recent_folders()
    return Workspace(folders[0]) if folders else None


def remember_opened(workspace: Workspace) -> None:
    others = [f for f in recent_folders() if f != workspace.folder]
    _write(_folders(), "".join(f"{f}\n" for f in [workspace.folder, *others][:RECENT]))


def compared_folders() -> list[Path]:
    """Output folders whose runs are shown beside those of the one that is open."""
    try:
        lines = _compared().read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return [Path(line) for line in lines if line and Path(line).is_dir()]


def toggle_compared(folder: Path) -> None:
    """Adds the folder, or takes it away."""
    folders = compared_folders()
    kept = [f for f in folders if f != folder] if folder in folders else [*folders, folder]
    _write(_compared(), "".join(f"{f}\n" for f in kept))


def _compared() -> Path:
    return _home("XDG_STATE_HOME", ".local/state") / "compared_folders"


def _folders() -> Path:
    return _home("XDG_STATE_HOME", ".local/state") / "last_folder"


def _home(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / default) / "ecgconsole"


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    except OSError:
        return


def last_seen(workspace: Workspace) -> str | None:
    """When a console was last open on this folder, UTC ISO 8601."""
    seen = _read_seen().get(str(workspace.folder))
    return seen if isinstance(seen, str) else None


def remember_seen(workspace: Workspace, time: str) -> None:
    kept = {f: t for f, t in _read_seen().items() if Path(f).is_dir()}
    _write(_seen(), json.dumps({**kept, str(workspace.folder): time}) + "\n")


def _read_seen() -> dict[str, str]:
    try:
        data = json.loads(_seen().read_text())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _seen() -> Path:
    return _home("XDG_STATE_HOME", ".local/state") / "last_seen.json"
