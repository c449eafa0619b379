"""The table of taxi zones in Postgres. Not here: connections and transactions (`store`)."""

from typing import TYPE_CHECKING

from taxi_assets.errors import IncompatibleTable
from taxi_assets.stores.postgres.comments import describe
from taxi_assets.tlc.marts import ZONE_COLUMNS, ZONES_MEANING, ZONES_TABLE
from taxi_assets.tlc.schema import Kind

if TYPE_CHECKING:
    import pyarrow as pa
    from psycopg2.extensions import cursor as Cursor  # noqa: N812  # a class

_TABLE = f"public.{ZONES_TABLE}"
_TYPES = {Kind.integer: "bigint", Kind.text: "text"}


def replace_zones(cursor: "Cursor", zones: "pa.Table") -> None:
    """Replace all taxi zones in the transaction of `cursor`. Readers see the old ones until it is committed.

    Raises IncompatibleTable if the table exists with other columns.
    """
    from psycopg2.extras import execute_values

    # Two transactions that create the same table at once would fail.
    cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"taxi_assets {ZONES_TABLE}"])
    names = [column.name.lower() for column in ZONE_COLUMNS]
    found = _columns(cursor)
    if not found:
        types = ", ".join(f"{column.name.lower()} {_TYPES[column.kind]}" for column in ZONE_COLUMNS)
        cursor.execute(f"CREATE TABLE {_TABLE} ({types})")
    elif found != names:
        raise IncompatibleTable(
            f"The table {_TABLE} has other columns than expected. Seen: {', '.join(found)}. Expected: "
            f"{', '.join(names)}. The table was not changed.",
            table=_TABLE,
            seen=", ".join(found),
        )
    describe(cursor, _TABLE, ZONE_COLUMNS, ZONES_MEANING)
    cursor.execute(f"DELETE FROM {_TABLE}")
    execute_values(cursor, f"INSERT INTO {_TABLE} VALUES %s", [tuple(zone.values()) for zone in zones.to_pylist()])


def _columns(cursor: "Cursor") -> list[str]:
    cursor.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped "
        "ORDER BY attnum",
        [_TABLE],
    )
    return [name for (name,) in cursor.fetchall()]
