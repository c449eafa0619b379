"""The result of a query: column names and rows of plain Python values. Every store returns the same class.

Also the error for a query of a table that does not exist. Not here: how a result is displayed (`cli`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from taxi_assets.errors import NotComputed, NothingLoaded, TaxiAssetsError, UnknownTable, ZonesNotLoaded
from taxi_assets.stores.mart_views import colors_of_mart, colors_of_trips
from taxi_assets.tlc.marts import ZONES_TABLE
from taxi_assets.tlc.trips import COLORS, trips_table


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


ARROW_ROWS = 100_000
"""Rows of an Arrow record batch of a query result, and so of a row group of its Parquet file."""

_MAX_TABLES = 20
"""Maximum number of tables in a message, because a database can also have those of other programs."""


def unknown_table(name: str, tables: Sequence[str], *, has_marts: bool = True) -> TaxiAssetsError:
    """Return the error for a query of the table `name`. `tables` are those that exist; empty if they are not known.

    It is NothingLoaded for a table or view of trips, because the first load of its color creates it, NotComputed for
    one of a mart, and ZonesNotLoaded for the taxi zones. `has_marts` is false for a database without marts and views.
    """
    listed = ", ".join(tables[:_MAX_TABLES]) + (" and others" if len(tables) > _MAX_TABLES else "")
    existing = f"Existing tables: {listed}." if listed else ""
    plain = name.rpartition(".")[2].lower()
    is_possible = has_marts or plain in map(trips_table, COLORS)
    if is_possible and (colors := colors_of_trips(plain)):
        color = _loaded_color(colors, tables)
        reason = f"no month of {color} is loaded" if trips_table(color) not in tables else "a load creates it"
        return NothingLoaded(
            f'The table "{name}" does not exist yet: {reason}. {existing}'.rstrip(), seen=name, color=color
        )
    if is_possible and (colors := colors_of_mart(plain)):
        color = _loaded_color(colors, tables)
        return NotComputed(f'The table "{name}" does not exist yet. {existing}'.rstrip(), seen=name, color=color)
    if plain == ZONES_TABLE:
        return ZonesNotLoaded(f'The table "{name}" does not exist yet. {existing}'.rstrip(), seen=name)
    near = get_close_matches(plain, tables, n=1) or [table for table in tables if table.startswith(plain)]
    hint = f'Did you mean "{near[0]}"? ' if near else ""
    return UnknownTable(f'The table "{name}" does not exist. {hint}{existing}'.rstrip(), seen=name, expected=listed)


def _loaded_color(colors: Sequence[str], tables: Sequence[str]) -> str:
    """Return the first of the colors that has a table of trips; without such a color, the first one."""
    return next((color for color in colors if trips_table(color) in tables), colors[0])
