"""One ward, one fault at each bed: the smallest unit is lost, under its reason, and everything else is built."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ecgconsole.dataset import Dataset
from ecgconsole.dataset.inspection import describe, lines
from tests.faults.conftest import Build
from tests.faults.damage import ALL, ESCAPES, FAULTS, FORMULA, WINDOWS, Fault
from tests.faults.tables import write_tables
from tests.faults.wards import Bed, make_bed

BED_OF = {fault.name: 101 + i for i, fault in enumerate(FAULTS)}
UNDAMAGED = (11, 12)


@dataclass(frozen=True)
class Built:
    output: Path
    result: dict[str, Any]
    events: list[dict[str, Any]]
    rejected: pd.DataFrame
    metadata: pd.DataFrame

    @property
    def warned(self) -> set[str]:
        return {e["code"] for e in self.events if e["kind"] == "warning"}

    def windows(self, bed: Bed, column: str = "signal") -> dict[int, np.ndarray]:
        """Of one person: window number to its row of a column."""
        with Dataset(self.output / "full_dataset.h5") as dataset:
            rows = np.flatnonzero(dataset.column("segment/record") == f"{bed.patient[:3]}/{bed.patient}/{bed.record}")
            numbers = np.rint(dataset.column("segment/start_seconds")[rows] / 10).astype(int).tolist()
            values = dataset.physical(rows) if column == "signal" else dataset.column(column)[rows]
            return dict(zip(numbers, values, strict=True))


@pytest.fixture(scope="module")
def before_and_after(tmp_path_factory: pytest.TempPathFactory, build: Build) -> tuple[Path, Built, Built]:
    """The ward's waveforms after the damage, and its builds before and after."""
    folder = tmp_path_factory.mktemp("ward")
    root, subjects = folder / "waveforms", [*UNDAMAGED, *BED_OF.values()]
    for subject in subjects:
        make_bed(root, subject)
    whole_tables = write_tables(folder / "tables", subjects)
    (folder / "map.csv").write_text(
        f"record,patient\n{Bed(root, BED_OF['patient-named-by-a-formula']).record},{FORMULA}\n"
    )
    settings = {"data.waveform_dir": root, "build.min_segments_per_patient": 1}
    before = _built(build, folder / "before", **settings, **{"data.clinical_dir": whole_tables})
    for fault in FAULTS:
        fault.damage(Bed(root, BED_OF[fault.name]))
    tables = write_tables(
        folder / "damaged tables",
        [s for s in subjects if s != BED_OF["absent-from-the-tables"]],
        codes={BED_OF["codes-with-dots"]: "427.31"},
        births={BED_OF["age-over-89"]: "1850-01-01"},
    )
    damaged = {"data.clinical_dir": tables, "data.patient_map": folder / "map.csv"}
    return root, before, _built(build, folder / "after", **settings, **damaged)


def _built(build: Build, output: Path, **settings: Any) -> Built:
    result, events = build(output, **settings)
    rejected = pd.read_parquet(output / "rejected.parquet")
    return Built(output, result, events, rejected, pd.read_parquet(output / "full_dataset_metadata.parquet"))


def test_an_undamaged_ward_keeps_every_window_that_touches_no_gap(before_and_after: tuple[Path, Built, Built]) -> None:
    root, before, _ = before_and_after
    assert before.rejected.empty
    assert before.warned == {"prevalence-unusual"}  # everybody fibrillates
    assert before.result["segments"] == len(ALL) * (len(FAULTS) + len(UNDAMAGED))
    for subject in (*UNDAMAGED, *BED_OF.values()):
        assert set(before.windows(Bed(root, subject))) == ALL


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_costs_what_it_must_and_is_named(fault: Fault, before_and_after: tuple[Path, Built, Built]) -> None:
    root, before, after = before_and_after
    bed = Bed(root, BED_OF[fault.name])
    was, is_now = before.windows(bed), after.windows(bed)
    assert set(is_now) == ALL - fault.costs
    for window in set(is_now) - fault.changes:
        np.testing.assert_array_equal(is_now[window], was[window])

    own = after.rejected[after.rejected["record"].str.endswith(bed.record)]
    of_window = own["level"] == "window"
    assert sorted(zip(own["label"][~of_window], own["level"][~of_window], strict=True)) == sorted(fault.says.items())
    assert set(fault.says) <= after.warned
    assert own["where"][~of_window].str.startswith(f"{bed.patient[:3]}/{bed.patient}/").all()
    assert own["detail"][~of_window].str.contains(fault.detail, regex=False).all()
    listed = own[of_window]
    assert set(listed["label"]) == ({fault.windows_say} - {None})
    assert {int(s / 10) for s in listed["start_seconds"]} == (fault.costs if fault.windows_say else set())


def test_other_patients_have_the_same_bytes(before_and_after: tuple[Path, Built, Built]) -> None:
    root, before, after = before_and_after
    for subject in UNDAMAGED:
        with Dataset(before.output / "full_dataset.h5") as one, Dataset(after.output / "full_dataset.h5") as other:
            rows, again = one.rows_of(Bed(root, subject).patient), other.rows_of(Bed(root, subject).patient)
            for column in one.column_names:
                if not column.startswith(("patient/", "segment/split")):
                    np.testing.assert_array_equal(one.column(column)[rows], other.column(column)[again])
            np.testing.assert_array_equal(one.signal_rows(rows), other.signal_rows(again))


def test_every_rejection_is_counted_in_the_result_and_no_patient_is_named_in_events(
    before_and_after: tuple[Path, Built, Built],
) -> None:
    root, _, after = before_and_after
    assert after.rejected.groupby("label").size().to_dict() == after.result["rejected"]
    lost = sum(len(f.costs) for f in FAULTS)
    assert after.result["segments"] == len(ALL) * (len(FAULTS) + len(UNDAMAGED)) - lost
    assert after.result["patients"] == len(FAULTS) + len(UNDAMAGED) - sum(f.costs == ALL for f in FAULTS)
    text = json.dumps([after.result, after.events])
    assert not [s for s in BED_OF.values() if Bed(root, s).patient in text or Bed(root, s).name("2") in text]


def test_samples_lost_at_the_tips_are_interpolated_and_counted(before_and_after: tuple[Path, Built, Built]) -> None:
    root, before, after = before_and_after
    bed = Bed(root, BED_OF["tips-saturated"])
    share = after.windows(bed, "quality/ecg_missing_share")
    assert all(0 < share[w] < 0.05 for w in WINDOWS["2"])
    assert all(share[w] == 0 for w in WINDOWS["1"] | WINDOWS["3"])
    rate, was = (b.windows(bed, "rhythm/heart_rate_bpm") for b in (after, before))
    assert all(abs(rate[w] - was[w]) < 1 for w in ALL)


def test_each_segment_has_its_own_gain(before_and_after: tuple[Path, Built, Built]) -> None:
    root, before, after = before_and_after
    bed = Bed(root, BED_OF["gain-differs"])
    one, other = before.windows(bed), after.windows(bed)
    step = 1 / 60
    assert max(np.abs(one[w] - other[w]).max() for w in WINDOWS["2"]) < 1.5 * step
    scale = after.windows(bed, "scale")
    assert all(scale[w][0] > 1.2 * scale[0][0] for w in WINDOWS["2"])


def test_without_gain_a_channel_is_flagged(before_and_after: tuple[Path, Built, Built]) -> None:
    root, _, after = before_and_after
    flag = after.windows(Bed(root, BED_OF["gain-zero"]), "quality/ecg_uncalibrated")
    assert {w for w, value in flag.items() if value == 1} == WINDOWS["2"]


def test_a_malformed_date_leaves_the_time_unknown(before_and_after: tuple[Path, Built, Built]) -> None:
    root, _, after = before_and_after
    assert set(after.windows(Bed(root, BED_OF["date-malformed"]), "segment/charttime").values()) == {""}
    assert after.windows(Bed(root, UNDAMAGED[0]), "segment/charttime")[1] == "2150-01-01T10:00:10.000"


def test_a_flat_ppg_is_not_present_and_its_ecg_stays(before_and_after: tuple[Path, Built, Built]) -> None:
    root, _, after = before_and_after
    present = after.windows(Bed(root, BED_OF["ppg-flat"]), "present")
    assert {w for w, (ecg, ppg) in present.items() if ecg and not ppg} == WINDOWS["2"]


def test_aliases_are_taken_and_other_names_counted(before_and_after: tuple[Path, Built, Built]) -> None:
    root, _, after = before_and_after
    bed = Bed(root, BED_OF["aliases"])
    assert set(after.windows(bed, "segment/ecg_channel").values()) == {"MLII"}
    assert set(after.windows(bed, "segment/ppg_channel").values()) == {"PPG"}
    with Dataset(after.output / "full_dataset.h5") as dataset:
        # In one segment of one record, and in all of another: counted by record.
        assert dataset.attributes["other_channels"]["ABP"] == 2


def test_another_rate_is_resampled_and_keeps_beats_and_clock(before_and_after: tuple[Path, Built, Built]) -> None:
    root, before, after = before_and_after
    bed = Bed(root, BED_OF["other-rate"])
    rate, was = (b.windows(bed, "rhythm/heart_rate_bpm") for b in (after, before))
    assert all(abs(rate[w] - was[w]) < 0.5 for w in ALL)
    assert after.windows(bed, "segment/start_sample") == {w: 2500 * w for w in ALL}
    one, other = before.windows(bed), after.windows(bed)
    # The same heart, sampled twice as often, with noise of its own.
    assert min(np.corrcoef(one[w][0], other[w][0])[0, 1] for w in ALL) > 0.97


def test_a_patient_absent_from_the_tables_is_kept_without_labels(before_and_after: tuple[Path, Built, Built]) -> None:
    root, before, after = before_and_after
    bed = Bed(root, BED_OF["absent-from-the-tables"])
    row = after.metadata.set_index("patient_id").loc[bed.patient]
    assert not row["in_tables"]
    assert row["concurrent_atrial_fibrillation"] is pd.NA
    assert "patients-not-in-tables" in after.warned - before.warned
    rest = after.metadata[~after.metadata["patient_id"].isin([bed.patient, FORMULA])]
    assert rest["in_tables"].all()


def test_dots_in_codes_and_shifted_births_change_no_label(before_and_after: tuple[Path, Built, Built]) -> None:
    root, before, after = before_and_after
    was, is_now = (b.metadata.set_index("patient_id") for b in (before, after))
    dots, old = (Bed(root, BED_OF[name]).patient for name in ("codes-with-dots", "age-over-89"))
    assert is_now.loc[dots, "concurrent_atrial_fibrillation"]
    assert is_now.loc[dots].drop("split").equals(was.loc[dots].drop("split"))
    assert is_now.loc[old, "age_90_or_over"]
    assert not was.loc[old, "age_90_or_over"]


def test_no_spreadsheet_runs_what_a_file_names_a_patient(before_and_after: tuple[Path, Built, Built]) -> None:
    *_, after = before_and_after
    assert FORMULA in set(after.metadata["patient_id"])
    with (after.output / "clinical_features.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert f"'{FORMULA}" in cells
    assert not [c for c in cells if c.startswith(("=", "+", "@")) or (c.startswith("-") and not _is_number(c))]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_escapes_in_names_reach_no_output(before_and_after: tuple[Path, Built, Built]) -> None:
    root, _, after = before_and_after
    assert ESCAPES in Bed(root, BED_OF["escapes-in-a-name"]).header("2").read_text()
    described = describe(after.output / "full_dataset.h5")
    texts = [str(after.events), str(after.result), str(described), *lines(described)]
    texts += [after.rejected.to_csv(), after.metadata.to_csv(), (after.output / "clinical_features.csv").read_text()]
    assert not [t for t in texts if "\x1b" in t or "\x9b" in t or "\\x1b" in t]
    assert "[/bold]II" in described["other_channels"]
