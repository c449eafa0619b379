"""Read raw Parquet files, as published by the TLC, as rows of a color or rejects with a reason.

Column types drift between months, so every value is converted, and a value that does not fit its column rejects its
row. Not here: raw CSVs (`raw`, `parse`), and the Parquet files that this project writes (`parquet`).
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_assets.errors import BadColumnType, CorruptFile
from taxi_assets.tlc.constants import constant
from taxi_assets.tlc.formats import START_BYTES, require_parquet_start
from taxi_assets.tlc.parquet import release_memory
from taxi_assets.tlc.rejects import Reject, rejected_column
from taxi_assets.tlc.schema import VENDOR_NAME, Column, Layout
from taxi_assets.tlc.values import absent, can_convert, convert, wrong_kind

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    from taxi_assets.tlc.values import Values

SUFFIX = ".parquet"

BATCH_ROWS = 1 << 16
"""Rows to read, convert and write at a time. Limits memory, because the TLC writes a month as one row group."""

PART_ROWS = 1 << 20
"""Rows of the row groups to read together. Many programs write row groups of this size; small ones are slow alone."""


class PublishedFile:
    """The rows of a raw Parquet file of one color.

    Raises NotParquet for another format, CorruptFile if the footer is not readable, BadHeader if the columns are not
    those of an era of the color, and BadColumnType if a column's type cannot be converted. `name` is the path or
    address of the file in messages; by default, its file name.
    """

    def __init__(self, layout: Layout, path: Path, name: str = "") -> None:
        self._layout = layout
        self._path = path
        self._name = name or path.name
        with self._open() as file:
            self.rows: int = file.metadata.num_rows
            schema = file.schema_arrow
            self._file = layout.match_header(schema.names)
            self._fields = {name: schema.field(at).name for at, name in enumerate(self._file.names) if name}
            for column in layout.columns:
                if column.name in self._fields:
                    self._require_type(column, schema.field(self._fields[column.name]))

    def require_readable(self) -> None:
        """Read every value of the file. Raises CorruptFile, also if the footer has another number of rows."""
        rows = sum(batch.num_rows for batch in self._read())
        release_memory()
        if rows != self.rows:
            raise CorruptFile(
                f"The file {self._name} is damaged: its footer says {self.rows:,} rows, but it has {rows:,}.",
                address=self._name,
            )

    def invalid_share(self, sampled: int) -> float:
        """Estimate the share of invalid rows from at most `sampled` rows in each batch. Raises CorruptFile."""
        import pyarrow as pa

        invalid_rows = 0.0
        for batch in self._read():
            few = batch.take(pa.array(range(0, batch.num_rows, batch.num_rows // sampled + 1), pa.int64()))
            _, rejects = self._convert(few, 1)
            invalid_rows += batch.num_rows * len(rejects) / max(few.num_rows, 1)
        return invalid_rows / self.rows if self.rows else 0.0

    def rejected_value(self, reject: Reject) -> tuple[str, str]:
        """Return the column for whose value a row was rejected, and the value; two empty strings for another reason."""
        name = rejected_column(reject)
        field = self._fields.get(name)
        return (name, str(json.loads(reject.text)[field] or "")) if field else ("", "")

    def batches(self) -> "Iterator[tuple[pa.Table, list[Reject]]]":
        """Yield the rows with `Layout.columns` and the rejects of each batch, both in order. Raises CorruptFile."""
        number = 1
        for batch in self._read():
            yield self._convert(batch, number)
            number += batch.num_rows

    def _read(self) -> "Iterator[pa.RecordBatch]":
        with self._open() as file:
            for part in _parts(file):
                for batch in file.iter_batches(BATCH_ROWS, row_groups=part, columns=list(self._fields.values())):
                    # pyarrow reads text that is not UTF-8, but other programs cannot.
                    batch.validate(full=True)
                    yield batch

    def _convert(self, batch: "pa.RecordBatch", number: int) -> "tuple[pa.Table, list[Reject]]":
        """Convert a batch. `number` is that of its first row in the file, from 1."""
        import pyarrow as pa

        columns: list[Values] = []
        reasons: list[tuple[str, Values]] = []
        schema = self._layout.arrow_schema().remove(len(self._layout.columns))
        for column, type_ in zip(self._layout.columns, schema.types, strict=True):
            if column.name not in self._fields:
                columns.append(absent(column, type_, self._file.era.vendors, batch, self._fields.get(VENDOR_NAME, "")))
                continue
            read = _without_nan(batch.column(self._fields[column.name]))
            values, unfit = convert(read, column, self._file.era.codes.get(column.name))
            columns.append(values)
            if unfit is not None:
                reasons.append((wrong_kind(column), unfit))
            if column.name == self._layout.pickup and values.null_count:
                reasons.append((f"{column.name} is missing", values.is_null()))
        table = pa.table(columns, schema)
        return (table, []) if not reasons else self._reject(table, batch, number, reasons)

    def _reject(
        self, table: "pa.Table", batch: "pa.RecordBatch", number: int, reasons: "list[tuple[str, Values]]"
    ) -> "tuple[pa.Table, list[Reject]]":
        """Return the rows of a converted batch for which there is no reason to reject them, and the others."""
        import numpy as np
        import pyarrow as pa

        # The first reason for a row counts.
        first: dict[int, str] = {}
        for reason, unfit in reversed(reasons):
            first.update(dict.fromkeys(np.flatnonzero(np.asarray(unfit)).tolist(), reason))
        at = sorted(first)
        texts = _to_json(batch.take(pa.array(at, pa.int64())))
        rejects = [Reject(number + index, first[index], text) for index, text in zip(at, texts, strict=True)]
        kept = np.ones(table.num_rows, dtype=bool)
        kept[at] = False
        return table.filter(pa.array(kept)), rejects

    def _require_type(self, column: Column, field: "pa.Field") -> None:
        if not can_convert(field.type, column.kind):
            raise BadColumnType(
                f'The column "{field.name}" of the file {self._name} has the type {field.type}. Expected a type that '
                f"can be converted to {column.kind}.",
                address=self._name,
                color=self._layout.color,
                column=field.name,
                seen=str(field.type),
                expected=str(column.kind),
            )

    @contextmanager
    def _open(self) -> "Iterator[ParquetFile]":
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile

        with self._path.open("rb") as start:
            require_parquet_start(start.read(START_BYTES), self._name)
        try:
            # Without a buffer, a column of a whole row group is read at once. Old programs write timestamps as INT96,
            # which is read in nanoseconds by default: these end in 2262.
            with ParquetFile(
                self._path, buffer_size=1 << 20, coerce_int96_timestamp_unit="us", page_checksum_verification=True
            ) as file:
                yield file
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            # For damaged pages, pyarrow raises a plain OSError without errno.
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise CorruptFile(
                f"The file {self._name} is truncated or damaged: {' '.join(str(error).split()).rstrip('.')}.",
                address=self._name,
            ) from error


def _parts(file: "ParquetFile") -> Iterator[list[int]]:
    """Yield the numbers of the row groups to read together: about a million rows.

    The memory that pyarrow uses to read row groups together grows with each of them.
    """
    part, rows = [], 0
    for number in range(file.num_row_groups):
        part.append(number)
        rows += file.metadata.row_group(number).num_rows
        if rows >= PART_ROWS:
            yield part
            part, rows = [], 0
    if part:
        yield part


def _to_json(batch: "pa.RecordBatch") -> list[str]:
    """Return each row as JSON. Values that JSON does not have are text: timestamps, and numbers that are not finite."""
    import pyarrow as pa
    from pyarrow import types

    # Python has no year 0 or 10000.
    columns = [column.cast(pa.string()) if types.is_timestamp(column.type) else column for column in batch.columns]
    rows = pa.RecordBatch.from_arrays(columns, batch.schema.names).to_pylist()
    return [json.dumps({n: _finite(v) for n, v in row.items()}, default=str, ensure_ascii=False) for row in rows]


def _finite(value: object) -> object:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _without_nan(values: "Values") -> "Values":
    """Return values in which NaN, with which data frames mark missing values, is missing."""
    from pyarrow import compute, types

    if not types.is_floating(values.type):
        return values
    nan = compute.is_nan(values)
    return compute.if_else(nan, constant(None, values.type), values) if compute.any(nan).as_py() else values
