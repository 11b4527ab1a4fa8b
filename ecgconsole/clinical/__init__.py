"""MIMIC-III tables to one row a patient and a record: linking, outcomes, medications, charted rhythm."""

from ecgconsole.clinical.charted import charted_rhythm, rhythm_at
from ecgconsole.clinical.linking import LINK_STATUSES, link_records
from ecgconsole.clinical.patients import patient_table
from ecgconsole.clinical.prevalence import prevalence_warnings
from ecgconsole.clinical.tables import check_tables

__all__ = [
    "LINK_STATUSES",
    "charted_rhythm",
    "check_tables",
    "link_records",
    "patient_table",
    "prevalence_warnings",
    "rhythm_at",
]
