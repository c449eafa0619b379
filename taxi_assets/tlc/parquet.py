"""Parquet files of a month, as this project writes and reads them: one table of `Layout.table_columns`.

Not here: where the files live, what is right about their rows.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

from taxi_assets.tlc.ahead import read_ahead
from taxi_assets.tlc.schema import Kind, Layout
from taxi_assets.tlc.summary import MonthSummary

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ColumnChunkMetaData, ParquetFile


_SOURCE = b"taxi_assets.source_sha256"
_VERSION = b"taxi_assets.version"


@dataclass(frozen=True)
class Footer:
    """What a file's footer states: the rows, the SHA-256 of their raw file, and the version of the data.

    `source` and `version` are empty where the footer does not state them.
    """

    rows: int
    source: str
    version: str


def write_row_groups(
    path: Path, layout: Layout, tables: "Iterable[pa.Table]", source: str = "", version: str = ""
) -> int:
    """Write each table as a row group, while the next is made in another thread. Returns the rows in the footer.

    The footer keeps `source`, the SHA-256 of the raw file that the rows came from, and `version`, the data version of
    the month. Columns are compressed with zstd and have statistics. Timestamps are delta-encoded, because neighbors
    differ little; other columns are dictionary-encoded, because they have few distinct values. The bytes depend only
    on the tables, the source and the version.
    """
    from pyarrow.parquet import ParquetWriter, read_metadata

    clocks = [column.name for column in layout.table_columns if column.kind is Kind.timestamp]
    others = [column.name for column in layout.table_columns if column.kind is not Kind.timestamp]
    with ParquetWriter(
        path,
        layout.arrow_schema().with_metadata({_SOURCE: source, _VERSION: version}),
        compression="zstd",
        use_dictionary=others,
        column_encoding=dict.fromkeys(clocks, "DELTA_BINARY_PACKED"),
    ) as writer:
        for table in read_ahead(tables):
            writer.write_table(table, row_group_size=max(table.num_rows, 1))
    return int(read_metadata(path).num_rows)


def read_row_groups(path: Path) -> "Iterator[pa.Table]":
    """The row groups of a file, in order, one in memory at a time."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number)


def read_preview(path: Path, rows: int) -> "pa.Table":
    """The first `rows` rows of a file."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        return pa.Table.from_batches(islice(file.iter_batches(rows), 1), file.schema_arrow)


def read_footer(file: Path | IO[bytes]) -> Footer:
    """The footer of a file, given its path or the opened file."""
    from pyarrow.parquet import read_metadata

    metadata = read_metadata(file)
    stated = metadata.metadata or {}
    return Footer(int(metadata.num_rows), stated.get(_SOURCE, b"").decode(), stated.get(_VERSION, b"").decode())


def read_source(file: Path | IO[bytes]) -> str:
    """The SHA-256, hexadecimal, of the raw file that the rows came from; empty where the footer does not state it."""
    return read_footer(file).source


def read_version(file: Path | IO[bytes]) -> str:
    """The data version of the month; empty where the footer does not state it."""
    return read_footer(file).version


def read_schema(path: Path) -> "pa.Schema":
    """The columns and types that a file's footer tells."""
    from pyarrow.parquet import read_schema as read

    return read(path)


def count_rows(file: Path | IO[bytes]) -> int:
    """The number of rows that a file's footer states."""
    return read_footer(file).rows


def summarize_parquet(file: Path | IO[bytes], layout: Layout) -> MonthSummary:
    """The summary of a file with the columns of `layout`, given its path or the opened file.

    Row counts, nulls and pickup times come from the statistics in the footer, and from the column where a row group
    has none. Only the column `Layout.total` is always read, one row group at a time.

    Raises pyarrow's ArrowInvalid where the file is not Parquet or lacks a column, and OSError where it is damaged.
    """
    from pyarrow.parquet import ParquetFile

    with ParquetFile(file) as opened:
        _require_columns(opened, layout)
        groups = [_RowGroup(opened, number) for number in range(opened.num_row_groups)]
        pickups = [time for group in groups for time in group.bounds(layout.pickup)]
        return MonthSummary(
            rows=sum(group.rows for group in groups),
            total_amount=sum((group.total(layout.total) for group in groups), 0.0) if layout.total else None,
            first_pickup=min(pickups, default=None),
            last_pickup=max(pickups, default=None),
            nulls={name: sum(group.nulls(name) for group in groups) for name in layout.names},
        )


def summarize_tables(tables: "Iterable[pa.Table]", layout: Layout) -> MonthSummary:
    """The summary of tables with the columns of `layout`, one in memory at a time."""
    import pyarrow.compute as pc

    column, rows, total = layout.total, 0, 0.0
    nulls, pickups = Counter(dict.fromkeys(layout.names, 0)), []
    for table in tables:
        rows += table.num_rows
        nulls.update({name: table.column(name).null_count for name in layout.names})
        bounds = pc.min_max(table.column(layout.pickup)).as_py()
        pickups += [time for time in bounds.values() if time is not None]
        total += float(pc.sum(table.column(column), min_count=0).as_py()) if column else 0.0
    return MonthSummary(
        rows, total if column else None, min(pickups, default=None), max(pickups, default=None), dict(nulls)
    )


def _require_columns(file: "ParquetFile", layout: Layout) -> None:
    import pyarrow as pa

    missing = [name for name in layout.names if name not in file.schema_arrow.names]
    if missing:
        raise pa.ArrowInvalid(f"columns of {layout.color} months are missing: {', '.join(missing)}")


class _RowGroup:
    """The figures of a row group in an opened file, from its statistics where it has them."""

    def __init__(self, file: "ParquetFile", number: int) -> None:
        self._file = file
        self._number = number
        self._metadata = file.metadata.row_group(number)
        self.rows: int = self._metadata.num_rows

    def nulls(self, name: str) -> int:
        """The missing values of a column."""
        statistics = self._chunk(name).statistics
        if statistics is not None and statistics.has_null_count:
            return int(statistics.null_count)
        return int(self._read(name).null_count)

    def bounds(self, name: str) -> tuple[datetime, ...]:
        """The lowest and the highest value of a timestamp column; empty where all values are missing."""
        import pyarrow.compute as pc

        statistics = self._chunk(name).statistics
        if statistics is not None and statistics.has_min_max:
            return statistics.min, statistics.max
        if self.nulls(name) == self.rows:
            return ()
        bounds = pc.min_max(self._read(name)).as_py()
        return bounds["min"], bounds["max"]

    def total(self, name: str) -> float:
        """The sum of a column, 0 where all values are missing."""
        import pyarrow.compute as pc

        return float(pc.sum(self._read(name), min_count=0).as_py())

    def _chunk(self, name: str) -> "ColumnChunkMetaData":
        return self._metadata.column(self._file.schema_arrow.get_field_index(name))

    def _read(self, name: str) -> "pa.ChunkedArray":
        return self._file.read_row_group(self._number, columns=[name]).column(0)
