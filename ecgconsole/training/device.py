"""Which device trains, in which precision, with how many threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ecgconsole.errors import ConfigurationError, MachineError
from ecgconsole.text import sanitise
from ecgconsole.training.step import Arithmetic

_FIRST_WITH_FAST_FP16 = (7, 0)  # Volta; NVIDIA's numbers of compute capability
_CPU = "training.device=cpu does without one"
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def arithmetic_of(device: str, precision: str, local_rank: int = 0) -> Arithmetic:
    """Resolves ``auto``: a GPU if there is one; bf16 on a GPU that computes in it, fp16 on one that has only that.

    ``auto`` and ``cuda`` mean the GPU of the rank's number on its machine.

    Raises ``MachineError`` if a GPU is required and there is none, ``ConfigurationError`` for fp16 without a GPU.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = torch.device(f"cuda:{local_rank}" if device == "cuda" and local_rank else device)
    if chosen.type == "cuda":
        n = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (chosen.index or 0) >= n:
            raise MachineError(
                f"training.device={chosen}: {n} GPU(s) usable here (torch {torch.__version__}); "
                "training.device=auto takes the CPU where there is none"
            )
    if precision == "auto":
        precision = _fastest(chosen)
    if precision == "fp16" and chosen.type != "cuda":
        raise ConfigurationError("training.precision=fp16 needs a GPU; on the CPU there are fp32 and bf16")
    return Arithmetic(chosen, _DTYPES[precision])


def _fastest(device: torch.device) -> str:
    if device.type != "cuda":
        return "fp32"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    return "fp16" if torch.cuda.get_device_capability(device) >= _FIRST_WITH_FAST_FP16 else "fp32"


def use_all_cores(processes: int = 1) -> None:
    """As many threads as this process may use cores, shared with its like, unless OMP_NUM_THREADS says otherwise."""
    if "OMP_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, cores // processes))


def gpu_memory_gb(device: torch.device) -> float | None:
    """The most GB that torch has held at once on the GPU; None on the CPU."""
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None


@contextmanager
def gpu_failures(kept: str) -> Iterator[None]:
    """Turns what torch raises when a GPU is lost or full into ``MachineError``; ``kept`` says what is on disk."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MachineError(f"out of GPU memory; {kept}. Free some, or take another GPU; {_CPU}") from error
    except torch.AcceleratorError as error:
        what = sanitise(str(error).partition("\n")[0], 200)
        raise MachineError(f"the GPU failed ({what}); {kept}. The same command continues; {_CPU}") from error
