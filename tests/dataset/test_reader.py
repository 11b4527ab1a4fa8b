"""``Dataset`` for users: rows, patients, blocks, units; and what it refuses."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ecgconsole.dataset import Dataset, describe
from ecgconsole.dataset.inspection import lines
from ecgconsole.errors import InputError


@pytest.fixture(scope="module")
def path(cohort: Path, tmp_path_factory: pytest.TempPathFactory, worker: Any) -> Path:
    from contextlib import nullcontext

    from ecgconsole.config import resolve
    from ecgconsole.dataset import build
    from ecgconsole.stage import Reporter, Stop
    from ecgconsole.workspace import Workspace

    output = tmp_path_factory.mktemp("dataset")
    overrides = [f"data.waveform_dir={cohort / 'waveforms'}", "data.require=either"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "start_workers", lambda *_: nullcontext(worker))
        config = resolve(overrides=overrides, environment={}).config
        build.run(config, Workspace(output), Reporter("build", lambda event: None), Stop())
    return output / "full_dataset.h5"


def test_rows_by_slice_by_index_and_by_mask(path: Path) -> None:
    with Dataset(path) as dataset, h5py.File(path) as plain:
        signal = plain["signal"][()]
        n = dataset.n_segments
        assert len(dataset) == n == len(signal)
        np.testing.assert_array_equal(dataset.signal_rows(slice(None)), signal)
        np.testing.assert_array_equal(dataset.signal_rows(slice(-40, None, 3)), signal[-40::3])
        rows = np.random.default_rng(0).permutation(n)[:50]
        np.testing.assert_array_equal(dataset.signal_rows(rows), signal[rows])
        np.testing.assert_array_equal(dataset.signal_rows(np.array([-1, 0, 0])), signal[[-1, 0, 0]])
        mask = dataset.split == "test"
        np.testing.assert_array_equal(dataset.signal_rows(mask), signal[mask])
        assert dataset.signal_rows(np.array([], int)).shape == (0, 2, dataset.segment_samples)
        for wrong in (np.array([n]), np.array([-n - 1]), np.ones(n + 1, bool)):
            with pytest.raises(IndexError):
                dataset.signal_rows(wrong)


def test_blocks_cover_every_row_once(path: Path) -> None:
    with Dataset(path) as dataset:
        parts = list(dataset.blocks(50))
        assert [rows.start for rows, _ in parts] == list(range(0, dataset.n_segments, 50))
        np.testing.assert_array_equal(np.concatenate([s for _, s in parts]), dataset.signal_rows(slice(None)))


def test_physical_units_are_signal_times_scale_and_zero_where_absent(path: Path) -> None:
    with Dataset(path) as dataset:
        physical = dataset.physical(slice(0, 60))
        assert physical.dtype == np.float32
        expected = dataset.signal_rows(slice(0, 60)) * dataset.scale[:60, :, None]
        np.testing.assert_array_equal(physical, expected)
        absent = ~dataset.present
        assert absent.any()
        assert not dataset.physical(slice(None))[absent].any()
        ecg = dataset.physical(dataset.present[:, 0])[:, 0]
        assert 0.05 < np.median(ecg.std(axis=1)) < 2  # mV
        assert str(dataset.tensor(np.array([3, 1])).dtype) == "torch.float32"


def test_one_patients_rows_are_together(path: Path) -> None:
    with Dataset(path) as dataset:
        for patient in dataset.patients["id"]:
            rows = dataset.rows_of(patient)
            assert set(dataset.patient_id[rows]) == {patient}
            assert (dataset.patient_id == patient).sum() == rows.stop - rows.start
        with pytest.raises(KeyError):
            dataset.rows_of("nobody")


def test_columns_have_a_row_for_each_segment(path: Path) -> None:
    with Dataset(path) as dataset:
        assert {"segment/record", "rhythm/heart_rate_bpm", "quality/ecg_noise_share"} <= set(dataset.column_names)
        for name in dataset.column_names:
            assert len(dataset.column(name)) == dataset.n_segments
        assert dataset.column("segment/record").dtype.kind == "U"
        assert dataset.parameters["build"]["sampling_rate_hz"] == dataset.sampling_rate_hz == 125
        assert "num_workers" not in dataset.parameters["build"]


def test_verify_recomputes_the_hash(path: Path, tmp_path: Path) -> None:
    with Dataset(path) as dataset:
        assert dataset.verify()
    altered = tmp_path / "x.h5"
    shutil.copy(path, altered)
    with h5py.File(altered, "r+") as file:
        file["rhythm/rr_cv"][0] = 0.123
    with Dataset(altered) as dataset:
        assert not dataset.verify()


def test_a_damaged_chunk_is_an_input_error_when_it_is_read(path: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "x.h5"
    with h5py.File(path) as file:
        chunk = file["signal"].id.get_chunk_info(2)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + 50] ^= 1
    damaged.write_bytes(data)
    with Dataset(damaged) as dataset:
        dataset.signal_rows(slice(0, 64))
        with pytest.raises(InputError, match="rows 64 to 127 of /signal are damaged"):
            dataset.signal_rows(np.array([3, 70]))
        with pytest.raises(InputError):
            dataset.verify()


def no_signal(file: h5py.File) -> None:
    del file["signal"]


def one_channel(file: h5py.File) -> None:
    del file["signal"]
    file.create_dataset("signal", (5, 1250), "<i2")


def floats(file: h5py.File) -> None:
    n = file["signal"].shape[0]
    del file["signal"]
    file.create_dataset("signal", (n, 2, 100), "<f4")


def other_rows(file: h5py.File) -> None:
    del file["rhythm/rr_cv"]
    file["rhythm/rr_cv"] = np.zeros(3, "<f4")


def newer(file: h5py.File) -> None:
    file.attrs["format_version"] = 99


def no_hash(file: h5py.File) -> None:
    del file.attrs["content_sha256"]


@pytest.mark.parametrize("change", [no_signal, one_channel, floats, other_rows, newer, no_hash])
def test_files_of_another_shape_are_refused(path: Path, tmp_path: Path, change: Callable[[h5py.File], None]) -> None:
    copy = tmp_path / "x.h5"
    shutil.copy(path, copy)
    with h5py.File(copy, "r+") as file:
        change(file)
    with pytest.raises(InputError):
        Dataset(copy)


def test_a_description_counts_what_the_file_holds(path: Path) -> None:
    found = describe(path, verify=True)
    with Dataset(path) as dataset:
        assert found["segments"] == dataset.n_segments
        assert found["present"]["PPG"] == dataset.present[:, 1].sum()
        assert sum(found["channels"]["ecg"].values()) == (dataset.column("segment/ecg_channel") != "").sum()
    assert sum(s["patients"] for s in found["splits"].values()) == found["patients"]
    assert found["verified"] is True
    assert found["labels"]["control"] == {"yes": 0, "no": 0, "unknown": found["patients"]}
    text = "\n".join(lines(found))
    assert f"{found['segments']:,} segments of 10 s at 125 Hz" in text
    assert found["content_sha256"] in text
    assert "labels    all unknown" in text


def test_the_package_loads_neither_torch_nor_numpy_before_they_are_needed() -> None:
    code = "import sys, ecgconsole.dataset.workers; print(sorted({'numpy', 'h5py', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
    code = "import sys; from ecgconsole.dataset import Dataset; print('torch' in sys.modules, Dataset.__name__)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False Dataset\n"
