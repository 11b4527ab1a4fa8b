"""Beats and rates against annotators and monitors, on open recordings; prints the tables of ``docs/dataset.md``.

usage: benchmarks/beats.py DATA [--xqrs]

DATA holds the folders ``mitdb``, ``cpsc2021``, ``cinc2017`` (from PhysioNet) and ``bidmc-matched`` (BIDMC, repacked in
the matched layout with invented gaps, which the monitor's numerics run on without); what is absent is left out.
``--xqrs`` runs wfdb's detector on the same samples too (and a plain peak finder on the PPG), which takes minutes.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import wfdb
from numpy.typing import NDArray
from scipy.signal import find_peaks
from sklearn.metrics import roc_auc_score
from wfdb.processing import XQRS

from ecgconsole.config import Config
from ecgconsole.signals import beats, rhythm
from ecgconsole.signals.filtering import mirrored, rate_ratio, resample, spectrum
from ecgconsole.signals.headers import RecordHeader, read_record
from ecgconsole.signals.reading import read_channel
from ecgconsole.signals.rows import geometry_of
from ecgconsole.signals.windows import candidate_windows, extract

RATE_HZ, WINDOW_S, TOLERANCE_S, CLOSE_BPM = 125.0, 10.0, 0.15, 5.0
AGREE = 0.95
GEOMETRY = geometry_of(RATE_HZ, WINDOW_S, (0.5, 40.0), (0.5, 8.0))
BEAT_SYMBOLS = frozenset("NLRBAaJSVrFejnE/fQ?")
IRREGULARITY = ("rr_cv", "rmssd_normalised", "rr_irregular_share", "rr_entropy")
Detector = Callable[[NDArray[np.float32]], NDArray[np.float64]]


def ours(ecg: NDArray[np.float32]) -> NDArray[np.float64]:
    """R peaks of a whole recording in seconds, block by block as the dataset is built."""
    size = GEOMETRY.windows * GEOMETRY.samples
    starts = range(0, len(ecg), size)
    rows = np.stack([mirrored(ecg, a - GEOMETRY.context, a - GEOMETRY.context + GEOMETRY.n) for a in starts])
    found = beats.r_peaks(spectrum(rows), GEOMETRY.n, RATE_HZ)
    time_s = found.time_s - GEOMETRY.context / RATE_HZ
    inside = (time_s >= 0) & (time_s < size / RATE_HZ)
    time_s = (time_s + found.row * size / RATE_HZ)[inside]
    return time_s[time_s < len(ecg) / RATE_HZ]


def xqrs(ecg: NDArray[np.float32]) -> NDArray[np.float64]:
    detector = XQRS(sig=ecg.astype(float), fs=RATE_HZ)
    detector.detect(verbose=False)
    return np.asarray(detector.qrs_inds) / RATE_HZ


def peaks(ppg: NDArray[np.float32]) -> NDArray[np.float64]:
    """The plain way: maxima 0.4 s apart or more, that stand out by half of the standard deviation."""
    return find_peaks(ppg, distance=round(0.4 * RATE_HZ), prominence=ppg.std() / 2)[0] / RATE_HZ


@dataclass(frozen=True)
class Annotated:
    """A recording's ECG at the dataset's rate, its annotated beats, and the rhythm in force from each time on."""

    name: str
    ecg: NDArray[np.float32]
    beats_s: NDArray[np.float64]
    flutter_s: list[tuple[float, float]]
    rhythms: list[tuple[float, str]]

    def rhythm_of(self, start_s: float) -> str | None:
        """The rhythm of a window, None where it changes."""
        before = [r for s, r in self.rhythms if s <= start_s][-1:]
        inside = [r for s, r in self.rhythms if start_s < s < start_s + WINDOW_S]
        return before[0] if before and not inside else None


def ecg_of(root: Path, record: str, channels: tuple[str, ...]) -> NDArray[np.float32]:
    header = read_record(root, record)
    names = [s.name for s in header.segments[0].signals]
    channel = next(names.index(c) for c in channels if c in names)
    physical = read_channel(root, record, header.segments[0], channel).physical
    return resample(np.nan_to_num(physical), 0, rate_ratio(header.sampling_rate_hz, RATE_HZ))[0]


def annotated(root: Path, folder: str, channels: tuple[str, ...]) -> Iterator[Annotated]:
    for path in sorted((root / folder).glob("*.hea")):
        record = f"{folder}/{path.stem}"
        notes = wfdb.rdann(str(root / record), "atr")
        time_s = notes.sample / read_record(root, record).sampling_rate_hz
        symbols = np.array(notes.symbol)
        yield Annotated(
            name=path.stem,
            ecg=ecg_of(root, record, channels),
            beats_s=time_s[[s in BEAT_SYMBOLS for s in symbols]],
            flutter_s=list(zip(time_s[symbols == "["], time_s[symbols == "]"], strict=True)),
            rhythms=[
                (t, note.rstrip("\0")) for t, note in zip(time_s, notes.aux_note, strict=True) if note.startswith("(")
            ],
        )


def matched(found: NDArray[np.float64], truth: NDArray[np.float64]) -> int:
    """Beats that pair up within the tolerance, each used once, in time order."""
    i = j = pairs = 0
    while i < len(found) and j < len(truth):
        if abs(found[i] - truth[j]) <= TOLERANCE_S:
            pairs, i, j = pairs + 1, i + 1, j + 1
        elif found[i] < truth[j]:
            i += 1
        else:
            j += 1
    return pairs


def r_peak_table(recordings: list[Annotated], detect: Detector) -> tuple[float, float, int]:
    """Sensitivity, positive predictivity, annotated beats, over all recordings; flutter left out on both sides."""
    pairs = truths = founds = 0
    for one in recordings:
        truth, found = one.beats_s, detect(one.ecg)
        for start, stop in one.flutter_s:
            truth, found = (t[(t < start) | (t > stop)] for t in (truth, found))
        pairs, truths, founds = pairs + matched(found, truth), truths + len(truth), founds + len(found)
    return pairs / truths, pairs / founds, truths


def segments_a_second(recordings: list[Annotated]) -> float:
    """Segments for each second of processor time from samples to beats, transforms included; best of five rounds."""
    ours(recordings[0].ecg)  # what is computed once
    seconds = []
    for _ in range(5):
        began = time.process_time()
        for one in recordings:
            ours(one.ecg)
        seconds.append(time.process_time() - began)
    return sum(len(r.ecg) for r in recordings) / RATE_HZ / WINDOW_S / min(seconds)


def irregularity(ecg: NDArray[np.float32], time_s: NDArray[np.float64]) -> dict[str, NDArray[np.float32]]:
    """The dataset's irregularity columns of a recording's windows, from beats at ``time_s``."""
    n = int(len(ecg) / RATE_HZ / WINDOW_S)
    window = np.floor(time_s / WINDOW_S).astype(np.int64)
    rr = rhythm.intervals(window[window < n], time_s[window < n])
    none = rhythm.intervals(np.zeros(0, np.int64), np.zeros(0))
    columns = rhythm.rhythm(rr, none, n)
    return {name: columns[name] for name in IRREGULARITY}


def auroc(windows: list[tuple[dict[str, NDArray[np.float32]], NDArray[np.object_]]], positive: str, others: set[str]):
    """AUROC of each column for ``positive`` against ``others``; windows without enough beats count as most regular."""
    labels = np.concatenate([label for _, label in windows])
    wanted = np.isin(labels, [positive, *others])
    values = {name: np.concatenate([columns[name] for columns, _ in windows]) for name in IRREGULARITY}
    truth = labels[wanted] == positive
    filled = {name: np.where(np.isnan(v), np.nanmin(v), v)[wanted] for name, v in values.items()}
    return {name: roc_auc_score(truth, v) for name, v in filled.items()}, int(truth.sum()), int(wanted.sum())


def monitor_table(root: Path, others: bool) -> None:
    """Rates of ``bidmc-matched`` against the monitor's numerics; with ``others``, those of other detectors too."""
    settings = Config.model_validate({"data": {"require": "either"}})
    print(f"\nwithin {CLOSE_BPM:g} a minute of the monitor; apart: ECG and PPG agree with each other, not with it\n")
    print("| recording | windows | heart rate, ECG | pulse rate, PPG | apart |\n|---|---|---|---|---|")
    total, other = np.zeros(5), np.zeros(2)
    for path in sorted((root / "bidmc-matched").rglob("*n.hea")):
        record = str(path.relative_to(root))[:-5]
        header, numerics = read_record(root, record), read_record(root, record + "n").segments[0]
        names = [s.name for s in numerics.signals]
        monitor = [read_channel(root, record + "n", numerics, names.index(name)).physical for name in ("HR", "PULSE")]
        row = np.zeros(5)  # ECG windows, close; PPG windows, close; apart
        for batch in extract(root, header, candidate_windows(header, settings), settings):
            gaps_s = np.where(batch.start_sample < header.segments[0].stop_sample, 2, 14)
            first = np.rint(batch.start_seconds - gaps_s).astype(int)
            expected = [np.array([np.nanmedian(truth[a : a + 11]) for a in first]) for truth in monitor]
            valid = [batch.present[:, kind] & np.isfinite(expected[kind]) for kind in range(2)]
            rates = (batch.rhythm["heart_rate_bpm"], batch.rhythm["pulse_rate_bpm"])
            close = [np.abs(rate - e) <= CLOSE_BPM for rate, e in zip(rates, expected, strict=True)]
            for kind in range(2):
                row[2 * kind : 2 * kind + 2] += valid[kind].sum(), (valid[kind] & close[kind]).sum()
            agree = batch.rhythm["ecg_ppg_agreement"] >= AGREE
            row[4] += (valid[0] & valid[1] & agree & ~close[0] & ~close[1]).sum()
            if others:
                for kind, (name, detect) in enumerate((("II", xqrs), ("PLETH", peaks))):
                    rate = rates_of(root, header, name, detect, batch.window)
                    other[kind] += (valid[kind] & (np.abs(rate - expected[kind]) <= CLOSE_BPM)).sum()
        total += row
        print(_monitor_row(header.path.rpartition("/")[2][:7], row))
    print(_monitor_row("all", total))
    if others:
        shares = 100 * other / total[[0, 2]]
        print(f"| all, XQRS and `find_peaks` | {total[0]:.0f} | {shares[0]:.1f} % | {shares[1]:.1f} % | |")


def rates_of(
    root: Path, header: RecordHeader, name: str, detect: Detector, windows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Rate of each window from another detector, run over each WFDB segment as a whole."""
    time_s = []
    for segment in header.segments:
        names = [s.name for s in segment.signals]
        if name in names:
            physical = read_channel(root, header.path, segment, names.index(name)).physical
            time_s.append(detect(np.nan_to_num(physical)) + segment.start_sample / RATE_HZ)
    found = np.concatenate(time_s)
    n = int(windows.max()) + 1
    window = np.floor(found / WINDOW_S).astype(np.int64)
    rr = rhythm.intervals(window[window < n], found[window < n])
    return rhythm.rhythm(rr, rhythm.intervals(np.zeros(0, np.int64), np.zeros(0)), n)["heart_rate_bpm"][windows]


def _monitor_row(name: str, row: NDArray[np.float64]) -> str:
    return f"| {name} | {row[0]:.0f} | {100 * row[1] / row[0]:.1f} % | {100 * row[3] / row[2]:.1f} % | {row[4]:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--xqrs", action="store_true")
    arguments = parser.parse_args()
    detectors: dict[str, Detector] = {"ours": ours, "XQRS": xqrs} if arguments.xqrs else {"ours": ours}
    recordings = {
        folder: list(annotated(arguments.data, folder, channels))
        for folder, channels in (("mitdb", ("MLII",)), ("cpsc2021", ("II",)))
        if (arguments.data / folder).is_dir()
    }
    print("| R peaks | annotated beats | sensitivity | positive predictivity |\n|---|---|---|---|")
    for folder, of_folder in recordings.items():
        for name, detect in detectors.items():
            sensitivity, predictivity, n = r_peak_table(of_folder, detect)
            print(f"| {folder}, {name} | {n} | {100 * sensitivity:.2f} % | {100 * predictivity:.2f} % |")
    for folder, of_folder in recordings.items():
        print(
            f"\nR peaks of {folder}: {segments_a_second(of_folder):,.0f} segments of {WINDOW_S:g} s a second of a core"
        )
    print("\n| AUROC of atrial fibrillation, 10 s windows | AF of windows | " + " | ".join(IRREGULARITY) + " |")
    print("|---|---|" + "---|" * len(IRREGULARITY))
    for folder, of_folder in recordings.items():
        for name, beats_of in {
            **{n: _from(d) for n, d in detectors.items()},
            "annotators": lambda r: r.beats_s,
        }.items():
            windows = [(irregularity(r.ecg, beats_of(r)), labels_of(r)) for r in of_folder]
            others = {str(label) for _, labels in windows for label in labels} - {"(AFIB", "(AFL", ""}
            _print_auroc(f"{folder}, {name}", *auroc(windows, "(AFIB", others))
    if (arguments.data / "cinc2017").is_dir():
        with (arguments.data / "cinc2017" / "REFERENCE.csv").open() as file:
            labels = {row[0]: row[1] for row in csv.reader(file)}
        for name, detect in detectors.items():
            windows = []
            for record, label in labels.items():
                ecg = ecg_of(arguments.data, f"cinc2017/{record}", ("ECG",))
                columns = irregularity(ecg, detect(ecg))
                windows.append((columns, np.full(len(columns["rr_cv"]), label, object)))
            _print_auroc(f"cinc2017 A against N, {name}", *auroc(windows, "A", {"N"}))
            _print_auroc(f"cinc2017 A against N and O, {name}", *auroc(windows, "A", {"N", "O"}))
    if (arguments.data / "bidmc-matched").is_dir():
        monitor_table(arguments.data, arguments.xqrs)


def _from(detect: Detector) -> Callable[[Annotated], NDArray[np.float64]]:
    return lambda recording: detect(recording.ecg)


def labels_of(recording: Annotated) -> NDArray[np.object_]:
    """The rhythm of each window, empty where it changes or is not annotated."""
    n = int(len(recording.ecg) / RATE_HZ / WINDOW_S)
    return np.array([recording.rhythm_of(k * WINDOW_S) or "" for k in range(n)], object)


def _print_auroc(name: str, values: dict[str, float], positive: int, n: int) -> None:
    print(f"| {name} | {positive} of {n} | " + " | ".join(f"{v:.3f}" for v in values.values()) + " |")


if __name__ == "__main__":
    main()
