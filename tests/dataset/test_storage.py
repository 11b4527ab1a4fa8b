"""Rows in, rows out, one hash; and files that are refused."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgconsole.dataset import storage
from ecgconsole.dataset.storage import RowsReader, RowsWriter, content_sha256, created, opened
from ecgconsole.errors import ConfigurationError, InputError, MachineError

RANDOM = np.random.default_rng(2)
SIGNAL = RANDOM.integers(-3000, 3000, (150, 2, 25)).astype("<i2")


def write(path: Path, parts: list[int], compression: str = "gzip") -> np.ndarray:
    """``SIGNAL``'s first rows, appended in parts of the given sizes."""
    data = SIGNAL[: sum(parts)]
    with created(path) as file:
        writer = RowsWriter(file, "signal", data.dtype, data.shape[1:], len(data), compression)
        for part in np.split(data, np.cumsum(parts)[:-1]):
            writer.append(part)
        assert writer.close() == len(data)
    return data


@settings(max_examples=40, deadline=None)
@given(parts=st.lists(st.integers(0, 37), min_size=1, max_size=4).filter(sum))
def test_rows_appended_in_any_parts_are_what_plain_h5py_reads(
    tmp_path_factory: pytest.TempPathFactory, parts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("rows") / "x.h5"
    data = write(path, parts)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["signal"][()], data)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.integers(0, 149)), start=st.integers(0, 150), length=st.integers(0, 150))
def test_rows_are_read_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int], start: int, length: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "order.h5"
    if not path.exists():
        write(path, [150])
    with h5py.File(path) as file:
        reader = RowsReader(file["signal"])
        np.testing.assert_array_equal(reader.take(np.array(rows, np.int64)), SIGNAL[rows])
        stop = min(start + length, 150)
        np.testing.assert_array_equal(reader.slice(start, stop), SIGNAL[start:stop])


def test_stored_rows_that_changed_are_found(tmp_path: Path) -> None:
    write(tmp_path / "x.h5", [30, 70])
    with h5py.File(tmp_path / "x.h5") as file:
        storage.check_stored(file)
        chunk = file["signal"].id.get_chunk_info(1)
    stored = bytearray((tmp_path / "x.h5").read_bytes())
    stored[chunk.byte_offset + 3] ^= 1
    (tmp_path / "x.h5").write_bytes(stored)
    with h5py.File(tmp_path / "x.h5") as file, pytest.raises(MachineError, match="other bytes of /signal"):
        storage.check_stored(file)


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_other_compressions_hold_the_same_content(tmp_path: Path, compression: str) -> None:
    write(tmp_path / "gzip.h5", [70])
    write(tmp_path / "x.h5", [70], compression)
    with h5py.File(tmp_path / "gzip.h5") as a, h5py.File(tmp_path / "x.h5") as b:
        assert content_sha256(a) == content_sha256(b)
        assert b["signal"].shuffle
        assert b["signal"].fletcher32


def test_texts_are_stored_without_compression_too(tmp_path: Path) -> None:
    texts = np.array([b"p000020", b""])
    with created(tmp_path / "x.h5") as file:
        writer = RowsWriter(file, "id", texts.dtype, (), 2, "none")
        writer.append(texts)
        writer.close()
        assert RowsReader(file["id"]).slice(0, 2).tolist() == texts.tolist()


def test_zstd_without_its_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with pytest.raises(ConfigurationError, match=r"ecgconsole\[zstd\]"):
        write(tmp_path / "x.h5", [70], "zstd")


def test_content_hash_is_the_documented_one(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    texts = np.array([b"p000020", "pé".encode()])
    with created(path) as file:
        for name, data in [("signal", SIGNAL[:2]), ("present", np.array([[True, False]] * 2)), ("segment/id", texts)]:
            writer = RowsWriter(file, name, data.dtype, data.shape[1:], 2)
            writer.append(data)
            writer.close()
        file.attrs["anything"] = 1
    slow = hashlib.sha256()
    slow.update(b"/present |b1 (2, 2)\n" + bytes([1, 0, 1, 0]))
    slow.update(b"/segment/id |S7 (2,)\n" + texts.tobytes())
    slow.update(b"/signal <i2 (2, 2, 25)\n" + SIGNAL[:2].tobytes())
    with h5py.File(path) as file:
        assert content_sha256(file) == slow.hexdigest()
        assert file["segment/id"].asstr()[1] == "pé"


def external_link(file: h5py.File) -> None:
    file["link"] = h5py.ExternalLink("/etc/passwd", "/x")


def soft_link(file: h5py.File) -> None:
    file["link"] = h5py.SoftLink("/nowhere")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((10,), "<i2")
    layout[:] = h5py.VirtualSource("other.h5", "x", (10,))
    file.create_virtual_dataset("x", layout)


def external_data(file: h5py.File) -> None:
    file.create_dataset("x", (10,), "<i2", external=[("/etc/passwd", 0, 20)])


def absurd_shape(file: h5py.File) -> None:
    file.create_dataset("x", (1 << 50, 2), "<i2", chunks=(64, 2), compression="gzip")


def absurd_chunk(file: h5py.File) -> None:
    file.create_dataset("x", (1 << 26,), "<i2", chunks=(1 << 26,), fletcher32=True)
    file.create_dataset("padding", data=np.zeros(1 << 20, "u1"))


def objects(file: h5py.File) -> None:
    file.create_dataset("x", (3,), h5py.string_dtype())


def compound(file: h5py.File) -> None:
    file.create_dataset("x", (3,), np.dtype([("a", "<i2")]))


def named_type(file: h5py.File) -> None:
    file["x"] = np.dtype("<i2")


def unknown_filter(file: h5py.File) -> None:
    file.create_dataset("x", (100,), "<i2", chunks=(100,), scaleoffset=4)


def too_deep(file: h5py.File) -> None:
    file.create_group("a/b/c/d/e/f/g")


def cycle(file: h5py.File) -> None:
    file.create_group("a")["b"] = file["/"]


@pytest.mark.parametrize(
    "make",
    [
        external_link,
        soft_link,
        virtual,
        external_data,
        absurd_shape,
        absurd_chunk,
        objects,
        compound,
        named_type,
        unknown_filter,
        too_deep,
        cycle,
    ],
)
def test_files_that_lead_elsewhere_or_ask_for_absurd_memory_are_refused(
    tmp_path: Path, make: Callable[[h5py.File], None]
) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        make(file)
    with pytest.raises(InputError, match="refused"), opened(path):
        pass


def test_what_is_no_hdf5_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_bytes(b"not HDF5" * 100)
    with pytest.raises(InputError, match="not a readable HDF5"), opened(tmp_path / "x.h5"):
        pass
    with pytest.raises(InputError, match="no such file"), opened(tmp_path / "y.h5"):
        pass


def test_a_disk_without_locks_is_a_machine_error_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(37, "Unable to synchronously open file (unable to lock file, errno = 37)")

    monkeypatch.setattr(h5py, "File", no_locks)
    with pytest.raises(MachineError, match="HDF5_USE_FILE_LOCKING=FALSE"), opened(tmp_path / "x.h5"):
        pass


def test_a_flipped_bit_in_stored_rows_is_reported_with_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write(path, [100])
    with h5py.File(path) as file:
        second = file["signal"].id.get_chunk_info(1)
    data = bytearray(path.read_bytes())
    data[second.byte_offset + second.size // 2] ^= 4
    path.write_bytes(data)
    with opened(path) as file:
        reader = RowsReader(file["signal"])
        np.testing.assert_array_equal(reader.slice(64, 100), SIGNAL[64:100])
        with pytest.raises(InputError, match="rows 0 to 63 of /signal are damaged"):
            reader.slice(0, 100)


def test_signal_chunks_hold_16_to_64_segments() -> None:
    assert 16 <= storage.rows_in_chunk("/signal", np.dtype("<i2"), (2, 1250)) <= 64
