"""The dataset card, the model card, and what someone needs to make the same results again.

After Gebru et al., Datasheets for Datasets (2021), and Mitchell et al., Model Cards for Model Reporting (2019).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ecgconsole.config import PATH_KEYS, flatten, is_execution_key
from ecgconsole.dataset import Dataset
from ecgconsole.findings.provenance import file_sha256
from ecgconsole.findings.report.disclosure import is_small
from ecgconsole.findings.report.sources import Sources
from ecgconsole.findings.report.svg import text_of
from ecgconsole.text import sanitise, size

_ARTEFACTS = (
    "clinical_features",
    "patterns",
    "pattern_model",
    "validation",
    "stroke_risk",
    "stroke_model",
)


def dataset_card(sources: Sources, minimum: int) -> list[tuple[str, str]] | None:
    if sources.dataset is None:
        return None
    with Dataset(sources.dataset) as dataset:
        attributes, parameters = dataset.attributes, dataset.parameters
        build, data = parameters["build"], parameters["data"]
        seconds = dataset.segment_samples / dataset.sampling_rate_hz
        hours = dataset.n_segments * seconds / 3600
        channels = {kind: _channels(dataset, kind, minimum) for kind in ("ecg", "ppg")}
        patients = len(dataset.patients["id"])
        labels = [v for n, v in dataset.patients.items() if n.startswith("labels/") and n != "labels/in_tables"]
        labelled = any((values >= 0).any() for values in labels)
        return [
            (
                "What it is",
                f"{dataset.n_segments:,} segments of {seconds:g} s ({hours:,.1f} h) of {patients:,} patients",
            ),
            ("Where it comes from", f"WFDB recordings, layout {sanitise(attributes.get('layout', 'not known'), 60)}"),
            ("Signals", f"ECG in mV and PPG in its own unit (NU), {dataset.sampling_rate_hz:g} Hz, int16 with a scale"),
            ("Channels", "; ".join(f"{kind.upper()}: {words}" for kind, words in channels.items() if words)),
            (
                "Filter",
                f"zero-phase band-pass, ECG {_band(build['ecg_band_hz'])}, PPG {_band(build['ppg_band_hz'])}: "
                "slow ST changes and drift are not in it",
            ),
            ("Taken in", f"windows that have {_required(data['require'])}; {_selected(build)}"),
            (
                "Left out",
                "windows with missing samples, a lead off, clipping or noise, never for their rhythm; patients with "
                f"fewer than {build['min_segments_per_patient']} segments",
            ),
            (
                "Labels",
                "discharge codes (ICD-9), deaths and prescriptions of the clinical tables, by admission and time"
                if labelled
                else "none: no clinical tables were given, or they are of other patients",
            ),
            ("Split", f"by patient, {' / '.join(text_of(f) for f in parameters['split']['fractions'])}, stratified"),
            (
                "Whom it speaks for",
                "people who were monitored where these recordings were made, and whose recordings were kept; not a "
                "sample of any population, and in intensive care sicker than most",
            ),
            ("Not for", "decisions about patients; timing between ECG and PPG (their clocks drift apart)"),
            ("Terms", "those of the recordings and tables it was made from; it holds real patient ids"),
            ("Size", f"{size(sources.dataset.stat().st_size)}, HDF5, content SHA-256 {dataset.content_sha256}"),
        ]


def _channels(dataset: Dataset, kind: str, minimum: int) -> str:
    column = f"segment/{kind}_channel"
    if column not in dataset.column_names:
        return ""
    names, codes = np.unique(dataset.column(column), return_inverse=True)
    patient = dataset.patient_id
    shown = [
        sanitise(name, 40)
        for i, name in enumerate(names)
        if name and not is_small(len(np.unique(patient[codes == i])), minimum)
    ]
    return ", ".join(shown)


def _band(hz: list[float]) -> str:
    return f"{hz[0]:g} to {hz[1]:g} Hz"


def _required(require: str) -> str:
    return {"both": "ECG and PPG", "ecg": "an ECG", "ppg": "a PPG"}.get(require, "an ECG or a PPG")


def _selected(build: dict[str, Any]) -> str:
    most = build["max_segments_per_patient"]
    words = "all segments of a patient" if most is None else f"at most {most:,} segments a patient, spread evenly"
    if build["max_patients"] is None:
        return f"all patients; {words}"
    how = {"volume": "the longest-monitored first, who are sicker", "random": "drawn at random", "id": "first by id"}
    return f"at most {build['max_patients']:,} patients, {how[build['selection']]}; {words}"


def model_card(sources: Sources) -> list[tuple[str, str]] | None:
    c = sources.checkpoint
    if c is None:
        return None
    model, training = c["parameters"]["model"], c["parameters"]["training"]
    terms = [name.removeprefix("weight_") for name, w in training.items() if name.startswith("weight_") and w]
    terms = [t for t in terms if t != "decay"]
    stages = ", ".join(str(d) for d in model["hidden_dims"])
    length = model["embedding_dim"]
    kept = f"{length} numbers" if length else "the square roots of all that is pooled over time"
    return [
        ("What it is", "one-dimensional residual encoders, one for each signal; no labels in training"),
        ("Shape", f"{stages} channels in its stages; of each segment it keeps {kept}"),
        ("Objective", f"contrastive and predictive: {', '.join(terms)}; temperature {training['temperature']:g}"),
        ("Trained on", "training patients of the dataset named below"),
        (
            "Trained for",
            f"{c['step']:,} steps, {c['epoch']} epochs, batches of {training['batch_size']}; best checkpoint by the "
            "loss of validation patients",
        ),
        ("Use", "to find, compare and count rhythms in recordings of the same kind, for research"),
        (
            "Not for",
            "diagnosis, alarms or treatment; recordings of other devices, filters or sampling rates without a new "
            "validation",
        ),
        (
            "Known weaknesses",
            "it also recognises people (see the share of nearest neighbours of the same patient); another training "
            "gives other patterns; ten seconds do not show slow changes",
        ),
        ("Who was harmed or missed", "not studied by ethnicity or device; by sex and age only for the risk models"),
        ("Version", f"ecgconsole {sanitise(c['version'], 20)}; weights SHA-256 {sanitise(c['sha256'], 64)}"),
        ("Trained on dataset", f"content SHA-256 {sanitise(c['dataset_sha256'], 64)}"),
    ]


def parameters(sources: Sources, report: dict[str, Any]) -> list[tuple[str, str]]:
    """Every parameter that shaped a result here, as recorded with the result; of files only their names."""
    sections: dict[str, Any] = {}
    if sources.dataset is not None:
        with Dataset(sources.dataset) as dataset:
            sections.update(dataset.parameters)
    if sources.checkpoint is not None:
        sections.update(sources.checkpoint["parameters"])
    for name, document in (
        ("discovery", sources.patterns),
        ("validation", sources.validation),
        ("stroke", sources.stroke),
    ):
        if document is not None:
            sections[name] = document["parameters"]
    sections["report"] = report
    rows = []
    for key, value in sorted(flatten(sections).items()):
        if not _execution(key):
            shown = Path(value).name if key in PATH_KEYS and value else value
            rows.append((key, "none" if shown is None else sanitise(_plain(shown), 200)))
    return rows


def _execution(key: str) -> bool:
    try:
        return is_execution_key(key)
    except KeyError:
        return False  # a parameter of another version


def _plain(value: Any) -> str:
    return ", ".join(str(v) for v in value) if isinstance(value, (list, tuple)) else str(value)


def hashes(sources: Sources) -> list[tuple[str, str]]:
    """File and SHA-256 of what the page was made from."""
    rows = []
    if sources.dataset is not None:
        with Dataset(sources.dataset) as dataset:
            rows.append((f"{sources.dataset.name} (content)", dataset.content_sha256))
    if sources.checkpoint is not None:
        rows.append((sources.workspace.best_checkpoint.name, sanitise(sources.checkpoint["sha256"], 64)))
    paths = [getattr(sources.workspace, name) for name in _ARTEFACTS]
    rows += [(p.name, file_sha256(p)) for p in (*sources.embeddings, *paths) if p.is_file()]
    return rows


def versions(sources: Sources) -> list[tuple[str, str]]:
    if sources.dataset is None:
        return []
    with Dataset(sources.dataset) as dataset:
        found = dataset.attributes.get("versions", {})
    return [(sanitise(name, 40), sanitise(version, 40)) for name, version in sorted(found.items())]
