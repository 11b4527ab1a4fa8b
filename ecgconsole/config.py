"""The parameters of a run: what exists, what is valid, and where each value came from.

Precedence: default < file < environment (``ECGCONSOLE_TRAINING__BATCH_SIZE``) < command line.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ecgconsole.errors import ConfigurationError
from ecgconsole.text import sanitise

ENVIRONMENT_PREFIX = "ECGCONSOLE_"
PATH_KEYS = ("data.waveform_dir", "data.clinical_dir", "data.patient_map", "split.file", "discovery.rhythm_file")

# The brief's flat example: each of its keys, and where its value goes.
FLAT_KEYS: dict[str, tuple[str, ...]] = {
    "max_patients": ("build.max_patients",),
    "min_segments_per_patient": ("build.min_segments_per_patient",),
    "max_segments_per_patient": ("build.max_segments_per_patient",),
    "chunk_size": ("build.chunk_size",),
    "batch_size": ("training.batch_size",),
    "learning_rate": ("training.learning_rate",),
    "num_epochs": ("training.num_epochs",),
    "temperature": ("training.temperature",),
    "embedding_dim": ("model.embedding_dim",),
    "hidden_dims": ("model.hidden_dims",),
    "num_workers": ("build.num_workers", "training.num_workers"),
}

Band = Annotated[tuple[float, float], Field(min_length=2, max_length=2)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _how(default: Any, description: str, **kwargs: Any) -> Any:
    """A parameter of how the work is done: it never changes a result, so changing it reruns nothing."""
    return Field(default, description=description, json_schema_extra={"execution": True}, **kwargs)


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(_Section):
    """Where the recordings and tables are, and which channels are wanted."""

    waveform_dir: str | None = Field(None, description="folder of WFDB recordings")
    clinical_dir: str | None = Field(None, description="folder of MIMIC-III tables (.csv or .csv.gz); null: no labels")
    layout: Literal["auto", "mimic3-matched", "mimic3", "wfdb"] = Field(
        "auto", description="folder layout: p00/p000020/..., 30/3000003/..., any tree of WFDB records"
    )
    patient_map: str | None = Field(
        None, description="CSV record,patient (paths or base names): who is one person, in any layout"
    )
    ecg_channels: tuple[str, ...] = Field(
        ("II", "MLII", "I", "III", "V", "AVR", "AVL", "AVF", "MCL1", "ECG"),
        description="ECG channel names in order of preference",
        min_length=1,
    )
    ppg_channels: tuple[str, ...] = Field(
        ("PLETH", "PPG"), description="PPG channel names in order of preference; none: ECG alone"
    )
    require: Literal["both", "ecg", "ppg", "either"] = Field("both", description="signals that a window must have")

    @model_validator(mode="after")
    def _required_signals_have_names(self) -> DataConfig:
        if not self.ppg_channels and self.require not in ("ecg", "either"):
            raise ValueError(f"require={self.require} needs names in ppg_channels")
        return self


class BuildConfig(_Section):
    """From recordings to clean segments."""

    max_patients: int | None = Field(None, ge=1, description="patients to build; null: all")
    selection: Literal["volume", "random", "id"] = Field(
        "volume", description="which patients come first: largest, seeded random, by id"
    )
    selection_seed: int = Field(0, ge=0, description="seed of selection=random")
    min_segments_per_patient: int = Field(10, ge=1, description="patients with fewer segments are left out")
    max_segments_per_patient: int | None = Field(
        1000, ge=1, description="segments kept of one patient, spread evenly over the records; null: all"
    )
    segment_seconds: float = Field(10.0, ge=2, le=120, description="s, length of a segment")
    sampling_rate_hz: float = Field(125.0, ge=50, le=1000, description="Hz, of the dataset")
    ecg_band_hz: Band = Field((0.5, 40.0), description="Hz, zero-phase band-pass of the ECG")
    ppg_band_hz: Band = Field((0.5, 8.0), description="Hz, zero-phase band-pass of the PPG")
    chunk_size: int = _how(500, "patients scheduled at a time", ge=1)
    shard_patients: int = _how(8, "patients in one committed shard", ge=1, le=500)
    num_workers: int | None = _how(None, "worker processes; null: one a core", ge=1)
    compression: Literal["gzip", "zstd", "none"] = Field(
        "gzip", description="of the dataset file, always with shuffle and fletcher32"
    )
    keep_shards: bool = _how(False, "keep shards/ after the merge")
    executor: Literal["local", "dask"] = _how("local", "where the workers run")
    scheduler_address: str | None = _how(None, "Dask scheduler; null with executor=dask: a local cluster")

    @model_validator(mode="after")
    def _bands_below_nyquist(self) -> BuildConfig:
        for name in ("ecg_band_hz", "ppg_band_hz"):
            low, high = getattr(self, name)
            if not 0 < low < high < self.sampling_rate_hz / 2:
                raise ValueError(
                    f"{name} = [{low:g}, {high:g}] must rise and lie between 0 and half of "
                    f"sampling_rate_hz ({self.sampling_rate_hz / 2:g} Hz)"
                )
        if self.max_segments_per_patient is not None and self.max_segments_per_patient < self.min_segments_per_patient:
            raise ValueError("max_segments_per_patient is below min_segments_per_patient: no patient could pass")
        samples = self.segment_seconds * self.sampling_rate_hz
        if abs(samples - round(samples)) > 1e-6:
            raise ValueError(f"segment_seconds x sampling_rate_hz = {samples:g} is not a whole number of samples")
        return self


class ClinicalConfig(_Section):
    """Linking recordings to hospital admissions."""

    link_tolerance_hours: float = Field(
        6.0, ge=0, le=72, description="h, a record this far outside an admission still links to it"
    )


class SplitConfig(_Section):
    """Which patients train, validate and test."""

    fractions: tuple[Fraction, Fraction, Fraction] = Field(
        (0.7, 0.15, 0.15), description="train, validation, test; by patient, stratified by outcome and rhythm"
    )
    seed: int = Field(0, ge=0, description="seed of the split")
    file: str | None = Field(None, description="CSV patient,split that overrides the draw")

    @model_validator(mode="after")
    def _sum_to_one(self) -> SplitConfig:
        if abs(sum(self.fractions) - 1) > 1e-6 or self.fractions[0] <= 0:
            raise ValueError(f"fractions {list(self.fractions)} must sum to 1, with a training share above 0")
        return self


class ModelConfig(_Section):
    """The encoders."""

    embedding_dim: int | None = Field(
        256,
        ge=2,
        le=4096,
        description="length of an embedding; null: roots of all that is pooled over time, for one signal alone",
    )
    hidden_dims: tuple[Annotated[int, Field(ge=4, le=4096)], ...] = Field(
        (64, 128, 256, 512), min_length=1, max_length=8, description="channels of each residual stage"
    )
    projection_dim: int = Field(128, ge=2, le=4096, description="output of the projectors, used in training only")


class TrainingConfig(_Section):
    """Contrastive training."""

    batch_size: int = Field(512, ge=4, description="segments in a step, over all ranks")
    micro_batch_size: int | None = Field(
        None, ge=1, description="segments of a rank encoded at once, the batch kept whole; null: all that memory takes"
    )
    segments_per_patient: int = Field(
        8, ge=1, description="segments of one patient in a batch (P patients x K segments)"
    )
    negative_gap_seconds: float = Field(
        300.0, ge=0, description="s, segments of one patient nearer than this are masked, not negatives"
    )
    learning_rate: Positive = Field(3e-4, le=1, description="peak rate of AdamW")
    weight_decay: float = Field(0.01, ge=0, le=1, description="of AdamW")
    warmup_fraction: Fraction = Field(0.05, description="share of the steps in which the rate rises")
    num_epochs: int = Field(50, ge=1, description="passes over the training patients")
    max_minutes: float | None = Field(None, gt=0, description="min, ends training early; null: never")
    temperature: Positive = Field(0.1, le=10, description="of NT-Xent")
    learn_temperature: bool = Field(False, description="the temperature is learnt too, from there on, 0.01 at least")
    weight_views: float = Field(1.0, ge=0, description="weight of NT-Xent between two views of one signal")
    weight_cross: float = Field(1.0, ge=0, description="weight of NT-Xent between ECG and PPG of one window")
    weight_rhythm: float = Field(1.0, ge=0, description="weight of predicting the stored rhythm columns of a window")
    weight_beat: float = Field(1.0, ge=0, description="weight of predicting the mean beat of a window and its spread")
    weight_decorrelation: float = Field(
        0.0, ge=0, description="weight of VICReg's variance and covariance terms, for small batches"
    )
    positive_within_seconds: float = Field(
        20.0, ge=0, description="s, a view's positive is a window of its record at most this far away; 0: the same one"
    )
    cross_shift_seconds: float = Field(0.5, ge=0, le=2, description="s, each signal's own shift in the cross term")
    max_grad_norm: Positive = Field(1.0, description="gradients are clipped to this norm")
    seed: int = Field(0, ge=0, description="seed of weights, order and augmentation")
    num_workers: int = _how(2, "threads that prepare batches; 0: none", ge=0)
    patience: int | None = Field(None, ge=1, description="epochs without a better validation loss before ending")
    checkpoint_every: int = Field(1, ge=1, description="epochs between checkpoints")
    keep_checkpoints: int = _how(5, "epoch checkpoints kept, besides latest, best and pinned", ge=1)
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:1")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16, else fp16, on a GPU that is fast in it; else fp32"
    )
    world_size: int = Field(1, ge=1, description="processes (ranks), one a GPU, over all machines")
    nodes: int = _how(1, "machines that share the ranks evenly; the others join by torchrun", ge=1)
    rendezvous: str | None = _how(None, "host:port of this machine, at which the others join; needed with nodes > 1")
    rank_timeout_seconds: float = _how(600.0, "s, a rank that the others wait for longer counts as dead", ge=1)
    compile: Literal["auto", "on", "off"] = Field(
        "auto", description="torch.compile of the encoders; auto: on a GPU alone"
    )
    tensorboard: bool = _how(False, "also write event files for TensorBoard (its extra is needed)")
    memory_gb: float = Field(
        12.0, gt=0, description="GB of signals held in memory; of more, patients are shuffled in blocks from disk"
    )
    max_bad_steps: int = Field(20, ge=1, description="steps with a loss that is not finite, in a row, before giving up")

    @model_validator(mode="after")
    def _ranks_fit(self) -> TrainingConfig:
        if self.world_size % self.nodes:
            raise ValueError(f"world_size={self.world_size} cannot be shared evenly by nodes={self.nodes}")
        if self.nodes > 1 and self.rendezvous is None:
            raise ValueError(f"nodes={self.nodes} needs rendezvous=HOST:PORT, where the machines meet")
        if self.batch_size < self.world_size:
            raise ValueError(
                f"batch_size={self.batch_size} leaves some of world_size={self.world_size} without segments"
            )
        return self


class EmbeddingConfig(_Section):
    """From segments to embeddings."""

    batch_size: int = _how(1024, "segments encoded at a time", ge=1)
    umap: bool = Field(False, description="also two UMAP dimensions, fitted on training people (its extra is needed)")


class DiscoveryConfig(_Section):
    """From embeddings to patterns."""

    seed: int = Field(0, ge=0, description="seed of samples, half-splits, k-means starts and bootstraps")
    segments_per_patient: int = Field(200, ge=1, description="segments of one patient in the balanced sample, at most")
    max_components: int = Field(16, ge=1, le=1024, description="principal components kept, at most")
    explained_variance: float = Field(0.99, gt=0, le=1, description="variance that the components kept explain")
    cluster_counts: tuple[Annotated[int, Field(ge=2, le=500)], ...] = Field(
        (4, 6, 8, 10, 12, 16, 20, 24), min_length=1, description="numbers of clusters that are compared"
    )
    patients_per_cluster: int = Field(
        8, ge=1, description="training patients for each cluster, at least: more clusters could not be shared"
    )
    half_splits: int = Field(20, ge=4, description="patient-level half-splits behind the stability of each number")
    stability_segments_per_patient: int = Field(50, ge=1, description="segments of one patient in a half-split")
    initialisations: int = Field(4, ge=1, description="k-means starts of a fit; the best is kept")
    kmeans: Literal["numpy", "faiss"] = Field(
        "numpy", description="what runs k-means; faiss (extra) is faster, its patterns differ in the last digits"
    )
    min_patients: int = Field(20, ge=1, description="patients without which a cluster is no pattern")
    min_effective_patients: float = Field(15.0, ge=1, description="inverse Simpson index a pattern needs")
    max_patient_share: Fraction = Field(0.2, description="share of the largest patient above which it is no pattern")
    artefact_quality: Fraction = Field(
        0.5, description="share of a cluster's segments in the worst tenth by signal quality that makes it artefact"
    )
    bootstrap_repetitions: int = Field(200, ge=20, description="patient bootstraps behind each interval of a profile")
    density_sample: int = Field(4000, ge=50, le=20000, description="segments in the density-based cross-check")
    neighbour_sample: int = Field(20000, ge=50, le=100000, description="segments in the same-patient neighbour figures")
    medoids: int = Field(6, ge=1, le=50, description="representative segments listed for each pattern")
    transition_gap_seconds: float = Field(
        60.0, gt=0, description="s, segments of one record at most this far apart count as consecutive"
    )
    rhythm_file: str | None = Field(
        None, description="CSV record,start_seconds,end_seconds,rhythm of charted or annotated rhythm; null: none"
    )
    num_workers: int | None = _how(None, "threads; null: one a core", ge=1)


class ValidationConfig(_Section):
    """From patterns to associations with clinical labels, the patient being the unit."""

    seed: int = Field(0, ge=0, description="seed of permutations and draws")
    exposure_share: float = Field(0.05, gt=0, le=1, description="share of a patient's segments that makes exposure")
    exposure_segments: int = Field(3, ge=1, description="and at least this many segments")
    fixed_segments: int = Field(50, ge=1, description="segments drawn of each patient when exposure is repeated")
    fixed_repetitions: int = Field(20, ge=1, description="draws of a fixed number of segments")
    false_discovery_rate: float = Field(0.05, gt=0, lt=0.5, description="level of q, of max-T and of replication")
    permutations: int = Field(2000, ge=100, description="stratified permutations behind max-T")
    control_permutations: int = Field(200, ge=20, description="repetitions of the negative control")
    min_patients: int = Field(10, ge=1, description="patients with and without, below which a pair is not tested")
    age_bands: tuple[float, ...] = Field((50.0, 65.0, 80.0), description="years, borders of the age strata")


class StrokeConfig(_Section):
    """Stroke risk by nested models."""

    seed: int = Field(0, ge=0, description="seed of folds and bootstraps")
    folds: int = Field(5, ge=2, le=20, description="outer folds, by patient")
    repetitions: int = Field(10, ge=1, le=100, description="repetitions of the outer folds")
    inner_folds: int = Field(5, ge=2, le=20, description="folds that choose the penalty, inside each outer fold")
    penalties: tuple[Positive, ...] = Field(
        (0.001, 0.01, 0.1, 1.0, 10.0), min_length=1, description="inverse strengths of the ridge (C) that are compared"
    )
    min_events: int = Field(20, ge=5, description="events (and non-events) below which nothing is estimated")
    embedding_components: int = Field(3, ge=0, le=64, description="embedding components in the largest model")
    bootstrap_repetitions: int = Field(1000, ge=100, description="patient bootstraps behind each interval")
    calibration_bins: int = Field(10, ge=2, le=50, description="groups of equal size in the calibration curve")
    thresholds: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3),
        min_length=1,
        description="risks at which the decision curve is drawn",
    )
    subgroup_age: float = Field(65.0, gt=0, description="years, border between the two age subgroups")


class ReportConfig(_Section):
    """One page of everything."""

    min_cell_patients: int = Field(
        10, ge=0, le=1000, description="people below which a count, and what would tell it, is not shown; 0: show all"
    )
    map_points: int = Field(3000, ge=50, le=5000, description="segments on the map of the embedding, at most")
    waveforms: int = Field(3, ge=0, le=6, description="segments drawn of each pattern")
    seed: int = Field(0, ge=0, description="seed of the map's sample and layout")


class JobConfig(_Section):
    """How a run is watched and stopped. Changes no result."""

    stop_seconds: float = _how(60.0, "s, a staged stop waits for the unit in hand before it terminates", ge=1)
    terminate_seconds: float = _how(10.0, "s, between terminate and kill (35 or more with several ranks)", ge=1)
    gauge_seconds: float = _how(2.0, "s, between two readings of the machine's gauges", ge=0.2)
    silence_seconds: float = _how(600.0, "s without a word from a stage before a warning", ge=1)
    warning_command: str | None = _how(
        None, "run at each warning and at the end of a run, with the event as JSON on its standard input"
    )


class Config(_Section):
    """All parameters of a run."""

    data: DataConfig = DataConfig()
    build: BuildConfig = BuildConfig()
    clinical: ClinicalConfig = ClinicalConfig()
    split: SplitConfig = SplitConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    embedding: EmbeddingConfig = EmbeddingConfig()
    discovery: DiscoveryConfig = DiscoveryConfig()
    validation: ValidationConfig = ValidationConfig()
    stroke: StrokeConfig = StrokeConfig()
    report: ReportConfig = ReportConfig()
    job: JobConfig = JobConfig()

    @model_validator(mode="after")
    def _signals_share_a_space(self) -> Config:
        if self.model.embedding_dim is None and self.training.weight_cross:
            raise ValueError(
                "model.embedding_dim=null is for one signal alone: what is pooled of ECG and PPG shares no space; set "
                "training.weight_cross=0 (and a dataset of one signal) or a length"
            )
        return self

    def get(self, key: str) -> Any:
        """The value of a dotted key (``training.learning_rate``) or of a whole section."""
        value: Any = self
        for part in key.split("."):
            value = getattr(value, part)
        return value

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), indent=2) + "\n"

    def identity(self, settings: Iterable[str]) -> str:
        """SHA-256 of the named sections or keys, without those that only say how the work is done."""
        values = {}
        for key, value in flatten(self.model_dump(mode="json")).items():
            wanted = any(key == s or key.startswith(s + ".") for s in settings)
            if wanted and not is_execution_key(key):
                values[key] = value
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Resolved:
    """A configuration with the source of each value, by dotted key."""

    config: Config
    sources: Mapping[str, str]


def is_execution_key(key: str) -> bool:
    section, _, name = key.partition(".")
    extra = Config.model_fields[section].default.__class__.model_fields[name].json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("execution"))


def flatten(sections: Mapping[str, Any]) -> dict[str, Any]:
    """``{"build": {"chunk_size": 5}}`` as ``{"build.chunk_size": 5}``."""
    flat: dict[str, Any] = {}
    for section, values in sections.items():
        if isinstance(values, Mapping) and values:
            flat.update({f"{section}.{name}": value for name, value in values.items()})
        else:
            flat[section] = values
    return flat


def resolve(
    file: Path | None = None,
    overrides: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Resolved:
    """Merges all layers and validates them together.

    ``overrides`` are ``key=value`` texts. Relative paths are made absolute, so that a saved
    ``config.json`` means the same from any folder. Raises ``ConfigurationError`` with every problem.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    problems: list[str] = []

    def lay(layer: Mapping[str, Any], source: str) -> None:
        for key, value in layer.items():
            for target in FLAT_KEYS.get(key, (key,)):
                values[target] = value
                sources[target] = source

    if file is not None:
        layer, found = _read_file(file)
        problems += found
        lay(layer, str(file))
    env = os.environ if environment is None else environment
    for name in sorted(env):
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            key = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".", 1)
            lay({key: _json_or_text(env[name])}, f"environment {name}")
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            problems.append(f"--set {sanitise(text)}: write it as key=value")
            continue
        lay({key.strip(): _json_or_text(value)}, "command line")

    config, found = _validate(values)
    problems += found
    if problems or config is None:
        where = f" in {file}" if file is not None else ""
        raise ConfigurationError(f"the configuration{where} has {len(problems)} problem(s):", tuple(problems))
    config = _with_absolute_paths(config)
    for key in flatten(config.model_dump()):
        sources.setdefault(key, "default")
    return Resolved(config, sources)


def load(file: Path) -> Config:
    """A file alone, without environment or overrides: a run's own ``config.json``."""
    return resolve(file, environment={}).config


def parse(text: str, name: str = "the text") -> Config:
    """A configuration given as text, as ``load`` reads a file. Raises ``ConfigurationError`` with every problem."""
    values: dict[str, Any] = {}
    layer, problems = _parse(text, name)
    for key, value in layer.items():
        values |= dict.fromkeys(FLAT_KEYS.get(key, (key,)), value)
    config, found = _validate(values)
    if config is None or problems or found:
        problems += found
        raise ConfigurationError(f"the configuration in {name} has {len(problems)} problem(s):", tuple(problems))
    return _with_absolute_paths(config)


def preset_names() -> tuple[str, ...]:
    return tuple(sorted(p.stem for p in _preset_dir().glob("*.json")))


def preset_path(name: str) -> Path:
    path = _preset_dir() / f"{name}.json"
    if not path.is_file():
        raise ConfigurationError(f"no preset {sanitise(name)}; there are: {', '.join(preset_names())}")
    return path


def json_schema() -> dict[str, Any]:
    return Config.model_json_schema()


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ, with both values (null where a side has no such key)."""
    flat_a, flat_b = flatten(a), flatten(b)
    keys = [*flat_a, *(k for k in flat_b if k not in flat_a)]
    return {k: (flat_a.get(k), flat_b.get(k)) for k in keys if flat_a.get(k) != flat_b.get(k)}


def _preset_dir() -> Path:
    package = Path(__file__).resolve().parent
    return package / "configs" if (package / "configs").is_dir() else package.parent / "configs"


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


class _Duplicates(dict[str, Any]):
    """A JSON object that remembers keys given twice."""

    repeated: tuple[str, ...] = ()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = _Duplicates(pairs)
    names = [name for name, _ in pairs]
    result.repeated = tuple(dict.fromkeys(n for n in names if names.count(n) > 1))
    return result


def _read_file(path: Path) -> tuple[dict[str, Any], list[str]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"cannot read the configuration {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8 text (byte {error.start})") from error
    return _parse(text, str(path))


def _parse(text: str, path: str) -> tuple[dict[str, Any], list[str]]:
    """The values by dotted (or flat) key, and their problems: duplicates, both spellings."""
    try:
        data = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from error
    if not isinstance(data, _Duplicates):
        raise ConfigurationError(f"{path}: a configuration is a JSON object, not {type(data).__name__}")
    problems = [f"{sanitise(key)}: given twice" for key in data.repeated]
    problems += [f"{sanitise(key)}: write it as a section with a key in it" for key in data if "." in key]
    for section, values in data.items():
        if isinstance(values, _Duplicates):
            problems += [f"{sanitise(section)}.{sanitise(key)}: given twice" for key in values.repeated]
    flat = flatten(data)
    for key, targets in FLAT_KEYS.items():
        both = [t for t in targets if t in flat] if key in flat else []
        problems += [f"{key}: given twice, also as {t}" for t in both]
    return flat, problems


def _validate(values: Mapping[str, Any]) -> tuple[Config | None, list[str]]:
    nested: dict[str, Any] = {}
    for key, value in values.items():
        section, dot, name = key.partition(".")
        if not dot:
            nested[section] = value
        elif isinstance(nested.setdefault(section, {}), dict):
            nested[section][name] = value
    try:
        return Config.model_validate_json(json.dumps(nested)), []
    except ValidationError as error:
        return None, [_problem(e) for e in error.errors()]


def _problem(error: Any) -> str:
    path = ".".join(sanitise(part, 80) for part in error["loc"]) or "configuration"
    if error["type"] == "extra_forbidden":
        section, _, name = path.partition(".")
        close = _closest(name or section, section if name else None)
        return f"{path}: no such parameter{close}"
    given = json.dumps(error["input"], default=str)
    message = error["msg"].removeprefix("Value error, ")
    if isinstance(error["input"], dict):
        return f"{path}: {message}"
    return f"{path}: {message} (given: {sanitise(given, 80)})"


def _closest(name: str, section: str | None) -> str:
    import difflib

    fields = Config.model_fields
    names = list(fields)
    if section in fields:
        names = list(type(fields[section].default).model_fields)
    match = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {match[0]}?" if match else ""


def _with_absolute_paths(config: Config) -> Config:
    data = config.model_dump(mode="json")
    for key in PATH_KEYS:
        section, name = key.split(".")
        if data[section][name] is not None:
            data[section][name] = os.path.abspath(os.path.expanduser(data[section][name]))
    return Config.model_validate_json(json.dumps(data))
