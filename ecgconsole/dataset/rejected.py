"""``rejected.parquet``: everything that was left out, where, and why."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ecgconsole.dataset.arrays import Arrays
from ecgconsole.dataset.segments import Rows
from ecgconsole.signals.reasons import Reason
from ecgconsole.workspace import replacing

ROWS_IN_GROUP = 50_000
REJECTED_SCHEMA = pa.schema(
    [
        ("level", pa.string()),
        ("patient_id", pa.string()),
        ("record", pa.string()),
        ("start_seconds", pa.float64()),
        ("where", pa.string()),
        ("reason", pa.uint8()),
        ("label", pa.string()),
        ("ecg_reason", pa.uint8()),
        ("ppg_reason", pa.uint8()),
        ("detail", pa.string()),
    ]
)


def write_rejected(shards: Sequence[Arrays], others: Rows | None, output: Path) -> None:
    """``rejected.parquet``: first ``others`` (records and patients that reached no shard), then shard by shard."""
    with replacing(output) as temporary, pq.ParquetWriter(temporary, REJECTED_SCHEMA, compression="zstd") as writer:
        pending = REJECTED_SCHEMA.empty_table()
        for rows in chain([others], map(_rejected_of, shards)):
            if rows:
                pending = pa.concat_tables([pending, _rejected_table(rows)])
            # Groups of a fixed number of rows: the file does not show where a shard ended.
            while len(pending) >= ROWS_IN_GROUP:
                writer.write_table(pending.slice(0, ROWS_IN_GROUP).combine_chunks())
                pending = pending.slice(ROWS_IN_GROUP)
        if len(pending):
            writer.write_table(pending.combine_chunks())


def _rejected_of(shard: Arrays) -> Rows:
    return {n.removeprefix("rejected/"): shard.read(n) for n in shard.entries if n.startswith("rejected/")}


def _rejected_table(rows: Rows) -> pa.Table:
    def text(name: str) -> pa.Array:
        return pa.array([value.decode() for value in rows[name].tolist()], pa.string())

    reasons = rows["reason"]
    return pa.table(
        {
            "level": text("level"),
            "patient_id": text("patient_id"),
            "record": text("record"),
            "start_seconds": pa.array(rows["start_seconds"], pa.float64(), from_pandas=True),
            "where": text("where"),
            "reason": pa.array(reasons, pa.uint8()),
            "label": pa.array([Reason(int(n)).label for n in reasons], pa.string()),
            "ecg_reason": pa.array(rows["signal_reason"][:, 0], pa.uint8()),
            "ppg_reason": pa.array(rows["signal_reason"][:, 1], pa.uint8()),
            "detail": text("detail"),
        },
        REJECTED_SCHEMA,
    )
