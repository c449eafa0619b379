"""The result of a query: column names and rows of plain Python values. Every store returns the same class.

Also the error for a query of a table that does not exist. Not here: how a result is displayed (`cli`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from taxi_assets.errors import NothingLoaded, TaxiAssetsError, UnknownTable
from taxi_assets.tlc.trips import COLORS, TripMonth


@dataclass(frozen=True)
class QueryResult:
    """A query result that fits in memory.

    If the query had a limit, `rows` are the first rows, and `total` is the number of all rows. Otherwise, `total` is
    None, and `rows` are all rows.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    total: int | None = None

    @property
    def row_count(self) -> int:
        """The number of all rows, including those beyond the limit."""
        return len(self.rows) if self.total is None else self.total


_COLORS = {TripMonth(color, "2021-01").table: color for color in COLORS}
"""The color of each table of trips. Months of the same color share a table, so any month identifies it."""

_MAX_TABLES = 20
"""Maximum number of tables in a message, because a database can also have those of other programs."""


def unknown_table(name: str, tables: Sequence[str]) -> TaxiAssetsError:
    """Return the error for a query of the table `name`. `tables` are those that exist; empty if they are not known.

    It is NothingLoaded for a table of trips, because the first load of its color creates it.
    """
    listed = ", ".join(tables[:_MAX_TABLES]) + (" and others" if len(tables) > _MAX_TABLES else "")
    existing = f"Existing tables: {listed}." if listed else ""
    plain = name.rpartition(".")[2].lower()
    if color := _COLORS.get(plain):
        return NothingLoaded(
            f'The table "{name}" does not exist yet: no month of {color} is loaded. {existing}'.rstrip(),
            seen=name,
            color=color,
        )
    near = get_close_matches(plain, tables, n=1) or [table for table in tables if table.startswith(plain)]
    hint = f'Did you mean "{near[0]}"? ' if near else ""
    return UnknownTable(f'The table "{name}" does not exist. {hint}{existing}'.rstrip(), seen=name, expected=listed)
