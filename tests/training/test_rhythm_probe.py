"""The parts of ``benchmarks/rhythm_probe.py`` that its figures stand on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import wfdb
from sklearn.metrics import roc_auc_score

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import rhythm_data  # noqa: E402
import rhythm_scores  # noqa: E402
from rhythm_scores import Examples  # noqa: E402


def write_record(folder: Path, name: str, notes: list[tuple[float, str, str]], rate_hz: int = 100) -> None:
    noise = np.random.default_rng(0).standard_normal((60 * rate_hz, 1))
    wfdb.wrsamp(name, fs=rate_hz, units=["mV"], sig_name=["II"], p_signal=noise, write_dir=str(folder))
    sample = np.array([round(t * rate_hz) for t, _, _ in notes])
    symbols, rhythms = [s for _, s, _ in notes], [r for _, _, r in notes]
    wfdb.wrann(name, "atr", sample, symbol=symbols, aux_note=rhythms, write_dir=str(folder))


def test_a_window_has_the_rhythm_in_force_throughout_and_none_where_it_changes(tmp_path):
    notes = [(2.0, "+", "(N"), (5.0, "N", ""), (12.0, "V", ""), (22.0, "F", ""), (34.0, "+", "(AFIB"), (45.0, "N", "")]
    write_record(tmp_path, "r", notes)
    rhythm, ventricular = rhythm_data.annotated(tmp_path / "r", np.arange(0, 60, 10.0), 10.0)
    assert rhythm == ["", "N", "N", "", "AFIB", "AFIB"]
    assert ventricular == ["no", "yes", "", "no", "no", ""]


def test_tasks_take_the_classes_that_they_name():
    n = 8
    windows = rhythm_data.Windows(
        folder=np.array(["graded"] * 5 + ["mitdb"] * 3),
        record=np.array([f"r{i}" for i in range(n)]),
        person=np.array([f"p{i}" for i in range(n)]),
        start_s=np.zeros(n),
        label=np.array(["N", "A", "O", "~", "N", "", "", ""]),
        rhythm=np.array(["", "", "", "", "", "AFIB", "AFL", "N"]),
        ventricular=np.array(["", "", "", "", "", "no", "", "yes"]),
    )
    found = {t.name: (t.rows.tolist(), t.positive.tolist()) for t in rhythm_data.tasks_of(windows)}
    assert found["A against N"] == ([0, 1, 4], [False, True, False])
    assert found["A against N and O"] == ([0, 1, 2, 4], [False, True, False, False])
    assert found["N against O"] == ([0, 2, 4], [False, True, False])
    assert found["AFIB against all but flutter"] == ([5, 7], [True, False])
    assert found["ventricular beat against none"] == ([5, 7], [False, True])


def test_a_recording_is_the_mean_of_what_is_known_of_its_windows():
    features = np.array([[1, np.nan], [3, 4], [5, np.nan]], np.float32)
    positive, person, record = np.array([True, True, False]), np.array(["a", "a", "b"]), np.array(["r", "r", "s"])
    means = rhythm_scores.recording_means(features, positive, person, record)
    np.testing.assert_array_equal(means.features, np.array([[2, 4], [5, np.nan]], np.float32))
    assert means.positive.tolist() == [True, False]


@pytest.mark.parametrize("people", [10, 50])
def test_features_that_only_tell_people_apart_score_like_chance(people):
    """50 people are cut into folds, 10 are left out one at a time; a probe that saw a person would score 1."""
    rng = np.random.default_rng(0)
    code = np.repeat(np.arange(people), 4)
    features = (3 * rng.standard_normal((people, 60)))[code] + 0.1 * rng.standard_normal((len(code), 60))
    examples = Examples(features.astype(np.float32), code % 2 == 0, np.array([f"p{c}" for c in code]))
    score = rhythm_scores.out_of_fold(examples)
    assert np.isfinite(score).all()
    assert roc_auc_score(examples.positive, score) < 0.8
    seen = rhythm_scores.fitted(examples).decision_function(examples.features)
    assert roc_auc_score(examples.positive, seen) > 0.95


def test_a_real_difference_is_found_and_its_interval_is_over_people():
    rng = np.random.default_rng(0)
    code = np.repeat(np.arange(80), 5)
    positive = code % 2 == 0
    features = (positive[:, None] + rng.standard_normal((len(code), 3))).astype(np.float32)
    examples = Examples(features, positive, np.array([f"p{c}" for c in code]))
    good = rhythm_scores.out_of_fold(examples)
    area = rhythm_scores.area(examples, good)
    assert area.value == pytest.approx(roc_auc_score(positive, good))
    assert area.low < area.value < area.high
    noise = rng.standard_normal(80)[code]
    assert rhythm_scores.difference(examples, good, noise).low > 0
    assert rhythm_scores.difference(examples, good, good).value == 0
    # Whole people are redrawn: windows of one person alike leave a wide interval, apart a narrow one.
    assert np.ptp(vars_of(rhythm_scores.area(examples, noise))) > np.ptp(
        vars_of(rhythm_scores.area(examples, rng.standard_normal(len(code))))
    )


def test_a_few_columns_are_heard_beside_many_others():
    """What each block says of its own adds up: under one prior for all weights, the 400 would drown the four."""
    rng = np.random.default_rng(0)
    many, few = rng.standard_normal((2, 300))
    positive = many + few + 0.5 * rng.standard_normal(300) > 0
    embeddings = np.outer(many, rng.standard_normal(400)) + 4 * rng.standard_normal((300, 400))
    columns = np.outer(few, np.ones(4)) + rng.standard_normal((300, 4))
    features, person = np.concatenate((embeddings, columns), axis=1).astype(np.float32), np.arange(300).astype(str)

    def score(kept: slice, blocks: tuple[int, ...]) -> float:
        examples = Examples(features[:, kept], positive, person)
        return roc_auc_score(positive, rhythm_scores.out_of_fold(examples, blocks))

    joined, alone = score(slice(None), (400, 4)), max(score(slice(400), ()), score(slice(400, None), ()))
    assert joined > alone + 0.05
    assert joined > score(slice(None), ()) + 0.02


def vars_of(figure: rhythm_scores.Figure) -> list[float]:
    return [figure.low, figure.high]


def test_neighbours_equal_a_slow_search():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((60, 4)).astype(np.float32)
    record = np.array([f"r{i // 3}" for i in range(60)])
    positive = rng.random(60) < 0.4
    same, shares = 0, []
    for i in range(60):
        cosine = np.array([z[i] @ z[j] / np.linalg.norm(z[i]) / np.linalg.norm(z[j]) for j in range(60)])
        others = [j for j in np.argsort(-cosine) if j != i]
        same += record[others[0]] == record[i]
        if positive[i]:
            elsewhere = [j for j in others if record[j] != record[i]][: rhythm_scores.NEIGHBOURS]
            shares.append(np.mean(positive[elsewhere]))
    assert rhythm_scores.same_share(z, record) == pytest.approx(same / 60)
    assert rhythm_scores.neighbours_alike(z, record, positive)[0] == pytest.approx(np.mean(shares))


@pytest.mark.slow
def test_the_benchmark_runs_on_folders_of_ones_own_and_goes_on_where_it_was(real_data, tmp_path):
    """90 graded recordings, four epochs: the trained network tells fibrillation better than the untrained one."""
    graded = tmp_path / "graded"
    graded.mkdir()
    lines = (real_data / "cinc2017" / "REFERENCE.csv").read_text().split()
    chosen = [line for c in "ANO" for line in [x for x in lines if x.endswith("," + c)][:60]]
    (graded / "REFERENCE.csv").write_text("\n".join(chosen) + "\n")
    for line in chosen:
        for path in (real_data / "cinc2017").glob(line.split(",")[0] + ".*"):
            (graded / path.name).symlink_to(path)
    command = [sys.executable, str(BENCHMARKS / "rhythm_probe.py"), str(tmp_path / "out"), "--pretrain", str(graded)]
    command += ["--probe-train", str(graded), "--set", "training.num_epochs=30", "--set", "training.max_minutes=null"]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    by_task = {row["task"]: row["auroc"] for row in scores["out of fold"]}
    assert by_task["A against N"]["frozen"]["value"] > by_task["A against N"]["untrained"]["value"]
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert again.stdout == first.stdout
