"""The network with its optimiser, and one step of both that outlives what may go wrong in it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ecgconsole.config import TrainingConfig
from ecgconsole.errors import MachineError
from ecgconsole.stage import Reporter
from ecgconsole.training.encoder import Model
from ecgconsole.training.loader import Batch
from ecgconsole.training.ranks import Ranks
from ecgconsole.training.step import Arithmetic, backward

# A scale of fp16 this low is no longer looked for: gradients overflow whatever it is.
_LOWEST_SCALE = 1.0


class Learner:
    """What learns: ``model``, its optimiser and, for fp16, the scaler of its gradients."""

    def __init__(
        self,
        model: Model,
        settings: TrainingConfig,
        sampling_rate_hz: float,
        arithmetic: Arithmetic,
        reporter: Reporter,
        ranks: Ranks,
    ) -> None:
        self.model = model
        self._settings, self._sampling_rate_hz, self._arithmetic = settings, sampling_rate_hz, arithmetic
        self._reporter, self._ranks = reporter, ranks
        self._optimizer = torch.optim.AdamW(
            model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        is_half = arithmetic.precision == torch.float16
        self._scaler = torch.amp.GradScaler(arithmetic.device.type, enabled=is_half)
        # Views of both halves of a batch that are encoded at once.
        self._micro = 2 * (settings.micro_batch_size or settings.batch_size)

    def step(self, batch: Batch, learning_rate: float) -> tuple[dict[str, float], bool]:
        """One step on a batch on the device: its loss, terms and gradient norm, and whether the step was bad.

        A loss or gradient that is not finite leaves the weights as they are. With fp16 an overflowing gradient is how
        the scaler finds its scale: a skipped step, not a bad one.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        terms = self._backward(batch)
        self._scaler.unscale_(self._optimizer)
        grad_norm = nn.utils.clip_grad_norm_(self.model.parameters(), self._settings.max_grad_norm)
        names = [*terms, "grad_norm"]
        values = dict(zip(names, torch.stack([*terms.values(), grad_norm]).tolist(), strict=True))
        finite = math.isfinite(values["loss"]) and math.isfinite(values["grad_norm"])
        bad = not finite and not (math.isfinite(values["loss"]) and self._seeks_its_scale())
        if finite:
            self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        return values, bad

    @torch.no_grad()
    def temperature(self) -> float:
        """Of the contrastive terms, as it is now."""
        return float(self.model.temperature(self._settings.temperature))

    def state(self) -> dict[str, dict[str, Any]]:
        """What a checkpoint keeps: the arguments ``model``, ``optimizer`` and ``scaler`` of ``pack``."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def restore(self, contents: dict[str, Any]) -> None:
        """Puts back what ``state`` gave."""
        self.model.load_state_dict(contents["model"])
        self._optimizer.load_state_dict(contents["optimizer"])
        self._scaler.load_state_dict(contents["scaler"])

    def _seeks_its_scale(self) -> bool:
        return self._scaler.is_enabled() and self._scaler.get_scale() > _LOWEST_SCALE

    def _backward(self, batch: Batch) -> dict[str, Tensor]:
        """Gradients of one batch; out of memory halves the pieces it is encoded in, not the batch."""
        while True:
            try:
                return backward(
                    self.model,
                    batch,
                    self._settings,
                    self._sampling_rate_hz,
                    self._arithmetic,
                    self._scaler,
                    self._micro,
                    self._ranks,
                )
            except torch.OutOfMemoryError:
                share = math.ceil(batch.present.shape[1] / self._ranks.size)
                smaller = min(self._micro, 2 * share) // 2
            # Outside of the handler, so that the traceback no longer holds what the failed attempt had made.
            self._optimizer.zero_grad(set_to_none=True)
            self._micro = smaller
            if self._micro < 2:
                raise MachineError("out of GPU memory with two segments at a time: a smaller model is needed")
            torch.cuda.empty_cache()
            self._reporter.warning(
                "gpu-out-of-memory",
                f"batches are encoded {self._micro} views at a time from here on; the result is the same",
                "a smaller training.batch_size or model.hidden_dims is faster",
            )
