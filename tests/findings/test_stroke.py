"""Stroke risk from a table of patients: what may be seen, what can be said, what is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn.metrics import average_precision_score, roc_auc_score

from ecgconsole.errors import ConfigurationError, InputError, Stopped
from ecgconsole.findings import predict, stroke
from ecgconsole.findings.clustering import PatternModel, fit_whitening, patient_means
from ecgconsole.findings.features import Feature, read_features
from ecgconsole.workspace import Workspace
from tests.findings.conftest import Events, quick_config, write_embeddings

BEFORE = ("heart_failure", "hypertension", "diabetes", "vascular_disease", "stroke_or_thromboembolism")


def patients(n=400, seed=0, rhythm_effect=2.0, age_effect=0.5, future_rate=0.25):
    """A row a patient, as clinical_features.csv: a future stroke depends on age and on how irregular the rhythm is."""
    rng = np.random.default_rng(seed)
    irregular = rng.beta(0.4, 1.2, n)
    age = rng.normal(66, 12, n).clip(20, 90)
    table = pd.DataFrame(
        {
            "patient_id": [f"p{i:06d}" for i in range(n)],
            "sex": rng.choice(["F", "M"], n),
            "age_years": age,
            "heart_rate_bpm_median": rng.normal(85, 12, n),
            "rr_irregular_share_median": irregular,
            "rr_irregular_share_p90": (irregular + rng.uniform(0, 0.1, n)).clip(0, 1),
            "history_atrial_fibrillation": (rng.random(n) < 0.15).astype(int),
            **{f"before_{name}": (rng.random(n) < 0.2).astype(int) for name in BEFORE},
        }
    )
    eta = rhythm_effect * (irregular - irregular.mean()) / irregular.std() + age_effect * (age - 66) / 12
    eta += np.log(future_rate / (1 - future_rate)) - np.mean(eta)
    table["future_stroke"] = (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(int)
    table["concurrent_stroke"] = (rng.random(n) < 0.02).astype(int)
    table["died_within_90_days"] = (rng.random(n) < 0.2).astype(int)
    table.loc[rng.random(n) < 0.05, "future_stroke"] = np.nan
    return table


def run(folder, table, events, **sections):
    workspace = Workspace(folder)
    workspace.folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(workspace.clinical_features, index=False)
    result = stroke.run(quick_config(**sections), workspace, events.reporter, events.stop)
    return result, json.loads(workspace.stroke_risk.read_text()), workspace


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """One run on a table where a future stroke depends on the rhythm, for all tests that only look at it."""
    events = Events()
    result, report, workspace = run(tmp_path_factory.mktemp("usual"), patients(), events)
    return Usual(result, report, workspace, events)


@dataclass
class Usual:
    result: dict
    report: dict
    workspace: Workspace
    events: Events


def models(report, endpoint):
    return {m["name"]: m for m in report["endpoints"][endpoint]["models"] if m["status"] == "estimated"}


def test_an_effect_of_the_rhythm_is_found_only_by_the_model_that_may_see_it(usual):
    report = usual.report
    assert usual.result["endpoints"]["future_stroke"] == "estimated"
    found = models(report, "future_stroke")
    assert found["with history"]["auroc"] < 0.7
    assert found["with rhythm"]["auroc"] > 0.8
    assert found["with rhythm"]["ci"][0] < found["with rhythm"]["auroc"] < found["with rhythm"]["ci"][1]
    verdicts = {d["to"]: d["verdict"] for d in report["endpoints"]["future_stroke"]["differences"]}
    assert verdicts == {"with history": "no evidence of gain", "with rhythm": "gain"}
    deaths = report["endpoints"]["death_within_90_days"]
    assert "gain" not in {d["verdict"] for d in deaths["differences"]}
    assert all(m["ci"][0] < 0.55 for m in models(report, "death_within_90_days").values())
    assert 0.6 < found["with rhythm"]["calibration_slope"] < 1.4
    by_threshold = {p["threshold"]: p for p in found["with rhythm"]["decision_curve"]}
    assert by_threshold[0.3]["model"] > max(0, by_threshold[0.3]["treat_all"])


def test_every_measure_can_be_made_again_from_the_saved_predictions(usual):
    """With scikit-learn, statsmodels and plain counting, one repetition after the other."""
    found = models(usual.report, "future_stroke")
    predictions = pd.read_parquet(usual.workspace.stroke_predictions).set_index("patient_id")
    table = patients().set_index("patient_id")
    for name, model in found.items():
        rows = predictions[(predictions["endpoint"] == "future_stroke") & (predictions["model"] == name)]
        y, risks = rows["outcome"].to_numpy(), rows.filter(like="out_of_fold_").to_numpy().T
        assert len(risks) == 2
        for measure, theirs in (("auroc", roc_auc_score), ("auprc", average_precision_score), ("brier", mean_square)):
            assert np.isclose(model[measure], np.mean([theirs(y, r) for r in risks]))
        slopes = [sm.Logit(y, sm.add_constant(np.log(r / (1 - r)))).fit(disp=0).params[1] for r in risks]
        assert np.isclose(model["calibration_slope"], np.mean(slopes), rtol=1e-4)
        for point in model["decision_curve"]:
            t, n = point["threshold"], len(y)
            slow = [sum((a - (1 - a) * t / (1 - t)) for a, b in zip(y, r, strict=True) if b >= t) / n for r in risks]
            assert np.isclose(point["model"], np.mean(slow))
            assert np.isclose(point["treat_all"], y.mean() - (1 - y.mean()) * t / (1 - t))
        of = table.loc[rows.index]
        members = {
            "women": of["sex"] == "F",
            "men": of["sex"] == "M",
            "below 65 years": of["age_years"] < 65,
            "65 years and over": of["age_years"] >= 65,
        }
        for group in usual.report["endpoints"]["future_stroke"]["subgroups"]:
            inside = members[group["group"]].to_numpy()
            assert (group["patients"], group["events"]) == (inside.sum(), y[inside].sum())
            again = next(m for m in group["models"] if m["name"] == name)
            assert np.isclose(again["auroc"], np.mean([roc_auc_score(y[inside], r[inside]) for r in risks]))
            assert again["ci"][0] < again["auroc"] < again["ci"][1]
            assert np.isclose(again["observed_to_expected"], y[inside].sum() / risks[:, inside].mean(axis=0).sum())
    for difference in usual.report["endpoints"]["future_stroke"]["differences"]:
        later, earlier = found[difference["to"]], found[difference["from"]]
        for measure in ("auroc", "auprc", "brier"):
            assert np.isclose(difference[measure], later[measure] - earlier[measure])
            low, high = difference[f"{measure}_ci"]
            assert low < difference[measure] < high


def mean_square(y, risk):
    return np.mean((risk - y) ** 2)


def test_too_few_events_are_not_estimable_with_the_reason_and_a_warning(usual):
    report = usual.report
    concurrent = report["endpoints"]["concurrent_stroke"]
    assert usual.result["endpoints"]["concurrent_stroke"] == "not estimable"
    assert concurrent["models"] == []
    assert f"{concurrent['events']} events" in concurrent["reason"]
    assert concurrent["events"] < 20
    assert "not-estimable" in usual.events.codes()
    age_groups = report["endpoints"]["future_stroke"]["subgroups"]
    assert {g["status"] for g in age_groups} == {"estimated"}
    assert (
        sum(g["patients"] for g in age_groups if g["group"] in ("women", "men"))
        == (report["endpoints"]["future_stroke"]["patients"])
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.assign(future_stroke=0), "0 events"),
        (lambda t: t.assign(future_stroke=1), "0 without"),
        (lambda t: t.assign(future_stroke=np.nan), "known for no patient"),
        (lambda t: t.drop(columns="future_stroke"), "no column future_stroke"),
    ],
)
def test_one_class_or_no_label_is_not_estimable_and_never_a_crash(tmp_path, events, change, reason):
    result, report, _ = run(tmp_path, change(patients(60)), events)
    assert result["endpoints"]["future_stroke"] == "not estimable"
    assert reason in report["endpoints"]["future_stroke"]["reason"]


def test_fewer_events_than_folds_are_not_estimable(tmp_path, events):
    table = patients(120)
    table["future_stroke"] = [1] * 6 + [0] * 114
    settings = {"min_events": 5, "folds": 8}
    report = run(tmp_path, table, events, stroke=settings)[1]
    assert "cannot stand in each of 8 folds" in report["endpoints"]["future_stroke"]["reason"]


def test_a_small_subgroup_is_not_estimable(tmp_path, events):
    table = patients()
    table["sex"] = ["F"] * 20 + ["M"] * 380
    groups = {g["group"]: g for g in run(tmp_path, table, events)[1]["endpoints"]["future_stroke"]["subgroups"]}
    assert groups["women"]["status"] == "not estimable"
    assert "needed" in groups["women"]["reason"]
    assert groups["men"]["status"] == "estimated"


def test_a_code_of_the_stay_planted_in_the_table_changes_nothing(usual, tmp_path, events):
    clean, table = usual.workspace, patients()
    leak = table.assign(concurrent_leak=table["future_stroke"], d431=table["future_stroke"])
    leaky = run(tmp_path / "leaky", leak, events)[2]
    assert clean.stroke_model.read_bytes() == leaky.stroke_model.read_bytes()
    assert clean.stroke_predictions.read_bytes() == leaky.stroke_predictions.read_bytes()


@pytest.mark.parametrize(
    "column", ["concurrent_stroke", "future_stroke", "died_in_hospital", "medication_anticoagulant"]
)
def test_a_feature_made_of_an_outcome_is_refused_where_it_is_written(column):
    with pytest.raises(ConfigurationError, match=column):
        Feature("leak", "rhythm", ("age_years", column), lambda table: table[column])


def test_features_that_are_missing_are_named_and_the_models_without_them_left_out(tmp_path, events):
    table = patients().drop(columns=["rr_irregular_share_median", "rr_irregular_share_p90", "heart_rate_bpm_median"])
    report = run(tmp_path, table, events)[1]
    by_name = {m["name"]: m for m in report["endpoints"]["future_stroke"]["models"]}
    assert by_name["with rhythm"]["status"] == "not estimable"
    assert "rr_irregular_share_median: no column" in by_name["with rhythm"]["reason"]
    assert "discover" in by_name["with embedding"]["reason"]
    assert by_name["with history"]["status"] == "estimated"


def test_the_same_input_gives_the_same_bytes(usual, tmp_path, events):
    one, two = usual.workspace, run(tmp_path, patients(), events)[2]
    for name in ("stroke_risk", "stroke_model", "stroke_predictions"):
        assert getattr(one, name).read_bytes() == getattr(two, name).read_bytes()


def test_predict_on_the_same_patients_equals_the_run_and_needs_the_same_encoder(tmp_path, events):
    """With embeddings: their whitening travels inside the model file."""
    rng = np.random.default_rng(0)
    folder, table = tmp_path / "output", patients(200)
    patient = np.repeat(np.arange(200), 6)
    x = (rng.normal(size=(200, 10))[patient] + rng.normal(size=(1200, 10))).astype(np.float32)
    write_embeddings(folder / "embeddings" / "train_embeddings.npz", np.arange(1200), x, patient)
    workspace = Workspace(folder)
    whitening = fit_whitening(x, 5, 1.0)
    PatternModel(whitening, np.eye(5, dtype=np.float32)).save(workspace.pattern_model)
    means = pd.DataFrame(patient_means(whitening, x, patient, 200)).rename(columns=lambda i: f"component_{i + 1}")
    means.assign(patient_id=table["patient_id"]).to_parquet(workspace.patient_embeddings)
    _, report, _ = run(folder, table, events)
    assert models(report, "future_stroke")["with embedding"]["features"][-3:] == [
        "embedding_1",
        "embedding_2",
        "embedding_3",
    ]
    result = predict.run(quick_config(), workspace, workspace.stroke_model)
    assert result["left_out"] == {}
    applied = pd.read_csv(workspace.risk_predictions)
    own = pd.read_parquet(workspace.stroke_predictions)
    both = own.merge(applied, on=["patient_id", "endpoint", "model"], validate="1:1")
    assert len(both) == len(own)
    assert set(both["model"]) == {"age and sex", "with history", "with rhythm", "with embedding"}
    assert np.abs(both["final"] - both["risk"]).max() < 1e-6

    other = Workspace(tmp_path / "other")
    other.folder.mkdir()
    table.to_csv(other.clinical_features, index=False)
    result = predict.run(quick_config(), other, workspace.stroke_model)
    assert "run the stage embed" in result["left_out"]["future_stroke, with embedding"]
    write_embeddings(other.folder / "embeddings" / "test_embeddings.npz", np.arange(1200), x[:, :4], patient)
    with pytest.raises(ConfigurationError, match="have 4 numbers a segment"):
        predict.run(quick_config(), other, workspace.stroke_model)


def test_no_cell_of_the_predictions_is_run_by_a_spreadsheet(usual, tmp_path):
    table = patients(60)
    table.loc[0, "patient_id"] = "'=1+1"  # as the stage build writes the patient =1+1
    other = Workspace(tmp_path)
    table.to_csv(other.clinical_features, index=False)
    predict.run(quick_config(), other, usual.workspace.stroke_model)
    text = other.risk_predictions.read_text()
    assert "\n'=1+1," in text
    assert "\n=1+1," not in text
    assert "''=" not in text


def test_predict_refuses_what_is_no_model_and_a_model_without_estimates(tmp_path, events):
    _, _, workspace = run(tmp_path, patients(60).assign(future_stroke=0, died_within_90_days=0), events)
    with pytest.raises(InputError, match="it holds none: not estimable"):
        predict.run(quick_config(), workspace, workspace.stroke_model)
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(InputError, match="not a risk model"):
        predict.run(quick_config(), workspace, tmp_path / "x.json")


def test_a_patient_in_two_rows_is_refused(tmp_path):
    patients(10).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match="10 patients given twice"):
        read_features([tmp_path / "a.csv", tmp_path / "a.csv"])


def test_a_label_that_is_neither_yes_nor_no_is_refused(tmp_path, events):
    with pytest.raises(InputError, match="future_stroke: a label is 0, 1 or empty"):
        run(tmp_path, patients(50).assign(future_stroke=3), events)


def test_outcomes_may_stand_in_the_metadata_beside_the_features(usual, tmp_path, events):
    table = patients().iloc[::-1]
    outcomes = ["concurrent_stroke", "future_stroke", "died_within_90_days"]
    labels = table[["patient_id"]].assign(**{name: table[name].astype("boolean") for name in outcomes})
    Workspace(tmp_path).metadata.write_bytes(b"no")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        run(tmp_path, table.drop(columns=outcomes), events)
    labels.to_parquet(Workspace(tmp_path).metadata)
    other = run(tmp_path, patients().drop(columns=outcomes), events)[2]
    assert usual.workspace.stroke_predictions.read_bytes() == other.stroke_predictions.read_bytes()
    assert usual.workspace.stroke_model.read_bytes() == other.stroke_model.read_bytes()


def test_labels_written_as_words_are_read(usual, tmp_path, events):
    numbers = patients()
    words = numbers.assign(
        future_stroke=numbers["future_stroke"].map({0: "False", 1: "True"}),
        **{f"before_{n}": numbers[f"before_{n}"].astype(bool) for n in BEFORE},
        history_atrial_fibrillation=numbers["history_atrial_fibrillation"].astype(bool),
    )
    one, two = usual.workspace, run(tmp_path, words, events)[2]
    assert one.stroke_predictions.read_bytes() == two.stroke_predictions.read_bytes()


def test_a_stop_leaves_no_half_result(tmp_path, events):
    events.stop.request()
    with pytest.raises(Stopped):
        run(tmp_path, patients(200), events)
    assert not Workspace(tmp_path).stroke_risk.exists()


def test_the_checklist_has_every_item_and_never_claims_what_was_not_estimated(usual):
    items = {row["item"]: row["answer"] for row in usual.report["tripod_ai"]}
    assert list(items) == [str(i) for i in range(1, 28)]
    assert "concurrent_stroke, " not in items["23"]
    assert "future_stroke, with rhythm: AUROC" in items["23"]
    assert "concurrent_stroke: " in items["20"]
