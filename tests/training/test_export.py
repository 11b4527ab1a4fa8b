"""The encoder as one portable file: says what the original says, carries what it expects, refuses what it is not."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from ecgconsole.cli import app
from ecgconsole.dataset import Dataset
from ecgconsole.errors import ConfigurationError, EcgConsoleError, InputError
from ecgconsole.training import export, portable, train
from ecgconsole.training.checkpoints import load
from ecgconsole.training.embed import Encoder, model_of
from ecgconsole.workspace import Workspace

from .material import Recorder, small_config


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, dataset_path) -> Workspace:
    workspace, recorder = Workspace(tmp_path_factory.mktemp("exported")), Recorder()
    workspace.dataset.symlink_to(dataset_path)
    train.run(small_config("training.num_epochs=1"), workspace, recorder.reporter, recorder.stop)
    return workspace


@pytest.fixture(scope="module", params=portable.FORMATS)
def exported(trained: Workspace, request: pytest.FixtureRequest) -> export.Exported:
    saved = load(trained.best_checkpoint)
    with Dataset(trained.dataset) as dataset:
        return export.export(model_of(saved), saved, dataset, trained.folder / f"encoder{request.param}")


def test_it_says_what_the_original_says_for_any_number_of_segments(trained, exported):
    original, portable = Encoder.load(trained.best_checkpoint, device="cpu"), Encoder.load(exported.path)
    assert portable.expectations == original.expectations
    with Dataset(trained.dataset) as dataset:
        for n in (1, 2, 65, 144):
            signal = dataset.physical(np.arange(n))
            np.testing.assert_allclose(portable(signal), original(signal), rtol=0, atol=1e-5)
    assert exported.checked_segments == 144
    assert exported.largest_difference <= export.TOLERANCE


ALONE = {
    ".pt2": (
        "import sys, numpy, torch\n"
        "module = torch.export.load(sys.argv[1]).module()\n"
        "out = module(torch.zeros(5, 2, 500), torch.ones(5, 2, dtype=torch.bool)).detach().numpy()\n"
    ),
    ".onnx": (
        "import sys, numpy, onnxruntime\n"
        "session = onnxruntime.InferenceSession(sys.argv[1])\n"
        "signal, present = numpy.zeros((5, 2, 500), 'float32'), numpy.ones((5, 2), bool)\n"
        "out = session.run(None, {'signal': signal, 'present': present})[0]\n"
        "assert 'torch' not in sys.modules\n"
    ),
}


def test_it_needs_its_format_s_own_library_and_nothing_of_ours(exported, tmp_path):
    code = ALONE[exported.path.suffix] + (
        "assert out.shape == (5, 12) and numpy.isfinite(out).all()\n"
        "assert not any(name.startswith('ecgconsole') for name in sys.modules)\n"
    )
    copy = tmp_path / f"elsewhere{exported.path.suffix}"
    copy.write_bytes(exported.path.read_bytes())
    subprocess.run([sys.executable, "-P", "-c", code, str(copy)], check=True, cwd=tmp_path)


@pytest.mark.parametrize("exported", [".onnx"], indirect=True)
def test_onnx_is_the_same_bytes_again(trained, exported, tmp_path):
    saved = load(trained.best_checkpoint)
    again = export.export(model_of(saved), saved, None, tmp_path / exported.path.name)
    assert again.sha256 == exported.sha256


def test_it_tells_nothing_of_the_machine(exported):
    content = exported.path.read_bytes()
    if exported.path.suffix == ".pt2":
        with zipfile.ZipFile(exported.path) as file:
            content = b"".join(file.read(name) for name in file.namelist())
    for module in (export, torch):
        assert str(Path(module.__file__).parent).encode() not in content


def test_its_facts_stand_beside_it(exported):
    facts = json.loads(exported.path.with_name(f"{exported.path.name}.json").read_text())
    assert facts["expectations"]["sampling_rate_hz"] == 125.0
    assert facts["expectations"]["ecg_band_hz"] == [0.5, 40.0]
    assert facts["expectations"]["segment_samples"] == 500
    assert facts["sha256"] == exported.sha256
    assert "Not a medical device" in facts["card"]


def test_a_file_that_differs_from_the_original_is_not_written(trained, tmp_path, monkeypatch):
    saved = load(trained.best_checkpoint)
    original = portable.read

    def off(file, suffix):
        encode, facts = original(file, suffix)
        return lambda signal, present: 1.01 * encode(signal, present), facts

    monkeypatch.setattr(portable, "read", off)
    with pytest.raises(EcgConsoleError, match="differs from the original"):
        export.export(model_of(saved), saved, None, tmp_path / "encoder.pt2")
    assert list(tmp_path.iterdir()) == []


def test_the_command_checks_on_segments_of_the_folder_and_says_how_far_off_it_is(trained, tmp_path):
    path = trained.folder / "best_checkpoint.pt2"  # whose facts are not the checkpoint's own
    result = CliRunner().invoke(app, ["export", "-o", str(trained.folder), "--to", str(path), "--json"])
    assert result.exception is None, result.exception
    facts = json.loads(result.stdout)
    assert (facts["checked_segments"], facts["checked_on"]) == (144, "segments of the dataset")
    assert facts["largest_difference_sd"] <= facts["tolerance_sd"] == export.TOLERANCE
    assert facts["checkpoint"] == str(trained.best_checkpoint)
    assert facts["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    text = CliRunner().invoke(app, ["export", "-o", str(trained.folder), "--checkpoint", "1"]).output
    assert "checked on 144 segments of the dataset" in text
    assert "not a medical device" in text
    assert trained.exported_encoder.is_file()
    assert load(trained.best_checkpoint).sidecar.epoch == 1


def test_the_command_without_a_dataset_checks_on_noise_and_says_so(trained, tmp_path):
    for path in (trained.best_checkpoint, trained.best_checkpoint.with_suffix(".json")):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    result = CliRunner().invoke(app, ["export", "-o", str(tmp_path), "--json"])
    assert json.loads(result.stdout)["checked_on"] == "noise"


def test_a_name_of_no_format_is_refused_before_anything_is_read(tmp_path):
    refused = CliRunner().invoke(app, ["export", "-o", str(tmp_path), "--to", "encoder.h5"])
    assert isinstance(refused.exception, ConfigurationError)
    assert "encoder.h5: the name of an exported encoder ends in .pt2 or .onnx" in str(refused.exception)


def test_onnx_without_its_extra_says_what_to_install(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(portable.importlib.util, "find_spec", lambda name: None)
    result = CliRunner().invoke(app, ["export", "-o", str(trained.folder), "--to", str(tmp_path / "encoder.onnx")])
    assert isinstance(result.exception, ConfigurationError)
    assert "pip install 'ecgconsole[onnx]'" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", portable.FORMATS)
def test_what_is_no_exported_encoder_is_refused(tmp_path, suffix):
    junk = tmp_path / f"junk{suffix}"
    for content in (b"junk", b""):
        junk.write_bytes(content)
        with pytest.raises(InputError, match="not an encoder that"):
            Encoder.load(junk)
    with pytest.raises(InputError, match="not an encoder that"):
        Encoder.load(tmp_path / f"absent{suffix}")
    other, program = tmp_path / f"other{suffix}", torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(3, 2),))
    if suffix == ".onnx":
        torch.onnx.export(program, dynamo=True, verbose=False).save(str(other))
    else:
        torch.export.save(program, other)
    with pytest.raises(InputError, match="not an encoder that"):
        Encoder.load(other)
