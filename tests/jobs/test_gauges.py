"""GPU readings with a made driver: four GPUs, none, MIG, one lost midway; and the machine itself."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pynvml
import pytest

from ecgconsole.jobs.gauges import Gauges, gpu_reader, job, machine


class Driver:
    """Stands for the functions of ``pynvml``; a GPU in ``lost`` or a question in ``unsupported`` fails as there."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.lost: set[int] = set()
        self.unsupported: set[str] = set()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answers = {
            "nvmlInit": lambda: None,
            "nvmlDeviceGetCount": lambda: self.count,
            "nvmlDeviceGetHandleByIndex": self._alive,
            "nvmlDeviceGetName": lambda gpu: b"NVIDIA H200",
            "nvmlDeviceGetUtilizationRates": lambda gpu: SimpleNamespace(gpu=90 + gpu, memory=1),
            "nvmlDeviceGetMemoryInfo": lambda gpu: SimpleNamespace(used=5, total=10),
            "nvmlDeviceGetPowerUsage": lambda gpu: 318_500,
            "nvmlDeviceGetTemperature": lambda gpu, sensor: 71,
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda gpu: (
                pynvml.nvmlClocksThrottleReasonSwThermalSlowdown if gpu == 2 else 0
            ),
        }
        for name, answer in answers.items():
            monkeypatch.setattr(pynvml, name, self._guarded(name, answer))

    def _alive(self, gpu: int) -> int:
        if gpu in self.lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return gpu

    def _guarded(self, name, answer):
        def call(*arguments):
            if name in self.unsupported:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            return answer(*arguments)

        return call


def test_four_gpus_one_of_them_hot_and_one_lost_midway(monkeypatch):
    driver = Driver(4)
    driver.install(monkeypatch)
    read = gpu_reader()
    before = read()
    assert [g["index"] for g in before] == [0, 1, 2, 3]
    assert before[0] == {
        "index": 0,
        "name": "NVIDIA H200",
        "utilisation_percent": 90,
        "memory_used_bytes": 5,
        "memory_total_bytes": 10,
        "temperature_c": 71,
        "power_w": 318.5,
        "throttled": False,
    }
    assert [g["throttled"] for g in before] == [False, False, True, False]
    driver.lost.add(1)
    after = read()
    assert after[1] == {"index": 1, "name": None, "lost": True}
    assert after[3]["utilisation_percent"] == 93


def test_under_mig_what_is_not_supported_is_null(monkeypatch):
    driver = Driver(1)
    driver.unsupported = {"nvmlDeviceGetUtilizationRates", "nvmlDeviceGetCurrentClocksThrottleReasons"}
    driver.install(monkeypatch)
    (gpu,) = gpu_reader()()
    assert gpu["utilisation_percent"] is None
    assert gpu["throttled"] is None
    assert gpu["memory_total_bytes"] == 10


@pytest.mark.parametrize("fault", ["no driver", "driver gone"])
def test_no_gpu_is_no_error(monkeypatch, fault):
    driver = Driver(0)
    driver.unsupported = {"nvmlInit" if fault == "no driver" else "nvmlDeviceGetCount"}
    driver.install(monkeypatch)
    assert gpu_reader()() == []


def test_the_job_is_this_process_and_all_below_it(tmp_path):
    times: dict[int, float] = {}
    job(times, 1.0)
    began = time.process_time()
    while time.process_time() - began < 0.2:
        pass
    reading = job(times, 1.0)
    assert reading["job_cpu_percent"] >= 15
    assert reading["job_rss_bytes"] > 10**7
    assert reading["job_processes"] >= 1
    assert machine(tmp_path)["ram_total_bytes"] > machine(tmp_path)["ram_used_bytes"] > 0


def test_a_folder_that_vanishes_stops_no_gauge(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    gauges = Gauges(tmp_path / "gauges.jsonl", folder, 0.05)
    gauges.start()
    folder.rmdir()
    time.sleep(0.3)
    folder.mkdir()
    deadline = time.monotonic() + 10
    while gauges.latest is None and time.monotonic() < deadline:
        time.sleep(0.02)
    gauges.stop()
    assert gauges.latest is not None
    assert gauges.latest["seq"] == 0
