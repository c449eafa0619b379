"""Months in a DuckDB database: one file with one owner at a time.

Each load and each query opens the database under the lock file beside it, and closes it again: DuckDB lets no second
process in while one writes, and two threads that replace the same month at once leave two copies of it.
Not here: what is in a month.
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
from taxi_assets.stores.holdings import Holding, hold_rows
from taxi_assets.stores.lake import LakeObject
from taxi_assets.stores.refusals import refusal, refusals_told, said_room
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

# DuckDB would fetch an extension from its web site unasked, for SQL or a file that it takes for another system's.
_READING: dict[str, str | bool | int | float | list[str]] = {"autoinstall_known_extensions": False}

# Memory stays flat however large the month: each thread holds a row group, and nothing waits to be put in order.
_LOADING = {
    **_READING,
    "memory_limit": "192MB",
    "threads": min(4, os.cpu_count() or 1),
    "preserve_insertion_order": False,
}


class DuckDBWarehouse:
    """The DuckDB database at `path`, which the first load makes.

    Every method waits at most `wait_s` seconds for its turn, then raises StoreBusy; and raises StoreError where the
    file is no database, cannot be used, or has no room, or a table in it has other columns.
    """

    def __init__(self, path: Path, wait_s: float = 600) -> None:
        self.path = path
        self.wait_s = wait_s

    def replace_month(self, month: TripMonth, lake_object: LakeObject, rows: int) -> int:
        """Make the object's rows the month's only ones, all or nothing; gives their count, asked of the table.

        Raises CountMismatch where it is not `rows`; the month stays as it was.
        """
        with self._opened(f"load {month} from {lake_object.uri}", read_only=False) as database:
            # What is not committed is gone when the database closes.
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
        """The fully qualified name of the month's table, with the name that DuckDB gives to the database file."""
        return f"{_catalog(self.path)}.main.{month.table}"

    def count(self, month: TripMonth) -> int:
        """The rows of the month; 0 where it was never loaded."""
        if not self._exists():
            return 0
        with self._opened(f"count {month}") as database:
            return _count(database, month) if _has_table(database, month) else 0

    def total_rows(self, month: TripMonth) -> int:
        """The rows of all months in the month's table; 0 where the table does not exist."""
        if not self._exists():
            return 0
        with self._opened(f"count the rows of {month.table}") as database:
            return _total_rows(database, month) if _has_table(database, month) else 0

    def summarize(self, month: TripMonth) -> MonthSummary:
        """The figures of the month, from one query; those of no rows where it was never loaded."""
        layout = LAYOUTS[month.color]
        if not self._exists():
            return no_rows(layout)
        with self._opened(f"summarize {month}") as database:
            return _summarize(database, month) if _has_table(database, month) else no_rows(layout)

    def held(self, month: TripMonth) -> list[Holding]:
        """The rows of the month, if there are any."""
        return hold_rows(self._said(month), self.count(month))

    def remove(self, month: TripMonth) -> list[Holding]:
        """Remove the month's rows, in one transaction; gives what went. The table stays, if only as an empty one."""
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
        """What the database answers; it cannot be changed by the question.

        Raises BadQuery for wrong SQL, MissingUpstream where nothing was loaded yet.
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
                rows = answer.fetchall() if answer else []  # there is none to an empty question
            except (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError) as error:
                raise BadQuery(f"DuckDB cannot answer this: {error}") from error
            return Answer([column[0] for column in database.description or []], rows)

    def probe(self) -> str:
        """Try to make a table, and leave nothing; what was seen, in a sentence. Raises StoreError.

        A database that is not there yet is not made.
        """
        probe_folder(self.path.parent)
        room = said_room(self.path.parent)
        if not self._exists():
            return f"{self.path} is not there yet, the first load makes it; {room}"
        # A load that goes on for longer is worth a word.
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
        with refusals_told(self.path):
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
"""A table is its color's, whatever the month."""


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
    """What is to be said where DuckDB passes on, as text, that the system refused its file, and not one of a query."""
    if path.name not in str(error):
        return None
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO):
        if os.strerror(number) in str(error):
            return refusal(OSError(number, os.strerror(number)), path)
    return None


def _if_damaged(path: Path) -> str:
    return f"If it is damaged, or something else, move it away together with {path.name}.wal and load its months again"


def _create_database(path: Path) -> None:
    """Make an empty database at `path` in one step: DuckDB refuses one that a killed process left half made."""
    import duckdb

    fresh = path.with_name(f".{path.name}.new")
    try:
        with refusals_told(path):
            fresh.unlink(missing_ok=True)
            duckdb.connect(fresh).close()
            fresh.replace(path)
    except duckdb.Error as error:
        fresh.unlink(missing_ok=True)
        raise _refusal(error, path) or StoreError(f"the warehouse {path} could not be made: {error}") from error


def _columns(month: TripMonth) -> tuple[Column, ...]:
    return LAYOUTS[month.color].table_columns


def _has_table(database: "duckdb.DuckDBPyConnection", month: TripMonth) -> bool:
    """Whether the month's table is there. Raises StoreError where it has other columns."""
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
    # Each column by its name: one that the object lacks is an error, not a column of nulls.
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
    """The name that DuckDB gives to the database in a file: the part before the first dot, changed where reserved."""
    stem = next((part for part in path.name.split(".") if part), path.name)
    return f"{stem}_db" if stem in _RESERVED else stem


def open_duckdb(url: str) -> DuckDBWarehouse:
    """The warehouse at `duckdb:///` and a file's path. Raises SettingsError for anything else."""
    scheme, _, place = url.partition("://")
    if scheme != "duckdb" or not place.startswith("/"):
        raise SettingsError(
            f"TAXI_WAREHOUSE_URL: a warehouse cannot be at {url.partition(':')[0]}://: expected duckdb:///path or "
            "bigquery://project/dataset"
        )
    return DuckDBWarehouse(Path(place[1:]))
