"""``synth``, ``inspect`` and ``doctor``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ecgconsole.commands.options import (
    ConfigOption,
    FolderOption,
    JsonOption,
    SetOption,
    resolved,
    say,
    say_json,
    workspace_of,
)
from ecgconsole.errors import ExitCode, InputError
from ecgconsole.text import count, sanitise, size


def synth(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="folder to write")],
    patients: Annotated[int, typer.Option("--patients", metavar="N")],
    hours: Annotated[float, typer.Option("--hours", metavar="H", help="of recordings a patient")],
    seed: Annotated[int, typer.Option("--seed", metavar="S")] = 0,
    clinical: Annotated[
        Path | None,
        typer.Option(
            "--clinical",
            metavar="DIR",
            help="MIMIC-III tables: recordings of their patients, inside their true stays",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", metavar="N", min=1, show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """Writes a synthetic cohort: waveforms in the true MIMIC-III layout, clinical tables, and the truth."""
    from ecgconsole.synth import synthesise

    summary = synthesise(out, patients, hours, seed, clinical, workers)
    if as_json:
        say_json(summary)
        return
    say(f"wrote {out}")
    for key, value in summary.items():
        say(f"  {key.replace('_', ' ')}: {value:,}" if isinstance(value, int | float) else f"  {key}: {value}")


def predict(
    model: Annotated[Path, typer.Option("--model", metavar="F", help="the fitted risk models of a stroke stage")],
    folder: FolderOption = None,
    config: ConfigOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Applies fitted risk models to the patients of another folder. Not a medical device."""
    from ecgconsole.findings.predict import run

    workspace = workspace_of(folder, config, must_exist=True)
    result = run(resolved(workspace, config, settings).config, workspace, model)
    if as_json:
        say_json(result)
        return
    what = f"{count(result['patients'], 'patient')}, {count(result['models'], 'model')}"
    say(f"wrote {workspace.risk_predictions}: {what}")
    for name, why in result["left_out"].items():
        say(sanitise(f"left out: {name}: {why}"))


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="dataset, checkpoint or embeddings")],
    verify: Annotated[bool, typer.Option("--verify", help="recompute its hash; exit code 3 if it differs")] = False,
    as_json: JsonOption = False,
) -> None:
    """What a dataset, a checkpoint or an embeddings file holds."""
    if not file.is_file():
        raise InputError(f"no such file: {sanitise(file)}")
    readers: dict[str, Callable[[Path, bool], tuple[dict[str, Any], list[str]]]] = {
        ".h5": _dataset,
        ".hdf5": _dataset,
        ".pth": _checkpoint,
        ".npz": _embeddings,
    }
    if file.suffix not in readers:
        raise InputError(f"{sanitise(file)}: not a dataset (.h5), a checkpoint (.pth) or embeddings (.npz)")
    facts, lines = readers[file.suffix](file, verify)
    if as_json:
        say_json(facts)
    else:
        for line in lines:
            say(sanitise(line))
    if facts.get("verified") is False:
        raise InputError(f"{sanitise(file)}: its content is not what its hash says: damaged, or changed by hand")


def doctor(
    folder: FolderOption = None, config: ConfigOption = None, settings: SetOption = None, as_json: JsonOption = False
) -> None:
    """Checks this machine and the inputs before a long job. Exit code 4 if the machine cannot, 3 for the inputs."""
    from ecgconsole.commands.checkup import checkup

    workspace = workspace_of(folder, config) if folder or config else None
    checks = checkup(workspace, resolved(workspace, config, settings).config)
    if as_json:
        say_json([{"name": c.name, "ok": c.ok, "message": c.message, "hint": c.hint} for c in checks])
    else:
        for c in checks:
            say(sanitise(f"{'✔' if c.ok else '✖' if c.exit_code else '▲'} {c.name:11} {c.message}"))
            if c.hint and not c.ok:
                say(sanitise(f"              {c.hint}"))
    raise typer.Exit(int(max((c.exit_code for c in checks if not c.ok), default=ExitCode.DONE)))


def _dataset(file: Path, verify: bool) -> tuple[dict[str, Any], list[str]]:
    from ecgconsole.dataset.inspection import describe, lines

    facts = describe(file, verify)
    return facts, lines(facts)


def _checkpoint(file: Path, verify: bool) -> tuple[dict[str, Any], list[str]]:
    from dataclasses import asdict

    from ecgconsole.training import checkpoints_index as index

    sidecar = index.verify(file)  # reading it is cheap, so it is always verified
    facts = {**asdict(sidecar), "verified": True}
    lines = [f"{key:15} {value}" for key, value in facts.items() if not isinstance(value, dict)]
    lines += [f"{key:15} {value}" for key, value in sidecar.metrics.items()]
    lines += [
        f"{section}.{key} = {value}" for section, part in sidecar.parameters.items() for key, value in part.items()
    ]
    return facts, lines


def _embeddings(file: Path, verify: bool) -> tuple[dict[str, Any], list[str]]:
    import hashlib
    import zipfile
    import zlib

    import numpy as np

    try:
        with np.load(file, allow_pickle=False) as arrays:
            facts: dict[str, Any] = {"arrays": {n: [str(arrays[n].dtype), *arrays[n].shape] for n in arrays.files}}
            if "embeddings" not in arrays.files or "patient_id" not in arrays.files:
                raise InputError(f"{sanitise(file)}: no embeddings in it (found: {sanitise(', '.join(arrays.files))})")
            values = arrays["embeddings"]
            facts["segments"], facts["embedding_dim"] = (int(n) for n in values.shape)
            facts["patients"] = len(np.unique(arrays["patient_id"]))
            facts["finite"] = bool(np.isfinite(values).all())
    except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{sanitise(file)}: cannot be read as embeddings: {sanitise(error, 200)}") from error
    facts["bytes"] = file.stat().st_size
    lines = [f"{facts['segments']:,} segments of {facts['patients']:,} patients, {facts['embedding_dim']} dimensions"]
    lines += [f"{name}: {dtype} {tuple(shape)}" for name, (dtype, *shape) in facts["arrays"].items()]
    lines += [f"{size(facts['bytes'])}, {'all finite' if facts['finite'] else 'NOT all finite'}"]
    if verify:
        with file.open("rb") as stream:
            facts["sha256"] = hashlib.file_digest(stream, "sha256").hexdigest()
        lines.append(f"sha256 {facts['sha256']}; the archive's own checksums were right")
    return facts, lines
