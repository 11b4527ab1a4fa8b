"""The loss on validation patients, and what their embeddings look like. The same views in every epoch."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from ecgconsole.config import TrainingConfig
from ecgconsole.training import monitors
from ecgconsole.training.encoder import Model, segment_embedding
from ecgconsole.training.loader import Loader
from ecgconsole.training.ranks import ALONE, Ranks
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
    rhythm: NDArray[np.int16],
    ranks: Ranks = ALONE,
) -> dict[str, float | None]:
    """``val_loss`` with its terms (``val_loss_views`` ...), and the monitors on the first segments of it.

    Batches whose loss is not finite are left out; where all are, ``val_loss`` is not a number.

    ``boundary`` is called between batches; it may raise ``Stopped``. ``rhythm`` (N,): a code for each row of the
    dataset, negative where it is not known. Every rank returns the same.
    """
    sums: dict[str, float] = {}
    collected: list[tuple[torch.Tensor, ...]] = []
    n_finite = n_collected = 0
    for on_host in loader.batches(epoch=0):
        boundary()
        batch = on_host.to(arithmetic.device)
        n = batch.present.shape[1]
        views, own_present = views_of(batch, training, sampling_rate_hz)
        present = batch.present.flatten(0, 1)
        with arithmetic.autocast():
            own = model.encode(views, own_present)
            embeddings = ranks.gathered(own.unflatten(0, (2, -1)), n).flatten(0, 1)
            seen = model.seen_by_heads(embeddings, present)
        terms = {name: float(value) for name, value in objective(model, seen, batch, training).items()}
        if math.isfinite(terms["loss"]):
            n_finite += 1
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value
        if n_collected < MONITORED_SEGMENTS:
            with arithmetic.autocast():
                plain = model.encode(batch.physical()[0], batch.own_present[0])
            plain = ranks.gathered(plain.unsqueeze(0), n).squeeze(0)
            view_1, view_2 = segment_embedding(model.finished(embeddings), present).chunk(2)
            seen = model.seen_by_heads(plain, batch.present[0])
            parts = (
                model.finished(plain),
                seen,
                model.cross_projector(seen),
                view_1,
                view_2,
                batch.present[0],
                batch.patient[0],
                batch.rows[0],
            )
            collected.append(tuple(part.cpu() for part in parts))
            n_collected += n
    losses = {f"val_{name}": total / n_finite for name, total in sums.items()}
    monitored = _monitored(rhythm, *(torch.cat(parts) for parts in zip(*collected, strict=True)))
    return {"val_loss": math.nan, **losses, **monitored}


def _monitored(
    rhythm: NDArray[np.int16],
    plain: torch.Tensor,
    seen: torch.Tensor,
    projected: torch.Tensor,
    view_1: torch.Tensor,
    view_2: torch.Tensor,
    present: torch.Tensor,
    patient: torch.Tensor,
    rows: torch.Tensor,
) -> dict[str, float | None]:
    """``retrieval`` is within the space in which ECG and PPG are compared; ``effective_rank`` and
    ``embedding_deviation`` are of what training's heads see, which is the segment embedding unless that is all that was
    pooled: being positive, that is near one point, however well it tells segments apart. The rest is of the embedding.

    ``knn_rhythm`` and ``probe_rhythm`` only where two rhythms are known of two patients each.
    """
    embeddings, spread = segment_embedding(plain, present), segment_embedding(seen, present)
    both = present.all(1)
    values = {
        "alignment": monitors.alignment(view_1, view_2),
        "uniformity": monitors.uniformity(embeddings),
        "effective_rank": monitors.effective_rank(spread),
        "embedding_deviation": monitors.deviation(spread),
        "same_patient_share": monitors.same_patient_share(embeddings, patient),
        "retrieval": monitors.retrieval(projected[both, 0], projected[both, 1]) if both.any() else None,
    }
    label = rhythm[rows.numpy()]
    known = monitors.testable(patient.numpy(), label)
    if known.any() and embeddings.isfinite().all():
        labelled = (embeddings[torch.from_numpy(known)], patient.numpy()[known], label[known])
        values["knn_rhythm"] = monitors.knn_accuracy(*labelled)
        values["probe_rhythm"] = monitors.probe_accuracy(*labelled)
    return values
