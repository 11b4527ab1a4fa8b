"""Which patients make which shard, and what a shard's bytes depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ecgconsole import __version__, signals
from ecgconsole.config import Config, flatten
from ecgconsole.dataset.layout import FORMAT_VERSION
from ecgconsole.dataset.people import Patient

# Turn samples into rows.
FORMULAS = (Path(signals.__file__).parent, Path(__file__).with_name("segments.py"))
# Whatever else is configured, a shard of the same patients from the same files has the same bytes.
SHARD_SETTINGS = (
    "data.ecg_channels",
    "data.ppg_channels",
    "data.require",
    "build.min_segments_per_patient",
    "build.max_segments_per_patient",
    "build.segment_seconds",
    "build.sampling_rate_hz",
    "build.ecg_band_hz",
    "build.ppg_band_hz",
)
# A shard is also closed at this many windows, so that a lost one costs minutes and not hours.
MAXIMUM_SHARD_WINDOWS = 32_000
# Of 10 s at 125 Hz, deflated; measured from 1,200 (format 80 of MIMIC-III) to 1,850 (16 bits).
BYTES_PER_SIGNAL = 1_600
BYTES_OF_COLUMNS = 150
# In a shard nothing is deflated.
SHARD_BYTES_OF_COLUMNS = 400


@dataclass(frozen=True)
class ShardPlan:
    """Patients of one shard, in order. ``number`` counts from 1; ``identity`` names its file."""

    number: int
    identity: str
    configuration: str
    patients: tuple[Patient, ...]
    forecast_windows: int

    @property
    def file_name(self) -> str:
        return f"shard-{self.identity[:24]}.rows"

    @property
    def manifest_name(self) -> str:
        return f"shard-{self.identity[:24]}.json"


def plan_shards(patients: Sequence[Patient], config: Config) -> list[ShardPlan]:
    """Consecutive patients, at most ``build.shard_patients`` and ``MAXIMUM_SHARD_WINDOWS`` a shard."""
    groups: list[list[Patient]] = []
    windows = 0
    for patient in patients:
        n = forecast_windows(patient, config)
        if not groups or len(groups[-1]) >= config.build.shard_patients or windows + n > MAXIMUM_SHARD_WINDOWS:
            groups.append([])
            windows = 0
        groups[-1].append(patient)
        windows += n
    configuration = configuration_hash(config)
    return [
        ShardPlan(
            number=number,
            identity=identity_of(configuration, group),
            configuration=configuration,
            patients=tuple(group),
            forecast_windows=sum(forecast_windows(p, config) for p in group),
        )
        for number, group in enumerate(groups, 1)
    ]


def configuration_hash(config: Config) -> str:
    """Of everything that a shard's bytes depend on, besides the recordings: settings, program, format."""
    return hashlib.sha256(json.dumps(shard_settings(config), sort_keys=True).encode()).hexdigest()


def shard_settings(config: Config) -> dict[str, Any]:
    values = flatten(config.model_dump(mode="json"))
    return {
        **{key: values[key] for key in SHARD_SETTINGS},
        "ecgconsole": __version__,
        "format": FORMAT_VERSION,
        "formulas": formulas_hash(*FORMULAS),
    }


@cache
def formulas_hash(*places: Path) -> str:
    """Of the program's own text (files, or folders of them): what rows have and how it is computed may change with any
    line of it, and so nobody has to remember to count versions."""
    digest = hashlib.sha256()
    for place in places:
        for path in sorted(p for p in place.iterdir() if p.suffix in (".py", ".c")) if place.is_dir() else [place]:
            digest.update(f"\n{path.name}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def forecast_windows(patient: Patient, config: Config) -> int:
    """Segments that the patient can give at most."""
    limit = config.build.max_segments_per_patient
    return patient.candidate_windows if limit is None else min(patient.candidate_windows, limit)


def forecast_bytes(windows: int, config: Config) -> int:
    """Size that a dataset of so many segments will have, within about a third."""
    samples = config.build.segment_seconds * config.build.sampling_rate_hz
    signals = 1 if config.data.require in ("ecg", "ppg") else 2
    return int(windows * (signals * BYTES_PER_SIGNAL * samples / 1250 + BYTES_OF_COLUMNS))


def space_bytes(windows_to_build: int, windows: int, config: Config) -> int:
    """Space that a build needs: shards to build and the merged file are there together, with a third in reserve."""
    samples = round(config.build.segment_seconds * config.build.sampling_rate_hz)
    of_shards = windows_to_build * (2 * 2 * samples + SHARD_BYTES_OF_COLUMNS)
    return of_shards + 4 * forecast_bytes(windows, config) // 3


def identity_of(configuration: str, patients: Sequence[Patient]) -> str:
    """SHA-256 over settings, and the patients in order with the files of their records."""
    digest = hashlib.sha256(configuration.encode())
    for patient in patients:
        digest.update(f"\n{patient.patient_id}".encode("utf-8", "surrogateescape"))
        for recording in patient.recordings:
            digest.update(f"\n\t{recording.record}\t{recording.inputs}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
