"""Metadata of partitions for the UI. It uses Dagster's standard keys, which catalogs also recognize."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import dagster as dg

from taxi_assets.instance._dagster import RawMetadataValue
from taxi_assets.stores.sizes import format_size
from taxi_assets.tlc.parquet import read_preview
from taxi_assets.tlc.schema import Column, Kind, Layout

PREVIEW_ROWS = 5

_TYPES = {
    Kind.integer: "int64",
    Kind.decimal: "double",
    Kind.text: "string",
    Kind.timestamp: "timestamp[us]",
    Kind.date: "date",
}


def work_metadata(rows: int, seconds: float) -> dict[str, RawMetadataValue]:
    """Return the row count of a partition, the duration in seconds, and the rows per second."""
    return {
        "dagster/partition_row_count": rows,
        "seconds": round(seconds, 3),
        "rows_per_second": round(rows / seconds) if seconds else 0,
    }


def size_metadata(size: int) -> dict[str, RawMetadataValue]:
    """Return the size of a file, both as a number of bytes for plots and as readable text."""
    return {"bytes": size, "size": format_size(size)}


def file_metadata(path: Path) -> dict[str, RawMetadataValue]:
    """Return the location and the size of a file."""
    return {"dagster/uri": path.as_uri(), "path": dg.MetadataValue.path(path), **size_metadata(path.stat().st_size)}


def table_metadata(name: str, total_rows: int) -> dict[str, RawMetadataValue]:
    """Return the name of a table, `database.schema.table`, and its row count for all months."""
    return {"dagster/table_name": name, "dagster/row_count": total_rows}


def column_schema(columns: Iterable[Column], convert_name: Callable[[str], str] = str) -> dict[str, RawMetadataValue]:
    """Return the columns with their types and descriptions. `convert_name` converts each name to that of the asset."""
    shown = [dg.TableColumn(convert_name(c.name), _TYPES[c.kind], description=c.meaning) for c in columns]
    return {"dagster/column_schema": dg.TableSchema(shown)}


def counts_table(what: str, counts: Mapping[str, int]) -> dg.TableMetadataValue:
    """Return named counts as a table with the columns `what` and `rows`, largest count first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return dg.MetadataValue.table(
        [dg.TableRecord({what: name, "rows": count}) for name, count in ordered],
        dg.TableSchema([dg.TableColumn(what, "string"), dg.TableColumn("rows", "int")]),
    )


def preview(path: Path, layout: Layout) -> dg.TableMetadataValue:
    """Return the first PREVIEW_ROWS rows of a month's Parquet file as a table."""
    rows = read_preview(path, PREVIEW_ROWS).to_pylist()
    return dg.MetadataValue.table(
        [dg.TableRecord({name: _shown(value) for name, value in row.items()}) for row in rows],
        dg.TableSchema([dg.TableColumn(c.name, _TYPES[c.kind]) for c in layout.file_columns]),
    )


def _shown(value: object) -> str | int | float:
    return value if isinstance(value, (int, float)) else "" if value is None else str(value)
