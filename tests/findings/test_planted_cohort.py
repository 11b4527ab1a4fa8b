"""One synthetic cohort through every stage: the rhythm that was planted is what the patterns find."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgconsole.config import Config
from ecgconsole.dataset import build
from ecgconsole.findings import discover, stroke, validate
from ecgconsole.findings.enrichment import fisher_odds_ratio
from ecgconsole.synth.synthesise import synthesise
from ecgconsole.training import embed, train
from ecgconsole.workspace import Workspace


@pytest.mark.slow
def test_patterns_named_on_training_people_match_the_planted_rhythm_on_test_people(tmp_path, events):
    cohort, workspace = tmp_path / "cohort", Workspace(tmp_path / "output")
    synthesise(cohort, 240, 0.2, 1)
    demo = json.loads((Path(__file__).parents[2] / "configs" / "demo.json").read_text())
    config = Config.model_validate_json(
        json.dumps(
            {
                **demo,
                "data": {"waveform_dir": str(cohort / "waveforms"), "clinical_dir": str(cohort / "clinical")},
                "training": {**demo["training"], "max_minutes": None, "num_epochs": 5},
                "discovery": {"rhythm_file": str(cohort / "truth" / "rhythm.csv")},
            }
        )
    )
    for stage in (build, train, embed, discover, validate, stroke):
        stage.run(config, workspace, events.reporter, events.stop)

    patterns = json.loads(workspace.patterns.read_text())
    assert patterns["rhythm_agreement"]["test"]["ari"] >= 0.8
    named = {p["id"]: p["rhythm"]["name"] for p in patterns["patterns"]}
    tests = json.loads(workspace.validation.read_text())["tests"]
    label = "concurrent_atrial_fibrillation"
    found = [t for t in tests if t["label"] == label and named[t["pattern"]] == "atrial_fibrillation"]
    best = max(found, key=lambda t: t["odds_ratio"])
    assert best["discovery"]
    assert best["replicated"]
    assert best["adjusted_ci_low"] > 1
    control = json.loads(workspace.validation.read_text())["negative_control"]
    assert control["at_or_below_nominal"]

    # By the planted rhythm itself the association is stronger: exposure by pattern attenuates it.
    truth = pd.read_csv(cohort / "truth" / "patients.csv").set_index("patient")
    metadata = pd.read_parquet(workspace.metadata).set_index("patient_id")
    training = metadata[(metadata["split"] == "train") & metadata[label].notna()]
    coded, true = training[label].astype(bool), truth.loc[training.index, "has_af"].astype(bool)
    table = np.array([(true & coded).sum(), (true & ~coded).sum(), (~true & coded).sum(), (~true & ~coded).sum()])
    assert fisher_odds_ratio(table)[0] > best["odds_ratio"]
