"""Files and tables as the first release created them, without the columns that later releases added.

The columns are written out here, so that a test fails if a new column of a layout is not declared as a later one.
"""

from collections.abc import Mapping
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import psycopg2
from psycopg2.extras import execute_values

from taxi_assets.stores.google.account import GoogleAccount
from taxi_assets.tlc.trips import TripMonth

if TYPE_CHECKING:
    import pyarrow as pa

_METER = (
    "fare_amount double, extra double, mta_tax double, tip_amount double, tolls_amount double, {}"
    "improvement_surcharge double, total_amount double, {}congestion_surcharge double, file_month date32"
)

_COLUMNS = {
    "yellow": "VendorID int64, tpep_pickup_datetime timestamp[us], tpep_dropoff_datetime timestamp[us], "
    "passenger_count int64, trip_distance double, RatecodeID int64, store_and_fwd_flag string, PULocationID int64, "
    f"DOLocationID int64, payment_type int64, {_METER.format('', '')}",
    "green": "VendorID int64, lpep_pickup_datetime timestamp[us], lpep_dropoff_datetime timestamp[us], "
    "store_and_fwd_flag string, RatecodeID int64, PULocationID int64, DOLocationID int64, passenger_count int64, "
    f"trip_distance double, {_METER.format('ehail_fee double, ', 'payment_type int64, trip_type int64, ')}",
    "fhv": "dispatching_base_num string, pickup_datetime timestamp[us], dropOff_datetime timestamp[us], "
    "PUlocationID int64, DOlocationID int64, SR_Flag int64, Affiliated_base_number string, file_month date32",
}

COLUMNS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {color: dict(column.rsplit(" ", 1) for column in columns.split(", ")) for color, columns in _COLUMNS.items()}
)
"""The Arrow type of each column, in order, by color. The first release did not have fhvhv."""

SQL_TYPES = {
    "int64": "bigint",
    "double": "double precision",
    "string": "text",
    "timestamp[us]": "timestamp without time zone",
    "date32": "date",
}
"""The types of columns in DuckDB and PostgreSQL, by Arrow type."""


def definition(color: str) -> str:
    """Return the column definitions of a color's table for `CREATE TABLE` in DuckDB and PostgreSQL."""
    return ", ".join(f"{name} {SQL_TYPES[type_]}" for name, type_ in COLUMNS[color].items())


def schema(color: str) -> "pa.Schema":
    """Return the Arrow schema of a color's files."""
    import pyarrow as pa

    return pa.schema([(name, pa.type_for_alias(type_)) for name, type_ in COLUMNS[color].items()])


def rows_of(month: TripMonth, rows: int) -> "pa.Table":
    """Return rows in the order of their pickups. Values differ by row and column; those of the last row are missing."""
    import pyarrow as pa

    columns = COLUMNS[month.color]
    values = [
        {
            name: month.first_day if type_ == "date32" else _value(type_, month, 100 * number + at)
            for at, (name, type_) in enumerate(columns.items())
            if type_ == "date32" or number < rows - 1
        }
        for number in range(rows)
    ]
    return pa.Table.from_pylist(values, schema(month.color))


def _value(type_: str, month: TripMonth, number: int) -> Any:
    first = datetime.combine(month.first_day, datetime.min.time())
    values = {"int64": number, "double": number + 0.25, "string": f"text {number}"}
    return values.get(type_, first + timedelta(minutes=number))


def write_month(path: Path, month: TripMonth, rows: int) -> "pa.Table":
    """Write a clean file, which can also be an object in a lake, with `rows_of` the month. Return these rows."""
    import pyarrow.parquet as pq

    table = rows_of(month, rows)
    pq.write_table(table.replace_schema_metadata({"taxi_assets.source_sha256": "5ha"}), path)
    return table


def load_into_duckdb(path: Path, month: TripMonth, file: Path) -> None:
    """Load a file of `write_month` into the DuckDB database at `path`."""
    import duckdb

    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(path) as database:
        database.execute(f"CREATE TABLE IF NOT EXISTS {month.table} ({definition(month.color)})")
        database.execute(f"INSERT INTO {month.table} SELECT * FROM read_parquet(?)", [str(file)])


def load_into_postgres(url: str, month: TripMonth, table: "pa.Table") -> None:
    """Load `rows_of` a month into a new partition of the PostgreSQL database at `url`."""
    partition = f"public.{month.table}_{month.month_id}"
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        columns = definition(month.color)
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS public.{month.table} ({columns}) PARTITION BY LIST (file_month);"
            f"CREATE TABLE {partition} ({columns}, CHECK (file_month IS NOT NULL AND file_month = '{month.first_day}'))"
        )
        rows = [tuple(row.values()) for row in table.to_pylist()]
        execute_values(cursor, f"INSERT INTO {partition} VALUES %s", rows)
        cursor.execute(
            f"COMMENT ON TABLE {partition} IS '{len(rows):,} rows of {month}, loaded by taxi_assets';"
            f"ALTER TABLE public.{month.table} ATTACH PARTITION {partition} FOR VALUES IN ('{month.first_day}')"
        )


def load_into_bigquery(table: str, month: TripMonth, uri: str) -> None:
    """Load a file of `write_month` into a table, given its qualified name and the URI of the file."""
    from google.cloud import bigquery

    client = GoogleAccount().bigquery_client()
    fields = [bigquery.SchemaField(name, _BIGQUERY_TYPES[type_]) for name, type_ in COLUMNS[month.color].items()]
    created = bigquery.Table(table, fields)
    created.time_partitioning = bigquery.TimePartitioning(bigquery.TimePartitioningType.MONTH, "file_month")
    client.create_dataset(table.rpartition(".")[0], exists_ok=True)
    client.create_table(created, exists_ok=True)
    config = bigquery.LoadJobConfig(
        source_format="PARQUET", schema=fields, create_disposition="CREATE_NEVER", write_disposition="WRITE_TRUNCATE"
    )
    client.load_table_from_uri(uri, f"{table}${month.month_id}", job_config=config).result()


_BIGQUERY_TYPES = {
    "int64": "INT64",
    "double": "FLOAT64",
    "string": "STRING",
    "timestamp[us]": "DATETIME",
    "date32": "DATE",
}
