"""Each rule provoked, and a healthy run that raises none."""

from __future__ import annotations

import json
import math
import sys

import pytest
from job_harness import events_of, wait_for

from ecgconsole.jobs.rules import Rules

GB = 10**9


def metric(step, **values):
    return {"kind": "metric", "stage": "train", "step": step, "values": values}


def gauges(free=100 * GB, *gpus):
    return {"disk_free_bytes": free, "gpus": [{"index": n, **g} for n, g in enumerate(gpus)]}


def codes(findings):
    return [f.code for f in findings]


@pytest.fixture
def rules():
    return Rules(silence_seconds=600, expects_gpu=True, now=0.0)


def test_a_healthy_run_raises_none(rules):
    found = []
    for n in range(2000):
        loss = 6 * math.exp(-n / 500) + 1 + 0.3 * math.sin(n * 12.9)
        event = metric(n, train_loss=loss, val_loss=loss, loader_wait_share=0.02)
        found += rules.on_event({**event, "epoch": n // 50}, n * 2.0)
        progress = {"kind": "progress", "done": n, "total": 2000, "remaining_seconds": (2000 - n) * 2.0}
        found += rules.on_event(progress, n * 2.0)
        busy = {"utilisation_percent": 0 if n % 20 == 0 else 93, "temperature_c": 71, "throttled": False}
        found += rules.on_gauges(gauges(100 * GB - n * 10**6, busy), n * 2.0, paused=False)
        found += rules.on_time(n * 2.0 + 1, paused=False)
    assert codes(found) == []


def test_a_loss_that_jumps_is_told_once(rules):
    found = [rules.on_event(metric(n, train_loss=2.0 if n != 80 else 9.0), n) for n in range(120)]
    assert [n for n, f in enumerate(found) if f] == [80]
    assert codes(found[80]) == ["loss-spike"]
    assert "step 80" in found[80][0].message
    assert rules.on_event(metric(200, train_loss=50.0), 200) == []  # once a stage


def test_a_loss_that_is_not_a_number_neither_spikes_nor_spoils_the_median(rules):
    for n in range(100):
        assert rules.on_event(metric(n, train_loss=None if n % 3 else 2.0), n) == []


def epochs(losses):
    return [{"kind": "metric", "stage": "train", "epoch": n, "values": {"val_loss": loss}} for n, loss in losses]


def test_a_validation_loss_that_no_longer_falls_is_told_once(rules):
    losses = [(n, max(3.0 - 0.1 * n, 2.0) - 1e-6 * n) for n in range(30)]
    found = [codes(rules.on_event(event, 1)) for event in epochs(losses)]
    assert [n for n, c in enumerate(found) if c] == [20]
    assert found[20] == ["plateau"]


def test_a_validation_loss_that_falls_slowly_is_no_plateau(rules):
    losses = [(n, 3.0 * 0.9995**n) for n in range(200)]
    assert [rules.on_event(event, 1) for event in epochs(losses)] == [[]] * 200


def test_a_training_without_validation_has_no_plateau(rules):
    assert [rules.on_event(event, 1) for event in epochs([(n, None) for n in range(40)])] == [[]] * 40


def test_a_starved_loader(rules):
    assert codes(rules.on_event(metric(1, loader_wait_share=0.4), 1)) == ["loader-starved"]


def test_a_gpu_that_idles_while_it_is_expected_to_work(rules):
    idle = {"utilisation_percent": 0}
    found = [codes(rules.on_gauges(gauges(GB, idle, idle), s, paused=False)) for s in range(0, 130, 10)]
    assert found[:-1] == [[]] * (len(found) - 1)
    assert found[-1] == ["gpu-idle"]


@pytest.mark.parametrize(
    ("gpus", "expects", "paused"),
    [
        ([{"utilisation_percent": 0}, {"utilisation_percent": 80}], True, False),  # one of two works
        ([{"utilisation_percent": 0}], False, False),  # training on the processor
        ([{"utilisation_percent": 0}], True, True),
        ([{"utilisation_percent": None}], True, False),  # not known, as under MIG
        ([{"name": None, "lost": True}], True, False),
        ([], True, False),
    ],
)
def test_a_gpu_is_not_called_idle_without_reason(gpus, expects, paused):
    rules = Rules(600, expects, 0.0)
    assert [rules.on_gauges(gauges(GB, *gpus), s, paused) for s in range(0, 1000, 10)] == [[]] * 100


def test_a_gpu_slowed_by_its_heat(rules):
    hot = {"utilisation_percent": 90, "temperature_c": 93, "throttled": True}
    assert codes(rules.on_gauges(gauges(GB, hot), 0, paused=False)) == ["gpu-throttled"]


def test_a_disk_that_will_be_full_before_the_end(rules):
    rules.on_event({"kind": "progress", "remaining_seconds": 5000.0}, 0)
    found = [codes(rules.on_gauges(gauges(10 * GB - s * 10**7), s, paused=False)) for s in range(0, 130, 10)]
    assert [c for c in found if c] == [["disk-filling"]]  # 10 GB at 10 MB/s: about 900 s


def test_a_disk_that_lasts_until_the_end_is_no_matter(rules):
    rules.on_event({"kind": "progress", "remaining_seconds": 60.0}, 0)
    assert [rules.on_gauges(gauges(10 * GB - s * 10**7), s, paused=False) for s in range(0, 130, 10)] == [[]] * 13


def test_silence_is_told_again_after_a_word(rules):
    assert codes(rules.on_time(599, paused=False)) == []
    assert codes(rules.on_time(601, paused=False)) == ["silence"]
    assert rules.on_time(700, paused=False) == []
    rules.on_event({"kind": "progress"}, 710)
    assert codes(rules.on_time(1311, paused=False)) == ["silence"]


def test_a_paused_job_is_not_silent(rules):
    assert rules.on_time(10_000, paused=True) == []
    assert rules.on_time(10_100, paused=False) == []


def test_a_running_job_warns_of_silence_and_calls_the_users_command(start, workspace, tmp_path):
    told = tmp_path / "told.json"
    program = tmp_path / "hook.py"
    program.write_text(f"import sys; open({str(told)!r}, 'w').write(sys.stdin.read())")
    hook = f"job.warning_command={sys.executable} {program}"
    job = start("json", "ignores_request", "job.silence_seconds=1", "job.stop_seconds=1", hook)
    event = job.seen("warning", code="silence")
    heard = wait_for(lambda: told.exists() and told.read_text(), "the hook")
    assert json.loads(heard) == event
    assert event in events_of(workspace)


def test_a_hook_that_does_not_exist_hurts_nothing(start):
    job = start("json", "build", "job.warning_command=/no/such/program", plan={"text": "careful"})
    assert job.wait() == 0


def test_the_end_of_a_run_calls_the_users_command_before_the_process_is_gone(start, tmp_path):
    told = tmp_path / "told.json"
    program = tmp_path / "hook.py"
    program.write_text(f"import sys, time; time.sleep(1); open({str(told)!r}, 'a').write(sys.stdin.read())")
    job = start("json", "build", f"job.warning_command={sys.executable} {program}", plan={"text": "careful"})
    assert job.wait() == 0
    assert '"kind": "run_finished"' in told.read_text()
