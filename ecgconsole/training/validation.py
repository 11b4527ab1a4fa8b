"""The loss on validation patients, and what their embeddings look like. The same views in every epoch."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from ecgconsole.config import TrainingConfig
from ecgconsole.training import monitors
from ecgconsole.training.encoder import Model, segment_embedding
from ecgconsole.training.loader import Loader
from ecgconsole.training.step import Arithmetic, objective, views_of

MONITORED_SEGMENTS = 2048


@torch.no_grad()
def validate(
    model: Model,
    loader: Loader,
    training: TrainingConfig,
    sampling_rate_hz: float,
    arithmetic: Arithmetic,
    boundary: Callable[[], None],
) -> dict[str, float | None]:
    """``val_loss`` with its terms (``val_loss_views`` ...), and the monitors on the first segments of it.

    Batches whose loss is not finite are left out; where all are, ``val_loss`` is not a number.

    ``boundary`` is called between batches; it may raise ``Stopped``.
    """
    sums: dict[str, float] = {}
    collected: list[tuple[torch.Tensor, ...]] = []
    n_finite = n_collected = 0
    for on_host in loader.batches(epoch=0):
        boundary()
        batch = on_host.to(arithmetic.device)
        views, present = views_of(batch, training, sampling_rate_hz)
        with arithmetic.autocast():
            embeddings = model.encode(views, present)
        terms = {name: float(value) for name, value in objective(model, embeddings, batch, training).items()}
        if math.isfinite(terms["loss"]):
            n_finite += 1
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value
        if n_collected < MONITORED_SEGMENTS:
            with arithmetic.autocast():
                plain = model.encode(batch.physical()[0], batch.present[0])
            view_1, view_2 = segment_embedding(embeddings, present).chunk(2)
            projected = model.cross_projector(plain)
            parts = (plain, projected, view_1, view_2, batch.present[0], batch.patient[0])
            collected.append(tuple(part.cpu() for part in parts))
            n_collected += len(plain)
    losses = {f"val_{name}": total / n_finite for name, total in sums.items()}
    return {"val_loss": math.nan, **losses, **_monitored(*(torch.cat(parts) for parts in zip(*collected, strict=True)))}


def _monitored(
    plain: torch.Tensor,
    projected: torch.Tensor,
    view_1: torch.Tensor,
    view_2: torch.Tensor,
    present: torch.Tensor,
    patient: torch.Tensor,
) -> dict[str, float | None]:
    """``retrieval`` is within the space in which ECG and PPG are compared; the rest is of the segment embedding."""
    embeddings = segment_embedding(plain, present)
    both = present.all(1)
    return {
        "alignment": monitors.alignment(view_1, view_2),
        "uniformity": monitors.uniformity(embeddings),
        "effective_rank": monitors.effective_rank(embeddings),
        "embedding_deviation": monitors.deviation(embeddings),
        "same_patient_share": monitors.same_patient_share(embeddings, patient),
        "retrieval": monitors.retrieval(projected[both, 0], projected[both, 1]) if both.any() else None,
    }
