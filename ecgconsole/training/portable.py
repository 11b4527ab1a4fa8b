"""File formats of an exported encoder: torch's own, which needs torch alone, and ONNX, which needs no torch."""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from ecgconsole.errors import ConfigurationError, InputError
from ecgconsole.text import sanitise

# signal float32 (n, 2, T) and present bool (n, 2) to embeddings float32 (n, D).
Encode = Callable[[NDArray[np.float32], NDArray[np.bool_]], NDArray[np.float32]]

FORMATS = (".pt2", ".onnx")
_METADATA = "ecgconsole.json"


def require(path: Path) -> None:
    """Raises ``ConfigurationError`` where a file of this name cannot be written here."""
    if path.suffix not in FORMATS:
        raise ConfigurationError(f"{path}: the name of an exported encoder ends in {' or '.join(FORMATS)}")
    if path.suffix == ".onnx":
        _require_packages("onnx", "onnxscript", "onnxruntime")


def _require_packages(*names: str) -> None:
    if not all(importlib.util.find_spec(name) for name in names):
        raise ConfigurationError("an encoder in ONNX needs the extra onnx: pip install 'ecgconsole[onnx]'")


def write(program: ExportedProgram, facts: dict[str, Any], file: Path, suffix: str) -> None:
    """``program`` with ``facts`` in the format of ``suffix``, whatever ``file`` is called."""
    if suffix == ".onnx":
        _write_onnx(program, facts, file)
        return
    # Where in this machine's files each operation came from is nobody's business.
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    with file.open("wb") as opened:
        torch.export.save(program, opened, extra_files={_METADATA: json.dumps(facts)})


def read(file: Path, suffix: str) -> tuple[Encode, dict[str, Any]]:
    """What ``write`` wrote: its function, on the CPU, and its facts.

    Raises ``InputError``, and ``ConfigurationError`` where the library of its format is not installed.
    """
    try:
        encode, facts = (_read_onnx if suffix == ".onnx" else _read_pt2)(file)
        return encode, json.loads(facts)
    except (OSError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{file}: not an encoder that `ecgconsole export` wrote: {sanitise(error, 200)}") from error


def _read_pt2(file: Path) -> tuple[Encode, str]:
    extra = {_METADATA: ""}
    with file.open("rb") as opened:
        module = torch.export.load(opened, extra_files=extra).module()

    @torch.no_grad()
    def encode(signal: NDArray[np.float32], present: NDArray[np.bool_]) -> NDArray[np.float32]:
        return module(torch.from_numpy(signal), torch.from_numpy(present)).numpy()

    return encode, extra[_METADATA]


def _write_onnx(program: ExportedProgram, facts: dict[str, Any], file: Path) -> None:
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # It warns of operators of packages that are not installed.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            made = torch.onnx.export(
                program,
                input_names=["signal", "present"],
                output_names=["embedding"],
                dynamo=True,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert made is not None  # It is with ``dynamo``.
    # As in torch's format; and the same model is the same bytes everywhere.
    made.model.graph.metadata_props.clear()
    for node in made.model.graph:
        node.metadata_props.clear()
    made.model.metadata_props[_METADATA] = json.dumps(facts)
    made.save(str(file), external_data=False)


def _read_onnx(file: Path) -> tuple[Encode, str]:
    _require_packages("onnxruntime")
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    try:
        session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    except (
        errors.Fail,
        errors.InvalidArgument,
        errors.InvalidGraph,
        errors.InvalidProtobuf,
        errors.NotImplemented,
        errors.RuntimeException,
    ) as error:
        raise ValueError(str(error)) from error

    def encode(signal: NDArray[np.float32], present: NDArray[np.bool_]) -> NDArray[np.float32]:
        return session.run(None, {"signal": signal, "present": present})[0]

    return encode, session.get_modelmeta().custom_metadata_map[_METADATA]
