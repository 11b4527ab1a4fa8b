"""The learning rate by step, and when training is over."""

from __future__ import annotations

import math

from ecgconsole.config import TrainingConfig
from ecgconsole.training.checkpoints import Progress

_FINAL_SHARE = 0.01


def learning_rate(step: int, horizon_steps: int, settings: TrainingConfig) -> float:
    """1. Rises linearly over the first ``warmup_fraction`` of the horizon. 2. Then falls as half a cosine to a
    hundredth of the peak. 3. Stays there beyond the horizon.
    """
    peak = settings.learning_rate
    warmup_steps = round(settings.warmup_fraction * horizon_steps)
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if step >= horizon_steps:
        return peak * _FINAL_SHARE
    share = (step - warmup_steps) / max(1, horizon_steps - warmup_steps)
    return peak * (_FINAL_SHARE + (1 - _FINAL_SHARE) * (1 + math.cos(math.pi * share)) / 2)


def horizon(progress: Progress, all_steps: int, settings: TrainingConfig) -> int:
    """Where the cosine ends: at all steps, or at those that fit into ``max_minutes`` at the speed so far.

    Looked at between epochs only, so a machine that is fast enough trains exactly as without a limit.
    """
    if settings.max_minutes is None or progress.step == 0 or progress.seconds == 0:
        return all_steps
    left_s = max(0.0, 60 * settings.max_minutes - progress.seconds)
    return min(all_steps, progress.step + math.ceil(left_s * progress.step / progress.seconds))


def out_of_time(progress: Progress, settings: TrainingConfig) -> bool:
    return settings.max_minutes is not None and progress.seconds >= 60 * settings.max_minutes


def reason_to_end(progress: Progress, settings: TrainingConfig) -> str:
    """``epochs``, ``time``, ``patience``; empty while training goes on, which an epoch begun always does."""
    if progress.step_in_epoch:
        return ""
    if progress.epoch >= settings.num_epochs:
        return "epochs"
    if out_of_time(progress, settings):
        return "time"
    if settings.patience is not None and progress.epoch - progress.best_epoch >= settings.patience:
        return "patience"
    return ""
