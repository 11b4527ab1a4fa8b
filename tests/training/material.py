"""A small dataset in the true file format, and networks small enough to train in a second."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from ecgconsole.config import Config, resolve
from ecgconsole.stage import Reporter, Stop
from ecgconsole.training import train
from ecgconsole.training.checkpoints import load
from ecgconsole.workspace import Workspace

RATE_HZ = 125.0
SECONDS = 4


def heartbeats(
    rng: np.random.Generator, seconds: float, rr_s: float, rr_cv: float, rate_hz: float = RATE_HZ
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ECG and PPG of one segment and its beat times in s: a narrow QRS, a T wave, a pulse 0.25 s later."""
    intervals_s = rr_s * (1 + rr_cv * rng.standard_normal(int(2 * seconds / rr_s) + 4))
    beats_s = np.cumsum(np.clip(intervals_s, 0.35, 2.0)) - rng.uniform(0, rr_s)
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    away_s = time_s[:, None] - beats_s
    qrs = np.exp(-((away_s / 0.02) ** 2)) - 0.2 * np.exp(-(((away_s - 0.045) / 0.02) ** 2))
    ecg = (qrs + 0.2 * np.exp(-(((away_s - 0.25) / 0.05) ** 2))).sum(1)
    ppg = np.exp(-(((away_s - 0.3) / 0.1) ** 2)).sum(1)
    return ecg, ppg, beats_s[(beats_s > 0) & (beats_s < seconds)]


def write_dataset(path: Path, patients: int = 12, segments: int = 12, seed: int = 0, **changes: Any) -> Path:
    """``full_dataset.h5`` as the interface describes it: 4 s segments, two signals but for a few ECG-only ones.

    ``changes`` replace columns (by path) or parameters of the section ``build``.
    """
    rng = np.random.default_rng(seed)
    n = patients * segments
    columns: dict[str, np.ndarray] = {
        "signal": np.zeros((n, 2, round(SECONDS * RATE_HZ)), "<i2"),
        "scale": np.full((n, 2), 1 / 2000, "<f4"),
        "present": np.ones((n, 2), bool),
        "segment/patient_id": np.repeat([f"p{i:06d}".encode() for i in range(patients)], segments),
        "segment/record": np.repeat([f"p00/p{i:06d}/r{i}".encode() for i in range(patients)], segments),
        "segment/start_seconds": np.tile(np.arange(segments) * float(SECONDS), patients),
        "segment/split": np.repeat([(b"train", b"train", b"val", b"test")[i % 4] for i in range(patients)], segments),
        "rhythm/median_rr_s": np.zeros(n, "<f4"),
        "rhythm/rr_cv": np.zeros(n, "<f4"),
        "rhythm/rr_irregular_share": np.zeros(n, "<f4"),
        "rhythm/rmssd_normalised": np.zeros(n, "<f4"),
        "rhythm/rr_entropy": np.zeros(n, "<f4"),
        "rhythm/early_beats": np.zeros(n, "<f4"),
        "patient/id": np.array([f"p{i:06d}".encode() for i in range(patients)]),
    }
    for row in range(n):
        patient = row // segments
        rr_s, rr_cv = 0.5 + 0.05 * (patient % 10) + 0.02 * rng.standard_normal(), 0.2 if patient % 3 == 0 else 0.02
        ecg, ppg, beats_s = heartbeats(rng, SECONDS, rr_s, rr_cv)
        shape = np.stack((ecg * (1 if patient % 2 else -1), ppg)) + 0.02 * rng.standard_normal((2, len(ecg)))
        columns["signal"][row] = np.round(2000 * shape)
        rr = np.diff(beats_s)
        columns["rhythm/median_rr_s"][row] = np.median(rr)
        columns["rhythm/rr_cv"][row] = rr.std() / rr.mean()
        columns["rhythm/rmssd_normalised"][row] = np.sqrt(np.mean(np.diff(rr) ** 2)) / rr.mean()
        columns["rhythm/rr_entropy"][row] = rr_cv - np.log(np.median(rr))
        columns["rhythm/early_beats"][row] = np.sum(rr < 0.8 * np.median(rr))
        columns["rhythm/rr_irregular_share"][row] = np.mean(np.abs(np.diff(rr)) > 0.1 * np.median(rr))
    columns["present"][5::17, 1] = False
    columns["signal"][5::17, 1] = 0
    build = {"ecg_band_hz": [0.5, 40.0], "ppg_band_hz": [0.5, 8.0]}
    build |= {k: v for k, v in changes.items() if k in build}
    columns |= {k: v for k, v in changes.items() if k in columns}
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file.create_dataset(name, data=values)
        file.attrs.update(
            format_version=1,
            sampling_rate_hz=changes.get("sampling_rate_hz", RATE_HZ),
            content_sha256=f"{seed:064d}",
            parameters=json.dumps({"build": build}),
        )
    return path


def small_config(*overrides: str) -> Config:
    """72 training segments, 4 steps an epoch."""
    settings = {
        "model.embedding_dim": 12,
        "model.hidden_dims": "[8,8]",
        "model.projection_dim": 8,
        "training.batch_size": 18,
        "training.segments_per_patient": 6,
        "training.num_epochs": 3,
        "training.num_workers": 0,
        "training.learning_rate": 3e-3,
        "training.negative_gap_seconds": 20,
        "training.positive_within_seconds": 4,
        "training.device": "cpu",
    }
    return resolve(None, [*(f"{k}={v}" for k, v in settings.items()), *overrides], {}).config


class Recorder:
    """A reporter that keeps its events, and may act on each."""

    def __init__(self, act: Callable[[dict[str, Any]], None] = lambda event: None) -> None:
        self.events: list[dict[str, Any]] = []
        self._act = act
        self.reporter = Reporter("train", self._receive)
        self.stop = Stop()

    def _receive(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        self._act(event)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [e for e in self.events if e["kind"] == kind]

    def warnings(self) -> list[str]:
        return [e["code"] for e in self.of("warning")]


def trained(workspace: Workspace, *overrides: str, resume: str = "auto", recorder: Recorder | None = None) -> dict:
    recorder = recorder or Recorder()
    return train.run(small_config(*overrides), workspace, recorder.reporter, recorder.stop, resume=resume)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load(path).contents["model"]


def assert_same_weights(a: Path, b: Path) -> None:
    one, other = weights(a), weights(b)
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def stopping_after(step: int) -> Recorder:
    """A recorder whose training stops before the step after ``step``."""
    recorder = Recorder()
    count = itertools.count(1)
    original = recorder.stop.wait_while_paused

    def at_boundary(seconds: float | None = None) -> None:
        if next(count) > step:
            recorder.stop.request()
        original(seconds)

    recorder.stop.wait_while_paused = at_boundary
    return recorder
