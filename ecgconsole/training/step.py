"""One batch to a loss and its gradients, in as many pieces as memory asks for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ecgconsole.config import TrainingConfig
from ecgconsole.training.augment import augment, crop_samples
from ecgconsole.training.encoder import Model
from ecgconsole.training.loader import Batch
from ecgconsole.training.objectives import cross_nce, decorrelation, negatives, nt_xent, rhythm_error


@dataclass(frozen=True)
class Arithmetic:
    """Where and in which precision a network runs."""

    device: torch.device
    precision: torch.dtype

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)


def views_of(batch: Batch, training: TrainingConfig, sampling_rate_hz: float) -> tuple[Tensor, Tensor]:
    """Both augmented views in a row: float32 (2B, 2, T') and which signals are present, bool (2B, 2)."""
    shorter_by = crop_samples(sampling_rate_hz, training.cross_shift_seconds)
    views = augment(batch.physical().flatten(0, 1), batch.uniform.flatten(0, 1), sampling_rate_hz, shorter_by)
    return views, batch.present.flatten(0, 1)


def objective(model: Model, embeddings: Tensor, batch: Batch, training: TrainingConfig) -> dict[str, Tensor]:
    """The weighted ``loss`` and its terms, from the embeddings of both views in a row, (2B, 2, D).

    A term whose weight is 0 is not computed.
    """
    n = batch.present.shape[1]
    present = batch.present.flatten(0, 1)
    patient, record, start_s = batch.patient.flatten(), batch.record.flatten(), batch.start_s.flatten()

    def may_repel(at: Tensor) -> Tensor:
        where = (patient[at], record[at], start_s[at])
        return negatives(*where, *where, training.negative_gap_seconds)

    terms: dict[str, Tensor] = {}
    if training.weight_views:
        total, pairs = embeddings.new_zeros(()), 0
        for channel, projector in enumerate(model.view_projectors):
            at = (batch.present[0, :, channel] & batch.present[1, :, channel]).nonzero().squeeze(1)
            z = projector(embeddings[:, channel])
            own = nt_xent(z[at], z[at + n], may_repel(torch.cat((at, at + n))), training.temperature)
            total, pairs = total + own * len(at), pairs + len(at)
        terms["loss_views"] = total / max(pairs, 1)
    if training.weight_cross:
        at = present.all(1).nonzero().squeeze(1)
        ecg, ppg = model.cross_projector(embeddings[at]).unbind(1)
        terms["loss_cross"] = cross_nce(ecg, ppg, may_repel(at), training.temperature)
    if training.weight_decorrelation:
        parts = [decorrelation(embeddings[present[:, c], c]) for c in range(present.shape[1])]
        terms["loss_decorrelation"] = torch.stack(parts).mean()
    if training.weight_rhythm and len(model.rhythm_heads):
        predicted = torch.stack([head(embeddings[:, c]) for c, head in enumerate(model.rhythm_heads)], dim=1)
        target = batch.rhythm.flatten(0, 1).unsqueeze(1).expand_as(predicted)
        target = target.masked_fill(~present.unsqueeze(-1), float("nan"))
        terms["loss_rhythm"] = rhythm_error(predicted, target)
    weights = {
        "loss_views": training.weight_views,
        "loss_cross": training.weight_cross,
        "loss_rhythm": training.weight_rhythm,
        "loss_decorrelation": training.weight_decorrelation,
    }
    loss = sum((weights[name] * value for name, value in terms.items()), embeddings.sum() * 0)
    return {"loss": loss, **terms}


def backward(
    model: Model,
    batch: Batch,
    training: TrainingConfig,
    sampling_rate_hz: float,
    arithmetic: Arithmetic,
    scaler: torch.amp.GradScaler,
    micro: int,
) -> dict[str, Tensor]:
    """Adds the gradients of one batch to the parameters and returns the terms, detached.

    ``micro`` below the number of views encodes in pieces of that size. The batch, with all its negatives, stays
    whole: embeddings first without gradient, then the gradient of the loss by embedding, then each piece again
    with it (Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, 2021).
    """
    views, present = views_of(batch, training, sampling_rate_hz)
    if micro >= len(views):
        with arithmetic.autocast():
            embeddings = model.encode(views, present)
        terms = objective(model, embeddings, batch, training)
        scaler.scale(terms["loss"]).backward()
        return {name: value.detach() for name, value in terms.items()}

    pieces = list(zip(views.split(micro), present.split(micro), strict=True))
    with torch.no_grad(), arithmetic.autocast():
        embeddings = torch.cat([model.encode(*piece) for piece in pieces])
    embeddings.requires_grad_()
    terms = objective(model, embeddings, batch, training)
    scaler.scale(terms["loss"]).backward()
    gradients = embeddings.grad
    assert gradients is not None
    for piece, gradient in zip(pieces, gradients.split(micro), strict=True):
        with arithmetic.autocast():
            again = model.encode(*piece)
        again.backward(gradient)
    return {name: value.detach() for name, value in terms.items()}


@torch.no_grad()
def suspects(model: Model, batch: Batch, arithmetic: Arithmetic) -> list[int]:
    """Dataset rows whose signal or embedding is not finite; all rows of the batch where none stands out."""
    physical, present = batch.physical().flatten(0, 1), batch.present.flatten(0, 1)
    with arithmetic.autocast():
        embeddings = model.encode(physical, present)
    finite = embeddings.isfinite().flatten(1).all(1) & physical.isfinite().flatten(1).all(1)
    rows = batch.rows.flatten()
    bad = rows[~finite]
    return sorted(set((bad if len(bad) else rows).tolist()))
