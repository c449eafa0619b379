"""Values are the same in the clean file, the lake, DuckDB and Postgres, up to the ends of what their types hold."""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from taxi_assets.stores.duckdb import DuckDBWarehouse
from taxi_assets.stores.files.folder_lake import FolderLake
from taxi_assets.stores.google.bigquery import BigQueryWarehouse
from taxi_assets.stores.google.gcs import GCSLake
from taxi_assets.stores.postgres.store import PostgresStore
from taxi_assets.tlc.parquet import read_row_groups, write_row_groups
from taxi_assets.tlc.schema import LAYOUTS, Column, Kind
from taxi_assets.tlc.trips import TripMonth

if TYPE_CHECKING:
    import pyarrow as pa

Row: TypeAlias = Sequence[Any]

MONTH = TripMonth("yellow", "2021-01")
LAYOUT = LAYOUTS[MONTH.color]
NUMBER, *OTHERS = LAYOUT.columns
"""The first column, which numbers the rows here because a database may reorder them, and all others."""

FIRST, LAST = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)  # noqa: DTZ001  # as in the files

EXTREMES: dict[Kind, list[Any]] = {
    Kind.integer: [None, -(2**63), -1, 0, 2**53 + 1, 2**63 - 1],
    Kind.decimal: [None, -0.0, 0.0, 5e-324, -1.7976931348623157e308, 0.1 + 0.2, math.inf, -math.inf, math.nan],
    Kind.text: [None, "", " ", "NULL", "\\N", "\\.", 'a"b\t,', "\r\n", "\u20ac\U0001f695\ufeff", "x" * 5_000],
    Kind.timestamp: [None, FIRST, LAST, datetime(1969, 12, 31, 23, 59, 59, 999999), datetime(2021, 3, 14, 2, 30)],  # noqa: DTZ001
}

VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.integer: st.integers(-(2**63), 2**63 - 1),
    Kind.decimal: st.floats(),
    # Files with NUL or invalid UTF-8 are rejected before.
    Kind.text: st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    Kind.timestamp: st.datetimes(FIRST, LAST).map(lambda drawn: drawn.replace(fold=0)),
}


def _any(column: Column) -> st.SearchStrategy[Any]:
    return st.sampled_from(EXTREMES[column.kind]) | VALUES[column.kind]


def _all_extremes() -> list[Row]:
    """Rows that have each extreme value in each column of its type."""
    count = max(map(len, EXTREMES.values()))
    return [
        [EXTREMES[column.kind][number % len(EXTREMES[column.kind])] for column in OTHERS] for number in range(count)
    ]


def test_round_trip(tmp_path: Path, postgres_url: str) -> None:
    """Every value that a column can hold comes back exactly from every store, with missing and empty text apart."""
    lake, warehouse = FolderLake(tmp_path / "lake"), DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    postgres, clean = PostgresStore(postgres_url), tmp_path / "clean.parquet"
    names = [NUMBER.name, *(column.name for column in OTHERS)]

    # Without a search for a smaller example, which would take minutes.
    @settings(deadline=None, max_examples=6, phases=[Phase.explicit, Phase.reuse, Phase.generate])
    @example(rows=_all_extremes())
    @given(rows=st.lists(st.tuples(*map(_any, OTHERS)), min_size=1, max_size=8))
    def check(rows: list[Row]) -> None:
        expected = [tuple(map(repr, (number, *row))) for number, row in enumerate(rows)]
        write_row_groups(clean, LAYOUT, [_table(rows)])
        assert _sorted(read_row_groups(clean, LAYOUT), names) == expected
        staged = lake.stage(MONTH)
        write_row_groups(staged.path, LAYOUT, read_row_groups(clean, LAYOUT), "source", "version")
        warehouse.replace_month(MONTH, lake.put(MONTH, staged), len(rows))
        postgres.replace_month(MONTH, read_row_groups(clean, LAYOUT), len(rows))
        for store, columns in ((lake, names), (warehouse, names), (postgres, [name.lower() for name in names])):
            assert _sorted(store.read(MONTH, columns), columns) == expected, type(store).__name__

    check()


@pytest.mark.gcp_emulators
def test_round_trip_of_bigquery(emulated_warehouse: BigQueryWarehouse, emulated_lake: GCSLake, tmp_path: Path) -> None:
    """The extremes of every type come back exactly from a bucket and from BigQuery."""
    rows, clean, names = _all_extremes(), tmp_path / "clean.parquet", [NUMBER.name, *(column.name for column in OTHERS)]
    write_row_groups(clean, LAYOUT, [_table(rows)])
    staged = emulated_lake.stage(MONTH)
    write_row_groups(staged.path, LAYOUT, read_row_groups(clean, LAYOUT), "source", "version")
    emulated_warehouse.replace_month(MONTH, emulated_lake.put(MONTH, staged), len(rows))
    expected = [tuple(map(repr, (number, *row))) for number, row in enumerate(rows)]
    for store in (emulated_lake, emulated_warehouse):
        assert _sorted(store.read(MONTH, names), names) == expected, type(store).__name__


def _table(rows: Sequence[Row]) -> "pa.Table":
    import pyarrow as pa

    schema = LAYOUT.arrow_schema()
    columns = [range(len(rows)), *zip(*rows, strict=True), [MONTH.first_day] * len(rows)]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema)


def _sorted(tables: "Iterable[pa.Table]", names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the rows by number, as text that tells -0.0 from 0.0, and in which NaN equals itself."""
    rows = [tuple(row[name] for name in names) for table in tables for row in table.to_pylist()]
    return [tuple(map(repr, row)) for row in sorted(rows, key=lambda row: int(row[0]))]
