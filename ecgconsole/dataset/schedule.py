"""Shards over worker processes: what runs when, what is tried again, and what is given up."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from pathlib import Path

from ecgconsole.config import Config
from ecgconsole.dataset.plan import ShardPlan, space_bytes
from ecgconsole.dataset.shards import InputsChanged, Manifest, build_shard, check_space, marker_path
from ecgconsole.dataset.workers import Workers
from ecgconsole.errors import EcgConsoleError, InputError
from ecgconsole.stage import Stop
from ecgconsole.text import sanitise

BACK_OFF_SECONDS = (1.0, 5.0, 20.0)
POLL_SECONDS = 0.2


def build_shards(
    plans: Sequence[ShardPlan],
    root: Path,
    config: Config,
    folder: Path,
    workers: Workers,
    stop: Stop,
    committed: Callable[[ShardPlan, Manifest], None],
    saved: Callable[[], str],
    warn: Callable[[str, str, str], None],
) -> None:
    """Builds all ``plans``; ``committed`` is called for each, in the order in which they end; ``saved`` says
    how much is on disk, for whoever stops.

    A request to stop or to pause lets running shards finish and starts no other. A shard whose worker
    died is tried again with the machine to itself; if its worker dies again, the patient in hand is left out.
    Recordings that cannot be read are tried again after each of ``BACK_OFF_SECONDS``.
    """
    # The longest first: none is left alone at the end.
    pending = deque(sorted(plans, key=lambda plan: -plan.forecast_windows))
    alone: deque[ShardPlan] = deque()
    running: dict[Future[Manifest], ShardPlan] = {}
    deaths: Counter[str] = Counter()
    skip: dict[str, frozenset[str]] = {}
    at_once = max(1, min(workers.n, config.build.chunk_size // config.build.shard_patients))

    def submit(plan: ShardPlan) -> None:
        skipped = skip.get(plan.identity, frozenset())
        running[workers.submit(build_shard, plan, root, config, folder, skipped)] = plan

    def died(plan: ShardPlan) -> None:
        # HDF5 crashes on a full disk: look there first.
        check_space(folder, space_bytes(plan.forecast_windows, 0, config))
        deaths[plan.identity] += 1
        if deaths[plan.identity] == 1:
            warn("worker-died", f"a worker died on shard {plan.number}; it is tried again alone", "too many workers?")
        else:
            skipped = skip.get(plan.identity, frozenset())
            skip[plan.identity] = skipped | {_patient_in_hand(folder, plan, skipped)}
            message = (
                f"a worker died again on shard {plan.number}: the patient in hand is left out, see rejected.parquet"
            )
            warn("patient-skipped", message, "give the machine more memory, then build with --rebuild")
        alone.append(plan)

    deaths_or_memory: tuple[type[BaseException], ...] = (*workers.deaths, MemoryError)
    failures: Counter[str] = Counter()
    while pending or alone or running:
        if stop.requested or stop.paused:
            if not running:
                stop.wait_while_paused()
                stop.raise_if_requested(saved())
        elif alone:
            if not running:
                submit(alone.popleft())
        else:
            while pending and len(running) < at_once:
                submit(pending.popleft())
        done, _ = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        broken = False
        for future in done:
            plan = running.pop(future)
            try:
                committed(plan, future.result())
            except deaths_or_memory as error:
                broken = broken or isinstance(error, BrokenExecutor)
                died(plan)
            except (InputsChanged, OSError) as error:
                _back_off(plan, root, error, failures, stop)
                pending.appendleft(plan)
        if broken:
            # The others of a broken pool are lost with it; none is to blame alone.
            for plan in running.values():
                died(plan)
            running.clear()
            workers.replace()


def _back_off(plan: ShardPlan, root: Path, error: Exception, failures: Counter[str], stop: Stop) -> None:
    """Waits before the next attempt; raises ``InputError`` after the last."""
    attempt = failures[plan.identity]
    failures[plan.identity] += 1
    if attempt >= len(BACK_OFF_SECONDS):
        if root.is_dir() and isinstance(error, InputsChanged):
            raise InputError(f"{root}: recordings changed while they were read ({error}); start the same command again")
        raise InputError(
            f"{root}: recordings cannot be read ({why(error)}), tried {attempt + 1} times; is the disk still mounted?"
            " The same command continues from what is committed"
        ) from error
    until = time.monotonic() + BACK_OFF_SECONDS[attempt]
    while time.monotonic() < until and not stop.requested:
        time.sleep(POLL_SECONDS)


def why(error: Exception) -> str:
    """The error without the path in it, which would name a patient in events and logs."""
    return sanitise((error.strerror or type(error).__name__) if isinstance(error, OSError) else error, 300)


def _patient_in_hand(folder: Path, plan: ShardPlan, skipped: frozenset[str]) -> str:
    """The patient whom the dead worker had begun."""
    marker = marker_path(folder, plan)
    patient = marker.read_text() if marker.exists() else None
    if patient is None or patient in skipped:
        raise EcgConsoleError(
            f"worker processes die on shard {plan.number}, and no patient is to blame; out of memory?"
        )
    return patient
