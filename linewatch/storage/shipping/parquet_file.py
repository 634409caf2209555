"""One Parquet file: written in row groups, so that memory is flat, and atomically."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import parquet

from linewatch.runtime.atomic_files import translate_os_errors
from linewatch.storage.shipping.tables import SCHEMA, Kind, Table

ROWS_OF_A_GROUP = 100_000  # About 15 MB in memory.
TYPES: Mapping[Kind, pa.DataType] = {
    "number": pa.int64(),
    "real": pa.float64(),
    "flag": pa.bool_(),
    "text": pa.string(),
    "time": pa.timestamp("ms", tz="UTC"),
}
_ENCODINGS: Mapping[Kind, str] = {
    "number": "DELTA_BINARY_PACKED",
    "real": "BYTE_STREAM_SPLIT",
    "text": "DELTA_BYTE_ARRAY",
    "time": "DELTA_BINARY_PACKED",
}
_DICTIONARY = ("threshold", "reason", "product_index", "region_index", "box_w", "box_h", "defects")

Row = Sequence[Any]
"""The values of one row, in the order of the table's columns; times are UTC milliseconds."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a file says of itself."""

    schema: int
    mark: str  # Of the journal's content that it was written from.
    rows: int


def read_facts(path: Path) -> FileFacts | None:
    """Return what a file says of itself; None if there is none, or it is damaged or foreign.

    Raises StorageFull if it cannot be read.
    """
    with translate_os_errors(path), suppress(FileNotFoundError, KeyError, ValueError):
        found = parquet.read_metadata(path)  # Its errors on damaged files are ValueErrors.
        about = found.metadata or {}
        return FileFacts(int(about[b"linewatch.schema"]), about[b"linewatch.mark"].decode(), found.num_rows)
    return None


def arrow_schema(table: Table, station: str, mark: str) -> pa.Schema:
    """Return the columns of a table, with what its file says of itself."""
    about = {
        "linewatch.schema": str(SCHEMA),
        "linewatch.table": table.name,
        "linewatch.station": station,
        "linewatch.mark": mark,
    }
    return pa.schema([(column.name, TYPES[column.kind]) for column in table.columns], metadata=about)


def write_rows(path: Path, table: Table, station: str, mark: str, chunks: Iterable[Sequence[Row]]) -> int:
    """Write a file of all rows and return how many there are. Raises StorageFull."""
    schema = arrow_schema(table, station, mark)
    return write_batches(path, table, schema, (_batch(schema, table, rows) for rows in chunks if rows))


def write_batches(path: Path, table: Table, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write a file atomically and return its number of rows. Raises StorageFull."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with translate_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        try:
            with fresh.open("wb") as file:
                rows = _write(file, table, schema, batches)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    return rows


def _write(file: BinaryIO, table: Table, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    rows = 0
    dictionary = [
        column.name
        for column in table.columns
        if column.name in _DICTIONARY or (column.kind == "text" and not column.unique)
    ]
    encodings = {
        column.name: _ENCODINGS[column.kind]
        for column in table.columns
        if column.name not in dictionary and column.kind in _ENCODINGS
    }
    with parquet.ParquetWriter(
        file, schema, compression="zstd", use_dictionary=dictionary, column_encoding=encodings
    ) as writer:
        for group in _groups(batches):
            writer.write_table(pa.Table.from_batches(group, schema))
            rows += sum(batch.num_rows for batch in group)
    return rows


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Collect batches until they make a row group."""
    group: list[pa.RecordBatch] = []
    for batch in batches:
        group.append(batch)
        if sum(each.num_rows for each in group) >= ROWS_OF_A_GROUP:
            yield group
            group = []
    if group:
        yield group


def _batch(schema: pa.Schema, table: Table, rows: Sequence[Row]) -> pa.RecordBatch:
    columns = []
    for column, values in zip(table.columns, zip(*rows, strict=True), strict=True):
        known = list(map(bool, values)) if column.kind == "flag" else values
        columns.append(pa.array(known, TYPES[column.kind]))
    return pa.record_batch(columns, schema=schema)


def _remove_leftovers(path: Path) -> None:
    """Remove what a killed process left of this file."""
    for left in path.parent.glob(f".{path.name}.*"):
        with suppress(ValueError):
            if not Path("/proc", str(int(left.suffix[1:]))).exists():
                left.unlink(missing_ok=True)
