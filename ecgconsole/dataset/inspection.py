"""What a dataset file holds, as data and as lines to print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ecgconsole.dataset.reader import Dataset
from ecgconsole.text import sanitise, size


def describe(path: Path | str, verify: bool = False) -> dict[str, Any]:
    """Patients, segments, channels, labels with counts, rejections, parameters, versions.

    ``verify`` recomputes the hash of the content (``verified``: true, false, or null without). Raises
    ``InputError`` where the file is not a dataset.
    """
    with Dataset(path) as dataset:
        attributes = dataset.attributes
        patients = dataset.patients
        labels = {n.removeprefix("labels/"): v for n, v in patients.items() if n.startswith("labels/")}
        return {
            "file": str(path),
            "bytes": Path(path).stat().st_size,
            "format_version": attributes["format_version"],
            "content_sha256": dataset.content_sha256,
            "verified": dataset.verify() if verify else None,
            "sampling_rate_hz": dataset.sampling_rate_hz,
            "segment_samples": dataset.segment_samples,
            "segments": dataset.n_segments,
            "patients": len(patients["id"]),
            "records": len(np.unique(dataset.column("segment/record"))),
            "present": {name: int(dataset.present[:, i].sum()) for i, name in enumerate(("ECG", "PPG"))},
            "channels": {
                name: _counts(dataset.column(f"segment/{name}_channel"))
                for name in ("ecg", "ppg")
                if f"segment/{name}_channel" in dataset.column_names
            },
            "splits": {
                split: {
                    "patients": int((patients["split"] == split).sum()),
                    "segments": int((dataset.split == split).sum()),
                }
                for split in ("train", "val", "test")
            },
            "labels": {
                name: {"yes": int((v == 1).sum()), "no": int((v == 0).sum()), "unknown": int((v == -1).sum())}
                for name, v in sorted(labels.items())
            },
            "rejected": attributes.get("rejected", {}),
            "other_channels": attributes.get("other_channels", {}),
            "columns": dataset.column_names,
            "parameters": dataset.parameters,
            "versions": attributes.get("versions", {}),
        }


def lines(description: dict[str, Any]) -> list[str]:
    """The description for people."""
    d = description
    seconds = d["segment_samples"] / d["sampling_rate_hz"]
    verified = {None: "not recomputed", True: "recomputed: it holds", False: "RECOMPUTED: IT DOES NOT HOLD"}[
        d["verified"]
    ]
    out = [
        f"{d['file']}  {size(d['bytes'])}, format {d['format_version']}",
        f"{d['segments']:,} segments of {seconds:g} s at {d['sampling_rate_hz']:g} Hz,"
        f" {d['patients']:,} patients, {d['records']:,} records",
        f"content {d['content_sha256']} ({verified})",
        "present   " + _listed(d["present"]),
        *(f"{name:<9} " + _listed(counts) for name, counts in d["channels"].items()),
        "splits    "
        + ", ".join(f"{k} {v['patients']:,} patients {v['segments']:,} segments" for k, v in d["splits"].items()),
        "rejected  " + (_listed(dict(sorted(d["rejected"].items(), key=lambda kv: -kv[1]))) or "nothing"),
    ]
    if d["other_channels"]:
        out.append("not used  " + _listed(d["other_channels"]))
    known = {name: n for name, n in d["labels"].items() if n["yes"] or n["no"]}
    for name, n in known.items():
        out.append(f"label     {name}: {n['yes']:,} yes, {n['no']:,} no, {n['unknown']:,} unknown")
    if not known:
        out.append("labels    all unknown: built without clinical tables, or nobody is in them")
    for section, values in sorted(d["parameters"].items()):
        out += [f"set       {section}.{name} = {value}" for name, value in sorted(values.items())]
    out.append("made by   " + ", ".join(f"{name} {v}" for name, v in sorted(d["versions"].items())))
    return [sanitise(line) for line in out]


def _counts(values: np.ndarray) -> dict[str, int]:
    names, counts = np.unique(values, return_counts=True)
    return {str(name): int(n) for name, n in zip(names, counts, strict=True) if name}


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts.items())
