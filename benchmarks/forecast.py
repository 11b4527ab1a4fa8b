"""How near the forecast of a build comes to what it gives and takes; prints the table of ``docs/sizing.md``.

usage: benchmarks/forecast.py DATA [--cohorts DIR] [--workers 2] [--rounds 1] [--only NAME]

DATA holds ``bidmc-matched`` and ``cinc2017``; synthetic cohorts are made in DIR, or taken from it where they are. Each
cohort is built by ``ecgconsole build``, which says at its end what it had foretold and what came. Seconds are from the
first recording to the last byte: of all processors together (``cpu``), which hold on a busy machine too, and by the
clock (``time``), foretold for a machine on which nobody else is at work.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from ecgconsole.synth import synthesise

FIGURES = ("segments", "bytes", "memory_bytes", "cpu_seconds", "seconds")


class Cohort(NamedTuple):
    """A folder of DATA, or people by hours to be made; and the settings that differ from the defaults."""

    name: str
    folder: str | None
    patients: int
    hours: float
    settings: tuple[str, ...]
    tables: bool = False


COHORTS = (
    Cohort("30 people by 8 minutes, 16 bits", "bidmc-matched", 0, 0, ()),
    Cohort(
        "1,491 people by half a minute, ECG alone",
        "cinc2017",
        0,
        0,
        ("data.require=ecg", "build.min_segments_per_patient=1"),
    ),
    Cohort("6 people by 24 hours, every window", None, 6, 24, ("build.max_segments_per_patient=null",)),
    Cohort("6 people by 24 hours, 1,000 windows each", None, 6, 24, ()),
    Cohort("60 people by 2 hours, with tables", None, 60, 2, (), tables=True),
)


def foretold(cohort: Cohort, data: Path, cohorts: Path, output: Path, workers: int) -> dict[str, Any]:
    """The build's last ``forecast`` event: what was foretold, and what came."""
    if cohort.folder is not None:
        waveforms = data / cohort.folder
    else:
        made = cohorts / f"{cohort.patients} by {cohort.hours:g}"
        if not (made / "synth.json").exists():
            synthesise(made, patients=cohort.patients, hours=cohort.hours, seed=1, workers=2)
        waveforms = made / "waveforms"
    tables = (f"data.clinical_dir={waveforms.parent / 'clinical'}",) if cohort.tables else ()
    settings = (f"data.waveform_dir={waveforms}", f"build.num_workers={workers}", *tables, *cohort.settings)
    command = [sys.executable, "-m", "ecgconsole", "build", "-o", str(output), "--output", "json"]
    command += [a for s in settings for a in ("--set", s)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the build of {cohort.name} ended with {done.returncode}: {done.stderr}")
    *_, last = [e for e in map(json.loads, done.stdout.splitlines()) if e["kind"] == "forecast"]
    return dict(last)


def cell(event: dict[str, Any], figure: str) -> str:
    was, came = event[figure], event[f"actual_{figure}"]
    if came is None:
        return "-"
    scale, unit, digits = {"bytes": (1e6, " MB", 1), "memory_bytes": (1e6, " MB", 0), "segments": (1, "", 0)}.get(
        figure, (1, " s", 1)
    )
    return f"{was / scale:,.{digits}f} / {came / scale:,.{digits}f}{unit} ({100 * (was / came - 1):+.0f} %)"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--cohorts", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    print("| cohort (foretold / came) | segments | dataset | memory | cpu | time |\n|---|---|---|---|---|---|")
    worst = dict.fromkeys(FIGURES, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        for cohort in (c for c in COHORTS if arguments.only in c.name):
            for n in range(arguments.rounds):
                output = Path(folder) / f"{cohort.name} {n}"
                event = foretold(cohort, arguments.data, arguments.cohorts or Path(folder), output, arguments.workers)
                print(f"| {cohort.name} | {' | '.join(cell(event, f) for f in FIGURES)} |", flush=True)
                for figure in FIGURES:
                    came = event[f"actual_{figure}"]
                    if came:
                        worst[figure] = max(worst[figure], abs(event[figure] / came - 1))
    print("\nworst: " + ", ".join(f"{figure} {100 * off:.0f} %" for figure, off in worst.items()))


if __name__ == "__main__":
    main()
