"""What an encoder expects of the signals it is given: what it was trained on."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgconsole.dataset import Dataset
from ecgconsole.errors import ConfigurationError

SIGNALS = ("ecg", "ppg")


@dataclass(frozen=True)
class Expectations:
    """Rate, length and pass bands of the segments, by the parameters' names, and which ``signals`` there were.

    A signal that training never saw has an encoder that learnt nothing: what it makes of it is no part of an embedding.
    """

    sampling_rate_hz: float
    segment_samples: int
    ecg_band_hz: tuple[float, float]
    ppg_band_hz: tuple[float, float]
    signals: tuple[str, ...] = SIGNALS

    def to_plain(self) -> dict[str, Any]:
        """As plain types, for a checkpoint."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> Expectations:
        return cls(
            sampling_rate_hz=values["sampling_rate_hz"],
            segment_samples=values["segment_samples"],
            ecg_band_hz=_band(values["ecg_band_hz"]),
            ppg_band_hz=_band(values["ppg_band_hz"]),
            signals=tuple(values.get("signals", SIGNALS)),
        )

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which of ECG and PPG were trained on, (2,)."""
        return np.isin(SIGNALS, self.signals)

    def refuse_unknown(self, present: NDArray[np.bool_], trained: str) -> None:
        """Raises ``ConfigurationError`` where a segment has no signal that was trained on; ``present`` bool (n, 2)."""
        without = int((~(present & self.known).any(axis=1)).sum())
        if without:
            raise ConfigurationError(
                f"{trained} {' and '.join(self.signals).upper()} alone, which {without:,} of "
                f"{len(present):,} segments lack: build with data.require={self.signals[0]}"
            )

    def refuse_other(self, other: Expectations, checkpoint: str, dataset: str) -> None:
        """Raises ``ConfigurationError`` listing every difference between what was trained on and ``other``, but for
        the signals: of more than were trained on the others are left out of the embedding."""
        problems = tuple(
            f"{f.name}: {getattr(self, f.name)} in the checkpoint, {getattr(other, f.name)} in the dataset"
            for f in fields(self)
            if f.name != "signals" and getattr(self, f.name) != getattr(other, f.name)
        )
        if problems:
            raise ConfigurationError(f"{checkpoint} was trained on signals unlike those of {dataset}:", problems)


def expectations_of(dataset: Dataset) -> Expectations:
    """What an encoder trained on the training split of ``dataset`` will expect."""
    build = dataset.parameters["build"]
    return Expectations(
        sampling_rate_hz=float(dataset.sampling_rate_hz),
        segment_samples=int(dataset.segment_samples),
        ecg_band_hz=_band(build["ecg_band_hz"]),
        ppg_band_hz=_band(build["ppg_band_hz"]),
        signals=tuple(np.array(SIGNALS)[dataset.present[dataset.split == "train"].any(axis=0)].tolist()),
    )


def _band(values: Any) -> tuple[float, float]:
    low, high = values
    return float(low), float(high)
