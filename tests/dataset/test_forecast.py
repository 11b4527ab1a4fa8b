"""What a build will give and take, told before it is done, held against what came."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ecgconsole.commands import checkup
from ecgconsole.config import Config
from ecgconsole.dataset.discovery import discover
from ecgconsole.dataset.forecast import Forecast, forecast
from ecgconsole.dataset.people import select
from ecgconsole.errors import ExitCode
from ecgconsole.jobs.lines import line_of
from ecgconsole.workspace import Workspace

Build = Callable[..., tuple[dict[str, Any], list[dict[str, Any]]]]


def forecast_of(config: Config) -> Forecast:
    return forecast(Path(str(config.data.waveform_dir)), select(discover(config).patients, config), config, 1)


@pytest.mark.usefixtures("kept_worker")
@pytest.mark.parametrize(
    ("folder", "settings"),
    [
        ("bidmc-matched", {}),
        ("mitdb", {"data.require": "ecg"}),
        ("mitdb", {"data.require": "ecg", "build.max_segments_per_patient": 60}),
        ("cinc2015", {}),
    ],
)
def test_segments_and_bytes_are_foretold_within_a_quarter_and_the_build_says_so(
    real_data: Path, config_of: Callable[..., Config], build: Build, tmp_path: Path, folder: str, settings: dict
) -> None:
    result, events = build(config_of(real_data / folder, **settings), tmp_path)
    *_, checked = [e for e in events if e["kind"] == "forecast"]
    assert checked["sampled"] >= 100
    assert checked["actual_segments"] == result["segments"]
    assert checked["actual_bytes"] == result["bytes"]
    for name in ("segments", "bytes"):
        assert abs(checked[name] / checked[f"actual_{name}"] - 1) < 0.25, (name, checked)
    for name in ("cpu_seconds", "seconds"):  # how near they come: benchmarks/forecast.py
        assert checked[name] > 0
        assert checked[f"actual_{name}"] > 0
    assert checked["space_bytes"] > checked["bytes"]


@pytest.mark.parametrize(
    ("folder", "workers", "settings"),
    [("bidmc-matched", 1, ()), ("mitdb", 2, ("data.require=ecg",))],
)
def test_memory_is_foretold_within_a_quarter(
    real_data: Path, tmp_path: Path, folder: str, workers: int, settings: tuple[str, ...]
) -> None:
    """By the real command: the processes of a test hold more than a build's."""
    wanted = (f"data.waveform_dir={real_data / folder}", f"build.num_workers={workers}", *settings)
    command = [sys.executable, "-m", "ecgconsole", "build", "-o", str(tmp_path), "--output", "json"]
    command += [a for s in wanted for a in ("--set", s)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    *_, checked = [e for e in map(json.loads, done.stdout.splitlines()) if e["kind"] == "forecast"]
    assert abs(checked["memory_bytes"] / checked["actual_memory_bytes"] - 1) < 0.25, checked


@pytest.mark.usefixtures("kept_worker")
def test_an_interrupted_build_foretells_but_does_not_compare_its_time(
    cohort: Path, config_of: Callable[..., Config], build: Build, tmp_path: Path
) -> None:
    settings = {"build.keep_shards": True, "build.max_patients": 4}
    _, events = build(config_of(cohort / "waveforms", **settings), tmp_path)
    assert [e for e in events if e["kind"] == "forecast"][-1]["actual_seconds"] is not None
    _, events = build(config_of(cohort / "waveforms", **settings, **{"split.seed": 1}), tmp_path)
    assert [e for e in events if e["kind"] == "forecast"][-1]["actual_seconds"] is None


def test_a_forecast_grows_with_patients_falls_with_workers_and_knows_the_maximum(
    cohort: Path, config_of: Callable[..., Config]
) -> None:
    few = forecast_of(config_of(cohort / "waveforms", **{"build.max_patients": 6, "build.selection": "id"}))
    every = forecast_of(config_of(cohort / "waveforms"))
    assert few.patients < every.patients
    assert few.segments < every.segments
    assert few.cpu_seconds < every.cpu_seconds
    limited = forecast_of(config_of(cohort / "waveforms", **{"build.max_segments_per_patient": 12}))
    assert limited.segments <= 12 * limited.patients
    config = config_of(cohort / "waveforms")
    patients = select(discover(config).patients, config)
    four = forecast(Path(str(config.data.waveform_dir)), patients, config, 4)
    assert four.memory_bytes > every.memory_bytes
    assert four.segments == every.segments
    tables = config_of(cohort / "waveforms", **{"data.clinical_dir": str(cohort / "clinical")})
    assert forecast_of(tables).memory_bytes > every.memory_bytes


def test_recordings_that_cannot_be_read_are_no_part_of_the_sample(
    own_cohort: Path, config_of: Callable[..., Config]
) -> None:
    config = config_of(own_cohort / "waveforms")
    patients = select(discover(config).patients, config)
    for path in (own_cohort / "waveforms").rglob("*.dat"):
        path.unlink()
    nothing = forecast(own_cohort / "waveforms", patients, config, 1)
    assert nothing.segments == sum(p.candidate_windows for p in patients)
    for path in (own_cohort / "waveforms").rglob("*.hea"):
        path.unlink()
    assert forecast(own_cohort / "waveforms", patients, config, 1).sampled == 0


def test_doctor_forecasts_and_ends_with_4_where_the_disk_cannot_hold_it(
    cohort: Path, config_of: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(cohort / "waveforms")
    made = forecast_of(config)

    def found(free: int) -> checkup.Check:
        monkeypatch.setattr(checkup.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
        return next(c for c in checkup.checkup(Workspace(tmp_path), config) if c.name == "forecast")

    assert found(2 * made.space_bytes).ok
    assert f"about {made.segments} segments" in found(2 * made.space_bytes).message
    short = found(made.space_bytes // 2)
    assert not short.ok
    assert short.exit_code == ExitCode.MACHINE
    assert (tmp_path / "header_index.jsonl.gz").exists()


def test_doctor_says_who_is_there_with_hours_of_what_and_which_names_nobody_asks_for(
    real_data: Path, config_of: Callable[..., Config]
) -> None:
    config = config_of(real_data / "bidmc-matched")
    (said,) = [c.message for c in checkup.checkup(None, config) if c.name == "recordings"]
    assert said.startswith("34 patients with 34 records, layout mimic3-matched: II 4 h 32 m, RESP 4 h 32 m, PLETH 3 h ")
    assert "not in the channel lists: RESP (34 records) (" in said


def test_a_person_reads_what_was_foretold_and_how_far_off_it_was() -> None:
    made = {"kind": "forecast", "stage": "build", "segments": 1200, "bytes": 3_000_000, "seconds": 90.0,
            "memory_bytes": 400_000_000, "space_bytes": 9_000_000}  # fmt: skip
    assert "1,200 segments, 3.0 MB, 1 m 30 s, 400 MB of memory" in line_of(made)
    came = {"actual_segments": 1000, "actual_bytes": 3_000_000, "actual_seconds": 180.0, "actual_memory_bytes": None}
    assert "segments +20 %, bytes +0 %, time -50 %" in line_of({**made, **came})
