"""ECG over PPG of one window, with its beats and its values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from textual.app import ComposeResult
from textual.containers import Vertical

from ecgconsole.console.chart import Chart, Marks, Series
from ecgconsole.console.rows import Row, Rows

if TYPE_CHECKING:
    from ecgconsole.dataset.viewing import Trace, Window

BEAT = "▾"
# What a person judges a window by: name, column, how to say it.
_RHYTHM = (
    ("heart rate", "rhythm/heart_rate_bpm", "{:.0f}/min"),
    ("pulse", "rhythm/pulse_rate_bpm", "{:.0f}/min"),
    ("RR CV", "rhythm/rr_cv", "{:.3f}"),
    ("irregular", "rhythm/rr_irregular_share", "{:.0%}"),
    ("RMSSD", "rhythm/rmssd_ms", "{:.0f} ms"),
    ("agreement", "rhythm/ecg_ppg_agreement", "{:.2f}"),
)
_QUALITY = (
    ("missing", "missing_share", "{:.1%}"),
    ("flat", "flat_share", "{:.0%}"),
    ("clipped", "clipped_share", "{:.0%}"),
    ("noise", "noise_share", "{:.2f}"),
    ("template", "template_correlation", "{:.2f}"),
)


class Waveform(Vertical):
    """Says what it shows in its first rows; zoom and pan move both signals."""

    DEFAULT_CSS = """
    Waveform { height: 1fr; }
    Waveform Chart { height: 1fr; min-height: 3; }
    Waveform #facts, Waveform #values { height: auto; }
    """

    def compose(self) -> ComposeResult:
        yield Rows(id="facts")
        yield Chart("ECG, s", "no ECG here", id="ecg", unit="mV", hold=False)
        yield Chart("PPG, s", "no PPG here", id="ppg", unit="NU", hold=False)
        yield Rows(id="values")

    def show(self, facts: Sequence[Row], window: Window | None) -> None:
        """``window`` None: nothing to draw, the facts say why."""
        rows = list(facts)
        if window is not None and window.problem:
            rows.append([("▲ ", "warning"), (window.problem, "warning")])
        self.query_one("#facts", Rows).show(rows)
        for name, tone in (("ecg", "train"), ("ppg", "val")):
            trace: Trace | None = getattr(window, name) if window else None
            chart = self.query_one(f"#{name}", Chart)
            if trace is None:
                chart.plot(())
                continue
            seconds = np.arange(len(trace.values)) / trace.sampling_rate_hz
            chart.unit = trace.unit
            chart.x_name = f"{trace.channel}, s"
            chart.plot((Series(trace.channel, seconds, trace.values, tone),), (Marks(trace.beats_s, BEAT, "warning"),))
        self.query_one("#values", Rows).show(values(window, self.size.width) if window else [])

    def act(self, name: str) -> None:
        for chart in self.query(Chart):
            chart.act(name)


def values(window: Window, width: int) -> list[Row]:
    """Rhythm, then the quality of each signal; as many to a row as fit."""
    columns = window.columns
    if not columns:
        return []
    rows = _wrapped("rhythm", [(n, f, columns.get(c)) for n, c, f in _RHYTHM], width)
    for name in ("ecg", "ppg"):
        found = [(n, f, columns.get(f"quality/{name}_{c}")) for n, c, f in _QUALITY]
        if getattr(window, name) is not None:
            rows += _wrapped(name.upper(), found, width)
    return rows


def _wrapped(head: str, facts: list[tuple[str, str, float | None]], width: int) -> list[Row]:
    """One row: what does not fit whole is left out."""
    spans = [(f"{head:<7}", "strong")]
    taken = 7
    for name, form, value in facts:
        text = "–" if value is None or not np.isfinite(value) else form.format(float(value))
        taken += len(name) + len(text) + 4
        if taken > width + 3:
            break
        spans += [(f"{name} ", "muted"), (f"{text}   ", "plain")]
    return [spans]
