"""Does the irregularity of atrial fibrillation survive the build? Against XQRS and annotators, on the same windows."""

from __future__ import annotations

import csv
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from ecgconsole.config import Config
from ecgconsole.signals.headers import read_record
from ecgconsole.signals.windows import candidate_windows, extract

Columns = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """``benchmarks/beats.py``, whose detectors and tables the documentation shows."""
    path = Path(__file__).parents[2] / "benchmarks" / "beats.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_beats", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def built(root: Path, record: str, config: Config) -> tuple[NDArray[np.int64], Columns]:
    """Numbers of the windows that the build keeps, and their rhythm columns."""
    header = read_record(root, record)
    batches = list(extract(root, header, candidate_windows(header, config), config))
    kept = [batch.reason == 0 for batch in batches]
    numbers = np.concatenate([b.window[k] for b, k in zip(batches, kept, strict=True)] or [np.zeros(0, np.int64)])
    if not len(numbers):
        return numbers, {}
    return numbers, {
        name: np.concatenate([b.rhythm[name][k] for b, k in zip(batches, kept, strict=True)])
        for name in batches[0].rhythm
    }


@pytest.mark.slow
def test_stored_irregularity_tells_fibrillation_no_worse_than_xqrs_does(
    real_data: Path, config: Callable[..., Config], benchmark: ModuleType
) -> None:
    """``rr_entropy`` and thresholds were chosen on mitdb and cinc2017; cpsc2021 was looked at once."""
    tasks: dict[str, tuple[list, list, str, set[str] | None]] = {}

    def add(task: str, record: str, ecg: NDArray, labels: NDArray, channels: tuple[str, ...], positive: str, against):
        settings = config(data={"require": "ecg", "ecg_channels": channels})
        numbers, columns = built(real_data, record, settings)
        numbers, inside = numbers[numbers < len(labels)], numbers < len(labels)
        if not len(numbers):
            return
        other = benchmark.irregularity(ecg, benchmark.xqrs(ecg))
        ours, theirs, _, _ = tasks.setdefault(task, ([], [], positive, against))
        ours.append(({n: columns[n][inside] for n in benchmark.IRREGULARITY}, labels[numbers]))
        theirs.append(({n: other[n][numbers] for n in benchmark.IRREGULARITY}, labels[numbers]))

    for folder, channels in (("mitdb", ("MLII",)), ("cpsc2021", ("II",))):
        for one in benchmark.annotated(real_data, folder, channels):
            add(folder, f"{folder}/{one.name}", one.ecg, benchmark.labels_of(one), channels, "(AFIB", None)
    with (real_data / "cinc2017" / "REFERENCE.csv").open() as file:
        reference = {row[0]: row[1] for row in csv.reader(file)}
    for record, label in reference.items():
        ecg = benchmark.ecg_of(real_data, f"cinc2017/{record}", ("ECG",))
        labels = np.full(int(len(ecg) / 1250), label, object)
        add("cinc2017", f"cinc2017/{record}", ecg, labels, ("ECG",), "A", {"N", "O"})

    least = {"mitdb": 0.95, "cpsc2021": 0.97, "cinc2017": 0.91}
    for task, (ours, theirs, positive, against) in tasks.items():
        present = {str(label) for _, labels in ours for label in labels}
        others = against or present - {positive, "(AFL", ""}
        (ours_by, n_positive, n), (theirs_by, *same) = (benchmark.auroc(w, positive, others) for w in (ours, theirs))
        assert [n_positive, n] == same
        assert n_positive > 100
        assert ours_by["rr_entropy"] >= max(theirs_by.values()), (task, ours_by, theirs_by)
        assert ours_by["rr_entropy"] >= least[task], (task, ours_by)
