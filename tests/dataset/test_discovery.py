"""Who is found in a folder, by headers alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecgconsole.config import Config
from ecgconsole.dataset.discovery import Cohort, discover, header_folders
from ecgconsole.dataset.people import read_patient_map, select
from ecgconsole.errors import InputError
from ecgconsole.signals.reasons import Reason

MASTER = "p000020-2183-04-28-17-47"


def record(
    root: Path, path: str, channels: tuple[str, ...] = ("II", "PLETH"), seconds: int = 60, rate: float = 125
) -> None:
    """A single-segment record of zeros in format 16."""
    samples = round(seconds * rate)
    name = path.rpartition("/")[2]
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{name} {len(channels)} {rate:g} {samples}"]
    lines += [f"{name}.dat 16 100/mV 16 0 0 0 0 {channel}" for channel in channels]
    (root / f"{path}.hea").write_text("\n".join(lines) + "\n")
    (root / f"{path}.dat").write_bytes(bytes(2 * samples * len(channels)))


def master(root: Path, path: str, segments: list[tuple[str, int]], start: str = "17:47:00 28/04/2183") -> None:
    """A multi-segment header at 125 Hz, with a layout; ``~`` is a gap."""
    folder, _, name = path.rpartition("/")
    seconds = sum(s for _, s in segments)
    lines = [f"{name}/{len(segments) + 1} 2 125 {seconds * 125} {start}", "x_layout 0"]
    lines += [f"{segment} {s * 125}" for segment, s in segments]
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / f"{path}.hea").write_text("\n".join(lines) + "\n")
    layout = "x_layout 2 125 0\n~ 0 100/mV 8 0 0 0 0 II\n~ 0 100/NU 8 0 0 0 0 PLETH\n"
    (root / folder / "x_layout.hea").write_text(layout)


def matched(root: Path, patient: str = "p000020", name: str = MASTER) -> None:
    folder = f"{patient[:3]}/{patient}"
    record(root, f"{folder}/3544749_0001")
    master(root, f"{folder}/{name}", [("~", 5), ("3544749_0001", 60)])


@pytest.fixture
def find(config_of: Callable[..., Config], tmp_path: Path) -> Callable[..., Cohort]:
    return lambda **settings: discover(config_of(tmp_path, **{k.replace("__", "."): v for k, v in settings.items()}))


def ids(cohort: Cohort) -> list[str]:
    return [p.patient_id for p in cohort.patients]


def test_matched_layout_takes_the_folder_as_the_patient(find: Callable[..., Cohort], tmp_path: Path) -> None:
    matched(tmp_path)
    matched(tmp_path, "p000878", name="p000878-2137-10-26-16-57")
    record(tmp_path, f"p00/p000020/{MASTER}n", ("HR", "SpO2"), seconds=60, rate=1)
    (tmp_path / "RECORDS-waveforms").write_text("p00/p000020/of-another-time\n")
    cohort = find()
    assert cohort.layout == "mimic3-matched"
    assert ids(cohort) == ["p000020", "p000878"]
    recording = cohort.patients[0].recordings[0]
    assert recording.record == f"p00/p000020/{MASTER}"
    assert recording.subject_id == 20
    assert str(recording.start) == "2183-04-28 17:47:00"
    # 5 s of gap: windows 1 to 5 of 10 s lie wholly in what is recorded.
    assert recording.candidate_windows == 5
    assert dict(recording.channel_seconds) == {"II": 60.0, "PLETH": 60.0}
    assert cohort.numerics == 1


def test_a_broken_numerics_header_is_no_waveform_of_the_patient(find: Callable[..., Cohort], tmp_path: Path) -> None:
    matched(tmp_path)
    (tmp_path / f"p00/p000020/{MASTER}n.hea").write_text("nonsense\n")
    cohort = find()
    assert cohort.numerics == 1
    assert not cohort.rejections


def test_mimic3_layout_takes_the_record_as_the_patient(find: Callable[..., Cohort], tmp_path: Path) -> None:
    record(tmp_path, "30/3000003/3000003_0001")
    master(tmp_path, "30/3000003/3000003", [("3000003_0001", 60)])
    record(tmp_path, "31/3100011/3100011_0007")  # its master header is missing
    cohort = find()
    assert cohort.layout == "mimic3"
    assert ids(cohort) == ["3000003", "3100011"]
    assert cohort.patients[1].recordings[0].record == "31/3100011/3100011_0007"


def test_segments_of_an_unreadable_master_are_no_records(find: Callable[..., Cohort], tmp_path: Path) -> None:
    matched(tmp_path)
    matched(tmp_path, "p000878", name="p000878-2137-10-26-16-57")
    (tmp_path / "p00/p000878/p000878-2137-10-26-16-57.hea").write_text("")
    cohort = find()
    assert ids(cohort) == ["p000020"]
    assert [(r.reason, r.patient_id) for r in cohort.rejections] == [(Reason.HEADER_EMPTY, "p000878")]


def test_a_channel_in_any_case_is_wanted_and_only_others_are_counted(
    find: Callable[..., Cohort], tmp_path: Path
) -> None:
    record(tmp_path, "100", ("ii", "Pleth", "abp"))
    record(tmp_path, "101", ("II", "PLETH", "RESP", "abp"))
    cohort = find()
    assert ids(cohort) == ["100", "101"]
    assert cohort.other_channels == {"RESP": 1, "abp": 2}


def test_wfdb_layout_takes_records_or_the_folder_of_multi_segment_records(
    find: Callable[..., Cohort], tmp_path: Path
) -> None:
    record(tmp_path, "flat/100")
    record(tmp_path, "flat/101", ("ABP",))
    for segment in ("041s01", "041s02"):
        record(tmp_path, f"db/041s/{segment}")
    master(tmp_path, "db/041s/041s", [("041s01", 60), ("041s02", 60)])
    cohort = find()
    assert cohort.layout == "wfdb"
    assert ids(cohort) == ["041s", "100"]
    assert cohort.other_channels == {"ABP": 1}
    assert [(r.reason, r.record) for r in cohort.rejections] == [(Reason.NO_CHANNEL, "flat/101")]
    assert "ABP" in cohort.rejections[0].detail


def test_records_named_alike_in_two_folders_are_two_people(find: Callable[..., Cohort], tmp_path: Path) -> None:
    record(tmp_path, "a/100")
    record(tmp_path, "b/100")
    record(tmp_path, "b/101")
    assert ids(find()) == ["101", "a/100", "b/100"]


def test_a_few_stray_folders_do_not_change_the_layout(find: Callable[..., Cohort], tmp_path: Path) -> None:
    for i in range(3):
        matched(tmp_path, f"p00002{i}", name=f"p00002{i}-2183-04-28-17-47")
    record(tmp_path, "scratch/test")
    cohort = find()
    assert cohort.layout == "mimic3-matched"
    assert cohort.ignored_folders == 1
    assert len(find(data__layout="wfdb").patients) == 4


@pytest.mark.parametrize("key", [MASTER, f"p00/p000020/{MASTER}", f"{MASTER}.hea"])
def test_a_patient_map_by_path_or_base_name_says_who_is_one_person(
    find: Callable[..., Cohort], tmp_path: Path, key: str
) -> None:
    matched(tmp_path)
    matched(tmp_path, "p000878", name="p000878-2137-10-26-16-57")
    table = tmp_path / "map.csv"
    table.write_text(f"\ufeffPatient, Record\nanna,{key}\nanna,p000878-2137-10-26-16-57\nberta,absent\n")
    cohort = find(data__patient_map=str(table))
    assert ids(cohort) == ["anna"]
    assert [r.subject_id for r in cohort.patients[0].recordings] == [20, 878]
    assert cohort.unknown_in_map == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("record,person\na,b\n", "needs columns record,patient"),
        ("record,patient\na,b\na,c\n", ":3: a is given twice"),
        ("record,patient\na,\n", ":2: record or patient is empty"),
        ("", "needs columns"),
    ],
)
def test_a_wrong_patient_map_is_an_input_error_naming_the_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "map.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_patient_map(path)


def test_selection_by_volume_at_random_and_by_id(
    find: Callable[..., Cohort], config_of: Callable[..., Config], tmp_path: Path
) -> None:
    for i, seconds in enumerate([30, 90, 60, 120, 40, 50]):
        record(tmp_path, f"r{i}", seconds=seconds)
    patients = find().patients

    def chosen(**settings: object) -> list[str]:
        return [p.patient_id for p in select(patients, config_of(tmp_path, **settings))]

    assert chosen(**{"build.max_patients": 3}) == ["r3", "r1", "r2"]
    assert chosen(**{"build.max_patients": 3, "build.selection": "id"}) == ["r0", "r1", "r2"]
    drawn = {tuple(chosen(**{"build.selection": "random", "build.selection_seed": seed})) for seed in range(5)}
    assert len(drawn) == 5
    assert all(sorted(d) == [f"r{i}" for i in range(6)] for d in drawn)
    again = {"build.selection": "random", "build.selection_seed": 3}
    assert chosen(**again) == chosen(**again)


def test_changed_grown_and_appearing_files_change_the_digest_of_inputs(
    find: Callable[..., Cohort], tmp_path: Path
) -> None:
    matched(tmp_path)
    dat = tmp_path / "p00/p000020/3544749_0001.dat"
    seen = [find().patients[0].recordings[0].inputs]
    os.utime(dat, ns=(1, 1))
    seen.append(find().patients[0].recordings[0].inputs)
    dat.write_bytes(dat.read_bytes() + b"\0\0")
    os.utime(dat, ns=(1, 1))
    seen.append(find().patients[0].recordings[0].inputs)
    (tmp_path / "p00/p000020/unrelated.txt").write_text("x")
    assert len(set(seen)) == 3
    assert find().patients[0].recordings[0].inputs == seen[-1]


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    record(tmp_path / "elsewhere", "100")
    root = tmp_path / "root"
    root.mkdir()
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "loop").symlink_to(root)
    (root / "itself").symlink_to("itself")
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    assert [(f.path, f.names) for f in header_folders(root)[0]] == [("linked", ("100",))]


def test_a_folder_that_may_not_be_listed_is_named_and_the_rest_goes_on(
    find: Callable[..., Cohort], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path, "100")
    (tmp_path / "lost+found").mkdir()
    scandir = os.scandir

    def guarded(path: Path) -> Any:
        if Path(path).name == "lost+found":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    cohort = find()
    assert [p.patient_id for p in cohort.patients] == ["100"]
    assert [(r.reason, r.where) for r in cohort.rejections] == [(Reason.UNREADABLE, "lost+found")]


def test_nothing_usable_names_what_was_looked_for_and_found(find: Callable[..., Cohort], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Looked for WFDB headers.*found 0 headers"):
        find()
    record(tmp_path, "100", ("MLII", "V1"))
    with pytest.raises(InputError, match=r"an ECG \(II, MLII.*found 1 header.*MLII \(1\), V1 \(1\)"):
        find()
    with pytest.raises(InputError, match="folders like p00/p000020"):
        find(data__layout="mimic3-matched")
    assert ids(find(data__require="ecg")) == ["100"]


def test_a_folder_that_is_not_there_is_an_input_error(config_of: Callable[..., Config], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        discover(config_of(tmp_path / "absent"))
