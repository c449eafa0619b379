"""The views of a warehouse, which combine the tables of the colors: their SQL in DuckDB's dialect.

A view contains the colors whose tables exist, and zone names are missing until the table of zones exists. So the views
are created again when a table is created or gets a column. Not here: which tables exist (`duckdb_marts`, `google`).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from taxi_assets.stores.mart_sql import COLUMN_TYPES
from taxi_assets.tlc.marts import MARTS, MONTHLY_ZONE_REVENUE, ZONE_COLUMNS, ZONES_TABLE, Mart
from taxi_assets.tlc.schema import FILE_MONTH, LAYOUTS, Column, Layout
from taxi_assets.tlc.trips import COLORS, trips_table

Tables = Mapping[str, Collection[str]]
"""The names of the columns of each table that exists, by the name of the table."""

TRIPS = "trips"
"""The view of the taxi trips of all colors that have a meter."""

_METERED = tuple(color for color in COLORS if LAYOUTS[color].total)

TRIPDATA: Mapping[str, str] = {f"{color}_tripdata": color for color in ("yellow", "green", "fhv")}
"""The views that are named like the tables of the Data Engineering Zoomcamp course, and their colors."""

VIEW_NAMES = (TRIPS, *(mart.name for mart in MARTS), *TRIPDATA)
"""The names of all views."""


def colors_of_trips(name: str) -> Sequence[str]:
    """Return the colors whose trips create the table or view of trips with this name; empty for any other name."""
    tables = {trips_table(color): (color,) for color in COLORS}
    views = {name: (color,) for name, color in TRIPDATA.items()}
    return {**tables, **views, TRIPS: _METERED}.get(name, ())


def colors_of_mart(name: str) -> Sequence[str]:
    """Return the colors whose marts create the table or view of a mart with this name; empty for any other name."""
    tables = {mart.table(color): (color,) for mart in MARTS for color in COLORS}
    return {**tables, **{mart.name: COLORS for mart in MARTS}}.get(name, ())


@dataclass(frozen=True)
class View:
    """A view: its name, what it contains, and its SELECT statement in DuckDB's dialect."""

    name: str
    meaning: str
    sql: str


def table_names() -> list[str]:
    """Return the names of all tables that views are made of."""
    return list(_required_columns())


def _required_columns() -> dict[str, list[str]]:
    """Return the columns that each table must have for the views, by the name of the table."""
    trips = {
        trips_table(color): [column.name for column in LAYOUTS[color].table_columns if not column.is_later]
        for color in COLORS
    }
    marts = {mart.table(color): [column.name for column in mart.columns] for mart in MARTS for color in COLORS}
    return {**trips, **marts, ZONES_TABLE: [column.name for column in ZONE_COLUMNS]}


def build_views(tables: Tables, place: Callable[[str], str]) -> list[View]:
    """Return the views that these tables allow. `place` returns the SQL for the name of a table.

    A table that does not have the columns of this project's is somebody else's, and is not used.
    """
    required = _required_columns()
    tables = {
        name: columns
        for name, columns in tables.items()
        if {column.lower() for column in required[name]} <= {column.lower() for column in columns}
    }
    views = [*_tripdata(tables, place), *(view for mart in MARTS if (view := _mart(mart, tables, place)))]
    if view := _trips(tables, place):
        views.append(view)
    return views


def _tripdata(tables: Tables, place: Callable[[str], str]) -> Iterator[View]:
    for name, color in TRIPDATA.items():
        if (table := trips_table(color)) in tables:
            columns = [_column(column.name, tables[table], column) for column in LAYOUTS[color].table_columns]
            meaning = f"All {color} trips, under the name of the table in the Data Engineering Zoomcamp course."
            yield View(name, meaning, f"SELECT {', '.join(columns)} FROM {place(table)}")


def _mart(mart: Mart, tables: Tables, place: Callable[[str], str]) -> View | None:
    names = [column.name for column in mart.columns]
    figures = _union(
        f"SELECT '{color}' AS color, {', '.join(names)} FROM {place(mart.table(color))}"
        for color in COLORS
        if mart.table(color) in tables
    )
    if not figures:
        return None
    meaning = f"The figures of all colors. {mart.rows}"
    if mart is not MONTHLY_ZONE_REVENUE:
        return View(mart.name, meaning, figures)
    zone_names, joined = _zone("pickup", "figures.zone_id", tables, place, prefix="")
    columns = ["figures.color", "figures.zone_id", *zone_names, *(f"figures.{name}" for name in names[1:])]
    return View(mart.name, meaning, f"SELECT {', '.join(columns)} FROM ({figures}) AS figures{joined}")


def _trips(tables: Tables, place: Callable[[str], str]) -> View | None:
    """Return the view of all taxi trips: the columns of every color, where those of the other are missing."""
    columns = {column.name.lower(): column for color in _METERED for column in LAYOUTS[color].columns}
    times = {time for color in _METERED for time in (LAYOUTS[color].pickup, LAYOUTS[color].dropoff)}
    shared = [column for column in columns.values() if column.name not in times]
    trips = _union(
        _common(LAYOUTS[color], shared, tables[trips_table(color)], place(trips_table(color)))
        for color in _METERED
        if trips_table(color) in tables
    )
    if not trips:
        return None
    pickup, dropoff = LAYOUTS[_METERED[0]].zones
    pickup_zone, pickup_join = _zone("pickup", f'trips."{pickup}"', tables, place)
    dropoff_zone, dropoff_join = _zone("dropoff", f'trips."{dropoff}"', tables, place)
    names = ["trips.color", "trips.pickup_datetime", "trips.dropoff_datetime", *pickup_zone, *dropoff_zone]
    names += [f'trips."{column.name}"' for column in (*shared, FILE_MONTH)]
    return View(
        TRIPS,
        f"The trips of {' and '.join(_METERED)} taxis, with common column names and the names of the zones.",
        f"SELECT {', '.join(names)} FROM ({trips}) AS trips{pickup_join}{dropoff_join}",
    )


def _common(layout: Layout, shared: Iterable[Column], existing: Collection[str], table: str) -> str:
    columns = [_column(column.name, existing, column) for column in (*shared, FILE_MONTH)]
    times = f'"{layout.pickup}" AS pickup_datetime, "{layout.dropoff}" AS dropoff_datetime'
    return f"SELECT '{layout.color}' AS color, {times}, {', '.join(columns)} FROM {table}"


def _column(name: str, existing: Collection[str], column: Column) -> str:
    """Return a column of a table, or a missing value of its type if the table does not have it."""
    if name.lower() in {other.lower() for other in existing}:
        return f'"{name}"'
    return f'CAST(NULL AS {COLUMN_TYPES[column.kind]}) AS "{name}"'


def _zone(
    alias: str, zone_id: str, tables: Tables, place: Callable[[str], str], *, prefix: str | None = None
) -> tuple[list[str], str]:
    """Return the columns with the borough and name of a zone, and the join that they need."""
    prefix = f"{alias}_" if prefix is None else prefix
    names = {"Borough": f"{prefix}borough", "Zone": f"{prefix}zone"}
    if ZONES_TABLE not in tables:
        return [f"CAST(NULL AS VARCHAR) AS {name}" for name in names.values()], ""
    join = f' LEFT JOIN {place(ZONES_TABLE)} AS {alias} ON {alias}."LocationID" = {zone_id}'
    return [f'{alias}."{column}" AS {name}' for column, name in names.items()], join


def _union(parts: Iterable[str]) -> str:
    return " UNION ALL ".join(parts)
