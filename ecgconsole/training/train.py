"""The training stage: from ``full_dataset.h5`` to checkpoints. The loop reads from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ecgconsole.config import Config
from ecgconsole.dataset import Dataset
from ecgconsole.dataset.rhythm_labels import rhythm_of_rows
from ecgconsole.errors import ConfigurationError, EcgConsoleError, InputError
from ecgconsole.stage import Reporter, Stop
from ecgconsole.text import alias
from ecgconsole.training.augment import crop_samples
from ecgconsole.training.beat_shape import N_BEAT
from ecgconsole.training.checkpoints import Progress, Saved, describe, pack, save
from ecgconsole.training.checkpoints_index import prune
from ecgconsole.training.compiling import compile_encoders
from ecgconsole.training.device import arithmetic_of, gpu_failures, gpu_memory_gb, use_all_cores
from ecgconsole.training.encoder import Model
from ecgconsole.training.expectations import expectations_of
from ecgconsole.training.launch import run_ranks
from ecgconsole.training.learner import Learner
from ecgconsole.training.loader import Batch, Loader, block_segments
from ecgconsole.training.pace import Pace
from ecgconsole.training.ranks import ALONE, Ranks
from ecgconsole.training.resume import starting_point
from ecgconsole.training.sampler import Sampler
from ecgconsole.training.scalars import recorded
from ecgconsole.training.schedule import horizon, learning_rate, out_of_time, reason_to_end
from ecgconsole.training.segments import RHYTHM_TARGETS, Segments, read_split, rhythm_statistics
from ecgconsole.training.step import Arithmetic, suspects
from ecgconsole.training.telling import Telling
from ecgconsole.training.validation import validate
from ecgconsole.workspace import Workspace

VALIDATION_STREAM = 1
_NAMED_SEGMENTS = 8
_HEARTBEAT_SECONDS = 5.0
# A change of any of these changes what the batches of an epoch are: an epoch begun cannot be gone on with.
_ORDER_PARAMETERS = ("batch_size", "segments_per_patient", "positive_within_seconds", "seed", "memory_gb")

FloatArray = NDArray[np.float32]


def run(
    config: Config, workspace: Workspace, reporter: Reporter, stop: Stop, resume: str = "auto"
) -> dict[str, int | float | None]:
    """Trains the encoders, in ``training.world_size`` processes, and returns the stage's result.

    ``epochs`` completed, ``best_epoch`` with its ``val_loss``, ``train_loss`` of the last epoch,
    ``segments_per_second`` of this run's training steps. Raises ``InputError`` for a dataset without training
    segments, ``ConfigurationError`` for a checkpoint or signals that do not belong, ``MachineError`` for a missing or
    lost GPU or a full disk, ``EcgConsoleError`` after ``max_bad_steps`` losses in a row that are not finite or when
    ranks die again and again, ``Stopped``.
    """
    if config.training.world_size > 1:
        return run_ranks(config, workspace, reporter, stop, resume)
    return train_in(ALONE, config, workspace, reporter, stop, resume)


def train_in(
    ranks: Ranks,
    config: Config,
    workspace: Workspace,
    reporter: Reporter,
    stop: Stop,
    resume: str = "auto",
    on_saved: Callable[[], None] = lambda: None,
) -> dict[str, int | float | None]:
    """``run`` of one rank. ``stop`` and what ``reporter`` gets matter on the chief alone, which also alone writes.

    ``on_saved`` is called after each checkpoint.
    """
    training = config.training
    arithmetic = arithmetic_of(training.device, training.precision, ranks.local_rank)
    use_all_cores(ranks.local_size)
    if arithmetic.device.type == "cuda":
        torch.cuda.set_device(arithmetic.device)  # or every rank would also open the first GPU
    with Dataset(workspace.dataset) as dataset:
        start = None
        if ranks.is_chief:
            start = starting_point(resume, config, dataset.content_sha256, workspace, reporter)
        start = ranks.object_from_chief(start)
        if start is not None and reason_to_end(start.progress, training):
            return _result(start.progress, Pace())
        continued_by = "The same command" if resume == "auto" else "The same command with --resume auto"
        with ExitStack() as stack:
            stack.enter_context(gpu_failures("the last checkpoint is whole"))
            if training.tensorboard and ranks.is_chief:
                first_step = start.progress.step + 1 if start is not None else 0
                reporter = stack.enter_context(recorded(reporter, workspace.tensorboard, first_step))
            given = _Given(config, workspace, reporter, stop, dataset, arithmetic, ranks, on_saved, continued_by)
            return _Training(given, start).run()


@dataclass(frozen=True)
class _Given:
    """What a training has at hand and does not change."""

    config: Config
    workspace: Workspace
    reporter: Reporter
    stop: Stop
    dataset: Dataset
    arithmetic: Arithmetic
    ranks: Ranks
    on_saved: Callable[[], None]
    continued_by: str


class _Training:
    """The state of a training, and its loop."""

    def __init__(self, given: _Given, start: Saved | None) -> None:
        self.given, self.config, self.settings = given, given.config, given.config.training
        self.workspace, self.reporter, self.stop = given.workspace, given.reporter, given.stop
        self.dataset, self.arithmetic, self.ranks = given.dataset, given.arithmetic, given.ranks
        dataset, settings, device = self.dataset, self.settings, self.arithmetic.device
        self.expectations = expectations_of(dataset)
        if crop_samples(dataset.sampling_rate_hz, settings.cross_shift_seconds) > dataset.segment_samples // 2:
            raise ConfigurationError(
                f"training.cross_shift_seconds={settings.cross_shift_seconds:g}: shifts would cut more than half "
                f"of a segment of {dataset.segment_samples / dataset.sampling_rate_hz:g} s"
            )
        with_beats = settings.weight_beat > 0
        train, val = (read_split(dataset, split, with_beats) for split in ("train", "val"))
        if len(train) < max(2, self.ranks.size):
            raise InputError(
                f"{self.workspace.dataset}: {len(train)} segments in the training split: nothing to learn from"
            )
        # Before days of training, not after them.
        self.expectations.refuse_unknown(dataset.present, f"{self.workspace.dataset}: the training split has")
        if self.config.model.embedding_dim is None and len(self.expectations.signals) > 1:
            raise ConfigurationError(
                f"model.embedding_dim=null is for one signal alone, and {self.workspace.dataset} has two: build with "
                "data.ppg_channels=[], or set a length"
            )
        statistics = rhythm_statistics(train)
        rhythm_file = self.config.discovery.rhythm_file
        self.rhythm = rhythm_of_rows(dataset, Path(rhythm_file) if rhythm_file else None)[0]
        self.sampler = self._sampler(train)
        self.train_loader = self._loader(self.sampler, statistics, stream=0)
        self.val_loader = self._loader(self._sampler(val), statistics, VALIDATION_STREAM) if len(val) >= 2 else None
        if self.val_loader is None:
            self.reporter.warning(
                "no-validation",
                "no patient is in the validation split: the last epoch counts as the best",
                "give split.fractions a validation share",
            )

        self.model = new_model(architecture_of(self.config), settings.seed).to(device)
        rate_hz = dataset.sampling_rate_hz
        self.learner = Learner(self.model, settings, rate_hz, self.arithmetic, self.reporter, self.ranks)
        self.progress = Progress(horizon_steps=self._all_steps())
        self.sums: dict[str, float] = {}
        self.metrics: dict[str, float | None] = {}
        self.fresh = start is None
        if start is not None:
            self._restore(start)
        if settings.compile == "on" or (settings.compile == "auto" and device.type == "cuda"):
            own = self.ranks.share(self.sampler.batch_size)
            samples = dataset.segment_samples - crop_samples(dataset.sampling_rate_hz, settings.cross_shift_seconds)
            compile_encoders(self.model, self.arithmetic, 2 * (own.stop - own.start), samples, self.reporter)
        self.total = Pace()
        self.telling = Telling(self.reporter, min(self.model.seen_dim, len(val) - 1))

    def run(self) -> dict[str, int | float | None]:
        progress, settings = self.progress, self.settings
        if self.fresh:
            self.reporter.metric(0, 0, self._validate())
        while not progress.ended:
            pace = Pace()
            for batch, waited_s in pace.timed(self.train_loader.batches(progress.epoch, progress.step_in_epoch)):
                progress.seconds += waited_s
                began = time.monotonic()
                self._boundary()
                progress.seconds += time.monotonic() - began
                began = time.monotonic()
                values = self._step(batch)
                step_s = time.monotonic() - began
                progress.seconds += step_s
                pace.count(batch, step_s)
                rate = learning_rate(progress.step - 1, progress.horizon_steps, settings)
                self.telling.step(progress, self._all_steps(), values, rate, waited_s)
                self._agree_on_time()
                if out_of_time(progress, settings):
                    break
            self.total.add(pace)
            self._end_epoch(self._validate(), pace)
        return _result(progress, self.total)

    def _agree_on_time(self) -> None:
        """What the clock decides, all ranks decide alike."""
        if self.settings.max_minutes is not None:
            (self.progress.seconds,) = self.ranks.from_chief([self.progress.seconds])

    def _step(self, batch: Batch) -> dict[str, float]:
        """One optimiser step, and what it adds to the sums of the epoch."""
        progress, settings = self.progress, self.settings
        rate = learning_rate(progress.step, progress.horizon_steps, settings)
        values, bad = self.learner.step(batch.to(self.arithmetic.device), rate)
        progress.step += 1
        progress.step_in_epoch += 1
        if bad:
            self._bad_step(batch, values)
        elif math.isfinite(values["grad_norm"]):
            progress.bad_in_a_row = 0
            values["clipped_share"] = float(values["grad_norm"] > settings.max_grad_norm)
            for name, value in {**values, "steps": 1.0}.items():
                self.sums[name] = self.sums.get(name, 0.0) + value
        return values

    def _bad_step(self, batch: Batch, values: dict[str, float]) -> None:
        progress = self.progress
        progress.bad_steps += 1
        progress.bad_in_a_row += 1
        rows = self.ranks.joined(suspects(self.model, batch.to(self.arithmetic.device), self.arithmetic))
        salt = self.workspace.salt()
        named = ", ".join(f"{row} ({alias(str(self.dataset.patient_id[row]), salt)})" for row in rows[:_NAMED_SEGMENTS])
        more = f" and {len(rows) - _NAMED_SEGMENTS} more" if len(rows) > _NAMED_SEGMENTS else ""
        what = f"loss {values['loss']:g}, gradient norm {values['grad_norm']:g} at step {progress.step}"
        self.reporter.warning(
            "loss-not-finite", f"{what}: step skipped; segments {named}{more}", "a smaller training.learning_rate"
        )
        if progress.bad_in_a_row >= self.settings.max_bad_steps:
            raise EcgConsoleError(
                f"{progress.bad_in_a_row} steps in a row without a finite loss (last: {what}; segments {named}{more}). "
                "The last checkpoint is from before them. Lower training.learning_rate, or leave these segments out"
            )

    def _boundary(self) -> None:
        """Between two steps: pause, which counts as no time, stop with everything saved, or save on request."""
        while True:
            began = time.monotonic()
            # A pause says so now and then, or the other ranks would take the chief for dead.
            self.stop.wait_while_paused(_HEARTBEAT_SECONDS)
            self.progress.seconds -= time.monotonic() - began
            asked = (self.stop.paused, self.stop.requested, self.stop.checkpoint_requested())
            paused, stopping, saving = map(bool, self.ranks.from_chief(asked))
            if saving or stopping:
                self._save([self.workspace.latest_checkpoint])
            if not paused:
                break
        if stopping:
            progress = self.progress
            self.stop.request()
            self.stop.raise_if_requested(
                f"{self.workspace.latest_checkpoint.name}, in epoch {progress.epoch + 1}, step {progress.step}",
                self.given.continued_by,
            )
        if self.telling.is_due:
            self.telling.progress(self.progress, self._all_steps())

    def _validate(self) -> dict[str, float | None]:
        if self.val_loader is None:
            return {"val_loss": None}
        rate = self.expectations.sampling_rate_hz
        began = time.monotonic()
        metrics = validate(
            self.model, self.val_loader, self.settings, rate, self.arithmetic, self._boundary, self.rhythm, self.ranks
        )
        self.progress.seconds += time.monotonic() - began
        return metrics

    def _end_epoch(self, metrics: dict[str, float | None], pace: Pace) -> None:
        progress, settings, workspace = self.progress, self.settings, self.workspace
        steps = self.sums.pop("steps", 0.0)
        means = {name: total / steps for name, total in self.sums.items()}
        rate = learning_rate(max(progress.step - 1, 0), progress.horizon_steps, settings)
        self.metrics = {
            "train_loss": means.pop("loss", None),
            **metrics,
            "learning_rate": rate,
            "temperature": self.learner.temperature(),
            **means,
            "loader_wait_share": pace.waiting_share,
            "segments_per_second": pace.segments_per_second,
            "gpu_memory_gb": gpu_memory_gb(self.arithmetic.device),
            "bad_steps": float(progress.bad_steps),
        }
        self.sums = {}
        progress.train_loss, progress.val_loss = self.metrics["train_loss"], metrics["val_loss"]
        progress.epoch += 1
        progress.step_in_epoch = 0
        is_best = _is_better(progress.val_loss, progress.best_val_loss)
        if is_best:
            progress.best_epoch, progress.best_val_loss = progress.epoch, progress.val_loss
        self._agree_on_time()
        progress.ended = reason_to_end(progress, settings)
        progress.horizon_steps = horizon(progress, self._all_steps(), settings)
        self.reporter.metric(progress.step, progress.epoch, self.metrics)
        self.telling.progress(progress, self._all_steps())
        self.telling.collapse(progress.epoch, metrics)

        names = [workspace.best_checkpoint] if is_best else []
        names.append(workspace.latest_checkpoint)
        if progress.epoch % settings.checkpoint_every == 0 or progress.ended:
            names.append(workspace.epoch_checkpoint(progress.epoch))
        self._save(names)
        if self.ranks.is_chief:
            prune(workspace, settings.keep_checkpoints)

    def _save(self, paths: list[Path]) -> None:
        if not self.ranks.is_chief:
            return
        progress = self.progress
        data = pack(
            **self.learner.state(),
            progress=progress,
            sums=self.sums,
            architecture=architecture_of(self.config),
            expectations=self.expectations,
        )
        sidecar = describe(
            data,
            progress,
            self.metrics,
            self.config.model_dump(mode="json", include={"model", "training"}),
            self.config.identity(("model", "training")),
            self.dataset.content_sha256,
        )
        save(paths, data, sidecar)
        self.given.on_saved()
        self.reporter.checkpoint(str(paths[-1]), progress.epoch, progress.step, progress.val_loss, sidecar.sha256)

    def _restore(self, start: Saved) -> None:
        self.learner.restore(start.contents)
        self.progress, self.sums, self.metrics = start.progress, start.contents["sums"], dict(start.sidecar.metrics)
        self.progress.resumed_from = start.path.name
        self.progress.ended = ""
        then, now = start.sidecar.parameters["training"], self.settings.model_dump(mode="json")
        if any(then.get(name) != now[name] for name in _ORDER_PARAMETERS):
            self.progress.step_in_epoch, self.sums = 0, {}
        if any(then.get(name) != now[name] for name in ("num_epochs", "max_minutes", *_ORDER_PARAMETERS)):
            self.progress.horizon_steps = horizon(self.progress, self._all_steps(), self.settings)

    def _sampler(self, segments: Segments) -> Sampler:
        settings = self.settings
        block = block_segments(len(segments), self.dataset.segment_samples, settings.memory_gb * 1e9)
        if block is not None and block < 2 * settings.batch_size:
            raise ConfigurationError(
                f"training.memory_gb={settings.memory_gb:g} holds blocks of {block} segments, which make no batch of "
                f"training.batch_size={settings.batch_size}: twice as many are needed"
            )
        order = (settings.batch_size, settings.segments_per_patient, settings.positive_within_seconds, settings.seed)
        return Sampler(segments, *order, block)

    def _loader(self, sampler: Sampler, statistics: tuple[FloatArray, FloatArray], stream: int) -> Loader:
        mean, sd = statistics
        rhythm = (sampler.segments.rhythm - mean) / sd
        return Loader(
            self.dataset, sampler, rhythm, self.settings.num_workers, self.arithmetic.device, stream, self.ranks
        )

    def _all_steps(self) -> int:
        return self.sampler.batches_per_epoch * self.settings.num_epochs


def architecture_of(config: Config) -> dict[str, Any]:
    """The arguments of ``Model``, in plain types."""
    n_beat = N_BEAT if config.training.weight_beat else 0
    return {
        **config.model.model_dump(mode="json"),
        "n_rhythm": len(RHYTHM_TARGETS),
        "n_beat": n_beat,
        "learn_temperature": config.training.learn_temperature,
    }


def new_model(architecture: dict[str, Any], seed: int) -> Model:
    """The network that training starts from."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Model(**architecture)


def _is_better(val_loss: float | None, best: float | None) -> bool:
    """Without validation every epoch is the best so far; a loss that is not finite never is."""
    if val_loss is None:
        return True
    return math.isfinite(val_loss) and (best is None or val_loss < best)


def _result(progress: Progress, pace: Pace) -> dict[str, int | float | None]:
    return {
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "train_loss": progress.train_loss,
        "val_loss": progress.best_val_loss,
        "segments_per_second": pace.segments_per_second,
        "steps": progress.step,
        "bad_steps": progress.bad_steps,
    }
