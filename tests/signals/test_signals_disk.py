"""Damaged files and disks that are gone. The first page of ``/proc/self/mem`` gives EIO, from the kernel itself."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ecgconsole.config import Config
from ecgconsole.signals import disk
from ecgconsole.signals.disk import UnreadableFile, read_bytes
from ecgconsole.signals.headers import RecordError, read_record
from ecgconsole.signals.reading import SegmentError, read_channel
from ecgconsole.signals.reasons import Reason
from ecgconsole.signals.windows import candidate_windows, extract
from tests.faults.wards import ALL, WINDOWS, Bed, make_bed

DAMAGED = Path("/proc/self/mem")
pytestmark = pytest.mark.skipif(not DAMAGED.exists(), reason="no /proc/self/mem, whose first page cannot be read")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "RETRY_SECONDS", (0.001, 0.001))


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return make_bed(tmp_path, 101)


def damage(path: Path) -> None:
    path.unlink()
    path.symlink_to(DAMAGED)


def test_pieces_are_read_as_they_lie_and_end_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.dat"
    path.write_bytes(bytes(range(100)))
    assert read_bytes(path, 10, 20).tolist() == list(range(10, 30))
    assert read_bytes(path, 90, 20).tolist() == list(range(90, 100))
    assert len(read_bytes(path, 200, 5)) == 0


def test_a_damaged_file_among_readable_ones_is_the_files_fault(tmp_path: Path) -> None:
    (tmp_path / "a.dat").symlink_to(DAMAGED)
    (tmp_path / "b.dat").write_bytes(b"x")
    with pytest.raises(UnreadableFile, match="Input/output error"):
        read_bytes(tmp_path / "a.dat", 0, 10)


def test_where_nothing_else_can_be_read_it_is_the_disks_fault(tmp_path: Path) -> None:
    for name in ("a.dat", "b.dat"):
        (tmp_path / name).symlink_to(DAMAGED)
    with pytest.raises(OSError, match="Input/output error") as caught:
        read_bytes(tmp_path / "a.dat", 0, 10)
    assert caught.value.errno == errno.EIO


def test_a_disk_that_recovers_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.dat"
    path.symlink_to(DAMAGED)

    def repaired(seconds: float) -> None:
        path.unlink(missing_ok=True)
        path.write_bytes(b"abc")

    monkeypatch.setattr(disk.time, "sleep", repaired)
    assert read_bytes(path, 0, 3).tobytes() == b"abc"


def test_an_unreadable_signal_file_costs_its_segment(bed: Bed, config: Callable[..., Config]) -> None:
    header = read_record(bed.waveforms, bed.master.relative_to(bed.waveforms).with_suffix("").as_posix())
    damage(bed.dat("2"))
    with pytest.raises(SegmentError, match="Input/output error") as caught:
        read_channel(bed.waveforms, header.path, header.segments[1], 0)
    assert caught.value.problem.reason is Reason.UNREADABLE
    problems: list = []
    kept: set[int] = set()
    for batch in extract(bed.waveforms, header, candidate_windows(header, config()), config(), problems.append):
        kept |= set(batch.window[batch.reason == 0].tolist())
        lost = np.isin(batch.window, list(WINDOWS["2"]))
        assert set(batch.reason[lost].tolist()) == {int(Reason.UNREADABLE)}
    assert kept == ALL - WINDOWS["2"]
    assert [p.where.rpartition("/")[2] for p in problems] == [bed.dat("2").name]


def test_an_unreadable_header_costs_what_it_describes(bed: Bed) -> None:
    record = bed.master.relative_to(bed.waveforms).with_suffix("").as_posix()
    damage(bed.header("2"))
    problem = read_record(bed.waveforms, record).segments[1].problem
    assert problem is not None
    assert problem.reason is Reason.UNREADABLE
    damage(bed.master)
    with pytest.raises(RecordError) as caught:
        read_record(bed.waveforms, record)
    assert caught.value.problem.reason is Reason.UNREADABLE
