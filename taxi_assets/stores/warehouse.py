"""What a warehouse does, whichever it is, and which one a URL means.

Not here: any one warehouse.
"""

from typing import Protocol

from taxi_assets.stores.answers import Answer
from taxi_assets.stores.holdings import Holding
from taxi_assets.stores.lake import LakeObject
from taxi_assets.tlc.summary import MonthSummary
from taxi_assets.tlc.trips import TripMonth


class Warehouse(Protocol):
    """Tables, one a color, in which a month is replaced as one."""

    def replace_month(self, month: TripMonth, lake_object: LakeObject, rows: int) -> int:
        """Make the object's rows the month's only ones, all or nothing; gives their count, asked of the table.

        Raises CountMismatch where it is not `rows`. The month then stays as it was, where the warehouse can count
        before it replaces; BigQuery counts after.
        """
        ...

    def table(self, month: TripMonth) -> str:
        """The fully qualified name of the month's table: database or project, schema or dataset, table."""
        ...

    def count(self, month: TripMonth) -> int:
        """The rows of the month; 0 where it was never loaded."""
        ...

    def total_rows(self, month: TripMonth) -> int:
        """The rows of all months in the month's table; 0 where the table does not exist."""
        ...

    def summarize(self, month: TripMonth) -> MonthSummary:
        """The figures of the month, from one query; those of no rows where it was never loaded."""
        ...

    def held(self, month: TripMonth) -> list[Holding]:
        """The rows of the month, if there are any."""
        ...

    def remove(self, month: TripMonth) -> list[Holding]:
        """Remove the month's rows, all or nothing; gives what went. Raises StoreError for a table of another maker."""
        ...

    def query(self, sql: str) -> Answer:
        """What the warehouse answers. Raises BadQuery for wrong SQL, MissingUpstream where nothing was loaded yet."""
        ...

    def probe(self) -> str:
        """Try to make a table, and leave nothing; what was seen, in a sentence. Raises StoreError."""
        ...
