"""Monthly files for tests: sample CSVs as a source publishes them, and Parquet files for lakes and warehouses."""

import os
from pathlib import Path
from typing import Any

import pytest

from taxi_assets.tlc.sample import write_sample
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import TripMonth


def publish(source: Path, month: TripMonth, rows: int, seed: int = 0) -> Path:
    """Write a sample month into a folder that is laid out like a source. Return the path of the file."""
    path = source / month.color / f"{month.stem}.csv.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_sample(month, rows, path, seed)
    return path


def folder_of(variable: str, what: str) -> Path:
    """Return the folder of external test data that a variable names. Skip the test if it is not set."""
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"{variable} is not set to a folder of {what}")
    return Path(folder).resolve(strict=True)


def write_month(path: Path, month: TripMonth, rows: int, mark: int = 0, source: str = "", **columns: Any) -> None:
    """Write a clean file whose only values are `file_month` and `mark`, in the first location column."""
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
    """Return the name of the first location column of a month's color."""
    return next(name for name in LAYOUTS[month.color].names if name.lower() == "pulocationid")
