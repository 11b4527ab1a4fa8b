"""What an encoder expects of the signals it is given: what it was trained on."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ecgconsole.dataset import Dataset
from ecgconsole.errors import ConfigurationError


@dataclass(frozen=True)
class Expectations:
    """Rate, length and pass bands of the segments, by the parameters' names."""

    sampling_rate_hz: float
    segment_samples: int
    ecg_band_hz: tuple[float, float]
    ppg_band_hz: tuple[float, float]

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
        )

    def refuse_other(self, other: Expectations, checkpoint: str, dataset: str) -> None:
        """Raises ``ConfigurationError`` listing every difference between what was trained on and ``other``."""
        problems = tuple(
            f"{f.name}: {getattr(self, f.name)} in the checkpoint, {getattr(other, f.name)} in the dataset"
            for f in fields(self)
            if getattr(self, f.name) != getattr(other, f.name)
        )
        if problems:
            raise ConfigurationError(f"{checkpoint} was trained on signals unlike those of {dataset}:", problems)


def expectations_of(dataset: Dataset) -> Expectations:
    """What an encoder trained on ``dataset`` will expect."""
    build = dataset.parameters["build"]
    return Expectations(
        sampling_rate_hz=float(dataset.sampling_rate_hz),
        segment_samples=int(dataset.segment_samples),
        ecg_band_hz=_band(build["ecg_band_hz"]),
        ppg_band_hz=_band(build["ppg_band_hz"]),
    )


def _band(values: Any) -> tuple[float, float]:
    low, high = values
    return float(low), float(high)
