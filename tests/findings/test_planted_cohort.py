"""One synthetic cohort through every stage: what was planted, rhythm and effects, is what the findings say."""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
import pytest

from ecgconsole.config import Config
from ecgconsole.dataset import build
from ecgconsole.findings import discover, stroke, validate
from ecgconsole.findings.enrichment import fisher_odds_ratio
from ecgconsole.synth.people import PLANTED
from ecgconsole.synth.synthesise import synthesise
from ecgconsole.training import embed, train
from ecgconsole.workspace import Workspace
from tests.findings.conftest import Events

# Strong enough to be found in a cohort of this size; in the synthetic cohort as it comes the odds ratio is 3.
EFFECTS = {**PLANTED, "stroke_ischaemic_concurrent": {"probability_without_af": 0.07, "odds_ratio_af": 8.0}}
LABELS = {
    "concurrent_atrial_fibrillation": None,
    "concurrent_stroke_ischaemic": EFFECTS["stroke_ischaemic_concurrent"]["odds_ratio_af"],
    "medication_antiarrhythmic": EFFECTS["medication_antiarrhythmic"]["odds_ratio_af"],
}
NO_EFFECT = "before_diabetes"

# A demo-sized training, whatever the defaults and the presets become.
MODEL = {"embedding_dim": 64, "hidden_dims": [16, 32, 64, 64], "projection_dim": 64}
TRAINING = {
    "num_epochs": 8,
    "batch_size": 64,
    "segments_per_patient": 8,
    "learning_rate": 1e-3,
    "negative_gap_seconds": 60,
    "positive_within_seconds": 20,
    "temperature": 0.1,
    "weight_views": 1,
    "weight_cross": 1,
    "weight_rhythm": 3,
    "device": "cpu",
    "precision": "fp32",
}

# The stablest number of patterns is 6 here, one of which holds fibrillation and bigeminy alike: irregular rhythm.
# The question is whether the embedding tells the planted rhythms apart, so it is asked of finer patterns.
CLUSTER_COUNTS = [20, 24]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The folder of a cohort of 400 people, with everything that the stages make of it."""
    folder, events = tmp_path_factory.mktemp("planted"), Events()
    cohort, workspace = folder / "cohort", Workspace(folder / "output")
    synthesise(cohort, 400, 0.12, 1, effects=EFFECTS)
    config = Config.model_validate_json(
        json.dumps(
            {
                "data": {"waveform_dir": str(cohort / "waveforms"), "clinical_dir": str(cohort / "clinical")},
                "model": MODEL,
                "training": TRAINING,
                "discovery": {"rhythm_file": str(cohort / "truth" / "rhythm.csv"), "cluster_counts": CLUSTER_COUNTS},
            }
        )
    )
    for stage in (build, train, embed, discover, validate, stroke):
        stage.run(config, workspace, events.reporter, events.stop)
    return folder


@pytest.mark.slow
def test_patterns_named_on_training_people_match_the_planted_rhythm_on_test_people(found):
    report = json.loads((found / "output" / "discovered_patterns.json").read_text())
    assert report["rhythm_agreement"]["test"]["ari"] >= 0.8
    fibrillation = [p for p in report["patterns"] if p["rhythm"]["name"] == "atrial_fibrillation"]
    assert fibrillation
    assert all(p["rhythm"]["held_out"]["ci_low"] > 1.5 for p in fibrillation if p["class"] == "pattern")


@pytest.mark.slow
def test_planted_effects_are_found_and_weaker_by_pattern_than_by_the_true_rhythm(found):
    workspace = Workspace(found / "output")
    truth = pd.read_csv(found / "cohort" / "truth" / "patients.csv").set_index("patient")
    metadata = pd.read_parquet(workspace.metadata).set_index("patient_id")
    patterns = json.loads(workspace.patterns.read_text())["patterns"]
    validation = json.loads(workspace.validation.read_text())
    fibrillation = {p["id"] for p in patterns if p["rhythm"]["name"] == "atrial_fibrillation"}
    attenuation = []
    for label, planted in LABELS.items():
        training = metadata[(metadata["split"] == "train") & metadata[label].notna()]
        true, value = truth.loc[training.index, "has_af"].astype(bool), training[label].astype(bool)
        table = np.array([(true & value).sum(), (true & ~value).sum(), (~true & value).sum(), (~true & ~value).sum()])
        ratio, low, high = fisher_odds_ratio(table)
        tests = [t for t in validation["tests"] if t["label"] == label and t["pattern"] in fibrillation]
        shown = ", ".join(f"{t['odds_ratio']:.1f} ({t['ci_low']:.1f} to {t['ci_high']:.1f})" for t in tests)
        sys.stdout.write(f"{label}: planted {planted}, true rhythm {ratio:.1f} ({low:.1f} to {high:.1f}), {shown}\n")
        assert planted is None or low <= planted <= high
        discovered = [t for t in tests if t["discovery"]]
        assert discovered
        assert all(t["adjusted_ci_low"] > 1 for t in discovered)
        # Of four noisy estimates the largest may pass the true one; none may credibly.
        assert all(t["ci_low"] < ratio for t in tests)
        attenuation.append(np.mean([np.log(t["odds_ratio"] / ratio) for t in tests]))
    assert np.mean(attenuation) < 0
    without = [t["discovery"] for t in validation["tests"] if t["label"] == NO_EFFECT and t["pattern"] in fibrillation]
    assert without
    assert not any(without)
    assert validation["negative_control"]["at_or_below_nominal"]
