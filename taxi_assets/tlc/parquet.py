"""Parquet files of a month, as this project writes and reads them: one table of `Layout.table_columns`.

Not here: where the files live, what is right about their rows.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_assets.tlc.ahead import read_ahead
from taxi_assets.tlc.schema import Kind, Layout

if TYPE_CHECKING:
    import pyarrow as pa


_SOURCE = b"taxi_assets.source_sha256"


def write_row_groups(path: Path, layout: Layout, tables: "Iterable[pa.Table]", source: str = "") -> int:
    """Write each table as a row group, while the next is made in another thread. Returns the rows in the footer.

    `source` is the SHA-256 of the raw file that the rows came from; the footer keeps it. zstd, with statistics.
    Timestamps rise and fall by little, which delta encoding keeps small; other columns have few values, which a
    dictionary does. The bytes depend on the tables and the source alone.
    """
    from pyarrow.parquet import ParquetWriter, read_metadata

    clocks = [column.name for column in layout.table_columns if column.kind is Kind.timestamp]
    others = [column.name for column in layout.table_columns if column.kind is not Kind.timestamp]
    with ParquetWriter(
        path,
        layout.arrow_schema().with_metadata({_SOURCE: source}),
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


def read_source(path: Path) -> str:
    """The SHA-256, hexadecimal, of the raw file that a file's rows came from; empty where the file tells none."""
    return ((read_schema(path).metadata or {}).get(_SOURCE) or b"").decode()


def read_schema(path: Path) -> "pa.Schema":
    """The columns and types that a file's footer tells."""
    from pyarrow.parquet import read_schema as read

    return read(path)


def count_rows(path: Path) -> int:
    """The rows that a file's footer tells."""
    from pyarrow.parquet import read_metadata

    return int(read_metadata(path).num_rows)
