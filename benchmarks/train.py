"""Segments/s of the training loop against a plain one, and against itself on one fixed batch.

usage: benchmarks/train.py OUT [--config configs/demo.json] [--seconds 8] [--pairs 7]

OUT is an output folder with a ``full_dataset.h5`` of 10 s segments (``ecgconsole build -o OUT`` makes one; nothing in
it is changed). One run of the training stage, after ``--seconds`` to warm up, is measured in turn with its data, on one
fixed batch (the two change places from round to round) and while it waits for the plain loop, a process of its own: a
machine whose speed drifts slows all three. The same network, dataset and batch on all sides; augmentation too.
Takes about ``pairs * (3 * seconds + 10)`` seconds.
"""

# ruff: noqa: I001 - ecgconsole.training first: it tells OpenMP how to wait, which torch reads when it is imported.

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
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


@dataclass
class Speeds:
    """Segments/s of each round; ``waits`` is the share of time that the side with data waited for it."""

    with_data: list[float] = field(default_factory=list)
    fixed: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)


def measured(config: Config, dataset: Path, pairs: int, seconds: float, plain: Callable[[], float]) -> Speeds:
    """Of a run of the training stage whose epochs last ``seconds``; validation and checkpoints are not in the figures.

    Epoch 0 warms up. Then come pairs of epochs, one with data and one on a fixed batch, and after each pair ``plain``.
    """
    speeds = Speeds()

    def has_data(epoch: int) -> bool:
        return epoch == 0 or epoch % 4 in (1, 0)

    def batches(loader: Loader, epoch: int, first: int = 0) -> Iterator[Batch]:
        with closing(READ_FROM_DISK(loader, epoch, first)) as source:
            if loader._stream:  # of validation
                yield next(source)
                return
            if not has_data(epoch):
                batch = next(source)
                source.close()
                endless = itertools.repeat(batch)
            else:
                again = (READ_FROM_DISK(loader, other) for other in itertools.count(1000 * (1 + epoch)))
                endless = itertools.chain(source, itertools.chain.from_iterable(again))
            until = time.monotonic() + seconds
            for batch in endless:
                yield batch
                if time.monotonic() > until:
                    return

    def collect(event: dict[str, Any]) -> None:
        values = event.get("values", {})
        epoch = event.get("epoch", 0) - 1
        if "segments_per_second" not in values or epoch == 0:
            return
        side = speeds.with_data if has_data(epoch) else speeds.fixed
        side.append(values["segments_per_second"])
        if has_data(epoch):
            speeds.waits.append(values["loader_wait_share"])
        if epoch % 2 == 0:
            speeds.plain.append(plain())

    epochs = {"num_epochs": 1 + 2 * pairs, "max_minutes": None, "patience": None}
    config = config.model_copy(update={"training": config.training.model_copy(update=epochs)})
    Loader.batches = batches
    try:
        with tempfile.TemporaryDirectory() as folder:
            workspace = Workspace(folder)
            workspace.dataset.symlink_to(dataset.resolve())
            train.run(config, workspace, Reporter("train", collect), Stop())
    finally:
        Loader.batches = READ_FROM_DISK
    return speeds


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


def plain_segments_per_second(file: Path, batch: int, seconds: float, config: Path, device: str) -> float:
    command = [sys.executable, str(Path(__file__).with_name("naive_train.py")), str(file)]
    command += ["--seconds", str(seconds), "--batch", str(batch), "--workers", "1", "--device", device]
    command += ["--config", str(config)]
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
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--pairs", type=int, default=7)
    args = parser.parse_args()

    config = resolve(args.config, ["training.device=cpu"], {}).config
    dataset = Workspace(args.out).dataset
    batch = config.training.batch_size
    print(f"torch {version('torch')}, batch {batch}, {config.model}")
    processor_time(config, dataset)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plain.h5"
        plain_file(dataset, file)
        settings = Path(folder) / "config.json"
        settings.write_text(config.to_json())
        plain = partial(plain_segments_per_second, file, batch, args.seconds, settings, "cpu")
        speeds = measured(config, dataset, args.pairs, args.seconds, plain)
    report("data", speeds.with_data, speeds.fixed, "one fixed batch")
    report("loop", speeds.with_data, speeds.plain, "plain loop")
    print(f"loader wait: {100 * statistics.median(speeds.waits):.2f} % of the time")


if __name__ == "__main__":
    main()
