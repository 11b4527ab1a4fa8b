"""Embeddings: what the files hold, that their bytes depend on nothing but the input, and what is refused."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ecgconsole.dataset import Dataset
from ecgconsole.errors import ConfigurationError, InputError, Stopped
from ecgconsole.training import embed, export, projection, train
from ecgconsole.training.checkpoints import load
from ecgconsole.training.encoder import segment_embedding
from ecgconsole.training.npz import Column, write_npz
from ecgconsole.training.unfinished import Unfinished
from ecgconsole.workspace import Workspace

from .material import Recorder, small_config, write_dataset


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, dataset_path) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("trained"))
    workspace.dataset.symlink_to(dataset_path)
    recorder = Recorder()
    train.run(small_config(), workspace, recorder.reporter, recorder.stop)
    return workspace


def workspace_of(folder: Path, ecg: bool, ppg: bool) -> Workspace:
    """With a dataset of these signals."""
    folder.mkdir()
    write_dataset(Workspace(folder).dataset, present=np.tile([ecg, ppg], (144, 1)))
    return Workspace(folder)


def embedded(workspace: Workspace, *overrides: str, checkpoint=None, recorder: Recorder | None = None) -> dict:
    recorder = recorder or Recorder()
    return embed.run(small_config(*overrides), workspace, recorder.reporter, recorder.stop, checkpoint=checkpoint)


def test_the_files_hold_one_vector_a_segment_and_where_it_comes_from(trained):
    recorder = Recorder()
    assert embedded(trained, recorder=recorder) == {"segments": 144}
    assert recorder.of("progress")[-1]["done"] == 144
    rows = []
    with Dataset(trained.dataset) as dataset:
        for split in ("train", "val", "test"):
            with np.load(trained.embeddings(split), allow_pickle=False) as file:
                assert file["embeddings"].dtype == np.float32
                assert file["embeddings"].shape == (len(file["segment_index"]), 12)
                assert np.isfinite(file["embeddings"]).all()
                index = file["segment_index"]
                assert index.dtype == np.int64
                assert set(dataset.split[index]) == {split}
                np.testing.assert_array_equal(file["patient_id"], dataset.patient_id[index])
                np.testing.assert_array_equal(file["record"], dataset.column("segment/record")[index])
                np.testing.assert_array_equal(file["start_seconds"], dataset.column("segment/start_seconds")[index])
                rows += index.tolist()
    assert sorted(rows) == list(range(144))


def test_an_embedding_is_that_of_the_best_checkpoint_before_the_projectors(trained):
    embedded(trained)
    model = embed.model_of(load(trained.best_checkpoint))
    with np.load(trained.embeddings("val")) as file, Dataset(trained.dataset) as dataset, torch.no_grad():
        index = file["segment_index"]
        present = torch.from_numpy(dataset.present[index])
        expected = segment_embedding(model.encode(dataset.tensor(index), present), present)
        np.testing.assert_allclose(file["embeddings"], expected.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 64, 100, 5000])
def test_bytes_do_not_depend_on_the_batch_size_nor_on_the_run(trained, batch_size):
    embedded(trained)
    before = {s: trained.embeddings(s).read_bytes() for s in ("train", "val", "test")}
    embedded(trained, f"embedding.batch_size={batch_size}")
    assert {s: trained.embeddings(s).read_bytes() for s in before} == before


def test_a_stopped_embedding_goes_on_with_the_same_bytes(trained):
    embedded(trained)
    before = {s: trained.embeddings(s).read_bytes() for s in ("train", "val", "test")}

    def stop_at_64(event):
        if event["kind"] == "progress" and event["done"] == 64:
            recorder.stop.request()

    recorder = Recorder(stop_at_64)
    with pytest.raises(Stopped, match="64 of 144 segments"):
        embedded(trained, "embedding.batch_size=64", recorder=recorder)
    again = Recorder()
    embedded(trained, "embedding.batch_size=64", recorder=again)
    assert [e["done"] for e in again.of("progress")] == [128, 144]
    assert {s: trained.embeddings(s).read_bytes() for s in before} == before
    assert not list(trained.folder.glob("embeddings/.*"))


EMBEDS_AND_DIES = """
import os, signal, sys
from pathlib import Path
from ecgconsole.stage import Reporter, Stop
from ecgconsole.training import embed, unfinished
from ecgconsole.workspace import Workspace
from tests.training.material import small_config
unfinished._SYNC_SECONDS = 0.0
def emit(event):
    if event["kind"] == "progress" and event["done"] == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
embed.run(small_config("embedding.batch_size=64"), Workspace(sys.argv[1]), Reporter("embed", emit), Stop())
"""


def test_an_embedding_killed_by_9_goes_on_with_the_same_bytes(trained):
    embedded(trained)
    before = {s: trained.embeddings(s).read_bytes() for s in ("train", "val", "test")}
    command = [sys.executable, "-c", EMBEDS_AND_DIES, str(trained.folder), "128"]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    again = Recorder()
    embedded(trained, recorder=again)
    assert [e["done"] for e in again.of("progress")] == [144]
    assert {s: trained.embeddings(s).read_bytes() for s in before} == before


def test_what_another_checkpoint_left_unfinished_is_not_taken_up(trained, tmp_path):
    def stop_at_64(event):
        if event["kind"] == "progress" and event["done"] == 64:
            recorder.stop.request()

    recorder = Recorder(stop_at_64)
    with pytest.raises(Stopped):
        embedded(trained, "embedding.batch_size=64", checkpoint=trained.epoch_checkpoint(1), recorder=recorder)
    again = Recorder()
    embedded(trained, "embedding.batch_size=64", recorder=again)
    assert again.of("progress")[0]["done"] == 64


@pytest.mark.parametrize("torn", [0, 1, 3 * 48, 65 * 48 + 7])
def test_rows_that_the_disk_lost_are_made_again(tmp_path, torn):
    rows = np.random.default_rng(0).standard_normal((100, 12)).astype(np.float32)
    first = Unfinished(tmp_path / "u", "same", 100, 12)
    first.append(rows[:80])
    first.sync()
    first.append(rows[80:90])
    first.close()
    with (tmp_path / "u" / "rows.f32").open("r+b") as file:
        file.truncate(80 * 48 + 5 * 48 - torn)
    second = Unfinished(tmp_path / "u", "same", 100, 12)
    done = second.keep_multiple_of(16)
    assert done == (80 if torn <= 5 * 48 else 0)
    second.append(rows[done:])
    np.testing.assert_array_equal(second.rows(), rows)
    second.close()


def test_pca_is_that_of_the_training_people(trained):
    embedded(trained)
    files = {s: np.load(trained.embeddings(s)) for s in ("train", "val", "test")}
    x = files["train"]["embeddings"].astype(np.float64)
    mean = x.mean(0)
    _, singular, directions = np.linalg.svd(x - mean, full_matrices=False)
    for file in files.values():
        expected = (file["embeddings"] - mean) @ directions[:2].T
        assert file["pca"].shape == (len(expected), 2)
        for axis in range(2):  # an axis has no sign of its own
            sign = np.sign(expected[:, axis] @ file["pca"][:, axis])
            np.testing.assert_allclose(file["pca"][:, axis], sign * expected[:, axis], rtol=0, atol=1e-5)
        share = singular[:2] ** 2 / (singular**2).sum()
        np.testing.assert_allclose(file["pca_explained_share"], share, rtol=1e-6)


def test_a_file_is_what_numpy_would_write(tmp_path):
    arrays = {"a": np.arange(7.0), "b": np.array(["x", "yz"]), "c": np.zeros((0, 2), np.float32)}
    np.savez(tmp_path / "theirs.npz", **arrays)
    with (tmp_path / "ours.npz").open("wb") as file:
        write_npz(file, {name: Column(a.shape, a.dtype, [a[:1], a[1:]]) for name, a in arrays.items()})
    assert (tmp_path / "ours.npz").read_bytes() == (tmp_path / "theirs.npz").read_bytes()


def test_umap_without_its_extra_says_so_before_any_work(trained, monkeypatch):
    monkeypatch.setattr(projection.importlib.util, "find_spec", lambda name: None)
    recorder = Recorder()
    with pytest.raises(ConfigurationError, match=r"ecgconsole\[umap\]"):
        embedded(trained, "embedding.umap=true", recorder=recorder)
    assert recorder.events == []


@pytest.mark.slow
def test_umap_is_two_dimensions_the_same_in_every_run(trained):
    pytest.importorskip("umap", reason="the extra umap is not installed")
    maps = []
    for _ in range(2):
        embedded(trained, "embedding.umap=true")
        maps.append(np.load(trained.test_embeddings)["umap"])
    assert maps[0].shape == (36, 2)
    assert np.isfinite(maps[0]).all()
    np.testing.assert_array_equal(maps[0], maps[1])


def test_another_dataset_is_embedded_by_a_checkpoint_from_elsewhere(trained, tmp_path):
    other = Workspace(tmp_path)
    write_dataset(other.dataset, patients=5, seed=3)
    model_ignored = ("model.embedding_dim=99", "model.hidden_dims=[4]")
    assert embedded(other, *model_ignored, checkpoint=trained.best_checkpoint) == {"segments": 60}
    with np.load(other.train_embeddings) as file:
        assert file["embeddings"].shape[1] == 12


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sampling_rate_hz": 250.0}, "sampling_rate_hz: 125.0 in the checkpoint, 250.0 in the dataset"),
        ({"ecg_band_hz": [1.0, 40.0]}, r"ecg_band_hz: \(0.5, 40.0\) in the checkpoint, \(1.0, 40.0\)"),
        ({"signal": np.zeros((144, 2, 501), "<i2")}, "segment_samples: 500 in the checkpoint, 501"),
    ],
)
def test_signals_unlike_those_trained_on_are_refused_with_every_difference(trained, tmp_path, change, named):
    other = Workspace(tmp_path)
    if "signal" in change:
        _with_length(other, 501)
    else:
        write_dataset(other.dataset, **change)
    with pytest.raises(ConfigurationError, match=named):
        embedded(other, checkpoint=trained.best_checkpoint)
    assert not other.train_embeddings.exists()


@pytest.mark.parametrize(("dim", "length"), [("12", 12), ("null", 3 * (8 + 8))])
def test_of_an_encoder_of_ecg_alone_the_ppg_is_no_part(tmp_path, dim, length):
    """Its PPG encoder learnt nothing; the mean with it would be half noise."""
    ecg, both = workspace_of(tmp_path / "ecg", True, False), workspace_of(tmp_path / "both", True, True)
    settings = ("training.num_epochs=1", "training.weight_cross=0", f"model.embedding_dim={dim}")
    train.run(small_config(*settings), ecg, (recorder := Recorder()).reporter, recorder.stop)
    embedded(ecg)
    embedded(both, checkpoint=ecg.best_checkpoint)
    with np.load(ecg.train_embeddings) as alone, np.load(both.train_embeddings) as beside_ppg:
        assert alone["embeddings"].shape[1] == length
        np.testing.assert_array_equal(beside_ppg["embeddings"], alone["embeddings"])
    export.export(embed.model_of(saved := load(ecg.best_checkpoint)), saved, None, tmp_path / "encoder.pt2")
    with Dataset(both.dataset) as dataset:
        signal = dataset.physical(np.arange(20))
    for path in (ecg.best_checkpoint, tmp_path / "encoder.pt2"):
        encoder = embed.Encoder.load(path, device="cpu")
        assert encoder.expectations.signals == ("ecg",)
        without, damaged = signal.copy(), signal.copy()
        without[:, 1], damaged[:, 1] = 0, np.nan
        np.testing.assert_array_equal(encoder(signal), encoder(without))
        np.testing.assert_array_equal(encoder(damaged), encoder(without))
    program = torch.export.load(tmp_path / "encoder.pt2")
    assert not any(
        name.startswith(("encoders.1", "encoders.0.out")[: 1 + (dim == "null")]) for name in program.state_dict
    )


def test_segments_without_a_signal_that_was_trained_on_are_refused(tmp_path):
    ecg, ppg = workspace_of(tmp_path / "ecg", True, False), workspace_of(tmp_path / "ppg", False, True)
    train.run(small_config("training.num_epochs=1"), ecg, (recorder := Recorder()).reporter, recorder.stop)
    with pytest.raises(ConfigurationError, match=r"trained on ECG alone, which 144 of 144 segments lack"):
        embedded(ppg, checkpoint=ecg.best_checkpoint)
    assert not ppg.train_embeddings.exists()


def _with_length(workspace: Workspace, samples: int) -> None:
    import h5py

    write_dataset(workspace.dataset)
    with h5py.File(workspace.dataset, "a") as file:
        signal = file["signal"][:]
        del file["signal"]
        file["signal"] = np.pad(signal, ((0, 0), (0, 0), (0, samples - signal.shape[2])))


def test_an_encoder_is_three_lines_in_ones_own_code(trained, monkeypatch):
    """The lines of the documentation, as they stand there."""
    embedded(trained)
    page = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text()
    (lines,) = re.findall(r"```python\n(from ecgconsole\.training\.embed import Encoder\n.*?)```", page, re.DOTALL)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with Dataset(trained.dataset) as dataset, np.load(trained.test_embeddings) as file:
        names = {"signal": dataset.physical(file["segment_index"])}
        exec(lines.replace("DIR", str(trained.folder)), names)
        np.testing.assert_array_equal(names["embeddings"], file["embeddings"])
    assert names["encoder"].expectations.sampling_rate_hz == 125.0


@pytest.mark.parametrize("shape", [(3, 500), (3, 2, 501), (3, 1, 500), (2, 500)])
def test_signals_of_another_shape_are_refused(trained, shape):
    encoder = embed.Encoder.load(trained.best_checkpoint, device="cpu")
    with pytest.raises(ConfigurationError, match=r"\(n, 2, 500\), ECG and PPG at 125 Hz"):
        encoder(np.ones(shape))


def test_without_a_checkpoint_it_says_what_to_do(workspace):
    with pytest.raises(InputError, match="ecgconsole train"):
        embedded(workspace)


def test_a_damaged_checkpoint_that_was_named_is_an_error(trained, tmp_path):
    copy = tmp_path / "copy.pth"
    copy.write_bytes(trained.best_checkpoint.read_bytes()[:-1])
    copy.with_suffix(".json").write_bytes(trained.best_checkpoint.with_suffix(".json").read_bytes())
    with pytest.raises(InputError, match="damaged"):
        embedded(trained, checkpoint=copy)


def test_stop_leaves_earlier_embeddings_whole(trained):
    embedded(trained)
    before = trained.train_embeddings.read_bytes()
    recorder = Recorder()
    recorder.stop.request()
    with pytest.raises(Stopped):
        embedded(trained, recorder=recorder)
    assert trained.train_embeddings.read_bytes() == before


def test_a_segment_with_one_signal_is_that_signals_embedding(trained):
    model = embed.model_of(load(trained.best_checkpoint))
    embedded(trained)
    with Dataset(trained.dataset) as dataset, np.load(trained.train_embeddings) as file, torch.no_grad():
        index = file["segment_index"]
        alone = np.flatnonzero(~dataset.present[index, 1])
        ecg = dataset.tensor(index[alone])[:, 0]
        np.testing.assert_allclose(file["embeddings"][alone], model.encoders[0](ecg).numpy(), rtol=0, atol=1e-5)
