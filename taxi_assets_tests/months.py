"""Months' files for tests: made-up ones as a source publishes them, Parquet ones for lakes and warehouses."""

import os
from pathlib import Path
from typing import Any

import pytest

from taxi_assets.tlc.sample import write_sample
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import TripMonth


def publish(source: Path, month: TripMonth, rows: int, seed: int = 0) -> Path:
    """Let a folder that is laid out as the source is have a made-up month; gives its file."""
    place = source / month.color / f"{month.stem}.csv.gz"
    place.parent.mkdir(parents=True, exist_ok=True)
    write_sample(month, rows, place, seed)
    return place


def folder_of(variable: str, what: str) -> Path:
    """The folder of files that are not part of the project; skips the test where the variable names none."""
    named = os.environ.get(variable)
    if not named:
        pytest.skip(f"{variable} names no folder of {what}")
    return Path(named).resolve(strict=True)


def write_month(path: Path, month: TripMonth, rows: int, mark: int = 0, source: str = "", **columns: Any) -> None:
    """Write a file whose only values are `mark`, in the first location column, and `file_month`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = LAYOUTS[month.color].arrow_schema()
    values: dict[str, Any] = {"file_month": month.first_day, location(month): mark}
    table = pa.table(
        {name: pa.repeat(pa.scalar(values.get(name), schema.field(name).type), rows) for name in schema.names}
    )
    for name, column in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, [column])
    pq.write_table(table.replace_schema_metadata({"taxi_assets.source_sha256": source} if source else None), path)


def location(month: TripMonth) -> str:
    """The first location column of a color."""
    return next(name for name in LAYOUTS[month.color].names if name.lower() == "pulocationid")
