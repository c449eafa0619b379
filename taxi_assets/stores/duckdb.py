"""The DuckDB warehouse: a database file that is used by one thread of one process at a time.

Every load and query holds the lock file next to the database, and opens and closes the database. DuckDB does not let a
second process open a database while one has it open for writing, and two threads that replace the same month at once
would leave two copies of it.
Not here: the content of a month.
"""

import errno
import os
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from taxi_assets.errors import (
    BadQuery,
    DamagedWarehouse,
    DuckDBError,
    IncompatibleTable,
    InputChanged,
    InvalidWarehouseUrl,
    NothingLoaded,
    StoreBusy,
    StoreError,
    TaxiAssetsError,
    WarehouseOpenElsewhere,
)
from taxi_assets.stores.duckdb_marts import (
    count_mart,
    create_table,
    create_views,
    describe,
    remove_marts,
    replace_mart,
    replace_zones,
)
from taxi_assets.stores.files.locks import locked, locked_for_reading
from taxi_assets.stores.files.os_errors import describe_free_space, translate_os_error, translate_os_errors
from taxi_assets.stores.files.staging import probe_folder, require_writable
from taxi_assets.stores.inventory import StoredItem, row_items
from taxi_assets.stores.lake import LakeObject, damaged_object, missing_object
from taxi_assets.stores.mart_sql import COLUMN_TYPES, no_trips, trip_sums_sql
from taxi_assets.stores.query_result import ARROW_ROWS, QueryResult, unknown_table
from taxi_assets.stores.summaries import from_row, select_list
from taxi_assets.stores.warehouse import missing_month, require_own_table
from taxi_assets.tlc.marts import MARTS, ZONES_TABLE, Mart
from taxi_assets.tlc.schema import LAYOUTS, Column
from taxi_assets.tlc.summary import MonthSummary, no_rows
from taxi_assets.tlc.trips import COLORS, TripMonth

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

Batch = TypeVar("Batch")

_BATCH_ROWS = 10_000

_Config: TypeAlias = dict[str, str | bool | int | float | list[str]]

# By default, DuckDB downloads an extension if SQL or a file seems to need one, and takes the name of a table that does
# not exist for that of a variable of this program.
_READING: _Config = {
    "autoinstall_known_extensions": False,
    "python_enable_replacements": False,
}

# Memory does not grow with the month: each thread holds one row group, and no rows are buffered to keep their order.
_LOADING = {
    **_READING,
    "memory_limit": "72MB",
    "threads": min(4, os.cpu_count() or 1),
    "preserve_insertion_order": False,
}

# Without a limit, DuckDB caches all of the file that a query reads. Beyond the limit, sorts and groups use the disk.
_STREAMING = {**_READING, "memory_limit": "192MB"}


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

        Raises InputChanged if it differs from `rows`, and MissingUpstream or DamagedFile if the object is missing or
        damaged. The month is then unchanged.
        """
        with self._opened(f"load {month} from {lake_object.uri}", month, read_only=False) as database:
            # Closing the database rolls back whatever is not committed.
            database.begin()
            if _has_table(database, month):
                changed = _add_later_columns(database, month)
            else:
                create_table(database, month.table, _columns(month))
                changed = True
            describe(database, month.table, _columns(month), LAYOUTS[month.color].table_meaning)
            if changed:
                create_views(database)
            _delete(database, month)
            _insert(database, month, lake_object)
            loaded = _count(database, month)
            if loaded != rows:
                raise InputChanged(
                    f'{month} was not loaded: "{lake_object.uri}" has {loaded:,} rows of the month. Expected {rows:,}.',
                    **month.facts,
                    uri=lake_object.uri,
                    asset="lake_trips",
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
        with self._opened(f"count the rows of {month}", month) as database:
            return _count(database, month) if _has_table(database, month) else 0

    def total_rows(self, month: TripMonth) -> int:
        """Return the row count of the month's table, over all months, or 0 if it does not exist."""
        if not self._exists():
            return 0
        with self._opened(f"count the rows of {month.table}", month) as database:
            return _total_rows(database, month) if _has_table(database, month) else 0

    def summarize(self, month: TripMonth) -> MonthSummary:
        """Summarize the month in one query. If it was never loaded, the summary is that of zero rows."""
        layout = LAYOUTS[month.color]
        if not self._exists():
            return no_rows(layout)
        with self._opened(f"summarize {month}", month, config=_LOADING) as database:
            return _summarize(database, month) if _has_table(database, month) else no_rows(layout)

    def read(self, month: TripMonth, columns: Sequence[str]) -> "Iterator[pa.Table]":
        """Yield the rows of the month at once, in no particular order, with these columns only.

        The lock is released before the rows are used, so the rows are all in memory. Raises MissingUpstream if the
        month was never loaded.
        """
        found = None
        if self._exists():
            with self._opened(f"read {month}", month) as database:
                found = _read(database, month, columns) if _has_table(database, month) else None
        if not found:
            raise missing_month(month, month.table, "warehouse_trips")
        yield found

    def replace_table(self, name: str, sql: str) -> int:
        """Replace a table of the user's own with the result of a SELECT statement, and return its row count.

        The statement runs in the same transaction. Raises BadQuery for any other statement, for invalid SQL, and for
        the name of a table of this project, and NothingLoaded if no month is loaded yet.
        """
        import duckdb

        require_own_table(name)
        if not self._exists():
            raise self._nothing_loaded()
        with self._opened(f'replace the table "{name}"', read_only=False) as database:
            try:
                _require_query(database, sql)
                database.execute(f"CREATE OR REPLACE TABLE {_quoted(name)} AS {sql}")
            except (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError) as error:
                raise _bad_query(database, error, self.path) from error
            return int(database.execute(f"SELECT count(*) FROM {_quoted(name)}").fetchall()[0][0])

    def stored_items(self, month: TripMonth) -> list[StoredItem]:
        """Return the month's rows of trips and of each mart as stored items with their row counts.

        A table without rows of the month is left out.
        """
        if not self._exists():
            return []
        with self._opened(f"count the rows of {month}", month) as database:
            rows = {month.table: _count(database, month) if _has_table(database, month) else 0}
            return self._items(rows | {mart.table(month.color): count_mart(database, mart, month) for mart in MARTS})

    def remove(self, month: TripMonth) -> list[StoredItem]:
        """Delete the month's rows of trips and marts in one transaction and return what was deleted.

        The tables stay, even if empty.
        """
        if not self._exists():
            return []
        with self._opened(f"delete {month}", month, read_only=False) as database:
            database.begin()
            rows = {month.table: 0}
            if _has_table(database, month):
                rows = {month.table: _count(database, month)}
                _delete(database, month)
            rows |= remove_marts(database, month)
            database.commit()
        return self._items(rows)

    def replace_mart(self, mart: Mart, month: TripMonth) -> "pa.Table":
        """Compute a mart for a month from its trips, replace the month in the mart's table, and return its rows.

        Everything is one transaction, so the figures are those of the trips. Raises MissingUpstream if the month has no
        trips in the warehouse.
        """
        if not self._exists():
            raise no_trips(month, mart)
        with self._opened(f"compute {mart.name} of {month}", month, read_only=False) as database:
            database.begin()
            if not _has_table(database, month) or not _count(database, month):
                raise no_trips(month, mart)
            rows = replace_mart(database, mart, month)
            create_views(database)
            database.commit()
        return rows

    def sum_trips(self, month: TripMonth) -> dict[str, float]:
        """Return the number of trips of the month, and the sums of `fare`, `tips` and `total` if they are reported."""
        with self._opened(f"add up the trips of {month}", month, config=_LOADING) as database:
            found = database.execute(trip_sums_sql(LAYOUTS[month.color], month.month))
            names = [column[0] for column in found.description or []]
            return {name: value or 0 for name, value in zip(names, found.fetchall()[0], strict=True)}

    def mart_table(self, mart: Mart, color: str) -> str:
        """Return the fully qualified name of the table of a color's mart."""
        return f"{_catalog(self.path)}.main.{mart.table(color)}"

    def replace_zones(self, zones: "pa.Table") -> str:
        """Replace all taxi zones in one transaction, and return the fully qualified name of their table."""
        with self._opened("load the taxi zones", read_only=False) as database:
            database.begin()
            replace_zones(database, zones)
            create_views(database)
            database.commit()
        return f"{_catalog(self.path)}.main.{ZONES_TABLE}"

    def query(self, sql: str, *, unsafe: bool = False, limit: int | None = None) -> QueryResult:
        """Run one SELECT statement on a read-only connection and return its result.

        It can read files in the folder of the warehouse only. `unsafe` allows other files and other statements, except
        changes of the database. `limit` is the maximum number of rows to return. Raises BadQuery for SQL that is
        invalid or not allowed, and NothingLoaded if the database or the table of a color does not exist yet.
        """
        with closing(self._run(sql, partial(_fetch, limit=limit), _READING, unsafe=unsafe)) as results:
            return next(results)

    def stream(self, sql: str, *, unsafe: bool = False) -> Generator[QueryResult, None, None]:
        """Run one statement as `query` does, and yield its rows in batches, at least one. Memory use is limited.

        The lock is held until the last batch, or until the generator is closed: loads wait.
        """
        return self._stream(sql, _row_batches, unsafe=unsafe)

    def stream_arrow(self, sql: str, *, unsafe: bool = False) -> "Generator[pa.RecordBatch, None, None]":
        """Run one statement as `stream` does, and yield Arrow record batches with DuckDB's types."""
        return self._stream(sql, _arrow_batches, unsafe=unsafe)

    def _stream(
        self, sql: str, fetch: "Callable[[duckdb.DuckDBPyConnection, str], Iterator[Batch]]", *, unsafe: bool
    ) -> Generator[Batch, None, None]:
        """Run a query with little memory. A query that needs more, such as a median, runs again without the limit."""
        import duckdb

        started = False
        try:
            with closing(self._run(sql, fetch, _STREAMING, unsafe=unsafe)) as batches:
                for batch in batches:
                    started = True
                    yield batch
        except DuckDBError as error:
            if started or not isinstance(error.__cause__, duckdb.OutOfMemoryException):
                raise
        else:
            return
        yield from self._run(sql, fetch, _READING, unsafe=unsafe)

    def _run(
        self,
        sql: str,
        fetch: "Callable[[duckdb.DuckDBPyConnection, str], Iterator[Batch]]",
        config: _Config,
        *,
        unsafe: bool,
    ) -> Generator[Batch, None, None]:
        """Run one statement, and yield what `fetch` does, each time after a check of which files were read."""
        import duckdb

        if not self._exists():
            raise self._nothing_loaded()
        with self._opened("run the query", config=config) as database:
            try:
                if not unsafe:
                    _require_query(database, sql)
                    _confine(database, self.path.parent)
                for batch in fetch(database, sql):
                    if not unsafe:
                        _require_confined(database, self.path.parent)
                    yield batch
            except duckdb.PermissionException as error:
                raise _left_folder(self.path.parent, _reason(error)) from error
            except (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError) as error:
                raise _bad_query(database, error, self.path) from error

    def probe(self) -> str:
        """Check that the database is writable, and return the status in one sentence. Raises StoreError.

        Does not create the database if it does not exist yet, and does not change it. Loads and queries wait for a
        moment: the database is opened read-only. If another process holds the lock, the tables are not checked.
        """
        probe_folder(self.path.parent)
        free_space = describe_free_space(self.path.parent)
        if not self._exists():
            return f"{self.path} does not exist yet: the first load creates it; {free_space}"
        brief = DuckDBWarehouse(self.path, min(self.wait_s, _PROBE_WAIT_S))
        try:
            with brief._opened("read the tables") as database:
                tables = sum(_has_table(database, TripMonth(color, _ANY_MONTH)) for color in COLORS)
            state = f"tables: {tables} of {len(COLORS)}, {self.path.stat().st_size / 1e6:,.1f} MB"
        except WarehouseOpenElsewhere:
            raise
        except StoreBusy:
            state = "a load or query is using it"
        require_writable(self.path)
        return f"{self.path} is writable; {state}; {free_space}"

    def _items(self, rows: Mapping[str, int]) -> list[StoredItem]:
        """Return the tables with rows of a month as stored items. `rows` has the number of rows by table."""
        return [item for table, count in rows.items() for item in row_items(f"{table} in {self.path}", count)]

    def _nothing_loaded(self) -> NothingLoaded:
        return NothingLoaded(f'The warehouse "{self.path}" does not exist yet.', path=str(self.path), color=COLORS[0])

    def _exists(self) -> bool:
        with translate_os_errors(self.path):
            return self.path.exists()

    @contextmanager
    def _opened(
        self, task: str, month: TripMonth | None = None, *, read_only: bool = True, config: _Config | None = None
    ) -> Iterator["duckdb.DuckDBPyConnection"]:
        """Hold the lock and open the database. DuckDB's errors are raised with `task` and the month in them."""
        import duckdb

        lock = locked_for_reading if read_only else locked
        with lock(self.path.with_name(f"{self.path.name}.lock"), f"the warehouse {self.path}", self.wait_s):
            if not read_only and not self.path.exists():
                _create_database(self.path)
            try:
                with _connect(self.path, config, read_only=read_only) as database:
                    yield database
            except duckdb.Error as error:
                facts = month.facts if month else {}
                raise _failure(
                    error, self.path, f'In the warehouse "{self.path}", DuckDB could not {task}', **facts
                ) from error


def _bad_query(database: "duckdb.DuckDBPyConnection", error: "duckdb.Error", path: Path) -> TaxiAssetsError:
    """Return the error for SQL that DuckDB rejected."""
    if missing := _MISSING_TABLE.search(str(error)):
        return unknown_table(missing[1], _tables(database))
    return BadQuery(f"DuckDB rejected the query: {error}", path=str(path))


def _read(database: "duckdb.DuckDBPyConnection", month: TripMonth, columns: Sequence[str]) -> "pa.Table":
    """Return the rows of a month. A column that a table of an earlier release does not have is empty."""
    import pyarrow as pa

    existing, schema = _found_columns(database, month), LAYOUTS[month.color].arrow_table_schema()
    selected = ", ".join(_quoted(name) if name in existing else f"NULL AS {_quoted(name)}" for name in columns)
    sql = f"SELECT {selected} FROM {month.table} WHERE file_month = ?"
    table = database.sql(sql, params=[month.first_day]).to_arrow_table()
    return table.cast(pa.schema([schema.field(name) for name in columns]))


def _fetch(database: "duckdb.DuckDBPyConnection", sql: str, *, limit: int | None) -> Iterator[QueryResult]:
    """Run SQL and yield its result. Rows beyond the limit are counted in batches, so that they use little memory."""
    batches = _row_batches(database, sql, _BATCH_ROWS if limit is None else limit)
    first = next(batches)
    if limit is None:
        yield QueryResult(first.columns, [*first.rows, *(row for batch in batches for row in batch.rows)])
    else:
        yield QueryResult(first.columns, first.rows, len(first.rows) + sum(len(batch.rows) for batch in batches))


def _row_batches(
    database: "duckdb.DuckDBPyConnection", sql: str, first_rows: int = _BATCH_ROWS
) -> Iterator[QueryResult]:
    """Run SQL and yield its rows. The first batch has at most `first_rows`, and has the columns even without rows."""
    result = database.execute(sql)
    if not result:  # DuckDB returns None for an empty statement
        yield QueryResult([], [])
        return
    columns = [column[0] for column in database.description or []]
    yield QueryResult(columns, result.fetchmany(first_rows))
    while rows := result.fetchmany(_BATCH_ROWS):
        yield QueryResult(columns, rows)


def _arrow_batches(database: "duckdb.DuckDBPyConnection", sql: str) -> "Iterator[pa.RecordBatch]":
    """Run SQL and yield its rows as Arrow record batches. The first one has the schema even without rows."""
    import pyarrow as pa

    # A result of `execute` would be copied as a whole.
    result = database.sql(sql)
    if result is None:  # a statement without a result, or none at all
        yield pa.record_batch({})
        return
    reader = result.to_arrow_reader(ARROW_ROWS)
    try:
        yield pa.record_batch([pa.array([], kind) for kind in reader.schema.types], reader.schema)
        yield from reader
    except OSError as error:
        raise _from_arrow(error) from error


def _from_arrow(error: OSError) -> "duckdb.Error":
    """Return the DuckDB error that happened after the first rows. Arrow passes it on as text."""
    import duckdb

    kinds: dict[str, type[duckdb.Error]] = {
        "Permission": duckdb.PermissionException,
        "Out of Memory": duckdb.OutOfMemoryException,
        **dict.fromkeys(("IO", "INTERNAL", "FATAL", "INTERRUPT", "HTTP", "Corrupt"), duckdb.OperationalError),
    }
    return kinds.get(str(error).partition(" Error:")[0], duckdb.ProgrammingError)(str(error))


_MISSING_TABLE = re.compile(r'Catalog Error: Table with name "?(.+?)"? does not exist')


def _tables(database: "duckdb.DuckDBPyConnection") -> list[str]:
    """Return the names of the tables and views, with the schema unless it is the default one."""
    found = database.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal "
        "UNION SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal ORDER BY ALL"
    )
    return [name if schema == "main" else f"{schema}.{name}" for schema, name in found.fetchall()]


def _require_query(database: "duckdb.DuckDBPyConnection", sql: str) -> None:
    """Raise BadQuery if the SQL is not exactly one query. Other statements could write files or load extensions."""
    from duckdb import StatementType

    kinds = [statement.type for statement in database.extract_statements(sql)]
    if kinds == [StatementType.EXPLAIN]:
        kinds = [statement.type for statement in database.extract_statements(_EXPLAIN.sub("", sql))]
    if kinds != [StatementType.SELECT]:
        seen = ", ".join(kind.name for kind in kinds) or "nothing"
        names = {kind.name for kind in kinds}
        hint = " To run it, add --unsafe." if names and not names & _CHANGES else ""
        raise BadQuery(
            f"Expected one SELECT statement, but this is {seen}. Queries cannot change the warehouse.{hint}", seen=seen
        )


_CHANGES = {"ALTER", "DELETE", "DROP", "INSERT", "MERGE_INTO", "UPDATE"}
"""Types of statements that a read-only database rejects, also with --unsafe."""


_SPACE = r"(?:\s|--[^\r\n]*\n|/\*(?:(?!/\*|\*/).)*\*/)*"
"""White space and comments in SQL, except nested comments."""

_EXPLAIN = re.compile(
    rf"^{_SPACE}explain\b{_SPACE}(?:analy[sz]e\b{_SPACE})?(?:\(\s*(?:analy[sz]e|format)\b[\w\s,']*\))?",
    re.IGNORECASE | re.DOTALL,
)
"""The start of an EXPLAIN statement, up to the statement that it explains."""


def _confine(database: "duckdb.DuckDBPyConnection", folder: Path) -> None:
    """Let the connection access no files outside a folder, no extensions and no network, for as long as it is open."""
    escaped = str(folder).replace("'", "''")
    database.execute("CALL enable_logging('FileSystem', storage = 'memory')")
    database.execute(f"SET allowed_directories = ['{escaped}']")
    database.execute("SET enable_external_access = false")
    database.execute("SET lock_configuration = true")


def _require_confined(database: "duckdb.DuckDBPyConnection", folder: Path) -> None:
    """Raise BadQuery if the connection has opened a file outside a folder since `_confine`.

    DuckDB applies `..` before links and the system after them, so `link/../file` can be outside.
    """
    # A query on the connection itself would end the one whose rows are being read.
    with database.cursor() as log:
        opened = log.execute("SELECT DISTINCT path FROM duckdb_logs_parsed('FileSystem') WHERE op = 'OPEN'").fetchall()
    for (path,) in opened:
        if not Path(path).resolve().is_relative_to(folder.resolve()):
            raise _left_folder(folder, f'The file "{path}" is elsewhere')


def _left_folder(folder: Path, reason: str) -> BadQuery:
    return BadQuery(
        f'The query may only read files in the folder of the warehouse, "{folder}". {reason}. To read other files, add '
        "--unsafe.",
        path=str(folder),
    )


_PROBE_WAIT_S = 1

_ANY_MONTH = "2021-01"
"""Months of the same color share a table, so any month identifies it."""


def _connect(path: Path, config: _Config | None, *, read_only: bool) -> "duckdb.DuckDBPyConnection":
    import duckdb

    try:
        return duckdb.connect(path, read_only=read_only, config=config or (_READING if read_only else _LOADING))
    except duckdb.Error as error:
        if "Could not set lock" in str(error):
            raise WarehouseOpenElsewhere(
                f'Another program has the warehouse "{path}" open: {_reason(error)}.', path=str(path)
            ) from error
        raise _failure(error, path, f'DuckDB could not open the warehouse "{path}"') from error


def _failure(error: "duckdb.Error", path: Path, failed: str, **facts: str) -> StoreError:
    """Return the error for an OS error on the database file, or a DuckDBError whose message starts with `failed`."""
    kind = DamagedWarehouse if _is_damaged(error, path) else DuckDBError
    return _os_error(error, path) or kind(f"{failed}: {_reason(error)}.", path=str(path), **facts)


def _is_damaged(error: "duckdb.Error", path: Path) -> bool:
    """Return whether the file was verified as damaged.

    Then it has no DuckDB header, it ends too early, its WAL is damaged, or it contains the block whose checksum is
    wrong: a query can also read other files.
    """
    checksum, place = _bad_checksum(error) or (0, 0)
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER_BYTES)
            file.seek(place)
            stored = int.from_bytes(file.read(_CHECKSUM_BYTES), "little")
    except OSError:
        return False
    paths = "|".join(re.escape(str(name)) for name in (path, path.resolve()))
    reported = re.search(f'not read enough bytes from file "({paths})"|WAL file "({paths}).wal": Corrupt', str(error))
    return start[-len(_MAGIC) :] != _MAGIC or bool(reported) or bool(checksum and checksum == stored)


def _bad_checksum(error: "duckdb.Error") -> tuple[int, int] | None:
    """Return the checksum and position of a block of a DuckDB file if DuckDB reports that its checksum is wrong."""
    found = re.search(r"Corrupt database file: .* stored checksum (\d+) in block at location (\d+)", str(error))
    return (int(found[1]), int(found[2])) if found else None


_MAGIC, _HEADER_BYTES, _CHECKSUM_BYTES = b"DUCK", 12, 8
"""DuckDB's magic bytes, the length of a file's start that ends with them, and the length of a block's checksum."""


def _reason(error: "duckdb.Error") -> str:
    """Return DuckDB's message on one line, without the SQL statement."""
    return " ".join(str(error).partition("\nLINE ")[0].split()).rstrip(".!")


def _os_error(error: "duckdb.Error", path: Path) -> StoreError | None:
    """Return the translated OS error if DuckDB's message contains one on the database file.

    DuckDB passes OS errors on as text only. Returns None for other errors, including those on a file named in a query.
    """
    if path.name not in str(error):
        return None
    for number in _OS_ERRORS:
        if os.strerror(number) in str(error):
            return translate_os_error(OSError(number, os.strerror(number)), path)
    return None


_OS_ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EIO,
    errno.EISDIR,
)
"""The OS errors that are looked for in DuckDB's messages."""


def _create_database(path: Path) -> None:
    """Create an empty database at `path` atomically: DuckDB cannot open one whose creation was interrupted."""
    import duckdb

    new = path.with_name(f".{path.name}.new")
    try:
        with translate_os_errors(path):
            new.unlink(missing_ok=True)
            duckdb.connect(new).close()
            new.replace(path)
    except duckdb.Error as error:
        new.unlink(missing_ok=True)
        raise _failure(error, path, f'DuckDB could not create the warehouse "{path}"') from error


def _columns(month: TripMonth) -> tuple[Column, ...]:
    return LAYOUTS[month.color].table_columns


def _has_table(database: "duckdb.DuckDBPyConnection", month: TripMonth) -> bool:
    """Whether the month's table exists. Raises IncompatibleTable if its columns are not the expected ones.

    A table of an earlier release may lack later columns.
    """
    found = {f"{name} {kind}" for name, kind in _found_columns(database, month).items()}
    expected = {f"{column.name} {COLUMN_TYPES[column.kind]}" for column in _columns(month)}
    required = {f"{column.name} {COLUMN_TYPES[column.kind]}" for column in _columns(month) if not column.is_later}
    if found and not required <= found <= expected:
        missing, unexpected = (", ".join(sorted(names)) or "none" for names in (required - found, found - expected))
        raise IncompatibleTable(
            f'The table "{month.table}" has other columns than those of {month.color} months. Missing: {missing}. '
            f"Unexpected: {unexpected}.",
            table=month.table,
            missing=missing,
            unexpected=unexpected,
        )
    return bool(found)


def _found_columns(database: "duckdb.DuckDBPyConnection", month: TripMonth) -> dict[str, str]:
    """Return the names and types of the table's columns; empty if the table does not exist."""
    found = database.execute(
        "SELECT column_name, data_type FROM duckdb_columns() "
        "WHERE database_name = current_database() AND schema_name = 'main' AND table_name = ?",
        [month.table],
    )
    return dict(found.fetchall())


def _add_later_columns(database: "duckdb.DuckDBPyConnection", month: TripMonth) -> bool:
    """Add the columns that a table of an earlier release lacks. Their values are missing in its rows.

    Returns whether there are any.
    """
    found = _found_columns(database, month)
    lacking = [column for column in _columns(month) if column.name not in found]
    for column in lacking:
        database.execute(f'ALTER TABLE {month.table} ADD COLUMN "{column.name}" {COLUMN_TYPES[column.kind]}')
    return bool(lacking)


def _delete(database: "duckdb.DuckDBPyConnection", month: TripMonth) -> None:
    database.execute(f"DELETE FROM {month.table} WHERE file_month = ?", [month.first_day])


def _insert(database: "duckdb.DuckDBPyConnection", month: TripMonth, lake_object: LakeObject) -> None:
    """Insert the rows of the object. Raises MissingUpstream if it does not exist, and DamagedFile if it is damaged."""
    import duckdb

    try:
        found = database.execute("SELECT name FROM parquet_schema(?)", [lake_object.uri]).fetchall()
        # Select columns by name, so that a column missing from the object is an error rather than a column of nulls,
        # unless the object is of an earlier release.
        columns = [column for column in _columns(month) if not column.is_later or (column.name,) in found]
        names = ", ".join(f'"{column.name}"' for column in columns)
        database.execute(f"INSERT INTO {month.table} ({names}) SELECT {names} FROM read_parquet(?)", [lake_object.uri])
    except duckdb.Error as error:
        if not Path(lake_object.uri).exists():
            raise missing_object(month, lake_object.uri) from error
        if _bad_checksum(error):  # the object is a Parquet file, so this is about the database
            raise
        # The SQL is valid, so these errors are about the object. For damaged rows, DuckDB raises the base class.
        if type(error) is duckdb.Error or isinstance(error, (duckdb.ProgrammingError, duckdb.DataError)):
            raise damaged_object(month, lake_object.uri, _reason(error)) from error
        raise


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
    """Return the warehouse for a URL such as `duckdb:///path/file.duckdb`. Raises InvalidWarehouseUrl for any other."""
    path = url.removeprefix("duckdb:///")
    if path == url:
        scheme = f"{url.partition(':')[0]}://"
        raise InvalidWarehouseUrl(
            f'The URL of the warehouse starts with "{scheme}". Expected "duckdb:///" or "bigquery://".', seen=scheme
        )
    if unusable := next((letter for letter in _UNUSABLE if letter in path), None):
        raise InvalidWarehouseUrl(
            f'The path of the warehouse contains "{unusable}", which DuckDB cannot use in a path.', seen=unusable
        )
    return DuckDBWarehouse(Path(path))


_UNUSABLE = ("?", "\\")
"""DuckDB takes what follows a question mark for the query of a URL, and a backslash for a slash."""
