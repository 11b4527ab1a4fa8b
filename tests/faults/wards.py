"""A ward of monitored people in the layout of the Matched Subset, every window of whom can be kept.

One record each: segments ``1`` (0 to 65 s), ``2`` (75 to 135 s) and ``3`` (145 to 200 s), gaps between them,
II and PLETH, a numerics record beside. So it is known which windows a damaged segment may cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgconsole.synth import wfdb_files
from ecgconsole.synth.wfdb_files import Channel, SegmentFile
from tests.signals.records import ecg_and_ppg

SEGMENTS_S = {"1": (0, 65), "2": (75, 135), "3": (145, 200)}
WINDOWS = {"1": {0, 1, 2, 3, 4, 5}, "2": {8, 9, 10, 11, 12}, "3": {15, 16, 17, 18, 19}}
ALL = WINDOWS["1"] | WINDOWS["2"] | WINDOWS["3"]
START = datetime(2150, 1, 1, 10)


@dataclass(frozen=True)
class Bed:
    """Where one person's files are."""

    waveforms: Path
    subject_id: int
    rate_hz: float = 125.0

    @property
    def folder(self) -> Path:
        return self.waveforms / self.patient[:3] / self.patient

    @property
    def patient(self) -> str:
        return f"p{self.subject_id:06d}"

    @property
    def record(self) -> str:
        return f"{self.patient}-2150-01-01-10-00"

    @property
    def master(self) -> Path:
        return self.folder / f"{self.record}.hea"

    def name(self, segment: str) -> str:
        return f"{3000000 + self.subject_id}_{segment:>04}"

    def header(self, segment: str) -> Path:
        return self.folder / f"{self.name(segment)}.hea"

    def dat(self, segment: str) -> Path:
        return self.folder / f"{self.name(segment)}.dat"

    def signals(self, segment: str) -> dict[str, NDArray[np.float64]]:
        """II and PLETH of a segment in physical units, as they were before any file was written."""
        start, stop = (round(s * self.rate_hz) for s in SEGMENTS_S[segment])
        ecg, ppg = ecg_and_ppg(200, self.rate_hz, bpm=60 + self.subject_id % 40, seed=self.subject_id)
        return {"II": ecg[start:stop], "PLETH": ppg[start:stop]}

    def write(self, segment: str, signals: dict[str, NDArray[np.float64]], gain: float = 90.0) -> None:
        """A segment in format 80 with right checksums; not-a-number becomes -128."""
        channels = [
            Channel(name, "NU" if name in ("PLETH", "PPG") else "mV", samples.astype(np.float32), gain, -40)
            for name, samples in signals.items()
        ]
        start = START + timedelta(seconds=SEGMENTS_S[segment][0])
        wfdb_files.write_segment(self.folder, self.name(segment), start, self.rate_hz, channels)

    def replace(self, path: Path, old: str, new: str, count: int = -1) -> None:
        text = path.read_text()
        assert old in text, (old, text)
        path.write_text(text.replace(old, new, count))


def make_bed(waveforms: Path, subject_id: int, rate_hz: float = 125.0) -> Bed:
    """Writes one person's files."""
    bed = Bed(waveforms, subject_id, rate_hz)
    bed.folder.mkdir(parents=True)
    layout = f"{3000000 + subject_id}_layout"
    lines = [SegmentFile(layout, 0)]
    end_s = 0
    for segment, (start_s, stop_s) in SEGMENTS_S.items():
        if start_s > end_s:
            lines.append(SegmentFile("~", round((start_s - end_s) * rate_hz)))
        lines.append(SegmentFile(bed.name(segment), round((stop_s - start_s) * rate_hz)))
        bed.write(segment, bed.signals(segment))
        end_s = stop_s
    channels = [Channel(n, u, np.zeros(1, np.float32), 90.0, -40) for n, u in (("II", "mV"), ("PLETH", "NU"))]
    wfdb_files.write_layout(bed.folder, layout, START, rate_hz, channels)
    wfdb_files.write_master(bed.folder, bed.record, START, rate_hz, 2, lines, "micu")
    rates = {"HR": ("bpm", np.full(200, 70.0, np.float32))}
    wfdb_files.write_numerics(bed.folder, f"{bed.record}n", f"{3000000 + subject_id}n.dat", START, 1.0, rates)
    return bed
