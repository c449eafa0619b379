"""The type that a column has in each store, by the name that the store gives it."""

from collections.abc import Mapping
from types import MappingProxyType

from taxi_assets.stores.google.bigquery_tables import TYPES as BIGQUERY
from taxi_assets.stores.mart_sql import COLUMN_TYPES as DUCKDB
from taxi_assets.stores.postgres.store import TYPES as POSTGRES
from taxi_assets.tlc.schema import Kind

_PARQUET = {
    Kind.integer: "INT64",
    Kind.decimal: "DOUBLE",
    Kind.text: "STRING",
    Kind.timestamp: "TIMESTAMP(MICROS)",
    Kind.date: "DATE",
}

STORE_TYPES: Mapping[str, Mapping[Kind, str]] = MappingProxyType(
    {"duckdb": DUCKDB, "postgres": POSTGRES, "bigquery": BIGQUERY, "parquet": _PARQUET}
)
"""The types of each store, and of the Parquet files in the lake."""
