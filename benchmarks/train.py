"""Segments/s of the training loop against a plain one, and against itself on one fixed batch.

usage: benchmarks/train.py OUT [--config configs/demo.json] [--seconds 10] [--pairs 7]

OUT is an output folder with a ``full_dataset.h5`` of 10 s segments (``ecgconsole build -o OUT`` makes one; nothing in
it is changed). Each pair runs both sides one after the other, so that a machine whose speed drifts slows both.
The same network, dataset and batch on all sides; augmentation too.
"""

# ruff: noqa: I001 - ecgconsole.training first: it tells OpenMP how to wait, which torch reads when it is imported.

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ecgconsole.training  # noqa: F401
import h5py
import numpy as np
import torch

from ecgconsole.config import Config, resolve
from ecgconsole.dataset import Dataset
from ecgconsole.stage import Reporter, Stop
from ecgconsole.training import train
from ecgconsole.training.device import arithmetic_of
from ecgconsole.training.loader import Batch, Loader
from ecgconsole.training.sampler import Sampler
from ecgconsole.training.segments import read_split
from ecgconsole.training.step import backward
from ecgconsole.workspace import Workspace

READ_FROM_DISK = Loader.batches


def one_fixed_batch(loader: Loader, epoch: int, first: int = 0) -> Iterator[Batch]:
    """The first batch of the epoch, as often as the epoch has batches: data that costs nothing."""
    batches = READ_FROM_DISK(loader, epoch, first)
    batch = next(batches)
    n = sum(1 for _ in loader._sampler.epoch(epoch, loader._stream)) - first
    batches.close()
    for _ in range(n):
        yield batch


def segments_per_second(config: Config, dataset: Path, fixed: bool, waits: list[float] | None = None) -> float:
    """Of a run of the training stage: the median of its epochs but the first, which warms up.

    Validation and checkpoints are not in this figure. ``waits`` collects the share of each epoch spent on waiting.
    """
    speeds: list[float] = []

    def collect(event: dict[str, Any]) -> None:
        if event["kind"] == "metric" and "segments_per_second" in event["values"]:
            speeds.append(event["values"]["segments_per_second"])
            if waits is not None:
                waits.append(event["values"]["loader_wait_share"])

    Loader.batches = one_fixed_batch if fixed else READ_FROM_DISK
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(folder)
        workspace.dataset.symlink_to(dataset.resolve())
        train.run(config, workspace, Reporter("train", collect), Stop())
    return statistics.median(speeds[1:] or speeds)


def processor_time(config: Config, path: Path) -> None:
    """Processor time of preparing a batch beside that of a step on it: holds on a machine that is busy besides."""
    settings, arithmetic = config.training, arithmetic_of("cpu", "fp32")
    with Dataset(path) as dataset:
        segments = read_split(dataset, "train", settings.weight_beat > 0)
        sampler = Sampler(
            segments, settings.batch_size, settings.segments_per_patient, settings.positive_within_seconds, 0
        )
        loader = Loader(dataset, sampler, segments.rhythm, 0, arithmetic.device)
        rate = dataset.sampling_rate_hz
        began = time.process_time()
        batches = [batch for epoch in range(3) for batch in READ_FROM_DISK(loader, epoch)]
        prepare_ms = 1000 * (time.process_time() - began) / len(batches)
    model = train.new_model(train.architecture_of(config), 0)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    steps_ms = []
    for batch in batches[:12]:
        began = time.process_time()
        backward(model, batch, settings, rate, arithmetic, scaler, micro=2 * settings.batch_size)
        steps_ms.append(1000 * (time.process_time() - began))
    step_ms = statistics.median(steps_ms[2:])
    print(
        f"processor time a batch: {prepare_ms:.2f} ms to prepare, {step_ms:.1f} ms for views, forward and backward: ",
        end="",
    )
    print(f"{100 * prepare_ms / step_ms:.2f} %", flush=True)


def plain_file(dataset: Path, path: Path) -> None:
    """What a plain build leaves: standardised float32, gzip."""
    with Dataset(dataset) as source, h5py.File(path, "w") as file:
        rows = np.flatnonzero(source.split == "train")
        shape = (len(rows), 2, source.segment_samples)
        out = file.create_dataset("segments", shape, "f4", chunks=(64, *shape[1:]), compression="gzip")
        for low in range(0, len(rows), 4096):
            x = source.physical(rows[low : low + 4096])
            out[low : low + 4096] = (x - x.mean(-1, keepdims=True)) / (x.std(-1, keepdims=True) + 1e-6)


def plain_segments_per_second(file: Path, args: argparse.Namespace, batch: int) -> float:
    command = [sys.executable, str(Path(__file__).with_name("naive_train.py")), str(file)]
    command += ["--seconds", str(args.seconds), "--batch", str(batch), "--workers", "1"]
    command += ["--config", str(args.config)] if args.config else []
    command += ["--device", args.device]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout)["segments_per_second"])


def report(name: str, ours: list[float], other: list[float], what: str) -> None:
    ratios = [a / b for a, b in zip(ours, other, strict=True)]
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    print(f"{name}: ours {statistics.median(ours):.1f}, {what} {statistics.median(other):.1f} segments/s; ", end="")
    print(f"ratio, median of {len(ratios)} pairs: {statistics.median(ratios):.3f} ({spread})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--config", type=Path, default=None)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--pairs", type=int, default=7)
    parser.set_defaults(device="cpu")
    args = parser.parse_args()

    settings = [f"training.max_minutes={args.seconds / 60}", "training.num_epochs=100000", "training.device=cpu"]
    config = resolve(args.config, settings, {}).config
    dataset = Workspace(args.out).dataset
    print(f"torch {version('torch')}, batch {config.training.batch_size}, {config.model}")
    processor_time(config, dataset)
    with_data, fixed, ours, plain = [], [], [], []
    for _ in range(args.pairs):
        with_data.append(segments_per_second(config, dataset, fixed=False))
        fixed.append(segments_per_second(config, dataset, fixed=True))
    report("data", with_data, fixed, "one fixed batch")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plain.h5"
        plain_file(dataset, file)
        for _ in range(args.pairs):
            ours.append(segments_per_second(config, dataset, fixed=False))
            plain.append(plain_segments_per_second(file, args, config.training.batch_size))
    report("loop", ours, plain, "plain loop")


if __name__ == "__main__":
    main()
