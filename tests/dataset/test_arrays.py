"""What is written as rows is read back, or said to be damaged."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ecgconsole.dataset.arrays import Arrays, ArraysWriter
from ecgconsole.errors import MachineError

CONTENTS = {
    "signal": np.arange(5 * 2 * 7, dtype="<i2").reshape(5, 2, 7),
    "text": np.array([b"a", b"bcd", b"", b"e", b"f"]),
    "flag": np.array([[True, False]] * 5),
    "big-endian": np.arange(5, dtype=">f8"),
    "none": np.zeros((0, 2), "<f4"),
}


@pytest.fixture
def arrays(tmp_path: Path) -> Arrays:
    with (tmp_path / "x.rows").open("wb") as file:
        writer = ArraysWriter(file)
        for name, values in CONTENTS.items():
            for part in (values[:2], values[2:]):
                writer.append(name, part)
    return Arrays(tmp_path / "x.rows", writer.entries)


def test_arrays_appended_in_parts_are_read_whole_and_by_rows(arrays: Arrays) -> None:
    assert arrays.is_intact()
    for name, values in CONTENTS.items():
        np.testing.assert_array_equal(arrays.read(name), values)
        assert arrays.n_rows(name) == len(values)
    assert arrays.n_rows("absent") == 0
    rows = np.empty((3, 2, 7), "<i2")
    arrays.read_into(rows, "signal", 1)
    np.testing.assert_array_equal(rows, CONTENTS["signal"][1:4])


@pytest.mark.parametrize("name", ["signal", "text", "flag", "big-endian"])
def test_a_flipped_bit_is_noticed(arrays: Arrays, name: str) -> None:
    data = bytearray(arrays.path.read_bytes())
    data[arrays.entries[name]["offset"] + 1] ^= 4
    arrays.path.write_bytes(data)
    assert not arrays.is_intact()
    with pytest.raises(MachineError, match=f"other bytes of {name} than were written"):
        arrays.read(name)
    assert len(arrays.read("none")) == 0


def test_a_truncated_file_is_noticed(arrays: Arrays) -> None:
    os.truncate(arrays.path, arrays.path.stat().st_size - 1)
    assert not arrays.is_intact()
    np.testing.assert_array_equal(arrays.read("text"), CONTENTS["text"])
    with pytest.raises(MachineError, match="other bytes of big-endian than were written"):
        arrays.read("big-endian")
