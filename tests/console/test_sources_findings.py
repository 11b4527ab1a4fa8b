"""Findings are read as far as they exist, with bounded memory, and nobody by name."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from ecgconsole.console import finding_tables as tables
from ecgconsole.console.sources import cohort as people
from ecgconsole.console.sources import findings as source
from ecgconsole.dataset import Dataset
from ecgconsole.errors import InputError
from ecgconsole.text import alias
from ecgconsole.workspace import Workspace
from tests.console import results
from tests.console.results import SALT


def test_nothing_there_is_nothing_found(tmp_path):
    workspace = Workspace(tmp_path)
    findings = source.read_findings(workspace)
    assert findings == source.Findings()
    for made in (tables.pattern_table, tables.association_table, tables.stroke_table):
        assert made(findings)[1] == []
    with pytest.raises(InputError, match="stage embed"):
        source.read_map(workspace)
    with pytest.raises(InputError, match="stage build"):
        people.read_cohort(workspace, SALT)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_costs_that_stage_alone(tmp_path):
    workspace = Workspace(tmp_path)
    results.add_patterns(workspace)
    workspace.validation.write_text('{"tests": [')
    workspace.stroke_risk.write_text("[1, 2]")
    findings = source.read_findings(workspace)
    assert len(findings.patterns["patterns"]) == 3
    assert "validation.json" in findings.problems["validation"]
    assert "not a JSON object" in findings.problems["stroke"]


def test_tables_say_what_the_files_say(tmp_path):
    workspace = Workspace(tmp_path)
    results.add_patterns(workspace)
    results.add_validation(workspace)
    results.add_stroke(workspace)
    findings = source.read_findings(workspace)
    first = [c.text for c in tables.pattern_table(findings)[1][0]]
    assert first[:6] == ["0", "✔ pattern", "100", "5", "atrial fibrillation 82%", "81"]
    assert first[-1] == "✔ ever stroke 9.6 (2.9–∞)"
    rows = tables.association_table(findings)[1]
    assert [c.text for c in rows[0]] == [
        "✔",
        "0",
        "ever stroke",
        "9.6 (2.9–∞)",
        "0.012",
        "8.12",
        "0.004",
        "✔ replicated",
    ]
    assert [row[-1].text for row in rows] == ["✔ replicated", "– too few", ""]
    stroke = [[c.text for c in row] for row in tables.stroke_table(findings)[1]]
    assert stroke[1][2] == "0.70 (0.62–0.78)"
    assert stroke[1][-1] == "gain: AUROC +0.090 (+0.020–+0.160)"
    assert stroke[2][-1].startswith("not estimable: 1 events")
    facts = "\n".join("".join(s[0] for s in row) for row in tables.association_facts(findings, findings.tests[0]))
    assert "12 with the label, 30 without" in facts
    assert "7 of 200 shuffled runs" in facts
    assert "9 exposed of 60" in facts


@pytest.mark.parametrize("stage", ["patterns", "validation", "stroke"])
def test_fields_that_another_version_leaves_out_are_dashes(tmp_path, stage):
    workspace = Workspace(tmp_path)
    for add in (results.add_patterns, results.add_validation, results.add_stroke):
        add(workspace)
    path = {"patterns": workspace.patterns, "validation": workspace.validation, "stroke": workspace.stroke_risk}[stage]
    whole = results.as_json(path)
    entry = {"patterns": lambda: whole["patterns"][0], "validation": lambda: whole["tests"][1],
             "stroke": lambda: whole["endpoints"]["concurrent_stroke"]}[stage]()  # fmt: skip
    for key in [k for k in entry if k not in ("id", "pattern", "models")]:
        del entry[key]
    findings = source.Findings(**{**vars(source.read_findings(workspace)), stage: whole})
    assert tables.pattern_table(findings)[1]
    assert tables.pattern_facts(findings, 1, 0)
    assert tables.association_table(findings)[1]
    assert all(tables.association_facts(findings, t) for t in findings.tests)
    assert tables.stroke_table(findings)[1]
    assert tables.stroke_facts(findings, 0)
    assert tables.stroke_facts(findings, 99) == []


def test_the_map_shows_what_tells_segments_apart(own_folder):
    results.add_embeddings(own_folder)
    points = source.read_map(own_folder)
    with Dataset(own_folder.dataset) as dataset:
        patient = dataset.patient_id
    assert points.total == len(points.row) == len(patient)
    np.testing.assert_array_equal(points.patient, patient[points.row])
    assert points.share[0] > 0.9
    of = np.unique(points.patient, return_inverse=True)[1]
    within = np.mean([points.xy[of == k, 0].std() for k in range(of.max() + 1)])
    assert within < 0.2 * points.xy[:, 0].std()


def test_the_map_takes_an_even_sample_and_little_memory(own_folder):
    n = 60_000
    rng = np.random.default_rng(0)
    own_folder.embeddings("train").parent.mkdir()
    np.savez(
        own_folder.embeddings("train"),
        embeddings=rng.normal(0, 1, (n, 128)).astype(np.float32),
        segment_index=np.arange(n),
        patient_id=np.repeat(np.array(["p1", "p2"]), n // 2),
    )
    tracemalloc.start()
    points = source.read_map(own_folder, 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(points.row) == 1000
    assert points.total == n
    assert np.diff(points.row).min() >= 59
    assert (points.patient == "p1").sum() == 500
    assert peak < 8e6  # the file has 31 MB


def test_compressed_embeddings_are_read_too_and_pickles_never(own_folder):
    results.add_embeddings(own_folder)
    plain = source.read_map(own_folder)
    for split in ("train", "val", "test"):
        path = own_folder.embeddings(split)
        with np.load(path) as arrays:
            np.savez_compressed(path, **{k: arrays[k] for k in arrays.files})
    np.testing.assert_array_equal(source.read_map(own_folder).xy, plain.xy)
    np.savez(own_folder.embeddings("val"), embeddings=np.array([object()]), segment_index=np.array([object()]))
    with pytest.raises(InputError, match="refused"):
        source.read_map(own_folder)
    own_folder.embeddings("val").write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(InputError, match="val_embeddings"):
        source.read_map(own_folder)


def test_groups_of_the_map(own_folder):
    results.add_embeddings(own_folder)
    points = source.read_map(own_folder)
    patterns = dict(source.groups(own_folder, points, "pattern", SALT))
    assert set(patterns) == {"pattern 0", "pattern 1", "pattern 2"}
    assert sum(m.sum() for m in patterns.values()) == len(points.row)
    rhythm = source.groups(own_folder, points, "rhythm", SALT)
    with Dataset(own_folder.dataset) as dataset:
        charted = dataset.column("segment/charted_rhythm")[points.row]
        labels = dataset.patients
    assert dict(rhythm)["sinus"].sum() == (charted == "sinus").sum()
    sizes = [int(m.sum()) for _, m in rhythm]
    assert sizes == sorted(sizes, reverse=True)
    by_label = dict(source.groups(own_folder, points, "label", SALT))
    with_it = labels["id"][labels["labels/in_tables"] == 1]
    np.testing.assert_array_equal(by_label["in tables"], np.isin(points.patient, with_it))
    by_patient = dict(source.groups(own_folder, points, "patient", SALT))
    assert set(by_patient) == {alias(p, SALT) for p in np.unique(points.patient).tolist()}
    own_folder.assignments.unlink()
    with pytest.raises(InputError, match="stage discover"):
        source.groups(own_folder, points, "pattern", SALT)


def test_the_cohort_is_that_of_the_files_and_nobody_is_named(own_folder):
    cohort = people.read_cohort(own_folder, SALT)
    with Dataset(own_folder.dataset) as dataset:
        group = dataset.patients
        total = dataset.n_segments
    kept = [p for p in cohort.people if p.segments]
    assert [p.patient_id for p in kept] == group["id"].tolist()
    assert sum(p.segments for p in kept) == total == cohort.segments
    assert [p.alias for p in kept] == [alias(p, SALT) for p in group["id"].tolist()]
    assert all(p.stop - p.first == p.segments for p in kept)
    assert cohort.prevalence["in_tables"][0] == int((group["labels/in_tables"] == 1).sum())
    rows = people.read_rejected(own_folder, SALT)
    assert sum(n for n, _ in cohort.rejections.values()) == len(rows) > 10
    assert {r.label for r in rows} == set(cohort.rejections)
    of_one = people.read_rejected(own_folder, SALT, patient_id=rows[0].patient_id)
    assert {r.alias for r in of_one} == {rows[0].alias}
    noise = people.read_rejected(own_folder, SALT, label=rows[-1].label)
    assert {r.label for r in noise} == {rows[-1].label}
    for row in rows:
        shown = f"{row.alias} {row.level} {row.where} {row.label} {row.detail} {people.why_rejected(row)}"
        assert row.patient_id not in shown


def test_a_dataset_that_is_none_is_said_to_be_none(own_folder):
    own_folder.dataset.write_bytes(b"no HDF5")
    with pytest.raises(InputError):
        people.read_cohort(own_folder, SALT)


def test_read_only_makes_no_salt(own_folder):
    (own_folder.folder / ".alias_salt").unlink()
    assert len(people.salt_of(own_folder, read_only=True)) == 16
    assert not (own_folder.folder / ".alias_salt").exists()
    salt = people.salt_of(own_folder, read_only=False)
    assert people.salt_of(own_folder, read_only=True) == salt
