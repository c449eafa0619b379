"""A month in DuckDB is replaced whole, whoever else loads, reads or dies."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from taxi_assets.errors import BadQuery, CountMismatch, MissingUpstream, SettingsError, StoreBusy, StoreError
from taxi_assets.stores.duckdb import DuckDBWarehouse, open_duckdb
from taxi_assets.stores.files import locked
from taxi_assets.stores.lake import LakeObject
from taxi_assets.stores.warehouse import Warehouse
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests.machine import closed, full, small_disk

JANUARY = TripMonth("yellow", "2021-01")
FEBRUARY = TripMonth("yellow", "2021-02")

# Loads a month in another process, which stops before or after a function of the module and says so.
LOAD = """
import sys
from pathlib import Path
from taxi_assets.stores import duckdb as module
from taxi_assets.stores.lake import LakeObject
from taxi_assets.tlc.trips import TripMonth

path, uri, rows, times, pause = sys.argv[1:]

def wait():
    print("paused", flush=True)
    sys.stdin.read()

if pause == "before commit":
    count = module._count
    module._count = lambda *args: (count(*args), wait())[0]
if pause == "after commit":
    class Committed(module.DuckDBWarehouse):
        def _opened(self, doing, **how):
            return Opened(super()._opened(doing, **how))
    class Opened:
        def __init__(self, opened):
            self.opened = opened
        def __enter__(self):
            return self.opened.__enter__()
        def __exit__(self, *error):
            wait()
    module.DuckDBWarehouse = Committed

month = TripMonth("yellow", "2021-01")
for _ in range(int(times)):
    module.DuckDBWarehouse(Path(path)).replace_month(month, LakeObject(month, uri, 0, int(rows)), int(rows))
"""


@pytest.fixture
def warehouse(tmp_path: Path) -> DuckDBWarehouse:
    """A warehouse that nothing was loaded into, in a folder that is not there yet."""
    return DuckDBWarehouse(tmp_path / "home" / "warehouse.duckdb", wait_s=20)


@pytest.mark.parametrize(
    "name", ["warehouse.duckdb", "my.house.duckdb", "bare", ".hidden.db", "a-b.db", "main.db", "temp", "system.duckdb"]
)
def test_table(name: str, tmp_path: Path) -> None:
    """The name of a table begins with what DuckDB itself calls the database."""
    warehouse = DuckDBWarehouse(tmp_path / name)
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 3), 3)
    ((database,),) = warehouse.query("SELECT current_database()").rows
    assert warehouse.table(JANUARY) == f"{database}.main.yellow_taxi_trips"


def _object(folder: Path, month: TripMonth, rows: int, mark: int = 0, **columns: Any) -> LakeObject:
    """A month's Parquet file whose only values are `mark`, in the first location column, and `file_month`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = LAYOUTS[month.color].arrow_schema()
    location = next(name for name in schema.names if name.lower() == "pulocationid")
    values: dict[str, Any] = {"file_month": month.first_day, location: mark}
    table = pa.table(
        {name: pa.repeat(pa.scalar(values.get(name), schema.field(name).type), rows) for name in schema.names}
    )
    for name, column in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, [column])
    path = folder / f"{month.stem} {rows} {mark}.parquet"
    pq.write_table(table, path)
    return LakeObject(month, str(path), path.stat().st_size, rows)


def _marks(warehouse: Warehouse, month: TripMonth = JANUARY) -> list[tuple[int, int]]:
    """Each mark in the month's table, and the rows that have it."""
    location = next(name for name in LAYOUTS[month.color].names if name.lower() == "pulocationid")
    found = warehouse.query(f"SELECT {location}, count(*) FROM {month.table} GROUP BY 1 ORDER BY 1")
    return [(mark, rows) for mark, rows in found.rows]


@contextmanager
def _loading(
    warehouse: DuckDBWarehouse, lake_object: LakeObject, rows: int, *, times: int = 1, pause: str = "never"
) -> Iterator[subprocess.Popen[str]]:
    """Another process that loads."""
    args = [str(warehouse.path), lake_object.uri, str(rows), str(times), pause]
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", LOAD, *args], stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _every_method(warehouse: DuckDBWarehouse, lake_object: LakeObject, rows: int) -> list[Callable[[], object]]:
    return [
        lambda: warehouse.replace_month(JANUARY, lake_object, rows),
        lambda: warehouse.count(JANUARY),
        lambda: warehouse.query("FROM yellow_taxi_trips"),
    ]


def _said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("color", COLORS)
def test_load(color: str, warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A month is loaded and counted; its table has the color's columns in order, typed and described."""
    month = TripMonth(color, "2020-02")
    assert warehouse.replace_month(month, _object(tmp_path, month, 5, mark=7), 5) == 5
    assert warehouse.count(month) == 5
    assert _marks(warehouse, month) == [(7, 5)]
    columns = warehouse.query(
        f"SELECT column_name, data_type, comment FROM duckdb_columns() WHERE table_name = '{month.table}'"
    )
    kinds = {"integer": "BIGINT", "decimal": "DOUBLE", "text": "VARCHAR", "timestamp": "TIMESTAMP", "date": "DATE"}
    expected = [(column.name, kinds[column.kind], column.meaning) for column in LAYOUTS[color].table_columns]
    assert list(columns.rows) == expected


def test_load_by_name(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """Columns are matched by name: an object with another order is not loaded shifted."""
    import pyarrow.parquet as pq

    lake_object = _object(tmp_path, JANUARY, 3, mark=9)
    table = pq.read_table(lake_object.uri)
    pq.write_table(table.select(table.column_names[::-1]), lake_object.uri)
    warehouse.replace_month(JANUARY, lake_object, 3)
    assert _marks(warehouse) == [(9, 3)]


def test_repeat_replaces(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A month that is loaded again is there once, as it was last."""
    for rows, mark in ((5, 1), (5, 1), (3, 2), (0, 3)):
        assert warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, rows, mark), rows) == rows
        assert _marks(warehouse) == ([(mark, rows)] if rows else [])


def test_months_side_by_side(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """Months of one color share a table, and one's load leaves the other alone; so do colors."""
    green = TripMonth("green", "2021-01")
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 5, 1), 5)
    warehouse.replace_month(FEBRUARY, _object(tmp_path, FEBRUARY, 4, 2), 4)
    warehouse.replace_month(green, _object(tmp_path, green, 3), 3)
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 6, 3), 6)
    assert _marks(warehouse) == [(2, 4), (3, 6)]
    assert [warehouse.count(month) for month in (JANUARY, FEBRUARY, green)] == [6, 4, 3]


def test_file_does_not_grow_without_end(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """Loading a month again and again uses the space of the copies before it."""
    # Values that do not compress, so that rows take space.
    rows = 200_000
    fares = [number * 0.7310585 % 1 for number in range(rows)]
    lake_object = _object(tmp_path, JANUARY, rows, fare_amount=fares)
    sizes = []
    for _ in range(6):
        warehouse.replace_month(JANUARY, lake_object, rows)
        sizes.append(warehouse.path.stat().st_size)
    assert sizes[0] > 1_000_000
    assert max(sizes) < 2.5 * sizes[0]


@pytest.mark.parametrize("rows", [4, 6])
def test_count_mismatch(rows: int, warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """An object with fewer or more rows than it should have is not loaded, and the old month stays."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 3, 1), 3)
    with pytest.raises(CountMismatch, match=f"yellow 2021-01.* 5 rows .*expected {rows}"):
        warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 5, 2), rows)
    assert _marks(warehouse) == [(1, 3)]


def test_count_mismatch_of_another_month(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """Another month's object is not loaded as this month's, and harms neither."""
    warehouse.replace_month(FEBRUARY, _object(tmp_path, FEBRUARY, 3, 1), 3)
    with pytest.raises(CountMismatch, match="0 rows of the month, expected 3"):
        warehouse.replace_month(JANUARY, _object(tmp_path, FEBRUARY, 3, 2), 3)
    assert _marks(warehouse) == [(1, 3)]


def test_object_without_a_column(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """An object that lacks a column is refused, not loaded with nulls; a first load that fails leaves no table."""
    import pyarrow.parquet as pq

    lake_object = _object(tmp_path, JANUARY, 3)
    pq.write_table(pq.read_table(lake_object.uri).drop_columns(["fare_amount"]), lake_object.uri)
    with pytest.raises(StoreError, match="fare_amount"):
        warehouse.replace_month(JANUARY, lake_object, 3)
    with pytest.raises(BadQuery, match="yellow_taxi_trips"):
        warehouse.query("FROM yellow_taxi_trips")


@pytest.mark.parametrize("content", [None, b"PAR1 but no Parquet"], ids=["missing", "damaged"])
def test_bad_object(content: bytes | None, warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """An object that is gone or damaged is the store's error, which names it; the old month stays."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 3, 1), 3)
    path = tmp_path / "bad.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=r"bad\.parquet"):
        warehouse.replace_month(JANUARY, LakeObject(JANUARY, str(path), 0, 3), 3)
    assert _marks(warehouse) == [(1, 3)]


def test_threads_leave_one_copy(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """Threads that load the same month at once, from the first load on, leave one copy."""
    lake_object = _object(tmp_path, JANUARY, 1000)
    loaded: list[int] = []

    def load() -> None:
        loaded.append(warehouse.replace_month(JANUARY, lake_object, 1000))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loaded == [1000] * 4
    assert warehouse.count(JANUARY) == 1000


def test_processes_leave_one_copy(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """Processes that load the same month at once, from the first load on, leave one copy."""
    lake_object = _object(tmp_path, JANUARY, 1000)
    with (
        _loading(warehouse, lake_object, 1000, times=3) as first,
        _loading(warehouse, lake_object, 1000, times=3) as second,
        _loading(warehouse, lake_object, 1000, times=3) as third,
    ):
        assert [process.wait() for process in (first, second, third)] == [0, 0, 0]
    assert warehouse.count(JANUARY) == 1000


def test_reader_sees_old_or_new(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """While another process loads, every answer is a whole month, the old one or the new one."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 1000, 1), 1000)
    seen = []
    with _loading(warehouse, _object(tmp_path, JANUARY, 3000, 2), 3000, times=4) as process:
        while process.poll() is None:
            seen.append(tuple(_marks(warehouse)))
            time.sleep(0.02)  # the lock is had by who asks first, not by who waits longest
        assert process.returncode == 0
    assert set(seen) <= {((1, 1000),), ((2, 3000),)}
    assert len(seen) > 1
    assert _marks(warehouse) == [(2, 3000)]


@pytest.mark.parametrize(
    ("pause", "left"), [("before commit", (1, 1000)), ("after commit", (2, 200_000))], ids=["old stays", "new stays"]
)
def test_killed_load(pause: str, left: tuple[int, int], warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A load that is killed leaves the old month until it has committed, the new one after; the next load works."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 1000, 1), 1000)
    lake_object = _object(tmp_path, JANUARY, 200_000, 2)
    with _loading(warehouse, lake_object, 200_000, pause=pause) as process:
        assert _said(process) == "paused"
        process.kill()
        process.wait()
    assert _marks(warehouse) == [left]
    assert warehouse.replace_month(JANUARY, lake_object, 200_000) == 200_000
    assert sorted(path.name for path in warehouse.path.parent.iterdir()) == [
        "warehouse.duckdb",
        "warehouse.duckdb.lock",
    ]


def test_killed_first_load(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A first load that is killed, even while the database is made, leaves nothing that stops the next."""
    lake_object = _object(tmp_path, JANUARY, 1000)
    with _loading(warehouse, lake_object, 1000, pause="before commit") as process:
        assert _said(process) == "paused"
        process.kill()
        process.wait()
    assert warehouse.count(JANUARY) == 0
    warehouse.path.unlink()
    warehouse.path.with_name(".warehouse.duckdb.new").write_bytes(b"half made")
    assert warehouse.replace_month(JANUARY, lake_object, 1000) == 1000
    assert sorted(path.name for path in warehouse.path.parent.iterdir()) == [
        "warehouse.duckdb",
        "warehouse.duckdb.lock",
    ]


def test_waits_are_bounded(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """Loads, counts and queries wait for another's turn to end, but not for ever, and say what they waited for."""
    lake_object = _object(tmp_path, JANUARY, 10)
    warehouse.replace_month(JANUARY, lake_object, 10)
    hurried = DuckDBWarehouse(warehouse.path, wait_s=0.1)
    with locked(warehouse.path.with_name("warehouse.duckdb.lock"), "the test"):
        for ask in _every_method(hurried, lake_object, 10):
            with pytest.raises(StoreBusy, match=f"for the warehouse {warehouse.path}"):
                ask()


def test_opened_by_another_program(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A database that a program outside this project holds open is busy: another try can mend that."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 10), 10)
    script = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    args = [sys.executable, "-c", script, str(warehouse.path)]
    with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert _said(process) == "open"
        with pytest.raises(StoreBusy, match=r"another program has the warehouse open.*PID"):
            warehouse.count(JANUARY)
        process.communicate()


def test_nothing_loaded_yet(warehouse: DuckDBWarehouse) -> None:
    """Before the first load a month has no rows, a query says what to run, and neither makes a file."""
    assert warehouse.count(JANUARY) == 0
    with pytest.raises(MissingUpstream, match="taxi materialize"):
        warehouse.query("SELECT 1")
    assert not warehouse.path.parent.exists()


def test_count_without_the_table(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A month of a color that was never loaded has no rows."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 10), 10)
    assert warehouse.count(TripMonth("fhv", "2021-01")) == 0
    assert warehouse.count(FEBRUARY) == 0


def test_query(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """An answer has the names of its columns and its rows; what has no answer has neither."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 10), 10)
    answer = warehouse.query("SELECT file_month AS month, count(*) AS trips FROM yellow_taxi_trips GROUP BY 1")
    assert answer.columns == ["month", "trips"]
    assert answer.rows == [(JANUARY.first_day, 10)]
    assert warehouse.query("-- nothing").columns == []


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELEC 1", "Parser Error"),
        ("SELECT nope FROM yellow_taxi_trips", "nope"),
        ("FROM nowhere", "nowhere"),
        ("SELECT 'x'::INTEGER", "Conversion Error"),
        ("DELETE FROM yellow_taxi_trips", "read-only"),
    ],
)
def test_bad_query(sql: str, said: str, warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """Wrong SQL, and SQL that would change something, is told in DuckDB's words; nothing changes."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 10), 10)
    with pytest.raises(BadQuery, match=said):
        warehouse.query(sql)
    assert warehouse.count(JANUARY) == 10


@pytest.mark.parametrize("damage", ["foreign", "empty", "cut"])
def test_damaged_database(damage: str, warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A file that is no database, or half of one, is told as such by every method, and is left alone."""
    lake_object = _object(tmp_path, JANUARY, 1000)
    warehouse.replace_month(JANUARY, lake_object, 1000)
    whole = warehouse.path.read_bytes()
    content = {"foreign": b"SQLite format 3\0" * 1000, "empty": b"", "cut": whole[: len(whole) // 2]}[damage]
    warehouse.path.write_bytes(content)
    for ask in _every_method(warehouse, lake_object, 1000):
        with pytest.raises(StoreError, match=f"(?s){warehouse.path} cannot be opened.*move it away"):
            ask()
    assert warehouse.path.read_bytes() == content


def test_full_disk(tmp_path: Path) -> None:
    """A load that finds no room ends in an error that says so, and leaves the old month, for which there still is."""
    with small_disk(tmp_path / "disk", 8) as disk:
        warehouse = DuckDBWarehouse(disk / "warehouse.duckdb")
        warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 1000, 1), 1000)
        with full(disk), pytest.raises(StoreError, match=f"no room for {warehouse.path}.*MB are free"):
            warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 200_000, 2), 200_000)
        assert _marks(warehouse) == [(1, 1000)]
        assert warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 2000, 3), 2000) == 2000


def test_full_disk_at_first(tmp_path: Path) -> None:
    """Where there is no room even for an empty database, none is left half made."""
    with small_disk(tmp_path / "disk", 1) as disk, full(disk):
        warehouse = DuckDBWarehouse(disk / "warehouse.duckdb")
        with pytest.raises(StoreError, match=f"no room for {warehouse.path}"):
            warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 1000, 1), 1000)
        assert not list(disk.glob("*.duckdb")) + list(disk.glob(".*.new"))


def test_closed_database(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A database of another user is no damaged one: the error says whose it is."""
    lake_object = _object(tmp_path, JANUARY, 10)
    warehouse.replace_month(JANUARY, lake_object, 10)
    warehouse.path.with_name("warehouse.duckdb.lock").chmod(0o666)
    warehouse.path.chmod(0o400)
    with closed(warehouse.path.parent):
        for ask in _every_method(warehouse, lake_object, 10):
            with pytest.raises(StoreError, match=r"Permission denied.* of user ") as caught:
                ask()
            assert "damaged" not in str(caught.value)


def test_probe(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A probe tells whether there is a database, how many tables it has, and leaves it as it was."""
    assert "not there yet" in warehouse.probe()
    assert not warehouse.path.parent.exists()
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 10), 10)
    assert "tables: 1 of 3" in warehouse.probe()
    assert warehouse.query("SELECT table_name FROM duckdb_tables()").rows == [("yellow_taxi_trips",)]


def test_probe_finds_a_foreign_table(warehouse: DuckDBWarehouse) -> None:
    """A table of a month's name that something else made is found before a load would fail of it."""
    import duckdb

    warehouse.path.parent.mkdir()
    with duckdb.connect(warehouse.path) as database:
        database.execute("CREATE TABLE fhv_taxi_trips (mine INTEGER)")
    with pytest.raises(StoreError, match=r"fhv_taxi_trips has other columns.*mine INTEGER"):
        warehouse.probe()


def test_foreign_table(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A table of the month's name with other columns is told, with the difference, and is left alone."""
    import duckdb

    warehouse.path.parent.mkdir()
    with duckdb.connect(warehouse.path) as database:
        database.execute("CREATE TABLE yellow_taxi_trips (VendorID VARCHAR, mine INTEGER)")
    lake_object = _object(tmp_path, JANUARY, 10)
    for ask in _every_method(warehouse, lake_object, 10)[:2]:
        with pytest.raises(
            StoreError, match=r"Missing: .*VendorID BIGINT.*Not expected: VendorID VARCHAR, mine INTEGER"
        ):
            ask()
    assert warehouse.query("SELECT count(*) FROM yellow_taxi_trips").rows == [(0,)]


def test_open_duckdb(tmp_path: Path) -> None:
    """`duckdb:///` is followed by a path, absolute or not."""
    for path in (tmp_path / "warehouse.duckdb", Path("home/warehouse.duckdb")):
        warehouse = open_duckdb(f"duckdb:///{path}")
        assert isinstance(warehouse, DuckDBWarehouse)
        assert warehouse.path == path


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("bigquery://project/dataset", "expected duckdb:///path"),
        ("postgresql://me:s3cret@host/db", "postgresql://: expected duckdb:///path"),
        ("duckdb://host/path", "expected duckdb:///path"),
    ],
)
def test_refused_url(url: str, said: str) -> None:
    """What cannot be a warehouse here is refused, without repeating what may be secret."""
    with pytest.raises(SettingsError, match=said) as caught:
        open_duckdb(url)
    assert "s3cret" not in str(caught.value)


def test_remove(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A month's rows go, and are told; another month's stay, and the month can be loaded again."""
    for month, rows in ((JANUARY, 3), (FEBRUARY, 4)):
        warehouse.replace_month(month, _object(tmp_path, month, rows, mark=1), rows)
    held = warehouse.held(JANUARY)
    assert [holding.rows for holding in held] == [3]
    assert warehouse.remove(JANUARY) == held
    assert (warehouse.remove(JANUARY), warehouse.held(JANUARY)) == ([], [])
    assert [warehouse.count(month) for month in (JANUARY, FEBRUARY)] == [0, 4]
    assert warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 5), 5) == 5


def test_remove_waits_for_its_turn(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """While another has the warehouse, nothing is removed; who waits for too long is told."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 3), 3)
    warehouse.wait_s = 0.1
    with locked(warehouse.path.with_name("warehouse.duckdb.lock"), "a test"), pytest.raises(StoreBusy):
        warehouse.remove(JANUARY)
    assert warehouse.count(JANUARY) == 3
