"""How fast a GPU trains the default model, against itself on one fixed batch and against a plain loop, and why.

usage: benchmarks/gpu.py OUT [--config FILE] [--set KEY=VALUE]... [--seconds 20] [--pairs 7] [--device cuda]

OUT is an output folder with a ``full_dataset.h5`` of 10 s segments (``ecgconsole build -o OUT`` makes one; nothing in
it is changed). Prints the device's name and a table; on a machine without a GPU it says "not measured", unless
``--device cpu`` asks for the same on the processor. Goals on one H200 in bf16, default model and batch: 20,000
segments/s, loader wait under 2 %, ten times the plain loop.
"""

# ruff: noqa: I001 - ecgconsole.training first: it tells OpenMP how to wait, which torch reads when it is imported.

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import ecgconsole.training  # noqa: F401
import torch
from torch.profiler import ProfilerActivity, profile

from ecgconsole.config import Config, resolve
from ecgconsole.dataset import Dataset
from ecgconsole.training import train as training
from ecgconsole.training.compiling import compile_encoders
from ecgconsole.training.device import arithmetic_of
from ecgconsole.training.augment import crop_samples
from ecgconsole.training.loader import Loader
from ecgconsole.training.sampler import Sampler
from ecgconsole.training.segments import read_split
from ecgconsole.training.step import backward
from ecgconsole.stage import Reporter
from ecgconsole.workspace import Workspace
from train import measured, plain_file, plain_segments_per_second

PROFILED_STEPS = 20
SHOWN_OPERATIONS = 15


def where_time_goes(config: Config, path: Path) -> str:
    """The operations of ``PROFILED_STEPS`` steps, by time on the device, as a table."""
    settings = config.training
    arithmetic = arithmetic_of(settings.device, settings.precision)
    device = arithmetic.device
    model = training.new_model(training.architecture_of(config), 0).to(device)
    optimizer = torch.optim.AdamW(model.parameters())
    scaler = torch.amp.GradScaler(device.type, enabled=False)
    with Dataset(path) as dataset:
        segments = read_split(dataset, "train", settings.weight_beat > 0)
        order = (settings.batch_size, settings.segments_per_patient, settings.positive_within_seconds, 0)
        loader = Loader(dataset, Sampler(segments, *order), segments.rhythm, settings.num_workers, device)
        rate = dataset.sampling_rate_hz
        if settings.compile == "on" or (settings.compile == "auto" and device.type == "cuda"):
            samples = dataset.segment_samples - crop_samples(rate, settings.cross_shift_seconds)
            compile_encoders(model, arithmetic, 2 * settings.batch_size, samples, Reporter("train", print))
        activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
        batches = (batch for epoch in range(10**6) for batch in loader.batches(epoch))

        def step() -> None:
            backward(model, next(batches).to(device), settings, rate, arithmetic, scaler, 2 * settings.batch_size)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        for _ in range(3):
            step()
        with profile(activities=activities) as profiled:
            for _ in range(PROFILED_STEPS):
                step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        batches.close()
    by = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    return profiled.key_averages().table(sort_by=by, row_limit=SHOWN_OPERATIONS, max_name_column_width=60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--config", type=Path, default=None)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        print(f"not measured: no GPU that torch {torch.__version__} can use on this machine")
        return

    config = resolve(args.config, [f"training.device={args.device}", *args.settings], {}).config
    dataset = Workspace(args.out).dataset
    arithmetic = arithmetic_of(config.training.device, config.training.precision)
    name = torch.cuda.get_device_name(arithmetic.device) if arithmetic.device.type == "cuda" else "the processor"
    parameters = sum(p.numel() for p in training.new_model(training.architecture_of(config), 0).parameters())
    print(f"{name}, torch {torch.__version__}, {arithmetic.precision}, compile {config.training.compile}, ", end="")
    print(f"batch {config.training.batch_size}, {config.model}, {parameters / 1e6:.2f} M parameters", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plain.h5"
        plain_file(dataset, file)
        settings = Path(folder) / "config.json"
        settings.write_text(config.to_json())
        batch = config.training.batch_size
        plain = partial(plain_segments_per_second, file, batch, args.seconds, settings, args.device)
        speeds = measured(config, dataset, args.pairs, args.seconds, plain)
    with_data = speeds.with_data
    against_fixed = statistics.median(a / b for a, b in zip(with_data, speeds.fixed, strict=True))
    against_plain = statistics.median(a / b for a, b in zip(with_data, speeds.plain, strict=True))
    rows = {
        "segments/s": f"{statistics.median(with_data):.0f} ({min(with_data):.0f} to {max(with_data):.0f})",
        "segments/s on one fixed batch": f"{statistics.median(speeds.fixed):.0f}",
        "ratio to one fixed batch": f"{against_fixed:.3f} (median of {args.pairs} pairs)",
        "segments/s of the plain loop": f"{statistics.median(speeds.plain):.0f}",
        "ratio to the plain loop": f"{against_plain:.1f}",
        "loader wait": f"{100 * statistics.median(speeds.waits):.2f} % of the time (median of epochs)",
    }
    for what, value in rows.items():
        print(f"| {what} | {value} |")
    began = time.monotonic()
    print(where_time_goes(config, dataset))
    print(f"(profile: {PROFILED_STEPS} steps, {time.monotonic() - began:.0f} s with its preparation)")


if __name__ == "__main__":
    main()
