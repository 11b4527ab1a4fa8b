"""Samples: every format against its specification or the reference reader, and damage found by checksum."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecgconsole.signals import disk
from ecgconsole.signals.headers import RecordError, read_record
from ecgconsole.signals.reading import MISSING_CODE, SegmentError, SegmentSamples, read_channel
from ecgconsole.signals.reasons import Reason

from .records import encode, write_segment

pytestmark = pytest.mark.usefixtures("with_kernels_and_without")

LIMITS = {16: 2**15, 24: 2**23, 32: 2**31, 61: 2**15, 80: 2**7, 160: 2**15, 212: 2**11, 310: 2**9, 311: 2**9}


def write_codes(folder: Path, fmt: int, columns: list[list[int]], checksums: bool = True, extra: str = "") -> None:
    flat = [c for frame in zip(*columns, strict=True) for c in frame]
    lines = [f"r {len(columns)} 125 {len(columns[0])}"]
    for i, column in enumerate(columns):
        checksum = f"16 0 {column[0]} {sum(column) % 65536} 0 ch{i}" if checksums else ""
        lines.append(f"r.dat {fmt}{extra} 200(0)/mV {checksum}")
    (folder / "r.hea").write_text("\n".join(lines) + "\n")
    (folder / "r.dat").write_bytes(encode(flat, fmt))


def codes_of(folder: Path, channel: int) -> NDArray[np.int64]:
    header = read_record(folder, "r")
    (segment,) = header.segments
    return SegmentSamples(folder, "r").codes(segment, channel, 0, segment.length_samples).astype(np.int64)


@pytest.mark.parametrize("fmt", sorted(LIMITS))
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_decoding_undoes_the_encoding_of_the_specification(
    tmp_path_factory: pytest.TempPathFactory, fmt: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("f")
    n, channels = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 3))
    code = st.integers(-LIMITS[fmt], LIMITS[fmt] - 1)
    columns = data.draw(st.lists(st.lists(code, min_size=n, max_size=n), min_size=channels, max_size=channels))
    write_codes(folder, fmt, columns)
    for channel, column in enumerate(columns):
        assert codes_of(folder, channel).tolist() == column
    start = data.draw(st.integers(0, n))
    stop = data.draw(st.integers(start, n))
    (segment,) = read_record(folder, "r").segments
    part = SegmentSamples(folder, "r").codes(segment, channels - 1, start, stop)
    assert part.tolist() == columns[-1][start:stop]


@pytest.mark.parametrize("fmt", sorted(LIMITS))
def test_the_missing_code_of_each_format_becomes_nan(tmp_path: Path, fmt: int) -> None:
    write_codes(tmp_path, fmt, [[5, MISSING_CODE[fmt], -5, 7]])
    (segment,) = read_record(tmp_path, "r").segments
    channel = read_channel(tmp_path, "r", segment, 0)
    np.testing.assert_allclose(channel.physical, [0.025, np.nan, -0.025, 0.035], rtol=1e-6)
    assert channel.adc_step == 1 / 200


def test_first_differences_are_summed_from_the_initial_value(tmp_path: Path) -> None:
    values = [1000, 1003, 990, 1100]
    (tmp_path / "r.hea").write_text(f"r 1 125 4\nr.dat 8 200 12 0 1000 {sum(values)} 0 II\n")
    (tmp_path / "r.dat").write_bytes(np.array([0, 3, -13, 110], np.int8).tobytes())
    assert codes_of(tmp_path, 0).tolist() == values


@pytest.mark.parametrize("fmt", [8, 310, 311])
def test_formats_with_known_wrong_decoders_need_a_checksum_that_agrees(tmp_path: Path, fmt: int) -> None:
    (tmp_path / "r.dat").write_bytes(bytes([1, 2, 3, 4]))
    for checksum in ("77", "0", ""):
        fields = f"10 0 0 {checksum} 0 II" if checksum else ""
        (tmp_path / "r.hea").write_text(f"r 1 125 3\nr.dat {fmt} 200 {fields}\n")
        (segment,) = read_record(tmp_path, "r").segments
        with pytest.raises(SegmentError) as caught:
            read_channel(tmp_path, "r", segment, 0)
        assert caught.value.problem.reason is Reason.UNVERIFIED_FORMAT


def test_real_channels_equal_what_wfdb_reads(real_data: Path) -> None:
    wfdb = pytest.importorskip("wfdb")
    compared, formats = 0, set()
    paths = [p for p in sorted(real_data.rglob("*.hea")) if "cinc2017" not in p.parts]
    for path in paths[::2] + sorted((real_data / "mimic-other" / "mimicdb").rglob("*.hea")):
        record = str(path.relative_to(real_data))[:-4]
        try:
            header = read_record(real_data, record)
        except RecordError:
            continue
        if [s.name for s in header.segments] != [path.stem] or not header.length_samples:
            continue
        expected = wfdb.rdrecord(str(path)[:-4], smooth_frames=False).e_p_signal
        for channel, signal in enumerate(header.segments[0].signals):
            got = read_channel(real_data, record, header.segments[0], channel).physical
            np.testing.assert_allclose(got, expected[channel], rtol=1e-5, atol=1e-5)
            compared += 1
            formats.add((signal.format, signal.samples_per_frame > 1, signal.byte_offset > 0, signal.skew > 0))
    assert compared > 150
    assert {f for f, *_ in formats} == {16, 80, 212}
    assert {(212, True, False, False), (212, False, False, True), (16, False, True, False)} <= formats


@settings(deadline=None, max_examples=25)
@given(position=st.integers(0, 2 * 2 * 1000 - 1), bit=st.integers(0, 7))
def test_one_flipped_bit_is_found_and_costs_its_channel_alone(
    tmp_path_factory: pytest.TempPathFactory, position: int, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("c")
    rng = np.random.default_rng(0)
    write_segment(folder, "r", {"II": rng.normal(size=1000), "V": rng.normal(size=1000)})
    data = bytearray((folder / "r.dat").read_bytes())
    data[position] ^= 1 << bit
    (folder / "r.dat").write_bytes(data)
    (segment,) = read_record(folder, "r").segments
    hit = position // 2 % 2
    read_channel(folder, "r", segment, 1 - hit)
    with pytest.raises(SegmentError, match="checksum") as caught:
        read_channel(folder, "r", segment, hit)
    assert caught.value.problem.reason is Reason.CHECKSUM


def test_writers_that_keep_no_checksum_are_believed(tmp_path: Path) -> None:
    write_codes(tmp_path, 16, [[1, 2, 3]], checksums=False)
    (segment,) = read_record(tmp_path, "r").segments
    assert read_channel(tmp_path, "r", segment, 0).physical.shape == (3,)
    (tmp_path / "r.hea").write_text("r 1 125 3\nr.dat 16 200 16 0 1 0 0 II\n")
    (segment,) = read_record(tmp_path, "r").segments
    assert read_channel(tmp_path, "r", segment, 0).physical.shape == (3,)


def test_a_file_that_shrinks_after_its_header_was_read_is_named(tmp_path: Path) -> None:
    write_segment(tmp_path, "r", {"II": np.ones(1000)})
    (segment,) = read_record(tmp_path, "r").segments
    (tmp_path / "r.dat").write_bytes(bytes(100))
    with pytest.raises(SegmentError, match="2000 bytes expected, 100 found"):
        read_channel(tmp_path, "r", segment, 0)
    (tmp_path / "r.dat").unlink()
    with pytest.raises(SegmentError, match="no such file"):
        read_channel(tmp_path, "r", segment, 0)


def test_a_gain_of_zero_counts_as_200_and_a_negative_one_inverts(tmp_path: Path) -> None:
    np.array([200, -200], "<i2").tofile(tmp_path / "r.dat")
    for gain, sign in (("0", 1), ("-200", -1)):
        (tmp_path / "r.hea").write_text(f"r 1 125 2\nr.dat 16 {gain} 16 0 200 0 0 II\n")
        (segment,) = read_record(tmp_path, "r").segments
        channel = read_channel(tmp_path, "r", segment, 0)
        np.testing.assert_allclose(channel.physical, [sign, -sign], rtol=1e-6)
        assert channel.adc_step == 1 / 200


def test_flac_formats_are_read_by_the_reference_reader(tmp_path: Path) -> None:
    wfdb = pytest.importorskip("wfdb")
    pytest.importorskip("soundfile")
    codes = np.random.default_rng(0).integers(-30000, 30000, (5000, 2))
    wfdb.wrsamp(
        "r", fs=125, units=["mV", "mV"], sig_name=["II", "V"], d_signal=codes, fmt=["516", "516"],
        adc_gain=[200, 200], baseline=[0, 0], write_dir=str(tmp_path),
    )  # fmt: skip
    (segment,) = read_record(tmp_path, "r").segments
    samples = SegmentSamples(tmp_path, "r")
    samples.verify(segment, (0, 1))
    np.testing.assert_array_equal(samples.codes(segment, 1, 100, 4000), codes[100:4000, 1])
    (tmp_path / segment.signals[0].file).write_bytes(b"not flac at all")
    with pytest.raises(SegmentError):
        SegmentSamples(tmp_path, "r").codes(segment, 0, 0, 10)


def test_a_failing_disk_is_not_taken_for_a_bad_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller waits and tries again: nothing may be written off while a network disk is away."""
    write_segment(tmp_path, "r", {"II": np.ones(1000)})
    (segment,) = read_record(tmp_path, "r").segments

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ETIMEDOUT, "Connection timed out")

    monkeypatch.setattr(disk, "_read", fail)
    with pytest.raises(OSError, match="timed out") as caught:
        read_channel(tmp_path, "r", segment, 0)
    assert not isinstance(caught.value, FileNotFoundError)
