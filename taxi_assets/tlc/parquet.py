"""Read and write the Parquet file of a month: one table with the columns of `Layout.file_columns`.

Not here: where the files are stored, and whether their rows are valid.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import SEEK_END, BytesIO
from itertools import islice
from pathlib import Path
from shutil import copyfileobj
from typing import IO, TYPE_CHECKING

from taxi_assets.tlc.ahead import read_ahead
from taxi_assets.tlc.formats import PARQUET
from taxi_assets.tlc.schema import Kind, Layout
from taxi_assets.tlc.summary import MonthSummary

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ColumnChunkMetaData, ParquetFile


_SOURCE = b"taxi_assets.source_sha256"
_VERSION = b"taxi_assets.version"


@dataclass(frozen=True)
class Footer:
    """The metadata in a file's footer: the row count, the SHA-256 of the raw file, the data version and the columns.

    `source` and `version` are empty if the footer does not contain them.
    """

    rows: int
    source: str
    version: str
    columns: tuple[str, ...]


def write_row_groups(
    path: Path, layout: Layout, tables: "Iterable[pa.Table]", source: str = "", version: str = ""
) -> int:
    """Write each table as a row group while another thread produces the next. Return the row count in the footer.

    The footer stores `source`, the SHA-256 of the raw file, and `version`, the data version of the month. Columns are
    compressed with zstd and have statistics. Timestamps are delta-encoded, because consecutive values are close; other
    columns are dictionary-encoded, because they have few distinct values. The same tables, source and version always
    produce the same bytes.
    """
    from pyarrow.parquet import ParquetWriter, read_metadata

    clocks = [column.name for column in layout.file_columns if column.kind is Kind.timestamp]
    others = [column.name for column in layout.file_columns if column.kind is not Kind.timestamp]
    with ParquetWriter(
        path,
        layout.arrow_schema().with_metadata({_SOURCE: source, _VERSION: version}),
        compression="zstd",
        use_dictionary=others,
        column_encoding=dict.fromkeys(clocks, "DELTA_BINARY_PACKED"),
    ) as writer:
        for table in read_ahead(tables):
            writer.write_table(table, row_group_size=max(table.num_rows, 1))
    release_memory()
    return int(read_metadata(path).num_rows)


def copy_row_groups(original: Path, path: Path, layout: Layout, source: str, version: str) -> int:
    """Copy a file, but with this source and version in its footer. Return the row count in the footer.

    The encoded columns are copied as they are, which takes a fraction of the time of writing them. They are read once,
    because a copy of a damaged file would be damaged too. A file of an earlier release, which has fewer columns, is
    written as by `write_row_groups`. Raises the same errors as `read_row_groups`.
    """
    from pyarrow.parquet import ParquetFile, write_metadata

    tables = read_row_groups(original, layout)
    with ParquetFile(original) as file:
        metadata, schema = file.metadata, file.schema_arrow
    if not metadata.num_row_groups or not schema.equals(layout.arrow_schema()):
        return write_row_groups(path, layout, tables, source, version)
    deque(tables, maxlen=0)
    release_memory()
    footer = BytesIO()
    write_metadata(schema.with_metadata({_SOURCE: source, _VERSION: version}), footer, metadata_collector=[metadata])
    with original.open("rb") as copied, path.open("wb") as new:
        copyfileobj(copied, new, _COPY_BYTES)
        new.seek(-metadata.serialized_size - _FOOTER_END, SEEK_END)
        new.write(footer.getvalue()[len(PARQUET) :])
        new.truncate()
    return read_footer(path).rows


_COPY_BYTES = 1 << 20

_FOOTER_END = 8
"""Bytes at the end of a Parquet file: the length of the footer, and the same magic bytes as at the start."""


def release_memory() -> None:
    """Return freed memory to the system, which Arrow's allocator and that of the C library keep for later."""
    import ctypes

    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    # Only the GNU C library has this function.
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def read_row_groups(path: Path, layout: Layout) -> "Iterator[pa.Table]":
    """Yield the row groups of a file in order, with one in memory at a time, in the columns of `layout`.

    A file of an earlier release has fewer columns; the values of the others are missing. Raises pyarrow.ArrowInvalid
    if the file lacks any other column.
    """
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        _require_columns(file, layout)
        for number in range(file.num_row_groups):
            yield _widen(file.read_row_group(number), layout.arrow_schema())


def read_columns(file: Path | IO[bytes], layout: Layout, columns: Sequence[str]) -> "Iterator[pa.Table]":
    """Yield the row groups of a file in order, with these columns of `layout` in this order. Reads no other columns.

    A column that a file of an earlier release does not have is empty. Raises the same errors as `read_row_groups`.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    schema = pa.schema([layout.arrow_schema().field(name) for name in columns])
    # With pre_buffer, columns of an object in a bucket that are next to each other are read in one request.
    with ParquetFile(file, pre_buffer=True) as opened:
        _require_columns(opened, layout)
        existing = [name for name in columns if name in opened.schema_arrow.names]
        for number in range(opened.num_row_groups):
            yield _widen(opened.read_row_group(number, columns=existing), schema)


def _widen(table: "pa.Table", schema: "pa.Schema") -> "pa.Table":
    """Return a table with the columns of `schema`, in its order. Those that the table lacks are empty."""
    import pyarrow as pa

    if table.column_names == schema.names:
        return table
    columns = {name: table.column(name) for name in table.column_names}
    return pa.table([columns.get(field.name, pa.nulls(table.num_rows, field.type)) for field in schema], schema)


def read_preview(path: Path, rows: int) -> "pa.Table":
    """Read the first `rows` rows of a file."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        return pa.Table.from_batches(islice(file.iter_batches(rows), 1), file.schema_arrow)


def read_footer(file: Path | IO[bytes]) -> Footer:
    """Read the footer of a file, given its path or an open file object."""
    from pyarrow.parquet import read_metadata

    metadata = read_metadata(file)
    source, version = ((metadata.metadata or {}).get(name, b"").decode() for name in (_SOURCE, _VERSION))
    return Footer(int(metadata.num_rows), source, version, tuple(metadata.schema.names))


def read_source(file: Path | IO[bytes]) -> str:
    """Read the SHA-256 (hexadecimal) of the raw file from the footer; empty if the footer does not contain it."""
    return read_footer(file).source


def read_schema(path: Path) -> "pa.Schema":
    """Read the column names and types from the footer of a file."""
    from pyarrow.parquet import read_schema as read

    return read(path)


def count_rows(file: Path | IO[bytes]) -> int:
    """Read the row count from the footer of a file."""
    return read_footer(file).rows


def summarize_parquet(file: Path | IO[bytes], layout: Layout) -> MonthSummary:
    """Summarize a file with the columns of `layout`, given its path or an open file object.

    Row counts, null counts and pickup times come from the statistics in the footer. If a row group has no statistics,
    they come from the column itself. The column `Layout.total` is always read, one row group at a time. In a file of an
    earlier release, all values of later columns are missing.

    Raises pyarrow.ArrowInvalid if the file is not Parquet or a column is missing, and OSError if it is damaged.
    """
    from pyarrow.parquet import ParquetFile

    with ParquetFile(file) as opened:
        _require_columns(opened, layout)
        groups = _row_groups(opened)
        pickups = [time for group in groups for time in group.bounds(layout.pickup)]
        return MonthSummary(
            rows=sum(group.rows for group in groups),
            total_amount=sum((group.total(layout.total) for group in groups), 0.0) if layout.total else None,
            first_pickup=min(pickups, default=None),
            last_pickup=max(pickups, default=None),
            nulls={name: sum(group.nulls(name) for group in groups) for name in layout.names},
        )


class Summarizer:
    """Summarizes tables with the columns of `layout` while they are used, so that they are read only once."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._rows, self._total = 0, 0.0
        self._nulls = Counter(dict.fromkeys(layout.names, 0))
        self._pickups: list[datetime] = []

    def watch(self, tables: "Iterable[pa.Table]") -> "Iterator[pa.Table]":
        """Yield the tables, and add each to the summary."""
        import pyarrow.compute as pc

        total = self._layout.total
        for table in tables:
            self._rows += table.num_rows
            self._nulls.update({name: table.column(name).null_count for name in self._layout.names})
            bounds = pc.min_max(table.column(self._layout.pickup)).as_py()
            self._pickups += [time for time in bounds.values() if time is not None]
            self._total += float(pc.sum(table.column(total), min_count=0).as_py()) if total else 0.0
            yield table

    def summary(self) -> MonthSummary:
        """Return the summary of the tables so far."""
        first, last = min(self._pickups, default=None), max(self._pickups, default=None)
        total = self._total if self._layout.total else None
        return MonthSummary(self._rows, total, first, last, dict(self._nulls))


def filled_columns(path: Path, layout: Layout) -> list[str]:
    """Return the columns of `layout` that have a value in a file, by the statistics in its footer.

    A column without statistics counts as one that has values.
    """
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as opened:
        groups = _row_groups(opened)
        return [name for name in layout.arrow_schema().names if not all(group.is_empty(name) for group in groups)]


def _require_columns(file: "ParquetFile", layout: Layout) -> None:
    import pyarrow as pa

    found = file.schema_arrow.names
    missing = [name for name in layout.names if name not in found and not layout.is_optional(name)]
    if missing:
        raise pa.ArrowInvalid(f"Columns of {layout.color} months are missing: {', '.join(missing)}.")


def _row_groups(file: "ParquetFile") -> "list[_RowGroup]":
    places = {name: number for number, name in enumerate(file.schema_arrow.names)}
    return [_RowGroup(file, places, number) for number in range(file.num_row_groups)]


class _RowGroup:
    """The figures of a row group in an open file, from its statistics if available.

    `places` are the columns of the file, by name.
    """

    def __init__(self, file: "ParquetFile", places: Mapping[str, int], number: int) -> None:
        self._file = file
        self._places = places
        self._number = number
        self._metadata = file.metadata.row_group(number)
        self.rows: int = self._metadata.num_rows

    def nulls(self, name: str) -> int:
        """The number of missing values in a column; all of them if the file does not have it."""
        if name not in self._places:
            return self.rows
        statistics = self._chunk(name).statistics
        if statistics is not None and statistics.has_null_count:
            return int(statistics.null_count)
        return int(self._read(name).null_count)

    def is_empty(self, name: str) -> bool:
        """Whether the statistics say that all values of a column are missing."""
        if name not in self._places:
            return True
        statistics = self._chunk(name).statistics
        return statistics is not None and statistics.has_null_count and statistics.null_count == self.rows

    def bounds(self, name: str) -> tuple[datetime, ...]:
        """The minimum and maximum of a timestamp column; empty if all values are missing."""
        import pyarrow.compute as pc

        statistics = self._chunk(name).statistics
        if statistics is not None and statistics.has_min_max:
            return statistics.min, statistics.max
        if self.nulls(name) == self.rows:
            return ()
        bounds = pc.min_max(self._read(name)).as_py()
        return bounds["min"], bounds["max"]

    def total(self, name: str) -> float:
        """The sum of a column; 0 if all values are missing."""
        import pyarrow.compute as pc

        return float(pc.sum(self._read(name), min_count=0).as_py())

    def _chunk(self, name: str) -> "ColumnChunkMetaData":
        return self._metadata.column(self._places[name])

    def _read(self, name: str) -> "pa.ChunkedArray":
        return self._file.read_row_group(self._number, columns=[name]).column(0)
