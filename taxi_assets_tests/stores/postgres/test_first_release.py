"""Tables of the first release in PostgreSQL: the next load adds later columns, while others read and load."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest

from taxi_assets.errors import TableLocked
from taxi_assets.stores.postgres.store import PostgresStore
from taxi_assets.tlc.parquet import read_row_groups, summarize_parquet
from taxi_assets.tlc.schema import LAYOUTS, Kind
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests import first_release

if TYPE_CHECKING:
    import pyarrow as pa
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

JANUARY = TripMonth("yellow", "2021-01")
FEBRUARY = TripMonth("yellow", "2021-02")
MARCH = TripMonth("yellow", "2021-03")
FIRST_COLUMNS = [name.lower() for name in first_release.COLUMNS["yellow"]]
COLUMNS = [column.name.lower() for column in LAYOUTS["yellow"].table_columns]


@pytest.fixture
def store(postgres_url: str) -> PostgresStore:
    """A store in an empty database."""
    return PostgresStore(postgres_url, wait_s=20, change_wait_s=0.1)


def _load_with_first_release(url: str, *months: TripMonth) -> list[dict[str, Any]]:
    """Load months as the first release did. Return the rows of each of them, by column in lowercase."""
    for month in months:
        first_release.load_into_postgres(url, month, first_release.rows_of(month, 9))
    rows = first_release.rows_of(months[0], 9).to_pylist()
    return [{name.lower(): value for name, value in row.items()} for row in rows]


def _table(month: TripMonth, rows: int) -> "pa.Table":
    """Return rows of a month with a value in each column that the first release does not have."""
    import pyarrow as pa

    layout = LAYOUTS[month.color]
    values = {column.name: "text" if column.kind is Kind.text else 0.25 for column in layout.columns}
    later = {name: value for name, value in values.items() if name not in first_release.COLUMNS[month.color]}
    return pa.Table.from_pylist([{"file_month": month.first_day, **later}] * rows, layout.arrow_schema())


def _load(store: PostgresStore, month: TripMonth, rows: int = 4) -> int:
    return store.replace_month(month, [_table(month, rows)], rows)


def _rows(store: PostgresStore, month: TripMonth) -> list[dict[str, Any]]:
    """Return the rows of a month in the order of their pickups, missing ones last."""
    found = store.query(
        f"SELECT * FROM {month.table} WHERE file_month = '{month.first_day}' ORDER BY {LAYOUTS[month.color].pickup}"
    )
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


def _columns(store: PostgresStore, table: str = "yellow_taxi_trips") -> list[str]:
    return list(store.query(f"SELECT * FROM {table} LIMIT 0").columns)


def _files(store: PostgresStore) -> dict[str, int]:
    """Return the number of the file that stores each partition. A partition that is rewritten gets another one."""
    found = store.query("SELECT relname, relfilenode FROM pg_class WHERE relispartition AND relkind = 'r'")
    return dict(map(tuple, found.rows))


@contextmanager
def _open_transaction(url: str, sql: str) -> Iterator["Cursor"]:
    """A cursor in an open transaction that has run `sql`."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        yield cursor


@pytest.mark.parametrize("color", first_release.COLUMNS)
def test_load(color: str, postgres_url: str, store: PostgresStore) -> None:
    """A load adds the later columns, with comments, at the end. It rewrites no partition, and other months stay."""
    january, february, march = (TripMonth(color, f"2021-{number:02d}") for number in (1, 2, 3))
    before, files = _load_with_first_release(postgres_url, january, february), _files(store)
    assert _rows(store, january) == before
    assert _load(store, march) == 4
    later = [c for c in LAYOUTS[color].columns if c.name not in first_release.COLUMNS[color]]
    assert _rows(store, january) == [row | {column.name.lower(): None for column in later} for row in before]
    assert _files(store).items() >= files.items()
    for column in later:
        ((values, comment),) = store.query(
            f"SELECT (SELECT array_agg({column.name}) FROM {march.table} WHERE file_month = '2021-03-01'), "
            f"col_description(attrelid, attnum) FROM pg_attribute "
            f"WHERE attrelid = '{march.table}'::regclass AND attname = '{column.name.lower()}'"
        ).rows
        assert values == ["text" if column.kind is Kind.text else 0.25] * 4
        assert comment == column.meaning
    expected = [column.name.lower() for column in LAYOUTS[color].table_columns]
    for table in (march.table, *_files(store)):
        assert _columns(store, table) == expected
    assert (store.count(january), store.total_rows(january)) == (9, 22)


def test_reload(postgres_url: str, store: PostgresStore) -> None:
    """A load replaces a month that the first release loaded, and the columns have the same order as in a new table."""
    _load_with_first_release(postgres_url, JANUARY, FEBRUARY)
    assert _load(store, JANUARY) == 4
    assert (store.count(JANUARY), store.count(FEBRUARY), store.total_rows(JANUARY)) == (4, 9, 13)
    widened = _columns(store)
    with closing(psycopg2.connect(postgres_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE yellow_taxi_trips")
    _load(store, JANUARY)
    assert _columns(store) == widened == COLUMNS


def test_use_without_a_load(postgres_url: str, store: PostgresStore) -> None:
    """A table of the first release is compatible, and only a load adds columns."""
    _load_with_first_release(postgres_url, JANUARY, FEBRUARY)
    assert "tables: 1 of 4" in store.probe()
    assert (store.count(JANUARY), store.total_rows(JANUARY)) == (9, 18)
    items = store.stored_items(JANUARY)
    assert [item.rows for item in items] == [9]
    assert store.remove(JANUARY) == items
    assert (store.count(JANUARY), store.total_rows(JANUARY)) == (0, 9)
    assert _columns(store) == FIRST_COLUMNS


@pytest.mark.parametrize("color", first_release.COLUMNS)
def test_file_of_the_first_release(color: str, store: PostgresStore, tmp_path: Path) -> None:
    """A clean file of the first release is loaded. Its values of later columns are missing."""
    month, layout = TripMonth(color, "2021-01"), LAYOUTS[color]
    table = first_release.write_month(tmp_path / "clean.parquet", month, 9)
    assert store.replace_month(month, read_row_groups(tmp_path / "clean.parquet", layout), 9) == 9
    missing = dict.fromkeys(column.name.lower() for column in layout.table_columns)
    rows = [{name.lower(): value for name, value in row.items()} for row in table.to_pylist()]
    assert _rows(store, month) == [missing | row for row in rows]
    assert store.summarize(month).differences(summarize_parquet(tmp_path / "clean.parquet", layout)) == {}


def test_load_during_a_read(postgres_url: str, store: PostgresStore) -> None:
    """A load that has to add columns waits for the transaction of a reader, without blocking other readers."""
    _load_with_first_release(postgres_url, JANUARY)
    with ThreadPoolExecutor() as pool:
        with _open_transaction(postgres_url, "SELECT count(*) FROM yellow_taxi_trips"):
            load = pool.submit(_load, store, FEBRUARY)
            time.sleep(0.5)
            started = time.perf_counter()
            assert len(_rows(store, JANUARY)) == 9
            assert time.perf_counter() - started < 2
            assert not load.done()
            assert _columns(store) == FIRST_COLUMNS
        assert load.result() == 4
    assert _columns(store) == COLUMNS


def test_load_during_a_long_read(postgres_url: str) -> None:
    """If a transaction reads another month for too long, the load fails with its process, and the table stays."""
    _load_with_first_release(postgres_url, JANUARY)
    store = PostgresStore(postgres_url, wait_s=0.5, change_wait_s=0.1)
    with _open_transaction(postgres_url, "SELECT count(*) FROM yellow_taxi_trips_202101") as reader:
        with pytest.raises(TableLocked) as error:
            _load(store, FEBRUARY)
        pid = reader.connection.info.backend_pid
    assert f"process {pid} of user taxi" in str(error.value.facts["connections"])
    assert (_columns(store), store.count(JANUARY), store.count(FEBRUARY)) == (FIRST_COLUMNS, 9, 0)
    assert _load(store, FEBRUARY) == 4


def test_deadlock_with_a_reader(postgres_url: str, store: PostgresStore) -> None:
    """A load that has to add columns retries if a reader that has locked a partition then needs the table."""
    _load_with_first_release(postgres_url, JANUARY)
    with ThreadPoolExecutor() as pool:
        with _open_transaction(postgres_url, "SELECT count(*) FROM yellow_taxi_trips_202101") as reader:
            load = pool.submit(_load, store, FEBRUARY)
            time.sleep(0.3)
            reader.execute("SELECT count(*) FROM yellow_taxi_trips")
            assert reader.fetchone() == (9,)
        assert load.result() == 4


def test_concurrent_loads(postgres_url: str, store: PostgresStore) -> None:
    """Concurrent loads of several months add the columns once, and all months are loaded."""
    _load_with_first_release(postgres_url, JANUARY, FEBRUARY)
    months = [JANUARY, *(TripMonth("yellow", f"2021-{number:02d}") for number in range(3, 9))]
    with ThreadPoolExecutor(len(months)) as pool:
        assert list(pool.map(lambda month: _load(store, month, 100), months)) == [100] * len(months)
    assert [store.count(month) for month in months] == [100] * len(months)
    assert (_columns(store), store.count(FEBRUARY)) == (COLUMNS, 9)
