"""Chunks made by hand are HDF5's own, and damage never passes."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgconsole.dataset import codec
from ecgconsole.dataset.storage import filters

DTYPES = ["<i2", "<f4", "<f8", "<i8", "|u1", "|b1", "S7"]


def slow_fletcher32(data: bytes) -> bytes:
    """Word by word, as the specification says."""
    if len(data) % 2:
        data += b"\0"
    first = second = 0
    for i in range(0, len(data), 2):
        first += data[i] << 8 | data[i + 1]
        second += first
    first, second = (s % 65535 or (65535 if s else 0) for s in (first, second))
    return (second << 16 | first).to_bytes(4, "little")


@given(st.binary(max_size=3000))
def test_fletcher32_equals_the_word_by_word_sum(data: bytes) -> None:
    assert codec.fletcher32(data) == slow_fletcher32(data)


@pytest.mark.parametrize("data", [b"", b"\0" * 1000, b"\xff" * 131072, b"\xff\xff", b"\xff", b"\0\0\0\1" * 500])
def test_fletcher32_at_the_edges_of_its_modulus(data: bytes) -> None:
    assert codec.fletcher32(data) == slow_fletcher32(data)


def values(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    random = np.random.default_rng(1)
    return random.integers(0, 100, shape).astype(dtype)


def create(file: h5py.File, data: np.ndarray, chunks: tuple[int, ...], **options: object) -> h5py.Dataset:
    kind = h5py.string_dtype("utf-8", data.dtype.itemsize) if data.dtype.kind == "S" else data.dtype
    pipeline = {"shuffle": True, "compression": "gzip", "compression_opts": 6, "fletcher32": True}
    return file.create_dataset("x", data.shape, kind, chunks=chunks, **{**pipeline, **options})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(64,), (33, 2), (16, 2, 125)])
def test_plain_h5py_reads_what_is_encoded_here(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    data = values(dtype, shape)
    with h5py.File(tmp_path / "x.h5", "w", libver=("v110", "v110")) as file:
        dataset = create(file, data, shape)
        dataset.id.write_direct_chunk((0,) * data.ndim, codec.encode(data))
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["x"][()].tobytes() == data.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_plain_h5py_wrote_is_decoded_here(tmp_path: Path, dtype: str) -> None:
    data = values(dtype, (40, 2, 25))
    with h5py.File(tmp_path / "x.h5", "w", libver=("v110", "v110")) as file:
        dataset = create(file, data, data.shape)
        dataset[...] = data.astype(dataset.dtype)
        assert filters(dataset) == codec.PIPELINE
    with h5py.File(tmp_path / "x.h5") as file:
        mask, stored = file["x"].id.read_direct_chunk((0, 0, 0))
    assert mask == 0
    assert codec.decode(stored, data.dtype, data.shape).tobytes() == data.tobytes()


def test_every_flipped_bit_of_a_chunk_is_noticed() -> None:
    data = values("<i2", (4, 2, 20))
    stored = codec.encode(data)
    for bit in range(8 * len(stored)):
        flipped = bytearray(stored)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(codec.DamagedChunk):
            codec.decode(bytes(flipped), data.dtype, data.shape)


def test_a_chunk_that_inflates_to_more_or_less_than_its_shape_is_damaged() -> None:
    data = values("<i2", (100, 2, 20))
    stored = codec.encode(data)
    for shape in [(50, 2, 20), (101, 2, 20)]:
        with pytest.raises(codec.DamagedChunk, match="inflates"):
            codec.decode(stored, data.dtype, shape)


@pytest.mark.parametrize("length", [0, 3, 4, 20])
def test_a_truncated_chunk_is_damaged(length: int) -> None:
    data = values("<i2", (4, 2, 20))
    with pytest.raises(codec.DamagedChunk):
        codec.decode(codec.encode(data)[:length], data.dtype, data.shape)
