"""Which rhythms the patterns of annotated recordings hold, on people who neither trained nor named them.

    .venv/bin/python benchmarks/real_rhythm_findings.py --data FOLDER --out DIR

FOLDER holds ``mitdb``, ``cinc2017`` and ``cpsc2021``. Build, train, embed and discover run in DIR on the
ECG alone, with the annotations as charted rhythm (``discovery.rhythm_file``); ``--columns`` clusters the
dataset's rhythm columns instead of an encoder's embeddings. Half of the people train, a tenth validates,
the rest tests, in equal shares of each kind of recording. A person of MIT-BIH has 180 windows, one of CinC
2017 three: discover sees at most 30 a person. What is there already (dataset, embeddings) is not made again.

A 10 s window is fibrillation if most of it is annotated so (flutter likewise), else ventricular ectopy
if it holds a ventricular beat, else sinus or another rhythm. CinC 2017 says one rhythm a recording and
nothing of single beats, so ectopy is asked of the other two alone.

A pattern is taken for a rhythm if training people have it there twice as often as elsewhere; the figures
beside it are of people who neither trained nor chose: lift with an interval over people, and the odds ratio
of showing the pattern (one window and 5 % of theirs) between people with and without the rhythm.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import wfdb

from ecgconsole.config import Config
from ecgconsole.dataset import Dataset, build
from ecgconsole.dataset.split import assign
from ecgconsole.findings import discover
from ecgconsole.findings.enrichment import fisher_odds_ratio, tables
from ecgconsole.findings.exposure import exposed
from ecgconsole.findings.profile import segment_counts
from ecgconsole.findings.rhythm import held_out_enrichment, read_intervals
from ecgconsole.signals.rhythm import RHYTHM_COLUMNS
from ecgconsole.stage import Reporter, Stop
from ecgconsole.training import embed, train
from ecgconsole.workspace import Workspace

FIBRILLATION, ECTOPY, SINUS, OTHER = "atrial_fibrillation", "ventricular_ectopy", "sinus", "other"
OF_AUX = {"(AFIB": FIBRILLATION, "(AFL": "atrial_flutter", "(N": SINUS}
OF_CINC = {"A": FIBRILLATION, "N": SINUS, "O": OTHER}
VENTRICULAR = ("V", "E")
SAME_PERSON = {"202": "201"}
WINDOW_S = 10.0
# Short recordings: a CinC recording has three windows, so one in the pattern is exposure.
EXPOSURE_SHARE, EXPOSURE_SEGMENTS = 0.05, 1
WINDOWS_A_PERSON = 30
ENRICHED = 2.0


@dataclass(frozen=True)
class Recording:
    """``kind``: what splits are balanced over. ``windows``: rhythm of each 10 s window, None where not known."""

    record: str
    person: str
    kind: str
    windows: list[str | None]


def annotated(folder: Path, record: str, before: str) -> list[str | None]:
    """Rhythm of each window by beat and rhythm annotations; ``before`` holds until the first of these."""
    header, marks = wfdb.rdheader(str(folder / record)), wfdb.rdann(str(folder / record), "atr")
    times = marks.sample / header.fs
    notes = [note.strip("\0") for note in marks.aux_note]
    changes = [(0.0, before)]
    changes += [(t, OF_AUX.get(n, OTHER)) for t, n in zip(times, notes, strict=True) if n.startswith("(")]
    borders = np.array([t for t, _ in changes] + [header.sig_len / header.fs])
    ventricular = times[np.isin(marks.symbol, VENTRICULAR)]
    found: list[str | None] = []
    for start in np.arange(int(borders[-1] / WINDOW_S)) * WINDOW_S:
        covered = np.minimum(borders[1:], start + WINDOW_S) - np.maximum(borders[:-1], start)
        longest = changes[int(np.argmax(covered))][1]
        beats = ((ventricular >= start) & (ventricular < start + WINDOW_S)).any()
        found.append(longest if longest in (FIBRILLATION, "atrial_flutter") or not beats else ECTOPY)
    return found


def recordings(data: Path) -> Iterator[Recording]:
    for path in sorted((data / "mitdb").glob("*.hea")):
        windows = annotated(path.parent, path.stem, SINUS)
        kind = FIBRILLATION if FIBRILLATION in windows else ECTOPY if windows.count(ECTOPY) > 10 else SINUS
        yield Recording(
            f"mitdb/{path.stem}", f"mitdb-{SAME_PERSON.get(path.stem, path.stem)}", f"mitdb {kind}", windows
        )
    for path in sorted((data / "cpsc2021").glob("*.hea")):
        kind = wfdb.rdheader(str(path.with_suffix(""))).comments[0]
        yield Recording(
            f"cpsc2021/{path.stem}",
            f"cpsc-{path.stem.split('_')[1]}",
            f"cpsc {kind}",
            annotated(path.parent, path.stem, FIBRILLATION if kind.startswith("persistent") else SINUS),
        )
    for record, label in csv.reader((data / "cinc2017" / "REFERENCE.csv").open()):
        header = wfdb.rdheader(str(data / "cinc2017" / record))
        windows = [OF_CINC.get(label)] * int(header.sig_len / header.fs / WINDOW_S)
        yield Recording(f"cinc2017/{record}", f"cinc-{record}", f"cinc {label}", windows)


def prepare(data: Path, out: Path) -> None:
    """Links to the recordings; who is whom, who trains, and the rhythm of each window, as CSV files."""
    found = list(recordings(data))
    (out / "recordings").mkdir(parents=True, exist_ok=True)
    for name in ("mitdb", "cpsc2021", "cinc2017"):
        link = out / "recordings" / name
        if not link.exists():
            link.symlink_to((data / name).resolve())
    kind_of = {r.person: r.kind for r in found}
    people = sorted(kind_of)
    stratum = np.unique([kind_of[p] for p in people], return_inverse=True)[1]
    split = dict(zip(people, assign(people, stratum, (0.5, 0.1, 0.4), 0), strict=True))
    pd.DataFrame([(r.record, r.person) for r in found], columns=["record", "patient"]).to_csv(
        out / "people.csv", index=False
    )
    pd.DataFrame(sorted(split.items()), columns=["patient", "split"]).to_csv(out / "split.csv", index=False)
    rows = [
        (r.record, i * WINDOW_S, (i + 1) * WINDOW_S, name)
        for r in found
        for i, name in enumerate(r.windows)
        if name is not None
    ]
    columns = ["record", "start_seconds", "end_seconds", "rhythm"]
    pd.DataFrame(rows, columns=columns).to_csv(out / "rhythm.csv", index=False)


def configuration(out: Path, preset: Path, epochs: int) -> Config:
    chosen: dict[str, Any] = json.loads(preset.read_text())
    for section, values in {
        "data": {
            "waveform_dir": str(out / "recordings"),
            "layout": "wfdb",
            "require": "ecg",
            "patient_map": str(out / "people.csv"),
        },
        "build": {"min_segments_per_patient": 1},
        "split": {"file": str(out / "split.csv")},
        "training": {"num_epochs": epochs, "max_minutes": None, "negative_gap_seconds": 30},
        "discovery": {"rhythm_file": str(out / "rhythm.csv")},
    }.items():
        chosen[section] = {**chosen.get(section, {}), **values}
    return Config.model_validate_json(json.dumps(chosen))


def embed_columns(source: Workspace, target: Workspace) -> None:
    """The dataset's rhythm columns, standardised, in place of an encoder's embeddings."""
    with Dataset(source.dataset) as dataset:
        columns = np.stack([dataset.column(f"rhythm/{c.name}") for c in RHYTHM_COLUMNS], axis=1)
        columns = columns[:, np.isfinite(columns).any(axis=0)]
        x = (columns - np.nanmean(columns, axis=0)) / np.maximum(np.nanstd(columns, axis=0), 1e-9)
        x = np.clip(np.nan_to_num(x), -5, 5).astype(np.float32)
    for split in ("train", "val", "test"):
        with np.load(source.embeddings(split), allow_pickle=False) as file:
            write_embeddings(target, split, {**file, "embeddings": x[file["segment_index"]]})


def write_embeddings(workspace: Workspace, split: str, arrays: dict[str, np.ndarray]) -> None:
    """At most ``WINDOWS_A_PERSON`` windows of each person, spread evenly over theirs."""
    kept: list[int] = []
    for person in np.unique(arrays["patient_id"]):
        rows = np.flatnonzero(arrays["patient_id"] == person)
        kept += rows[np.unique(np.linspace(0, len(rows) - 1, WINDOWS_A_PERSON).round().astype(int))].tolist()
    workspace.embeddings(split).parent.mkdir(parents=True, exist_ok=True)
    np.savez(workspace.embeddings(split), **{name: array[np.sort(kept)] for name, array in arrays.items()})


def show(out: Path, workspace: Workspace) -> None:
    """For each rhythm, the patterns in which training people have it twice as often; then what others say of them."""
    report = json.loads(workspace.patterns.read_text())
    assigned = pd.read_parquet(workspace.assignments)
    with Dataset(workspace.dataset) as dataset:
        where = pd.DataFrame(
            {"record": dataset.column("segment/record"), "start_seconds": dataset.column("segment/start_seconds")}
        ).iloc[assigned["segment_index"]]
    assigned["rhythm"] = where.merge(read_intervals(out / "rhythm.csv"), how="left")["rhythm"].to_numpy()
    assigned["beats"] = ~where["record"].str.startswith("cinc2017").to_numpy()
    people = ", ".join(f"{n} {split}" for split, n in report["patients"].items())
    print(f"\n{report['segments']:,} windows of people: {people}; {report['selection']['k']} patterns\n")
    print(
        "| rhythm | pattern | class | training: lift | held out: people (with it) | share, lift (95 %) | odds ratio |"
    )
    print("|---|---|---|---|---|---|---|")
    for rhythm, known in ((FIBRILLATION, assigned["rhythm"].notna()), (ECTOPY, assigned["beats"])):
        table = assigned[known & assigned["rhythm"].notna()]
        train = table[table["split"] == "train"]
        share = (train["rhythm"] == rhythm).groupby(train["pattern"]).mean()
        lifts = share / (train["rhythm"] == rhythm).mean()
        enriched = [int(j) for j in lifts.index[lifts >= ENRICHED]]
        base = (table.loc[table["split"] != "train", "rhythm"] == rhythm).mean()
        if not enriched:
            print(f"| {rhythm} ({base:.0%}) | none | | below {ENRICHED:g} | | | |")
        for ids in [*([j] for j in enriched), *([enriched] if len(enriched) > 1 else [])]:
            title, kind = (ids[0], report["patterns"][ids[0]]["class"]) if len(ids) == 1 else ("together", "")
            inside = train["pattern"].isin(ids)
            lift = (train.loc[inside, "rhythm"] == rhythm).mean() / (train["rhythm"] == rhythm).mean()
            print(f"| {rhythm} ({base:.0%}) | {title} | {kind} | {lift:.1f} | {held_out_row(table, ids, rhythm)} |")


def held_out_row(table: pd.DataFrame, patterns: list[int], rhythm: str) -> str:
    held = table[table["split"] != "train"]
    person, people = pd.factorize(held["patient_id"].astype(str), sort=True)
    inside, of_rhythm = held["pattern"].isin(patterns).to_numpy(), (held["rhythm"] == rhythm).to_numpy()
    found = held_out_enrichment(inside, of_rhythm, person, 2000, np.random.default_rng(0))
    counts = segment_counts((~inside).astype(int), person, 2, len(people))
    shown = exposed(counts, EXPOSURE_SHARE, EXPOSURE_SEGMENTS)[:, :1]
    has = (np.bincount(person[of_rhythm], minlength=len(people)) > 0).astype(float)[:, None]
    ratio, low, high = fisher_odds_ratio(tables(shown, has)[:, 0, 0])
    return (
        f"{found['people']} of {len(people)} ({found['people_with_rhythm']}) | "
        f"{found['share']:.2f}, {found['lift']:.1f} ({found['ci_low']:.1f} to {found['ci_high']:.1f}) | "
        f"{ratio:.1f} ({low:.1f} to {high:.1f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path(__file__).parents[1] / "configs" / "demo.json")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--columns", action="store_true", help="cluster the rhythm columns instead of embeddings")
    options = parser.parse_args()
    out = options.out.resolve()
    workspace = Workspace(out / "output")
    balanced = Workspace(out / ("columns" if options.columns else "balanced"))
    if not (out / "rhythm.csv").exists():
        prepare(options.data, out)
    config = configuration(out, options.config, options.epochs)

    def emit(event: dict[str, Any]) -> None:
        if event["kind"] == "metric" and event["values"].get("val_loss") is not None:
            print(event["epoch"], {k: round(v, 3) for k, v in event["values"].items() if v is not None}, flush=True)

    def stage(run: Any, target: Workspace) -> None:
        started = time.monotonic()
        run(config, target, Reporter("benchmark", emit), Stop())
        print(f"{run.__module__}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)

    if not workspace.dataset.exists():
        stage(build.run, workspace)
    if not workspace.embeddings("test").exists():
        stage(train.run, workspace)
        stage(embed.run, workspace)
    balanced.folder.mkdir(exist_ok=True)
    if not balanced.dataset.exists():
        balanced.dataset.symlink_to(workspace.dataset)
    if options.columns:
        embed_columns(workspace, balanced)
    else:
        for split in ("train", "val", "test"):
            with np.load(workspace.embeddings(split), allow_pickle=False) as file:
                write_embeddings(balanced, split, dict(file))
    stage(discover.run, balanced)
    show(out, balanced)


if __name__ == "__main__":
    main()
