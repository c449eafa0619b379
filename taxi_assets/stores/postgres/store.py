"""The PostgreSQL store: one table per color, partitioned by the file's month. A month is replaced atomically.

A load fills a new table that other transactions cannot see. At the end, it drops the old partition of the color's table
and attaches the new table as a partition. All of this is one transaction: a load that fails or is killed leaves the old
month and nothing else.
Not here: the content of a month, and the embedded server (see `embedded`).
"""

import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl

from taxi_assets.errors import (
    BadQuery,
    IncompatibleTable,
    InputChanged,
    InvalidPostgresUrl,
    PostgresConnectionLost,
    PostgresDiskFull,
    PostgresError,
    PostgresHostNotFound,
    PostgresLoginFailed,
    PostgresPrivilege,
    PostgresReadOnly,
    PostgresUnreachable,
    StoreBusy,
    StoreError,
    TableLocked,
)
from taxi_assets.stores.inventory import StoredItem, row_items
from taxi_assets.stores.postgres.comments import describe
from taxi_assets.stores.postgres.zones import replace_zones
from taxi_assets.stores.query_result import ARROW_ROWS, QueryResult, unknown_table
from taxi_assets.stores.summaries import from_row, select_list
from taxi_assets.stores.warehouse import missing_month
from taxi_assets.tlc.ahead import read_ahead
from taxi_assets.tlc.marts import ZONES_TABLE
from taxi_assets.tlc.schema import LAYOUTS, Column, Kind
from taxi_assets.tlc.summary import MonthSummary, no_rows
from taxi_assets.tlc.trips import COLORS, TripMonth

if TYPE_CHECKING:
    import psycopg2
    import pyarrow as pa
    import sqlalchemy as sa
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

Batch = TypeVar("Batch")

# Spelled as PostgreSQL's format_type returns them, because they are compared with its results.
TYPES = {
    Kind.integer: "bigint",
    Kind.decimal: "double precision",
    Kind.text: "text",
    Kind.timestamp: "timestamp without time zone",
    Kind.date: "date",
}

_PARTITIONED_BY = "LIST (file_month)"

_OPEN_CURSOR = """
DO $$
DECLARE taxi_query refcursor := 'taxi_query';
BEGIN
    OPEN taxi_query FOR EXECUTE current_setting('taxi.query');
END
$$
"""
"""Opens a cursor for the SQL in the parameter `taxi.query`. PostgreSQL opens cursors only for single queries."""

_CURSOR_CONTEXT = re.compile(r"\n(?:QUERY|CONTEXT):")
"""The start of the part of an error message that is about `_OPEN_CURSOR`."""

_RETRY_DELAY_S = 0.2

_BATCH_ROWS = 10_000

_ROWS_PER_BATCH = 2048  # small, so that the server has rows to process while the next ones are encoded
_EXPORT_BLOCK_BYTES = 8 << 20
_SOCKET_BYTES = 4 << 20
_MESSAGE_BYTES = 65536  # the server processes only whole messages: with small ones, both sides work in parallel


class PostgresStore:
    """The database at `url`, which is `postgresql://user:password@host:port/database`.

    The methods raise SettingsError if the URL is invalid, StoreUnreachable if the database is not reachable or the
    connection is lost, StoreError if the database rejects the operation, and StoreBusy if another connection holds a
    required lock for longer than `wait_s` seconds. No message contains the password.

    While a change of a table waits for its lock, new readers queue behind it. So it waits only `change_wait_s` seconds
    at a time, then lets them proceed and retries. A connection attempt ends after `connect_timeout_s` seconds, because
    a host that drops packets would otherwise cause a wait of minutes.
    """

    def __init__(self, url: str, wait_s: float = 600, *, change_wait_s: float = 2, connect_timeout_s: int = 10) -> None:
        self.wait_s = wait_s
        self._change_wait_s = change_wait_s
        self._connect_timeout_s = connect_timeout_s
        self._url = url
        self._engine: sa.Engine | None = None

    def replace_month(
        self, month: TripMonth, tables: "Iterable[pa.Table]", rows: int, columns: Sequence[str] = ()
    ) -> int:
        """Replace the month with the rows of `tables`, atomically, and return the row count in the database.

        The tables have these columns, and all values of the others are missing; by default, they have all of
        `Layout.file_columns`. Raises CountMismatch if the count differs from `rows`, and StoreError if the color's
        table exists with other columns or partitioning; the month is then unchanged.
        """
        failure = f"{month} was not loaded"
        with self._transaction(failure, **month.facts) as cursor:
            self._lock_month(cursor, month, failure)
            _has_table(cursor, month)
            loaded = _copy_rows(cursor, month, tables, columns)
            if loaded != rows:
                raise InputChanged(
                    f"{failure}. PostgreSQL received {loaded:,} rows. Expected {rows:,}.",
                    **month.facts,
                    asset="clean_trips",
                    seen=loaded,
                    expected=rows,
                )
            _store_row_count(cursor, month, loaded)
            self._change_table(cursor, month, _swap, failure)
        return loaded

    def table(self, month: TripMonth) -> str:
        """Return the fully qualified name of the month's table: database, schema, table."""
        _, _, user, database = target(self.engine().url)
        return f"{database or user}.public.{month.table}"  # libpq's default database is the user's name

    def count(self, month: TripMonth) -> int:
        """Return the number of rows of the month, or 0 if it was never loaded."""
        with self._transaction(f"The rows of {month} were not counted", **month.facts) as cursor:
            return _count(cursor, month.table, month) if _has_table(cursor, month) else 0

    def total_rows(self, month: TripMonth) -> int:
        """Return the row count of the month's table, over all months, or 0 if it does not exist.

        Each load stores the row count of its partition, so only partitions from earlier releases are scanned.
        """
        with self._transaction(f"The rows of {month.table} were not counted", color=month.color) as cursor:
            return _total_rows(cursor, month) if _has_table(cursor, month) else 0

    def summarize(self, month: TripMonth) -> MonthSummary:
        """Summarize the month in one query. If it was never loaded, the summary is that of zero rows."""
        with self._transaction(f"{month} was not summarized", **month.facts) as cursor:
            return _summarize(cursor, month) if _has_table(cursor, month) else no_rows(LAYOUTS[month.color])

    def read(self, month: TripMonth, columns: Sequence[str]) -> "Iterator[pa.Table]":
        """Yield the rows of the month in parts, in no particular order, with these columns only, in lowercase.

        The rows pass through a temporary file, so that memory use does not grow with the month. Raises MissingUpstream
        if the month was never loaded.
        """
        with TemporaryFile() as file:
            with self._transaction(f"{month} was not read", **month.facts) as cursor:
                rows = _export(cursor, month, columns, file) if _has_table(cursor, month) else 0
            if not rows:
                raise missing_month(month, month.table, "postgres_trips")
            file.seek(0)
            yield from _exported(file, LAYOUTS[month.color].arrow_table_schema(str.lower), columns)

    def stored_items(self, month: TripMonth) -> list[StoredItem]:
        """Return the month's partition as a stored item with its row count, or an empty list if it has no rows."""
        return row_items(f"public.{_partition(month)}", self.count(month))

    def remove(self, month: TripMonth) -> list[StoredItem]:
        """Drop the month's partition in one transaction and return what was deleted.

        Waits for a running load of the month to end. Raises StoreError if the table's columns or partitioning are not
        those that this project creates.
        """
        failure, rows = f"{month} was not deleted", 0

        def count_and_drop(cursor: "Cursor", month: TripMonth) -> None:
            # Count inside the attempt: if it fails, its rollback releases the lock that counting takes. Otherwise, two
            # concurrent wipes would wait for each other forever.
            nonlocal rows
            rows = _count(cursor, month.table, month)
            _drop(cursor, month)

        with self._transaction(failure, **month.facts) as cursor:
            self._lock_month(cursor, month, failure)
            if not _has_table(cursor, month):
                return []
            self._change_table(cursor, month, count_and_drop, failure)
        return row_items(f"public.{_partition(month)}", rows)

    def replace_zones(self, zones: "pa.Table") -> str:
        """Replace all taxi zones in one transaction, and return the fully qualified name of their table."""
        with self._transaction("The taxi zones were not loaded") as cursor:
            replace_zones(cursor, zones)
            cursor.connection.commit()
        _, _, user, database = target(self.engine().url)
        return f"{database or user}.public.{ZONES_TABLE}"

    def query(self, sql: str, *, limit: int | None = None) -> QueryResult:
        """Run one statement in a read-only transaction and return its result, or its first `limit` rows.

        Raises BadQuery for invalid SQL, and for SQL that is not one query, and NothingLoaded if the table of a color
        does not exist yet. The server opens a cursor for the statement, which it refuses for several statements: a
        COMMIT among them would end the read-only transaction.
        """
        with closing(self._run(sql, partial(_fetch, limit=limit))) as results:
            return next(results)

    def stream(self, sql: str) -> Generator[QueryResult, None, None]:
        """Run one statement as `query` does, and yield its rows in batches, at least one, in little memory.

        The transaction is open until the last batch, or until the generator is closed: loads of the tables wait.
        """
        return self._run(sql, _row_batches)

    def stream_arrow(self, sql: str) -> "Generator[pa.RecordBatch, None, None]":
        """Run one statement as `stream` does, and yield Arrow record batches with the types of `result_types`."""
        return self._run(sql, _arrow_batches)

    def _run(self, sql: str, fetch: "Callable[[Cursor], Iterator[Batch]]") -> Generator[Batch, None, None]:
        """Open a cursor for one statement in a read-only transaction, and yield what `fetch` does."""
        import psycopg2

        with self._transaction("The query failed") as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
            # All rows are read, so plan for all of them. By default, PostgreSQL plans a cursor for its first rows.
            cursor.execute("SET LOCAL cursor_tuple_fraction = 1")
            cursor.execute("SELECT set_config('taxi.query', %s, true)", [sql])
            try:
                cursor.execute(_OPEN_CURSOR)
                yield from fetch(cursor)
            except psycopg2.OperationalError:  # an error of the server, not of the SQL
                raise
            except psycopg2.Error as error:
                if error.pgcode == _UNDEFINED_TABLE and (missing := _MISSING_TABLE.search(_message(error))):
                    raise unknown_table(missing[1], _tables(cursor), has_marts=False) from error
                expected = "Expected one query. " if error.pgcode == _INVALID_CURSOR else ""
                text = _CURSOR_CONTEXT.split(_message(error))[0]
                raise BadQuery(f"{expected}PostgreSQL rejected the query: {text}") from error

    def probe(self) -> str:
        """Create a test table, roll it back, and return the status in one sentence."""
        with self._transaction("No table was created") as cursor:
            # The month does not matter, because all months of a color share a table.
            tables = sum(_has_table(cursor, TripMonth(color, "2021-01")) for color in COLORS)
            cursor.execute(f"CREATE TABLE public.taxi_assets_probe_{secrets.token_hex(4)} (x integer)")
            cursor.execute("SELECT current_setting('server_version'), current_user::text, current_database()::text")
            version, user, database = cursor.fetchone()
        return (
            f"PostgreSQL {version.split()[0]}: user {user} can create tables in database {database}; "
            f"tables: {tables} of {len(COLORS)}"
        )

    def shown_url(self) -> "sa.URL":
        """Return the URL without passwords."""
        return without_secrets(self.engine().url).set(drivername="postgresql")

    def engine(self) -> "sa.Engine":
        """Return the SQLAlchemy engine of this database. All calls return the same engine."""
        import sqlalchemy as sa

        if self._engine is None:
            # No pool: it would keep a session of the server open until Python deletes the engine.
            url = _parsed(self._url)
            defaults = {"fallback_application_name": "taxi_assets", "connect_timeout": self._connect_timeout_s}
            arguments = {name: value for name, value in defaults.items() if name not in url.query}
            self._engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=arguments)
        return self._engine

    @contextmanager
    def _transaction(self, failure: str, **facts: str) -> "Iterator[Cursor]":
        """Yield a cursor in a new transaction, which is rolled back unless it is committed.

        Translates database errors to StoreErrors with these facts. `failure` starts their messages.
        """
        import psycopg2

        connection = self._connect(facts)
        try:
            cursor = connection.cursor()
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{self.wait_s}s"])
            yield cursor
        except psycopg2.Error as error:
            failed = self._translate(error, connection, failure, facts)
            if isinstance(failed, PostgresConnectionLost):
                connection.invalidate()  # psycopg2 may not know yet that it is closed
            raise failed from error
        finally:
            if connection.dbapi_connection and connection.dbapi_connection.closed:
                connection.invalidate()  # otherwise, SQLAlchemy would log that it cannot roll back
            connection.close()  # rolls back

    def _connect(self, facts: dict[str, str]) -> "sa.PoolProxiedConnection":
        import psycopg2

        engine = self.engine()
        try:
            return engine.raw_connection()
        except psycopg2.Error as error:
            host, port, user, database = (part or "default" for part in target(engine.url))
            raise _connection_error(error, host)(
                f'Cannot connect to the PostgreSQL database "{database}" at host "{host}", port {port}, as user '
                f'"{user}": {_reason(error)}.',
                **facts,
                host=host,
                port=port,
                user=user,
                database=database,
            ) from error

    def _translate(
        self, error: "psycopg2.Error", connection: "sa.PoolProxiedConnection", failure: str, facts: dict[str, str]
    ) -> StoreError:
        """Return the StoreError for an error of a statement."""
        if error.pgcode == _LOCK_NOT_AVAILABLE:
            return TableLocked(
                f"{failure}. After {self.wait_s:g} s, another connection still has a lock on a required table.", **facts
            )
        if self._is_connection_lost(error, connection):
            return PostgresConnectionLost(
                f"{failure}. The connection to PostgreSQL was lost: {_reason(error)}.", **facts
            )
        kind = _ERROR_CLASSES.get(error.pgcode or "", PostgresError)
        return kind(f"{failure}. PostgreSQL reports: {_reason(error)}.", **facts)

    def _is_connection_lost(self, error: "psycopg2.Error", connection: "sa.PoolProxiedConnection") -> bool:
        """Whether the work was ended by another session, the server or the network, so that a retry may succeed."""
        if error.pgcode:
            return bool(error.pgcode.startswith(_CONNECTION_LOST))
        # It also reads the message, because psycopg2 does not always notice that the connection is closed.
        return self.engine().dialect.is_disconnect(error, connection.dbapi_connection, None)

    def _lock_month(self, cursor: "Cursor", month: TripMonth, failure: str) -> None:
        """Wait for other loads and deletions of the month, and block new ones until this transaction ends.

        Raises StoreBusy.
        """
        if not self._retry(lambda: _try_lock(cursor, month)):
            raise StoreBusy(
                f"{failure}. After {self.wait_s:g} s, another process is still loading or deleting this month.",
                **month.facts,
            )

    def _change_table(
        self, cursor: "Cursor", month: TripMonth, change: "Callable[[Cursor, TripMonth], None]", failure: str
    ) -> None:
        """Change the color's table once no other transaction uses it, and commit. Raises TableLocked."""
        if not self._retry(lambda: _try_change(cursor, month, change, self._change_wait_s)):
            sessions = _blocking_sessions(cursor, month) or "their transactions have just ended"
            raise TableLocked(
                f"{failure}. After {self.wait_s:g} s, other connections are still using the table {month.table}: "
                f"{sessions}.",
                **month.facts,
                table=f"public.{month.table}",
                connections=sessions,
            )
        cursor.connection.commit()

    def _retry(self, attempt: Callable[[], bool]) -> bool:
        """Retry the attempt until it succeeds. Returns False if it does not succeed within `wait_s` seconds."""
        deadline = time.monotonic() + self.wait_s
        while not attempt():
            if time.monotonic() > deadline:
                return False
            time.sleep(_RETRY_DELAY_S)
        return True


def open_postgres(url: str, folder: Path, port: int | None) -> PostgresStore:
    """Return the store at `url`, or, if that is empty, on the embedded server in `folder`, starting it if necessary."""
    from taxi_assets.stores.postgres.embedded import EmbeddedPostgres

    return PostgresStore(url or EmbeddedPostgres(folder, port).ensure_running())


def without_secrets(url: "sa.URL") -> "sa.URL":
    """Return a URL for display: without the password, and without parameters such as `password` and `passfile`."""
    import sqlalchemy as sa

    query = {name: value for name, value in url.query.items() if not _SECRET.search(name)}
    return sa.URL.create(url.drivername, url.username, None, url.host, url.port, url.database, query)


_SECRET = re.compile("pass|secret|scram", re.IGNORECASE)
"""The names of libpq's parameters for passwords and keys."""


def _parsed(url: str) -> "sa.URL":
    import sqlalchemy as sa

    # SQLAlchemy takes an @ in a parameter for the end of the login, so it gets the address without the parameters.
    address, _, query = _PARAMETERS.sub("\n", url, count=1).partition("\n")
    login = address.partition("://")[2].rpartition("@")[0]
    with suppress(sa.exc.ArgumentError, ValueError):
        parsed = sa.make_url(address).update_query_pairs(parse_qsl(query))
        # If the password contains an unescaped @, its end is parsed as part of the host, which messages show.
        ambiguous = "@" in f"{login.partition(':')[2]}{parsed.host}{parsed.database}"
        if parsed.drivername.startswith("postgres") and not ambiguous:
            return parsed.set(drivername="postgresql+psycopg2")
    raise InvalidPostgresUrl(
        "The URL of the PostgreSQL server cannot be parsed. It is not shown because it may contain a password."
    )


_PARAMETERS = re.compile(r"\?(?=[\w%]+=)")
"""The start of the parameters of a URL. A password can also contain a question mark."""


def target(url: "sa.URL") -> tuple[str, str, str, str]:
    """Return the host, port, user and database of a URL. Those that are missing are empty: libpq has defaults."""
    # As in SQLAlchemy, parameters take precedence over the address.
    given = {"host": url.host, "port": url.port, "user": url.username, "dbname": url.database, **url.query}
    host, port, user, database = (str(given[name] or "") for name in ("host", "port", "user", "dbname"))
    return host, port, user, database


_ERROR_CLASSES: dict[str, type[StoreError]] = {
    "25006": PostgresReadOnly,
    "42501": PostgresPrivilege,
    "53100": PostgresDiskFull,
}
"""The errors for SQLSTATEs of statements."""

_LOCK_NOT_AVAILABLE = "55P03"

_INVALID_CURSOR = "42P11"
"""The SQLSTATE of a cursor for several statements, or for a statement that is not a query."""

_UNDEFINED_TABLE, _MISSING_TABLE = "42P01", re.compile('relation "(.+?)" does not exist')
"""The SQLSTATE and the message for a table that does not exist. The SQLSTATE alone can also be about an alias."""

_CONNECTION_LOST = ("08", "40001", "40P01", "53300", "57P01", "57P02", "57P03")
"""SQLSTATEs (or prefixes) for a connection, transaction or server that was ended for reasons outside the request."""


_TEMPORARILY_REJECTED = re.compile("the database system is |too many c|connection slots are|terminating connection")
_PERMANENTLY_REJECTED = re.compile("password|SSL|certificate|Permission denied")


def is_transient_failure(error: "psycopg2.Error") -> bool:
    """Whether a later attempt to connect may succeed after this error.

    This is read from the message text, because psycopg2 provides no SQLSTATE for failed connections.
    """
    import psycopg2

    message = str(error)
    if "FATAL:" in message:  # sent by the server
        return bool(_TEMPORARILY_REJECTED.search(message))
    return isinstance(error, psycopg2.OperationalError) and not _PERMANENTLY_REJECTED.search(message)


def _connection_error(error: "psycopg2.Error", host: str) -> type[StoreError]:
    """Return the class of the error of a failed attempt to connect to a host."""
    # A name without a dot can be that of a container, which has no address while it restarts.
    if "." in host and _HAS_NO_ADDRESS.search(str(error)):
        return PostgresHostNotFound
    return PostgresUnreachable if is_transient_failure(error) else PostgresLoginFailed


_HAS_NO_ADDRESS = re.compile("could not translate host name .*: (?!Temporary failure)")


def _reason(error: "psycopg2.Error") -> str:
    """Return PostgreSQL's error message and hint on one line, without the SQL statement.

    The statement is left out because the user did not write it.
    """
    # Lines that libpq indents only explain the line above.
    lines = (line for line in _message(error).splitlines() if not line.startswith("\t"))
    parts = (error.diag.message_primary, error.diag.message_hint) if error.diag.message_primary else lines
    return ". ".join(" ".join(part.split()).rstrip(".?") for part in parts if part)


def _message(error: Exception) -> str:
    return str(error).strip() or repr(error)


def _fetch(cursor: "Cursor", *, limit: int | None) -> Iterator[QueryResult]:
    """Read the rows of the open cursor. Rows beyond the limit are counted by the server."""
    rows, total = _next_rows(cursor, "ALL" if limit is None else limit), cursor.rowcount
    columns = [column.name for column in cursor.description or ()]
    if limit is not None:
        cursor.execute("MOVE ALL FROM taxi_query")
        total += cursor.rowcount
    yield QueryResult(columns, rows, total)


def _next_rows(cursor: "Cursor", rows: int | str) -> list[tuple[Any, ...]]:
    """Read the next rows of the open cursor. A query without columns has none."""
    cursor.execute(f"FETCH {rows} FROM taxi_query")
    return cursor.fetchall() if cursor.description else []


def _row_batches(cursor: "Cursor", batch_rows: int = _BATCH_ROWS) -> Iterator[QueryResult]:
    """Yield the rows of the open cursor. The first batch has the columns even without rows."""
    rows = _next_rows(cursor, batch_rows)
    columns = [column.name for column in cursor.description or ()]
    yield QueryResult(columns, rows)
    while rows := _next_rows(cursor, batch_rows):
        yield QueryResult(columns, rows)


def _arrow_batches(cursor: "Cursor") -> "Iterator[pa.RecordBatch]":
    """Yield the rows of the open cursor as Arrow record batches."""
    from taxi_assets.stores.postgres.result_types import result_schema, to_record_batch

    schema: pa.Schema | None = None
    for batch in _row_batches(cursor, ARROW_ROWS // 4):  # values of Python take more memory than those of Arrow
        schema = schema or result_schema(cursor.description or ())
        yield to_record_batch(batch.rows, schema)


def _tables(cursor: "Cursor") -> list[str]:
    """Return the tables and views on the search path, without partitions. Rolls back the failed transaction."""
    cursor.connection.rollback()
    cursor.execute(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT relispartition "
        "AND pg_table_is_visible(oid) AND relnamespace NOT IN ('pg_catalog'::regnamespace, "
        "'information_schema'::regnamespace) ORDER BY 1"
    )
    return [name for (name,) in cursor.fetchall()]


def _new_table(month: TripMonth) -> str:
    return f"{_partition(month)}_fresh"


def _partition(month: TripMonth) -> str:
    return f"{month.table}_{month.month_id}"


def _columns(month: TripMonth) -> list[str]:
    return [_typed(column) for column in LAYOUTS[month.color].table_columns]


def _typed(column: Column) -> str:
    return f"{column.name.lower()} {TYPES[column.kind]}"


def _try_lock(cursor: "Cursor", month: TripMonth) -> bool:
    """Try to acquire the advisory lock for loading the month, which is held until the transaction ends."""
    cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [f"taxi_assets {month}"])
    return bool(cursor.fetchone()[0])


def _has_table(cursor: "Cursor", month: TripMonth) -> bool:
    """Whether the color's table exists. Raises StoreError if it differs from what `_create_table` creates.

    A table of an earlier release may lack later columns.
    """
    table = f"public.{month.table}"
    cursor.execute(
        "SELECT pg_get_partkeydef(attrelid), attname || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        [table],
    )
    found = cursor.fetchall()
    keys, columns, expected = {key for key, _ in found}, {column for _, column in found}, set(_columns(month))
    required = {_typed(column) for column in LAYOUTS[month.color].table_columns if not column.is_later}
    if found and (keys != {_PARTITIONED_BY} or not required <= columns <= expected):
        missing, unexpected = (", ".join(sorted(names)) or "none" for names in (required - columns, columns - expected))
        partitioned_by = found[0][0] or "nothing"
        raise IncompatibleTable(
            f"The table {table} cannot be used for {month.color} months. It is partitioned by {partitioned_by}. "
            f"Expected {_PARTITIONED_BY}. Missing columns: {missing}. Unexpected columns: {unexpected}.",
            color=month.color,
            table=table,
            partitioned_by=partitioned_by,
            missing_columns=missing,
            unexpected_columns=unexpected,
        )
    return bool(found)


def _create_table(cursor: "Cursor", month: TripMonth) -> None:
    cursor.execute(f"CREATE TABLE public.{month.table} ({', '.join(_columns(month))}) PARTITION BY {_PARTITIONED_BY}")


def _add_later_columns(cursor: "Cursor", month: TripMonth) -> None:
    """Add the columns that a table of an earlier release lacks, to it and its partitions, which are not rewritten."""
    found = _column_names(cursor, month)
    for column in LAYOUTS[month.color].table_columns:
        if column.name.lower() not in found:
            cursor.execute(f"ALTER TABLE public.{month.table} ADD COLUMN {_typed(column)}")


def _column_names(cursor: "Cursor", month: TripMonth) -> set[str]:
    """Return the names of the columns of the color's table."""
    cursor.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        [f"public.{month.table}"],
    )
    return {name for (name,) in cursor.fetchall()}


def _copy_rows(cursor: "Cursor", month: TripMonth, tables: "Iterable[pa.Table]", columns: Sequence[str]) -> int:
    """Copy the rows into a new table, which only this transaction can see. Return how many PostgreSQL stored."""
    import psycopg2
    import pyarrow as pa

    # This constraint allows ATTACH PARTITION to skip the validation scan.
    constraint = f"CHECK (file_month IS NOT NULL AND file_month = DATE '{month.first_day}')"
    cursor.execute(f"CREATE TABLE public.{_new_table(month)} ({', '.join(_columns(month))}, {constraint})")
    fields = LAYOUTS[month.color].arrow_schema()
    schema = pa.schema([fields.field(name) for name in columns or fields.names])
    source, names = _CopySource(tables, schema), ", ".join(name.lower() for name in schema.names)
    _widen_socket(cursor.connection.fileno())
    with closing(source):
        try:
            # Frozen rows are visible to transactions with an older snapshot. They also see either the old month or the
            # new one, never an empty month.
            cursor.copy_expert(
                f"COPY public.{_new_table(month)} ({names}) FROM STDIN (FORMAT binary, FREEZE)", source, _MESSAGE_BYTES
            )
        except psycopg2.Error:
            if source.error is not None:
                raise source.error from None
            raise
    return int(cursor.rowcount)


def _widen_socket(descriptor: int) -> None:
    """Let a socket of this machine hold more rows, so that the server does not wait while the next ones are encoded.

    The system limits the size. The buffers of a connection over a network grow as needed.
    """
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        if connection.family == socket.AF_UNIX:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)


def _export(cursor: "Cursor", month: TripMonth, columns: Sequence[str], file: IO[bytes]) -> int:
    """Write the rows of a month to a file as CSV and return their number. Columns that do not exist yet are empty."""
    existing = _column_names(cursor, month)
    selected = ", ".join(f'"{name}"' if name in existing else "NULL" for name in columns)
    cursor.execute("SET LOCAL datestyle = 'ISO'")
    cursor.copy_expert(
        f"COPY (SELECT {selected} FROM public.{month.table} WHERE file_month = DATE '{month.first_day}') "
        "TO STDOUT (FORMAT csv)",
        file,
        _MESSAGE_BYTES,
    )
    return int(cursor.rowcount)


def _exported(file: IO[bytes], schema: "pa.Schema", columns: Sequence[str]) -> "Iterator[pa.Table]":
    """Yield the rows in a file that `_export` wrote. PostgreSQL does not quote a missing value."""
    import pyarrow as pa
    from pyarrow import csv

    reader = csv.open_csv(
        file,
        read_options=csv.ReadOptions(column_names=list(columns), block_size=_EXPORT_BLOCK_BYTES),
        parse_options=csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=csv.ConvertOptions(
            column_types={name: schema.field(name).type for name in columns},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    for batch in reader:
        yield pa.Table.from_batches([batch])


class _CopySource:
    """Tables as a file for COPY, in PostgreSQL's binary format.

    `error` is the exception that a read raised; psycopg2 keeps only its text.
    """

    def __init__(self, tables: "Iterable[pa.Table]", schema: "pa.Schema") -> None:
        self.error: BaseException | None = None
        chunks = _encoded(tables, schema)
        self._messages = (c[at : at + _MESSAGE_BYTES] for c in chunks for at in range(0, len(c), _MESSAGE_BYTES))

    def read(self, _size: int) -> bytes:
        try:
            return next(self._messages, b"")
        except BaseException as error:
            self.error = error
            raise

    def close(self) -> None:
        """End the thread that reads the tables, which the traceback of an error would keep alive."""
        self._messages.close()


def _encoded(tables: "Iterable[pa.Table]", schema: "pa.Schema") -> Iterator[bytes]:
    from pgpq import ArrowToPostgresBinaryEncoder

    encoder = ArrowToPostgresBinaryEncoder(schema)
    yield encoder.write_header()
    with closing(read_ahead(tables)) as prefetched:
        for table in prefetched:
            for batch in table.select(schema.names).to_batches(_ROWS_PER_BATCH):
                yield encoder.write_batch(batch)
    yield encoder.finish()


def _count(cursor: "Cursor", table: str, month: TripMonth) -> int:
    cursor.execute(f"SELECT count(*) FROM public.{table} WHERE file_month = %s", [month.first_day])
    return int(cursor.fetchone()[0])


def _store_row_count(cursor: "Cursor", month: TripMonth, rows: int) -> None:
    """Store the month's row count in the comment on its table. psql shows it, and `_total_rows` reads it."""
    cursor.execute(
        f"COMMENT ON TABLE public.{_new_table(month)} IS %s", [f"{rows:,} rows of {month}, loaded by taxi_assets"]
    )


_ROW_COUNT_COMMENT = re.compile(r"([0-9,]+) rows of .*, loaded by taxi_assets")


def _total_rows(cursor: "Cursor", month: TripMonth) -> int:
    """Add up the row counts in the comments on the partitions, and count partitions without such a comment."""
    # This lock prevents partitions from being dropped before they are counted.
    cursor.execute(f"LOCK TABLE ONLY public.{month.table} IN ACCESS SHARE MODE")
    cursor.execute(
        "SELECT inhrelid::regclass::text, obj_description(inhrelid, 'pg_class') FROM pg_inherits "
        "WHERE inhparent = to_regclass(%s)",
        [f"public.{month.table}"],
    )
    counts = {partition: _ROW_COUNT_COMMENT.fullmatch(comment or "") for partition, comment in cursor.fetchall()}
    rows = sum(int(count[1].replace(",", "")) for count in counts.values() if count)
    for partition, count in counts.items():
        if not count:
            cursor.execute(f"SELECT count(*) FROM {partition}")
            rows += int(cursor.fetchone()[0])
    return rows


def _summarize(cursor: "Cursor", month: TripMonth) -> MonthSummary:
    layout = LAYOUTS[month.color]
    selected = select_list(layout, lambda name: f'"{name.lower()}"')
    cursor.execute(f"SELECT {selected} FROM public.{month.table} WHERE file_month = %s", [month.first_day])
    return from_row(layout, cursor.fetchone())


def _try_change(
    cursor: "Cursor", month: TripMonth, change: "Callable[[Cursor, TripMonth], None]", wait_s: float
) -> bool:
    """Change the color's table. Returns False, with the change undone, if readers block it for too long."""
    import psycopg2.errors

    cursor.execute("SAVEPOINT change")
    try:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{wait_s}s"])
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"taxi_assets {month.table}"])
        change(cursor, month)
    except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected):
        cursor.execute("ROLLBACK TO SAVEPOINT change")
        return False
    return True


def _swap(cursor: "Cursor", month: TripMonth) -> None:
    """Replace the old partition of the month with the new table."""
    if _has_table(cursor, month):
        _add_later_columns(cursor, month)
    else:
        _create_table(cursor, month)
    layout = LAYOUTS[month.color]
    describe(cursor, f"public.{month.table}", layout.table_columns, layout.table_meaning)
    _drop(cursor, month)
    cursor.execute(f"ALTER TABLE public.{_new_table(month)} RENAME TO {_partition(month)}")
    cursor.execute(
        f"ALTER TABLE public.{month.table} ATTACH PARTITION public.{_partition(month)} "
        f"FOR VALUES IN ('{month.first_day}')"
    )


def _drop(cursor: "Cursor", month: TripMonth) -> None:
    """Drop the month's partition if the color's table has one."""
    cursor.execute(
        "SELECT FROM pg_inherits WHERE inhparent = to_regclass(%s) AND inhrelid = to_regclass(%s)",
        [f"public.{month.table}", f"public.{_partition(month)}"],
    )
    if cursor.rowcount:
        cursor.execute(f"DROP TABLE public.{_partition(month)}")


def _blocking_sessions(cursor: "Cursor", month: TripMonth) -> str:
    """Return the sessions that have locks on the color's table or its partitions."""
    cursor.execute(
        "SELECT format('process %%s of user %%s (%%s, %%s)', pid, usename, application_name, state) "
        "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND pid IN (SELECT pid FROM pg_locks "
        "WHERE granted AND relation IN (SELECT relid FROM pg_partition_tree(to_regclass(%s))))",
        [f"public.{month.table}"],
    )
    return "; ".join(row[0] for row in cursor.fetchall())
