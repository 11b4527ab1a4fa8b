"""Reading MIMIC-III tables with DuckDB: found by name in any case, checked, typed, in bounded memory."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from isal import igzip

from ecgconsole.errors import InputError
from ecgconsole.text import sanitise

if TYPE_CHECKING:
    import duckdb

# Every column that is used, with its type. Any other may be missing.
COLUMNS: dict[str, dict[str, str]] = {
    "PATIENTS": {"subject_id": "BIGINT", "gender": "VARCHAR", "dob": "TIMESTAMP", "dod": "TIMESTAMP"},
    "ADMISSIONS": {
        "subject_id": "BIGINT",
        "hadm_id": "BIGINT",
        "admittime": "TIMESTAMP",
        "dischtime": "TIMESTAMP",
        "admission_type": "VARCHAR",
        "hospital_expire_flag": "BIGINT",
    },
    "DIAGNOSES_ICD": {"subject_id": "BIGINT", "hadm_id": "BIGINT", "icd9_code": "VARCHAR"},
    "PRESCRIPTIONS": {
        "subject_id": "BIGINT",
        "startdate": "TIMESTAMP",
        "enddate": "TIMESTAMP",
        "drug": "VARCHAR",
        "route": "VARCHAR",
    },
    "ICUSTAYS": {
        "subject_id": "BIGINT",
        "first_careunit": "VARCHAR",
        "intime": "TIMESTAMP",
        "outtime": "TIMESTAMP",
    },
    "D_ICD_DIAGNOSES": {"icd9_code": "VARCHAR"},
    "CHARTEVENTS": {"subject_id": "BIGINT", "itemid": "BIGINT", "charttime": "TIMESTAMP", "value": "VARCHAR"},
}
REQUIRED = ("PATIENTS", "ADMISSIONS", "DIAGNOSES_ICD")
# Values without which a row means nothing.
NEVER_EMPTY = {
    "PATIENTS": ("subject_id", "dob"),
    "ADMISSIONS": ("subject_id", "hadm_id", "admittime", "dischtime"),
    "DIAGNOSES_ICD": ("subject_id",),
    "PRESCRIPTIONS": ("subject_id",),
    "ICUSTAYS": ("subject_id",),
    "D_ICD_DIAGNOSES": (),
}
MEMORY_LIMIT = "2GB"


def find_tables(folder: Path) -> dict[str, Path]:
    """The tables of ``COLUMNS`` that ``folder`` holds, as ``NAME.csv`` or ``NAME.csv.gz`` in any case.

    Where both are there, the uncompressed one is read.

    Raises ``InputError``: no such folder, a required table missing, two files for one table.
    """
    if not folder.is_dir():
        raise InputError(
            f"data.clinical_dir: {sanitise(folder, 300)} is not a folder; name that of the MIMIC-III tables"
        )
    found: dict[str, Path] = {}
    for suffix in (".csv", ".csv.gz"):
        for path in sorted(folder.iterdir()):
            table = path.name[: -len(suffix)].upper()
            if not path.name.lower().endswith(suffix) or table not in COLUMNS or not path.is_file():
                continue
            other = found.setdefault(table, path)
            if other != path and other.name.lower() == path.name.lower():
                raise InputError(f"{folder}: both {other.name} and {path.name} are there; keep one of them")
    missing = [t for t in REQUIRED if t not in found]
    if missing:
        files = ", ".join(sorted(sanitise(p.name, 60) for p in folder.iterdir())[:12]) or "nothing"
        raise InputError(
            f"data.clinical_dir: no {', '.join(missing)} (.csv or .csv.gz) in {sanitise(folder, 300)}; found: {files}"
        )
    return found


def check_tables(folder: Path) -> list[str]:
    """Names of the tables found, after reading the header of each: cheap enough to do before a long job.

    Raises ``InputError`` as ``find_tables`` does, and for a file that cannot be read or lacks a column.
    """
    tables = find_tables(folder)
    for table, path in tables.items():
        with connected(path) as connection:
            _source(connection, path, table)
    return sorted(tables)


@contextmanager
def connected(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB in memory that loads no extension, spills nothing to disk and stays within ``MEMORY_LIMIT``.

    Its errors become ``InputError`` about the file at ``path``.
    """
    import duckdb  # here: a build without tables need not wait for it

    connection = duckdb.connect(
        config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": "",
        }
    )
    with connection:
        # It would draw its progress on standard output, which is for data.
        connection.execute("SET enable_progress_bar = false")
        try:
            yield connection
        except duckdb.Error as error:
            raise _input_error(path, error) from None


def read_table(path: Path, table: str, subject_ids: pd.Series | None = None) -> pd.DataFrame:
    """The columns of ``COLUMNS[table]``, typed, and ``line``, in the file's order.

    ``subject_ids``: only rows of these. Empty values are null.

    Raises ``InputError`` naming file and line: a missing column, bad encoding, a broken or truncated
    file, a value that is not of its type, an empty one where there must be one.
    """
    if path.suffix.lower() == ".gz":
        stat = path.stat()
        _check_gzip(path, stat.st_size, stat.st_mtime_ns)
    with connected(path) as connection:
        source = _source(connection, path, table)
        of_subjects = ""
        if subject_ids is not None:
            connection.register("subjects", pd.DataFrame({"subject_id": subject_ids.dropna().astype("int64").unique()}))
            subject = "try_cast(subject_id AS BIGINT)"
            of_subjects = f"WHERE {subject} IS NULL OR {subject} IN (SELECT subject_id FROM subjects)"
        # The line is right as long as no quoted value holds a line break; none of our tables' does.
        connection.execute(
            f"CREATE TEMP TABLE wanted AS SELECT * FROM "
            f"(SELECT row_number() OVER () + 1 AS line, * FROM ({source})) {of_subjects}"
        )
        _check_values(connection, path, table)
        typed = ", ".join(f"CAST({c} AS {sql}) AS {c}" for c, sql in COLUMNS[table].items())
        return connection.execute(f"SELECT line, {typed} FROM wanted ORDER BY line").df()


def stream_table(
    path: Path, table: str, where: str, parameters: list[object], frames: Mapping[str, pd.DataFrame], order: str
) -> pd.DataFrame:
    """Those rows of a large table that ``where`` (SQL over typed columns) keeps: read once, never held whole.

    ``frames``: small tables that ``where`` may name. Values that are not of their column's type are null.

    Raises ``InputError`` naming the file, and the line where it has one.
    """
    with connected(path) as connection:
        source = _source(connection, path, table)
        for name, frame in frames.items():
            connection.register(name, frame)
        typed = ", ".join(f"try_cast({c} AS {sql}) AS {c}" for c, sql in COLUMNS[table].items())
        kept = f"SELECT * FROM (SELECT {typed} FROM ({source})) WHERE {where} ORDER BY {order}"
        return connection.execute(kept, parameters).df()


def _source(connection: duckdb.DuckDBPyConnection, path: Path, table: str) -> str:
    """SQL that reads the used columns as text, checked to be there."""
    csv = (
        f"read_csv({_quoted(path)}, all_varchar = true, header = true, delim = ',', quote = '\"', escape = '\"', "
        "skip = 0, sample_size = 1000)"
    )
    columns = {row[0].lower() for row in connection.execute(f"DESCRIBE SELECT * FROM {csv}").fetchall()}
    missing = [c.upper() for c in COLUMNS[table] if c not in columns]
    if missing:
        raise InputError(
            f"{sanitise(path, 300)}, line 1: no column {', '.join(missing)}; "
            f"the header has: {sanitise(', '.join(sorted(columns)), 300)}"
        )
    used = ", ".join(f"nullif(trim({c}), '') AS {c}" for c in COLUMNS[table])
    return f"SELECT {used} FROM {csv}"


def _quoted(path: Path) -> str:
    # DuckDB takes paths as glob patterns: what would match otherwise is put into brackets.
    pattern = re.sub(r"([*?\[])", r"[\1]", str(path.absolute()))
    return "'" + pattern.replace("'", "''") + "'"


def _check_values(connection: duckdb.DuckDBPyConnection, path: Path, table: str) -> None:
    for column, sql in COLUMNS[table].items():
        wrong = f"{column} IS NOT NULL AND try_cast({column} AS {sql}) IS NULL"
        if column in NEVER_EMPTY[table]:
            wrong = f"try_cast({column} AS {sql}) IS NULL"
        lines = [
            r[0] for r in connection.execute(f"SELECT line FROM wanted WHERE {wrong} ORDER BY line LIMIT 4").fetchall()
        ]
        if lines:
            kind = {"BIGINT": "a whole number", "TIMESTAMP": "a date (YYYY-MM-DD HH:MM:SS)"}.get(sql, "text")
            raise InputError(f"{sanitise(path, 300)}, {_lines(lines, 3)}: {column.upper()} is not {kind}")


def _lines(lines: list[int], shown: int) -> str:
    text = ", ".join(str(n) for n in lines[:shown])
    return f"line {text}" if len(lines) == 1 else f"lines {text}" + (" and more" if len(lines) > shown else "")


@lru_cache(maxsize=32)
def _check_gzip(path: Path, size: int, modified_ns: int) -> None:
    """Reads a .gz to its end: DuckDB does not compare the checksum. Cached by size and time."""
    lines = 0
    try:
        with igzip.open(path, "rb") as file:
            while block := file.read(1 << 20):
                lines += block.count(b"\n")
    except (EOFError, OSError, zlib.error, igzip.BadGzipFile) as error:
        raise InputError(
            f"{sanitise(path, 300)}, after line {lines}: the compressed file is truncated or damaged "
            f"({sanitise(error, 120)}); copy or download it again"
        ) from None


def _input_error(path: Path, error: duckdb.Error) -> InputError:
    """The reason and the line, without what the line holds: that is a patient's."""
    import duckdb

    text = str(error)
    line = re.search(r"Error on Line: (\d+)", text)
    where = sanitise(path, 300) + (f", line {line[1]}" if line else "")
    columns = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", text)
    if "Invalid unicode" in text:
        reason = "not UTF-8; convert the file or download it again"
    elif columns:
        reason = f"{columns[2]} values where the header names {columns[1]}"
    elif "unterminated quote" in text:
        reason = "a quote that never ends"
    elif "GZIP" in text or "gzip" in text:
        reason = "the compressed file is truncated or damaged; copy or download it again"
    elif isinstance(error, duckdb.OutOfMemoryException):
        reason = f"needs more than {MEMORY_LIMIT} of memory"
    elif isinstance(error, duckdb.IOException):
        reason = f"cannot be read: {sanitise(text.splitlines()[0], 200)}"
    else:
        reason = "cannot be parsed as a comma-separated table"
    return InputError(f"{where}: {reason}")
