"""Whether training without labels learns rhythm: linear probes of the frozen network on annotated recordings.

usage: benchmarks/rhythm_probe.py OUT [--data ../shared/data] [--config configs/rhythm.json] [--set KEY=VALUE ...]
                                      [--pretrain DIR ...] [--probe-train DIR ...] [--probe-test DIR ...]
                                      [--patient-map CSV] [--people all|choice] [--without training.weight_rhythm=0 ...]

Builds a dataset from the ``--pretrain`` folders, trains on it without labels through the stages of ecgconsole, and
fits logistic regressions to the embeddings of the ``--probe-train`` folders: CinC 2017 style (``REFERENCE.csv``), or
with rhythm and beats in ``.atr`` files. ``--probe-test`` folders are scored once; the default, the same folders, is
scored out of fold, people kept together. By default all folders come from ``--data``. What OUT already holds is not
done again: a training that was stopped goes on.

``--people choice`` looks at no person of the pretraining's test split: for choosing settings. ``--without`` trains a
second time with these settings and reports it beside the first.

Beside the frozen network: the same untrained, a logistic regression on the dataset's rhythm columns, and both joined,
on the same windows. Prints tables, and leaves ``scores.json`` in OUT.
"""

# ruff: noqa: I001 - ecgconsole.training first: it tells OpenMP how to wait, which torch reads when it is imported.

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ecgconsole.training  # noqa: F401
import numpy as np
import torch
from numpy.typing import NDArray
from rhythm_data import Task, Windows, joined_folder, read_windows, rhythm_features, tasks_of, write_patient_map
from rhythm_scores import Examples, Figure, area, difference, fitted, neighbours_alike, out_of_fold
from rhythm_scores import recording_means, same_share

from ecgconsole.dataset import Dataset
from ecgconsole.training import train
from ecgconsole.training.checkpoints import Saved, load
from ecgconsole.training.embed import model_of
from ecgconsole.training.encoder import Model
from ecgconsole.workspace import Workspace

PRETRAIN = ("cinc2017", "mitdb", "cpsc2021", "cinc2015", "bidmc-matched")
PROBE = ("cinc2017", "mitdb", "cpsc2021")
FROZEN, WITHOUT, UNTRAINED, RHYTHM, JOINED = "frozen", "frozen, without", "untrained", "rhythm columns", "joined"
_PIECE = 256


@dataclass(frozen=True)
class Material:
    """Windows of the probe folders with the features of each kind, (n, d); ``unseen``: person not pretrained on."""

    windows: Windows
    features: dict[str, NDArray[np.float32]]
    unseen: NDArray[np.bool_]
    testing: NDArray[np.bool_]


def stage(name: str, out: Path, config: Path, settings: Sequence[str]) -> None:
    """A stage of ecgconsole, as a user runs it; done stages are skipped."""
    command = [sys.executable, "-m", "ecgconsole", name, "-o", str(out), "-c", str(config), "--output", "plain"]
    command += [part for setting in settings for part in ("--set", setting)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def built(folders: Sequence[Path], out: Path, args: argparse.Namespace) -> list[str]:
    """Builds a dataset of all ``folders`` in ``out``; returns the settings that it was built with."""
    out.mkdir(parents=True, exist_ok=True)
    root = joined_folder(folders, out / "recordings")
    people = write_patient_map(folders, args.patient_map, out / "people.csv")
    settings = [f"data.waveform_dir={root}", f"data.patient_map={people}", *args.set]
    stage("build", out, args.config, settings)
    return settings


def trained(out: Path, dataset: Path, settings: Sequence[str], args: argparse.Namespace) -> Saved:
    """The checkpoint of the last epoch of a training on ``dataset``: no label chooses it, nor any other figure."""
    workspace = Workspace(out)
    if out != dataset.parent:
        out.mkdir(parents=True, exist_ok=True)
        workspace.dataset.unlink(missing_ok=True)
        workspace.dataset.symlink_to(dataset.resolve())
    stage("train", out, args.config, settings)
    return load(workspace.latest_checkpoint)


@torch.no_grad()
def ecg_embeddings(model: Model, dataset: Dataset) -> NDArray[np.float32]:
    """(N, D) from the ECG of every segment."""
    encoder = model.eval().encoders[0]
    pieces = (slice(low, low + _PIECE) for low in range(0, dataset.n_segments, _PIECE))
    ecg = (torch.from_numpy(dataset.physical(piece)[:, 0]) for piece in pieces)
    return np.concatenate([model.finished(encoder(x)).numpy() for x in ecg])


def cached_embeddings(saved: Saved, untrained: bool, dataset: Dataset, folder: Path) -> NDArray[np.float32]:
    """As ``ecg_embeddings``, kept in a file that is named by what made it."""
    kind = f"untrained_{saved.sidecar.sha256[:16]}" if untrained else saved.sidecar.sha256[:16]
    path = folder / f"{dataset.content_sha256[:16]}_{kind}.npy"
    if not path.is_file():
        model = train.new_model(saved.contents["architecture"], 0) if untrained else model_of(saved)
        folder.mkdir(exist_ok=True)
        np.save(path, ecg_embeddings(model, dataset))
    return np.asarray(np.load(path))


def examples_of(task: Task, material: Material, kind: str, keep: NDArray[np.bool_]) -> Examples:
    """What the probe of a task is fitted to, or scored on: those of its rows that ``keep`` (N,)."""
    chosen = keep[task.rows]
    rows, positive = task.rows[chosen], task.positive[chosen]
    windows, features = material.windows, material.features[kind][rows]
    if task.by_recording:
        return recording_means(features, positive, windows.person[rows], windows.record[rows])
    return Examples(features, positive, windows.person[rows])


def scores_of(
    task: Task, material: Material, fit_on: NDArray[np.bool_], score_on: NDArray[np.bool_]
) -> tuple[dict[str, NDArray[np.float64]], Examples]:
    """A score an example by each kind of features. Out of fold where both are the same, else fitted once."""
    scores = {}
    for kind in material.features:
        blocks = [material.features[k].shape[1] for k in ((FROZEN, RHYTHM) if kind == JOINED else (kind,))]
        tested = examples_of(task, material, kind, score_on)
        if np.array_equal(fit_on, score_on):
            scores[kind] = out_of_fold(tested, blocks)
        else:
            model = fitted(examples_of(task, material, kind, fit_on), blocks)
            scores[kind] = model.decision_function(tested.features)
    return scores, tested


def table(
    title: str, tasks: list[Task], material: Material, fit_on: NDArray, score_on: NDArray
) -> list[dict[str, Any]]:
    """Prints one table, a row a task; returns it."""
    kinds = list(material.features)
    print(f"\n{title}\n\n| task | positive, negative | {' | '.join(kinds)} | frozen - rhythm columns |")
    print("|---" * (len(kinds) + 3) + "|")
    rows = []
    for task in tasks:
        inside = task.positive[score_on[task.rows]]
        if not 0 < inside.sum() < len(inside):
            continue
        scores, tested = scores_of(task, material, fit_on, score_on)
        figures: dict[str, Figure] = {kind: area(tested, score) for kind, score in scores.items()}
        gain = difference(tested, scores[FROZEN], scores[RHYTHM])
        n, people = tested.positive, tested.person
        counts = " and ".join(
            f"{int(c.sum())} ({len(np.unique(people[c]))} people)" for c in (tested.positive, ~tested.positive)
        )
        print(f"| {task.name} | {counts} | {' | '.join(str(figures[k]) for k in kinds)} | {gain} |", flush=True)
        plain = {kind: vars(figure) for kind, figure in figures.items()}
        rows.append({"task": task.name, "examples": len(n), "auroc": plain, "gain": vars(gain)})
    return rows


def neighbours(material: Material, keep: NDArray[np.bool_]) -> dict[str, Any]:
    """Prints and returns who is nearest to whom among the windows of graded recordings."""
    windows = material.windows
    at = np.flatnonzero(keep & (windows.label != ""))
    if not len(at):
        return {}
    found: dict[str, Any] = {}
    print("\n| network | nearest window is of the same recording | AF among the 10 nearest of other people (chance) |")
    print("|---|---|---|")
    for kind in (k for k in (FROZEN, WITHOUT, UNTRAINED) if k in material.features):
        embeddings = material.features[kind][at]
        same = same_share(embeddings, windows.record[at])
        alike, chance = neighbours_alike(embeddings, windows.person[at], windows.label[at] == "A")
        found[kind] = {"same_recording": same, "af_neighbours": alike, "chance": chance}
        print(f"| {kind} | {same:.3f} | {alike:.3f} ({chance:.3f}) |", flush=True)
    return found


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).resolve().parent.parent
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=root.parent / "shared" / "data")
    parser.add_argument("--config", type=Path, default=root / "configs" / "rhythm.json")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--pretrain", type=Path, nargs="+")
    parser.add_argument("--probe-train", type=Path, nargs="+")
    parser.add_argument("--probe-test", type=Path, nargs="+")
    parser.add_argument("--patient-map", type=Path)
    parser.add_argument("--people", choices=("all", "choice"), default="all")
    parser.add_argument("--without", nargs="*", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    args.pretrain = args.pretrain or [args.data / name for name in PRETRAIN]
    args.probe_train = args.probe_train or [args.data / name for name in PROBE]
    args.out = args.out.resolve()
    return args


def material_of(args: argparse.Namespace) -> tuple[Material, list[Saved]]:
    """Everything built, trained and embedded."""
    pretraining, probing = args.out / "pretrain", args.out / "probe"
    settings = built(args.pretrain, pretraining, args)
    tested = [f for f in args.probe_test or [] if f not in args.probe_train]
    built([*args.probe_train, *tested], probing, args)
    dataset_file = Workspace(pretraining).dataset
    saved = {FROZEN: trained(pretraining, dataset_file, settings, args)}
    if args.without:
        saved[WITHOUT] = trained(args.out / "without", dataset_file, [*settings, *args.without], args)
    with Dataset(dataset_file) as dataset:
        split = dict(zip(dataset.column("segment/record").tolist(), dataset.split.tolist(), strict=True))
    cache = args.out / "embeddings"
    with Dataset(Workspace(probing).dataset) as dataset:
        windows = read_windows(dataset, probing / "recordings")
        features = {kind: cached_embeddings(one, False, dataset, cache) for kind, one in saved.items()}
        features[UNTRAINED] = cached_embeddings(saved[FROZEN], True, dataset, cache)
        features[RHYTHM] = rhythm_features(dataset)
    features[JOINED] = np.concatenate((features[FROZEN], features[RHYTHM]), axis=1)
    unseen = np.array([split.get(record, "test") == "test" for record in windows.record])
    testing = np.isin(windows.folder, [f.name for f in args.probe_test or args.probe_train])
    return Material(windows, features, unseen, testing), list(saved.values())


def main() -> None:
    args = parsed()
    material, saved = material_of(args)
    for one in saved:
        progress, parameters = one.progress, sum(p.numel() for p in model_of(one).encoders[0].parameters())
        print(
            f"{one.path}: {parameters} parameters, {progress.step} steps in {progress.seconds / 60:.1f} minutes; "
            f"torch {version('torch')}, {torch.get_num_threads()} threads",
        )
    tasks = tasks_of(material.windows)
    training = np.isin(material.windows.folder, [f.name for f in args.probe_train])
    choice = args.people == "choice"
    keep = training & ~material.unseen if choice else training
    result: dict[str, Any] = {}
    if args.probe_test and not choice:
        result["other folders"] = table("Fitted once, other folders:", tasks, material, training, material.testing)
    else:
        title = "People of the choice of settings, out of fold:" if choice else "All people, out of fold:"
        result["out of fold"] = table(title, tasks, material, keep, keep)
    if not choice and (training & material.unseen).any():
        title = "People unseen in pretraining and by --people choice, fitted to the others:"
        result["unseen"] = table(title, tasks, material, training & ~material.unseen, training & material.unseen)
    result["neighbours"] = neighbours(material, keep)
    (args.out / "scores.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
