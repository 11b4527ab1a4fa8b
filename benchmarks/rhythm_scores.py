"""Linear probes with people kept together, their intervals by bootstrap over people, and who is whose neighbour."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from ecgconsole.findings.performance import auroc, bootstrap_weights

FOLDS = 5
# Fewer people with a positive window than this: one person is left out at a time.
FEW_PEOPLE = 20
# One penalty for all folds: probes of other penalties have scores of another scale, and an area over all folds compares
# scores of different folds.
LOGIT_VARIANCE = 3.0
# Of one person a probe is fitted to this many examples at most, evenly spread; all are scored.
MOST_OF_A_PERSON = 60
REPETITIONS = 2000
NEIGHBOURS = 10
_BLOCK = 1024


@dataclass(frozen=True)
class Examples:
    """What a probe is fitted to: ``features`` (n, d), ``positive`` bool (n,), ``person`` (n,)."""

    features: NDArray[np.float32]
    positive: NDArray[np.bool_]
    person: NDArray[np.str_]

    def take(self, rows: NDArray[np.int64]) -> Examples:
        return Examples(self.features[rows], self.positive[rows], self.person[rows])


@dataclass(frozen=True)
class Figure:
    """An AUROC, or a difference of two, with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def recording_means(
    features: NDArray[np.float32], positive: NDArray[np.bool_], person: NDArray[np.str_], record: NDArray[np.str_]
) -> Examples:
    """One example a recording: the mean of its windows, of those that are known."""
    _, first, of = np.unique(record, return_index=True, return_inverse=True)
    known = np.isfinite(features)
    total, count = np.zeros((len(first), features.shape[1])), np.zeros((len(first), features.shape[1]))
    np.add.at(total, of, np.where(known, features, 0))
    np.add.at(count, of, known)
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return Examples(mean.astype(np.float32), positive[first], person[first])


def probe(blocks: Sequence[int]) -> Pipeline:
    """Missing columns become their median, with an indicator of their own; then standardised, then logistic.

    The weights' prior is such that the logit's variance is ``LOGIT_VARIANCE``, each block of so many features having
    the same share of it, however many they are: else the many embeddings would leave nothing to the few columns.
    """
    ends = np.cumsum(blocks)
    ready = [
        (
            f"up to {end}",
            make_pipeline(
                SimpleImputer(strategy="median", add_indicator=True),
                StandardScaler(),
                FunctionTransformer(partial(np.multiply, n**-0.5)),
            ),
            slice(end - n, end),
        )
        for n, end in zip(blocks, ends, strict=True)
    ]
    logistic = LogisticRegression(
        C=LOGIT_VARIANCE / len(blocks), solver="newton-cholesky", class_weight="balanced", max_iter=200
    )
    return make_pipeline(ColumnTransformer(ready), logistic)


def fitted(examples: Examples, blocks: Sequence[int] = ()) -> Pipeline:
    """A probe of ``examples``, in which each person counts as much as another, however many windows they have.

    ``blocks``: how many of the features are of each kind; by default all are of one.
    """
    examples = examples.take(_thinned(examples.person))
    weight = _person_weights(examples.person)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return probe(blocks or [examples.features.shape[1]]).fit(
            examples.features, examples.positive, logisticregression__sample_weight=weight
        )


def out_of_fold(examples: Examples, blocks: Sequence[int] = ()) -> NDArray[np.float64]:
    """Each example's score by a probe that saw no example of its person, (n,)."""
    score = np.full(len(examples.positive), np.nan)
    few = len(np.unique(examples.person[examples.positive])) < FEW_PEOPLE
    splits = _one_person_out(examples) if few else _grouped_folds(examples)
    for train, test in splits:
        score[test] = fitted(examples.take(train), blocks).decision_function(examples.features[test])
    return score


def area(examples: Examples, score: NDArray[np.float64]) -> Figure:
    """AUROC with its interval by bootstrap over people."""
    return _interval(auroc(examples.positive, score, _weights(examples.person)))


def difference(examples: Examples, score: NDArray[np.float64], other: NDArray[np.float64]) -> Figure:
    """AUROC of ``score`` minus that of ``other``, on the same resampled people."""
    weights = _weights(examples.person)
    return _interval(auroc(examples.positive, score, weights) - auroc(examples.positive, other, weights))


def same_share(embeddings: NDArray[np.float32], group: NDArray[np.str_]) -> float:
    """Share of windows whose nearest other window, by cosine, is of the same group (recording): (n, D), (n,)."""
    hits = 0
    for rows, similarity in _similarities(embeddings):
        similarity[np.arange(len(rows)), rows] = -2
        hits += int((group[similarity.argmax(1)] == group[rows]).sum())
    return hits / len(group)


def neighbours_alike(
    embeddings: NDArray[np.float32], person: NDArray[np.str_], positive: NDArray[np.bool_]
) -> tuple[float, float]:
    """Of the ``NEIGHBOURS`` nearest windows of other people of positive windows, the share that are positive.

    And the share that chance would give: of positive windows among those of other people.
    """
    shares, chances = [], []
    for rows, similarity in _similarities(embeddings):
        for row, line in zip(rows, similarity, strict=True):
            if positive[row]:
                other = person != person[row]
                nearest = np.argsort(np.where(other, -line, 2), kind="stable")[:NEIGHBOURS]
                shares.append(positive[nearest].mean())
                chances.append(positive[other].mean())
    return float(np.mean(shares)), float(np.mean(chances))


def _similarities(embeddings: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    z = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    for low in range(0, len(z), _BLOCK):
        rows = np.arange(low, min(low + _BLOCK, len(z)))
        yield rows, z[rows] @ z.T


def _thinned(person: NDArray[np.str_]) -> NDArray[np.int64]:
    """Rows of at most ``MOST_OF_A_PERSON`` examples of each person."""
    kept = []
    for one in np.unique(person):
        rows = np.flatnonzero(person == one)
        at = np.linspace(0, len(rows) - 1, min(len(rows), MOST_OF_A_PERSON))
        kept.append(rows[np.unique(np.rint(at).astype(np.int64))])
    return np.sort(np.concatenate(kept))


def _person_weights(person: NDArray[np.str_]) -> NDArray[np.float64]:
    _, of, count = np.unique(person, return_inverse=True, return_counts=True)
    weight = 1 / count[of]
    return np.asarray(weight / weight.mean())


def _grouped_folds(examples: Examples) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Folds of whole people, each with both classes outside of it; fewer folds where positive people are few."""
    people = min(len(np.unique(examples.person[examples.positive == c])) for c in (True, False))
    if people < 2:
        return
    cut = StratifiedGroupKFold(min(FOLDS, people), shuffle=True, random_state=0)
    for train, test in cut.split(examples.features, examples.positive, examples.person):
        if 0 < examples.positive[train].sum() < len(train):
            yield train, test


def _one_person_out(examples: Examples) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    yield from LeaveOneGroupOut().split(examples.features, examples.positive, examples.person)


def _weights(person: NDArray[np.str_]) -> NDArray[np.float64]:
    _, of = np.unique(person, return_inverse=True)
    return bootstrap_weights(int(of.max()) + 1, REPETITIONS, np.random.default_rng(0))[:, of]


def _interval(values: NDArray[np.float64]) -> Figure:
    """The first value, and the middle 95 % of the others."""
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return Figure(float(values[0]), float(low), float(high))
