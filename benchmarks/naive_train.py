"""The training loop that a user would write instead: an h5py Dataset, NumPy augmentation a sample, NT-Xent.

usage: naive_train.py SEGMENTS.h5 --seconds 40 --batch 64 --config configs/demo.json

SEGMENTS.h5 holds ``segments`` float32 (N, 2, T), gzip, in chunks of 64, as a plain build writes it. The network is
the product's own, so that only the loop differs.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ecgconsole.config import resolve
from ecgconsole.training.encoder import Model, segment_embedding
from ecgconsole.training.train import architecture_of

RNG = np.random.default_rng()


class Segments(torch.utils.data.Dataset):
    def __init__(self, path: str) -> None:
        self.path = path
        self.file: h5py.File | None = None
        with h5py.File(path) as file:
            self.n, _, self.samples = file["segments"].shape

    def __len__(self) -> int:
        return self.n

    def augmented(self, x: np.ndarray) -> torch.Tensor:
        x = x * RNG.uniform(0.7, 1.3) + RNG.normal(0, 0.05, x.shape).astype("f4")
        x = np.roll(x, RNG.integers(-100, 100), -1)
        begin = RNG.integers(0, self.samples - 150)
        x[:, begin : begin + 125] = 0
        return torch.from_numpy(x.astype("f4"))

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if self.file is None:
            self.file = h5py.File(self.path)
        x = self.file["segments"][index]
        return self.augmented(x.copy()), self.augmented(x.copy())


class Network(nn.Module):
    """The product's encoders and one projector, as one module from signals to projections."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        present = torch.ones(len(x), 2, dtype=torch.bool, device=x.device)
        return self.model.view_projectors[0](segment_embedding(self.model.encode(x, present), present))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--config", type=Path, default=None)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()

    torch.manual_seed(0)
    network = Network(Model(**architecture_of(resolve(args.config, (), {}).config))).to(args.device)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-4)
    data = Segments(args.data)
    # Workers outlive an epoch, or a small dataset would be measured by how fast they start.
    keep = {"num_workers": args.workers, "persistent_workers": args.workers > 0}
    loader = torch.utils.data.DataLoader(data, args.batch, shuffle=True, drop_last=True, **keep)
    seen, began, warm_up, step = 0, 0.0, 3, 0
    done = False
    while not done:
        for view_1, view_2 in loader:
            z = F.normalize(network(torch.cat([view_1, view_2]).to(args.device)), dim=1)
            similarity = (z @ z.T / 0.1).fill_diagonal_(-1e9)
            n = len(view_1)
            loss = F.cross_entropy(similarity, torch.arange(2 * n, device=z.device).roll(n))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            step += 1
            if step == warm_up:
                began = time.perf_counter()
            if step > warm_up:
                seen += n
                if z.is_cuda:
                    torch.cuda.synchronize()
                done = time.perf_counter() - began > args.seconds
                if done:
                    break
    seconds = time.perf_counter() - began
    print(json.dumps({"segments_per_second": round(seen / seconds, 1), "loss": round(float(loss.detach()), 3)}))


if __name__ == "__main__":
    main()
