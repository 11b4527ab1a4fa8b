"""The benchmarks run: what they measure is not asserted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ecgconsole.workspace import Workspace

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
TINY = ("--set", "model.hidden_dims=[8,8]", "--set", "model.embedding_dim=12", "--set", "training.batch_size=18")


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


@pytest.mark.slow
def test_the_gpu_benchmark_measures_on_the_processor_when_asked_to(workspace: Workspace):
    out = run("gpu.py", workspace.folder, "--device", "cpu", "--seconds", 1, "--pairs", 1, *TINY)
    assert out.startswith("the processor, torch")
    rows = dict(re.findall(r"\| (.+?) \| (.+?) \|", out))
    assert float(rows["segments/s"].split()[0]) > 0
    assert set(rows) >= {"ratio to one fixed batch", "ratio to the plain loop", "loader wait"}
    assert "Self CPU" in out
    assert not list(workspace.folder.glob("*.pth"))


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_gpu_benchmark_without_a_gpu_says_not_measured(workspace: Workspace):
    assert run("gpu.py", workspace.folder).startswith("not measured: no GPU")


@pytest.mark.slow
def test_the_training_benchmark_runs(workspace: Workspace, tmp_path: Path):
    config = tmp_path / "tiny.json"
    config.write_text('{"model": {"hidden_dims": [8, 8], "embedding_dim": 12}, "training": {"batch_size": 18}}')
    out = run("train.py", workspace.folder, "--config", config, "--seconds", 1, "--pairs", 1)
    assert re.search(r"data: ours [\d.]+, one fixed batch [\d.]+ segments/s", out)
    assert re.search(r"loop: ours [\d.]+, plain loop [\d.]+ segments/s", out)
