"""Faulty files cost the smallest unit possible, are named, and nothing else changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ecgconsole.config import Config
from ecgconsole.dataset import Dataset

Build = Callable[..., tuple[dict[str, Any], list[dict[str, Any]]]]


def truncate(segment: Path) -> None:
    dat = segment.with_suffix(".dat")
    os.truncate(dat, dat.stat().st_size // 2)


def remove(segment: Path) -> None:
    segment.with_suffix(".dat").unlink()


def flip(segment: Path) -> None:
    dat = segment.with_suffix(".dat")
    data = bytearray(dat.read_bytes())
    data[: len(data) // 2] = bytes(b ^ 1 for b in data[: len(data) // 2])
    dat.write_bytes(data)


def escape(segment: Path) -> None:
    segment.write_text(segment.read_text().replace(f"{segment.stem}.dat", "../../../etc/passwd"))


def unknown_format(segment: Path) -> None:
    segment.write_text(segment.read_text().replace(".dat 80 ", ".dat 99 "))


def absent_header(segment: Path) -> None:
    segment.unlink()


@pytest.mark.usefixtures("kept_worker")
def test_each_fault_costs_its_segment_and_nothing_else(
    own_cohort: Path, config_of: Callable[..., Config], build: Build, tmp_path: Path
) -> None:
    root = own_cohort / "waveforms"
    settings = {"data.require": "either", "build.min_segments_per_patient": 1, "build.selection": "id"}
    config = config_of(root, **settings)
    build(config, tmp_path / "whole")
    faults = {
        truncate: "dat-truncated",
        remove: "dat-missing",
        flip: "checksum",
        escape: "unsafe-name",
        unknown_format: "unknown-format",
        absent_header: "segment-header-missing",
    }
    patients = sorted(p for p in root.glob("p??/p??????"))
    hurt: dict[str, str] = {}
    # The longest segment of one patient for each fault; the last patient's master header is emptied.
    for folder, (damage, label) in zip(patients, faults.items(), strict=False):
        segment = max(folder.glob("*_0*.hea"), key=lambda h: h.with_suffix(".dat").stat().st_size)
        damage(segment)
        hurt[folder.name] = label
    for master in patients[-1].glob(f"{patients[-1].name}-*.hea"):
        if not master.stem.endswith("n"):
            master.write_text("")
    hurt[patients[-1].name] = "header-empty"

    result, events = build(config, tmp_path / "hurt")
    rejected = pd.read_parquet(tmp_path / "hurt" / "rejected.parquet")
    warned = {e["code"] for e in events if e["kind"] == "warning"}
    for patient, label in hurt.items():
        own = rejected[(rejected["patient_id"] == patient) & (rejected["label"] == label)]
        own = own[own["level"] != "window"]
        assert len(own) >= 1, (patient, label)
        assert own["where"].str.contains(patient).all()
        assert label in warned
        assert result["rejected"][label] >= 1
    with (
        Dataset(tmp_path / "whole" / "full_dataset.h5") as whole,
        Dataset(tmp_path / "hurt" / "full_dataset.h5") as rest,
    ):
        assert set(whole.patients["id"]) - set(rest.patients["id"]) <= set(hurt)
        for patient in rest.patients["id"]:
            before, after = whole.rows_of(patient), rest.rows_of(patient)
            if patient not in hurt:
                np.testing.assert_array_equal(rest.signal_rows(after), whole.signal_rows(before))
            else:
                assert after.stop - after.start < before.stop - before.start
                starts = whole.column("segment/start_sample")[before]
                assert set(rest.column("segment/start_sample")[after]) <= set(starts)


def test_texts_with_escapes_in_headers_reach_no_output_as_such(
    own_cohort: Path, config_of: Callable[..., Config], build: Build, tmp_path: Path, kept_worker: None
) -> None:
    root = own_cohort / "waveforms"
    segment = next(iter(sorted(root.glob("p??/p??????/*_0001.hea"))))
    segment.write_text(segment.read_text().replace(" II\n", " \x1b]52;c;aGk=\x07[red]II\n"))
    _, events = build(config_of(root, **{"build.min_segments_per_patient": 1}), tmp_path)
    assert "\x1b" not in str(events)
    with Dataset(tmp_path / "full_dataset.h5") as dataset:
        assert "\x1b" not in str(dataset.attributes)
    assert not pd.read_parquet(tmp_path / "rejected.parquet")["detail"].str.contains("\x1b").any()
