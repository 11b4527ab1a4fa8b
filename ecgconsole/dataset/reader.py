"""Reading ``full_dataset.h5``: by row, by patient, by block, as stored, in physical units, as tensors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgconsole.dataset.layout import FORMAT_VERSION
from ecgconsole.dataset.storage import RowsReader, content_sha256, dataset_paths, opened
from ecgconsole.errors import InputError

if TYPE_CHECKING:
    import torch

MAXIMUM_SAMPLES = 1 << 18
COLUMNS = ("segment/patient_id", "segment/record", "segment/start_seconds", "segment/split")


class Dataset:
    """An open dataset, read-only. Rows are segments; channel 0 is ECG (mV), 1 is PPG (NU).

    ``with Dataset("full_dataset.h5") as dataset: dataset.physical(slice(0, 64))``

    Raises ``InputError`` where the file is absent, is no dataset of this format, or is damaged where it is read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._opened = opened(self.path)
        self._file = self._opened.__enter__()
        try:
            self._check()
        except BaseException:
            self.close()
            raise
        self._signal = RowsReader(self._file["signal"])
        self.n_segments = self._signal.n_rows
        self.segment_samples = self._signal.tail[1]
        self.sampling_rate_hz = float(self._file.attrs["sampling_rate_hz"])
        self.content_sha256 = str(self._file.attrs["content_sha256"])

    def __enter__(self) -> Dataset:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self.n_segments

    def close(self) -> None:
        self._opened.__exit__(None, None, None)

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """The sections of the configuration that made this file."""
        return dict(json.loads(self._file.attrs["parameters"]))

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """All attributes of the file, JSON decoded."""
        return {name: _attribute(value) for name, value in self._file.attrs.items()}

    @cached_property
    def column_names(self) -> list[str]:
        """``segment/record``, ``rhythm/rr_cv``, ...: every column with one row a segment, but the signal."""
        names = (path.removeprefix("/") for path in dataset_paths(self._file))
        return [n for n in names if n != "signal" and not n.startswith("patient/")]

    @cached_property
    def patient_id(self) -> np.ndarray:
        """(N,) str."""
        return self.column("segment/patient_id")

    @cached_property
    def split(self) -> np.ndarray:
        """(N,) str: train, val or test."""
        return self.column("segment/split")

    @cached_property
    def present(self) -> np.ndarray:
        """(N, 2) bool: which signals a segment has."""
        return self.column("present")

    @cached_property
    def scale(self) -> np.ndarray:
        """(N, 2) float32: physical = signal × scale."""
        return self.column("scale")

    @cached_property
    def patients(self) -> dict[str, np.ndarray]:
        """The group ``/patient``: one entry a patient in each array (``id``, ``split``, ``row_start``, ...)."""
        paths = [p for p in dataset_paths(self._file) if p.startswith("/patient/")]
        return {p.removeprefix("/patient/"): self.column(p) for p in paths}

    def column(self, path: str, rows: slice = slice(None)) -> np.ndarray:
        """A column, (N, ...), or neighbouring rows of it; texts as str. Raises ``KeyError`` where there is none."""
        reader = RowsReader(self._file[path])
        start, stop, _ = rows.indices(reader.n_rows)
        values = reader.slice(start, stop)
        return np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values

    def rows_of(self, patient_id: str) -> slice:
        """Rows of one patient. Raises ``KeyError`` for a patient who is not there."""
        found = np.flatnonzero(self.patients["id"] == patient_id)
        if not len(found):
            raise KeyError(patient_id)
        return slice(int(self.patients["row_start"][found[0]]), int(self.patients["row_stop"][found[0]]))

    def signal_rows(self, rows: slice | np.ndarray) -> np.ndarray:
        """Stored int16, (n, 2, T); ``rows`` in any order. Rows near each other are read fastest."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(self.n_segments)
            if step == 1:
                return self._signal.slice(start, stop)
            rows = np.arange(start, stop, step)
        return self._signal.take(_checked(rows, self.n_segments))

    def physical(self, rows: slice | np.ndarray) -> np.ndarray:
        """float32 (n, 2, T) in mV and NU; zeros where a signal is not present."""
        return self.signal_rows(rows) * self.scale[rows][:, :, None]

    def tensor(self, rows: slice | np.ndarray) -> torch.Tensor:
        """``physical`` as a torch tensor."""
        import torch

        return torch.from_numpy(self.physical(rows))

    def blocks(self, size: int = 4096) -> Iterator[tuple[slice, np.ndarray]]:
        """All rows in order: (their slice, stored int16 (n, 2, T)), at most ``size`` at a time."""
        for start in range(0, self.n_segments, size):
            rows = slice(start, min(start + size, self.n_segments))
            yield rows, self.signal_rows(rows)

    def verify(self) -> bool:
        """Whether the content still has the hash it was built with. Raises ``InputError`` where it cannot be read."""
        return content_sha256(self._file) == self.content_sha256

    def _check(self) -> None:
        """Refuses what is not a dataset of this format."""
        attributes = self._file.attrs
        found = attributes.get("format_version")
        if found is None or "signal" not in self._file:
            raise InputError(f"{self.path}: not a dataset of ecgconsole (no /signal or no format_version)")
        if int(found) != FORMAT_VERSION:
            raise InputError(f"{self.path}: format {int(found)}; this version of ecgconsole reads {FORMAT_VERSION}")
        missing = [a for a in ("sampling_rate_hz", "content_sha256", "parameters") if a not in attributes]
        missing += [c for c in (*COLUMNS, "scale", "present", "patient/id") if c not in self._file]
        if missing:
            raise InputError(f"{self.path}: not a whole dataset: {', '.join(missing)} missing")
        signal = self._file["signal"]
        if (
            signal.ndim != 3
            or signal.shape[1] != 2
            or not 0 < signal.shape[2] <= MAXIMUM_SAMPLES
            or signal.dtype != "<i2"
        ):
            raise InputError(f"{self.path}: /signal is {signal.dtype} {signal.shape}, not int16 (N, 2, T); refused")
        for path in dataset_paths(self._file):
            n = self._file[path].shape[0] if self._file[path].shape else -1
            if n != signal.shape[0] and not path.startswith("/patient/"):
                raise InputError(f"{self.path}: {path} has {n} rows, /signal has {signal.shape[0]}; refused")


def _checked(rows: np.ndarray, n: int) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.dtype == bool:
        if len(rows) != n:
            raise IndexError(f"a mask of {len(rows)} rows for {n} segments")
        return np.flatnonzero(rows)
    rows = rows.astype(np.int64)
    if len(rows) and not (-n <= rows.min() and rows.max() < n):
        raise IndexError(f"rows outside 0 to {n - 1}")
    return np.where(rows < 0, rows + n, rows)


def _attribute(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, str) and value.startswith(("{", "[")):
        return json.loads(value)
    return value
