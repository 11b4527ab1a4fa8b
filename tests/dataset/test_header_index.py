"""A second scan of headers reads only what changed, and never trusts an index that it should not."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ecgconsole.config import Config
from ecgconsole.dataset import header_index
from ecgconsole.dataset.discovery import Cohort, HeaderFolder, discover
from ecgconsole.dataset.header_index import folder_signature, index_key, read_index, scan_changed, scan_with_index
from ecgconsole.signals import disk
from tests.faults.wards import Bed, make_bed

SUBJECTS = (21, 22, 23)
Scan = Callable[..., tuple[Cohort, int]]


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    for subject in SUBJECTS:
        make_bed(tmp_path / "waveforms", subject)
    return tmp_path / "waveforms"


@pytest.fixture
def scan(ward: Path, tmp_path: Path, config_of: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> Scan:
    """The cohort, and how many folders were read for it."""
    read = []
    original = header_index.scan_folder

    def counting(root: Path, folder: HeaderFolder, *rest: object) -> object:
        read.append(folder.path)
        return original(root, folder, *rest)

    monkeypatch.setattr(header_index, "scan_folder", counting)

    def go(**settings: object) -> tuple[Cohort, int]:
        read.clear()
        config = config_of(ward, **settings)

        def scan_all(layout: str, folders: list[HeaderFolder]) -> object:
            return scan_with_index(
                layout, folders, config, tmp_path / "index", lambda asked: scan_changed(ward, asked, layout, config)
            )

        return discover(config, scan_all), len(read)

    return go


def test_the_second_scan_reads_nothing_and_finds_the_same(scan: Scan, ward: Path, config_of: Callable) -> None:
    first, read = scan()
    assert read == len(SUBJECTS)
    assert first == discover(config_of(ward))
    assert scan() == (first, 0)


def restored(path: Path, data: bytes) -> None:
    """Other bytes, of the same length and with the same modification time."""
    stat = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        lambda bed: bed.replace(bed.header("2"), " 7500 ", " 7400 "),
        lambda bed: os.truncate(bed.dat("2"), 7400),
        lambda bed: bed.dat("2").unlink(),
        lambda bed: os.utime(bed.dat("1")),
        lambda bed: restored(bed.header("2"), bed.header("2").read_bytes().replace(b"PLETH", b"SPO2X")),
    ],
)
def test_a_folder_is_read_again_when_a_file_of_it_changes(change: Callable[[Bed], object], scan: Scan, ward: Path,
                                                          config_of: Callable) -> None:  # fmt: skip
    before, _ = scan()
    change(Bed(ward, 22))
    after, read = scan()
    assert read == 1
    assert after == discover(config_of(ward)) != before
    assert scan() == (after, 0)


def test_folders_that_come_and_go_are_noticed(scan: Scan, ward: Path) -> None:
    scan()
    make_bed(ward, 24)
    assert scan()[1] == 1
    for path in Bed(ward, 21).folder.iterdir():
        path.unlink()
    cohort, read = scan()
    assert (len(cohort.patients), read) == (3, 0)
    assert scan() == (cohort, 0)


def test_an_index_of_other_settings_is_not_used(scan: Scan) -> None:
    scan()
    cohort, read = scan(**{"build.segment_seconds": 5.0})
    assert read == len(SUBJECTS)
    assert scan()[1] == len(SUBJECTS)
    assert cohort != scan()[0]


def test_any_damage_to_the_index_costs_no_more_than_a_scan(scan: Scan, tmp_path: Path) -> None:
    cohort, _ = scan()
    path = tmp_path / "index"
    whole = path.read_bytes()
    lines = gzip.decompress(whole).splitlines(keepends=True)
    damaged = [b"", b"junk", whole[: len(whole) // 2], whole[:-1], b"\x80\x05cposix\nsystem\n."]
    damaged += [gzip.compress(b"".join(rest)) for rest in ([b"[]\n"], [lines[0], b"{}\n"], [lines[0], b'{"folder":1'])]
    damaged += [gzip.compress(lines[0] + lines[1].replace(b'"candidate_windows"', b'"other"'))]
    for position in range(20, len(whole), 97):
        flipped = bytearray(whole)
        flipped[position] ^= 16
        damaged.append(bytes(flipped))
    for data in damaged:
        path.write_bytes(data)
        assert scan() == (cohort, len(SUBJECTS))
        assert path.read_bytes() != data  # made anew
    path.unlink()
    path.mkdir()
    assert scan() == (cohort, len(SUBJECTS))  # cannot be written: the scan is what counts


def test_what_could_not_be_read_is_tried_again(scan: Scan, ward: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/proc/self/mem").exists():
        pytest.skip("no /proc/self/mem, whose first page cannot be read")
    monkeypatch.setattr(disk, "RETRY_SECONDS", ())
    header = Bed(ward, 22).header("2")
    header.rename(header.with_suffix(".kept"))
    header.symlink_to("/proc/self/mem")
    scan()
    assert scan()[1] == 1
    header.unlink()
    header.with_suffix(".kept").rename(header)
    scan()
    assert scan()[1] == 0


def test_names_that_are_no_text_survive(ward: Path, tmp_path: Path, config_of: Callable[..., Config]) -> None:
    odd = ward / os.fsdecode(b"p00/p000025\xff")
    Bed(ward, 21).folder.rename(odd)
    config = config_of(ward, **{"data.layout": "wfdb"})

    def scan_all(layout: str, folders: list[HeaderFolder]) -> object:
        return scan_with_index(
            layout, folders, config, tmp_path / "index", lambda asked: scan_changed(ward, asked, layout, config)
        )

    assert discover(config, scan_all) == discover(config, scan_all)
    index = read_index(tmp_path / "index", index_key("wfdb", config))
    assert len(index) == len(SUBJECTS)
    folder = os.fsdecode(b"p00/p000025\xff")
    assert index[folder][0] == folder_signature(ward, folder)
