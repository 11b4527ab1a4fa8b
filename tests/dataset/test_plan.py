"""Which patients make a shard, and what its identity stands for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ecgconsole.config import Config
from ecgconsole.dataset import header_index
from ecgconsole.dataset import plan as planning
from ecgconsole.dataset.identity import build_identity
from ecgconsole.dataset.people import Patient, Recording
from ecgconsole.dataset.plan import configuration_hash, forecast_bytes, plan_shards, shard_settings
from ecgconsole.dataset.shards import Manifest, check_configuration
from ecgconsole.errors import ConfigurationError


def patient(name: str, windows: int, inputs: str = "a") -> Patient:
    recording = Recording(f"{name}/r", name, None, None, windows * 10.0, windows, (("II", 10.0),), inputs)
    return Patient(name, (recording,))


@pytest.fixture
def config(config_of: Callable[..., Config], tmp_path: Path) -> Config:
    return config_of(tmp_path, **{"build.shard_patients": 3, "build.max_segments_per_patient": 50})


def test_shards_take_patients_in_order_up_to_a_number_of_patients(config: Config) -> None:
    plans = plan_shards([patient(f"p{i}", 10) for i in range(8)], config)
    assert [[p.patient_id for p in s.patients] for s in plans] == [["p0", "p1", "p2"], ["p3", "p4", "p5"], ["p6", "p7"]]
    assert [s.number for s in plans] == [1, 2, 3]
    assert len({s.file_name for s in plans}) == 3


def test_shards_of_much_data_have_fewer_patients(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "MAXIMUM_SHARD_WINDOWS", 100)
    # 90 windows count as 50, the maximum that is kept of one patient.
    plans = plan_shards([patient("a", 90), patient("b", 90), patient("c", 40), patient("d", 40)], config)
    assert [[p.patient_id for p in s.patients] for s in plans] == [["a", "b"], ["c", "d"]]
    assert [s.forecast_windows for s in plans] == [100, 80]


def test_identity_follows_the_recordings_the_patients_and_the_settings(config: Config) -> None:
    def identity(*patients: Patient, config: Config = config) -> str:
        return plan_shards(patients, config)[0].identity

    a, b = patient("a", 10), patient("b", 10)
    renamed = replace(a, patient_id="c")
    other = config.model_copy(update={"build": config.build.model_copy(update={"max_segments_per_patient": 60})})
    found = [
        identity(a, b),
        identity(b, a),
        identity(a),
        identity(a, patient("b", 10, inputs="changed")),
        identity(renamed, b),
        identity(a, b, config=other),
    ]
    assert len(set(found)) == len(found)
    assert identity(a, b) == found[0]


def test_forecast_grows_with_signals_and_length(
    config: Config, config_of: Callable[..., Config], tmp_path: Path
) -> None:
    both = forecast_bytes(1000, config)
    assert forecast_bytes(2000, config) == 2 * both
    assert both / 2 < forecast_bytes(1000, config_of(tmp_path, **{"data.require": "ecg"})) < both
    longer = forecast_bytes(1000, config_of(tmp_path, **{"build.segment_seconds": 30}))
    assert 2.5 * both < longer < 3 * both


def test_a_program_with_other_columns_or_formulas_reuses_no_shard_and_no_index(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    formulas, text = (
        planning.FORMULAS,
        {p.name: p.read_text() for p in planning.FORMULAS[0].glob("*.[pc]*") if p.is_file()},
    )
    assert {"rhythm.py", "quality.py", "headers.py", "kernels.c"} <= text.keys()
    changes = {
        "as it is": lambda name, old: old,
        "a column more": lambda name, old: old + "# Column" if name == "quality.py" else old,
        "another threshold": lambda name, old: old.replace("0.8", "0.85") if name == "rhythm.py" else old,
        "another loop": lambda name, old: old + "/* */" if name == "kernels.c" else old,
    }
    for n, change in enumerate(changes.values()):
        copy = tmp_path / str(n)
        copy.mkdir()
        for name, old in text.items():
            (copy / name).write_text(change(name, old))
        for module in (planning, header_index):
            monkeypatch.setattr(module, "FORMULAS", (copy, *formulas[1:]))
        (shard,) = plan_shards([patient("a", 10)], config)
        built = build_identity(config, [patient("a", 10)])
        found.append((shard.identity, header_index.index_key("wfdb", config), built.partition(".")[0]))
    for values in zip(*found, strict=True):
        assert len(set(values)) == len(changes)
    monkeypatch.setattr(planning, "FORMULAS", formulas)
    assert plan_shards([patient("a", 10)], config)[0].identity == found[0][0]


def test_shards_of_other_formulas_are_refused_by_name(config: Config, tmp_path: Path) -> None:
    of_old = Manifest("shard-1.rows", "1", "old", {**shard_settings(config), "formulas": "0"}, {}, 0, 0, {}, {}, [])
    (tmp_path / "shard-1.json").write_text(json.dumps(vars(of_old)))
    with pytest.raises(ConfigurationError, match=r'formulas: "0" in the shards') as caught:
        check_configuration(tmp_path, config, configuration_hash(config))
    assert len(caught.value.problems) == 1
