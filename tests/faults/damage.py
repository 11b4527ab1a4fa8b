"""What may be wrong with one person's files, and what each fault may cost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tests.faults.wards import ALL, WINDOWS, Bed, make_bed
from tests.signals.records import encode

ESCAPES = "\x1b]52;c;aGk=\x07[/bold]\x9b31m"
FORMULA = "=HYPERLINK(1)"


@dataclass(frozen=True)
class Fault:
    """``costs``: the windows that are lost. ``says``: label and level of each row in ``rejected.parquet`` that is
    no window's. ``windows_say``: the label of each lost window that has a row of its own, None where headers alone
    told that it cannot be. ``changes``: windows kept, but with other samples."""

    name: str
    damage: Callable[[Bed], object]
    costs: set[int] = field(default_factory=set)
    says: dict[str, str] = field(default_factory=dict)
    windows_say: str | None = None
    changes: set[int] = field(default_factory=set)
    detail: str = ""


def truncate(bed: Bed) -> None:
    os.truncate(bed.dat("2"), 7400)


def flip_a_bit(bed: Bed) -> None:
    data = bytearray(bed.dat("2").read_bytes())
    data[5001] ^= 4
    bed.dat("2").write_bytes(data)


def in_header(old: str, new: str, count: int = -1) -> Callable[[Bed], object]:
    return lambda bed: bed.replace(bed.header("2"), old, new, count)


def in_master(old: str, new: str) -> Callable[[Bed], object]:
    return lambda bed: bed.replace(bed.master, old, new, 1)


def header_text(text: str) -> Callable[[Bed], object]:
    return lambda bed: bed.header("2").write_text(text)


def master_text(text: str) -> Callable[[Bed], object]:
    return lambda bed: bed.master.write_text(text)


def numerics_text(text: str) -> Callable[[Bed], object]:
    return lambda bed: (bed.folder / f"{bed.record}n.hea").write_text(text)


def signal_file(path: str) -> Callable[[Bed], object]:
    return lambda bed: bed.replace(bed.header("2"), bed.dat("2").name, path)


def without_last_signal_line(bed: Bed) -> None:
    lines = bed.header("2").read_text().splitlines(keepends=True)
    bed.header("2").write_text("".join(lines[:-1]))


def absurd_segment_of_plausible_duration(bed: Bed) -> None:
    """Three months in 14 kB, agreed upon by both headers: only the file's size tells."""
    bed.replace(bed.master, f"{bed.name('3')} 6875", f"{bed.name('3')} 1000000000")
    bed.replace(bed.master, " 25000 ", " 1000018125 ", 1)
    bed.replace(bed.header("3"), " 6875 ", " 1000000000 ", 1)


def one_absurd_segment_as_record(bed: Bed) -> None:
    first, *signals = bed.header("1").read_text().splitlines()
    first = f"{bed.record} 2 125 1000000000"
    bed.master.write_text("\n".join([first, *signals]) + "\n")


def names_itself(bed: Bed) -> None:
    bed.replace(bed.master, bed.name("2"), bed.record)


def segment_name_leads_elsewhere(bed: Bed) -> None:
    bed.replace(bed.master, bed.name("2"), f"../{bed.patient}/{bed.name('2')}")


def in_every_header(old: str, new: str) -> Callable[[Bed], object]:
    def damage(bed: Bed) -> None:
        for segment in WINDOWS:
            bed.replace(bed.header(segment), old, new)

    return damage


def signals_changed(change: Callable[[dict[str, NDArray]], object]) -> Callable[[Bed], object]:
    def damage(bed: Bed) -> None:
        signals = {name: samples.copy() for name, samples in bed.signals("2").items()}
        change(signals)
        bed.write("2", signals)

    return damage


def tips_saturated(signals: dict[str, NDArray]) -> None:
    """The tip of each QRS lies beyond the converter's range, which stores "no sample" for it."""
    signals["II"][signals["II"] > 0.8] = np.nan


def long_run_missing(signals: dict[str, NDArray]) -> None:
    """0.3 s, from 100.1 s on: inside window 10."""
    start = round((100.1 - 75) * 125)
    signals["II"][start : start + 38] = np.nan


def all_missing(signals: dict[str, NDArray]) -> None:
    signals["II"][:] = np.nan


def flat(name: str, signals: dict[str, NDArray]) -> None:
    signals[name][:] = 0.3


def clipping(signals: dict[str, NDArray]) -> None:
    t = np.arange(len(signals["II"])) / 125
    signals["II"] = np.clip(signals["II"] + 2 * np.sin(2 * np.pi * 1.5 * t), -0.8, 0.8)


def noise(signals: dict[str, NDArray]) -> None:
    signals["II"] = np.random.default_rng(0).normal(0, 0.3, len(signals["II"]))


def other_gain(bed: Bed) -> None:
    bed.write("2", bed.signals("2"), gain=60.0)


def other_rate(bed: Bed) -> None:
    shutil.rmtree(bed.folder)
    make_bed(bed.waveforms, bed.subject_id, rate_hz=250.0)


def rewritten(code: int, checksums_right: bool) -> Callable[[Bed], object]:
    """The second segment's codes in another format: differences (8), or three samples in four bytes."""

    def damage(bed: Bed) -> None:
        codes = [np.rint(s.astype(np.float32) * np.float32(90) - 40).astype(int) for s in bed.signals("2").values()]
        if code == 8:
            steps = np.diff(np.stack(codes, axis=1), axis=0, prepend=[[c[0] for c in codes]])
            bed.dat("2").write_bytes(steps.astype(np.int8).tobytes())
        else:
            bed.dat("2").write_bytes(encode(np.stack(codes, axis=1).ravel().tolist(), code))
        lines = bed.header("2").read_text().splitlines()[:1]
        for name, unit, column in zip(("II", "PLETH"), ("mV", "NU"), codes, strict=True):
            checksum = (int(column.sum()) + (not checksums_right)) % 65536
            lines.append(f"{bed.dat('2').name} {code} 90(-40)/{unit} 10 0 {column[0]} {checksum} 0 {name}")
        bed.header("2").write_text("\n".join(lines) + "\n")

    return damage


def signal_file_linked_to_itself(bed: Bed) -> None:
    bed.dat("2").unlink()
    bed.dat("2").symlink_to(bed.dat("2").name)


def header_linked_to_itself(bed: Bed) -> None:
    bed.header("2").unlink()
    bed.header("2").symlink_to(bed.header("2").name)


def link_to_itself_beside(bed: Bed) -> None:
    (bed.folder / "loop").symlink_to("loop")


def linked_from_elsewhere(bed: Bed) -> None:
    elsewhere = bed.waveforms.parent / "another disk"
    elsewhere.mkdir(exist_ok=True)
    target = elsewhere / bed.dat("2").name
    bed.dat("2").rename(target)
    bed.dat("2").symlink_to(target)


def folder_in_its_place(bed: Bed) -> None:
    """As large as the file was, by its ``stat``: only reading tells."""
    bed.dat("2").unlink()
    bed.dat("2").mkdir()
    for i in range(1, 1000):
        if bed.dat("2").stat().st_size >= 15000:
            break
        (bed.dat("2") / f"{i:>0200}").touch()


def untouched(bed: Bed) -> None:
    """The fault is in the tables, or in the map of patients."""


SECOND = WINDOWS["2"]
LATER = SECOND | WINDOWS["3"]
_of_segment = partial(Fault, costs=SECOND)
_of_record = partial(Fault, costs=ALL)
_harmless = Fault

FAULTS = (
    _of_segment(
        "signal-file-truncated", truncate, says={"dat-truncated": "segment"}, detail="15000 bytes expected, 7400"
    ),
    _of_segment("signal-file-missing", lambda b: b.dat("2").unlink(), says={"dat-missing": "segment"}),
    _of_segment("segment-header-empty", header_text(""), says={"header-empty": "segment"}),
    _of_record("record-header-empty", master_text(""), says={"header-empty": "record"}),
    _of_segment("segment-header-junk", header_text("\0\x01 junk"), says={"header-junk": "segment"}),
    _of_record("record-header-junk", master_text("no header at all\n"), says={"header-junk": "record"}),
    _of_segment("unknown-format", in_header(".dat 80 ", ".dat 99 "), says={"unknown-format": "segment"}),
    _of_segment("signal-lines-missing", without_last_signal_line, says={"signal-lines-missing": "segment"}),
    _of_segment("length-of-aeons", in_header(" 7500 ", f" {10**15} "), says={"absurd-length": "segment"}),
    Fault(
        "length-beyond-the-file",
        absurd_segment_of_plausible_duration,
        costs=WINDOWS["3"],
        says={"dat-truncated": "segment"},
        detail="2000000000 bytes expected, 13750 found",
    ),
    _of_record("record-beyond-its-file", one_absurd_segment_as_record, says={"dat-truncated": "record"}),
    _of_segment("segment-rate-zero", in_header(" 125 ", " 0 ", 1), says={"sampling-rate-zero": "segment"}),
    _of_record("record-rate-zero", in_master(" 125 ", " 0 "), says={"sampling-rate-zero": "record"}),
    _of_segment("checksum-wrong", flip_a_bit, says={"checksum": "segment"}, windows_say="checksum"),
    _harmless("gain-zero", in_header("90(-40)/mV", "0(-40)/mV"), says={"uncalibrated": "file"}, changes=SECOND),
    _of_segment("segment-header-missing", lambda b: b.header("2").unlink(), says={"segment-header-missing": "segment"}),
    _harmless("segment-count-differs", in_master("/6 ", "/7 "), says={"segment-count-differs": "file"}),
    _of_segment("segment-length-differs", in_header(" 7500 ", " 7400 "), says={"segment-length-differs": "segment"}),
    _of_segment("record-names-itself", names_itself, says={"self-reference": "segment"}),
    _of_segment("wanted-channel-absent-in-a-segment", in_header("PLETH", "ABP")),
    _of_record("wanted-channel-absent", in_every_header("PLETH", "ABP"), says={"no-channel": "record"}),
    _harmless("tips-saturated", signals_changed(tips_saturated), changes=SECOND),
    # What is left of the span on both sides is filtered by itself: the samples near the gap are others.
    Fault("run-missing", signals_changed(long_run_missing), costs={10}, windows_say="missing-samples", changes=SECOND),
    _harmless("gain-differs", other_gain, changes=SECOND),
    _harmless("numerics-header-junk", numerics_text("\0junk")),
    _harmless("numerics-header-empty", numerics_text("")),
    *(
        _of_segment(
            f"format-{code}-unverified",
            rewritten(code, False),
            says={"unverified-format": "segment"},
            windows_say="unverified-format",
        )
        for code in (8, 310, 311)
    ),
    *(_harmless(f"format-{code}-verified", rewritten(code, True)) for code in (8, 310, 311)),
    _harmless("date-malformed", in_master("01/01/2150", "45/13/2150"), says={"date-malformed": "file"}),
    _of_segment("ecg-flat", signals_changed(partial(flat, "II")), windows_say="disconnected"),
    _of_segment("ecg-clipped", signals_changed(clipping), windows_say="clipping"),
    _of_segment("ecg-all-missing", signals_changed(all_missing), windows_say="missing-samples"),
    _of_segment("ecg-noise", signals_changed(noise), windows_say="noise"),
    _harmless("ppg-flat", signals_changed(partial(flat, "PLETH")), changes=SECOND),
    _harmless("aliases", lambda b: (in_every_header("PLETH", "PPG")(b), in_every_header(" II\n", " MLII\n")(b))),
    _of_segment("segment-rate-differs", in_header(" 125 ", " 250 ", 1), says={"segment-rate-differs": "segment"}),
    _harmless("other-rate", other_rate, changes=ALL),
    *(
        _of_segment(f"signal-file-{name}", signal_file(path), says={"unsafe-name": "segment"})
        for name, path in (("upwards", "../../../etc/passwd"), ("absolute", "/etc/passwd"), ("remote", "s3://b/x.dat"))
    ),
    _of_segment("signal-file-name-endless", signal_file("x" * 300 + ".dat"), says={"dat-missing": "segment"}),
    _of_segment("signal-file-links-to-itself", signal_file_linked_to_itself, says={"dat-missing": "segment"}),
    _of_segment("header-links-to-itself", header_linked_to_itself, says={"segment-header-missing": "segment"}),
    _harmless("link-to-itself-beside", link_to_itself_beside),
    *(
        _of_segment(f"{name}-impossible", in_header("90(-40)/mV", text), says={"header-junk": "segment"})
        for name, text in (("gain", "1e-300(-40)/mV"), ("baseline", "90(1e300)/mV"))
    ),
    _of_segment("segment-elsewhere", segment_name_leads_elsewhere, says={"unsafe-name": "segment"}),
    _of_segment(
        "signal-file-is-a-folder", folder_in_its_place, says={"unreadable": "segment"}, windows_say="unreadable"
    ),
    _harmless("linked-by-the-user", linked_from_elsewhere),
    _of_segment("escapes-in-a-name", in_header(" II\n", f" {ESCAPES}II\n")),
    _harmless("absent-from-the-tables", untouched),
    _harmless("codes-with-dots", untouched),
    _harmless("age-over-89", untouched),
    _harmless("patient-named-by-a-formula", untouched),
)
