"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parent.parent


# The same examples in every run: a red build is red again. HYPOTHESIS_PROFILE=default looks for new ones.
settings.register_profile("reproducible", derandomize=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "reproducible"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real recordings, or a skip that names it."""
    folder = Path(os.environ.get("ECGCONSOLE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder}; set ECGCONSOLE_TEST_DATA to their folder")
    return folder
