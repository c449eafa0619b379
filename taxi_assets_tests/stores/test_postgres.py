"""A month in Postgres is replaced whole, whoever else loads, reads or dies."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest
import sqlalchemy as sa

from taxi_assets.errors import BadFile, BadQuery, CountMismatch, SettingsError, StoreBusy, StoreError, StoreUnreachable
from taxi_assets.stores import postgres
from taxi_assets.stores.inventory import StoredItem
from taxi_assets.stores.postgres import PostgresStore
from taxi_assets.tlc.parquet import read_row_groups, summarize_parquet
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.summary import no_rows
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests.tlc.sampled import write_clean

if TYPE_CHECKING:
    import pyarrow as pa

JANUARY = TripMonth("yellow", "2021-01")
FEBRUARY = TripMonth("yellow", "2021-02")
COLUMNS = ", ".join(postgres._columns(JANUARY))

# Loads a month of two tables in another process, which says when it has sent the first, and then waits.
LOAD = """
import sys
from taxi_assets.stores.postgres import PostgresStore
from taxi_assets_tests.stores.test_postgres import JANUARY, month_of

def tables():
    yield month_of(JANUARY, 20_000, mark=9)
    yield month_of(JANUARY, 20_000, mark=9)
    print("sent", flush=True)
    sys.stdin.read()
    yield month_of(JANUARY, 1, mark=9)

PostgresStore(sys.argv[1]).replace_month(JANUARY, tables(), 40_001)
"""


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    """A database that nothing was loaded into."""
    store = PostgresStore(postgres_url, wait_s=20)
    yield store
    store.engine().dispose()


def month_of(month: TripMonth, rows: int, mark: int = 0, **columns: list[Any]) -> "pa.Table":
    """A month whose only values are `mark`, in the first location column, `file_month`, and what is given."""
    import pyarrow as pa

    schema = LAYOUTS[month.color].arrow_schema()
    values = {"file_month": month.first_day, _location(month): mark}
    table = pa.table(
        {name: pa.repeat(pa.scalar(values.get(name), schema.field(name).type), rows) for name in schema.names}
    )
    for name, column in columns.items():
        at = schema.get_field_index(name)
        table = table.set_column(at, schema.field(at), [pa.array(column, schema.field(at).type)])
    return table


def _location(month: TripMonth) -> str:
    return next(name for name in LAYOUTS[month.color].names if name.lower() == "pulocationid")


def _load(store: PostgresStore, month: TripMonth, rows: int, mark: int) -> int:
    return store.replace_month(month, iter([month_of(month, rows, mark)]), rows)


def _marks(store: PostgresStore, month: TripMonth = JANUARY) -> list[tuple[int, int]]:
    """Each mark in the table of the month's color, and the rows that have it."""
    found = store.query(f"SELECT pulocationid, count(*) FROM {month.table} GROUP BY 1 ORDER BY 1")
    return [(mark, rows) for mark, rows in found.rows]


def _relations(store: PostgresStore) -> set[str]:
    return {
        name for (name,) in store.query("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace").rows
    }


def _run(store: PostgresStore, sql: str) -> None:
    with store.engine().begin() as connection:
        connection.exec_driver_sql(sql)


@contextmanager
def _open_transaction(store: PostgresStore, sql: str, isolation: Any = "READ COMMITTED") -> Iterator[sa.Connection]:
    """A connection that did `sql` and then does nothing."""
    with store.engine().connect().execution_options(isolation_level=isolation) as connection, connection.begin():
        connection.exec_driver_sql(sql)
        yield connection


@pytest.mark.parametrize("color", COLORS)
def test_load(color: str, store: PostgresStore) -> None:
    """A month of any color becomes the partition of its month, and only it; a second load does not double it."""
    month, other = TripMonth(color, "2021-01"), TripMonth(color, "2021-02")
    assert store.count(month) == 0
    assert _load(store, month, 3, mark=1) == 3
    assert store.count(other) == 0
    assert _load(store, other, 4, mark=2) == 4
    assert _load(store, month, 5, mark=3) == 5
    assert _marks(store, month) == [(2, 4), (3, 5)]
    assert (store.count(month), store.count(other)) == (5, 4)
    assert _relations(store) == {month.table, f"{month.table}_202101", f"{month.table}_202102"}


def test_values(store: PostgresStore) -> None:
    """Every value arrives as it is: nulls, fractions of a second, the nearest double, odd text, huge numbers."""
    values: dict[str, list[Any]] = {
        "tpep_pickup_datetime": [datetime(2008, 12, 31, 23, 59, 59, 999999), None, datetime(2041, 8, 17)],  # noqa: DTZ001
        "trip_distance": [0.1 + 0.2, 5e-324, None],
        "fare_amount": [-205654.07, 1.7976931348623157e308, -0.0],
        "passenger_count": [None, 0, 2**63 - 1],
        "store_and_fwd_flag": ["Y", "", 'a\t"b",\\N\n\u20ac'],
    }
    store.replace_month(JANUARY, [month_of(JANUARY, 3, mark=0, **values)], 3)
    found = store.query(f"SELECT {', '.join(values)}, file_month, vendorid FROM yellow_taxi_trips")
    expected = zip(*values.values(), [date(2021, 1, 1)] * 3, [None] * 3, strict=True)
    assert [tuple(map(repr, row)) for row in found.rows] == [tuple(map(repr, row)) for row in expected]
    assert found.columns[0] == "tpep_pickup_datetime"


@pytest.mark.parametrize("color", COLORS)
def test_columns(color: str, store: PostgresStore) -> None:
    """The table has the layout's columns in its order, in lower case, each with its meaning."""
    layout, month = LAYOUTS[color], TripMonth(color, "2021-01")
    _load(store, month, 1, mark=1)
    found = store.query(
        "SELECT attname, col_description(attrelid, attnum) FROM pg_attribute "
        f"WHERE attrelid = '{month.table}'::regclass AND attnum > 0 ORDER BY attnum"
    )
    assert list(found.rows) == [(column.name.lower(), column.meaning) for column in layout.table_columns]


@pytest.mark.parametrize("color", COLORS)
def test_summary(color: str, store: PostgresStore, tmp_path: Path) -> None:
    """The figures of a month are those of its raw file, by canonical column names; other months do not count."""
    for month, seed in ((TripMonth(color, "2021-01"), 1), (TripMonth(color, "2021-02"), 2)):
        clean, rows = tmp_path / f"{seed}.parquet", 2_000 + seed
        expected = write_clean(month, rows, clean, tmp_path, seed)
        store.replace_month(month, read_row_groups(clean), rows)
        assert store.summarize(month).differences(expected) == {}
        assert store.summarize(month).differences(summarize_parquet(clean, LAYOUTS[color])) == {}


def test_summary_of_no_rows(store: PostgresStore) -> None:
    """A month without rows has the same summary before the table exists, in the table, and loaded without rows."""
    assert store.summarize(JANUARY) == no_rows(LAYOUTS["yellow"])
    _load(store, FEBRUARY, 3, mark=1)
    assert store.summarize(JANUARY) == no_rows(LAYOUTS["yellow"])
    _load(store, JANUARY, 0, mark=1)
    assert store.summarize(JANUARY) == no_rows(LAYOUTS["yellow"])


def _comment(store: PostgresStore, month: TripMonth) -> str | None:
    """The comment on the partition of a month."""
    ((comment,),) = store.query(f"SELECT obj_description('{month.table}_{month.month_id}'::regclass, 'pg_class')").rows
    return None if comment is None else str(comment)


def test_total_rows(store: PostgresStore) -> None:
    """The rows of a table are those of all its months, and follow loads and removals; other colors do not count."""
    assert store.total_rows(JANUARY) == 0
    _load(store, JANUARY, 5, mark=1)
    _load(store, FEBRUARY, 12_345, mark=2)
    _load(store, JANUARY, 6, mark=3)
    _load(store, TripMonth("fhv", "2021-01"), 3, mark=4)
    assert store.total_rows(JANUARY) == store.total_rows(FEBRUARY) == 12_351
    store.remove(FEBRUARY)
    assert store.total_rows(FEBRUARY) == 6


def test_comment_states_the_rows(store: PostgresStore) -> None:
    """A partition's comment states the rows of its last load; a load that fails leaves it as it was."""
    _load(store, JANUARY, 5, mark=1)
    _load(store, JANUARY, 12_345, mark=2)
    assert _comment(store, JANUARY) == "12,345 rows of yellow 2021-01, loaded by taxi_assets"
    with pytest.raises(CountMismatch):
        store.replace_month(JANUARY, [month_of(JANUARY, 4)], 5)
    assert _comment(store, JANUARY) == "12,345 rows of yellow 2021-01, loaded by taxi_assets"


def test_total_rows_are_not_scanned(store: PostgresStore) -> None:
    """Partitions with a comment of this project are not read: rows that someone else deletes are still in the sum."""
    _load(store, JANUARY, 12_345, mark=1)
    _run(store, "DELETE FROM yellow_taxi_trips")
    assert (store.count(JANUARY), store.total_rows(JANUARY)) == (0, 12_345)


@pytest.mark.parametrize("comment", ["NULL", "'seen by Ann'", "'7 rows of something'"])
def test_total_rows_of_an_earlier_release(comment: str, store: PostgresStore) -> None:
    """Partitions without such a comment, or with another one, are counted."""
    for month, rows in ((JANUARY, 5), (FEBRUARY, 4), (TripMonth("yellow", "2021-03"), 3)):
        _load(store, month, rows, mark=1)
    for month in (JANUARY, FEBRUARY):
        _run(store, f"COMMENT ON TABLE {month.table}_{month.month_id} IS {comment}")
    _run(store, "DELETE FROM yellow_taxi_trips WHERE file_month < DATE '2021-03-01' AND ctid = '(0,1)'")
    assert store.total_rows(JANUARY) == 4 + 3 + 3


def test_total_rows_while_a_month_is_removed(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition that is about to be counted cannot be removed until the rows are counted."""
    for month, rows in ((JANUARY, 5), (FEBRUARY, 4)):
        _load(store, month, rows, mark=1)
    _run(store, "COMMENT ON TABLE yellow_taxi_trips_202102 IS NULL")
    monkeypatch.setattr(postgres, "_SWAP_TIMEOUT", "100ms")
    impatient = PostgresStore(store._url, wait_s=0.2)
    refused = []

    class Removing:
        """Reads comments as the store does, while another connection tries to remove a month."""

        def fullmatch(self, comment: str) -> re.Match[str] | None:
            with pytest.raises(StoreBusy) as raised:
                impatient.remove(FEBRUARY)
            refused.append(raised)
            return stated_rows.fullmatch(comment)

    stated_rows = postgres._STATED_ROWS
    monkeypatch.setattr(postgres, "_STATED_ROWS", Removing())
    assert store.total_rows(JANUARY) == 9
    assert len(refused) == 2
    assert len(impatient.remove(FEBRUARY)) == 1
    impatient.engine().dispose()


@pytest.mark.parametrize(("url", "database"), [("postgresql://ann@db/ny", "ny"), ("postgresql://ann@db", "ann")])
def test_table(url: str, database: str) -> None:
    """The name of a table begins with the database, which is the user's own where the URL names none."""
    assert PostgresStore(url).table(JANUARY) == f"{database}.public.yellow_taxi_trips"


def test_columns_go_by_name(store: PostgresStore) -> None:
    """Columns in another order arrive under their names; one that is missing is an error."""
    table = month_of(JANUARY, 2, mark=6, VendorID=[1, 2])
    store.replace_month(JANUARY, [table.select(table.column_names[::-1])], 2)
    assert list(store.query("SELECT vendorid, pulocationid FROM yellow_taxi_trips").rows) == [(1, 6), (2, 6)]
    with pytest.raises(KeyError, match="extra"):
        store.replace_month(JANUARY, [table.drop_columns("extra")], 2)
    assert _marks(store) == [(6, 2)]


def test_many_tables(store: PostgresStore) -> None:
    """A month may come in any number of tables, of any size, none among them."""
    tables = [month_of(JANUARY, rows, mark=1) for rows in (20_000, 0, 1)]
    assert store.replace_month(JANUARY, iter(tables), 20_001) == 20_001
    assert store.replace_month(JANUARY, iter([]), 0) == 0
    assert store.count(JANUARY) == 0


def test_failing_tables(store: PostgresStore) -> None:
    """A load whose tables end in an error gives that error, keeps the old month and leaves nothing else."""

    def tables() -> "Iterator[pa.Table]":
        yield month_of(JANUARY, 20_000, mark=2)
        raise BadFile("cut short")

    with pytest.raises(BadFile, match="cut short"):
        store.replace_month(FEBRUARY, tables(), 20_000)
    assert _relations(store) == set()
    _load(store, JANUARY, 3, mark=1)
    before = _relations(store)
    with pytest.raises(BadFile, match="cut short"):
        store.replace_month(JANUARY, tables(), 20_000)
    assert _marks(store) == [(1, 3)]
    assert _relations(store) == before


@pytest.mark.parametrize("rows", [3, 5])
def test_other_count(rows: int, store: PostgresStore) -> None:
    """Where another number of rows arrives than was announced, the old month stays."""
    _load(store, JANUARY, 2, mark=1)
    with pytest.raises(CountMismatch, match=f"yellow 2021-01: 4 rows arrived in Postgres, expected {rows}"):
        store.replace_month(JANUARY, [month_of(JANUARY, 4, mark=2)], rows)
    assert _marks(store) == [(1, 2)]


@pytest.mark.parametrize("stray", [date(2021, 2, 1), None])
def test_rows_of_another_month(stray: date | None, store: PostgresStore) -> None:
    """Rows of another month, or of none, are refused with PostgreSQL's reason."""
    _load(store, JANUARY, 2, mark=1)
    with pytest.raises(StoreError, match=r"(?s)yellow 2021-01 was not loaded.*violates check constraint"):
        store.replace_month(JANUARY, [month_of(JANUARY, 1, file_month=[stray])], 1)
    assert _marks(store) == [(1, 2)]


def test_two_load_the_same_month(store: PostgresStore) -> None:
    """Loads of one month at once, the table's first among them, leave one copy of it."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda mark: _load(store, JANUARY, 1000, mark), range(8)))
    ((_, rows),) = _marks(store)
    assert rows == 1000


def test_two_months_make_a_table(store: PostgresStore) -> None:
    """Months that are loaded at once into a table that is not there yet all arrive."""
    months = [TripMonth("green", f"2020-{number:02d}") for number in range(1, 9)]
    with ThreadPoolExecutor(len(months)) as pool:
        list(pool.map(lambda month: _load(store, month, 100, mark=1), months))
    assert [store.count(month) for month in months] == [100] * 8


def test_while_a_month_loads(store: PostgresStore) -> None:
    """In the middle of a load others read and load other months; who loads the same waits as long as he was told."""
    _load(store, JANUARY, 1, mark=1)
    impatient = PostgresStore(store._url, wait_s=0.3)
    with _loading(store):
        assert _load(impatient, FEBRUARY, 2, mark=2) == 2
        assert _marks(impatient) == [(1, 1), (2, 2)]
        with pytest.raises(StoreBusy, match=r"waited 0\.3 s for another load of yellow 2021-01"):
            _load(impatient, JANUARY, 1, mark=1)
    impatient.engine().dispose()


@contextmanager
def _loading(store: PostgresStore) -> Iterator[subprocess.Popen[str]]:
    """Another process in the middle of a load of January."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", LOAD, store._url], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "sent\n"
        try:
            yield process
        finally:
            process.kill()


def test_killed(store: PostgresStore) -> None:
    """A load that is killed in its middle leaves the old month, no litter, and no lock."""
    _load(store, JANUARY, 3, mark=1)
    before = _relations(store)
    with _loading(store) as process:
        process.kill()
        process.wait()
    assert _marks(store) == [(1, 3)]
    assert _load(store, JANUARY, 4, mark=2) == 4
    assert _marks(store) == [(2, 4)]
    assert _relations(store) == before


def test_reader_sees_one_month(store: PostgresStore) -> None:
    """While months are swapped, every reader sees the whole old month or the whole new one."""
    _load(store, JANUARY, 1000, mark=0)
    seen: list[list[tuple[int, int]]] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.append(_marks(store))

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for mark in range(1, 100):
            _load(store, JANUARY, 1000, mark)
            if len({tuple(marks) for marks in seen}) > 5:
                break
        stop.set()
        for reader in readers:
            reader.result()
    assert {len(marks) for marks in seen} == {1}
    assert {rows for ((_, rows),) in seen} == {1000}
    assert len({mark for ((mark, _),) in seen}) > 5


def test_reader_with_an_old_view(store: PostgresStore) -> None:
    """A transaction that began before a swap and looks after it sees the month, not an empty one."""
    _load(store, JANUARY, 3, mark=1)
    with _open_transaction(store, "SELECT 1", isolation="REPEATABLE READ") as reader:
        _load(store, JANUARY, 4, mark=2)
        assert reader.exec_driver_sql("SELECT count(*) FROM yellow_taxi_trips").scalar() == 4


def test_idle_reader(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader who does not end his transaction holds up the swap alone: others read, and he is named in the end."""
    monkeypatch.setattr(postgres, "_SWAP_TIMEOUT", "100ms")
    _load(store, JANUARY, 3, mark=1)
    impatient = PostgresStore(store._url, wait_s=1)
    with _open_transaction(store, "SELECT count(*) FROM yellow_taxi_trips") as reader, ThreadPoolExecutor() as pool:
        pid = reader.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        load = pool.submit(_load, impatient, JANUARY, 4, 2)
        time.sleep(0.3)
        started = time.perf_counter()
        assert _marks(store) == [(1, 3)]
        assert time.perf_counter() - started < 5
        with pytest.raises(StoreBusy, match=rf"(?s)waited 1 s .* yellow_taxi_trips .*process {pid} of user taxi"):
            load.result()
    assert _marks(store) == [(1, 3)]
    impatient.engine().dispose()


def test_reader_who_ends(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A swap that readers held up goes on when they have ended."""
    monkeypatch.setattr(postgres, "_SWAP_TIMEOUT", "50ms")
    _load(store, JANUARY, 3, mark=1)
    with ThreadPoolExecutor() as pool:
        with _open_transaction(store, "SELECT count(*) FROM yellow_taxi_trips"):
            load = pool.submit(_load, store, JANUARY, 4, 2)
            time.sleep(0.3)
            assert not load.done()
        assert load.result() == 4
    assert _marks(store) == [(2, 4)]


def test_reader_who_would_deadlock(store: PostgresStore) -> None:
    """A swap gives way to a reader who holds the month and asks for the table."""
    _load(store, JANUARY, 3, mark=1)
    with ThreadPoolExecutor() as pool:
        with _open_transaction(store, "SELECT count(*) FROM yellow_taxi_trips_202101") as reader:
            load = pool.submit(_load, store, JANUARY, 4, 2)
            time.sleep(0.3)
            assert reader.exec_driver_sql("SELECT count(*) FROM yellow_taxi_trips").scalar() == 3
        assert load.result() == 4


def test_reader_of_another_month(store: PostgresStore) -> None:
    """The first load of a month waits for no reader."""
    _load(store, JANUARY, 3, mark=1)
    with _open_transaction(store, "SELECT count(*) FROM yellow_taxi_trips"):
        assert _load(PostgresStore(store._url, wait_s=1), FEBRUARY, 4, mark=2) == 4


def test_locked_table(store: PostgresStore) -> None:
    """Who needs a table that is locked waits as long as he was told."""
    _load(store, JANUARY, 3, mark=1)
    hasty = PostgresStore(store._url, wait_s=0.1)
    uses = (
        lambda: hasty.count(JANUARY),
        lambda: hasty.query("TABLE yellow_taxi_trips"),
        lambda: _load(hasty, JANUARY, 1, 1),
    )
    with _open_transaction(store, "LOCK TABLE yellow_taxi_trips"):
        for use in uses:
            with pytest.raises(StoreBusy, match=r"waited 0\.1 s for a table that another connection has locked"):
                use()
    hasty.engine().dispose()


@pytest.mark.parametrize(
    ("made", "seen"),
    [
        ('"VendorID" bigint, extra float)', r"Partitioned by: nothing.*missing: .*vendorid bigint.*expected: VendorID"),
        ("vendorid text, file_month date) PARTITION BY LIST (file_month)", r"Not expected: vendorid text"),
        (f"{COLUMNS})", r"Partitioned by: nothing, expected: LIST \(file_month\)\. Columns missing: none"),
        (f"{COLUMNS}) PARTITION BY RANGE (file_month)", r"Partitioned by: RANGE \(file_month\)"),
    ],
)
def test_table_of_another_maker(made: str, seen: str, store: PostgresStore) -> None:
    """A table of that name with other columns or partitions is refused, described, and left as it is."""
    _run(store, f"CREATE TABLE yellow_taxi_trips ({made}")
    with pytest.raises(StoreError, match=rf"(?s)made by something else.*{seen}.*rename it"):
        _load(store, JANUARY, 3, mark=1)
    with pytest.raises(StoreError, match="made by something else"):
        store.count(JANUARY)
    assert _relations(store) == {"yellow_taxi_trips"}


def test_partition_of_another_maker(store: PostgresStore) -> None:
    """A table that has the partition's name, and is none, is refused and left as it is."""
    _run(store, "CREATE TABLE yellow_taxi_trips_202101 AS SELECT 1 AS precious")
    with pytest.raises(StoreError, match='relation "yellow_taxi_trips_202101" already exists'):
        _load(store, JANUARY, 3, mark=1)
    assert _relations(store) == {"yellow_taxi_trips_202101"}


def test_query(store: PostgresStore) -> None:
    """A question is answered with names and values; one that is wrong, in PostgreSQL's words; none changes anything."""
    answer = store.query("SELECT 1 AS one, 'a%b' AS \"Two\"")
    assert (answer.columns, answer.rows) == (["one", "Two"], [(1, "a%b")])
    assert store.query("SET work_mem = '8MB'").columns == []
    with pytest.raises(BadQuery, match=r'(?s)relation "nothing" does not exist.*LINE 1: SELECT \* FROM nothing'):
        store.query("SELECT * FROM nothing")
    with pytest.raises(BadQuery, match="division by zero"):
        store.query("SELECT 1 / 0")
    with pytest.raises(BadQuery, match="cannot execute CREATE TABLE in a read-only transaction"):
        store.query("CREATE TABLE t (x int)")


def test_engine(store: PostgresStore) -> None:
    """The engine is one, and survives that the server ended its connections."""
    engine = store.engine()
    assert store.engine() is engine
    with engine.connect() as connection:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    other = PostgresStore(store._url)
    _run(other, f"SELECT pg_terminate_backend({pid})")
    assert store.query("SELECT 1").rows == [(1,)]
    other.engine().dispose()


def test_lost_connection(store: PostgresStore) -> None:
    """A load whose connection is cut may be done again, and leaves the old month."""
    _load(store, JANUARY, 3, mark=1)
    other = PostgresStore(store._url)

    def tables() -> "Iterator[pa.Table]":
        yield month_of(JANUARY, 20_000, mark=2)
        _run(
            other,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE query LIKE 'COPY %%' AND application_name = 'taxi_assets' AND pid <> pg_backend_pid()",
        )
        yield month_of(JANUARY, 20_000, mark=2)

    with pytest.raises(StoreUnreachable, match="yellow 2021-01 was not loaded, the connection to Postgres broke off"):
        store.replace_month(JANUARY, tables(), 40_000)
    assert _marks(other) == [(1, 3)]
    other.engine().dispose()


def test_killed_server_process(store: PostgresStore) -> None:
    """So may one whose process at the server was killed, and whatever comes while the server recovers from that."""
    with pytest.raises(StoreUnreachable, match=r"broke off: .*closed the connection unexpectedly"):
        store.replace_month(JANUARY, _killing(store), 40_000)
    deadline = time.monotonic() + 20
    while True:
        try:
            assert store.count(JANUARY) == 0
        except StoreUnreachable:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            break


def _killing(store: PostgresStore) -> "Iterator[pa.Table]":
    """Tables, between which the process that takes them is killed."""
    other = PostgresStore(store._url)
    yield month_of(JANUARY, 20_000)
    [(pid,)] = other.query("SELECT pid FROM pg_stat_activity WHERE query LIKE 'COPY %'").rows
    other.engine().dispose()
    os.kill(pid, signal.SIGKILL)
    yield month_of(JANUARY, 20_000)


def test_too_many_connections(store: PostgresStore) -> None:
    """A connection that is refused since there are too many may be had later."""
    admin = PostgresStore(_url(store, username="postgres"))
    _run(admin, "ALTER ROLE taxi CONNECTION LIMIT 0")
    try:
        with pytest.raises(StoreUnreachable, match='too many connections for role "taxi"'):
            store.query("SELECT 1")
    finally:
        _run(admin, "ALTER ROLE taxi CONNECTION LIMIT -1")
        admin.engine().dispose()


@pytest.mark.parametrize(
    ("said", "later"),
    [
        ('connection to server at "db" (10.0.0.2), port 5432 failed: FATAL:  the database system is starting up', True),
        ('could not translate host name "db" to address: Temporary failure in name resolution', True),
        ('connection to server on socket "/x/.s.PGSQL.5432" failed: No such file or directory', True),
        ('connection to server at "db", port 5432 failed: FATAL:  no pg_hba.conf entry for host "10.0.0.2"', False),
        ('connection to server at "db", port 5432 failed: fe_sendauth: no password supplied', False),
        ('connection to server at "db", port 5432 failed: server does not support SSL, but SSL was required', False),
    ],
)
def test_connection_that_may_be_had_later(said: str, later: bool) -> None:  # noqa: FBT001
    """What a connection failed at tells whether another try may have it: the words are all that there is."""
    assert postgres._may_be_had_later(psycopg2.OperationalError(said)) is later


def test_no_server_shows_no_password() -> None:
    """Where no server listens, the error says where, for whom, and what to do, but not the password."""
    store = PostgresStore("postgresql://ann:s3cr3t@127.0.0.1:1/trips")
    for use in (lambda: store.query("SELECT 1"), lambda: store.count(JANUARY), lambda: _load(store, JANUARY, 1, 1)):
        with pytest.raises(
            StoreUnreachable, match=r"host 127\.0\.0\.1, port 1, as user ann to database trips.*refused"
        ) as error:
            use()
        assert "s3cr3t" not in _all_texts(error.value)


def test_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes a connection and says nothing is given up after a while, that of the URL if it has one."""
    monkeypatch.setattr(postgres, "_CONNECT_TIMEOUT_S", 2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        started = time.monotonic()
        with pytest.raises(StoreUnreachable, match=rf"port {port}.*timeout expired"):
            PostgresStore(f"postgresql://ann@127.0.0.1:{port}/trips").probe()
        assert time.monotonic() - started < 4
    own = PostgresStore("postgresql://ann@127.0.0.1:1/trips?connect_timeout=7").engine()
    assert own.dialect.create_connect_args(own.url)[1]["connect_timeout"] == "7"


def test_no_database(store: PostgresStore) -> None:
    """Where the server has no such database, the error names it."""
    nowhere = PostgresStore(_url(store, database="nowhere"))
    with pytest.raises(StoreError, match=r'database "nowhere" does not exist\. Check that .* database') as error:
        nowhere.probe()
    assert error.type is StoreError, "another try would not have it either"


def test_no_right_to_make_tables(store: PostgresStore) -> None:
    """A user who may make no tables is told what is to be granted, by a load as by a probe."""
    admin = PostgresStore(_url(store, username="postgres"))
    _run(admin, "CREATE ROLE guest LOGIN")
    try:
        guest = PostgresStore(_url(store, username="guest"))
        for use in (guest.probe, lambda: _load(guest, JANUARY, 1, 1)):
            with pytest.raises(StoreError, match=r"permission denied for schema public.*GRANT CREATE, USAGE") as error:
                use()
            assert error.type is StoreError
        guest.engine().dispose()
    finally:
        _run(admin, "DROP ROLE guest")
        admin.engine().dispose()


def test_probe(store: PostgresStore) -> None:
    """A probe tells the server's version, the user, the database and its tables, and leaves nothing."""
    assert re.match(r"PostgreSQL \d+\.\d+: user taxi .*database ny_taxi; tables: 0 of 3", store.probe())
    _load(store, JANUARY, 3, mark=1)
    assert "tables: 1 of 3" in store.probe()
    assert _relations(store) == {JANUARY.table, f"{JANUARY.table}_202101"}


def test_probe_finds_a_foreign_table(store: PostgresStore) -> None:
    """A table of a color's name that something else made, the course's script perhaps, is found before a load fails."""
    _run(store, "CREATE TABLE green_taxi_trips (index bigint)")
    with pytest.raises(StoreError, match=r"public\.green_taxi_trips was made by something else"):
        store.probe()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:s3cr3t@host:5433/trips",
        "postgresql://ann@host:5433/trips?password=s3cr3t&sslmode=require&sslpassword=s3cr3t",
    ],
)
def test_shown_url(url: str) -> None:
    """The URL to show has all that psql needs, and no password, wherever it was."""
    shown = PostgresStore(url).shown_url().render_as_string(hide_password=False)
    assert shown.startswith("postgresql://ann@host:5433/trips")
    assert "s3cr3t" not in shown
    assert ("sslmode" in shown) == ("sslmode" in url)


def test_wrong_password_is_not_shown(store: PostgresStore) -> None:
    """A password may have any characters; where it is wrong, the error names the user and not the password."""
    folder = Path(str(store.engine().url.query["host"]))
    rules = (folder / "pg_hba.conf").read_text()
    admin = PostgresStore(_url(store, username="postgres"))
    try:
        (folder / "pg_hba.conf").write_text(f"local all ann scram-sha-256\n{rules}")
        _run(admin, "CREATE ROLE ann LOGIN PASSWORD 'p@s/s:w%%r d?'; SELECT pg_reload_conf()")
        ann = PostgresStore(_url(store, username="ann", password="p@s/s:w%r d?"))  # noqa: S106
        assert ann.query("SELECT current_user::text").rows == [("ann",)]
        ann.engine().dispose()
        wrong = PostgresStore(_url(store, username="ann", password="s3cr3t"))  # noqa: S106
        with pytest.raises(StoreError, match=r'as user ann .*password authentication failed for user "ann"') as error:
            wrong.query("SELECT 1")
        assert error.type is StoreError
        assert "s3cr3t" not in _all_texts(error.value)
    finally:
        (folder / "pg_hba.conf").write_text(rules)
        _run(admin, "DROP ROLE ann; SELECT pg_reload_conf()")
        admin.engine().dispose()


def _url(store: PostgresStore, **parts: str) -> str:
    return store.engine().url.set(**parts).render_as_string(hide_password=False)  # type: ignore[arg-type]


def test_unknown_database(store: PostgresStore) -> None:
    """A database that is not there is named."""
    with pytest.raises(StoreError, match=r'(?s)database "nowhere" does not exist.*right user, password and database'):
        PostgresStore(_url(store, database="nowhere")).query("SELECT 1")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:s3cr3t@host:s3cr3t/trips",
        "postgresql://ann:pass@s3cr3t@host/trips",
        "postgresql://ann:pass@ho/s3cr3t@host/trips",
        "mysql://ann:s3cr3t@host/trips",
        "s3cr3t",
    ],
)
def test_bad_url_shows_no_password(url: str) -> None:
    """A URL that can't be read is an error that shows none of it."""
    with pytest.raises(SettingsError, match="expected postgresql://user:password@host:port/database") as error:
        PostgresStore(url).query("SELECT 1")
    assert "s3cr3t" not in _all_texts(error.value)


def _all_texts(error: BaseException | None) -> str:
    """What an error and those that led to it say."""
    return f"{error!r} {error} {_all_texts(error.__cause__ or error.__context__)}" if error else ""


def test_remove(store: PostgresStore) -> None:
    """A month's partition goes, and is told; another month's stays, and the month can be loaded again."""
    assert (store.held(JANUARY), store.remove(JANUARY)) == ([], [])
    _load(store, JANUARY, 3, mark=1)
    _load(store, FEBRUARY, 4, mark=2)
    held = store.held(JANUARY)
    assert held == [StoredItem("public.yellow_taxi_trips_202101", rows=3)]
    assert store.remove(JANUARY) == held
    assert _relations(store) == {"yellow_taxi_trips", "yellow_taxi_trips_202102"}
    assert (store.remove(JANUARY), store.held(JANUARY)) == ([], [])
    assert _marks(store) == [(2, 4)]
    assert _load(store, JANUARY, 5, mark=3) == 5


def test_remove_while_the_month_loads(store: PostgresStore) -> None:
    """Who removes a month that is being loaded waits as long as he was told, and leaves it as it was."""
    _load(store, JANUARY, 1, mark=1)
    impatient = PostgresStore(store._url, wait_s=0.3)
    with _loading(store), pytest.raises(StoreBusy, match=r"waited 0\.3 s for a load of yellow 2021-01"):
        impatient.remove(JANUARY)
    assert _marks(store) == [(1, 1)]
    impatient.engine().dispose()


def test_remove_what_somebody_reads(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A removal waits for a reader's transaction to end; others read meanwhile."""
    monkeypatch.setattr(postgres, "_SWAP_TIMEOUT", "50ms")
    _load(store, JANUARY, 3, mark=1)
    with ThreadPoolExecutor() as pool:
        with _open_transaction(store, "SELECT count(*) FROM yellow_taxi_trips"):
            removal = pool.submit(store.remove, JANUARY)
            time.sleep(0.3)
            assert not removal.done()
            assert _marks(store) == [(1, 3)]
        assert [holding.rows for holding in removal.result()] == [3]
    assert _marks(store) == []


def test_remove_and_load_at_once(store: PostgresStore) -> None:
    """Months of one table that are removed and loaded at once do not wait for each other for ever."""
    months = [TripMonth("green", f"2020-{number:02d}") for number in range(1, 7)]
    for month in months:
        _load(store, month, 100, mark=1)
    with ThreadPoolExecutor(len(months)) as pool:
        loads = [pool.submit(_load, store, month, 200, 2) for month in months[:2]]
        removals = [pool.submit(store.remove, month) for month in months[2:]]
        assert [load.result() for load in loads] == [200, 200]
        assert [removal.result()[0].rows for removal in removals] == [100] * 4
    assert [store.count(month) for month in months] == [200, 200, 0, 0, 0, 0]


def test_remove_from_a_foreign_table(store: PostgresStore) -> None:
    """A table that this project did not make stays as it is."""
    _run(store, "CREATE TABLE yellow_taxi_trips AS SELECT DATE '2021-01-01' AS file_month")
    with pytest.raises(StoreError, match="was made by something else"):
        store.remove(JANUARY)
    assert _relations(store) == {"yellow_taxi_trips"}
