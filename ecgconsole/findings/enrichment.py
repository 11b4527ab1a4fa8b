"""Are patients who show a pattern more often those with a label? Tests whose unit is the patient.

``exposure`` is bool (p, k); ``labels`` float (p, l) of 0, 1 and not-a-number where it is not known;
tables are int (4, k, l): exposed with and without the label, unexposed with and without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln
from scipy.stats import false_discovery_control, fisher_exact, hypergeom
from scipy.stats.contingency import odds_ratio
from statsmodels.stats.contingency_tables import StratifiedTable
from statsmodels.stats.proportion import proportion_confint


def tables(exposure: NDArray, labels: NDArray) -> NDArray[np.int64]:
    """2 x 2 tables (4, k, l) of all patterns and labels."""
    yes = (labels == 1).astype(np.float64)
    no = (labels == 0).astype(np.float64)
    x = exposure.astype(np.float64)
    return np.round(np.stack([x.T @ yes, x.T @ no, (1 - x).T @ yes, (1 - x).T @ no])).astype(np.int64)


def testable(counts: NDArray, minimum: int) -> NDArray[np.bool_]:
    """Pairs (k, l) with at least ``minimum`` patients on each margin: exposed, unexposed, with, without.

    It looks at margins alone, so what is tested does not depend on the association.
    """
    a, b, c, d = counts
    return np.minimum.reduce([a + b, c + d, a + c, b + d]) >= minimum


def fisher_p(counts: NDArray) -> NDArray[np.float64]:
    """Two-sided Fisher exact p (k, l) of tables (4, k, l): what ``scipy.stats.fisher_exact`` gives, all at once.

    The sum of the probabilities of all tables with the same margins that are no likelier than the
    one seen; equal within rounding (a factor of 1 + 1e-7, as in SciPy) counts as equally likely.
    """
    a, b, c, d = (table.ravel()[:, None] for table in counts)
    total, positive, exposed_total = a + b + c + d, a + c, a + b
    log_factorial = gammaln(np.arange(int(total.max(initial=0)) + 2) + 1.0)
    lowest = np.maximum(0, exposed_total + positive - total)
    highest = np.minimum(exposed_total, positive)
    x = lowest + np.arange(int((highest - lowest).max(initial=0)) + 1)
    possible = x <= highest
    x = np.where(possible, x, lowest)

    def log_choose(n: NDArray, k: NDArray) -> NDArray:
        return log_factorial[n] - log_factorial[k] - log_factorial[n - k]

    log_p = log_choose(positive, x) + log_choose(total - positive, exposed_total - x) - log_choose(total, exposed_total)
    seen = np.take_along_axis(log_p, a - lowest, axis=1)
    as_extreme = possible & (log_p <= seen + np.log1p(1e-7))
    return np.minimum((np.exp(log_p) * as_extreme).sum(axis=1), 1.0).reshape(counts.shape[1:])


def q_values(p: NDArray, tested: NDArray) -> NDArray[np.float64]:
    """Benjamini-Hochberg over the tested pairs together; not-a-number elsewhere."""
    q = np.full(p.shape, np.nan)
    if tested.any():
        q[tested] = false_discovery_control(p[tested], method="bh")
    return q


def fisher_odds_ratio(table: NDArray) -> tuple[float, float, float]:
    """Conditional maximum-likelihood odds ratio and exact 95 % interval of one table (4,); may be 0 or infinite."""
    result = odds_ratio(np.reshape(table, (2, 2)))
    interval = result.confidence_interval(0.95)
    return float(result.statistic), float(interval.low), float(interval.high)


def adjusted_odds_ratio(exposure: NDArray, label: NDArray, stratum: NDArray) -> tuple[float, float, float, int]:
    """Mantel-Haenszel odds ratio over strata with its 95 % interval (Robins, Breslow & Greenland 1986).

    ``exposure`` and ``label`` (p,). Returns also the number of strata that carry information;
    not-a-number where none does.
    """
    informative = []
    for s in np.unique(stratum):
        rows = stratum == s
        table = tables(exposure[rows, None], label[rows, None])[:, 0, 0].reshape(2, 2)
        if (table.sum(axis=0) > 0).all() and (table.sum(axis=1) > 0).all():
            informative.append(table.astype(float))
    if not informative:
        return float("nan"), float("nan"), float("nan"), 0
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = StratifiedTable(informative)
        ratio = float(pooled.oddsratio_pooled)
        low, high = (float(v) for v in pooled.oddsratio_pooled_confint()) if 0 < ratio < np.inf else (np.nan, np.nan)
    return ratio, low, high, len(informative)


def stratified_z(exposure: NDArray, labels: NDArray, stratum_rows: list[NDArray]) -> NDArray[np.float64]:
    """Mantel-Haenszel z (k, l), without continuity correction: sum of (a - E a) over the root of its variance.

    Its square is the Cochran-Mantel-Haenszel statistic. 0 where no stratum carries information.
    """
    yes = (labels == 1).astype(np.float64)
    known = (~np.isnan(labels)).astype(np.float64)
    x = exposure.astype(np.float64)
    excess = np.zeros((x.shape[1], labels.shape[1]))
    variance = np.zeros_like(excess)
    for rows in stratum_rows:
        total = known[rows].sum(axis=0)
        positive = yes[rows].sum(axis=0)
        exposed_total = x[rows].T @ known[rows]
        safe = np.maximum(total, 1)
        expected = exposed_total * positive / safe
        excess += x[rows].T @ yes[rows] - expected
        variance += expected * (total - exposed_total) * (total - positive) / (safe * np.maximum(total - 1, 1))
    return np.divide(excess, np.sqrt(variance), out=np.zeros_like(excess), where=variance > 1e-12)


def rows_by_stratum(stratum: NDArray) -> list[NDArray]:
    return [np.flatnonzero(stratum == s) for s in np.unique(stratum)]


def permuted(exposure: NDArray, stratum_rows: list[NDArray], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Whole patients' profiles (p, k) dealt anew within each stratum."""
    shuffled = exposure.copy()
    for rows in stratum_rows:
        shuffled[rows] = exposure[rng.permutation(rows)]
    return shuffled


@dataclass(frozen=True)
class MaxT:
    """Permutation results: ``p`` (k, l) of each pair, ``p_max`` (k, l) against the largest |z| of all pairs.

    ``critical``: the |z| above which ``p_max`` is at most the level.
    """

    p: NDArray[np.float64]
    p_max: NDArray[np.float64]
    critical: float


def max_t(
    exposure: NDArray,
    labels: NDArray,
    stratum: NDArray,
    tested: NDArray,
    repetitions: int,
    level: float,
    rng: np.random.Generator,
) -> MaxT:
    """Westfall & Young's single-step max-T (1993) with ``stratified_z``, profiles permuted within strata.

    ``p_max`` holds the chance of any false finding among all pairs at its level, whatever the
    patterns' and labels' mutual dependence.
    """
    rows = rows_by_stratum(stratum)
    observed = np.abs(stratified_z(exposure, labels, rows))
    reached = np.zeros(observed.shape, np.int64)
    largest = np.zeros(repetitions)
    for r in range(repetitions):
        z = np.abs(stratified_z(permuted(exposure, rows, rng), labels, rows))
        reached += z >= observed - 1e-9
        largest[r] = z[tested].max(initial=0.0)
    largest.sort()
    beyond = repetitions - np.searchsorted(largest, observed - 1e-9, side="left")
    allowed = int(np.floor(level * (repetitions + 1))) - 1
    critical = float(largest[repetitions - allowed - 1]) if 0 <= allowed < repetitions else float("inf")
    return MaxT((1 + reached) / (repetitions + 1), (1 + beyond) / (repetitions + 1), critical)


def negative_control(
    exposure: NDArray,
    labels: NDArray,
    stratum: NDArray,
    tested: NDArray,
    critical: float,
    repetitions: int,
    level: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """How often the whole procedure discovers something where there is nothing to discover.

    Profiles of whole patients are permuted within strata and tested again: by the full rule (q and
    max-T both at most ``level``), and by Fisher and Benjamini-Hochberg alone, which do not know the
    strata: where that rate is above nominal, age, sex or length of monitoring confound. A run
    counts once however much it discovers, so runs are independent and the interval is binomial
    (Clopper-Pearson).
    """
    rows = rows_by_stratum(stratum)
    full, fisher_alone, discoveries = 0, 0, 0
    for _ in range(repetitions):
        shuffled = permuted(exposure, rows, rng)
        by_fisher = np.nan_to_num(q_values(fisher_p(tables(shuffled, labels)), tested), nan=1.0) <= level
        both = by_fisher & (np.abs(stratified_z(shuffled, labels, rows)) > critical + 1e-9)
        full += bool(both.any())
        fisher_alone += bool(by_fisher.any())
        discoveries += int(both.sum())
    rule = _binomial(full, repetitions, level)
    return {
        "permutations": repetitions,
        "nominal": level,
        "discoveries": discoveries,
        **rule,
        "fisher_alone": _binomial(fisher_alone, repetitions, level),
    }


def _binomial(hits: int, repetitions: int, level: float) -> dict[str, Any]:
    low, high = proportion_confint(hits, repetitions, alpha=0.05, method="beta")
    return {
        "runs_with_discoveries": hits,
        "rate": hits / repetitions,
        "ci_low": float(low),
        "ci_high": float(high),
        "at_or_below_nominal": bool(low <= level),
    }


def replication(table: NDArray, direction_up: bool, level: float) -> dict[str, Any]:
    """A finding tried again on held-out patients (4,): one-sided Fisher in the direction found.

    ``replicated`` is None when even the most extreme table with these margins could not reach ``level``.
    """
    a, b, c, d = (int(v) for v in table)
    total, positive, exposed_total = a + b + c + d, a + c, a + b
    result: dict[str, Any] = {"patients": total, "exposed": exposed_total, "with_label": positive}
    if min(exposed_total, positive, total - exposed_total, total - positive) == 0:
        return {**result, "replicated": None, "p": None, "attainable_p": None}
    alternative = "greater" if direction_up else "less"
    extreme = min(exposed_total, positive) if direction_up else max(0, exposed_total + positive - total)
    attainable = float(hypergeom.pmf(extreme, total, positive, exposed_total))
    p = float(fisher_exact([[a, b], [c, d]], alternative=alternative).pvalue)
    return {
        **result,
        "p": p,
        "attainable_p": attainable,
        "replicated": None if attainable > level else p <= level,
    }
