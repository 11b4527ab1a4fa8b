"""Several ranks of one training: started by torch's elastic agent, restarted when one dies, heard and told.

The engine stays one process for the runner: the agent (what ``torchrun`` is) works in a thread of it, the ranks are
processes of their own. Ranks of other machines come from ``torchrun`` there and meet at the same rendezvous
(``python -m ecgconsole.training.launch FOLDER`` is what it starts).
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import select
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from ecgconsole.config import Config
from ecgconsole.errors import EcgConsoleError, MachineError, Stopped, error_of
from ecgconsole.stage import Reporter, Stop
from ecgconsole.text import sanitise
from ecgconsole.training.ranks import Ranks
from ecgconsole.workspace import Workspace

RESTARTS = 3
RENDEZVOUS_ID = "ecgconsole"
_POLL_SECONDS = 0.1
_PARENT_SECONDS = 0.5
# A batch system sends SIGTERM to every process of a job at once: ranks then have so long to save and stop together.
_GRACE_SECONDS = 10.0
_KILL_AFTER_SECONDS = 15
_JOINING_SECONDS = 600.0
_LONGEST_MESSAGE = 3000
# Cells of the board, which engine and ranks of a machine share.
_STOP, _PAUSE, _CHECKPOINT, _OVER, _SAVED, _CELLS = range(6)


@dataclass(frozen=True)
class Lead:
    """What ranks on the engine's machine have, and others have not: a pipe to the engine, and the board."""

    pipe: Connection
    board: Any  # ctypes array of long, in shared memory: whole cells, one writer each, so no lock to die with
    config: str
    resume: str

    def say(self, message: dict[str, Any]) -> None:
        """One write a line, with a newline before it: what a killed rank left torn stays a line of its own."""
        os.write(self.pipe.fileno(), b"\n" + json.dumps(message, allow_nan=False).encode() + b"\n")


def run_ranks(config: Config, workspace: Workspace, reporter: Reporter, stop: Stop, resume: str) -> dict[str, Any]:
    """Trains in ``training.world_size`` processes and returns the stage's result. Raises as the stage does.

    A rank that dies, or that the others have waited for longer than ``training.rank_timeout_seconds``, ends them all;
    they start again from the last checkpoint, ``RESTARTS`` times.
    """
    context = multiprocessing.get_context("spawn")
    board = context.RawArray("l", _CELLS)
    reading, writing = context.Pipe(duplex=False)
    lead = Lead(writing, board, config.to_json(), resume)
    last: dict[str, Any] = {}
    failures: list[Exception] = []

    def agent() -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="ecgconsole-ranks-") as logs:
                elastic_launch(_launch_config(config, logs), work)(str(workspace.folder), lead)
        except Exception as error:  # noqa: BLE001 - of a thread: told by the one that waits for it
            failures.append(error)

    # Otherwise restarted ranks find the addresses of the dead in the agent's store and wait for them (pytorch #135712).
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.ERROR)
    thread = threading.Thread(target=agent, name="agent", daemon=True)
    thread.start()
    ended = False
    lines = _lines(reading)
    while not ended:
        ended = not thread.is_alive()  # asked before the pipe is read, so that nothing said is missed
        board[_STOP], board[_PAUSE] = int(stop.requested), int(stop.paused)
        board[_CHECKPOINT] += int(stop.checkpoint_requested())
        for message in lines(0.0 if ended else _POLL_SECONDS):
            if message.get("kind") in (None, "stage_result"):
                last = last or message
            else:
                fields = {name: value for name, value in message.items() if name not in ("kind", "stage")}
                reporter.emit(message["kind"], **fields)
    reading.close()
    writing.close()
    if "result" in last:
        return last["result"]
    if "error" in last:
        raise error_of(last["exit_code"], last["error"])
    raise _unexplained(failures)


def work(folder: str, lead: Lead | None = None) -> None:
    """One rank, from its first breath to its last. The environment is the one that ``torchrun`` makes."""
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), name="parent", daemon=True).start()
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: threading.Timer(_GRACE_SECONDS, os._exit, [128 + signal.SIGTERM]).start())
    settings = lead and Config.model_validate_json(lead.config).training
    timeout_s = settings.rank_timeout_seconds if settings else _JOINING_SECONDS
    if settings and settings.nodes == 1 and sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a host name that resolves to nothing does not matter then
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
    ranks = _introduced(lead)
    mine = lead and {
        "over": lead.board[_OVER],
        "saved": lead.board[_SAVED],
        "resume": lead.resume,
        "config": lead.config,
    }
    told = ranks.object_from_chief(mine)
    if not told["over"]:
        _train(ranks, Config.model_validate_json(told["config"]), Path(folder), told, lead)
    dist.destroy_process_group()


def _train(ranks: Ranks, config: Config, folder: Path, told: dict[str, Any], lead: Lead | None) -> None:
    """Raises what the stage raises, but for ``Stopped``, on which all ranks agree."""
    from ecgconsole.training import train

    speaks = lead if ranks.is_chief else None
    reporter, stop = Reporter("train", speaks.say if speaks else lambda event: None), Stop()
    if speaks:
        threading.Thread(target=_obey, args=(speaks.board, stop), name="board", daemon=True).start()
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    if restarted:
        reporter.warning(
            "rank-died",
            f"a process of the training died or did not answer; all {ranks.size} start again from the last checkpoint "
            f"({restarted} of {RESTARTS} times)",
            "engine.log of the run says how it ended; after the last time the stage fails",
        )

    def on_saved() -> None:
        if speaks:
            speaks.board[_SAVED] = 1

    resume = "auto" if told["saved"] else told["resume"]
    try:
        result = train.train_in(ranks, config, Workspace(folder), reporter, stop, resume, on_saved)
    except EcgConsoleError as error:
        stopped = isinstance(error, Stopped)
        if lead and (speaks or not stopped):
            lead.board[_OVER] = 1
            lead.say({"error": str(error)[:_LONGEST_MESSAGE], "exit_code": int(error.exit_code)})
        if not stopped:
            raise  # the others wait for this one: the agent ends them, and the next ones find that it is over
        return
    reporter.emit("stage_result", result=result)


def _introduced(lead: Lead | None) -> Ranks:
    """Which rank this is, and which is the chief: the first on the engine's machine."""
    leads = lead is not None and os.environ["LOCAL_RANK"] == "0"
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, leads)
    local = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    return Ranks(dist.get_rank(), dist.get_world_size(), everyone.index(True), *local)


def _obey(board: Any, stop: Stop) -> None:
    """Hands on what the engine was asked."""
    checkpoints = 0
    while not board[_STOP]:
        if board[_PAUSE]:
            stop.pause()
        else:
            stop.resume()
        if board[_CHECKPOINT] != checkpoints:
            checkpoints = board[_CHECKPOINT]
            stop.request_checkpoint()
        time.sleep(_POLL_SECONDS)
    stop.request()


def _end_with_parent(parent_pid: int) -> None:
    """Whoever started this rank may be killed and can end nothing then."""
    while os.getppid() == parent_pid:
        time.sleep(_PARENT_SECONDS)
    os._exit(1)


def _lines(pipe: Connection) -> Callable[[float], list[dict[str, Any]]]:
    """A function that waits at most so many seconds and returns the messages that have come, whole ones only."""
    rest = b""

    def read(seconds: float) -> list[dict[str, Any]]:
        nonlocal rest
        found = []
        while select.select([pipe.fileno()], [], [], seconds)[0]:
            *lines, rest = (rest + os.read(pipe.fileno(), 1 << 16)).split(b"\n")
            found += [message for message in map(_parsed, lines) if message]
            seconds = 0.0
        return found

    return read


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        return json.loads(line) if line else None
    except ValueError:
        return None  # torn by a kill


def _launch_config(config: Config, logs: str) -> LaunchConfig:
    settings = config.training
    alone = settings.nodes == 1
    return LaunchConfig(
        min_nodes=settings.nodes,
        max_nodes=settings.nodes,
        nproc_per_node=settings.world_size // settings.nodes,
        run_id=RENDEZVOUS_ID,
        rdzv_backend="c10d",
        rdzv_endpoint=settings.rendezvous or "localhost:0",
        local_addr="127.0.0.1" if alone else None,
        max_restarts=RESTARTS,
        start_method="spawn",
        shutdown_timeout=_KILL_AFTER_SECONDS,
        logs_specs=DefaultLogsSpecs(log_dir=logs),
    )


def _unexplained(failures: list[Exception]) -> EcgConsoleError:
    """What the agent says, when no rank could say anything."""
    error = failures[0] if failures else None
    if isinstance(error, ChildFailedError):
        rank, first = error.get_first_failure()
        return EcgConsoleError(
            f"a process of the training died {RESTARTS + 1} times (last: rank {rank}, exit code "
            f"{first.exitcode}); the last checkpoint is whole. engine.log of the run says how they ended"
        )
    return MachineError(f"the processes of the training could not be started: {sanitise(error or 'no word', 500)}")


if __name__ == "__main__":
    work(sys.argv[1])
