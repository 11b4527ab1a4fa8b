"""The page on the tables names every column that is read and every label that is made."""

from __future__ import annotations

from pathlib import Path

from ecgconsole.clinical.codes import COMORBIDITIES, ENDPOINTS
from ecgconsole.clinical.medications import medication_classes
from ecgconsole.clinical.tables import COLUMNS, REQUIRED

PAGE = Path(__file__).resolve().parents[2] / "docs" / "clinical.md"


def test_the_page_names_exactly_the_tables_and_columns_that_are_read() -> None:
    rows = [line.split("|")[1:-1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    named = {r[0].strip(" `"): (r[1].strip(), r[2].strip()) for r in rows if r[0].strip(" `") in COLUMNS}
    assert named == {
        table: ("yes" if table in REQUIRED else "no", ", ".join(c.upper() for c in columns))
        for table, columns in COLUMNS.items()
    }


def test_the_page_explains_every_column_of_the_patient_table(hospital, records_of) -> None:
    from ecgconsole.clinical import link_records, patient_table

    hospital.patient(1)
    hospital.admission(1, 11, "2150-01-01 10:00:00", "2150-01-05 10:00:00")
    records = records_of(("p1", 1, "r1", "2150-01-02", "2150-01-03"))
    table = patient_table(hospital.write(), records.merge(link_records(hospital.folder, records, 6.0), on="record"))
    text = PAGE.read_text(encoding="utf-8")
    phases = ("concurrent_", "history_", "future_", "ever_")
    for column in table.columns.difference(["patient_id", "subject_id"]):
        name = next((column.removeprefix(p) for p in phases if column.startswith(p)), column)
        assert f"`{name}`" in text, column
    assert len(ENDPOINTS) * 4 + len(COMORBIDITIES) + len(medication_classes()) < len(table.columns)
