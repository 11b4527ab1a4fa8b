"""The stage discover: on files, the same bytes for any number of threads, and what it says when there is little."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from ecgconsole.config import Config
from ecgconsole.errors import InputError, Stopped
from ecgconsole.findings import discover
from ecgconsole.findings.provenance import file_sha256
from ecgconsole.workspace import Workspace
from tests.findings.conftest import plant, quick_config, write_embeddings

OUTPUTS = ("patterns", "pattern_model", "assignments", "patient_embeddings")


def test_planted_patterns_are_found_described_and_hashed(planted, events):
    workspace = Workspace(planted.files[0].parent.parent)
    result = discover.run(quick_config(), workspace, events.reporter, events.stop)
    assert (result["clusters"], result["segments"], result["patients"]) == (5, 2400, 60)
    report = json.loads(workspace.patterns.read_text())
    table = pd.read_parquet(workspace.assignments)
    assert adjusted_rand_score(planted.pattern, table["pattern"]) > 0.95
    test_rows = table["split"] == "test"
    assert adjusted_rand_score(planted.pattern[test_rows], table["pattern"][test_rows]) > 0.95
    for p in report["patterns"]:
        members = table[table["pattern"] == p["id"]]
        assert p["segments"] == len(members)
        assert p["patients"] == members["patient_id"].nunique()
        assert set(p["medoids"]) <= set(members["segment_index"])
        assert p["class"] == "pattern"
        assert p["heart_rate_bpm"] is None
        assert p["jaccard"] > 0.85
    assert sum(p["segments"] for p in report["patterns"]) == 2400
    assert report["patients"] == {"train": 42, "val": 9, "test": 9}
    assert report["assignments"]["sha256"] == file_sha256(workspace.assignments)
    assert [e["sha256"] for e in report["embeddings"]] == [file_sha256(f) for f in sorted(planted.files)]
    assert report["confounding"]["raw"]["purity"] > report["confounding"]["patient_centred"]["purity"]
    means = pd.read_parquet(workspace.patient_embeddings)
    assert len(means) == 60
    assert events.codes() == []
    assert "p0000" not in workspace.patterns.read_text()


def test_the_bytes_are_the_same_for_any_number_of_threads_and_after_a_stop(planted, events):
    folder = planted.files[0].parent
    first, second = Workspace(folder.parent), Workspace(folder.parent.parent / "other")
    events.stop.request()
    with pytest.raises(Stopped, match="The same command continues"):
        discover.run(quick_config(), second, events.reporter, events.stop, embeddings=[folder])
    assert not second.patterns.exists()
    stop = type(events.stop)()
    one = quick_config(discovery={"num_workers": 1})
    three = quick_config(discovery={"num_workers": 3})
    discover.run(one, first, events.reporter, stop)
    discover.run(three, second, events.reporter, stop, embeddings=sorted(planted.files))
    for name in OUTPUTS:
        assert getattr(first, name).read_bytes() == getattr(second, name).read_bytes()


def test_only_training_patients_shape_the_patterns(planted, events):
    workspace = Workspace(planted.files[0].parent.parent)
    discover.run(quick_config(), workspace, events.reporter, events.stop)
    before = workspace.pattern_model.read_bytes()
    held_out = np.flatnonzero(planted.patient >= 51)
    other = planted.embeddings + np.float32(5.0)
    write_embeddings(planted.files[2], held_out, other, planted.patient)
    discover.run(quick_config(), workspace, events.reporter, events.stop)
    assert workspace.pattern_model.read_bytes() == before


def test_faiss_finds_them_too_with_the_same_bytes_for_any_number_of_threads(planted, events, tmp_path):
    pytest.importorskip("faiss", reason="the extra faiss is not installed")
    folders = [Workspace(tmp_path / name) for name in ("one", "three")]
    for workspace, workers in zip(folders, (1, 3), strict=True):
        config = quick_config(discovery={"kmeans": "faiss", "num_workers": workers})
        discover.run(config, workspace, events.reporter, events.stop, embeddings=planted.files)
    for name in OUTPUTS:
        assert getattr(folders[0], name).read_bytes() == getattr(folders[1], name).read_bytes()
    assert adjusted_rand_score(planted.pattern, pd.read_parquet(folders[0].assignments)["pattern"]) > 0.95


def test_noise_warns_that_patterns_are_unstable(tmp_path, events):
    made = plant(tmp_path / "output")
    noise = np.random.default_rng(0).normal(size=made.embeddings.shape)
    path = write_embeddings(tmp_path / "noise.npz", np.arange(2400), noise, made.patient)
    config = quick_config(discovery={"cluster_counts": (6, 8)})
    discover.run(config, Workspace(tmp_path / "out"), events.reporter, events.stop, embeddings=[path])
    assert "patterns-unstable" in events.codes()


def test_one_patient_s_cluster_is_patient_specific_and_nothing_shared_warns(tmp_path, events):
    made = plant(tmp_path / "output", patients=12)
    result = discover.run(quick_config(), Workspace(tmp_path / "output"), events.reporter, events.stop)
    assert result["patterns"] == 0
    assert result["patient_specific"] == result["clusters"]
    assert "no-shared-pattern" in events.codes()
    assert len(made.files) == 3


def test_few_patients_are_not_cut_into_clusters_that_none_could_share(tmp_path, events):
    plant(tmp_path / "output", patients=34)  # 24 of them train: 24 / 8 = 3 clusters
    discover.run(quick_config(), Workspace(tmp_path / "output"), events.reporter, events.stop)
    table = json.loads(Workspace(tmp_path / "output").patterns.read_text())["selection"]["table"]
    assert [row["k"] for row in table] == [3]


def test_too_few_segments_say_how_many_are_needed(tmp_path, events):
    plant(tmp_path / "output", patients=6, segments=4)
    with pytest.raises(
        InputError, match=r"half of the patients have 8, the smallest number of clusters \(3\) needs 15"
    ):
        discover.run(quick_config(), Workspace(tmp_path / "output"), events.reporter, events.stop)


def test_without_training_patients_nothing_is_fitted(planted, events, tmp_path):
    with pytest.raises(InputError, match="no training patient"):
        discover.run(
            quick_config(), Workspace(tmp_path / "o"), events.reporter, events.stop, embeddings=[planted.files[2]]
        )


def test_defaults_compare_at_least_twenty_half_splits():
    assert Config().discovery.half_splits >= 20
