"""``torch.compile`` of the encoders, where it works."""

from __future__ import annotations

import torch

from ecgconsole.stage import Reporter
from ecgconsole.text import sanitise
from ecgconsole.training.encoder import Model
from ecgconsole.training.step import Arithmetic


def compile_encoders(model: Model, arithmetic: Arithmetic, segments: int, samples: int, reporter: Reporter) -> bool:
    """Compiles the encoders in place and tries them on one batch; where that fails they stay as they were, said aloud.

    The names of the weights stay the same. Returns whether they are compiled.
    """
    # In memory as ``Model.encode`` hands it over: of another layout all would be compiled once more.
    signal = torch.zeros(segments, len(model.encoders), samples, device=arithmetic.device)
    try:
        for channel, encoder in enumerate(model.encoders):
            encoder.compile()
            with arithmetic.autocast():
                embeddings = encoder(signal[:, channel])
            embeddings.float().sum().backward()
    except Exception as error:  # noqa: BLE001 - what compilers raise has no common class; all of it means "without"
        for encoder in model.encoders:
            encoder._compiled_call_impl = None
        reporter.warning(
            "compile-failed",
            f"torch.compile: {sanitise(f'{type(error).__name__}: {error}', 300)}; training goes on without it",
            "a C++ compiler on the CPU, triton on a GPU; or training.compile=off",
        )
        return False
    finally:
        model.zero_grad(set_to_none=True)
    return True
