"""The comments on a Postgres table and its columns. Not here: creating tables (`store`, `zones`)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from taxi_assets.tlc.schema import Column

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor  # noqa: N812  # a class


def describe(cursor: "Cursor", table: str, columns: Sequence[Column], meaning: str) -> None:
    """Set the comments on a table, such as `public.trips`, and its columns to their meanings, where they differ."""
    cursor.execute(
        "SELECT attname, col_description(attrelid, attnum) FROM pg_attribute "
        "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped "
        "UNION ALL SELECT NULL, obj_description(to_regclass(%s), 'pg_class')",
        [table, table],
    )
    comments = dict(cursor.fetchall())
    if comments.get(None) != meaning:
        cursor.execute(f"COMMENT ON TABLE {table} IS %s", [meaning])
    for column in columns:
        if comments.get(column.name.lower()) != column.meaning:
            cursor.execute(f"COMMENT ON COLUMN {table}.{column.name.lower()} IS %s", [column.meaning])
