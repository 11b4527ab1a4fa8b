"""Headers: what real ones say, and what broken ones cost."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgconsole.signals.headers import (
    RecordError,
    is_numerics_name,
    is_safe_name,
    is_waveform,
    read_record,
    record_problems,
)
from ecgconsole.signals.reasons import Reason, reason_named

from .records import write_master, write_segment


def reason_of(folder: Path, record: str = "r") -> Reason:
    with pytest.raises(RecordError) as caught:
        read_record(folder, record)
    assert caught.value.problem.reason.label in str(caught.value)
    return caught.value.problem.reason


def test_reasons_are_one_table_of_stable_numbers_and_kebab_case_labels() -> None:
    assert Reason.KEPT == 0
    assert len({r.label for r in Reason}) == len(Reason)
    assert all(r.label == r.label.lower() and " " not in r.label and r.description for r in Reason)
    assert {r.unit for r in Reason} == {"window", "segment", "record", "patient", "file"}
    assert all(r < 256 and reason_named(r.label) is r and Reason(int(r)) is r for r in Reason)


def test_real_headers_say_what_wfdb_reads_in_them(real_data: Path) -> None:
    wfdb = pytest.importorskip("wfdb")
    compared, unreadable = 0, set()
    for path in sorted(real_data.rglob("*.hea"))[::7]:
        record = str(path.relative_to(real_data))[:-4]
        try:
            header = read_record(real_data, record)
        except RecordError as error:
            unreadable.add(error.problem.reason)
            continue
        if [s.name for s in header.segments] != [path.stem]:
            continue
        expected = wfdb.rdheader(str(path)[:-4])
        (segment,) = header.segments
        assert header.sampling_rate_hz == expected.fs
        assert header.length_samples == expected.sig_len
        assert [s.name for s in segment.signals] == expected.sig_name
        assert [str(s.format) for s in segment.signals] == expected.fmt
        assert [s.baseline for s in segment.signals] == expected.baseline
        assert [s.gain for s in segment.signals] == pytest.approx(expected.adc_gain)
        assert [s.samples_per_frame for s in segment.signals] == expected.samps_per_frame
        assert [s.byte_offset for s in segment.signals] == [b or 0 for b in expected.byte_offset]
        assert [s.skew for s in segment.signals] == [s or 0 for s in expected.skew]
        compared += 1
    assert compared > 200
    assert unreadable <= {Reason.DAT_MISSING}


def test_a_variable_layout_record_keeps_its_clock_and_names_what_is_absent(real_data: Path) -> None:
    header = read_record(real_data, "mimic3wdb-matched/p00/p000020/p000020-2183-04-28-17-47")
    assert header.start_datetime == datetime(2183, 4, 28, 17, 47, 59, 486000)
    assert header.length_samples == 9862593
    assert [s.start_sample for s in header.segments][:3] == [93, 93 + 3811, 93 + 3811 + 124]
    lost = {p.where.rsplit("/", 1)[-1]: p.reason for p in record_problems(header)}
    assert lost == {"3544749_0005.dat": Reason.DAT_MISSING, "3544749_0008.dat": Reason.DAT_MISSING}
    other = read_record(real_data, "mimic3wdb-matched/p00/p000878/p000878-2137-10-26-16-57")
    assert sum(p.reason is Reason.SEGMENT_HEADER_MISSING for p in record_problems(other)) == 30
    assert [s.name for s in other.segments if s.problem is None] == ["3269321_0001", "3269321_0002"]


def test_numerics_records_are_not_waveforms(real_data: Path) -> None:
    numerics, waveforms = 0, 0
    for path in real_data.rglob("*.hea"):
        name = str(path.relative_to(real_data))[:-4]
        try:
            waveform = is_waveform(read_record(real_data, name))
        except RecordError:
            continue
        assert waveform is not is_numerics_name(name), name
        numerics += not waveform
        waveforms += waveform
    assert numerics > 35
    assert waveforms > 1500


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Reason.HEADER_EMPTY),
        ("# a comment alone\n\n", Reason.HEADER_EMPTY),
        ("what is this", Reason.HEADER_JUNK),
        ("\x00\x01\x02", Reason.HEADER_JUNK),
        ("r 1 125 1000\nr.dat sixteen 200 16 0 0 0 0 II", Reason.HEADER_JUNK),
        ("r 1 125 1000\nr.dat 16 nan 16 0 0 0 0 II", Reason.HEADER_JUNK),
        ("r 1 125 1000\nr.dat 99 200 16 0 0 0 0 II", Reason.UNKNOWN_FORMAT),
        ("r 2 125 1000\nr.dat 16 200 16 0 0 0 0 II", Reason.SIGNAL_LINES_MISSING),
        ("r 1 125 99999999999999\nr.dat 16 200 16 0 0 0 0 II", Reason.ABSURD_LENGTH),
        ("r 1 125 100000000\nr.dat 16 200 16 0 0 0 0 II", Reason.DAT_TRUNCATED),
        ("r 1 0 1000\nr.dat 16 200 16 0 0 0 0 II", Reason.SAMPLING_RATE_ZERO),
        ("r 1 -125 1000\nr.dat 16 200 16 0 0 0 0 II", Reason.SAMPLING_RATE_ZERO),
        ("r 1 125 1000\n../r.dat 16 200 16 0 0 0 0 II", Reason.UNSAFE_NAME),
        ("r 1 125 1000\n/etc/passwd 16 200 16 0 0 0 0 II", Reason.UNSAFE_NAME),
        ("r 1 125 1000\ns3://bucket/r.dat 16 200 16 0 0 0 0 II", Reason.UNSAFE_NAME),
        ("r 1 125 1000\nelsewhere.dat 16 200 16 0 0 0 0 II", Reason.DAT_MISSING),
    ],
)
def test_a_fault_that_leaves_nothing_is_named(tmp_path: Path, text: str, reason: Reason) -> None:
    (tmp_path / "r.hea").write_text(text)
    (tmp_path / "r.dat").write_bytes(bytes(2000))
    assert reason_of(tmp_path) is reason


def test_an_absent_header_is_named(tmp_path: Path) -> None:
    assert reason_of(tmp_path) is Reason.HEADER_MISSING


def test_a_truncated_signal_file_says_how_much_is_missing(tmp_path: Path) -> None:
    (tmp_path / "r.hea").write_text("r 1 125 1000\nr.dat 16 200 16 0 0 0 0 II\n")
    (tmp_path / "r.dat").write_bytes(bytes(1999))
    with pytest.raises(RecordError, match="2000 bytes expected, 1999 found"):
        read_record(tmp_path, "r")


def test_a_fault_in_a_segment_costs_that_segment(tmp_path: Path) -> None:
    good = {"II": np.zeros(500)}
    for name in ("a", "b", "c", "d", "e", "f"):
        write_segment(tmp_path, name, good)
    (tmp_path / "b.hea").unlink()
    (tmp_path / "c.dat").unlink()
    write_segment(tmp_path, "d", good, length=400)
    write_segment(tmp_path, "e", good, rate_hz=250)
    write_master(tmp_path, "f", [("a", 500)])
    names = ["a", "b", "c", "d", "e", "f", "r", "~", "../a", "a"]
    write_master(tmp_path, "r", [(n, 500) for n in names], signals=1)
    header = read_record(tmp_path, "r")
    assert [s.problem.reason if s.problem else None for s in header.segments] == [
        None,
        Reason.SEGMENT_HEADER_MISSING,
        Reason.DAT_MISSING,
        Reason.SEGMENT_LENGTH_DIFFERS,
        Reason.SEGMENT_RATE_DIFFERS,
        Reason.NESTED_SEGMENTS,
        Reason.SELF_REFERENCE,
        Reason.UNSAFE_NAME,
        None,
    ]
    assert [s.start_sample for s in header.segments] == [500 * i for i in (0, 1, 2, 3, 4, 5, 6, 8, 9)]


def test_what_costs_nothing_is_reported(tmp_path: Path) -> None:
    write_segment(tmp_path, "a", {"II": np.zeros(500)})
    (tmp_path / "r.hea").write_text("r/3 1 125 900 10:00:00 31/02/2100\na 500\n~ 500\n")
    header = read_record(tmp_path, "r")
    assert header.start_datetime is None
    reasons = {p.reason for p in header.problems}
    assert reasons == {Reason.SEGMENT_COUNT_DIFFERS, Reason.LENGTH_DIFFERS, Reason.DATE_MALFORMED}
    (tmp_path / "g.hea").write_text("g 1 125 500\na.dat 16 0 16 0 0 0 0 II\n")
    flagged = read_record(tmp_path, "g")
    assert [p.reason for p in flagged.problems] == [Reason.UNCALIBRATED]


def test_a_length_that_the_header_leaves_out_is_the_files(tmp_path: Path) -> None:
    (tmp_path / "r.hea").write_text("r 2 125\nr.dat 212 200\nr.dat 212 200\n")
    (tmp_path / "r.dat").write_bytes(bytes(3 * 70))
    assert read_record(tmp_path, "r").length_samples == 70


def test_terminal_escapes_in_a_header_do_not_reach_messages(tmp_path: Path) -> None:
    (tmp_path / "r.hea").write_text("r 1 125 10\n../\x1b]52;c;aGk=\x07x 16 200 16 0 0 0 0 II\n")
    with pytest.raises(RecordError) as caught:
        read_record(tmp_path, "r")
    assert "\x1b" not in str(caught.value)
    assert "\x07" not in str(caught.value)


@given(st.text(max_size=30))
def test_safe_names_stay_in_their_folder(name: str) -> None:
    if is_safe_name(name):
        folder = Path("/a/b")
        assert (folder / name).parent == folder
        assert "://" not in name


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
def test_no_header_however_broken_raises_anything_else(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("h")
    (folder / "r.hea").write_bytes(data)
    with suppress(RecordError):
        header = read_record(folder, "r")
        assert header.sampling_rate_hz > 0


_WORDS = "r 1 2 125 0 -1 1000 1e9 nan ~ a a.dat ../x 16 80 212 310 16x4:3+24 200/mV 0 2(3)/NU II /"
_token = st.sampled_from(_WORDS.split(" "))


@settings(deadline=None, max_examples=150)
@given(st.lists(st.lists(_token, max_size=9).map(" ".join), max_size=6).map("\n".join))
def test_no_plausible_header_raises_anything_else(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("h")
    (folder / "r.hea").write_text(text)
    (folder / "a.dat").write_bytes(bytes(64))
    with suppress(RecordError):
        header = read_record(folder, "r")
        assert all(s.length_samples >= 0 for s in header.segments)
