"""The stage stroke: what risk models of growing knowledge can tell, and what they cannot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ecgconsole.config import Config
from ecgconsole.findings.assess import assess
from ecgconsole.findings.clustering import load_model
from ecgconsole.findings.features import feature_values, features_files, read_features
from ecgconsole.findings.provenance import file_sha256
from ecgconsole.findings.tripod import checklist
from ecgconsole.stage import Reporter, Stop
from ecgconsole.workspace import Workspace, replacing, write_json


def run(
    config: Config, workspace: Workspace, reporter: Reporter, stop: Stop, features: Sequence[Path] = ()
) -> dict[str, Any]:
    """Writes stroke_risk.json, the fitted models and all predictions; returns which endpoints could be estimated.

    ``features``: files or folders to read instead of the output folder's clinical_features.csv.
    """
    settings = config.stroke
    files = [f for path in features or (workspace.clinical_features,) for f in features_files(Path(path))]
    table = read_features(files)
    components = read_components(workspace.patient_embeddings, settings.embedding_components)
    values, missing = feature_values(table, components)
    with threadpool_limits(1):
        report, models, predictions = assess(table, values, missing, settings, reporter, stop)
    report["features"] = [{"file": f.name, "sha256": file_sha256(f)} for f in files]
    report["tripod_ai"] = checklist(report)
    with replacing(workspace.stroke_predictions) as temporary:
        predictions.to_parquet(temporary, index=False)
    write_json(workspace.stroke_model, {**models, "whitening": _whitening(workspace, components)})
    write_json(workspace.stroke_risk, report)
    status = {name: endpoint["status"] for name, endpoint in report["endpoints"].items()}
    for name, endpoint in report["endpoints"].items():
        if endpoint["status"] != "estimated":
            reporter.warning(
                "not-estimable",
                f"{name}: not estimable: {endpoint['reason']}",
                "more patients, or their clinical tables",
            )
    return {"patients": len(table), "endpoints": status}


def read_components(path: Path, number: int) -> pd.DataFrame | None:
    """The first ``number`` mean embedding components by patient, named ``embedding_1``…; None where there are none."""
    if not path.is_file() or number == 0:
        return None
    table = pd.read_parquet(path).set_index("patient_id")
    names = [name for name in table.columns if name.startswith("component_")][:number]
    return table[names].rename(columns={name: name.replace("component_", "embedding_") for name in names})


def _whitening(workspace: Workspace, components: pd.DataFrame | None) -> dict[str, Any] | None:
    """What turns another folder's embeddings into the components that the models know."""
    if components is None or not workspace.pattern_model.is_file():
        return None
    whitening = load_model(workspace.pattern_model).whitening
    used = whitening.components[: components.shape[1]]
    return {"mean": whitening.mean.tolist(), "components": used.tolist()}
