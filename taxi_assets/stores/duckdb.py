"""The DuckDB warehouse: a database file that is used by one thread of one process at a time.

Every load and query holds the lock file next to the database, and opens and closes the database. DuckDB does not let a
second process open a database while one has it open for writing, and two threads that replace the same month at once
would leave two copies of it.
Not here: the content of a month.
"""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_assets.errors import BadQuery, CountMismatch, MissingUpstream, SettingsError, StoreBusy, StoreError
from taxi_assets.stores.answers import Answer
from taxi_assets.stores.files import locked, probe_folder
from taxi_assets.stores.inventory import StoredItem, hold_rows
from taxi_assets.stores.lake import LakeObject
from taxi_assets.stores.os_errors import describe_free_space, translate_os_error, translate_os_errors
from taxi_assets.stores.summaries import from_row, select_list
from taxi_assets.tlc.schema import LAYOUTS, Column, Kind
from taxi_assets.tlc.summary import MonthSummary, no_rows
from taxi_assets.tlc.trips import COLORS, TripMonth

if TYPE_CHECKING:
    import duckdb

TYPES = {
    Kind.integer: "BIGINT",
    Kind.decimal: "DOUBLE",
    Kind.text: "VARCHAR",
    Kind.timestamp: "TIMESTAMP",
    Kind.date: "DATE",
}

# By default, DuckDB downloads an extension if SQL or a file seems to need one.
_READING: dict[str, str | bool | int | float | list[str]] = {"autoinstall_known_extensions": False}

# Memory does not grow with the month: each thread holds one row group, and no rows are buffered to keep their order.
_LOADING = {
    **_READING,
    "memory_limit": "192MB",
    "threads": min(4, os.cpu_count() or 1),
    "preserve_insertion_order": False,
}


class DuckDBWarehouse:
    """The DuckDB database at `path`. The first load creates it.

    Every method that opens the database waits at most `wait_s` seconds for the lock and then raises StoreBusy. All of
    them raise StoreError if the file is not a DuckDB database or is not accessible, if the disk is full, or if a table
    has unexpected columns.
    """

    def __init__(self, path: Path, wait_s: float = 600) -> None:
        self.path = path
        self.wait_s = wait_s

    def replace_month(self, month: TripMonth, lake_object: LakeObject, rows: int) -> int:
        """Replace the month with the rows of the lake object, atomically, and return the row count of the table.

        Raises CountMismatch if it differs from `rows`; the month is then unchanged.
        """
        with self._opened(f"load {month} from {lake_object.uri}", read_only=False) as database:
            # Closing the database rolls back whatever is not committed.
            database.begin()
            if not _has_table(database, month):
                _create_table(database, month)
            _delete(database, month)
            _insert(database, month, lake_object)
            loaded = _count(database, month)
            if loaded != rows:
                raise CountMismatch(
                    f"{month}: {lake_object.uri} gave {loaded} rows of the month, expected {rows}. The warehouse was "
                    "left as it was: run lake_trips again, then this",
                    seen=loaded,
                    expected=rows,
                )
            database.commit()
        return loaded

    def table(self, month: TripMonth) -> str:
        """Return the fully qualified name of the month's table, with DuckDB's catalog name for the database file."""
        return f"{_catalog(self.path)}.main.{month.table}"

    def count(self, month: TripMonth) -> int:
        """Return the number of rows of the month, or 0 if it was never loaded."""
        if not self._exists():
            return 0
        with self._opened(f"count {month}") as database:
            return _count(database, month) if _has_table(database, month) else 0

    def total_rows(self, month: TripMonth) -> int:
        """Return the row count of the month's table, over all months, or 0 if it does not exist."""
        if not self._exists():
            return 0
        with self._opened(f"count the rows of {month.table}") as database:
            return _total_rows(database, month) if _has_table(database, month) else 0

    def summarize(self, month: TripMonth) -> MonthSummary:
        """Summarize the month in one query. If it was never loaded, the summary is that of zero rows."""
        layout = LAYOUTS[month.color]
        if not self._exists():
            return no_rows(layout)
        with self._opened(f"summarize {month}") as database:
            return _summarize(database, month) if _has_table(database, month) else no_rows(layout)

    def held(self, month: TripMonth) -> list[StoredItem]:
        """Return the month as a stored item with its row count, or an empty list if it has no rows."""
        return hold_rows(self._said(month), self.count(month))

    def remove(self, month: TripMonth) -> list[StoredItem]:
        """Delete the month's rows in one transaction and return what was deleted. The table stays, even if empty."""
        if not self._exists():
            return []
        with self._opened(f"remove {month}", read_only=False) as database:
            database.begin()
            if not _has_table(database, month):
                return []
            rows = _count(database, month)
            _delete(database, month)
            database.commit()
        return hold_rows(self._said(month), rows)

    def query(self, sql: str) -> Answer:
        """Run SQL on a read-only connection and return its result.

        Raises BadQuery for invalid SQL, and MissingUpstream if the database does not exist yet.
        """
        import duckdb

        if not self._exists():
            raise MissingUpstream(
                f"there is no warehouse yet: expected {self.path}. Load a month first, such as with "
                "taxi materialize --color yellow --months 2021-01"
            )
        with self._opened("answer") as database:
            try:
                answer = database.execute(sql)
                rows = answer.fetchall() if answer else []  # DuckDB returns None for an empty statement
            except (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError) as error:
                raise BadQuery(f"DuckDB cannot answer this: {error}") from error
            return Answer([column[0] for column in database.description or []], rows)

    def probe(self) -> str:
        """Create a test table, roll it back, and return the status in one sentence. Raises StoreError.

        Does not create the database if it does not exist yet.
        """
        probe_folder(self.path.parent)
        room = describe_free_space(self.path.parent)
        if not self._exists():
            return f"{self.path} is not there yet, the first load makes it; {room}"
        # If a load holds the lock for longer, report it instead of waiting.
        hurried = DuckDBWarehouse(self.path, min(self.wait_s, _PROBE_WAIT_S))
        with hurried._opened("make a table", read_only=False) as database:
            database.begin()
            database.execute(f"CREATE TABLE taxi_assets_probe_{secrets.token_hex(4)} (x INTEGER)")
            tables = sum(_has_table(database, TripMonth(color, _ANY_MONTH)) for color in COLORS)
            database.rollback()
        size = self.path.stat().st_size
        return f"{self.path} can be written to; tables: {tables} of {len(COLORS)}, {size / 1e6:,.1f} MB; {room}"

    def _said(self, month: TripMonth) -> str:
        return f"{month.table} in {self.path}"

    def _exists(self) -> bool:
        with translate_os_errors(self.path):
            return self.path.exists()

    @contextmanager
    def _opened(self, doing: str, *, read_only: bool = True) -> Iterator["duckdb.DuckDBPyConnection"]:
        import duckdb

        with locked(self.path.with_name(f"{self.path.name}.lock"), f"the warehouse {self.path}", self.wait_s):
            if not read_only and not self.path.exists():
                _create_database(self.path)
            try:
                with _connect(self.path, read_only=read_only) as database:
                    yield database
            except duckdb.Error as error:
                raise _refusal(error, self.path) or StoreError(
                    f"the warehouse {self.path} could not {doing}: {error}. {_if_damaged(self.path)}"
                ) from error


_PROBE_WAIT_S = 30

_ANY_MONTH = "2021-01"
"""Months of the same color share a table, so any month identifies it."""


def _connect(path: Path, *, read_only: bool) -> "duckdb.DuckDBPyConnection":
    import duckdb

    try:
        return duckdb.connect(path, read_only=read_only, config=_READING if read_only else _LOADING)
    except duckdb.Error as error:
        if "Could not set lock" in str(error):
            raise StoreBusy(
                f"another program has the warehouse open: {error}. Close it there, then run again"
            ) from error
        raise _refusal(error, path) or StoreError(
            f"{path} cannot be opened: {str(error).rstrip('.!')}. Expected a DuckDB database. {_if_damaged(path)}"
        ) from error


def _refusal(error: "duckdb.Error", path: Path) -> StoreError | None:
    """Return a StoreError if DuckDB's message contains an OS error on the database file.

    DuckDB passes OS errors on as text only. Returns None for other errors, including those on a file named in a query.
    """
    if path.name not in str(error):
        return None
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO):
        if os.strerror(number) in str(error):
            return translate_os_error(OSError(number, os.strerror(number)), path)
    return None


def _if_damaged(path: Path) -> str:
    return f"If it is damaged, or something else, move it away together with {path.name}.wal and load its months again"


def _create_database(path: Path) -> None:
    """Create an empty database at `path` atomically: DuckDB cannot open one whose creation was interrupted."""
    import duckdb

    fresh = path.with_name(f".{path.name}.new")
    try:
        with translate_os_errors(path):
            fresh.unlink(missing_ok=True)
            duckdb.connect(fresh).close()
            fresh.replace(path)
    except duckdb.Error as error:
        fresh.unlink(missing_ok=True)
        raise _refusal(error, path) or StoreError(f"the warehouse {path} could not be made: {error}") from error


def _columns(month: TripMonth) -> tuple[Column, ...]:
    return LAYOUTS[month.color].table_columns


def _has_table(database: "duckdb.DuckDBPyConnection", month: TripMonth) -> bool:
    """Whether the month's table exists. Raises StoreError if its columns are not the expected ones."""
    found = {
        f"{name} {kind}"
        for name, kind in database.execute(
            "SELECT column_name, data_type FROM duckdb_columns() "
            "WHERE database_name = current_database() AND schema_name = 'main' AND table_name = ?",
            [month.table],
        ).fetchall()
    }
    expected = {f"{column.name} {TYPES[column.kind]}" for column in _columns(month)}
    if found and found != expected:
        missing, unknown = (", ".join(sorted(names)) or "none" for names in (expected - found, found - expected))
        raise StoreError(
            f"the table {month.table} has other columns than {month.color} months. Missing: {missing}. Not expected: "
            f"{unknown}. Rename it (ALTER TABLE {month.table} RENAME TO ...), then load the months again"
        )
    return bool(found)


def _create_table(database: "duckdb.DuckDBPyConnection", month: TripMonth) -> None:
    columns = _columns(month)
    types = ", ".join(f'"{column.name}" {TYPES[column.kind]}' for column in columns)
    database.execute(f"CREATE TABLE {month.table} ({types})")
    for column in columns:
        meaning = column.meaning.replace("'", "''")
        database.execute(f"""COMMENT ON COLUMN {month.table}."{column.name}" IS '{meaning}'""")


def _delete(database: "duckdb.DuckDBPyConnection", month: TripMonth) -> None:
    database.execute(f"DELETE FROM {month.table} WHERE file_month = ?", [month.first_day])


def _insert(database: "duckdb.DuckDBPyConnection", month: TripMonth, lake_object: LakeObject) -> None:
    # Select columns by name, so that a column missing from the object is an error rather than a column of nulls.
    names = ", ".join(f'"{column.name}"' for column in _columns(month))
    database.execute(f"INSERT INTO {month.table} ({names}) SELECT {names} FROM read_parquet(?)", [lake_object.uri])


def _count(database: "duckdb.DuckDBPyConnection", month: TripMonth) -> int:
    counted = database.execute(f"SELECT count(*) FROM {month.table} WHERE file_month = ?", [month.first_day])
    return int(counted.fetchall()[0][0])


def _total_rows(database: "duckdb.DuckDBPyConnection", month: TripMonth) -> int:
    return int(database.execute(f"SELECT count(*) FROM {month.table}").fetchall()[0][0])


def _summarize(database: "duckdb.DuckDBPyConnection", month: TripMonth) -> MonthSummary:
    layout = LAYOUTS[month.color]
    sql = f"SELECT {select_list(layout, _quoted)} FROM {month.table} WHERE file_month = ?"
    return from_row(layout, database.execute(sql, [month.first_day]).fetchall()[0])


def _quoted(name: str) -> str:
    return f'"{name}"'


_RESERVED = ("main", "system", "temp")


def _catalog(path: Path) -> str:
    """Return DuckDB's catalog name for a file: the part before the first dot, with `_db` added to reserved names."""
    stem = next((part for part in path.name.split(".") if part), path.name)
    return f"{stem}_db" if stem in _RESERVED else stem


def open_duckdb(url: str) -> DuckDBWarehouse:
    """Return the warehouse for a URL such as `duckdb:///path/file.duckdb`. Raises SettingsError for any other URL."""
    scheme, _, place = url.partition("://")
    if scheme != "duckdb" or not place.startswith("/"):
        raise SettingsError(
            f"TAXI_WAREHOUSE_URL: a warehouse cannot be at {url.partition(':')[0]}://: expected duckdb:///path or "
            "bigquery://project/dataset"
        )
    return DuckDBWarehouse(Path(place[1:]))
