"""The fitted risk models applied to the patients of another folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ecgconsole.config import Config
from ecgconsole.dataset.tables import csv_text
from ecgconsole.errors import ConfigurationError, InputError
from ecgconsole.findings.clustering import Whitening, patient_means
from ecgconsole.findings.features import EMBEDDING_GROUP, feature_values, read_features
from ecgconsole.findings.inputs import embedding_files, read_segments
from ecgconsole.findings.risk import RiskModel, model_from_json
from ecgconsole.text import sanitise
from ecgconsole.workspace import Workspace, write_atomically


@dataclass(frozen=True)
class Fitted:
    """A stroke_model.json: models by endpoint and name, and what makes components of embeddings."""

    models: dict[str, dict[str, RiskModel]]
    whitening: Whitening | None


def load_fitted(path: Path) -> Fitted:
    """Reads a stroke_model.json. Raises ``InputError`` for anything else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        models = {
            str(endpoint): {str(name): model_from_json(m) for name, m in by_name.items()}
            for endpoint, by_name in data["endpoints"].items()
        }
        whitening = None
        if data["whitening"] is not None:
            arrays = (np.asarray(data["whitening"][name], np.float32) for name in ("mean", "components"))
            whitening = Whitening(*arrays)
        return Fitted(models, whitening)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a risk model of the stage stroke ({sanitise(error, 200)})") from error


def run(config: Config, workspace: Workspace, model: Path) -> dict[str, Any]:
    """Writes risk_predictions.csv for the folder's patients: patient_id, endpoint, model, risk.

    Uses the folder's clinical_features.csv and, for models that look at them, its embeddings, which
    must come from the encoder that the model was made with. Returns the number of patients, and why
    models were left out.
    """
    fitted = load_fitted(Path(model))
    table = read_features([workspace.clinical_features])
    with threadpool_limits(1):
        components, why = _components(config, workspace, fitted.whitening)
        values, missing = feature_values(table, components)
    if why:
        missing[EMBEDDING_GROUP] = why
    rows, left_out = [], {}
    for endpoint, by_name in fitted.models.items():
        for name, found in by_name.items():
            absent = [f for f in found.features if f not in values]
            if absent:
                reasons = (f"{f}: {missing.get(f, missing.get(EMBEDDING_GROUP, 'not in the table'))}" for f in absent)
                left_out[f"{endpoint}, {name}"] = "; ".join(reasons)
                continue
            risk = found.risk(values[list(found.features)].to_numpy(np.float64))
            rows.append(pd.DataFrame({"patient_id": table.index, "endpoint": endpoint, "model": name, "risk": risk}))
    if not rows:
        detail = "; ".join(f"{name} ({why})" for name, why in left_out.items()) or "it holds none: not estimable"
        raise InputError(f"{model}: none of its models can be applied to {workspace.folder}: {detail}")
    write_atomically(workspace.risk_predictions, csv_text(pd.concat(rows, ignore_index=True)))
    return {"patients": len(table), "models": len(rows), "left_out": left_out}


def _components(
    config: Config, workspace: Workspace, whitening: Whitening | None
) -> tuple[pd.DataFrame | None, str | None]:
    """Mean embedding components by patient (index ``patient_id``), or why there are none."""
    if whitening is None:
        return None, "the model knows no embedding"
    if not any((workspace.folder / "embeddings").glob("*embeddings.npz")):
        return None, "no embeddings in this folder: run the stage embed with the model's checkpoint"
    segments = read_segments(embedding_files(workspace.folder), config.split.fractions, config.discovery.seed)
    if segments.embeddings.shape[1] != len(whitening.mean):
        raise ConfigurationError(
            f"the embeddings of {workspace.folder} have {segments.embeddings.shape[1]} numbers a segment, the model "
            f"was made with {len(whitening.mean)}: embed with the checkpoint that belongs to the model"
        )
    means = patient_means(whitening, segments.embeddings, segments.patient, len(segments.patients))
    names = [f"embedding_{i + 1}" for i in range(means.shape[1])]
    return pd.DataFrame(means, index=pd.Index(segments.patients.astype(str), name="patient_id"), columns=names), None
