"""The stage validate: do patients who show a pattern differ clinically, and does it hold in others?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ecgconsole.config import Config, ValidationConfig
from ecgconsole.errors import InputError
from ecgconsole.findings import enrichment
from ecgconsole.findings.exposure import exposed, fixed_exposure, strata
from ecgconsole.findings.inputs import SPLITS
from ecgconsole.findings.labels import Labels, read_labels
from ecgconsole.findings.profile import segment_counts
from ecgconsole.findings.provenance import file_sha256, named_file
from ecgconsole.stage import Reporter, Stop
from ecgconsole.text import sanitise
from ecgconsole.workspace import Workspace, write_json

STEPS = ("tables", "permutations", "fixed number of segments", "negative control", "replication")

LIMITS = (
    "Association, not cause: patients are compared as they were monitored and treated.",
    "Labels are discharge codes, right in about two thirds of patients with AF; odds ratios are attenuated by that.",
    "Exposure is measured in the recorded hours, not the whole stay.",
    "Not a medical device.",
)


@dataclass(frozen=True)
class Cohort:
    """Patients by pattern: ``counts`` int (p, k) of segments, ``held_out`` bool (p,), and their clinical labels."""

    counts: NDArray[np.int64]
    held_out: NDArray[np.bool_]
    labels: Labels


def run(
    config: Config, workspace: Workspace, reporter: Reporter, stop: Stop, patterns: Path | None = None
) -> dict[str, Any]:
    """Writes validation.json; returns the counts. ``patterns``: another discovered_patterns.json, or its folder."""
    settings = config.validation
    path = Path(patterns) if patterns is not None else workspace.patterns
    if path.is_dir():
        path = Workspace(path).patterns
    found, assignments = _read_patterns(path)
    patients, codes = np.unique(assignments["patient_id"].astype(str).to_numpy(str), return_inverse=True)
    k = len(found["patterns"])
    counts = segment_counts(assignments["pattern"].to_numpy(), codes, k, len(patients))
    held_out = np.zeros(len(patients), bool)
    held_out[codes] = (assignments["split"].astype(str) != SPLITS[0]).to_numpy()
    cohort = Cohort(counts, held_out, read_labels(workspace.metadata, patients))
    shared = [p["id"] for p in found["patterns"] if p["class"] == "pattern"]
    with threadpool_limits(1):
        report = validate_patterns(cohort, shared, settings, reporter, stop)
    report["patterns"] = {"file": path.name, "sha256": file_sha256(path)}
    report["metadata"] = named_file(workspace.metadata)
    write_json(workspace.validation, report)
    if not report["tests"]:
        reporter.warning(
            "nothing-to-validate",
            f"no pattern and label with {settings.min_patients} training patients on each side: nothing was tested",
            "give the stage build data.clinical_dir, or more patients; validation.json says what was missing",
        )
    return {
        "patients": len(patients),
        "tests": len(report["tests"]),
        "discoveries": sum(t["discovery"] for t in report["tests"]),
        "replicated": sum(t["replicated"] is True for t in report["tests"]),
    }


def validate_patterns(
    cohort: Cohort, shared: Sequence[int], settings: ValidationConfig, reporter: Reporter, stop: Stop
) -> dict[str, Any]:
    """Everything in validation.json but the names of its inputs. ``shared``: the patterns that may be tested."""
    done = 0

    def step() -> None:
        nonlocal done
        reporter.progress(done, len(STEPS), "steps")
        done += 1
        stop.wait_while_paused()
        stop.raise_if_requested("nothing of this stage, which takes minutes and starts again")

    step()
    level, labels = settings.false_discovery_rate, cohort.labels
    columns = list(shared)
    train, held_out = ~cohort.held_out, cohort.held_out
    exposure_all = exposed(cohort.counts, settings.exposure_share, settings.exposure_segments)
    exposure, values = exposure_all[train][:, columns], labels.values[train]
    sexes = [labels.sex[i] for i in np.flatnonzero(train)]
    stratum = strata(labels.age_years[train], sexes, cohort.counts[train].sum(axis=1), settings.age_bands)
    table = enrichment.tables(exposure, values)
    tested = enrichment.testable(table, settings.min_patients)
    p = enrichment.fisher_p(table)
    q = enrichment.q_values(p, tested)

    step()
    rng = np.random.default_rng([settings.seed, 1])
    permutation = enrichment.max_t(exposure, values, stratum, tested, settings.permutations, level, rng)
    discovery = (np.nan_to_num(q, nan=1.0) <= level) & (permutation.p_max <= level)

    step()
    fixed = _fixed(cohort.counts[train], columns, values, settings)

    step()
    control = None
    if tested.any():
        control = enrichment.negative_control(
            exposure,
            values,
            stratum,
            tested,
            permutation.critical,
            settings.control_permutations,
            level,
            np.random.default_rng([settings.seed, 3]),
        )

    step()
    held_table = enrichment.tables(exposure_all[held_out][:, columns], labels.values[held_out])
    tests = []
    for i, j in zip(*np.nonzero(tested), strict=True):
        ratio, low, high = enrichment.fisher_odds_ratio(table[:, i, j])
        adjusted, adjusted_low, adjusted_high, informative = enrichment.adjusted_odds_ratio(
            exposure[:, i], values[:, j], stratum
        )
        again = enrichment.replication(held_table[:, i, j], ratio > 1, level) if discovery[i, j] else None
        tests.append(
            {
                "pattern": columns[i],
                "label": labels.names[j],
                "table": [int(v) for v in table[:, i, j]],
                "odds_ratio": _finite(ratio),
                "ci_low": _finite(low),
                "ci_high": _finite(high),
                "p": float(p[i, j]),
                "q": float(q[i, j]),
                "adjusted_odds_ratio": _finite(adjusted),
                "adjusted_ci_low": _finite(adjusted_low),
                "adjusted_ci_high": _finite(adjusted_high),
                "informative_strata": informative,
                "p_permutation": float(permutation.p[i, j]),
                "p_max_t": float(permutation.p_max[i, j]),
                "discovery": bool(discovery[i, j]),
                "fixed_segments": {name: _finite(float(v[i, j])) for name, v in fixed["figures"].items()},
                "replicated": None if again is None else again["replicated"],
                "replication": again,
            }
        )
    tests.sort(key=lambda t: (t["p"], t["pattern"], t["label"]))
    reporter.progress(len(STEPS), len(STEPS), "steps")
    return {
        "format_version": 1,
        "parameters": settings.model_dump(mode="json"),
        "patients": {"training": int(train.sum()), "held_out": int(held_out.sum())},
        "patients_without_metadata": labels.without_metadata,
        "strata": {"by": ["age band", "sex", "tertile of segments"], "number": len(np.unique(stratum))},
        "exposure": _exposure(exposure, columns, cohort.counts[train]),
        "labels": _label_counts(labels, train),
        "tests": tests,
        "untested": _untested(table, tested, columns, labels.names, settings.min_patients),
        "fixed_segments": {k: v for k, v in fixed.items() if k != "figures"},
        "negative_control": control,
        "limits": list(LIMITS),
    }


def _read_patterns(path: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        beside = path.parent / Path(found["assignments"]["file"]).name
        classes = [(p["id"], p["class"]) for p in found["patterns"]]
        expected = found["assignments"]["sha256"]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; run the stage discover first") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not what the stage discover writes ({sanitise(error, 200)})") from error
    if [i for i, _ in classes] != list(range(len(classes))):
        raise InputError(f"{path}: its patterns are not numbered from 0")
    if not beside.is_file():
        raise InputError(f"{path} belongs with {beside.name}, which is not beside it; keep both together")
    if file_sha256(beside) != expected:
        raise InputError(f"{beside} is not the file that {path.name} was made with; run the stage discover again")
    return found, pd.read_parquet(beside, columns=["patient_id", "split", "pattern"])


def _fixed(counts: NDArray, columns: list[int], values: NDArray, settings: ValidationConfig) -> dict[str, Any]:
    """Odds ratios when each patient is seen for the same number of segments: medians and quartiles over draws."""
    enough, draws = fixed_exposure(
        counts,
        settings.fixed_segments,
        settings.exposure_share,
        settings.exposure_segments,
        settings.fixed_repetitions,
        np.random.default_rng([settings.seed, 2]),
    )
    drawn = [enrichment.tables(draw[:, columns], values[enough]) for draw in draws]
    ratios = [((a + 0.5) * (d + 0.5)) / ((b + 0.5) * (c + 0.5)) for a, b, c, d in drawn]
    low, median, high = np.quantile(ratios, [0.25, 0.5, 0.75], axis=0)
    p = np.median([enrichment.fisher_p(table) for table in drawn], axis=0)
    figures = {"odds_ratio": median, "lower_quartile": low, "upper_quartile": high, "median_p": p}
    if not enough.any():
        figures = {name: np.full(values.shape, np.nan) for name, values in figures.items()}
    return {
        "segments": settings.fixed_segments,
        "patients": int(enough.sum()),
        "repetitions": settings.fixed_repetitions,
        "figures": figures,
    }


def _exposure(exposure: NDArray, columns: list[int], counts: NDArray) -> list[dict[str, Any]]:
    return [
        {"pattern": j, "exposed": int(exposure[:, i].sum()), "with_any_segment": int(np.count_nonzero(counts[:, j]))}
        for i, j in enumerate(columns)
    ]


def _label_counts(labels: Labels, train: NDArray) -> list[dict[str, Any]]:
    return [
        {
            "label": name,
            "with": int(np.sum(labels.values[train, j] == 1)),
            "without": int(np.sum(labels.values[train, j] == 0)),
            "unknown": int(np.sum(np.isnan(labels.values[train, j]))),
        }
        for j, name in enumerate(labels.names)
    ]


def _untested(
    table: NDArray, tested: NDArray, columns: list[int], names: list[str], minimum: int
) -> list[dict[str, Any]]:
    a, b, c, d = table
    margins = {"exposed": a + b, "unexposed": c + d, "with the label": a + c, "without the label": b + d}
    return [
        {
            "pattern": columns[i],
            "label": names[j],
            "reason": "; ".join(
                f"{m[i, j]} {what}, {minimum} needed" for what, m in margins.items() if m[i, j] < minimum
            ),
        }
        for i, j in zip(*np.nonzero(~tested), strict=True)
    ]


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
