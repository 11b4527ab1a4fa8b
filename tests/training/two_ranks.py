"""One batch on two ranks: what each of two processes runs, and writes down."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import torch
from torch import distributed as dist

from ecgconsole.dataset import Dataset
from ecgconsole.training import step, train
from ecgconsole.training.device import arithmetic_of
from ecgconsole.training.encoder import Model
from ecgconsole.training.loader import Batch, Loader
from ecgconsole.training.ranks import ALONE, Ranks
from ecgconsole.training.sampler import Sampler
from ecgconsole.training.segments import read_split
from ecgconsole.training.step import backward

from .material import RATE_HZ, small_config

TERMS = ("views", "cross", "rhythm", "beat", "decorrelation")
# (encoded in pieces of, whose PPG is left out: none, the second half's, everyone's; the terms)
CASES = {
    "whole": (1000, "none", TERMS),
    "pieces": (5, "none", TERMS),
    "half": (1000, "half", TERMS),
    "ecg": (1000, "all", TERMS),
    **{term: (1000, "half", (term,)) for term in TERMS},
}
BATCH = 17  # odd: the shares differ


def one_batch(path: Path, ranks: Ranks, without_ppg: str) -> Batch:
    with Dataset(path) as dataset:
        segments = read_split(dataset, "train", with_beats=True)
        rows = np.arange(len(segments))
        sampler = Sampler(segments, BATCH, 6, 4.0, 0)
        anchors = next(sampler.epoch(0)).anchors
        leave_out = {"none": rows[:0], "half": rows, "all": rows}[without_ppg]
        present = segments.present.copy()
        present[leave_out, 1] = False
        sampler = Sampler(dataclasses.replace(segments, present=present), BATCH, 6, 4.0, 0)
        batch = next(Loader(dataset, sampler, segments.rhythm, 0, torch.device("cpu"), 0, ranks).batches(0))
    if without_ppg == "half":  # only the share of the second rank has no PPG
        present = batch.present.clone()
        present[:, : len(anchors) // 2, 1] = True
        batch = dataclasses.replace(batch, present=present)
    return batch


def outcome(
    path: Path, ranks: Ranks, micro: int, without_ppg: str, wanted: tuple[str, ...] = TERMS
) -> tuple[dict, dict]:
    """Terms and gradients."""
    config = small_config("training.learn_temperature=true", "training.negative_gap_seconds=8")
    model = train.new_model(train.architecture_of(config), 0)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    batch = one_batch(path, ranks, without_ppg)
    training = config.training.model_copy(update={f"weight_{term}": float(term in wanted) for term in TERMS})
    terms = backward(model, batch, training, RATE_HZ, arithmetic_of("cpu", "fp32"), scaler, micro, ranks)
    return terms, {name: p.grad for name, p in model.named_parameters()}


def main(rank: int, path: str, folder: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    ranks = Ranks(rank, 2)
    found: dict = {name: outcome(Path(path), ranks, *case) for name, case in CASES.items()}
    found["out of memory"] = [on_full_memory(Path(path), ranks, at) for at in ("before", "after")]
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def on_full_memory(path: Path, ranks: Ranks, at: str) -> str:
    """What a rank sees when the memory of the second one ends, before or after the embeddings were gathered."""

    def fails(*args, **kwargs):
        raise torch.OutOfMemoryError

    encode, objective = Model.encode, step.objective
    if ranks.rank == 1:
        Model.encode, step.objective = (fails, objective) if at == "before" else (encode, fails)
    try:
        outcome(path, ranks, 1000, "none")
    except torch.OutOfMemoryError:
        return "out of memory"
    finally:
        Model.encode, step.objective = encode, objective
    return "went on"


def alone(path: Path) -> dict:
    return {name: outcome(path, ALONE, *case) for name, case in CASES.items()}
