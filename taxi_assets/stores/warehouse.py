"""The interface of all warehouses.

Not here: the warehouses themselves (`duckdb`, `bigquery`).
"""

import re
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from taxi_assets.errors import BadQuery, MissingUpstream
from taxi_assets.stores.inventory import StoredItem
from taxi_assets.stores.lake import LakeObject
from taxi_assets.stores.mart_views import VIEW_NAMES, table_names
from taxi_assets.stores.query_result import QueryResult
from taxi_assets.tlc.marts import Mart
from taxi_assets.tlc.summary import MonthSummary
from taxi_assets.tlc.trips import TripMonth

if TYPE_CHECKING:
    import pyarrow as pa


class Warehouse(Protocol):
    """A warehouse with one table per color, in which a month is replaced atomically."""

    def replace_month(self, month: TripMonth, lake_object: LakeObject, rows: int) -> int:
        """Replace the month with the rows of the lake object, atomically, and return the row count of the table.

        Raises CountMismatch if it differs from `rows`. The month is then unchanged if the warehouse can count before it
        replaces the month; BigQuery can only count afterward.
        """
        ...

    def table(self, month: TripMonth) -> str:
        """Return the fully qualified name of the month's table: database or project, schema or dataset, table."""
        ...

    def count(self, month: TripMonth) -> int:
        """Return the number of rows of the month, or 0 if it was never loaded."""
        ...

    def total_rows(self, month: TripMonth) -> int:
        """Return the row count of the month's table, over all months, or 0 if it does not exist."""
        ...

    def summarize(self, month: TripMonth) -> MonthSummary:
        """Summarize the month in one query. If it was never loaded, the summary is that of zero rows."""
        ...

    def read(self, month: TripMonth, columns: Sequence[str]) -> "Iterator[pa.Table]":
        """Yield the rows of the month in parts, in no particular order, with these columns only.

        Raises MissingUpstream if the month was never loaded.
        """
        ...

    def replace_table(self, name: str, sql: str) -> int:
        """Replace a table of the user's own with the result of a SELECT statement, atomically. Return its row count.

        The first call creates the table. Raises BadQuery if the statement is invalid or not a SELECT, or if `name` is
        not that of a table of the user's own.
        """
        ...

    def stored_items(self, month: TripMonth) -> list[StoredItem]:
        """Return the month's rows of trips and of each mart as stored items with their row counts.

        A table without rows of the month is left out.
        """
        ...

    def remove(self, month: TripMonth) -> list[StoredItem]:
        """Delete the month's rows of trips and marts, those of each table atomically, and return what was deleted.

        Raises IncompatibleTable if the table does not have the columns that this project creates.
        """
        ...

    def replace_mart(self, mart: Mart, month: TripMonth) -> "pa.Table":
        """Compute a mart for a month from its trips, replace the month in the mart's table, and return its rows.

        The month is replaced atomically. The rows have the columns and the order of `Mart.arrange`. Creates the views
        of the warehouse that are missing or have changed. Raises MissingUpstream if the month has no trips in the
        warehouse, and IncompatibleTable if the table has other columns.
        """
        ...

    def sum_trips(self, month: TripMonth) -> dict[str, float]:
        """Return the number of trips of the month, and the sums of `fare`, `tips` and `total` that its color reports.

        The sums are computed from the trips, not from a mart. The month must have been loaded.
        """
        ...

    def mart_table(self, mart: Mart, color: str) -> str:
        """Return the fully qualified name of the table of a color's mart."""
        ...

    def replace_zones(self, zones: "pa.Table") -> str:
        """Replace all taxi zones atomically, and return the fully qualified name of their table.

        Creates the views of the warehouse that are missing or have changed.
        """
        ...

    def query(self, sql: str, *, unsafe: bool = False, limit: int | None = None) -> QueryResult:
        """Run one SELECT statement and return its result.

        `unsafe` allows what the warehouse would otherwise refuse to protect the files of this machine. `limit` is the
        maximum number of rows to return; the others are only counted. Raises BadQuery for SQL that is invalid or not
        allowed, and NothingLoaded if nothing has been loaded yet, or no month of the color whose table it names.
        """
        ...

    def stream(self, sql: str, *, unsafe: bool = False) -> Generator[QueryResult, None, None]:
        """Run one SELECT statement as `query` does, and yield its rows in batches, at least one, in little memory.

        What the query uses stays locked until the last batch, or until the generator is closed.
        """
        ...

    def stream_arrow(self, sql: str, *, unsafe: bool = False) -> "Generator[pa.RecordBatch, None, None]":
        """Run one SELECT statement as `stream` does, and yield Arrow record batches with the types of the result."""
        ...

    def probe(self) -> str:
        """Create and remove a test table, and return the status in one sentence. Raises StoreError."""
        ...


def require_own_table(name: str) -> None:
    """Raise BadQuery if `name` is not a plain name, or is that of a table of this project."""
    if _NAME.fullmatch(name) and name.lower() not in _OUR_TABLES:
        return
    raise BadQuery(
        f'"{name}" cannot be the name of a table of your own. Expected letters, digits and underscores, and none of '
        f"{', '.join(sorted(_OUR_TABLES))}.",
        seen=name,
    )


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_OUR_TABLES = frozenset((*table_names(), *VIEW_NAMES))
"""The tables and views of this project."""


def missing_month(month: TripMonth, table: str, asset: str) -> MissingUpstream:
    """Return the error for a month whose rows are not in a table. `asset` loads them."""
    return MissingUpstream(
        f'{month} is not loaded: the table "{table}" has no rows of it.', **month.facts, table=table, asset=asset
    )
