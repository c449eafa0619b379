"""What a warehouse does, whichever it is, and which one a URL means.

Not here: any one warehouse.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from taxi_assets.errors import SettingsError
from taxi_assets.stores.answers import Answer
from taxi_assets.stores.lake import LakeObject
from taxi_assets.tlc.trips import TripMonth


class Warehouse(Protocol):
    """Tables, one a color, in which a month is replaced as one."""

    def replace_month(self, month: TripMonth, lake_object: LakeObject, rows: int) -> int:
        """Make the object's rows the month's only ones, all or nothing; gives their count, asked of the table.

        Raises CountMismatch where it is not `rows`; the month stays as it was.
        """
        ...

    def table(self, month: TripMonth) -> str:
        """The name of the month's table, as people ask for it."""
        ...

    def count(self, month: TripMonth) -> int:
        """The rows of the month; 0 where it was never loaded."""
        ...

    def query(self, sql: str) -> Answer:
        """What the warehouse answers. Raises BadQuery for wrong SQL, MissingUpstream where nothing was loaded yet."""
        ...

    def probe(self) -> str:
        """Try to make a table, and leave nothing; what was seen, in a sentence. Raises StoreError."""
        ...


def open_warehouse(url: str, in_bigquery: Callable[[str], Warehouse] | None = None) -> Warehouse:
    """The warehouse at `url`: `duckdb:///` and a file's path, or `bigquery://project/dataset`.

    `in_bigquery` opens the latter; without it, BigQuery is reached with Google's application defaults. Raises
    SettingsError for anything else.
    """
    scheme, _, place = url.partition("://")
    if scheme == "duckdb" and place.startswith("/"):
        from taxi_assets.stores.duckdb import DuckDBWarehouse

        return DuckDBWarehouse(Path(place[1:]))
    if scheme == "bigquery":
        return (in_bigquery or _open_bigquery)(url)
    raise SettingsError(
        f"TAXI_WAREHOUSE_URL: a warehouse cannot be at {url.partition(':')[0]}://: expected duckdb:///path or "
        "bigquery://project/dataset"
    )


def _open_bigquery(url: str) -> Warehouse:
    from taxi_assets.stores.bigquery import BigQueryWarehouse
    from taxi_assets.stores.google_cloud import GoogleAccount

    return BigQueryWarehouse(url, GoogleAccount().bigquery_client)
