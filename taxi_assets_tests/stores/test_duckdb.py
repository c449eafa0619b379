"""The DuckDB warehouse: atomic loads, concurrent readers and writers, killed loads, and errors."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from taxi_assets.errors import (
    TRANSIENT,
    BadQuery,
    DamagedFile,
    DamagedWarehouse,
    DiskFull,
    DuckDBError,
    IncompatibleTable,
    InputChanged,
    InvalidWarehouseUrl,
    MissingUpstream,
    NoPermission,
    NotComputed,
    NothingLoaded,
    ReadOnlyDisk,
    StoreBusy,
    TaxiAssetsError,
    UnknownTable,
    WarehouseOpenElsewhere,
    WrongFileType,
    ZonesNotLoaded,
)
from taxi_assets.stores.duckdb import DuckDBWarehouse, open_duckdb
from taxi_assets.stores.files.folder_lake import FolderLake
from taxi_assets.stores.files.locks import locked
from taxi_assets.stores.lake import LakeObject
from taxi_assets.stores.warehouse import Warehouse
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests import first_release
from taxi_assets_tests.machine import closed, full, read_only, small_disk
from taxi_assets_tests.months import location, write_month

JANUARY = TripMonth("yellow", "2021-01")
FEBRUARY = TripMonth("yellow", "2021-02")

# Loads a month in another process, which pauses before or after it commits, or never.
LOAD = """
import sys
from pathlib import Path

import duckdb

from taxi_assets.stores.duckdb import DuckDBWarehouse
from taxi_assets.stores.files.folder_lake import FolderLake
from taxi_assets.stores.lake import LakeObject
from taxi_assets.tlc.trips import TripMonth

path, uri, rows, loads, pause = sys.argv[1:]
connect = duckdb.connect

class PausingConnection:
    def __init__(self, connection):
        self.connection = connection

    def __getattr__(self, name):
        return getattr(self.connection, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.connection.close()

    def commit(self):
        self.pause("before commit")
        self.connection.commit()
        self.pause("after commit")

    def pause(self, when):
        if when == pause:
            print("paused", flush=True)
            sys.stdin.read()

duckdb.connect = lambda *args, **options: PausingConnection(connect(*args, **options))

month = TripMonth("yellow", "2021-01")
lake_object = LakeObject(month, uri, 0, int(rows), lake=FolderLake(Path(uri).parent))
for _ in range(int(loads)):
    DuckDBWarehouse(Path(path)).replace_month(month, lake_object, int(rows))
"""


@pytest.fixture
def warehouse(tmp_path: Path) -> DuckDBWarehouse:
    """A warehouse without a month, in a folder that does not exist yet."""
    return DuckDBWarehouse(tmp_path / "home" / "warehouse.duckdb", wait_s=20)


@pytest.mark.parametrize(
    "name", ["warehouse.duckdb", "my.house.duckdb", "bare", ".hidden.db", "a-b.db", "main.db", "temp", "system.duckdb"]
)
def test_table(name: str, tmp_path: Path) -> None:
    """A table's qualified name starts with DuckDB's own name of the database."""
    warehouse = DuckDBWarehouse(tmp_path / name)
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 3), 3)
    ((database,),) = warehouse.query("SELECT current_database()").rows
    assert warehouse.table(JANUARY) == f"{database}.main.yellow_taxi_trips"


def _object(folder: Path, month: TripMonth, rows: int, mark: int = 0, **columns: Any) -> LakeObject:
    """Write a month's Parquet file whose only values are `mark`, in the first location column, and `file_month`."""
    path = folder / f"{month.stem} {rows} {mark}.parquet"
    write_month(path, month, rows, mark, **columns)
    return _lake_object(path, month, rows)


def _lake_object(path: Path, month: TripMonth, rows: int) -> LakeObject:
    return LakeObject(month, str(path), path.stat().st_size, rows, lake=FolderLake(path.parent))


def _marks(warehouse: Warehouse, month: TripMonth = JANUARY) -> list[tuple[int, int]]:
    """Return each mark in the month's table, and its number of rows."""
    found = warehouse.query(f"SELECT {location(month)}, count(*) FROM {month.table} GROUP BY 1 ORDER BY 1")
    return [(mark, rows) for mark, rows in found.rows]


@contextmanager
def _loading(
    warehouse: DuckDBWarehouse, lake_object: LakeObject, rows: int, *, loads: int = 1, pause: str = "never"
) -> Iterator[subprocess.Popen[str]]:
    """Load the object in another process."""
    args = [str(warehouse.path), lake_object.uri, str(rows), str(loads), pause]
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", LOAD, *args], stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _calls(warehouse: DuckDBWarehouse, lake_object: LakeObject, rows: int) -> list[Callable[[], object]]:
    return [
        lambda: warehouse.replace_month(JANUARY, lake_object, rows),
        lambda: warehouse.count(JANUARY),
        lambda: warehouse.query("FROM yellow_taxi_trips"),
    ]


def _next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("color", COLORS)
def test_load(color: str, warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """Load and count a month. Its table has the color's columns in order, with types and comments."""
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


def test_load_into_a_table_of_the_first_release(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """The columns that a load adds have types and comments."""
    _load_with_first_release(warehouse, JANUARY, 3)
    warehouse.replace_month(FEBRUARY, _object(tmp_path, FEBRUARY, 5), 5)
    later = [column for column in LAYOUTS["yellow"].columns if column.name not in first_release.COLUMNS["yellow"]]
    columns = warehouse.query(
        f"SELECT column_name, data_type, comment FROM duckdb_columns() WHERE table_name = '{JANUARY.table}'"
    )
    kinds = {"decimal": "DOUBLE", "text": "VARCHAR"}
    expected = [(column.name, kinds[column.kind], column.meaning) for column in later]
    assert list(columns.rows)[-len(later) :] == expected


def test_failed_load_into_a_table_of_the_first_release(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A load that fails neither adds columns nor changes a month."""
    _load_with_first_release(warehouse, JANUARY, 3)
    with pytest.raises(InputChanged):
        warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 5), 6)
    result = warehouse.query("FROM yellow_taxi_trips")
    assert (list(result.columns), len(result.rows)) == (list(first_release.COLUMNS["yellow"]), 3)


def _load_with_first_release(warehouse: DuckDBWarehouse, month: TripMonth, rows: int) -> None:
    file = warehouse.path.parent.with_name("month.parquet")
    first_release.write_month(file, month, rows)
    first_release.load_into_duckdb(warehouse.path, month, file)


def test_load_by_name(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """Columns are matched by name, so the order of columns in the object does not matter."""
    import pyarrow.parquet as pq

    lake_object = _object(tmp_path, JANUARY, 3, mark=9)
    table = pq.read_table(lake_object.uri)
    pq.write_table(table.select(table.column_names[::-1]), lake_object.uri)
    warehouse.replace_month(JANUARY, lake_object, 3)
    assert _marks(warehouse) == [(9, 3)]


def test_reload_replaces_the_month(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """After several loads of a month, the table has only the rows of the last one."""
    for rows, mark in ((5, 1), (5, 1), (3, 2), (0, 3)):
        assert warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, rows, mark), rows) == rows
        assert _marks(warehouse) == ([(mark, rows)] if rows else [])


def test_months_and_colors_are_independent(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A load changes neither other months in the same table nor other colors."""
    green = TripMonth("green", "2021-01")
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 5, 1), 5)
    warehouse.replace_month(FEBRUARY, _object(tmp_path, FEBRUARY, 4, 2), 4)
    warehouse.replace_month(green, _object(tmp_path, green, 3), 3)
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 6, 3), 6)
    assert _marks(warehouse) == [(2, 4), (3, 6)]
    assert [warehouse.count(month) for month in (JANUARY, FEBRUARY, green)] == [6, 4, 3]


def test_reloads_reuse_space(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """Repeated loads of a month reuse the space of the earlier rows."""
    # These values do not compress, so the rows need space.
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
    """An object with fewer or more rows than expected is not loaded, and the month stays as it was."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 3, 1), 3)
    lake_object = _object(tmp_path, JANUARY, 5, 2)
    with pytest.raises(InputChanged) as error:
        warehouse.replace_month(JANUARY, lake_object, rows)
    assert error.value.facts == {
        **JANUARY.facts,
        "uri": lake_object.uri,
        "asset": "lake_trips",
        "seen": 5,
        "expected": rows,
    }
    assert _marks(warehouse) == [(1, 3)]


def test_count_mismatch_of_another_month(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """An object with rows of another month is not loaded, and neither month changes."""
    warehouse.replace_month(FEBRUARY, _object(tmp_path, FEBRUARY, 3, 1), 3)
    with pytest.raises(InputChanged) as error:
        warehouse.replace_month(JANUARY, _object(tmp_path, FEBRUARY, 3, 2), 3)
    assert (error.value.facts["seen"], error.value.facts["expected"]) == (0, 3)
    assert _marks(warehouse) == [(1, 3)]


def test_object_without_a_column(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """An object without one of the columns is an error, and a failed first load leaves no table."""
    import pyarrow.parquet as pq

    lake_object = _object(tmp_path, JANUARY, 3)
    pq.write_table(pq.read_table(lake_object.uri).drop_columns(["fare_amount"]), lake_object.uri)
    with pytest.raises(DamagedFile) as error:
        warehouse.replace_month(JANUARY, lake_object, 3)
    assert "fare_amount" in str(error.value)
    assert warehouse.query("SELECT table_name FROM duckdb_tables()").rows == []


@pytest.mark.parametrize("damage", ["missing", "not Parquet", "damaged rows"])
def test_unusable_object(damage: str, warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """The error for a missing or damaged object has its month and path, and the month stays as it was."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 3, 1), 3)
    lake_object = _object(tmp_path, JANUARY, 3000, 2)
    path = Path(lake_object.uri)
    content = path.read_bytes()
    footer = int.from_bytes(content[-8:-4], "little") + 8
    path.unlink()
    if damage != "missing":
        damaged_rows = content[:4] + bytes(len(content) - footer - 4) + content[-footer:]
        path.write_bytes(damaged_rows if damage == "damaged rows" else b"PAR1 but no Parquet")
    kind: type[TaxiAssetsError] = MissingUpstream if damage == "missing" else DamagedFile
    with pytest.raises(kind) as error:
        warehouse.replace_month(JANUARY, lake_object, 3000)
    assert error.value.facts == {**JANUARY.facts, "uri": lake_object.uri, "asset": "lake_trips"}
    assert _marks(warehouse) == [(1, 3)]


def test_object_that_cannot_be_opened(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """The error for an object that DuckDB cannot open has the month, and the month stays as it was."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 3, 1), 3)
    folder = tmp_path / "folder.parquet"
    folder.mkdir()
    with pytest.raises(DuckDBError) as error:
        warehouse.replace_month(JANUARY, _lake_object(folder, JANUARY, 3), 3)
    assert error.value.facts == {**JANUARY.facts, "path": str(warehouse.path)}
    assert str(folder) in str(error.value)
    assert _marks(warehouse) == [(1, 3)]


def test_concurrent_loads_in_threads(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """Threads that load the same month into a new warehouse at the same time leave one copy of its rows."""
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


def test_concurrent_loads_in_processes(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """Processes that load the same month into a new warehouse at the same time leave one copy of its rows."""
    lake_object = _object(tmp_path, JANUARY, 1000)
    with (
        _loading(warehouse, lake_object, 1000, loads=3) as first,
        _loading(warehouse, lake_object, 1000, loads=3) as second,
        _loading(warehouse, lake_object, 1000, loads=3) as third,
    ):
        assert [process.wait() for process in (first, second, third)] == [0, 0, 0]
    assert warehouse.count(JANUARY) == 1000


def test_readers_see_complete_months(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """While another process loads a month, each query returns either all old rows or all new rows."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 1000, 1), 1000)
    seen = []
    with _loading(warehouse, _object(tmp_path, JANUARY, 3000, 2), 3000, loads=4) as process:
        while process.poll() is None:
            seen.append(tuple(_marks(warehouse)))
            time.sleep(0.02)  # the lock is not fair: give the other process a chance
        assert process.returncode == 0
    assert set(seen) <= {((1, 1000),), ((2, 3000),)}
    assert len(seen) > 1
    assert _marks(warehouse) == [(2, 3000)]


@pytest.mark.parametrize(
    ("pause", "left"),
    [("before commit", (1, 1000)), ("after commit", (2, 200_000))],
    ids=["before commit", "after commit"],
)
def test_killed_load(pause: str, left: tuple[int, int], warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A load that is killed leaves the old rows before its commit and the new rows after it. The next load succeeds."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 1000, 1), 1000)
    lake_object = _object(tmp_path, JANUARY, 200_000, 2)
    with _loading(warehouse, lake_object, 200_000, pause=pause) as process:
        assert _next_line(process) == "paused"
        process.kill()
        process.wait()
    assert _marks(warehouse) == [left]
    assert warehouse.replace_month(JANUARY, lake_object, 200_000) == 200_000
    assert sorted(path.name for path in warehouse.path.parent.iterdir()) == [
        "warehouse.duckdb",
        "warehouse.duckdb.lock",
    ]


def test_killed_first_load(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """The next load succeeds after a first load was killed, even while it created the database."""
    lake_object = _object(tmp_path, JANUARY, 1000)
    with _loading(warehouse, lake_object, 1000, pause="before commit") as process:
        assert _next_line(process) == "paused"
        process.kill()
        process.wait()
    assert warehouse.count(JANUARY) == 0
    warehouse.path.unlink()
    warehouse.path.with_name(".warehouse.duckdb.new").write_bytes(b"incomplete")
    assert warehouse.replace_month(JANUARY, lake_object, 1000) == 1000
    assert sorted(path.name for path in warehouse.path.parent.iterdir()) == [
        "warehouse.duckdb",
        "warehouse.duckdb.lock",
    ]


def test_lock_timeout(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """Loads, counts and queries wait for the lock until the timeout. The error contains the path of the warehouse."""
    lake_object = _object(tmp_path, JANUARY, 10)
    warehouse.replace_month(JANUARY, lake_object, 10)
    impatient = DuckDBWarehouse(warehouse.path, wait_s=0.1)
    with locked(warehouse.path.with_name("warehouse.duckdb.lock"), "the test"):
        for call in _calls(impatient, lake_object, 10):
            with pytest.raises(StoreBusy) as error:
                call()
            assert str(warehouse.path) in str(error.value)


@contextmanager
def _open_elsewhere(warehouse: DuckDBWarehouse) -> Iterator[subprocess.Popen[str]]:
    """Open the database in another program, which does not know the lock file."""
    script = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    args = [sys.executable, "-c", script, str(warehouse.path)]
    with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert _next_line(process) == "open"
        yield process
        process.communicate()


def test_database_open_in_another_program(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A database that another program has open is a transient error with the ID of that process."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 10), 10)
    with _open_elsewhere(warehouse) as process, pytest.raises(WarehouseOpenElsewhere) as error:
        warehouse.count(JANUARY)
    assert error.value.facts == {"path": str(warehouse.path)}
    assert str(process.pid) in str(error.value)
    assert isinstance(error.value, TRANSIENT)


def test_nothing_loaded_yet(warehouse: DuckDBWarehouse) -> None:
    """Before the first load, a month has no rows, a query is an error, and neither creates the database."""
    assert warehouse.count(JANUARY) == 0
    with pytest.raises(NothingLoaded) as error:
        warehouse.query("SELECT 1")
    assert error.value.facts == {"path": str(warehouse.path), "color": "yellow"}
    assert not warehouse.path.parent.exists()


def test_count_without_the_table(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A month without a table or without a load has no rows."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 10), 10)
    assert warehouse.count(TripMonth("fhv", "2021-01")) == 0
    assert warehouse.count(FEBRUARY) == 0


def test_query(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A query result has column names and rows."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 10), 10)
    result = warehouse.query("SELECT file_month AS month, count(*) AS trips FROM yellow_taxi_trips GROUP BY 1")
    assert result.columns == ["month", "trips"]
    assert result.rows == [(JANUARY.first_day, 10)]


@pytest.mark.parametrize("unsafe", [False, True])
@pytest.mark.parametrize(("limit", "rows"), [(None, 25_000), (0, 0), (3, 3), (25_000, 25_000), (30_000, 25_000)])
def test_limit_of_a_query(limit: int | None, rows: int, unsafe: bool, loaded: DuckDBWarehouse) -> None:  # noqa: FBT001
    """With a limit, the first rows are returned, and all of them are counted."""
    result = loaded.query("SELECT range FROM range(25_000)", unsafe=unsafe, limit=limit)
    assert result.rows == [(number,) for number in range(rows)]
    assert result.row_count == 25_000


@pytest.mark.parametrize("unsafe", [False, True])
@pytest.mark.parametrize(
    ("sql", "seen", "hint"),
    [
        ("FROM nowhere", "nowhere", ""),
        ("SELECT count(*) FROM yellow_trips", "yellow_trips", 'Did you mean "yellow_taxi_trips"? '),
        ('FROM "two words"', "two words", ""),
        ("FROM nowhere.nothing", "nowhere.nothing", ""),
        ("DESCRIBE nowhere", "nowhere", ""),
        ("FROM yellow", "yellow", 'Did you mean "yellow_taxi_trips"? '),
        ("FROM database", "database", ""),
    ],
)
def test_unknown_table(sql: str, seen: str, hint: str, unsafe: bool, loaded: DuckDBWarehouse) -> None:  # noqa: FBT001
    """A query of a table that does not exist is an error with the tables and views that do, and the nearest one."""
    import duckdb

    with duckdb.connect(loaded.path) as database:
        database.execute("CREATE VIEW a_view AS SELECT 1 AS x; CREATE SCHEMA other; CREATE TABLE other.t (x int)")
    tables = "a_view, trips, yellow_taxi_trips, yellow_tripdata, other.t"
    with pytest.raises(UnknownTable) as error:
        loaded.query(sql, unsafe=unsafe)
    assert error.value.facts == {"seen": seen, "expected": tables}
    assert str(error.value) == f'The table "{seen}" does not exist. {hint}Existing tables: {tables}.'


@pytest.mark.parametrize("name", ["green_taxi_trips", "GREEN_TAXI_TRIPS", "main.green_taxi_trips"])
def test_table_of_a_color_without_a_month(name: str, loaded: DuckDBWarehouse) -> None:
    """A query of the table of a color of which nothing is loaded names the color, whose months the remedy loads."""
    with pytest.raises(NothingLoaded) as error:
        loaded.query(f"FROM {name}")
    assert error.value.facts["color"] == "green"
    assert "Existing tables: trips, yellow_taxi_trips, yellow_tripdata." in str(error.value)
    assert "taxi materialize --color green --months 2021-01" in error.value.explain()


@pytest.mark.parametrize(
    ("name", "kind", "command"),
    [
        ("green_daily_trips", NotComputed, "taxi materialize --color green --months MONTH --select marts"),
        ("main.monthly_zone_revenue", NotComputed, "taxi materialize --color yellow --months MONTH --select marts"),
        ("FHV_TRIPDATA", NothingLoaded, "taxi materialize --color fhv --months 2021-01"),
        ("taxi_zones", ZonesNotLoaded, "taxi materialize --color COLOR --months MONTH --select marts"),
    ],
)
def test_table_that_nothing_has_created(
    name: str, kind: type[TaxiAssetsError], command: str, loaded: DuckDBWarehouse
) -> None:
    """A query of a mart, a view or the zones that do not exist yet names the command that creates them."""
    with pytest.raises(kind) as error:
        loaded.query(f"FROM {name}")
    assert error.value.explain().endswith(f": {command} [{kind.slug}]")


@pytest.fixture
def loaded(warehouse: DuckDBWarehouse, tmp_path: Path) -> DuckDBWarehouse:
    """A warehouse with 10 rows, a CSV file in its folder, in a subfolder and beside it, and a link to each outside."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 10), 10)
    for name in ("home/inside.csv", "home/sub/inside.csv", "outside/outside.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a,b\n1,2\n")
    (tmp_path / "home/link.csv").symlink_to(tmp_path / "outside/outside.csv")
    (tmp_path / "home/folder_link").symlink_to(tmp_path / "outside")
    return warehouse


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT count(*) FROM yellow_taxi_trips", [(10,)]),
        ("FROM yellow_taxi_trips SELECT count(*)", [(10,)]),
        ("VALUES (1, 'a'), (2, 'b')", [(1, "a"), (2, "b")]),
        ("WITH one AS (SELECT 1) SELECT * FROM one", [(1,)]),
        ("SHOW TABLES", [("trips",), ("yellow_taxi_trips",), ("yellow_tripdata",)]),
        ("SELECT 1;", [(1,)]),
        ("SELECT 1; -- the end", [(1,)]),
        ("/* a */ SELECT 1 -- b", [(1,)]),
        ("SELECT 5 % 3, '%s', 'it''s; ok', $$x;y$$, 'COPY'", [(2, "%s", "it's; ok", "x;y", "COPY")]),
    ],
)
def test_allowed_query(sql: str, rows: list[tuple[object, ...]], loaded: DuckDBWarehouse) -> None:
    """One SELECT statement can have any form, comments, quotes and a trailing semicolon."""
    assert loaded.query(sql).rows == rows


@pytest.mark.parametrize(
    "sql",
    [
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE SELECT 1",
        "explain (format json) SELECT 1",
        "EXPLAIN (ANALYZE, FORMAT json) SELECT 1",
        "EXPLAIN (SELECT 1)",
        "/* a */ -- b\n EXPLAIN /* c */ ANALYZE -- d\n SELECT 1;",
        "DESCRIBE yellow_taxi_trips",
        "DESCRIBE SELECT 1",
        "SUMMARIZE yellow_taxi_trips",
        "SUMMARIZE SELECT 1",
    ],
)
def test_allowed_statement(sql: str, loaded: DuckDBWarehouse) -> None:
    """EXPLAIN, DESCRIBE and SUMMARIZE return rows."""
    assert loaded.query(sql).rows


CHANGES = [
    "DELETE FROM yellow_taxi_trips",
    "INSERT INTO yellow_taxi_trips (extra) VALUES (1)",
    "UPDATE yellow_taxi_trips SET extra = 1",
    "TRUNCATE yellow_taxi_trips",
    "DROP TABLE yellow_taxi_trips",
    "CREATE TABLE mine (x INTEGER)",
    "ALTER TABLE yellow_taxi_trips ADD COLUMN mine INTEGER",
    "COMMENT ON TABLE yellow_taxi_trips IS 'mine'",
    "WITH gone AS (DELETE FROM yellow_taxi_trips RETURNING 1) SELECT * FROM gone",
    "EXPLAIN ANALYZE DELETE FROM yellow_taxi_trips",
    "SELECT 1; DELETE FROM yellow_taxi_trips",
    "BEGIN READ WRITE; DELETE FROM yellow_taxi_trips; COMMIT",
    "SET access_mode = 'READ_WRITE'; DELETE FROM yellow_taxi_trips",
    "ATTACH '{home}/warehouse.duckdb' AS mine (READ_WRITE); DELETE FROM mine.yellow_taxi_trips",
    "ATTACH '{home}/sub/../warehouse.duckdb' AS mine (READ_WRITE); DELETE FROM mine.yellow_taxi_trips",
    "ATTACH ':memory:' AS mine; USE mine; DETACH warehouse",
]
"""Statements that would change the database."""


@pytest.mark.parametrize("unsafe", [False, True], ids=["safe", "unsafe"])
@pytest.mark.parametrize("sql", CHANGES)
def test_query_cannot_change_the_database(sql: str, unsafe: bool, loaded: DuckDBWarehouse) -> None:  # noqa: FBT001
    """SQL that would change the database is an error and changes nothing, even with `unsafe`."""
    before = loaded.path.read_bytes()
    with pytest.raises((BadQuery, DuckDBError)) as error:
        loaded.query(sql.format(home=loaded.path.parent), unsafe=unsafe)
    assert unsafe or isinstance(error.value, BadQuery)
    assert loaded.path.read_bytes() == before


@pytest.mark.parametrize(
    ("sql", "seen"),
    [
        ("", "nothing"),
        ("-- nothing", "nothing"),
        ("SELECT 1; SELECT 2", "SELECT, SELECT"),
        ("COPY yellow_taxi_trips TO '{home}/new.csv'", "COPY"),
        ("COPY (SELECT 1) TO '{outside}/new.parquet'", "COPY"),
        ("COPY yellow_taxi_trips FROM '{home}/inside.csv'", "COPY"),
        ("EXPORT DATABASE '{home}/new'", "EXPORT"),
        ("ATTACH '{home}/new.duckdb' AS mine", "ATTACH"),
        ("ATTACH ':memory:' AS mine", "ATTACH"),
        ("DETACH warehouse", "DETACH"),
        ("INSTALL httpfs", "LOAD"),
        ("FORCE INSTALL httpfs FROM core_nightly", "LOAD"),
        ("LOAD httpfs", "LOAD"),
        ("SET allowed_directories = ['/']", "SET"),
        ("SET GLOBAL enable_external_access = true", "SET"),
        ("RESET allowed_directories", "SET"),
        ("USE main", "SET"),
        ("PRAGMA threads = 1", "SET"),
        ("PRAGMA enable_profiling", "PRAGMA"),
        ("PRAGMA database_size", "PRAGMA"),
        ("CALL enable_logging()", "CALL"),
        ("CHECKPOINT", "CALL"),
        ("VACUUM", "VACUUM"),
        ("BEGIN", "TRANSACTION"),
        ("PREPARE mine AS SELECT 1", "PREPARE"),
        ("CREATE TEMP TABLE mine AS SELECT 1", "CREATE"),
        ("CREATE SECRET (TYPE s3)", "CREATE"),
        ("EXPLAIN COPY yellow_taxi_trips TO '{home}/new.csv'", "COPY"),
        ("EXPLAIN ANALYZE COPY yellow_taxi_trips TO '{home}/new.csv'", "COPY"),
        ("EXPLAIN (ANALYZE) COPY yellow_taxi_trips TO '{home}/new.csv'", "COPY"),
        ("/* EXPLAIN */ EXPLAIN /* SELECT 1 */ ANALYZE COPY yellow_taxi_trips TO '{home}/new.csv'", "COPY"),
        ("/* /* */ EXPLAIN SELECT 1 -- */ EXPLAIN ANALYZE COPY yellow_taxi_trips TO '{home}/new.csv'", "EXPLAIN"),
    ],
)
def test_query_is_one_select_statement(sql: str, seen: str, loaded: DuckDBWarehouse, tmp_path: Path) -> None:
    """Any other statement is an error with its kind, and creates no file."""
    before = _files(tmp_path)
    with pytest.raises(BadQuery) as error:
        loaded.query(sql.format(home=tmp_path / "home", outside=tmp_path / "outside"))
    assert error.value.facts == {"seen": seen}
    assert ("--unsafe" in str(error.value)) == (seen != "nothing")
    assert _files(tmp_path) == before


def _files(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("FROM '{home}/inside.csv'", [(1, 2)]),
        ("FROM read_csv('{home}/sub/*.csv')", [(1, 2)]),
        ("FROM '{home}/sub/../inside.csv'", [(1, 2)]),
        ("FROM '{home}/../home/inside.csv'", [(1, 2)]),
        ("FROM 'file:{home}/inside.csv'", [(1, 2)]),
        ("SELECT content FROM read_text('{home}/inside.csv')", [("a,b\n1,2\n",)]),
        ("SELECT count(*) FROM glob('{home}/sub/*')", [(1,)]),
        ("FROM '~/inside.csv'", [(1, 2)]),
        ("FROM 'inside.csv'", [(1, 2)]),
    ],
)
def test_query_of_files_inside(
    sql: str, rows: list[tuple[object, ...]], loaded: DuckDBWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query can read files in the folder of the warehouse, by any path."""
    home = loaded.path.parent
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    assert loaded.query(sql.format(home=home)).rows == rows


OUTSIDE = [
    "FROM '{outside}/outside.csv'",
    "FROM read_csv(['{home}/inside.csv', '{outside}/outside.csv'])",
    "FROM '{home}/../outside/outside.csv'",
    "FROM '../outside/outside.csv'",
    "FROM '{home}/link.csv'",
    "FROM '{home}/folder_link/outside.csv'",
    "FROM '{home}/folder_link/../outside/outside.csv'",
    "SELECT content FROM read_text('{home}/folder_link/.' || './outside/outside.csv')",
    "FROM '{home}/*.csv'",
    "FROM '{home}/*/outside.csv'",
    "FROM '{home}/../*/outside.csv'",
    "FROM glob('{outside}/*')",
    "FROM glob('{home}/folder_link/*')",
    "FROM '~/outside.csv'",
    "SELECT content FROM read_text('/etc/passwd')",
    "SELECT content FROM read_blob('file:///etc/passwd')",
    "FROM '/proc/self/environ'",
    "FROM sniff_csv('{outside}/outside.csv')",
    "FROM query('FROM \"{outside}/outside.csv\"')",
    "DESCRIBE FROM '{outside}/outside.csv'",
    "SUMMARIZE FROM '{outside}/outside.csv'",
    "EXPLAIN FROM '{outside}/outside.csv'",
    "FROM 'http://127.0.0.1:9/trips.csv'",
    "FROM 'https://127.0.0.1:9/trips.parquet'",
    "FROM 's3://bucket/trips.parquet'",
    "FROM 'hf://datasets/a/b.csv'",
]
"""Queries of files outside the folder of the warehouse."""


@pytest.mark.parametrize("sql", OUTSIDE)
def test_query_of_files_outside(
    sql: str, loaded: DuckDBWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query cannot read other files: by a path, a link, a pattern, or a URL."""
    monkeypatch.setenv("HOME", str(tmp_path / "outside"))
    monkeypatch.chdir(tmp_path / "home")
    with pytest.raises(BadQuery) as error:
        loaded.query(sql.format(home=tmp_path / "home", outside=tmp_path / "outside"))
    if "/proc/" not in sql:  # DuckDB takes a name without an extension for a table
        assert error.value.facts == {"path": str(tmp_path / "home")}
        assert "--unsafe" in str(error.value)


@pytest.mark.parametrize("name", ["plain", "with space", "it's", "a,b", "[x]", "*", "\u00fc"])
def test_query_in_a_folder_with_a_special_name(name: str, tmp_path: Path) -> None:
    """The folder of the warehouse can have any name: a query reads its files, and no others."""
    warehouse = DuckDBWarehouse(tmp_path / name / "warehouse.duckdb")
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 1), 1)
    for folder in (tmp_path, tmp_path / name):
        (folder / "a.txt").write_text("text")
    inside, outside = (str(folder / "a.txt").replace("'", "''") for folder in (tmp_path / name, tmp_path))
    assert warehouse.query(f"SELECT content FROM read_text('{outside}')", unsafe=True).rows == [("text",)]
    if name not in ("[x]", "*"):  # DuckDB takes these for patterns
        assert warehouse.query(f"SELECT content FROM read_text('{inside}')").rows == [("text",)]
    with pytest.raises(BadQuery):
        warehouse.query(f"SELECT content FROM read_text('{outside}')")


def test_query_in_a_linked_folder(loaded: DuckDBWarehouse, tmp_path: Path) -> None:
    """If the folder of the warehouse is a link, its files have two paths, and a query can use both."""
    (tmp_path / "link").symlink_to(tmp_path / "home")
    linked = DuckDBWarehouse(tmp_path / "link" / loaded.path.name)
    for folder in ("home", "link"):
        assert linked.query(f"FROM '{tmp_path / folder}/inside.csv'").rows == [(1, 2)]
    with pytest.raises(BadQuery):
        linked.query(f"FROM '{tmp_path}/link/../outside/outside.csv'")
    for stream in (linked.stream, linked.stream_arrow):
        with pytest.raises(BadQuery, match="add --unsafe"):
            next(stream(f"FROM '{tmp_path}/link/../outside/outside.csv'"))


def test_unsafe_query(loaded: DuckDBWarehouse, tmp_path: Path) -> None:
    """With `unsafe`, a query can read and write other files, change settings, and consist of several statements."""
    outside = tmp_path / "outside"
    assert loaded.query(f"FROM '{outside}/outside.csv'", unsafe=True).rows == [(1, 2)]
    assert loaded.query(f"COPY (SELECT 7 AS x) TO '{outside}/new.csv'", unsafe=True).rows == [(1,)]
    assert (outside / "new.csv").read_text() == "x\n7\n"
    assert loaded.query("SET threads = 1; SELECT current_setting('threads')", unsafe=True).rows == [(1,)]
    assert loaded.query("PIVOT (SELECT 1 AS a, 2 AS b) ON a USING sum(b)", unsafe=True).rows == [(2,)]
    assert loaded.query("-- nothing", unsafe=True).columns == []


def test_load_after_a_query(loaded: DuckDBWarehouse, tmp_path: Path) -> None:
    """The limits of a query end with it: the next load reads its object from any folder."""
    loaded.query("SELECT 1")
    assert loaded.replace_month(FEBRUARY, _object(tmp_path / "outside", FEBRUARY, 3), 3) == 3


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELEC 1", "Parser Error"),
        ("SELECT nope FROM yellow_taxi_trips", "nope"),
        ("FROM nowhere", "nowhere"),
        ("SELECT 'x'::INTEGER", "Conversion Error"),
        ("DELETE FROM yellow_taxi_trips", "DELETE"),
    ],
)
def test_bad_query(sql: str, reason: str, warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """Invalid SQL, and SQL that would change data, is an error with the reason. Nothing changes."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 10), 10)
    with pytest.raises(BadQuery) as error:
        warehouse.query(sql)
    assert reason in str(error.value)
    assert warehouse.count(JANUARY) == 10


def _flipped(content: bytes, position: int) -> bytes:
    """Return the content with all bits of one byte inverted."""
    return content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "another format": lambda _: b"SQLite format 3\0" * 1000,
    "text": lambda _: b"no database",
    "empty": lambda _: b"",
    "truncated in the header": lambda content: content[:10],
    "truncated after the header": lambda content: content[: 4096 * 3],
    "truncated in the middle": lambda content: content[: len(content) // 2],
    "wrong magic bytes": lambda content: _flipped(content, 8),
    "wrong main header": lambda content: _flipped(content, 100),
    "wrong database headers": lambda content: _flipped(_flipped(content, 4096 + 100), 8192 + 100),
    "wrong checksum": lambda content: _flipped(content, 4096 * 3),
    "wrong block": lambda content: _flipped(content, 4096 * 3 + 100),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_database(damage: str, warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """Every method reports a file that is damaged or not a database, and does not change it.

    The remedy is to move the file and its WAL away, and to load the months again.
    """
    lake_object = _object(tmp_path, JANUARY, 1000)
    warehouse.replace_month(JANUARY, lake_object, 1000)
    content = DAMAGES[damage](warehouse.path.read_bytes())
    warehouse.path.write_bytes(content)
    for call in (*_calls(warehouse, lake_object, 1000), warehouse.probe):
        with pytest.raises(DamagedWarehouse) as error:
            call()
        assert error.value.facts["path"] == str(warehouse.path)
        explained = error.value.explain()
        for fact in (f"{warehouse.path}.wal", "--select warehouse_trips", "[damaged-warehouse]"):
            assert fact in explained
    assert warehouse.path.read_bytes() == content


def test_damaged_rows_of_the_database(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A block of rows with a wrong checksum is found by the query that reads it."""
    fares = [number * 0.7310585 % 1 for number in range(200_000)]
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, len(fares), fare_amount=fares), len(fares))
    content = warehouse.path.read_bytes()
    damaged = []
    for block in range(1, 4):
        warehouse.path.write_bytes(_flipped(content, 4096 * 3 + block * (256 << 10) + 1000))
        try:
            warehouse.query("SELECT sum(fare_amount), count(*) FROM yellow_taxi_trips")
        except DamagedWarehouse as error:
            damaged.append(error.facts["path"])
    assert damaged
    assert set(damaged) == {str(warehouse.path)}


def test_damaged_wal(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A damaged WAL, which a killed load left, is damage of the warehouse."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 1000, 1), 1000)
    with _loading(warehouse, _object(tmp_path, JANUARY, 200_000, 2), 200_000, pause="after commit") as process:
        assert _next_line(process) == "paused"
        process.kill()
        process.wait()
    wal = warehouse.path.with_name("warehouse.duckdb.wal")
    content = wal.read_bytes()
    wal.write_bytes(_flipped(content, len(content) // 2))
    with pytest.raises(DamagedWarehouse) as error:
        warehouse.count(JANUARY)
    assert str(wal) in error.value.explain()


def _unlike_damage(error: TaxiAssetsError) -> bool:
    """Whether the explanation of an error contains no advice to move the warehouse away."""
    return not re.search(r"\bmove\b|damaged|warehouse_trips", error.explain(), re.IGNORECASE)


@pytest.mark.parametrize(
    "sql",
    [
        "FROM '{home}/mistyped.csv'",
        "FROM '{home}/checksum.parquet'",
        "FROM read_csv('{home}/corrupt database file/*.csv')",
        "FROM read_duckdb('{home}/nothing.duckdb', table_name = 'a')",
        "FROM parquet_metadata('{home}/missing.parquet')",
    ],
)
def test_mistyped_file_name(sql: str, loaded: DuckDBWarehouse) -> None:
    """A query of a file that does not exist is an error with its name, not damage of the warehouse."""
    with pytest.raises((DuckDBError, BadQuery)) as error:
        loaded.query(sql.format(home=loaded.path.parent))
    assert re.search("mistyped|checksum|corrupt|nothing|missing", str(error.value))
    assert _unlike_damage(error.value)


def test_query_of_another_damaged_file(loaded: DuckDBWarehouse) -> None:
    """If a query reads another database that is damaged, that is not damage of the warehouse."""
    import duckdb

    other = loaded.path.with_name("other.duckdb")
    with duckdb.connect(other) as database:
        database.execute("CREATE TABLE numbers AS SELECT range AS x FROM range(1000)")
    content = other.read_bytes()
    for damaged in (_flipped(content, 4096 * 3 + 100), content[: len(content) // 2], b"nothing"):
        other.write_bytes(damaged)
        with pytest.raises((DuckDBError, BadQuery)):
            loaded.query(f"FROM '{other}'")
    assert loaded.count(JANUARY) == 10


def test_too_little_memory(loaded: DuckDBWarehouse) -> None:
    """A query that needs more memory than DuckDB may use is an error with the reason, not damage."""
    sql = "SET memory_limit = '1MB'; SELECT list(x) FROM range(10000000) AS numbers(x)"
    with pytest.raises(DuckDBError) as error:
        loaded.query(sql, unsafe=True)
    assert "Out of Memory" in str(error.value)
    assert error.value.facts == {"path": str(loaded.path)}
    assert _unlike_damage(error.value)


@pytest.mark.parametrize("name", ["back\\slash.duckdb", "fol\\der/warehouse.duckdb", "fold?er/warehouse.duckdb"])
def test_path_that_duckdb_cannot_use(name: str, tmp_path: Path) -> None:
    """A path that DuckDB cannot use is an error with the path and DuckDB's reason, not damage."""
    warehouse = DuckDBWarehouse(tmp_path / name)
    with pytest.raises(DuckDBError) as error:
        warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 3), 3)
    assert error.value.facts["path"] == str(warehouse.path)
    assert "No such file" in str(error.value)
    assert _unlike_damage(error.value)


def test_full_disk(tmp_path: Path) -> None:
    """After a load that fails because the disk is full, the month is as before, and a smaller load succeeds."""
    with small_disk(tmp_path / "disk", 8) as disk:
        warehouse = DuckDBWarehouse(disk / "warehouse.duckdb")
        warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 1000, 1), 1000)
        with full(disk), pytest.raises(DiskFull) as error:
            warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 200_000, 2), 200_000)
        assert str(warehouse.path) in str(error.value)
        assert _marks(warehouse) == [(1, 1000)]
        assert warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 2000, 3), 2000) == 2000


def test_full_disk_for_a_new_database(tmp_path: Path) -> None:
    """If the disk is too full for an empty database, no incomplete one is left."""
    with small_disk(tmp_path / "disk", 1) as disk, full(disk):
        warehouse = DuckDBWarehouse(disk / "warehouse.duckdb")
        with pytest.raises(DiskFull) as error:
            warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 1000, 1), 1000)
        assert str(warehouse.path) in str(error.value)
        assert not list(disk.glob("*.duckdb")) + list(disk.glob(".*.new"))


def test_folder_instead_of_database(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A folder at the path of the database is reported as such."""
    warehouse.path.mkdir(parents=True)
    for call in _calls(warehouse, _object(tmp_path, JANUARY, 10), 10):
        with pytest.raises(WrongFileType) as error:
            call()
        assert error.value.facts["path"] == str(warehouse.path)


def test_database_of_another_user(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A database that this user may not open is reported as such, not as damaged."""
    lake_object = _object(tmp_path, JANUARY, 10)
    warehouse.replace_month(JANUARY, lake_object, 10)
    warehouse.path.with_name("warehouse.duckdb.lock").chmod(0o666)
    warehouse.path.chmod(0o400)
    with closed(warehouse.path.parent):
        for call in _calls(warehouse, lake_object, 10):
            with pytest.raises(NoPermission) as error:
                call()
            assert str(warehouse.path) in str(error.value)


def test_read_without_permission_to_write(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A user who may not write can query the database, and waits for a load like any other reader."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 10), 10)
    warehouse.wait_s = 0.1
    with closed(warehouse.path.parent):
        assert warehouse.query("SELECT count(*) FROM yellow_taxi_trips").rows == [(10,)]
    lock = warehouse.path.with_name("warehouse.duckdb.lock")
    with locked(lock, "a load"), closed(warehouse.path.parent), pytest.raises(StoreBusy):
        warehouse.count(JANUARY)
    lock.unlink()
    with closed(warehouse.path.parent):
        assert warehouse.count(JANUARY) == 10


def test_probe(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A probe counts the tables, and neither creates nor changes the database."""
    assert "tables:" not in warehouse.probe()
    assert not warehouse.path.parent.exists()
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 10), 10)
    before = warehouse.path.stat().st_mtime_ns, warehouse.path.read_bytes()
    assert "tables: 1 of 4" in warehouse.probe()
    assert before == (warehouse.path.stat().st_mtime_ns, warehouse.path.read_bytes())
    assert warehouse.query("SELECT table_name FROM duckdb_tables()").rows == [("yellow_taxi_trips",)]


def test_probe_checks_columns(warehouse: DuckDBWarehouse) -> None:
    """A probe reports a table with other columns, so that it is found before a load."""
    import duckdb

    warehouse.path.parent.mkdir()
    with duckdb.connect(warehouse.path) as database:
        database.execute("CREATE TABLE fhv_taxi_trips (mine INTEGER)")
    with pytest.raises(IncompatibleTable) as error:
        warehouse.probe()
    assert (error.value.facts["table"], error.value.facts["unexpected"]) == ("fhv_taxi_trips", "mine INTEGER")


@pytest.mark.parametrize("pause", ["before commit", "after commit"])
def test_probe_during_a_load(pause: str, warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A probe waits only a moment for a load, reports that the warehouse is in use, and the load succeeds."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 10, 1), 10)
    with _loading(warehouse, _object(tmp_path, JANUARY, 20, 2), 20, pause=pause) as process:
        assert _next_line(process) == "paused"
        started = time.monotonic()
        assert "tables:" not in warehouse.probe()
        assert time.monotonic() - started < 5
        process.communicate()
        assert process.returncode == 0
    assert _marks(warehouse) == [(2, 20)]


def test_loads_and_queries_during_probes(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """While a warehouse is probed again and again, loads of another process and queries succeed without a long wait."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 1000, 1), 1000)
    warehouse.wait_s = 5
    stop = threading.Event()
    probes: list[str] = []

    def probe() -> None:
        while not stop.is_set():
            probes.append(DuckDBWarehouse(warehouse.path).probe())
            time.sleep(0.01)  # the lock is not fair

    with ThreadPoolExecutor() as pool:
        probing = pool.submit(probe)
        with _loading(warehouse, _object(tmp_path, JANUARY, 2000, 2), 2000, loads=3) as process:
            while process.poll() is None:
                _marks(warehouse)
                time.sleep(0.01)
        stop.set()
        probing.result()
    assert process.returncode == 0
    assert any("tables: 1 of 4" in probe for probe in probes)
    assert _marks(warehouse) == [(2, 2000)]


def test_probe_while_another_program_has_the_database_open(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A probe reports another program that has the database open, because a load would fail."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 10), 10)
    with _open_elsewhere(warehouse) as process:
        with pytest.raises(WarehouseOpenElsewhere) as error:
            warehouse.probe()
        assert str(process.pid) in str(error.value)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_probe_of_a_read_only_database(what: str, warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A probe reports a database file, or its folder, that this user may not write to."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 10), 10)
    warehouse.path.with_name("warehouse.duckdb.lock").chmod(0o666)
    warehouse.path.chmod(0o444 if what == "file" else 0o666)
    with closed(warehouse.path.parent, 0o777 if what == "file" else 0o555), pytest.raises(NoPermission) as error:
        warehouse.probe()
    assert error.value.facts["path"] == str(warehouse.path if what == "file" else warehouse.path.parent)


def test_probe_of_a_read_only_disk(tmp_path: Path) -> None:
    """A probe reports a database on a disk that is mounted read-only."""
    with small_disk(tmp_path / "disk", 8) as disk:
        warehouse = DuckDBWarehouse(disk / "warehouse.duckdb")
        warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 10), 10)
        with read_only(disk), pytest.raises(ReadOnlyDisk):
            warehouse.probe()


def test_incompatible_table(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """A table with other columns is an error with the differences, and the table does not change."""
    import duckdb

    warehouse.path.parent.mkdir()
    with duckdb.connect(warehouse.path) as database:
        database.execute("CREATE TABLE yellow_taxi_trips (VendorID VARCHAR, mine INTEGER)")
    lake_object = _object(tmp_path, JANUARY, 10)
    for call in _calls(warehouse, lake_object, 10)[:2]:
        with pytest.raises(IncompatibleTable) as error:
            call()
        assert error.value.facts["table"] == "yellow_taxi_trips"
        assert "VendorID BIGINT" in str(error.value.facts["missing"])
        assert error.value.facts["unexpected"] == "VendorID VARCHAR, mine INTEGER"
    assert warehouse.query("SELECT count(*) FROM yellow_taxi_trips").rows == [(0,)]


@pytest.mark.parametrize(
    ("change", "missing", "unexpected"),
    [
        ("DROP COLUMN fare_amount", "fare_amount DOUBLE", "none"),
        ("ADD COLUMN Airport_fee VARCHAR", "none", "Airport_fee VARCHAR"),
        ("ADD COLUMN mine VARCHAR", "none", "mine VARCHAR"),
    ],
)
def test_incompatible_table_of_the_first_release(
    change: str, missing: str, unexpected: str, warehouse: DuckDBWarehouse, tmp_path: Path
) -> None:
    """A table of the first release is incompatible without one of its columns, or with another or mistyped column."""
    import duckdb

    _load_with_first_release(warehouse, JANUARY, 3)
    with duckdb.connect(warehouse.path) as database:
        database.execute(f"ALTER TABLE yellow_taxi_trips {change}")
    columns = warehouse.query("FROM yellow_taxi_trips").columns
    for call in (lambda: warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 5), 5), warehouse.probe):
        with pytest.raises(IncompatibleTable) as error:
            call()
        facts = {"table": "yellow_taxi_trips", "missing": missing, "unexpected": unexpected}
        assert error.value.facts.items() >= facts.items()
    assert warehouse.query("FROM yellow_taxi_trips").columns == columns


def test_open_duckdb(tmp_path: Path) -> None:
    """The path after `duckdb:///` can be absolute or relative."""
    for path in (tmp_path / "warehouse.duckdb", Path("home/warehouse.duckdb")):
        warehouse = open_duckdb(f"duckdb:///{path}")
        assert isinstance(warehouse, DuckDBWarehouse)
        assert warehouse.path == path


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("bigquery://project/dataset", "bigquery://"),
        ("postgresql://me:s3cret@host/db", "postgresql://"),
        ("duckdb://host/path", "duckdb://"),
        ("duckdb:////s3cret?/trips.duckdb", "?"),
        ("duckdb:////s3cret\\trips.duckdb", "\\"),
    ],
)
def test_invalid_url(url: str, seen: str) -> None:
    """The error for an invalid URL contains only what is wrong, because the rest may be secret."""
    with pytest.raises(InvalidWarehouseUrl) as error:
        open_duckdb(url)
    assert error.value.facts == {"seen": seen}
    assert "s3cret" not in str(error.value)


def test_remove(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """Remove a month's rows and return what was deleted. Other months stay, and the month can be loaded again."""
    for month, rows in ((JANUARY, 3), (FEBRUARY, 4)):
        warehouse.replace_month(month, _object(tmp_path, month, rows, mark=1), rows)
    items = warehouse.stored_items(JANUARY)
    assert [item.rows for item in items] == [3]
    assert warehouse.remove(JANUARY) == items
    assert (warehouse.remove(JANUARY), warehouse.stored_items(JANUARY)) == ([], [])
    assert [warehouse.count(month) for month in (JANUARY, FEBRUARY)] == [0, 4]
    assert warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 5), 5) == 5


def test_remove_from_a_table_of_the_first_release(warehouse: DuckDBWarehouse) -> None:
    """A month that the first release loaded can be removed, which does not add columns."""
    _load_with_first_release(warehouse, JANUARY, 3)
    _load_with_first_release(warehouse, FEBRUARY, 4)
    assert [item.rows for item in warehouse.remove(JANUARY)] == [3]
    assert [warehouse.count(month) for month in (JANUARY, FEBRUARY)] == [0, 4]
    assert list(warehouse.query("FROM yellow_taxi_trips").columns) == list(first_release.COLUMNS["yellow"])


def test_remove_waits_for_the_lock(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """Nothing is removed while another process uses the warehouse. After the timeout, that is an error."""
    warehouse.replace_month(JANUARY, _object(tmp_path, JANUARY, 3), 3)
    warehouse.wait_s = 0.1
    with locked(warehouse.path.with_name("warehouse.duckdb.lock"), "a test"), pytest.raises(StoreBusy):
        warehouse.remove(JANUARY)
    assert warehouse.count(JANUARY) == 3
