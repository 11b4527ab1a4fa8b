"""Another split costs no reading, gives what a fresh build gives, and is whole or begun again, also when killed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from crash import survivors_of_kills

from ecgconsole.config import resolve
from ecgconsole.dataset import Dataset
from ecgconsole.dataset.build import run
from ecgconsole.errors import EcgConsoleError
from ecgconsole.stage import Reporter, Stop
from ecgconsole.workspace import Workspace

OUTPUTS = ("full_dataset_metadata.parquet", "clinical_features.csv", "rejected.parquet")
OTHER = {"split.seed": 5, "split.fractions": [0.5, 0.25, 0.25]}

Built = tuple[dict[str, Any], list[str]]


class Here:
    """Workers that work in this process."""

    n = 1
    deaths: tuple[type[BaseException], ...] = ()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except EcgConsoleError as error:
            future.set_exception(error)
        return future

    def replace(self) -> None:
        raise AssertionError("nothing dies here")


def build_there(cohort: Path, output: Path, settings: dict[str, Any]) -> Built:
    """Builds six people with their tables, in this process; the result and the kinds of events."""
    fixed = {
        "data.waveform_dir": str(cohort / "waveforms"),
        "data.clinical_dir": str(cohort / "clinical"),
        "build.max_patients": 6,
        "build.shard_patients": 4,
    }
    config = resolve(
        overrides=[f"{k}={json.dumps(v)}" for k, v in {**fixed, **settings}.items()], environment={}
    ).config
    events: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ecgconsole.dataset.build.start_workers", lambda *_: nullcontext(Here()))
        result = run(config, Workspace(output), Reporter("build", events.append), Stop())
    return {k: v for k, v in result.items() if k != "forecast"}, [e["kind"] for e in events]


@pytest.fixture
def built(cohort: Path) -> Callable[[Path, dict[str, Any]], Built]:
    return partial(build_there, cohort)


@pytest.fixture(scope="module")
def fresh(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``one``: a build; ``other``: a fresh build with the other split. Read-only by convention."""
    folder = tmp_path_factory.mktemp("fresh")
    build_there(cohort, folder / "one", {})
    build_there(cohort, folder / "other", OTHER)
    return folder


@pytest.fixture
def places(fresh: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Copies of them."""
    return shutil.copytree(fresh / "one", tmp_path / "one"), shutil.copytree(fresh / "other", tmp_path / "other")


def assert_same(one: Path, other: Path) -> None:
    for name in OUTPUTS:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    with Dataset(one / "full_dataset.h5") as a, Dataset(other / "full_dataset.h5") as b:
        assert a.verify()
        assert a.content_sha256 == b.content_sha256
        assert a.attributes == b.attributes
        assert a.parameters == b.parameters


def test_another_split_reads_no_recording_and_gives_what_a_fresh_build_gives(
    built: Callable[[Path, dict[str, Any]], Built], places: tuple[Path, Path], tmp_path: Path
) -> None:
    one, other = places
    first = (one / "full_dataset.h5").read_bytes()
    result, kinds = built(one, OTHER)
    assert "chunk" not in kinds
    assert_same(one, other)
    with Dataset(one / "full_dataset.h5") as dataset:
        assert result == {
            "patients": 6,
            "segments": len(dataset),
            "rejected": dataset.attributes["rejected"],
            "bytes": (one / "full_dataset.h5").stat().st_size,
            "content_sha256": dataset.content_sha256,
        }
    assert not (one / "shards").exists()
    # And back, through a file that names everybody.
    metadata = pd.read_parquet(other / "full_dataset_metadata.parquet")
    names = tmp_path / "split.csv"
    names.write_text(
        "patient,split\n" + "".join(f"{p},{s}\n" for p, s in zip(metadata.patient_id, metadata.split, strict=True))
    )
    _, kinds = built(one, {"split.file": str(names)})
    assert "chunk" not in kinds
    with Dataset(one / "full_dataset.h5") as a, Dataset(other / "full_dataset.h5") as b:
        assert np.array_equal(a.split, b.split)
    _, kinds = built(one, {})
    assert "chunk" not in kinds
    assert len((one / "full_dataset.h5").read_bytes()) < 1.01 * len(first)


def test_a_change_of_anything_else_or_a_damaged_file_reads_all_again(
    built: Callable[[Path, dict[str, Any]], Built], places: tuple[Path, Path]
) -> None:
    one, other = places
    with h5py.File(one / "full_dataset.h5", "r+") as file:
        file["scale"][0, 0] *= 2
    _, kinds = built(one, OTHER)
    assert "chunk" in kinds
    assert_same(one, other)
    (one / "full_dataset_metadata.parquet").write_bytes(b"PAR1 no more")
    _, kinds = built(one, {})
    assert "chunk" in kinds
    _, kinds = built(one, {**OTHER, "build.min_segments_per_patient": 11})
    assert "chunk" in kinds


def test_broken_off_between_two_files_it_is_done_whole_next_time_for_either_split(
    built: Callable[[Path, dict[str, Any]], Built],
    places: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, other = places
    kept = tmp_path / "kept"
    shutil.copytree(one, kept)
    for then, expected in ((OTHER, other), ({}, kept)):
        with monkeypatch.context() as broken:
            broken.setattr("ecgconsole.dataset.tables.features_csv", interrupted)
            with pytest.raises(KeyboardInterrupt):
                built(one, OTHER)
        with Dataset(one / "full_dataset.h5") as a, Dataset(other / "full_dataset.h5") as b:
            assert a.content_sha256 == b.content_sha256
        assert (one / "clinical_features.csv").read_bytes() != (other / "clinical_features.csv").read_bytes()
        _, kinds = built(one, then)
        assert "chunk" not in kinds
        assert_same(one, expected)
        built(one, {})


def interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("then", [OTHER, {}], ids=["the same command", "back to the first split"])
def test_killed_at_any_write_the_next_build_ends_with_files_that_agree(
    built: Callable[[Path, dict[str, Any]], Built], places: tuple[Path, Path], tmp_path: Path, then: dict[str, Any]
) -> None:
    one, other = places
    kept = tmp_path / "kept"
    shutil.copytree(one, kept)
    expected = other if then else kept

    kills = 0
    for _ in survivors_of_kills(lambda: built(one, OTHER)):
        _, kinds = built(one, then)
        assert "chunk" not in kinds
        assert_same(one, expected)
        kills += 1
        shutil.rmtree(one)
        shutil.copytree(kept, one)
    assert kills > 10
