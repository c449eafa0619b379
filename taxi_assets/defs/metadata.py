"""Metadata: how figures of a partition look in the UI."""

from collections.abc import Callable, Mapping
from pathlib import Path

import dagster as dg
from dagster._core.definitions.metadata import RawMetadataValue

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


def row_count(rows: int) -> dict[str, RawMetadataValue]:
    """The rows of a partition, under the name that the UI knows."""
    return {"dagster/partition_row_count": rows}


def pace(rows: int, seconds: float) -> dict[str, RawMetadataValue]:
    """How long the work took, and its pace."""
    return {"seconds": round(seconds, 3), "rows_per_second": round(rows / seconds) if seconds else 0}


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
