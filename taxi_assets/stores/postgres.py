"""The PostgreSQL store: one table per color, partitioned by the file's month. A month is replaced atomically.

A load fills a new table that other transactions cannot see. At the end, it drops the old partition of the color's table
and attaches the new table as a partition. All of this is one transaction: a load that fails or is killed leaves the old
month and nothing else.
Not here: the content of a month, and the embedded server (see `embedded_postgres`).
"""

import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_assets.errors import BadQuery, CountMismatch, SettingsError, StoreBusy, StoreError, StoreUnreachable
from taxi_assets.stores.answers import Answer
from taxi_assets.stores.inventory import StoredItem, hold_rows
from taxi_assets.stores.summaries import from_row, select_list
from taxi_assets.tlc.ahead import read_ahead
from taxi_assets.tlc.schema import LAYOUTS, Kind
from taxi_assets.tlc.summary import MonthSummary, no_rows
from taxi_assets.tlc.trips import COLORS, TripMonth

if TYPE_CHECKING:
    import psycopg2
    import pyarrow as pa
    import sqlalchemy as sa
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

# Spelled as PostgreSQL's format_type returns them, because they are compared with its results.
TYPES = {
    Kind.integer: "bigint",
    Kind.decimal: "double precision",
    Kind.text: "text",
    Kind.timestamp: "timestamp without time zone",
    Kind.date: "date",
}

_PARTITIONED_BY = "LIST (file_month)"

# While a swap waits for a lock, new readers queue behind it. So it waits only this long, then lets them pass and
# retries.
_SWAP_TIMEOUT = "2s"
_PAUSE_S = 0.2

_CONNECT_TIMEOUT_S = 10  # otherwise, a host that drops packets causes a wait of minutes

_ROWS_A_BATCH = 8192  # small, so that memory use does not grow with the tables
_MESSAGE_BYTES = 65536  # the server processes only whole messages: with small ones, both sides work in parallel


class PostgresStore:
    """The database at `url`, which is `postgresql://user:password@host:port/database`.

    The methods raise SettingsError if the URL is invalid, StoreUnreachable if the database is not reachable or the
    connection is lost, StoreError if the database rejects the operation, and StoreBusy if another connection holds a
    required lock for longer than `wait_s` seconds. No message contains the password.
    """

    def __init__(self, url: str, wait_s: float = 600) -> None:
        self.wait_s = wait_s
        self._url = url
        self._engine: sa.Engine | None = None

    def replace_month(self, month: TripMonth, tables: "Iterable[pa.Table]", rows: int) -> int:
        """Replace the month with the rows of `tables`, atomically, and return the row count in the database.

        The tables have the columns of `Layout.table_columns`. Raises CountMismatch if the count differs from `rows`,
        and StoreError if the color's table exists with other columns or partitioning; the month is then unchanged.
        """
        with self._transaction(f"{month} was not loaded") as cursor:
            self._until(lambda: _lock(cursor, month), lambda: f"another load of {month}")
            _has_table(cursor, month)
            _fill(cursor, month, tables)
            loaded = _count(cursor, _fresh(month), month)
            if loaded != rows:
                raise CountMismatch(
                    f"{month}: {loaded} rows arrived in Postgres, expected {rows}. The month there was left as it was: "
                    "run clean_trips again, then this",
                    seen=loaded,
                    expected=rows,
                )
            _state_rows(cursor, month, loaded)
            self._until(lambda: _unhurried(cursor, month, _swap), lambda: _users(cursor, month))
            cursor.connection.commit()
        return loaded

    def table(self, month: TripMonth) -> str:
        """Return the fully qualified name of the month's table: database, schema, table."""
        url = self.engine().url
        return f"{url.database or url.username}.public.{month.table}"  # libpq's default database is the user's name

    def count(self, month: TripMonth) -> int:
        """Return the number of rows of the month, or 0 if it was never loaded."""
        with self._transaction(f"{month} was not counted") as cursor:
            return _count(cursor, month.table, month) if _has_table(cursor, month) else 0

    def total_rows(self, month: TripMonth) -> int:
        """Return the row count of the month's table, over all months, or 0 if it does not exist.

        Each load stores the row count of its partition, so only partitions from earlier releases are scanned.
        """
        with self._transaction(f"the rows of {month.table} were not counted") as cursor:
            return _total_rows(cursor, month) if _has_table(cursor, month) else 0

    def summarize(self, month: TripMonth) -> MonthSummary:
        """Summarize the month in one query. If it was never loaded, the summary is that of zero rows."""
        with self._transaction(f"{month} was not summarized") as cursor:
            return _summarize(cursor, month) if _has_table(cursor, month) else no_rows(LAYOUTS[month.color])

    def held(self, month: TripMonth) -> list[StoredItem]:
        """Return the month's partition as a stored item with its row count, or an empty list if it has no rows."""
        return hold_rows(f"public.{_partition(month)}", self.count(month))

    def remove(self, month: TripMonth) -> list[StoredItem]:
        """Drop the month's partition in one transaction and return what was deleted.

        Waits for a running load of the month to end. Raises StoreError if the table's columns or partitioning are not
        those that this project creates.
        """
        rows = 0

        def take_out(cursor: "Cursor", month: TripMonth) -> None:
            # Count inside the attempt: if it fails, its rollback releases the lock that counting takes. Otherwise, two
            # concurrent wipes would wait for each other forever.
            nonlocal rows
            rows = _count(cursor, month.table, month)
            _drop(cursor, month)

        with self._transaction(f"{month} was not removed") as cursor:
            self._until(lambda: _lock(cursor, month), lambda: f"a load of {month}")
            if not _has_table(cursor, month):
                return []
            self._until(lambda: _unhurried(cursor, month, take_out), lambda: _users(cursor, month))
            cursor.connection.commit()
        return hold_rows(f"public.{_partition(month)}", rows)

    def query(self, sql: str) -> Answer:
        """Run SQL in a read-only transaction and return its result. Raises BadQuery for invalid SQL."""
        import psycopg2

        with self._transaction("the query was not answered") as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
            try:
                cursor.execute(sql)
            except psycopg2.OperationalError:  # an error of the server, not of the SQL
                raise
            except psycopg2.Error as error:
                raise BadQuery(f"Postgres cannot answer this: {_said(error)}") from error
            columns = [column.name for column in cursor.description or ()]
            return Answer(columns, cursor.fetchall() if columns else [])

    def probe(self) -> str:
        """Create a test table, roll it back, and return the status in one sentence."""
        with self._transaction("a table cannot be made") as cursor:
            # Any month will do, because all months of a color share a table.
            tables = sum(_has_table(cursor, TripMonth(color, "2021-01")) for color in COLORS)
            cursor.execute(f"CREATE TABLE public.taxi_assets_probe_{secrets.token_hex(4)} (x integer)")
            cursor.execute("SELECT current_setting('server_version'), current_user::text, current_database()::text")
            version, user, database = cursor.fetchone()
        return (
            f"PostgreSQL {version.split()[0]}: user {user} can make tables in database {database}; "
            f"tables: {tables} of {len(COLORS)}"
        )

    def shown_url(self) -> "sa.URL":
        """Return the URL without passwords."""
        import sqlalchemy as sa

        url = self.engine().url
        query = {name: value for name, value in url.query.items() if "password" not in name}
        return sa.URL.create("postgresql", url.username, None, url.host, url.port, url.database, query)

    def engine(self) -> "sa.Engine":
        """Return the SQLAlchemy engine of this database. All calls return the same engine."""
        import sqlalchemy as sa

        if self._engine is None:
            # pool_pre_ping, because the server may have been restarted since a connection was last used.
            url = _parsed(self._url)
            ours = {"fallback_application_name": "taxi_assets", "connect_timeout": _CONNECT_TIMEOUT_S}
            unsaid = {name: value for name, value in ours.items() if name not in url.query}
            self._engine = sa.create_engine(url, pool_pre_ping=True, connect_args=unsaid)
        return self._engine

    @contextmanager
    def _transaction(self, failed: str) -> "Iterator[Cursor]":
        """Yield a cursor in a new transaction, which is rolled back unless the caller commits it.

        Translates database errors to StoreBusy, StoreUnreachable or StoreError; `failed` starts their messages.
        """
        import psycopg2.errors

        connection = self._connect()
        try:
            cursor = connection.cursor()
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{self.wait_s}s"])
            yield cursor
        except psycopg2.errors.LockNotAvailable as error:
            raise StoreBusy(
                f"{failed}: waited {self.wait_s:g} s for a table that another connection has locked. Let that one "
                "finish, or end it, then run this again"
            ) from error
        except psycopg2.Error as error:
            if _broke_off(error, connection):
                raise StoreUnreachable(
                    f"{failed}, the connection to Postgres broke off: {_told(error)}. Nothing was changed: run this "
                    "again"
                ) from error
            raise StoreError(f"{failed}, Postgres refused: {_told(error)}") from error
        finally:
            connection.close()  # returns it to the pool, which rolls back

    def _connect(self) -> "sa.PoolProxiedConnection":
        import psycopg2

        engine = self.engine()
        try:
            return engine.raw_connection()
        except psycopg2.Error as error:
            url, kind = engine.url, StoreUnreachable if _may_be_had_later(error) else StoreError
            raise kind(
                f"no connection to Postgres at host {url.host or url.query.get('host')}, port {url.port or 'default'}, "
                f"as user {url.username} to database {url.database}: {_told(error)}. Check that the server runs there, "
                "and that its URL has the right user, password and database"
            ) from error

    def _until(self, attempt: Callable[[], bool], waiting_for: Callable[[], str]) -> None:
        deadline = time.monotonic() + self.wait_s
        while not attempt():
            if time.monotonic() > deadline:
                raise StoreBusy(
                    f"waited {self.wait_s:g} s for {waiting_for()}. Nothing was changed: let that finish, or end it, "
                    "then run this again"
                )
            time.sleep(_PAUSE_S)


def open_postgres(url: str, folder: Path, port: int | None) -> PostgresStore:
    """Return the store at `url`, or, if that is empty, on the embedded server in `folder`, starting it if necessary."""
    from taxi_assets.stores.embedded_postgres import EmbeddedPostgres

    return PostgresStore(url or EmbeddedPostgres(folder, port).ensure_running())


def _parsed(url: str) -> "sa.URL":
    import sqlalchemy as sa

    with suppress(sa.exc.ArgumentError, ValueError):
        parsed = sa.make_url(url)
        # If the password contains an unescaped @, its end is parsed as part of the host, which messages show.
        if parsed.drivername.startswith("postgres") and "@" not in f"{parsed.host}{parsed.database}":
            return parsed.set(drivername="postgresql+psycopg2")
    raise SettingsError(
        "the URL of the Postgres server can't be read (it is not shown, since there may be a password in it): expected "
        "postgresql://user:password@host:port/database, with %40 for an @ in the password, %2F for a /"
    )


def _told(error: "psycopg2.Error") -> str:
    """Return Postgres's error message and hint on one line, without the SQL statement, and what to do about it.

    The statement is left out because the user did not write it.
    """
    import psycopg2.errors

    primary, hint = error.diag.message_primary, error.diag.message_hint
    said = ". ".join(part for part in (primary, hint) if part) or _said(error)
    said = " ".join(said.split()).rstrip(".?")
    match error:
        case psycopg2.errors.DiskFull():
            return f"{said}. Nothing was changed: make room on the server's disk, then run this again"
        case psycopg2.errors.InsufficientPrivilege():
            return (
                f"{said}. The user must be able to make tables (GRANT CREATE, USAGE ON SCHEMA public TO ...) and own "
                "those of trips that are there: let the database's owner see to that, or use another user"
            )
        case psycopg2.errors.ReadOnlySqlTransaction():
            return f"{said}. Expected a server that can be written to, and no standby"
    return said


_NOT_NOW = re.compile("the database system is |too many c|connection slots are|terminating connection")
_REFUSED = re.compile("password|SSL|certificate|Permission denied")


def _may_be_had_later(error: "psycopg2.Error") -> bool:
    """Whether a later attempt to connect may succeed.

    This is read from the message text, because psycopg2 provides no SQLSTATE for failed connections.
    """
    import psycopg2

    words = str(error)
    if "FATAL:" in words:  # sent by the server
        return bool(_NOT_NOW.search(words))
    return isinstance(error, psycopg2.OperationalError) and not _REFUSED.search(words)


_BREAKS = ("08", "40001", "40P01", "53300", "57P01", "57P02", "57P03")
"""SQLSTATEs (or prefixes) for a connection, transaction or server that was ended for reasons outside the request."""


def _broke_off(error: "psycopg2.Error", connection: "sa.PoolProxiedConnection") -> bool:
    """Whether the work was ended by another session, the server or the network, so that a retry may succeed."""
    if error.pgcode:
        return bool(error.pgcode.startswith(_BREAKS))
    return bool(connection.dbapi_connection and connection.dbapi_connection.closed)


def _said(error: Exception) -> str:
    return str(error).strip() or repr(error)


def _fresh(month: TripMonth) -> str:
    return f"{_partition(month)}_fresh"


def _partition(month: TripMonth) -> str:
    return f"{month.table}_{month.month_id}"


def _columns(month: TripMonth) -> list[str]:
    return [f"{column.name.lower()} {TYPES[column.kind]}" for column in LAYOUTS[month.color].table_columns]


def _lock(cursor: "Cursor", month: TripMonth) -> bool:
    """Try to acquire the advisory lock for loading the month, which is held until the transaction ends."""
    cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [f"taxi_assets {month}"])
    return bool(cursor.fetchone()[0])


def _has_table(cursor: "Cursor", month: TripMonth) -> bool:
    """Whether the color's table exists. Raises StoreError if it differs from what `_create_table` creates."""
    cursor.execute(
        "SELECT pg_get_partkeydef(attrelid), attname || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        [f"public.{month.table}"],
    )
    found = cursor.fetchall()
    keys, columns, expected = {key for key, _ in found}, {column for _, column in found}, set(_columns(month))
    if found and (keys != {_PARTITIONED_BY} or columns != expected):
        missing, unknown = (", ".join(sorted(names)) or "none" for names in (expected - columns, columns - expected))
        raise StoreError(
            f"the table public.{month.table} was made by something else. Partitioned by: {found[0][0] or 'nothing'}, "
            f"expected: {_PARTITIONED_BY}. Columns missing: {missing}. Not expected: {unknown}. It was left as it was: "
            f"rename it (ALTER TABLE public.{month.table} RENAME TO ...) or drop it, then run this again"
        )
    return bool(found)


def _create_table(cursor: "Cursor", month: TripMonth) -> None:
    cursor.execute(f"CREATE TABLE public.{month.table} ({', '.join(_columns(month))}) PARTITION BY {_PARTITIONED_BY}")
    for column in LAYOUTS[month.color].table_columns:
        cursor.execute(f"COMMENT ON COLUMN public.{month.table}.{column.name.lower()} IS %s", [column.meaning])


def _fill(cursor: "Cursor", month: TripMonth, tables: "Iterable[pa.Table]") -> None:
    """Copy the rows into a new table, which only this transaction can see."""
    import psycopg2

    # This constraint allows ATTACH PARTITION to skip the validation scan.
    only = f"CHECK (file_month IS NOT NULL AND file_month = DATE '{month.first_day}')"
    cursor.execute(f"CREATE TABLE public.{_fresh(month)} ({', '.join(_columns(month))}, {only})")
    source = _CopySource(tables, LAYOUTS[month.color].arrow_schema())
    try:
        # Frozen rows are visible to transactions with an older snapshot. They also see either the old month or the new
        # one, never an empty month.
        cursor.copy_expert(f"COPY public.{_fresh(month)} FROM STDIN (FORMAT binary, FREEZE)", source, _MESSAGE_BYTES)
    except psycopg2.Error:
        if source.error is not None:
            raise source.error from None
        raise


class _CopySource:
    """Tables as a file for COPY, in PostgreSQL's binary format.

    `error` is the exception that a read raised; psycopg2 keeps only its text.
    """

    def __init__(self, tables: "Iterable[pa.Table]", schema: "pa.Schema") -> None:
        self.error: BaseException | None = None
        pieces = _encoded(tables, schema)
        self._messages = (p[at : at + _MESSAGE_BYTES] for p in pieces for at in range(0, len(p), _MESSAGE_BYTES))

    def read(self, _size: int) -> bytes:
        try:
            return next(self._messages, b"")
        except BaseException as error:
            self.error = error
            raise


def _encoded(tables: "Iterable[pa.Table]", schema: "pa.Schema") -> Iterator[bytes]:
    from pgpq import ArrowToPostgresBinaryEncoder

    encoder = ArrowToPostgresBinaryEncoder(schema)
    yield encoder.write_header()
    for table in read_ahead(tables):
        for batch in table.select(schema.names).to_batches(_ROWS_A_BATCH):
            yield encoder.write_batch(batch)
    yield encoder.finish()


def _count(cursor: "Cursor", table: str, month: TripMonth) -> int:
    cursor.execute(f"SELECT count(*) FROM public.{table} WHERE file_month = %s", [month.first_day])
    return int(cursor.fetchone()[0])


def _state_rows(cursor: "Cursor", month: TripMonth, rows: int) -> None:
    """Store the month's row count in the comment on its table. psql shows it, and `_total_rows` reads it."""
    cursor.execute(
        f"COMMENT ON TABLE public.{_fresh(month)} IS %s", [f"{rows:,} rows of {month}, loaded by taxi_assets"]
    )


_STATED_ROWS = re.compile(r"([0-9,]+) rows of .*, loaded by taxi_assets")


def _total_rows(cursor: "Cursor", month: TripMonth) -> int:
    """Add up the row counts in the comments on the partitions, and count partitions without such a comment."""
    # This lock prevents partitions from being dropped before they are counted.
    cursor.execute(f"LOCK TABLE ONLY public.{month.table} IN ACCESS SHARE MODE")
    cursor.execute(
        "SELECT inhrelid::regclass::text, obj_description(inhrelid, 'pg_class') FROM pg_inherits "
        "WHERE inhparent = to_regclass(%s)",
        [f"public.{month.table}"],
    )
    stated = {partition: _STATED_ROWS.fullmatch(comment or "") for partition, comment in cursor.fetchall()}
    rows = sum(int(found[1].replace(",", "")) for found in stated.values() if found)
    for partition, found in stated.items():
        if not found:
            cursor.execute(f"SELECT count(*) FROM {partition}")
            rows += int(cursor.fetchone()[0])
    return rows


def _summarize(cursor: "Cursor", month: TripMonth) -> MonthSummary:
    layout = LAYOUTS[month.color]
    selected = select_list(layout, lambda name: f'"{name.lower()}"')
    cursor.execute(f"SELECT {selected} FROM public.{month.table} WHERE file_month = %s", [month.first_day])
    return from_row(layout, cursor.fetchone())


def _unhurried(cursor: "Cursor", month: TripMonth, change: "Callable[[Cursor, TripMonth], None]") -> bool:
    """Change the color's table. Returns False, with the change undone, if readers block it for too long."""
    import psycopg2.errors

    cursor.execute("SAVEPOINT swap")
    try:
        cursor.execute(f"SET LOCAL lock_timeout = '{_SWAP_TIMEOUT}'")
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"taxi_assets {month.table}"])
        change(cursor, month)
    except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected):
        cursor.execute("ROLLBACK TO SAVEPOINT swap")
        return False
    return True


def _swap(cursor: "Cursor", month: TripMonth) -> None:
    """Replace the old partition of the month with the new table."""
    if not _has_table(cursor, month):
        _create_table(cursor, month)
    _drop(cursor, month)
    cursor.execute(f"ALTER TABLE public.{_fresh(month)} RENAME TO {_partition(month)}")
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


def _users(cursor: "Cursor", month: TripMonth) -> str:
    """Return what a swap waits for: the sessions that have locks on the color's table or the month's partition."""
    cursor.execute(
        "SELECT format('process %%s of user %%s (%%s, %%s)', pid, usename, application_name, state) "
        "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND pid IN (SELECT pid FROM pg_locks "
        "WHERE granted AND relation IN (to_regclass(%s), to_regclass(%s)))",
        [f"public.{month.table}", f"public.{_partition(month)}"],
    )
    users = "; ".join(row[0] for row in cursor.fetchall()) or "gone just now"
    return f"those who use the table {month.table} to end their transactions: {users}"
