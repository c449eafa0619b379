"""The PostgreSQL store: atomic loads and deletions of months, concurrent access, queries, and errors."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg2
import pytest
import sqlalchemy as sa

from taxi_assets.errors import (
    TRANSIENT,
    BadFile,
    BadQuery,
    IncompatibleTable,
    InputChanged,
    InvalidPostgresUrl,
    NothingLoaded,
    PostgresConnectionLost,
    PostgresError,
    PostgresHostNotFound,
    PostgresLoginFailed,
    PostgresPrivilege,
    PostgresUnreachable,
    StoreBusy,
    StoreError,
    StoreUnreachable,
    TableLocked,
    UnknownTable,
)
from taxi_assets.stores.inventory import StoredItem
from taxi_assets.stores.postgres.store import TYPES, PostgresStore, is_transient_failure, target
from taxi_assets.tlc.parquet import read_row_groups, summarize_parquet
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.summary import no_rows
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests.first_release import definition
from taxi_assets_tests.machine import closed
from taxi_assets_tests.tlc.sampled import write_clean

if TYPE_CHECKING:
    import pyarrow as pa

JANUARY = TripMonth("yellow", "2021-01")
FEBRUARY = TripMonth("yellow", "2021-02")
FIRST_COLUMNS = definition("yellow").lower().split(", ")
COLUMNS = [f"{column.name.lower()} {TYPES[column.kind]}" for column in LAYOUTS["yellow"].table_columns]

# Loads a month in another process, which prints a line after the first table, and then waits.
LOAD = """
import sys
from taxi_assets.stores.postgres.store import PostgresStore
from taxi_assets_tests.stores.postgres.test_store import JANUARY, month_of

def tables():
    yield month_of(JANUARY, 20_000, mark=9)
    yield month_of(JANUARY, 20_000, mark=9)
    print("sent", flush=True)
    sys.stdin.read()
    yield month_of(JANUARY, 1, mark=9)

PostgresStore(sys.argv[1]).replace_month(JANUARY, tables(), 40_001)
"""


@pytest.fixture
def store(postgres_url: str) -> PostgresStore:
    """A store in an empty database."""
    return PostgresStore(postgres_url, wait_s=20)


def month_of(month: TripMonth, rows: int, mark: int = 0, **columns: list[Any]) -> "pa.Table":
    """A month with `mark` in the first location column, `file_month`, the given columns, and nulls elsewhere."""
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
    """Each mark in the table of the month's color, with its number of rows."""
    result = store.query(f"SELECT pulocationid, count(*) FROM {month.table} GROUP BY 1 ORDER BY 1")
    return [(mark, rows) for mark, rows in result.rows]


def _relations(store: PostgresStore) -> set[str]:
    return {
        name for (name,) in store.query("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace").rows
    }


def _url(store: PostgresStore, **parts: str) -> str:
    """The URL of the store's database, with some parts replaced."""
    return store.engine().url.set(**parts).render_as_string(hide_password=False)  # type: ignore[arg-type]


def _another(store: PostgresStore, wait_s: float = 600, **parts: str) -> PostgresStore:
    """Another store at the same URL, with some parts replaced."""
    return PostgresStore(_url(store, **parts), wait_s, change_wait_s=0.1)


def _run(store: PostgresStore, sql: str) -> None:
    with store.engine().begin() as connection:
        connection.exec_driver_sql(sql)


@contextmanager
def _open_transaction(store: PostgresStore, sql: str, isolation: Any = "READ COMMITTED") -> Iterator[sa.Connection]:
    """A connection with an open transaction that has run `sql`."""
    with store.engine().connect().execution_options(isolation_level=isolation) as connection, connection.begin():
        connection.exec_driver_sql(sql)
        yield connection


@pytest.mark.parametrize("color", COLORS)
def test_load(color: str, store: PostgresStore) -> None:
    """A load replaces the partition of its month, and changes no other partition."""
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
    """Values do not change: nulls, fractions of a second, doubles, special characters, large numbers."""
    values: dict[str, list[Any]] = {
        "tpep_pickup_datetime": [datetime(2008, 12, 31, 23, 59, 59, 999999), None, datetime(2041, 8, 17)],  # noqa: DTZ001
        "trip_distance": [0.1 + 0.2, 5e-324, None],
        "fare_amount": [-205654.07, 1.7976931348623157e308, -0.0],
        "passenger_count": [None, 0, 2**63 - 1],
        "store_and_fwd_flag": ["Y", "", 'a\t"b",\\N\n\u20ac'],
    }
    store.replace_month(JANUARY, [month_of(JANUARY, 3, mark=0, **values)], 3)
    result = store.query(f"SELECT {', '.join(values)}, file_month, vendorid FROM yellow_taxi_trips")
    expected = zip(*values.values(), [date(2021, 1, 1)] * 3, [None] * 3, strict=True)
    assert [tuple(map(repr, row)) for row in result.rows] == [tuple(map(repr, row)) for row in expected]
    assert result.columns[0] == "tpep_pickup_datetime"


@pytest.mark.parametrize("color", COLORS)
def test_columns(color: str, store: PostgresStore) -> None:
    """The table has the columns of the layout, in the same order, in lower case, with their meanings as comments."""
    layout, month = LAYOUTS[color], TripMonth(color, "2021-01")
    _load(store, month, 1, mark=1)
    result = store.query(
        "SELECT attname, col_description(attrelid, attnum) FROM pg_attribute "
        f"WHERE attrelid = '{month.table}'::regclass AND attnum > 0 ORDER BY attnum"
    )
    assert list(result.rows) == [(column.name.lower(), column.meaning) for column in layout.table_columns]


@pytest.mark.parametrize("color", COLORS)
def test_summary(color: str, store: PostgresStore, tmp_path: Path) -> None:
    """The summary of a month equals that of its raw file and of its clean file, and its rows are those of the file.

    Other months are not included.
    """
    import pyarrow as pa

    names = LAYOUTS[color].arrow_schema().names
    by_row = [(name.lower(), "ascending") for name in names]
    for month, seed in ((TripMonth(color, "2021-01"), 1), (TripMonth(color, "2021-02"), 2)):
        clean, rows = tmp_path / f"{seed}.parquet", 2_000 + seed
        expected = write_clean(month, rows, clean, tmp_path, seed)
        store.replace_month(month, read_row_groups(clean, LAYOUTS[color]), rows)
        assert store.summarize(month).differences(expected) == {}
        assert store.summarize(month).differences(summarize_parquet(clean, LAYOUTS[color])) == {}
        loaded = pa.concat_tables(store.read(month, [name.lower() for name in names])).sort_by(by_row)
        rows_of_file = pa.concat_tables(read_row_groups(clean, LAYOUTS[color])).replace_schema_metadata()
        assert loaded.equals(rows_of_file.rename_columns(loaded.column_names).sort_by(by_row))


def test_summary_of_no_rows(store: PostgresStore) -> None:
    """The summary of zero rows is the same without a table, without a partition, and for an empty partition."""
    assert store.summarize(JANUARY) == no_rows(LAYOUTS["yellow"])
    _load(store, FEBRUARY, 3, mark=1)
    assert store.summarize(JANUARY) == no_rows(LAYOUTS["yellow"])
    _load(store, JANUARY, 0, mark=1)
    assert store.summarize(JANUARY) == no_rows(LAYOUTS["yellow"])


def _comment(store: PostgresStore, month: TripMonth) -> str | None:
    """The comment on the partition of a month."""
    ((comment,),) = store.query(f"SELECT obj_description('{month.table}_{month.month_id}'::regclass, 'pg_class')").rows
    return None if comment is None else str(comment)


def test_no_session_is_left(store: PostgresStore) -> None:
    """A store has no session of the server while it is not used."""
    _load(store, JANUARY, 3, mark=1)
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    assert _another(store).query(sessions).rows == [(0,)]


def test_total_rows(store: PostgresStore) -> None:
    """The row count of a table covers all months of its color, and changes with loads and deletions."""
    assert store.total_rows(JANUARY) == 0
    _load(store, JANUARY, 5, mark=1)
    _load(store, FEBRUARY, 12_345, mark=2)
    _load(store, JANUARY, 6, mark=3)
    _load(store, TripMonth("fhv", "2021-01"), 3, mark=4)
    assert store.total_rows(JANUARY) == store.total_rows(FEBRUARY) == 12_351
    store.remove(FEBRUARY)
    assert store.total_rows(FEBRUARY) == 6


def test_comment_with_the_row_count(store: PostgresStore) -> None:
    """The comment on a partition contains the row count of the last load; a failed load does not change it."""
    _load(store, JANUARY, 5, mark=1)
    _load(store, JANUARY, 12_345, mark=2)
    assert _comment(store, JANUARY) == "12,345 rows of yellow 2021-01, loaded by taxi_assets"
    with pytest.raises(InputChanged):
        store.replace_month(JANUARY, [month_of(JANUARY, 4)], 5)
    assert _comment(store, JANUARY) == "12,345 rows of yellow 2021-01, loaded by taxi_assets"


def test_total_rows_without_a_scan(store: PostgresStore) -> None:
    """Partitions with a comment of this project are not scanned: rows deleted by other programs still count."""
    _load(store, JANUARY, 12_345, mark=1)
    _run(store, "DELETE FROM yellow_taxi_trips")
    assert (store.count(JANUARY), store.total_rows(JANUARY)) == (0, 12_345)


@pytest.mark.parametrize("comment", ["NULL", "'seen by Ann'", "'7 rows of something'"])
def test_total_rows_of_an_earlier_release(comment: str, store: PostgresStore) -> None:
    """Partitions without a comment, or with another comment, are scanned."""
    for month, rows in ((JANUARY, 5), (FEBRUARY, 4), (TripMonth("yellow", "2021-03"), 3)):
        _load(store, month, rows, mark=1)
    for month in (JANUARY, FEBRUARY):
        _run(store, f"COMMENT ON TABLE {month.table}_{month.month_id} IS {comment}")
    _run(store, "DELETE FROM yellow_taxi_trips WHERE file_month < DATE '2021-03-01' AND ctid = '(0,1)'")
    assert store.total_rows(JANUARY) == 4 + 3 + 3


def test_total_rows_during_a_deletion(store: PostgresStore) -> None:
    """While the partitions are being counted, none of them can be deleted."""
    for month, rows in ((JANUARY, 5), (FEBRUARY, 4)):
        _load(store, month, rows, mark=1)
        _run(store, f"COMMENT ON TABLE {month.table}_{month.month_id} IS NULL")
    other = _another(store, wait_s=0.2)
    with ThreadPoolExecutor() as pool:
        with _open_transaction(store, "LOCK TABLE yellow_taxi_trips_202101"):
            total_rows = pool.submit(store.total_rows, JANUARY)
            _wait_for_a_blocked_session(store)
            with pytest.raises(TableLocked):
                other.remove(FEBRUARY)
        assert total_rows.result() == 9
        assert len(other.remove(FEBRUARY)) == 1


def _wait_for_a_blocked_session(store: PostgresStore) -> None:
    """Wait until a session waits for a lock on the partition of January."""
    waiting = "SELECT pid FROM pg_locks WHERE NOT granted AND relation = to_regclass('yellow_taxi_trips_202101')"
    deadline = time.monotonic() + 10
    while not store.query(waiting).rows:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("url", "database"),
    [
        ("postgresql://ann@db/ny", "ny"),
        ("postgresql://ann@db", "ann"),
        ("postgresql://db/ny?user=ann&password=a@b", "ny"),
        ("postgresql://db?user=ann&password=a@b", "ann"),
    ],
)
def test_table(url: str, database: str) -> None:
    """The name of a table starts with the database, which is that of the user by default."""
    assert PostgresStore(url).table(JANUARY) == f"{database}.public.yellow_taxi_trips"


def test_order_of_columns(store: PostgresStore) -> None:
    """Columns are matched by name, in any order; a missing column is an error."""
    table = month_of(JANUARY, 2, mark=6, VendorID=[1, 2])
    store.replace_month(JANUARY, [table.select(table.column_names[::-1])], 2)
    assert list(store.query("SELECT vendorid, pulocationid FROM yellow_taxi_trips").rows) == [(1, 6), (2, 6)]
    with pytest.raises(KeyError, match="extra"):
        store.replace_month(JANUARY, [table.drop_columns("extra")], 2)
    assert _marks(store) == [(6, 2)]


def test_columns_without_values(store: PostgresStore) -> None:
    """Columns that are not copied are missing in all rows."""
    table = month_of(JANUARY, 2, mark=6, VendorID=[1, 2])
    store.replace_month(JANUARY, [table], 2, ["VendorID", "PULocationID", "file_month"])
    rows = store.query("SELECT vendorid, extra, file_month FROM yellow_taxi_trips").rows
    assert list(rows) == [(1, None, JANUARY.first_day), (2, None, JANUARY.first_day)]


def test_many_tables(store: PostgresStore) -> None:
    """A month can consist of any number of tables, also of none, and of empty tables."""
    tables = [month_of(JANUARY, rows, mark=1) for rows in (20_000, 0, 1)]
    assert store.replace_month(JANUARY, iter(tables), 20_001) == 20_001
    assert store.replace_month(JANUARY, iter([]), 0) == 0
    assert store.count(JANUARY) == 0


def test_error_of_the_input(store: PostgresStore) -> None:
    """A load whose input raises an error raises the same error, and leaves the old month and no other tables."""
    failure = BadFile("The file is truncated.")

    def tables() -> "Iterator[pa.Table]":
        yield month_of(JANUARY, 20_000, mark=2)
        raise failure

    with pytest.raises(BadFile) as error:
        store.replace_month(FEBRUARY, tables(), 20_000)
    assert error.value is failure
    assert _relations(store) == set()
    _load(store, JANUARY, 3, mark=1)
    before = _relations(store)
    with pytest.raises(BadFile):
        store.replace_month(JANUARY, tables(), 20_000)
    assert _marks(store) == [(1, 3)]
    assert _relations(store) == before


@pytest.mark.parametrize("rows", [3, 5])
def test_unexpected_row_count(rows: int, store: PostgresStore) -> None:
    """If the number of rows differs from the expected number, the old month stays."""
    _load(store, JANUARY, 2, mark=1)
    with pytest.raises(InputChanged) as error:
        store.replace_month(JANUARY, [month_of(JANUARY, 4, mark=2)], rows)
    assert error.value.facts == {**JANUARY.facts, "asset": "clean_trips", "seen": 4, "expected": rows}
    assert str(error.value).startswith("yellow 2021-01 ")
    assert _marks(store) == [(1, 2)]


@pytest.mark.parametrize("file_month", [date(2021, 2, 1), None])
def test_rows_of_another_month(file_month: date | None, store: PostgresStore) -> None:
    """Rows of another month, or without a month, are rejected with the message of PostgreSQL."""
    _load(store, JANUARY, 2, mark=1)
    with pytest.raises(PostgresError) as error:
        store.replace_month(JANUARY, [month_of(JANUARY, 1, file_month=[file_month])], 1)
    assert error.value.facts == JANUARY.facts
    assert "violates check constraint" in str(error.value)
    assert _marks(store) == [(1, 2)]


def test_concurrent_loads_of_a_month(store: PostgresStore) -> None:
    """Concurrent loads of a month, including the first load of the table, leave one copy of the month."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda mark: _load(store, JANUARY, 1000, mark), range(8)))
    ((_, rows),) = _marks(store)
    assert rows == 1000


def test_concurrent_loads_of_a_new_table(store: PostgresStore) -> None:
    """Concurrent loads of several months create the table once, and all months are loaded."""
    months = [TripMonth("green", f"2020-{number:02d}") for number in range(1, 9)]
    with ThreadPoolExecutor(len(months)) as pool:
        list(pool.map(lambda month: _load(store, month, 100, mark=1), months))
    assert [store.count(month) for month in months] == [100] * 8


def test_access_during_a_load(store: PostgresStore) -> None:
    """During a load, other connections read and load other months; a load of the same month waits up to `wait_s`."""
    _load(store, JANUARY, 1, mark=1)
    other = _another(store, wait_s=0.3)
    with _loading(store):
        assert _load(other, FEBRUARY, 2, mark=2) == 2
        assert _marks(other) == [(1, 1), (2, 2)]
        with pytest.raises(StoreBusy) as error:
            _load(other, JANUARY, 1, mark=1)
    assert error.type is StoreBusy
    assert error.value.facts == JANUARY.facts


@contextmanager
def _loading(store: PostgresStore) -> Iterator[subprocess.Popen[str]]:
    """Another process during a load of January."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", LOAD, _url(store)], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "sent\n"
        try:
            yield process
        finally:
            process.kill()


def test_killed_load(store: PostgresStore) -> None:
    """A load whose process is killed leaves the old month, no other tables, and no lock."""
    _load(store, JANUARY, 3, mark=1)
    before = _relations(store)
    with _loading(store) as process:
        process.kill()
        process.wait()
    assert _marks(store) == [(1, 3)]
    assert _load(store, JANUARY, 4, mark=2) == 4
    assert _marks(store) == [(2, 4)]
    assert _relations(store) == before


def test_readers_during_loads(store: PostgresStore) -> None:
    """While a month is being replaced, readers see either the complete old month or the complete new one."""
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


def test_reader_with_an_old_snapshot(store: PostgresStore) -> None:
    """A transaction with a snapshot from before a load sees the new month, not an empty month."""
    _load(store, JANUARY, 3, mark=1)
    with _open_transaction(store, "SELECT 1", isolation="REPEATABLE READ") as reader:
        _load(store, JANUARY, 4, mark=2)
        assert reader.exec_driver_sql("SELECT count(*) FROM yellow_taxi_trips").scalar() == 4


def test_idle_reader(store: PostgresStore) -> None:
    """An idle transaction blocks only the load, not other readers, and the error identifies its process."""
    _load(store, JANUARY, 3, mark=1)
    other = _another(store, wait_s=1)
    with (
        _open_transaction(store, "SELECT count(*) FROM yellow_taxi_trips") as reader,
        ThreadPoolExecutor() as pool,
    ):
        pid = reader.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        load = pool.submit(_load, other, JANUARY, 4, 2)
        time.sleep(0.3)
        started = time.perf_counter()
        assert _marks(store) == [(1, 3)]
        assert time.perf_counter() - started < 5
        with pytest.raises(TableLocked) as error:
            load.result()
    assert error.value.facts["table"] == "public.yellow_taxi_trips"
    assert f"process {pid} of user taxi" in str(error.value.facts["connections"])
    assert str(error.value.facts["connections"]) in str(error.value)
    assert _marks(store) == [(1, 3)]


def test_load_after_a_reader(store: PostgresStore) -> None:
    """A load that a reader blocks continues when the reader's transaction ends."""
    _load(store, JANUARY, 3, mark=1)
    other = _another(store)
    with ThreadPoolExecutor() as pool:
        with _open_transaction(store, "SELECT count(*) FROM yellow_taxi_trips"):
            load = pool.submit(_load, other, JANUARY, 4, 2)
            time.sleep(0.3)
            assert not load.done()
        assert load.result() == 4
    assert _marks(store) == [(2, 4)]


def test_deadlock_with_a_reader(store: PostgresStore) -> None:
    """A load retries if a reader that has locked the month then needs the table."""
    _load(store, JANUARY, 3, mark=1)
    with ThreadPoolExecutor() as pool:
        with _open_transaction(store, "SELECT count(*) FROM yellow_taxi_trips_202101") as reader:
            load = pool.submit(_load, store, JANUARY, 4, 2)
            time.sleep(0.3)
            assert reader.exec_driver_sql("SELECT count(*) FROM yellow_taxi_trips").scalar() == 3
        assert load.result() == 4


def test_first_load_during_a_read(store: PostgresStore) -> None:
    """The first load of a month does not wait for readers of the table."""
    _load(store, JANUARY, 3, mark=1)
    other = _another(store, wait_s=1)
    with _open_transaction(store, "SELECT count(*) FROM yellow_taxi_trips"):
        assert _load(other, FEBRUARY, 4, mark=2) == 4


def test_locked_table(store: PostgresStore) -> None:
    """Every method waits up to `wait_s` for a table that another connection locks."""
    _load(store, JANUARY, 3, mark=1)
    other = _another(store, wait_s=0.1)
    with _open_transaction(store, "LOCK TABLE yellow_taxi_trips"):
        uses: list[Callable[[], object]] = [
            lambda: other.count(JANUARY),
            lambda: other.query("TABLE yellow_taxi_trips"),
            lambda: _load(other, JANUARY, 1, 1),
        ]
        for use in uses:
            with pytest.raises(TableLocked):
                use()


@pytest.mark.parametrize(
    ("columns", "partitioned_by", "missing", "unexpected"),
    [
        (
            '"VendorID" bigint, extra double precision)',
            "nothing",
            sorted(set(FIRST_COLUMNS) - {"extra double precision"}),
            ["VendorID bigint"],
        ),
        (
            "vendorid text, file_month date) PARTITION BY LIST (file_month)",
            "LIST (file_month)",
            sorted(set(FIRST_COLUMNS) - {"file_month date"}),
            ["vendorid text"],
        ),
        (
            f"{', '.join(FIRST_COLUMNS[1:])}) PARTITION BY LIST (file_month)",
            "LIST (file_month)",
            ["vendorid bigint"],
            ["none"],
        ),
        (
            f"{', '.join(FIRST_COLUMNS)}, airport_fee text) PARTITION BY LIST (file_month)",
            "LIST (file_month)",
            ["none"],
            ["airport_fee text"],
        ),
        (f"{', '.join(COLUMNS)})", "nothing", ["none"], ["none"]),
        (f"{', '.join(COLUMNS)}) PARTITION BY RANGE (file_month)", "RANGE (file_month)", ["none"], ["none"]),
    ],
)
def test_incompatible_table(
    columns: str, partitioned_by: str, missing: list[str], unexpected: list[str], store: PostgresStore
) -> None:
    """A table with other columns or another partitioning is an error with the differences, and does not change."""
    _run(store, f"CREATE TABLE yellow_taxi_trips ({columns}")
    uses: list[Callable[[], object]] = [lambda: _load(store, JANUARY, 3, mark=1), lambda: store.count(JANUARY)]
    for use in uses:
        with pytest.raises(IncompatibleTable) as error:
            use()
        assert error.value.facts == {
            "color": "yellow",
            "table": "public.yellow_taxi_trips",
            "partitioned_by": partitioned_by,
            "missing_columns": ", ".join(missing),
            "unexpected_columns": ", ".join(unexpected),
        }
        assert all(str(fact) in str(error.value) for fact in error.value.facts.values())
    assert _relations(store) == {"yellow_taxi_trips"}


def test_table_with_the_name_of_a_partition(store: PostgresStore) -> None:
    """A table that has the name of the partition, but is not a partition, is an error and does not change."""
    _run(store, "CREATE TABLE yellow_taxi_trips_202101 AS SELECT 1 AS other")
    with pytest.raises(PostgresError) as error:
        _load(store, JANUARY, 3, mark=1)
    assert 'relation "yellow_taxi_trips_202101" already exists' in str(error.value)
    assert _relations(store) == {"yellow_taxi_trips_202101"}


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT 1 AS one, 'a%b' AS two", [(1, "a%b")]),
        ("VALUES (1, 'a'), (2, 'b')", [(1, "a"), (2, "b")]),
        ("TABLE numbers", [(1,), (2,)]),
        ("SHOW cursor_tuple_fraction", [("1",)]),
        ("EXPLAIN (COSTS OFF) SELECT 1", [("Result",)]),
        ("WITH one AS (SELECT 1) SELECT * FROM one", [(1,)]),
        ("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) TABLE n", [(1,), (2,), (3,)]),
        ("SELECT 1;", [(1,)]),
        ("SELECT 1 ; ; ", [(1,)]),
        ("SELECT 1; -- the end", [(1,)]),
        ("/* a; b */ SELECT 1 -- c; d", [(1,)]),
        ("-- a\nSELECT 1;\n/* b */", [(1,)]),
        ("SELECT 5 % 3, '%s %% %(x)s', ';'", [(2, "%s %% %(x)s", ";")]),
        (
            "SELECT 'it''s', \"x\", $$a; 'b'$$, $q$ $$ $q$, E'c\\'d' FROM numbers LIMIT 1",
            [("it's", 1, "a; 'b'", " $$ ", "c'd")],
        ),
        ("SELECT current_setting('transaction_read_only')", [("on",)]),
    ],
)
def test_query(sql: str, rows: list[tuple[object, ...]], store: PostgresStore) -> None:
    """One query can have any form, comments, quotes, percent signs and trailing semicolons."""
    _run(store, "CREATE TABLE numbers AS SELECT generate_series(1, 2) AS x")
    assert store.query(sql).rows == rows


def test_columns_of_a_query(store: PostgresStore) -> None:
    """A query result has the column names, also without rows and without columns."""
    assert store.query('SELECT 1 AS one, 2 AS "Two" WHERE false').columns == ["one", "Two"]
    assert store.query("EXPLAIN ANALYZE SELECT 1").columns == ["QUERY PLAN"]
    assert store.query("SELECT").columns == []


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT x.y FROM pg_class", 'missing FROM-clause entry for table "x"\nLINE 1: SELECT x.y FROM pg_class'),
        ("SELECT relnam FROM pg_class", 'HINT:  Perhaps you meant to reference the column "pg_class.relname"'),
        ("SELECT\n  oops", 'column "oops" does not exist\nLINE 2:   oops'),
        ("SELECT 1 / 0", "division by zero"),
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("SELECT $1", "there is no parameter $1"),
        ("SELECT 'open", "unterminated quoted string"),
        ("SELECT pg_read_file('/etc/passwd')", "permission denied"),
    ],
)
def test_invalid_query(sql: str, message: str, store: PostgresStore) -> None:
    """An invalid query is an error with the message of PostgreSQL, and without the project's own SQL."""
    with pytest.raises(BadQuery) as error:
        store.query(sql)
    assert message in str(error.value)
    assert not re.search("current_setting|PL/pgSQL|inline_code_block|taxi_query", str(error.value))


@pytest.mark.parametrize(("limit", "rows"), [(None, 25_000), (0, 0), (3, 3), (25_000, 25_000), (30_000, 25_000)])
def test_limit_of_a_query(limit: int | None, rows: int, store: PostgresStore) -> None:
    """With a limit, the first rows are returned, and all of them are counted."""
    result = store.query("SELECT generate_series(1, 25000)", limit=limit)
    assert result.rows == [(number,) for number in range(1, rows + 1)]
    assert result.row_count == 25_000


def test_an_error_beyond_the_limit(store: PostgresStore) -> None:
    """A row beyond the limit that cannot be computed is an error of the query."""
    with pytest.raises(BadQuery, match="division by zero"):
        store.query("SELECT 1 / (5 - x) FROM generate_series(1, 10) AS x", limit=2)


@pytest.mark.parametrize(
    ("sql", "seen", "hint"),
    [
        ("SELECT * FROM nothing", "nothing", ""),
        ("SELECT count(*) FROM yellow_tripdata", "yellow_tripdata", 'Did you mean "yellow_taxi_trips"? '),
        ('TABLE "two words"', "two words", ""),
        ("TABLE public.nothing", "public.nothing", ""),
    ],
)
def test_unknown_table(sql: str, seen: str, hint: str, store: PostgresStore) -> None:
    """A query of a table that does not exist is an error with those that do, without partitions, and the nearest."""
    _load(store, JANUARY, 3, mark=1)
    _run(store, "CREATE VIEW a_view AS SELECT 1 AS x")
    with pytest.raises(UnknownTable) as error:
        store.query(sql)
    assert error.value.facts == {"seen": seen, "expected": "a_view, yellow_taxi_trips"}
    assert hint in str(error.value)
    assert _marks(store) == [(1, 3)]


def test_table_of_a_color_without_a_month(store: PostgresStore) -> None:
    """A query of the table of a color of which nothing is loaded names the color, whose months the remedy loads."""
    with pytest.raises(NothingLoaded) as error:
        store.query("SELECT * FROM fhv_taxi_trips")
    assert error.value.facts == {"seen": "fhv_taxi_trips", "color": "fhv"}


NOT_A_QUERY = [
    "",
    "-- nothing",
    ";",
    "SELECT 1; SELECT 2",
    "SELECT 1; COMMIT; DELETE FROM numbers",
    "SELECT 1; COMMIT; DELETE FROM numbers; --",
    "COMMIT; DELETE FROM numbers; BEGIN",
    "COMMIT",
    "END",
    "ROLLBACK",
    "ROLLBACK; DELETE FROM numbers",
    "SAVEPOINT mine",
    "BEGIN",
    "START TRANSACTION READ WRITE",
    "PREPARE TRANSACTION 'mine'",
    "SET TRANSACTION READ WRITE",
    "SET transaction_read_only = off",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "SET work_mem = '8MB'",
    "RESET ALL",
    "DISCARD ALL",
    "COPY numbers TO STDOUT",
    "COPY numbers FROM STDIN",
    "COPY numbers TO '/tmp/numbers.csv'",
    "COPY (SELECT 1) TO PROGRAM 'touch /tmp/mine'",
    "DO $$ BEGIN DELETE FROM numbers; END $$",
    "DO $$ BEGIN COMMIT; DELETE FROM numbers; END $$",
    "DELETE FROM numbers",
    "CREATE TABLE mine (x int)",
    "CREATE TEMP TABLE mine (x int)",
    "SELECT 1 AS x INTO mine",
    "TRUNCATE numbers",
    "LOCK TABLE numbers",
    "VACUUM numbers",
    "NOTIFY mine",
    "LISTEN mine",
    "PREPARE mine AS SELECT 1",
    "DECLARE mine CURSOR FOR SELECT 1",
    "FETCH ALL FROM taxi_query",
]
"""SQL that is not exactly one query."""

CHANGES = [
    "INSERT INTO numbers VALUES (3) RETURNING x",
    "UPDATE numbers SET x = 0 RETURNING x",
    "DELETE FROM numbers RETURNING x",
    "MERGE INTO numbers USING numbers AS other ON false WHEN NOT MATCHED THEN INSERT VALUES (3) RETURNING 1",
    "WITH added AS (INSERT INTO numbers VALUES (3) RETURNING x) SELECT * FROM added",
    "WITH gone AS (DELETE FROM numbers) SELECT 1",
    "EXPLAIN ANALYZE INSERT INTO numbers VALUES (3)",
    "EXPLAIN (ANALYZE) DELETE FROM numbers",
    "SELECT * FROM numbers FOR UPDATE",
    "SELECT set_config('transaction_read_only', 'off', false)",
    "SELECT set_config('transaction_read_only', 'off', true) FROM numbers",
    "WITH writable AS MATERIALIZED (SELECT set_config('transaction_read_only', 'off', true)) TABLE writable",
    "SELECT query_to_xml('DELETE FROM numbers RETURNING x', true, false, '')",
    "SELECT query_to_xml('COMMIT', true, false, '')",
    "SELECT nextval('counter')",
    "SELECT setval('counter', 100)",
    "SELECT lo_create(0)",
    "SELECT add_number()",
]
"""Queries that would change something."""


@pytest.mark.parametrize("sql", [*NOT_A_QUERY, *CHANGES])
def test_query_cannot_change_anything(sql: str, store: PostgresStore) -> None:
    """SQL that is not one query, or that would change something, is an error and changes nothing."""
    _run(store, "CREATE TABLE numbers AS SELECT generate_series(1, 2) AS x; CREATE SEQUENCE counter")
    _run(store, "CREATE FUNCTION add_number() RETURNS int LANGUAGE sql AS 'INSERT INTO numbers VALUES (3) RETURNING x'")
    with pytest.raises(BadQuery):
        store.query(sql)
    assert store.query("SELECT x FROM numbers ORDER BY 1").rows == [(1,), (2,)]
    assert store.query("SELECT last_value, is_called FROM counter").rows == [(1, False)]
    assert _relations(store) == {"numbers", "counter"}


@pytest.mark.parametrize("sql", NOT_A_QUERY)
def test_message_for_sql_that_is_not_one_query(sql: str, store: PostgresStore) -> None:
    """The error for SQL that is not one query contains PostgreSQL's reason: it cannot be opened as a cursor."""
    _run(store, "CREATE TABLE numbers AS SELECT generate_series(1, 2) AS x")
    with pytest.raises(BadQuery) as error:
        store.query(sql)
    assert re.search("one query.*as cursor", str(error.value))


def test_query_does_not_change_the_session(store: PostgresStore) -> None:
    """Settings that a query changes are back to their values for the next query and the next load."""
    for name, value in (("default_transaction_read_only", "on"), ("lock_timeout", "1ms"), ("search_path", "nowhere")):
        store.query(f"SELECT set_config('{name}', '{value}', false)")
    assert _load(store, JANUARY, 3, mark=1) == 3
    assert _marks(store) == [(1, 3)]
    assert store.query("SHOW search_path").rows == [('"$user", public',)]


def test_engine(store: PostgresStore) -> None:
    """All calls return the same engine, which reconnects if the server has closed its connections."""
    engine = store.engine()
    assert store.engine() is engine
    with engine.connect() as connection:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    other = _another(store)
    _run(other, f"SELECT pg_terminate_backend({pid})")
    assert store.query("SELECT 1").rows == [(1,)]


def test_lost_connection(store: PostgresStore, caplog: pytest.LogCaptureFixture) -> None:
    """If the server closes the connection of a load, the error is transient, and the old month stays.

    The thread that reads the tables ends, although the error is kept. SQLAlchemy logs no traceback.
    """
    _load(store, JANUARY, 3, mark=1)
    other = _another(store)

    def tables() -> "Iterator[pa.Table]":
        yield month_of(JANUARY, 20_000, mark=2)
        _run(
            other,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE query LIKE 'COPY %%' AND application_name = 'taxi_assets' AND pid <> pg_backend_pid()",
        )
        yield month_of(JANUARY, 20_000, mark=2)

    with pytest.raises(PostgresConnectionLost) as error:
        store.replace_month(JANUARY, tables(), 40_000)
    assert error.value.facts == JANUARY.facts
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("read-ahead")]
    assert not caplog.records
    assert _marks(other) == [(1, 3)]


def test_killed_server_process(store: PostgresStore) -> None:
    """If a process of the server is killed, all errors are transient until the server has recovered."""
    with pytest.raises(PostgresConnectionLost) as error:
        store.replace_month(JANUARY, _tables_with_a_kill(store), 40_000)
    assert "closed the connection unexpectedly" in str(error.value)
    deadline = time.monotonic() + 20
    while True:
        try:
            assert store.count(JANUARY) == 0
        except StoreUnreachable:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            break


def _tables_with_a_kill(store: PostgresStore) -> "Iterator[pa.Table]":
    """Two tables. Between them, the server's process that copies them is killed."""
    yield month_of(JANUARY, 20_000)
    other = _another(store)
    [(pid,)] = other.query("SELECT pid FROM pg_stat_activity WHERE query LIKE 'COPY %'").rows
    os.kill(pid, signal.SIGKILL)
    yield month_of(JANUARY, 20_000)


def test_too_many_connections(store: PostgresStore) -> None:
    """A connection above the limit of the user is a transient error."""
    admin = _another(store, username="postgres")
    _run(admin, "ALTER ROLE taxi CONNECTION LIMIT 0")
    try:
        with pytest.raises(PostgresUnreachable) as error:
            store.query("SELECT 1")
    finally:
        _run(admin, "ALTER ROLE taxi CONNECTION LIMIT -1")
    assert 'too many connections for role "taxi"' in str(error.value)


@pytest.mark.parametrize(
    ("message", "transient"),
    [
        ('connection to server at "db" (10.0.0.2), port 5432 failed: FATAL:  the database system is starting up', True),
        ('could not translate host name "db" to address: Temporary failure in name resolution', True),
        ('connection to server on socket "/x/.s.PGSQL.5432" failed: No such file or directory', True),
        ('connection to server at "db", port 5432 failed: FATAL:  no pg_hba.conf entry for host "10.0.0.2"', False),
        ('connection to server at "db", port 5432 failed: fe_sendauth: no password supplied', False),
        ('connection to server at "db", port 5432 failed: server does not support SSL, but SSL was required', False),
    ],
)
def test_transient_failure(message: str, transient: bool) -> None:  # noqa: FBT001
    """Whether a failed connection is transient depends on the message, because there is no error code."""
    assert is_transient_failure(psycopg2.OperationalError(message)) is transient


@contextmanager
def _server_that_replies(reply: bytes) -> Iterator[str]:
    """The address of a server that replies with these bytes to the first message of a connection, or closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(1000)
                        if reply:
                            connection.sendall(reply)
                            connection.recv(1000)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("reply", "parameters", "message"),
    [
        (b"N", "sslmode=require", "SSL"),
        (b"S", "sslmode=verify-full&sslrootcert=/nonexistent", "certificate"),
        (b"R\0\0\0\x08\0\0\0\x03", "sslmode=disable", "password"),
        (b"E\0\0\0\x1aSFATAL\0VFATAL\0Mno pg\0\0", "sslmode=disable", "FATAL: no pg"),
    ],
    ids=["no SSL", "no certificate", "no password", "rejected"],
)
def test_permanent_failures_of_libpq(reply: bytes, parameters: str, message: str) -> None:
    """A login that fails for a permanent reason is not transient. The reasons are texts of the installed libpq."""
    with _server_that_replies(reply) as address:
        store = PostgresStore(f"postgresql://ann@{address}/trips?{parameters}", connect_timeout_s=5)
        with pytest.raises(PostgresLoginFailed) as error:
            store.probe()
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"E\0\0\0\x36SFATAL\0VFATAL\0Mthe database system is starting up\0\0", "FATAL: the database system is"),
        (b"", "closed the connection unexpectedly"),
    ],
    ids=["starting", "closed"],
)
def test_transient_failures_of_libpq(reply: bytes, message: str) -> None:
    """A login that fails for a temporary reason is transient."""
    with _server_that_replies(reply) as address, pytest.raises(PostgresUnreachable) as error:
        PostgresStore(f"postgresql://ann@{address}/trips?sslmode=disable", connect_timeout_s=5).probe()
    assert message in str(error.value)


def test_socket_folder(store: PostgresStore, tmp_path: Path) -> None:
    """A socket that does not exist is a transient error: its server may start. A missing permission is not."""
    with pytest.raises(PostgresUnreachable) as error:
        PostgresStore(f"postgresql://ann@/trips?host={tmp_path}").probe()
    assert "No such file" in str(error.value)
    (tmp_path / ".s.PGSQL.5432").symlink_to(Path(str(store.engine().url.query["host"])) / ".s.PGSQL.5432")
    with closed(tmp_path, 0o000), pytest.raises(PostgresLoginFailed) as denied:
        PostgresStore(f"postgresql://ann@/trips?host={tmp_path}").probe()
    assert "Permission denied" in str(denied.value)


@pytest.mark.parametrize(
    ("host", "reason", "expected"),
    [
        ("db.example.org", "Name or service not known", PostgresHostNotFound),
        ("db.example.org", "Temporary failure in name resolution", PostgresUnreachable),
        ("postgres", "Name or service not known", PostgresUnreachable),
    ],
)
def test_host_name_that_does_not_exist(
    host: str, reason: str, expected: type[StoreError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host without an address is a permanent error, unless the name is that of a container, which may restart."""

    def connect(*_: object, **__: object) -> None:
        raise psycopg2.OperationalError(f'could not translate host name "{host}" to address: {reason}\n')

    monkeypatch.setattr(psycopg2, "connect", connect)
    with pytest.raises(expected) as error:
        PostgresStore(f"postgresql://ann@{host}/trips").probe()
    assert type(error.value) is expected
    assert f'could not translate host name "{host}"' in str(error.value)


def test_host_name_of_libpq() -> None:
    """The error of the installed libpq is recognized."""
    with pytest.raises((PostgresHostNotFound, PostgresUnreachable)) as error:
        PostgresStore("postgresql://ann@nowhere.invalid/trips", connect_timeout_s=5).probe()
    assert "could not translate host name" in str(error.value)


def test_no_server(dead_postgres_url: str) -> None:
    """If no server listens, the error has the host, port, user and database, but not the password."""
    url = sa.make_url(dead_postgres_url).set(password="s3cr3t")  # noqa: S106
    store = PostgresStore(url.render_as_string(hide_password=False))
    for use in (lambda: store.query("SELECT 1"), lambda: store.count(JANUARY), lambda: _load(store, JANUARY, 1, 1)):
        with pytest.raises(PostgresUnreachable) as error:
            use()
        expected = {"host": "127.0.0.1", "port": str(url.port), "user": "taxi", "database": "none"}
        assert error.value.facts.items() >= expected.items()
        assert all(fact in str(error.value) for fact in expected.values())
        assert "Connection refused" in str(error.value)
        assert "s3cr3t" not in _all_messages(error.value)


def test_server_without_a_response() -> None:
    """A connection attempt to a server that does not respond ends after a time, which the URL can set."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        started = time.monotonic()
        with pytest.raises(PostgresUnreachable) as error:
            PostgresStore(f"postgresql://ann@127.0.0.1:{port}/trips", connect_timeout_s=2).probe()
        assert time.monotonic() - started < 4
    assert error.value.facts["port"] == str(port)
    assert "timeout expired" in str(error.value)
    engine = PostgresStore("postgresql://ann@127.0.0.1:1/trips?connect_timeout=7").engine()
    assert engine.dialect.create_connect_args(engine.url)[1]["connect_timeout"] == "7"


def test_unknown_database(store: PostgresStore) -> None:
    """A database that does not exist is an error with its name, and is not transient."""
    unknown = PostgresStore(_url(store, database="nowhere"))
    for use in (unknown.probe, lambda: unknown.query("SELECT 1")):
        with pytest.raises(PostgresLoginFailed) as error:
            use()
        assert error.value.facts["database"] == "nowhere"
        assert 'database "nowhere" does not exist' in str(error.value)
        assert not isinstance(error.value, TRANSIENT)


def test_no_privilege(store: PostgresStore) -> None:
    """A user who may not create tables gets the same error from a load and from a probe, and it is not transient."""
    admin = _another(store, username="postgres")
    _run(admin, "CREATE ROLE guest LOGIN")
    try:
        guest = _another(store, username="guest")
        for use in (guest.probe, lambda: _load(guest, JANUARY, 1, 1)):
            with pytest.raises(PostgresPrivilege) as error:
                use()
            assert "permission denied for schema public" in str(error.value)
            assert not isinstance(error.value, TRANSIENT)
    finally:
        _run(admin, "DROP ROLE guest")


def test_probe(store: PostgresStore) -> None:
    """A probe returns the server's version, the user, the database and the number of tables, and leaves no table."""
    assert re.match(r"PostgreSQL \d+\.\d+: user taxi .*database ny_taxi; tables: 0 of 4", store.probe())
    _load(store, JANUARY, 3, mark=1)
    assert "tables: 1 of 4" in store.probe()
    assert _relations(store) == {JANUARY.table, f"{JANUARY.table}_202101"}


def test_probe_of_an_incompatible_table(store: PostgresStore) -> None:
    """A probe finds a table that another program created, such as the script of the course."""
    _run(store, "CREATE TABLE green_taxi_trips (index bigint)")
    with pytest.raises(IncompatibleTable) as error:
        store.probe()
    assert error.value.facts["table"] == "public.green_taxi_trips"


SECRET_URLS = [
    "postgresql://ann:s3cr3t@host:5433/trips",
    "postgresql://ann@host:5433/trips?password=s3cr3t",
    "postgresql://ann@host:5433/trips?password=a@s3cr3t",
    "postgresql://ann@host:5433/trips?password=s3cr3t@b",
    "postgresql://host:5433/trips?user=ann&password=a@s3cr3t",
    "postgresql://host:5433/trips?password=a@s3cr3t&user=ann",
    "postgresql://host:5433/trips?user=ann&password=a@s3cr3t&sslmode=require",
    "postgresql://host:5433/trips?user=ann&password=a%40s3cr3t",
    "postgresql://host:5433/trips?user=ann&password=%733cr3t",
    "postgresql://host:5433/trips?user=ann&pass%77ord=a@s3cr3t",
    "postgresql://host:5433/trips?user=ann&password=a:b/c?d@s3cr3t#e",
    "postgresql://host:5433?user=ann&dbname=trips&password=a@s3cr3t",
    "postgresql://?host=host&port=5433&user=ann&dbname=trips&password=a@s3cr3t",
    "postgresql://ann:s3cr3t@host:5433/trips?password=a@s3cr3t",
    "postgresql://ann:a?s3cr3t@host:5433/trips",
    "postgresql://ann:a?s3cr3t@host:5433/trips?sslmode=require",
    "postgresql://ann@host:5433/trips?sslmode=require&sslpassword=a@s3cr3t",
    "postgresql://ann@host:5433/trips?passfile=/home/ann@s3cr3t/passwords",
    "postgresql+psycopg2://host:5433/trips?user=ann&password=a@s3cr3t",
    "postgres://host:5433/trips?user=ann&password=a@s3cr3t",
]
"""URLs of the database `trips` at host `host`, port 5433, for user `ann`, with a password that contains `s3cr3t`."""


@pytest.mark.parametrize("url", SECRET_URLS)
def test_shown_url(url: str) -> None:
    """The URL for display has the host, port, user and database, without the password."""
    shown = PostgresStore(url).shown_url()
    assert target(shown) == ("host", "5433", "ann", "trips")
    text = shown.render_as_string(hide_password=False)
    assert text.startswith("postgresql://")
    assert not re.search("s3cr3t|@b|pass", text)
    assert ("sslmode" in text) == ("sslmode" in url)


@pytest.mark.parametrize("url", SECRET_URLS)
def test_message_without_the_password(url: str, dead_postgres_url: str) -> None:
    """If no server listens, the error has the real host, port, user and database of any URL, but not the password."""
    dead = sa.make_url(dead_postgres_url)
    store = PostgresStore(re.sub(r"\bhost\b(?!=)", "127.0.0.1", url).replace("5433", str(dead.port)))
    for use in (store.probe, lambda: store.query("SELECT 1"), lambda: store.count(JANUARY)):
        with pytest.raises(PostgresUnreachable) as error:
            use()
        expected = {"host": "127.0.0.1", "port": str(dead.port), "user": "ann", "database": "trips"}
        assert error.value.facts.items() >= expected.items()
        assert not re.search("s3cr3t|@b", f"{_all_messages(error.value)} {error.value.explain()}")


@pytest.mark.parametrize("place", ["login", "parameter", "parameter before another"])
@pytest.mark.parametrize("password", ["plain", "a@b", "a@b:c/d?e", "50%", "p w", "x=y&z"])
def test_password_of_the_url(password: str, place: str) -> None:
    """The driver gets exactly the password of the URL, in the login or in a parameter."""
    encoded = quote(password, safe="" if place == "login" else "@:/?")
    url = {
        "login": f"postgresql://ann:{encoded}@host/trips",
        "parameter": f"postgresql://host/trips?user=ann&password={encoded}",
        "parameter before another": f"postgresql://host:5432/trips?password={encoded}&user=ann",
    }[place]
    engine = PostgresStore(url).engine()
    arguments = engine.dialect.create_connect_args(engine.url)[1]
    assert (arguments["host"], arguments["user"], arguments["password"]) == ("host", "ann", password)


def test_password(store: PostgresStore) -> None:
    """A password can contain any characters. The error for a wrong password has the user, not the password."""
    folder = Path(str(store.engine().url.query["host"]))
    rules = (folder / "pg_hba.conf").read_text()
    admin = _another(store, username="postgres")
    try:
        (folder / "pg_hba.conf").write_text(f"local all ann scram-sha-256\n{rules}")
        _run(admin, "CREATE ROLE ann LOGIN PASSWORD 'p@s/s:w%%r d?'; SELECT pg_reload_conf()")
        ann = _another(store, username="ann", password="p@s/s:w%r d?")  # noqa: S106
        assert ann.query("SELECT current_user::text").rows == [("ann",)]
        wrong = PostgresStore(_url(store, username="ann", password="s3cr3t"))  # noqa: S106
        with pytest.raises(PostgresLoginFailed) as error:
            wrong.query("SELECT 1")
        assert error.value.facts["user"] == "ann"
        assert 'password authentication failed for user "ann"' in str(error.value)
        assert not isinstance(error.value, TRANSIENT)
        assert "s3cr3t" not in _all_messages(error.value)
    finally:
        (folder / "pg_hba.conf").write_text(rules)
        _run(admin, "DROP ROLE ann; SELECT pg_reload_conf()")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:s3cr3t@host:s3cr3t/trips",
        "postgresql://ann:pass@s3cr3t@host/trips",
        "postgresql://ann:pass@ho/s3cr3t@host/trips",
        "postgresql://ann:pass@s3cr3t?x@host/trips",
        "postgresql://ann:s3cr3t?x=1@host/trips",
        "mysql://ann:s3cr3t@host/trips",
        "s3cr3t",
    ],
)
def test_invalid_url(url: str) -> None:
    """The error for an invalid URL does not contain any part of it, because it may contain a password."""
    with pytest.raises(InvalidPostgresUrl) as error:
        PostgresStore(url).query("SELECT 1")
    assert error.value.facts == {}
    assert "s3cr3t" not in _all_messages(error.value)


def _all_messages(error: BaseException | None) -> str:
    """The messages of an error and of its causes."""
    return f"{error!r} {error} {_all_messages(error.__cause__ or error.__context__)}" if error else ""


def test_remove(store: PostgresStore) -> None:
    """A deletion drops and returns only the partition of its month, which can then be loaded again."""
    assert (store.stored_items(JANUARY), store.remove(JANUARY)) == ([], [])
    _load(store, JANUARY, 3, mark=1)
    _load(store, FEBRUARY, 4, mark=2)
    items = store.stored_items(JANUARY)
    assert items == [StoredItem("public.yellow_taxi_trips_202101", rows=3)]
    assert store.remove(JANUARY) == items
    assert _relations(store) == {"yellow_taxi_trips", "yellow_taxi_trips_202102"}
    assert (store.remove(JANUARY), store.stored_items(JANUARY)) == ([], [])
    assert _marks(store) == [(2, 4)]
    assert _load(store, JANUARY, 5, mark=3) == 5


def test_remove_during_a_load(store: PostgresStore) -> None:
    """A deletion waits up to `wait_s` for a load of the same month, and otherwise does not change the month."""
    _load(store, JANUARY, 1, mark=1)
    other = _another(store, wait_s=0.3)
    with _loading(store), pytest.raises(StoreBusy) as error:
        other.remove(JANUARY)
    assert error.type is StoreBusy
    assert error.value.facts == JANUARY.facts
    assert _marks(store) == [(1, 1)]


def test_remove_during_a_read(store: PostgresStore) -> None:
    """A deletion waits until a reader's transaction ends, without blocking other readers."""
    _load(store, JANUARY, 3, mark=1)
    other = _another(store)
    with ThreadPoolExecutor() as pool:
        with _open_transaction(store, "SELECT count(*) FROM yellow_taxi_trips"):
            removal = pool.submit(other.remove, JANUARY)
            time.sleep(0.3)
            assert not removal.done()
            assert _marks(store) == [(1, 3)]
        assert [item.rows for item in removal.result()] == [3]
    assert _marks(store) == []


def test_concurrent_loads_and_deletions(store: PostgresStore) -> None:
    """Concurrent loads and deletions of months of the same table do not deadlock."""
    months = [TripMonth("green", f"2020-{number:02d}") for number in range(1, 7)]
    for month in months:
        _load(store, month, 100, mark=1)
    with ThreadPoolExecutor(len(months)) as pool:
        loads = [pool.submit(_load, store, month, 200, 2) for month in months[:2]]
        removals = [pool.submit(store.remove, month) for month in months[2:]]
        assert [load.result() for load in loads] == [200, 200]
        assert [removal.result()[0].rows for removal in removals] == [100] * 4
    assert [store.count(month) for month in months] == [200, 200, 0, 0, 0, 0]


def test_remove_from_an_incompatible_table(store: PostgresStore) -> None:
    """A deletion does not change a table that another program created."""
    _run(store, "CREATE TABLE yellow_taxi_trips AS SELECT DATE '2021-01-01' AS file_month")
    with pytest.raises(IncompatibleTable):
        store.remove(JANUARY)
    assert _relations(store) == {"yellow_taxi_trips"}
