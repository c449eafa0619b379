"""Metadata: how figures of a partition look in the UI, under the names that Dagster and catalogs know."""

from collections.abc import Callable, Mapping
from pathlib import Path

import dagster as dg
from dagster._core.definitions.metadata import RawMetadataValue

from taxi_assets.stores.download import said_size
from taxi_assets.tlc.parquet import read_preview
from taxi_assets.tlc.schema import Kind, Layout

PREVIEW_ROWS = 5

_TYPES = {
    Kind.integer: "int64",
    Kind.decimal: "double",
    Kind.text: "string",
    Kind.timestamp: "timestamp[us]",
    Kind.date: "date",
}


def work_metadata(rows: int, seconds: float) -> dict[str, RawMetadataValue]:
    """The rows of a partition, how long the work took, and its pace."""
    return {
        "dagster/partition_row_count": rows,
        "seconds": round(seconds, 3),
        "rows_per_second": round(rows / seconds) if seconds else 0,
    }


def size_metadata(size: int) -> dict[str, RawMetadataValue]:
    """The bytes of a file, as a number for plots and as people read it."""
    return {"bytes": size, "size": said_size(size)}


def file_metadata(path: Path) -> dict[str, RawMetadataValue]:
    """Where a file is, and how large."""
    return {"dagster/uri": path.as_uri(), "path": dg.MetadataValue.path(path), **size_metadata(path.stat().st_size)}


def table_metadata(name: str, total_rows: int) -> dict[str, RawMetadataValue]:
    """A table, named `database.schema.table`, and its rows of all months."""
    return {"dagster/table_name": name, "dagster/row_count": total_rows}


def column_schema(layout: Layout, spelled: Callable[[str], str] = str) -> dict[str, RawMetadataValue]:
    """The columns with their types and meanings, each name as it is `spelled` there."""
    columns = [dg.TableColumn(spelled(c.name), _TYPES[c.kind], description=c.meaning) for c in layout.table_columns]
    return {"dagster/column_schema": dg.TableSchema(columns)}


def counts_table(what: str, counts: Mapping[str, int]) -> dg.TableMetadataValue:
    """Named counts as a table with columns `what` and rows, the largest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return dg.MetadataValue.table(
        [dg.TableRecord({what: name, "rows": count}) for name, count in ordered],
        dg.TableSchema([dg.TableColumn(what, "string"), dg.TableColumn("rows", "int")]),
    )


def preview(path: Path, layout: Layout) -> dg.TableMetadataValue:
    """The first rows of a month's Parquet file."""
    rows = read_preview(path, PREVIEW_ROWS).to_pylist()
    return dg.MetadataValue.table(
        [dg.TableRecord({name: _shown(value) for name, value in row.items()}) for row in rows],
        dg.TableSchema([dg.TableColumn(c.name, _TYPES[c.kind]) for c in layout.table_columns]),
    )


def _shown(value: object) -> str | int | float:
    return value if isinstance(value, (int, float)) else "" if value is None else str(value)
