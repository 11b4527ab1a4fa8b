"""The stage validate: planted odds ratios are found and covered, nothing is found where nothing is."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from ecgconsole.config import ValidationConfig
from ecgconsole.errors import InputError
from ecgconsole.findings import discover, enrichment, validate
from ecgconsole.findings.exposure import exposed
from ecgconsole.findings.labels import Labels, read_labels
from ecgconsole.workspace import Workspace
from tests.findings.conftest import Events, quick_config

QUICK = ValidationConfig(permutations=100, control_permutations=20, fixed_segments=30, fixed_repetitions=2)
ODDS_RATIO = 4.0


def cohort(seed, odds_ratio, patients=420, patterns=6, labels=8):
    """Patients by pattern. Pattern 0 raises the odds of label 0; age raises the odds of all labels and of pattern 1.

    Returns also the true exposure to pattern 0: its share in the patient's life, before segments are drawn.
    """
    rng = np.random.default_rng(seed)
    age = rng.uniform(30, 89, patients)
    share = rng.dirichlet(np.full(patterns, 0.4), patients)
    older = age > 65
    share[older, 1] += 0.1
    share /= share.sum(axis=1, keepdims=True)
    true = share[:, 0] >= 0.05
    length = rng.integers(60, 400, patients)
    counts = np.stack([rng.multinomial(n, s) for n, s in zip(length, share, strict=True)])
    eta = np.log(0.25) + 0.5 * older[:, None] + np.zeros((patients, labels))
    eta[:, 0] += np.log(odds_ratio) * true
    values = (rng.random((patients, labels)) < 1 / (1 + np.exp(-eta))).astype(float)
    values[rng.random((patients, labels)) < 0.03] = np.nan
    found = Labels(
        names=[f"concurrent_{j}" for j in range(labels)],
        values=values,
        age_years=age,
        sex=list(rng.choice(["F", "M"], patients)),
        without_metadata=0,
    )
    return validate.Cohort(counts, rng.random(patients) < 0.3, found), true, age


def validated(seed, odds_ratio):
    made, true, age = cohort(seed, odds_ratio)
    events = Events()
    report = validate.validate_patterns(made, range(6), QUICK, events.reporter, events.stop)
    return report, made, true, age


def covers(made, true, age):
    """Whether the adjusted interval on the true exposure holds the planted odds ratio."""
    known = ~np.isnan(made.labels.values[:, 0])
    _, low, high, _ = enrichment.adjusted_odds_ratio(true[known], made.labels.values[known, 0], (age > 65)[known])
    return low <= ODDS_RATIO <= high


def test_a_planted_association_is_found_replicated_and_weaker_by_measured_exposure():
    report, made, true, age = validated(0, ODDS_RATIO)
    found = {(t["pattern"], t["label"]): t for t in report["tests"]}
    planted = found[0, "concurrent_0"]
    assert planted["discovery"]
    assert planted["replicated"] is True
    assert planted["ci_low"] > 1
    assert planted["p_max_t"] <= 0.05
    assert planted["fixed_segments"]["odds_ratio"] > 1.5
    assert sum(t["discovery"] for t in report["tests"]) <= 2
    assert covers(made, true, age)
    measured = exposed(made.counts, 0.05, 3)[:, 0]
    assert 0.02 < np.mean(measured != true) < 0.3


def test_every_figure_of_a_test_belongs_to_its_table():
    report, made, _, _ = validated(1, ODDS_RATIO)
    train = ~made.held_out
    for test in report["tests"][:10]:
        exposure = exposed(made.counts[train], 0.05, 3)[:, test["pattern"]]
        label = made.labels.values[train, int(test["label"][-1])]
        slow = [int(np.sum(exposure & (label == 1))), int(np.sum(exposure & (label == 0)))]
        slow += [int(np.sum(~exposure & (label == 1))), int(np.sum(~exposure & (label == 0)))]
        assert test["table"] == slow
        assert test["ci_low"] <= test["odds_ratio"] <= test["ci_high"]
        assert test["p"] <= test["q"]
        assert test["p_permutation"] <= test["p_max_t"]
        assert (test["replicated"] is None) or test["discovery"]
    assert len(report["tests"]) + len(report["untested"]) == 6 * 8


def simulated(seeds):
    """Over simulated cohorts: how often the truth is covered and found, how often a null cohort gives a discovery."""
    covered = hits = null_runs = 0
    for seed in seeds:
        report, made, true, age = validated(seed, ODDS_RATIO)
        covered += covers(made, true, age)
        hits += any(t["discovery"] and (t["pattern"], t["label"]) == (0, "concurrent_0") for t in report["tests"])
        null = validated(10_000 + seed, 1.0)[0]
        null_runs += any(t["discovery"] for t in null["tests"])
    return covered, hits, null_runs


def judge(n, covered, hits, null_runs):
    """Two-sided 99.9 % for coverage of 95 %, one-sided for null discoveries at 5 %; power is all but certain."""
    assert binom.ppf(0.0005, n, 0.95) <= covered <= binom.ppf(0.9995, n, 0.95)
    assert null_runs <= binom.ppf(0.999, n, 0.05)
    assert hits >= 0.9 * n


def test_simulated_cohorts_cover_the_truth_and_null_ones_stay_quiet():
    judge(6, *simulated(range(6)))


@pytest.mark.slow
def test_two_hundred_simulated_cohorts_cover_the_truth_and_null_ones_stay_quiet():
    judge(200, *simulated(range(200)))


@pytest.fixture
def discovered(planted, events):
    workspace = Workspace(planted.files[0].parent.parent)
    discover.run(quick_config(), workspace, events.reporter, events.stop)
    return workspace


def write_metadata(workspace, patients=60, seed=0):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "patient_id": [f"p{i:06d}" for i in range(patients)],
            "age_years": rng.uniform(30, 90, patients),
            "sex": pd.array(rng.choice(["F", "M"], patients), dtype="string"),
            "age_90_or_over": pd.array(rng.random(patients) < 0.1, dtype="boolean"),
            "concurrent_atrial_fibrillation": pd.array(rng.random(patients) < 0.4, dtype="boolean"),
            "medication_anticoagulant": pd.array(rng.random(patients) < 0.5, dtype="boolean"),
            "died_in_hospital": pd.array([pd.NA] * patients, dtype="boolean"),
            "segments": 40,
        }
    )
    table.to_parquet(workspace.metadata)
    return table


def test_the_stage_reads_what_discover_and_build_wrote(discovered, events):
    write_metadata(discovered)
    result = validate.run(quick_config(), discovered, events.reporter, events.stop)
    report = json.loads(discovered.validation.read_text())
    assert result["patients"] == 60
    assert report["patients"] == {"training": 42, "held_out": 18}
    assert {row["label"] for row in report["labels"]} == {
        "concurrent_atrial_fibrillation",
        "medication_anticoagulant",
        "died_in_hospital",
    }
    assert result["tests"] == len(report["tests"]) > 0
    assert report["negative_control"]["permutations"] == 40
    assert report["fixed_segments"]["patients"] == 42
    reasons = {row["label"]: row["reason"] for row in report["untested"]}
    assert "0 with the label, 10 needed" in reasons["died_in_hospital"]
    assert "p0000" not in discovered.validation.read_text()


def test_patterns_of_another_folder_are_read_with_what_lies_beside_them(discovered, events, tmp_path):
    other = Workspace(tmp_path / "other")
    other.folder.mkdir()
    write_metadata(other)
    first = validate.run(quick_config(), other, events.reporter, events.stop, patterns=discovered.patterns)
    whole_folder = discovered.folder
    assert first == validate.run(quick_config(), other, events.reporter, events.stop, patterns=whole_folder)
    write_metadata(discovered)
    assert first == validate.run(quick_config(), discovered, events.reporter, events.stop)
    assert discovered.validation.read_bytes() == other.validation.read_bytes()


def test_without_patients_of_enough_segments_the_fixed_number_has_no_figures(discovered, events):
    write_metadata(discovered)
    config = quick_config(validation={"fixed_segments": 41})
    validate.run(config, discovered, events.reporter, events.stop)
    report = json.loads(discovered.validation.read_text())
    assert report["fixed_segments"]["patients"] == 0
    assert set(report["tests"][0]["fixed_segments"].values()) == {None}


def test_without_labels_nothing_is_tested_and_it_says_so(discovered, events):
    write_metadata(discovered)[["patient_id", "segments"]].to_parquet(discovered.metadata)
    result = validate.run(quick_config(), discovered, events.reporter, events.stop)
    report = json.loads(discovered.validation.read_text())
    assert result["tests"] == 0
    assert report["tests"] == []
    assert report["negative_control"] is None
    assert events.codes()[-1] == "nothing-to-validate"


def test_patients_without_metadata_are_counted_and_have_no_labels(discovered):
    write_metadata(discovered, patients=50)
    found = read_labels(discovered.metadata, np.array([f"p{i:06d}" for i in range(60)]))
    assert found.without_metadata == 10
    assert np.isnan(found.values[50:]).all()
    assert np.isnan(found.age_years[50:]).all()


def test_files_that_do_not_belong_together_are_refused(discovered, events):
    def refused(match):
        with pytest.raises(InputError, match=match):
            validate.run(quick_config(), discovered, events.reporter, events.stop)

    refused("run build first")
    write_metadata(discovered)
    whole = discovered.assignments.read_bytes()
    discovered.assignments.write_bytes(whole[:-1] + b"x")
    refused("is not the file that discovered_patterns.json was made with")
    discovered.assignments.unlink()
    refused("which is not beside it")
    discovered.patterns.write_text("{}")
    refused("not what the stage discover writes")
    discovered.patterns.unlink()
    refused("run the stage discover first")
