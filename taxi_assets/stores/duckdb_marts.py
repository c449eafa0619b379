"""The tables of marts and zones in a DuckDB database, and the views on all tables.

The functions work on an open connection, inside a transaction of the caller. Not here: opening the database, and its
lock (`duckdb`); the SQL of the figures (`mart_sql`) and of the views (`mart_views`).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from taxi_assets.errors import IncompatibleTable
from taxi_assets.stores.mart_sql import COLUMN_TYPES, mart_sql
from taxi_assets.stores.mart_views import VIEW_NAMES, View, build_views, table_names
from taxi_assets.tlc.marts import MARTS, ZONE_COLUMNS, ZONES_MEANING, ZONES_TABLE, Mart
from taxi_assets.tlc.schema import LAYOUTS, Column
from taxi_assets.tlc.trips import TripMonth

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_MADE_BY = "Created by taxi_assets, which replaces it."
"""Ends the comment on each view of this project, so that it does not replace a view of somebody else."""


def replace_mart(database: "duckdb.DuckDBPyConnection", mart: Mart, month: TripMonth) -> "pa.Table":
    """Compute a mart for a month, replace the month in its table, and return the new rows.

    Raises IncompatibleTable if the table exists with other columns.
    """
    rows = mart.arrange(database.sql(mart_sql(mart, LAYOUTS[month.color], [month.month])).to_arrow_table())
    table = mart.table(month.color)
    ensure_table(database, table, mart.columns, mart.meaning(month.color))
    database.execute(f"DELETE FROM {table} WHERE file_month = ?", [month.first_day])
    _insert(database, table, rows)
    return rows


def replace_zones(database: "duckdb.DuckDBPyConnection", zones: "pa.Table") -> None:
    """Replace all taxi zones. Raises IncompatibleTable if the table exists with other columns."""
    ensure_table(database, ZONES_TABLE, ZONE_COLUMNS, ZONES_MEANING)
    database.execute(f"DELETE FROM {ZONES_TABLE}")
    _insert(database, ZONES_TABLE, zones)


def count_mart(database: "duckdb.DuckDBPyConnection", mart: Mart, month: TripMonth) -> int:
    """Return the number of rows of a month in the table of a mart, or 0 if the table is not one of this project."""
    table = mart.table(month.color)
    if _columns(database, table) != _expected(mart.columns):
        return 0
    counted = database.execute(f"SELECT count(*) FROM {table} WHERE file_month = ?", [month.first_day])
    return int(counted.fetchall()[0][0])


def remove_marts(database: "duckdb.DuckDBPyConnection", month: TripMonth) -> dict[str, int]:
    """Delete a month from the tables of all marts. Return the number of deleted rows by table."""
    removed = {mart.table(month.color): count_mart(database, mart, month) for mart in MARTS}
    for table, rows in removed.items():
        if rows:
            database.execute(f"DELETE FROM {table} WHERE file_month = ?", [month.first_day])
    return removed


def create_views(database: "duckdb.DuckDBPyConnection") -> None:
    """Create or replace the views that the existing tables allow.

    Leaves out a view if something else has its name: a table, or a view that this project did not create.
    """
    tables = {name: columns for name in table_names() if (columns := _columns(database, name))}
    taken = _foreign_names(database)
    for view in build_views(tables, str):
        if view.name not in taken:
            _create_view(database, view)


def ensure_table(database: "duckdb.DuckDBPyConnection", table: str, columns: Sequence[Column], meaning: str) -> None:
    """Create a table with comments if it does not exist, and set comments that have changed.

    Raises IncompatibleTable if it exists with other columns.
    """
    found, expected = _columns(database, table), _expected(columns)
    if not found:
        create_table(database, table, columns)
    elif found != expected:
        missing, unexpected = (
            ", ".join(f"{name} {kind}" for name, kind in one.items() if other.get(name) != kind) or "none"
            for one, other in ((expected, found), (found, expected))
        )
        raise IncompatibleTable(
            f'The table "{table}" has other columns than expected. Missing: {missing}. Unexpected: {unexpected}.',
            table=table,
            missing=missing,
            unexpected=unexpected,
        )
    describe(database, table, columns, meaning)


def create_table(database: "duckdb.DuckDBPyConnection", table: str, columns: Sequence[Column]) -> None:
    """Create a table without comments."""
    types = ", ".join(f'"{column.name}" {COLUMN_TYPES[column.kind]}' for column in columns)
    database.execute(f"CREATE TABLE {table} ({types})")


def describe(database: "duckdb.DuckDBPyConnection", table: str, columns: Sequence[Column], meaning: str) -> None:
    """Set the comments on a table and its columns to their meanings, where they differ."""
    found = database.execute(
        "SELECT NULL, comment FROM duckdb_tables() "
        "WHERE database_name = current_database() AND schema_name = 'main' AND table_name = ? "
        "UNION ALL SELECT column_name, comment FROM duckdb_columns() "
        "WHERE database_name = current_database() AND schema_name = 'main' AND table_name = ?",
        [table, table],
    )
    comments = dict(found.fetchall())
    if comments.get(None) != meaning:
        database.execute(f"COMMENT ON TABLE {table} IS {_text(meaning)}")
    for column in columns:
        if comments.get(column.name) != column.meaning:
            database.execute(f"""COMMENT ON COLUMN {table}."{column.name}" IS {_text(column.meaning)}""")


def _insert(database: "duckdb.DuckDBPyConnection", table: str, rows: "pa.Table") -> None:
    database.register("new_rows", rows)
    database.execute(f"INSERT INTO {table} BY NAME SELECT * FROM new_rows")
    database.unregister("new_rows")


def _create_view(database: "duckdb.DuckDBPyConnection", view: View) -> None:
    database.execute(f"CREATE OR REPLACE VIEW {view.name} AS {view.sql}")
    database.execute(f"COMMENT ON VIEW {view.name} IS {_text(f'{view.meaning} {_MADE_BY}')}")


def _foreign_names(database: "duckdb.DuckDBPyConnection") -> set[str]:
    """Return the names of views that belong to tables, or to views that this project did not create."""
    found = database.execute(
        "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main' UNION ALL "
        "SELECT view_name FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal "
        "AND NOT coalesce(ends_with(comment, ?), false)",
        [_MADE_BY],
    )
    return {str(name).lower() for (name,) in found.fetchall()} & set(VIEW_NAMES)


def _expected(columns: Sequence[Column]) -> dict[str, str]:
    return {column.name: COLUMN_TYPES[column.kind] for column in columns}


def _columns(database: "duckdb.DuckDBPyConnection", table: str) -> dict[str, str]:
    """Return the types of the columns of a table by name; empty if it does not exist."""
    found = database.execute(
        "SELECT column_name, data_type FROM duckdb_columns() JOIN duckdb_tables() USING (database_oid, table_oid) "
        "WHERE duckdb_columns.database_name = current_database() AND duckdb_columns.schema_name = 'main' "
        "AND duckdb_columns.table_name = ?",
        [table],
    )
    return dict(found.fetchall())


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
