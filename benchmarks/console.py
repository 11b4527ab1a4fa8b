"""What the console costs: processor time, bytes of terminal output and latency, in each state.

    .venv/bin/python benchmarks/console.py                  # a made run in a temporary folder
    .venv/bin/python benchmarks/console.py --folder DIR     # and the screens of a real output folder

The console runs as its user runs it, in a pseudo-terminal of 120 x 40. In the growing state the run gets a metric,
a progress and a gauge reading twice a second, and the log ten lines. Percent are of one core; latency is from the
key, or from the start, until the text stands in the output.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import re
import select
import struct
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil

from ecgconsole.console.raster import Extent, axis_of, line_dots, smoothed, value_range
from ecgconsole.console.sources.metrics import MetricReader
from ecgconsole.jobs.events import EventWriter, utc_now
from ecgconsole.jobs.processes import this_process
from ecgconsole.jobs.snapshot import Snapshot, fold
from ecgconsole.jobs.state import write_state
from ecgconsole.workspace import Workspace

COLUMNS, ROWS = 120, 40
METRICS = 400_000


class Terminal:
    """``ecgconsole -o FOLDER`` on a pseudo-terminal that is read at once, or at ``bytes_per_second``."""

    def __init__(self, folder: Path, home: Path, bytes_per_second: int | None = None) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.text, self.bytes, self._limit = "", 0, bytes_per_second
        environment = {**os.environ, "TERM": "xterm-256color", "XDG_STATE_HOME": str(home), "OMP_NUM_THREADS": "1"}
        self.begun = time.perf_counter()
        self.process = psutil.Popen(
            [sys.executable, "-m", "ecgconsole", "-o", str(folder)],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True, env=environment,
        )  # fmt: skip
        os.close(slave)
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        while True:
            try:
                if select.select([self.master], [], [], 0.1)[0]:
                    data = os.read(self.master, 512 if self._limit else 65536)
                    self.bytes += len(data)
                    self.text += data.decode(errors="replace")
                    if self._limit:
                        time.sleep(len(data) / self._limit)
            except (OSError, ValueError):
                return

    def press(self, keys: str) -> float:
        self.text = ""
        os.write(self.master, keys.encode())
        return time.perf_counter()

    def seconds_until(self, pattern: str, since: float, limit: float = 60) -> float:
        """NaN where it never came."""
        while time.perf_counter() - since < limit:
            if re.search(pattern, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.text)):
                return time.perf_counter() - since
            time.sleep(0.002)
        return float("nan")

    def cpu(self) -> float:
        times = self.process.cpu_times()
        return times.user + times.system

    def measured(self, seconds: float, meanwhile: Callable[[], None] | None = None) -> str:
        """Percent of a core and bytes a second over ``seconds``."""
        time.sleep(1.5)  # what the last key began is over
        cpu, written, begun = self.cpu(), self.bytes, time.perf_counter()
        while time.perf_counter() - begun < seconds:
            if meanwhile is not None:
                meanwhile()
            time.sleep(0.5)
        took = time.perf_counter() - begun
        return f"{100 * (self.cpu() - cpu) / took:5.1f} %  {(self.bytes - written) / took / 1000:6.2f} kB/s"

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


class MadeRun:
    """A run's files as the runner writes them; this process stands for the job's."""

    def __init__(self, folder: Path) -> None:
        self.workspace = Workspace(folder)
        self.run = self.workspace.new_run()
        self._events, self._gauges = EventWriter(self.run.events), EventWriter(self.run.gauges)
        self.snapshot = Snapshot(run_id=self.run.run_id)
        self.step = 0
        self.emit("run_started", run_id=self.run.run_id, stages=["build", "train", "embed"], pid=1, host="here")
        self.emit("stage_started", "train", status="running")

    def emit(self, kind: str, stage: str | None = None, **fields: object) -> None:
        self.snapshot = fold(self.snapshot, self._events.write({"kind": kind, "stage": stage, **fields}))
        write_state(self.run.state, this_process(), {}, self.snapshot)

    def trained(self, steps: int) -> None:
        """So many steps lie behind it."""
        for _ in range(steps):
            self._events.write(self._metric())

    def _metric(self) -> dict[str, object]:
        self.step += 1
        loss = 5 * np.exp(-self.step / 800) + 1 + 0.05 * np.random.default_rng(self.step).normal()
        values = {"train_loss": loss, "learning_rate": 3e-4}
        return {"kind": "metric", "stage": "train", "step": self.step, "epoch": self.step // 50, "values": values}

    def grow(self) -> None:
        self.emit(**self._metric())
        rng = np.random.default_rng(self.step)
        self.emit("progress", "train", done=self.step, total=5000, unit="steps", rate=2.0,
                  remaining_seconds=(5000 - self.step) / 2)  # fmt: skip
        gpu = {
            "index": 0,
            "utilisation_percent": rng.uniform(80, 99),
            "memory_used_bytes": 14e9,
            "memory_total_bytes": 24e9,
            "temperature_c": rng.uniform(70, 73),
            "power_w": rng.uniform(310, 320),
        }
        machine = {"ram_used_bytes": 21e9, "ram_total_bytes": 64e9, "disk_free_bytes": 412e9}
        self._gauges.write({"cpu_percent": rng.uniform(20, 40), **machine, "gpus": [gpu]})
        with self.workspace.log.open("a") as log:
            for i in range(10):
                log.write(f"{utc_now()[:19]}Z INFO  train run=0001 step {self.step}, line {i} {rng.integers(10**9)}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="an output folder with a dataset and findings")
    parser.add_argument("--seconds", type=float, default=10, help="of each state")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        drawing()
        metrics(home / "large")
        growing(home, arguments.seconds)
        if arguments.folder:
            screens(arguments.folder.absolute(), home, arguments.seconds)


def drawing() -> None:
    print(f"one line of a chart, {COLUMNS} x {ROWS} cells, processor time")
    for n in (1_000, 100_000, 1_000_000):
        x, y = np.arange(float(n)), np.random.default_rng(0).normal(size=n)
        x_range, y_range = value_range(x), axis_of([Extent.of(y)])
        plain = best(lambda: (Extent.of(y), line_dots(x, y, COLUMNS, ROWS, x_range, y_range)))  # noqa: B023
        mean = best(lambda: line_dots(*smoothed(x, y, n // 50, 8 * COLUMNS), COLUMNS, ROWS, x_range, y_range))  # noqa: B023
        print(f"  {n:9,} points  {plain:5.1f} ms   with a moving mean {plain + mean:5.1f} ms")


def best(work: Callable[[], object], times: int = 9) -> float:
    found = []
    for _ in range(times):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return 1000 * min(found)


def metrics(folder: Path) -> None:
    """Event files of 400,000 metrics as a training writes them, without and with the progress told beside each."""
    for progress in (False, True):
        run = Workspace(folder).new_run()
        with run.events.open("w") as file:
            file.writelines(_event_lines(progress))
        beside = ", a progress beside each" if progress else ""
        print(f"an event file of {METRICS:,} metrics{beside}, {run.events.stat().st_size / 1e6:.0f} MB")
        begun = time.process_time()
        reader = MetricReader(run.events, with_events=True)
        reader.read_new()
        reader.take_events()
        print(f"  read as columns and events      {time.process_time() - begun:5.2f} s processor time")
        begun = time.process_time()
        reader.series["train_loss"].over("epoch")
        print(f"  one metric over epochs          {time.process_time() - begun:5.2f} s processor time")
        if not progress:
            begun = time.process_time()
            for line in run.events.open("rb"):
                json.loads(line)
            print(f"  for comparison, JSON alone      {time.process_time() - begun:5.2f} s processor time")


def _event_lines(progress: bool) -> Iterator[str]:
    rng = np.random.default_rng(0)
    seq = 0
    for step in range(1, METRICS + 1):
        values = dict(zip(("train_loss", "learning_rate", "grad_norm", "loader_wait_seconds"), rng.random(4).tolist(),
                          strict=True))  # fmt: skip
        event = {"kind": "metric", "stage": "train", "step": step, "epoch": step // 1000 + 1, "values": values}
        yield json.dumps({"seq": seq, "time": utc_now(), **event}) + "\n"
        seq += 1
        if progress:
            event = {"kind": "progress", "stage": "train", "done": step, "total": METRICS, "unit": "steps",
                     "rate": values["grad_norm"], "remaining_seconds": values["train_loss"]}  # fmt: skip
            yield json.dumps({"seq": seq, "time": utc_now(), **event}) + "\n"
            seq += 1


def growing(home: Path, seconds: float) -> None:
    job = MadeRun(home / "grows")
    job.trained(2000)
    job.grow()
    print("the console on a run of 2,000 steps (percent of a core, terminal output)")
    terminal = Terminal(job.workspace.folder, home)
    first = terminal.seconds_until("dashboard", terminal.begun)
    whole = terminal.seconds_until("of 5,000 steps", terminal.begun)
    print(f"  first paint {first:.2f} s, the run on it {whole:.2f} s, processor time so far {terminal.cpu():.2f} s")
    print(f"  dashboard, nothing new          {terminal.measured(seconds)}")
    print(f"  dashboard, growing              {terminal.measured(seconds, job.grow)}")
    pressed = terminal.press("7")
    print(f"  logs: open {1000 * terminal.seconds_until('following', pressed):.0f} ms")
    print(f"  logs, following 20 lines/s      {terminal.measured(seconds, job.grow)}")
    pressed = terminal.press("8")
    print(f"  runs: open {1000 * terminal.seconds_until('by step', pressed):.0f} ms")
    print(f"  runs, growing                   {terminal.measured(seconds, job.grow)}")
    terminal.press("1")
    terminal.close()
    slow = Terminal(job.workspace.folder, home, bytes_per_second=2000)
    slow.seconds_until("of 5,000 steps", slow.begun)
    print(f"  dashboard, growing, on a link of 2 kB/s {slow.measured(seconds, job.grow)}")
    slow.close()


def screens(folder: Path, home: Path, seconds: float) -> None:
    print(f"the screens of {folder.name}")
    terminal = Terminal(folder, home)
    terminal.seconds_until("dashboard", terminal.begun)
    time.sleep(2)
    for what, keys, pattern in (
        ("data: patients", "5", r"P-[0-9a-f]{8}"),
        ("data: the first waveform", "\r", "heart rate"),
        ("data: the next segment", "n", "segment 2 of"),
        ("findings: patterns", "6", "medoid 1"),
        ("findings: the map", "c", "segments by pattern"),
    ):
        before = terminal.cpu()
        took = terminal.seconds_until(pattern, terminal.press(keys), 20)
        time.sleep(1)
        print(f"  {what:<28} {1000 * took:5.0f} ms, {terminal.cpu() - before:5.2f} s processor time")
    print(f"  findings, nothing new           {terminal.measured(seconds)}")
    terminal.close()


if __name__ == "__main__":
    main()
