"""Parameters: every problem at once with its path, every value with its source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgconsole import config
from ecgconsole.errors import ConfigurationError

BRIEF = """{
  "max_patients": null,
  "max_segments_per_patient": 1000,
  "batch_size": 64,
  "learning_rate": 3e-4,
  "num_epochs": 50,
  "embedding_dim": 256,
  "hidden_dims": [64, 128, 256, 512],
  "chunk_size": 500,
  "num_workers": 8
}"""


def resolve(tmp_path: Path, text: str | bytes, *overrides: str, env: dict[str, str] | None = None) -> config.Resolved:
    file = tmp_path / "config.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return config.resolve(file, overrides, env or {})


def problems(tmp_path: Path, text: str | bytes, *overrides: str, env: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        resolve(tmp_path, text, *overrides, env=env)
    return list(caught.value.problems)


def test_the_flat_example_of_the_brief_loads_unchanged(tmp_path):
    c = resolve(tmp_path, BRIEF).config
    assert (c.build.max_patients, c.build.max_segments_per_patient, c.build.chunk_size) == (None, 1000, 500)
    assert (c.training.batch_size, c.training.learning_rate, c.training.num_epochs) == (64, 3e-4, 50)
    assert (c.model.embedding_dim, c.model.hidden_dims) == (256, (64, 128, 256, 512))
    assert (c.build.num_workers, c.training.num_workers) == (8, 8)


def test_the_defaults_are_those_of_the_interface(tmp_path):
    c = config.resolve(environment={}).config
    assert c.data.ecg_channels[:3] == ("II", "MLII", "I")
    assert (c.data.require, c.data.layout, c.build.selection) == ("both", "auto", "volume")
    assert (c.build.segment_seconds, c.build.sampling_rate_hz) == (10, 125)
    assert (c.build.ecg_band_hz, c.build.ppg_band_hz) == ((0.5, 40), (0.5, 8))
    assert (c.build.min_segments_per_patient, c.build.max_segments_per_patient) == (10, 1000)
    assert (c.training.batch_size, c.training.temperature, c.training.max_grad_norm) == (512, 0.1, 1.0)
    assert (c.training.patience, c.training.checkpoint_every, c.training.keep_checkpoints) == (None, 1, 5)
    assert c.split.fractions == (0.7, 0.15, 0.15)
    assert c.clinical.link_tolerance_hours == 6


def test_every_problem_is_told_at_once_with_its_path(tmp_path):
    found = problems(
        tmp_path,
        '{"training": {"learning_rate": -1, "num_epochs": "ten", "learningrate": 1},'
        ' "build": {"chunk_size": 0}, "x": 1}',
    )
    text = "\n".join(found)
    for path in (
        "training.learning_rate:",
        "training.num_epochs:",
        "training.learningrate:",
        "build.chunk_size:",
        "x:",
    ):
        assert path in text
    assert "did you mean learning_rate?" in text
    assert len(found) == 5


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_not_finite_are_refused(tmp_path, value):
    assert problems(tmp_path, f'{{"training": {{"learning_rate": {value}}}}}')[0].startswith("training.learning_rate:")


def test_a_key_given_twice_is_refused_in_a_section_and_at_the_top(tmp_path):
    found = problems(tmp_path, '{"training": {"seed": 1, "seed": 2}, "max_patients": 3, "max_patients": 4}')
    assert "training.seed: given twice" in found
    assert "max_patients: given twice" in found


def test_a_key_given_flat_and_in_its_section_is_refused(tmp_path):
    assert problems(tmp_path, '{"batch_size": 64, "training": {"batch_size": 32}}') == [
        "batch_size: given twice, also as training.batch_size"
    ]


@pytest.mark.parametrize("value", ['"64"', "64.5", "true", "[64]"])
def test_types_are_strict(tmp_path, value):
    assert problems(tmp_path, f'{{"training": {{"batch_size": {value}}}}}')[0].startswith("training.batch_size:")


def test_a_byte_order_mark_is_accepted(tmp_path):
    assert resolve(tmp_path, b"\xef\xbb\xbf" + BRIEF.encode()).config.training.batch_size == 64


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"{", ":1:2: not JSON"),
        (b"[1]", "is a JSON object"),
        (b"\xff\xfe{", "not UTF-8"),
        (b'{"training": 3}', "training:"),
        (b'{"nonsense": {}}', "nonsense: no such parameter"),
        (b'{"training.seed": 3}', "training.seed: write it as a section"),
    ],
)
def test_what_is_no_configuration_is_said_with_its_place(tmp_path, text, says):
    with pytest.raises(ConfigurationError, match=r"config\.json") as caught:
        resolve(tmp_path, text)
    assert says in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"nowhere\.json: No such file"):
        config.resolve(tmp_path / "nowhere.json", environment={})


def test_default_file_environment_command_line_in_that_order(tmp_path):
    text = '{"training": {"batch_size": 10, "seed": 10, "num_epochs": 10}}'
    env = {"ECGCONSOLE_TRAINING__BATCH_SIZE": "20", "ECGCONSOLE_TRAINING__SEED": "20", "ECGCONSOLE_TEST_DATA": "/x"}
    resolved = resolve(tmp_path, text, "training.seed=30", env=env)
    training = resolved.config.training
    assert (training.learning_rate, training.num_epochs, training.batch_size, training.seed) == (3e-4, 10, 20, 30)
    assert [resolved.sources[f"training.{k}"] for k in ("learning_rate", "num_epochs", "batch_size", "seed")] == [
        "default",
        str(tmp_path / "config.json"),
        "environment ECGCONSOLE_TRAINING__BATCH_SIZE",
        "command line",
    ]


def test_set_takes_json_where_it_parses_and_text_where_not(tmp_path):
    c = config.resolve(
        overrides=[
            "build.max_segments_per_patient=null",
            "build.ecg_band_hz=[1, 30]",
            "data.layout=wfdb",
            "num_workers=3",
        ],
        environment={},
    ).config
    assert c.build.max_segments_per_patient is None
    assert c.build.ecg_band_hz == (1, 30)
    assert c.data.layout == "wfdb"
    assert (c.build.num_workers, c.training.num_workers) == (3, 3)


def test_an_unknown_key_on_the_command_line_or_in_the_environment_is_refused(tmp_path):
    found = problems(tmp_path, "{}", "training.batchsize=1", "nonsense", env={"ECGCONSOLE_TRAINING__SEEED": "1"})
    assert len(found) == 3
    assert any(p.startswith("training.seeed") for p in found)


@pytest.mark.parametrize(
    "text",
    [
        '{"build": {"ecg_band_hz": [40, 0.5]}}',
        '{"build": {"ecg_band_hz": [0.5, 70]}}',
        '{"build": {"min_segments_per_patient": 20, "max_segments_per_patient": 10}}',
        '{"build": {"segment_seconds": 10.001}}',
        '{"split": {"fractions": [0.5, 0.5, 0.5]}}',
        '{"split": {"fractions": [0, 0.5, 0.5]}}',
        '{"training": {"device": "tpu"}}',
    ],
)
def test_values_that_contradict_each_other_are_refused(tmp_path, text):
    assert len(problems(tmp_path, text)) == 1


def test_relative_paths_mean_the_folder_of_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    c = resolve(tmp_path, '{"data": {"waveform_dir": "waves"}}').config
    assert c.data.waveform_dir == str(tmp_path / "waves")


def test_the_saved_configuration_loads_as_itself(tmp_path):
    c = config.resolve(overrides=["build.ecg_band_hz=[1, 30]"], environment={}).config
    (tmp_path / "saved.json").write_text(c.to_json())
    assert config.load(tmp_path / "saved.json") == c


def test_what_only_says_how_the_work_is_done_leaves_the_identity():
    base = config.resolve(environment={}).config
    same = config.resolve(overrides=["build.num_workers=7", "build.chunk_size=3"], environment={}).config
    other = config.resolve(overrides=["build.segment_seconds=20"], environment={}).config
    assert base.identity(["build"]) == same.identity(["build"])
    assert base.identity(["build"]) != other.identity(["build"])
    assert base.identity(["training"]) == other.identity(["training"])


def test_differences_name_only_what_differs():
    a = config.resolve(environment={}).config.model_dump(mode="json")
    b = config.resolve(overrides=["training.learning_rate=1e-4"], environment={}).config.model_dump(mode="json")
    assert config.differences(a, b) == {"training.learning_rate": (3e-4, 1e-4)}


@pytest.mark.parametrize("name", ["demo", "small", "medium", "large", "full"])
def test_every_preset_is_valid(name):
    assert name in config.preset_names()
    config.load(config.preset_path(name))


def test_every_parameter_is_described_in_the_schema():
    schema = config.json_schema()
    for name, section in schema["$defs"].items():
        for key, field in section["properties"].items():
            assert field.get("description"), f"{name}.{key} has no description"


@given(st.text().filter(lambda text: text.strip() != "{}"))
def test_no_text_makes_the_parser_crash(text):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "c.json"
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        with pytest.raises(ConfigurationError) as caught:
            config.resolve(file, environment={})
        assert "\x1b" not in str(caught.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_any_json_value_is_a_configuration_or_a_named_problem(value):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "c.json"
        file.write_text(json.dumps({"training": value, "other": value}))
        with pytest.raises(ConfigurationError):
            config.resolve(file, environment={})


def test_ecg_alone_is_asked_for_by_naming_no_ppg():
    ecg_alone = config.resolve(overrides=["data.ppg_channels=[]", "data.require=ecg"], environment={}).config
    assert ecg_alone.data.ppg_channels == ()
    with pytest.raises(ConfigurationError) as refused:
        config.resolve(overrides=["data.ppg_channels=[]"], environment={})
    assert "needs names in ppg_channels" in str(refused.value.problems)
