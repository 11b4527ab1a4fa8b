"""Readings of the machine: processor, memory, disk, the job's own processes, GPUs."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from ecgconsole.jobs.events import EventWriter


class Gauges(threading.Thread):
    """Reads every ``seconds`` into a file with its own ``seq``; ``latest`` is the last reading.

    A thread, because the driver of a GPU that is falling off the bus, or a network disk, may take
    seconds to answer.
    """

    def __init__(self, path: Path, folder: Path, seconds: float) -> None:
        super().__init__(name="gauges", daemon=True)
        self.latest: dict[str, Any] | None = None
        self._writer = EventWriter(path)
        self._folder = folder
        self._seconds = seconds
        self._stop_requested = threading.Event()

    def run(self) -> None:
        read_gpus: Callable[[], list[dict[str, Any]]] | None = None
        cpu_times: dict[int, float] = {}
        psutil.cpu_percent(), psutil.cpu_times_percent()  # the first calls only start the interval
        before = time.monotonic()
        while not self._stop_requested.wait(self._seconds):
            now = time.monotonic()
            read_gpus = read_gpus or gpu_reader()  # not at once: its import would slow the start of the job
            try:
                reading = {**machine(self._folder), **job(cpu_times, now - before), "gpus": read_gpus()}
                before = now
                self.latest = self._writer.write(reading)
            except OSError:
                continue  # a full or absent disk: the job meets it itself, the next reading tries again

    def stop(self) -> None:
        self._stop_requested.set()


def machine(folder: Path) -> dict[str, Any]:
    """Processor, memory, and the disk that holds ``folder``."""
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(folder)
    return {
        "cpu_percent": psutil.cpu_percent(),
        "io_wait_percent": getattr(psutil.cpu_times_percent(), "iowait", None),  # Linux alone knows it
        "cpus": os.cpu_count(),
        "ram_used_bytes": memory.total - memory.available,
        "ram_total_bytes": memory.total,
        "disk_free_bytes": disk.free,
        "disk_total_bytes": disk.total,
    }


def job(cpu_times: dict[int, float], seconds: float) -> dict[str, Any]:
    """This process and all below it. ``cpu_times`` is carried from one reading to the next."""
    runner = psutil.Process()
    resident = read = written = count = 0
    used_s = 0.0
    now: dict[int, float] = {}
    for process in [runner, *runner.children(recursive=True)]:
        try:
            with process.oneshot():
                times = process.cpu_times()
                resident += process.memory_info().rss
                now[process.pid] = times.user + times.system
                if hasattr(process, "io_counters"):
                    io = process.io_counters()
                    read += io.read_bytes
                    written += io.write_bytes
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        count += 1
        used_s += max(0.0, now[process.pid] - cpu_times.get(process.pid, 0.0 if cpu_times else now[process.pid]))
    cpu_times.clear()
    cpu_times.update(now)
    return {
        "job_processes": count,
        "job_rss_bytes": resident,
        "job_cpu_percent": round(100 * used_s / seconds, 1),
        "job_read_bytes": read,
        "job_written_bytes": written,
    }


def gpu_reader() -> Callable[[], list[dict[str, Any]]]:
    """A function that reads each GPU; without a GPU, or without its library, it returns []."""
    try:
        import pynvml
    except ImportError:
        return list
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return list

    hot = pynvml.nvmlClocksThrottleReasonHwThermalSlowdown | pynvml.nvmlClocksThrottleReasonSwThermalSlowdown

    def ask(function: Callable[..., Any], *arguments: Any) -> Any:
        """The answer, or None: not supported (as under MIG), no permission, or the GPU is lost."""
        try:
            return function(*arguments)
        except pynvml.NVMLError:
            return None

    def read() -> list[dict[str, Any]]:
        return [one(index) for index in range(ask(pynvml.nvmlDeviceGetCount) or 0)]

    def one(index: int) -> dict[str, Any]:
        handle = ask(pynvml.nvmlDeviceGetHandleByIndex, index)
        if handle is None:
            return {"index": index, "name": None, "lost": True}
        name = ask(pynvml.nvmlDeviceGetName, handle)
        use = ask(pynvml.nvmlDeviceGetUtilizationRates, handle)
        memory = ask(pynvml.nvmlDeviceGetMemoryInfo, handle)
        power = ask(pynvml.nvmlDeviceGetPowerUsage, handle)
        reasons = ask(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
        return {
            "index": index,
            "name": name.decode() if isinstance(name, bytes) else name,
            "utilisation_percent": use and use.gpu,
            "memory_used_bytes": memory and memory.used,
            "memory_total_bytes": memory and memory.total,
            "temperature_c": ask(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
            "power_w": None if power is None else power / 1000,
            "throttled": None if reasons is None else bool(reasons & hot),
        }

    return read
