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
from ecgconsole.training.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Arithmetic:
    """Where and in which precision a network runs."""

    device: torch.device
    precision: torch.dtype

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)


def views_of(batch: Batch, training: TrainingConfig, sampling_rate_hz: float) -> tuple[Tensor, Tensor]:
    """Both augmented views of the share in a row: float32 (2b, 2, T') and which signals are present, bool (2b, 2)."""
    shorter_by = crop_samples(sampling_rate_hz, training.cross_shift_seconds)
    views = augment(batch.physical().flatten(0, 1), batch.uniform.flatten(0, 1), sampling_rate_hz, shorter_by)
    return views, batch.own_present.flatten(0, 1)


def objective(model: Model, embeddings: Tensor, batch: Batch, training: TrainingConfig) -> dict[str, Tensor]:
    """The weighted ``loss`` and its terms, from what the heads see of both views in a row, (2B, 2, D).

    A term whose weight is 0 is not computed.
    """
    n = batch.present.shape[1]
    present = batch.present.flatten(0, 1)
    patient, record, start_s = batch.patient.flatten(), batch.record.flatten(), batch.start_s.flatten()

    def may_repel(at: Tensor) -> Tensor:
        where = (patient[at], record[at], start_s[at])
        return negatives(*where, *where, training.negative_gap_seconds)

    temperature = model.temperature(training.temperature)
    terms: dict[str, Tensor] = {}
    if training.weight_views:
        total, pairs = embeddings.new_zeros(()), 0
        for channel, projector in enumerate(model.view_projectors):
            at = (batch.present[0, :, channel] & batch.present[1, :, channel]).nonzero().squeeze(1)
            z = projector(embeddings[:, channel])
            own = nt_xent(z[at], z[at + n], may_repel(torch.cat((at, at + n))), temperature)
            total, pairs = total + own * len(at), pairs + len(at)
        terms["loss_views"] = total / max(pairs, 1)
    if training.weight_cross:
        at = present.all(1).nonzero().squeeze(1)
        ecg, ppg = model.cross_projector(embeddings[at]).unbind(1)
        terms["loss_cross"] = cross_nce(ecg, ppg, may_repel(at), temperature)
    if training.weight_decorrelation:
        parts = [decorrelation(embeddings[present[:, c], c]) for c in range(present.shape[1])]
        terms["loss_decorrelation"] = torch.stack(parts).mean()
    if training.weight_rhythm and len(model.rhythm_heads):
        predicted = torch.stack([head(embeddings[:, c]) for c, head in enumerate(model.rhythm_heads)], dim=1)
        target = batch.rhythm[..., : predicted.shape[-1]].flatten(0, 1).unsqueeze(1).expand_as(predicted)
        target = target.masked_fill(~present.unsqueeze(-1), float("nan"))
        terms["loss_rhythm"] = rhythm_error(predicted, target)
    if training.weight_beat:
        predicted = model.beat_head(embeddings[:, 0])
        target = batch.rhythm[..., -predicted.shape[-1] :].flatten(0, 1)
        terms["loss_beat"] = rhythm_error(predicted, target.masked_fill(~present[:, :1], float("nan")))
    weights = {
        "loss_views": training.weight_views,
        "loss_cross": training.weight_cross,
        "loss_rhythm": training.weight_rhythm,
        "loss_beat": training.weight_beat,
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
    ranks: Ranks = ALONE,
) -> dict[str, Tensor]:
    """Sets the gradients of one batch, mean over ranks, and returns the terms, detached.

    ``micro`` below the number of views encodes in pieces of that size. The batch, with all its negatives, stays
    whole: embeddings first without gradient, then the gradient of the loss by embedding, then each piece again
    with it (Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, 2021).

    Raises ``torch.OutOfMemoryError`` on every rank when memory ends on any, so that all can try again together.
    """
    pieces: list[tuple[Tensor, Tensor]] = []
    embeddings = batch.scale.new_zeros(2 * batch.scale.shape[1], 2, model.embedding_dim)
    terms: dict[str, Tensor] = {}
    in_pieces, full = False, False
    try:
        views, present = views_of(batch, training, sampling_rate_hz)
        in_pieces = micro < len(views)
        pieces = list(zip(views.split(micro), present.split(micro), strict=True))
        with torch.set_grad_enabled(not in_pieces), arithmetic.autocast():
            embeddings = torch.cat([model.encode(*piece) for piece in pieces])
    except torch.OutOfMemoryError:
        full = True
    _all_have_memory(full, ranks)
    if in_pieces:
        embeddings.requires_grad_()
    gathered = ranks.gathered(embeddings.unflatten(0, (2, -1)), batch.present.shape[1]).flatten(0, 1)
    try:
        with arithmetic.autocast():
            seen = model.seen_by_heads(gathered, batch.present.flatten(0, 1))
        terms = objective(model, seen, batch, training)
        scaler.scale(terms["loss"]).backward()
        if embeddings.is_leaf and embeddings.grad is not None:
            for piece, gradient in zip(pieces, embeddings.grad.split(micro), strict=True):
                with arithmetic.autocast():
                    again = model.encode(*piece)
                again.backward(gradient)
    except torch.OutOfMemoryError:
        full = True
    _all_have_memory(full, ranks)
    values = ranks.average(model.parameters(), torch.stack([value.detach() for value in terms.values()]))
    return dict(zip(terms, values.unbind(), strict=True))


def _all_have_memory(full: bool, ranks: Ranks) -> None:
    if ranks.any(full):
        raise torch.OutOfMemoryError


@torch.no_grad()
def suspects(model: Model, batch: Batch, arithmetic: Arithmetic) -> list[int]:
    """Dataset rows whose signal or embedding is not finite; all rows of the share where none stands out."""
    physical, present = batch.physical().flatten(0, 1), batch.own_present.flatten(0, 1)
    with arithmetic.autocast():
        embeddings = model.encode(physical, present)
    finite = embeddings.isfinite().flatten(1).all(1) & physical.isfinite().flatten(1).all(1)
    rows = batch.rows[:, batch.share].flatten()
    bad = rows[~finite]
    return sorted(set((bad if len(bad) else rows).tolist()))
