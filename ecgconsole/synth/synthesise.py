"""A synthetic cohort on disk: recordings, clinical tables, and the truth about both."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ecgconsole.errors import ConfigurationError, InputError
from ecgconsole.synth.people import (
    AF_CODED_IF_AF,
    AF_CODED_IF_NOT_AF,
    OUTCOMES,
    PLANTED,
    Effects,
    Person,
    draw_people,
)
from ecgconsole.synth.recording import RecordTruth, write_person
from ecgconsole.synth.tables import people_of_tables, write_tables

MAX_PATIENTS = 20_000
MARKER = "synth.json"
FOLDERS = ("waveforms", "clinical", "truth")


def synthesise(
    out: Path,
    patients: int,
    hours: float,
    seed: int,
    clinical: Path | None = None,
    workers: int | None = None,
    effects: Effects = PLANTED,
) -> dict[str, Any]:
    """Writes ``out/waveforms`` (MIMIC-III Matched Subset layout), ``out/clinical`` and ``out/truth``.

    ``hours`` of each person's recordings together, gaps included. With ``clinical``, a folder of
    MIMIC-III tables, the persons are theirs (at most ``patients``), recorded inside their true stays,
    and no tables are written. ``effects``: other planted odds than ``PLANTED``'s. The same arguments give
    the same bytes, whatever ``workers``.

    An earlier cohort in ``out`` is replaced; anything else there is left alone and refused.

    Returns the counts that ``out/synth.json`` also holds: ``patients``, ``records``, ``segments``,
    ``hours``, ``patients_with_af``, ``windows_with_both`` (10 s windows in which ECG and PPG are recorded).

    Raises ``ConfigurationError`` for arguments out of range or a folder in use, ``InputError`` for
    tables that cannot be read.
    """
    _check(out, patients, hours, seed)
    people = (
        people_of_tables(clinical, patients, hours, seed) if clinical else draw_people(patients, hours, seed, effects)
    )
    if not people:
        raise InputError(f"{clinical}: no patient with an admission in these tables")
    parameters = {"patients": patients, "hours": hours, "seed": seed, "clinical": clinical is not None}
    _clear(out)
    _write_json(out / MARKER, {"complete": False, "parameters": parameters})
    truths = list(_recorded(people, out, seed, workers))
    records = [record for person in truths for record in person]
    _write_lists(out / "waveforms", people, truths)
    if clinical is None:
        charted = (
            (p.subject_id, plan.hadm_id, plan.icustay_id, time, rhythm, rate)
            for p, person in zip(people, truths, strict=True)
            for plan, record in zip(p.records, person, strict=True)
            for time, rhythm, rate in record.charted
            if plan.hadm_id is not None and plan.icustay_id is not None
        )
        write_tables(out / "clinical", people, charted)
    _write_truth(out / "truth", people, truths)
    summary = {
        "patients": len(people),
        "records": len(records),
        "segments": sum(r.segments for r in records),
        "hours": round(sum(r.duration_s for r in records) / 3600, 3),
        "patients_with_af": sum(p.has_af for p in people),
        "windows_with_both": sum(r.windows_with_both for r in records),
    }
    planted = {**effects, "coded_427.31_if_af": AF_CODED_IF_AF, "coded_427.31_if_not_af": AF_CODED_IF_NOT_AF}
    known = {} if clinical else {"planted": planted}
    _write_json(out / MARKER, {"complete": True, "parameters": parameters, **summary, **known})
    return summary


def _check(out: Path, patients: int, hours: float, seed: int) -> None:
    problems = []
    if not 1 <= patients <= MAX_PATIENTS:
        problems.append(f"patients: must be 1 to {MAX_PATIENTS} (given: {patients})")
    if not 0.02 <= hours <= 240:
        problems.append(f"hours: must be 0.02 to 240 (given: {hours:g})")
    if seed < 0:
        problems.append(f"seed: must not be negative (given: {seed})")
    if problems:
        raise ConfigurationError("the cohort cannot be made:", tuple(problems))
    in_use = [name for name in FOLDERS if (out / name).exists()]
    if in_use and not (out / MARKER).exists():
        raise ConfigurationError(f"{out} holds {', '.join(in_use)} of another origin; choose another folder")


def _clear(out: Path) -> None:
    if (out / MARKER).exists():
        for name in FOLDERS:
            if (out / name).exists():
                shutil.rmtree(out / name)
    out.mkdir(parents=True, exist_ok=True)


def _recorded(people: Sequence[Person], out: Path, seed: int, workers: int | None) -> Iterator[list[RecordTruth]]:
    """Each person's recordings written, in order of persons."""
    write = partial(write_person, waveforms=out / "waveforms", truth=out / "truth", seed=seed)
    n_workers = min(workers or len(os.sched_getaffinity(0)), len(people))
    if n_workers == 1:
        yield from map(write, people)
        return
    with ProcessPoolExecutor(n_workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(write, people, chunksize=max(1, min(8, len(people) // (4 * n_workers))))


def _write_lists(waveforms: Path, people: Sequence[Person], truths: Sequence[list[RecordTruth]]) -> None:
    folders = [f"p{p.subject_id:06d}"[:3] + f"/p{p.subject_id:06d}/" for p in people]
    names = [f"{folder}{r.name}" for folder, person in zip(folders, truths, strict=True) for r in person]
    for file, lines in (
        ("RECORDS", folders),
        ("RECORDS-waveforms", names),
        ("RECORDS-numerics", [f"{name}n" for name in names]),
    ):
        (waveforms / file).write_text("".join(f"{line}\n" for line in lines), encoding="ascii", newline="\n")


def _write_truth(folder: Path, people: Sequence[Person], truths: Sequence[list[RecordTruth]]) -> None:
    pairs = [(f"p{p.subject_id:06d}", r) for p, person in zip(people, truths, strict=True) for r in person]
    _write_csv(
        folder / "rhythm.csv",
        ("patient", "record", "start_seconds", "end_seconds", "rhythm"),
        ((patient, r.name, f"{e.start_s:.3f}", f"{e.end_s:.3f}", e.rhythm) for patient, r in pairs for e in r.episodes),
    )
    _write_csv(
        folder / "artefacts.csv",
        ("patient", "record", "channel", "start_seconds", "end_seconds", "kind"),
        (
            (patient, r.name, channel, f"{a.start_s:.3f}", f"{a.end_s:.3f}", a.kind)
            for patient, r in pairs
            for channel, a in r.artefacts
        ),
    )
    _write_csv(
        folder / "records.csv",
        ("patient", "record", "start", "duration_seconds", "segments", "hadm_id", "link_status"),
        (
            (
                *(f"p{p.subject_id:06d}", r.name, plan.start.isoformat(sep=" ", timespec="milliseconds")),
                *(f"{r.duration_s:.3f}", r.segments, plan.hadm_id if p.in_tables else None),
                plan.link_status if p.in_tables else "none",
            )
            for p, person in zip(people, truths, strict=True)
            for plan, r in zip(p.records, person, strict=True)
        ),
    )
    _write_csv(
        folder / "patients.csv",
        (
            *("patient", "subject_id", "rhythm_kind", "has_af", "sex", "age_years"),
            *("in_tables", "af_coded", "admissions", "died_in_hospital", *OUTCOMES),
        ),
        (_patient_truth(p) for p in people),
    )


def _patient_truth(p: Person) -> list[object]:
    row: list[object] = [f"p{p.subject_id:06d}", p.subject_id, p.kind, int(p.has_af), p.sex, f"{p.age_years:.1f}"]
    if not p.admissions:  # of real tables, which say the rest
        return [*row, 1, *[""] * (3 + len(OUTCOMES))]
    coded = any("42731" in a.codes for a in p.admissions)
    died = any(a.died for a in p.admissions)
    row += [int(p.in_tables), int(coded), len(p.admissions), int(died)]
    return row + [int(p.planted[name]) for name in OUTCOMES]


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
