"""Tests that every warehouse passes, DuckDB and BigQuery."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from taxi_assets.errors import BadQuery, CountMismatch, DamagedFile, MissingUpstream, NothingLoaded, TaxiAssetsError
from taxi_assets.stores.duckdb import DuckDBWarehouse
from taxi_assets.stores.files.folder_lake import FolderLake
from taxi_assets.stores.lake import Lake, LakeObject
from taxi_assets.stores.warehouse import Warehouse
from taxi_assets.tlc.schema import LAYOUTS, Kind
from taxi_assets.tlc.summary import no_rows
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests import first_release
from taxi_assets_tests.months import location, write_month
from taxi_assets_tests.tlc.sampled import write_clean

if TYPE_CHECKING:
    import pyarrow as pa

MARCH = TripMonth("green", "2020-03")
APRIL = TripMonth("green", "2020-04")

Put = Callable[..., LakeObject]


@pytest.fixture(params=["duckdb", pytest.param("bigquery", marks=pytest.mark.gcp_emulators)])
def system(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Warehouse, Lake]:
    """An empty warehouse and the lake that it loads from."""
    if request.param == "duckdb":
        return DuckDBWarehouse(tmp_path / "warehouse.duckdb"), FolderLake(tmp_path / "lake")
    return request.getfixturevalue("emulated_warehouse"), request.getfixturevalue("emulated_lake")


@pytest.fixture
def warehouse(system: tuple[Warehouse, Lake]) -> Warehouse:
    """The warehouse of `system`."""
    return system[0]


@pytest.fixture
def put(system: tuple[Warehouse, Lake]) -> Put:
    """A function that publishes a month's object in the lake of `system`."""

    def put(month: TripMonth, rows: int, mark: int = 0) -> LakeObject:
        staged = system[1].stage(month)
        write_month(staged.path, month, rows, mark, "5ha")
        return system[1].put(month, staged)

    return put


def _marks(warehouse: Warehouse, month: TripMonth = MARCH) -> list[tuple[int, int]]:
    """Return each mark in the month's table, and its number of rows."""
    found = warehouse.query(
        f"SELECT {location(month)} AS mark, count(*) AS trips FROM {month.table} GROUP BY 1 ORDER BY 1"
    )
    return [(mark, rows) for mark, rows in found.rows]


@pytest.mark.parametrize("color", COLORS)
def test_load(color: str, warehouse: Warehouse, put: Put) -> None:
    """Load and count a month, with all columns of its color."""
    month = TripMonth(color, "2020-02")
    assert warehouse.replace_month(month, put(month, 5, mark=7), 5) == 5
    assert warehouse.count(month) == 5
    assert _marks(warehouse, month) == [(7, 5)]
    result = warehouse.query(f"SELECT * FROM {month.table} LIMIT 1")
    assert list(result.columns) == [column.name for column in LAYOUTS[color].table_columns]
    assert result.rows[0][result.columns.index("file_month")] == month.first_day


def test_stream(warehouse: Warehouse, put: Put) -> None:
    """A streamed query has the rows of the query, as plain values and as Arrow, and columns even without rows."""
    import pyarrow as pa

    warehouse.replace_month(MARCH, put(MARCH, 5, mark=7), 5)
    sql = f"SELECT * FROM {MARCH.table} WHERE fare_amount > 0 OR {{}} ORDER BY lpep_pickup_datetime, fare_amount"
    for condition, rows in (("true", 5), ("fare_amount > 1e9 AND false", 0)):
        text = sql.format(condition) if rows else f"SELECT * FROM {MARCH.table} WHERE false"
        expected = warehouse.query(text)
        batches = list(warehouse.stream(text))
        assert {tuple(batch.columns) for batch in batches} == {tuple(expected.columns)}
        assert [tuple(row) for batch in batches for row in batch.rows] == [tuple(row) for row in expected.rows]
        table = pa.Table.from_batches(list(warehouse.stream_arrow(text)))
        assert table.schema.equals(LAYOUTS["green"].arrow_schema().empty_table().select(expected.columns).schema)
        assert list(zip(*(column.to_pylist() for column in table.columns), strict=True)) == [
            tuple(row) for row in expected.rows
        ]
        assert table.num_rows == rows


@pytest.mark.parametrize("color", COLORS)
def test_summary(color: str, warehouse: Warehouse, system: tuple[Warehouse, Lake], tmp_path: Path) -> None:
    """The summary of a month is that of its raw file and of its lake object, and its rows are those of the object.

    Other months are not included.
    """
    import pyarrow as pa

    layout = LAYOUTS[color]
    columns = [layout.pickup, *layout.zones, "file_month"]
    for month, seed in ((TripMonth(color, "2020-02"), 1), (TripMonth(color, "2020-03"), 2)):
        staged = system[1].stage(month)
        expected = write_clean(month, 2_000 + seed, staged.path, tmp_path, seed)
        warehouse.replace_month(month, system[1].put(month, staged), 2_000 + seed)
        summary = warehouse.summarize(month)
        assert summary.differences(expected) == {}
        assert summary.differences(system[1].summarize(month)) == {}
        by_row = [(name, "ascending") for name in columns]
        loaded, put = (pa.concat_tables(store.read(month, columns)).sort_by(by_row) for store in system)
        assert loaded.equals(put)
        assert (summary.total_amount is None) == (LAYOUTS[color].total is None)


def test_summary_of_no_rows(warehouse: Warehouse, put: Put) -> None:
    """The summary of no rows is the same without a table, without a load, and after the load of an empty file."""
    assert warehouse.summarize(MARCH) == no_rows(LAYOUTS["green"])
    warehouse.replace_month(APRIL, put(APRIL, 3), 3)
    assert warehouse.summarize(MARCH) == no_rows(LAYOUTS["green"])
    warehouse.replace_month(MARCH, put(MARCH, 0), 0)
    assert warehouse.summarize(MARCH) == no_rows(LAYOUTS["green"])


def test_total_rows(warehouse: Warehouse, put: Put) -> None:
    """The row count of a table is the sum of the last loads of all its months, without other colors."""
    yellow = TripMonth("yellow", "2020-03")
    assert warehouse.total_rows(MARCH) == 0
    warehouse.replace_month(MARCH, put(MARCH, 5), 5)
    warehouse.replace_month(APRIL, put(APRIL, 4), 4)
    warehouse.replace_month(MARCH, put(MARCH, 6), 6)
    assert (warehouse.total_rows(MARCH), warehouse.total_rows(APRIL), warehouse.total_rows(yellow)) == (10, 10, 0)


def test_table(warehouse: Warehouse, put: Put) -> None:
    """A query can use the fully qualified name of a table."""
    warehouse.replace_month(MARCH, put(MARCH, 5), 5)
    parts = warehouse.table(MARCH).split(".")
    assert (len(parts), parts[-1]) == (3, "green_taxi_trips")
    quote = '"' if isinstance(warehouse, DuckDBWarehouse) else "`"
    name = ".".join(f"{quote}{part}{quote}" for part in parts)
    assert list(warehouse.query(f"SELECT count(*) FROM {name}").rows) == [(5,)]


def test_reload_replaces_the_month(warehouse: Warehouse, put: Put) -> None:
    """After several loads of a month, from the same or another object, the table has only the rows of the last one."""
    for rows, mark in ((5, 1), (5, 1), (3, 2), (8, 2)):
        assert warehouse.replace_month(MARCH, put(MARCH, rows, mark), rows) == rows
        assert _marks(warehouse) == [(mark, rows)]


def test_months_and_colors_are_independent(warehouse: Warehouse, put: Put) -> None:
    """A load changes neither other months in the same table nor other colors."""
    yellow = TripMonth("yellow", "2020-03")
    warehouse.replace_month(MARCH, put(MARCH, 5, 1), 5)
    warehouse.replace_month(APRIL, put(APRIL, 4, 2), 4)
    warehouse.replace_month(yellow, put(yellow, 3), 3)
    warehouse.replace_month(MARCH, put(MARCH, 6, 3), 6)
    assert _marks(warehouse) == [(2, 4), (3, 6)]
    assert [warehouse.count(month) for month in (MARCH, APRIL, yellow)] == [6, 4, 3]


def test_empty_month(warehouse: Warehouse, put: Put) -> None:
    """A load of an empty object deletes the rows of the month."""
    warehouse.replace_month(MARCH, put(MARCH, 5), 5)
    assert warehouse.replace_month(MARCH, put(MARCH, 0), 0) == 0
    assert warehouse.count(MARCH) == 0


def test_another_month_in_the_object(warehouse: Warehouse, put: Put, system: tuple[Warehouse, Lake]) -> None:
    """An object with rows of another month is not loaded, and neither month changes."""
    warehouse.replace_month(APRIL, put(APRIL, 3, 1), 3)
    warehouse.replace_month(MARCH, put(MARCH, 2, 2), 2)
    staged = system[1].stage(MARCH)
    write_month(staged.path, APRIL, 4, 3, "5ha")
    wrong = system[1].put(MARCH, staged)
    with pytest.raises(TaxiAssetsError) as error:
        warehouse.replace_month(MARCH, wrong, 4)
    assert error.value.facts.items() >= MARCH.facts.items()
    assert _marks(warehouse) == [(1, 3), (2, 2)]


def test_count_mismatch(warehouse: Warehouse, put: Put) -> None:
    """An object with another number of rows than expected is an error with both counts."""
    with pytest.raises(CountMismatch) as error:
        warehouse.replace_month(MARCH, put(MARCH, 5), 6)
    expected = {**MARCH.facts, "asset": "lake_trips", "seen": 5, "expected": 6}
    assert error.value.facts.items() >= expected.items()


def test_nothing_loaded_yet(warehouse: Warehouse, put: Put) -> None:
    """Before the first load, a month has no rows and a query is an error."""
    assert warehouse.count(MARCH) == 0
    with pytest.raises(NothingLoaded):
        warehouse.query("SELECT * FROM green_taxi_trips")
    warehouse.replace_month(MARCH, put(MARCH, 5), 5)
    fhv = TripMonth("fhv", "2020-03")
    assert [warehouse.count(month) for month in (APRIL, fhv)] == [0, 0]
    for month in (APRIL, fhv):
        with pytest.raises(MissingUpstream) as error:
            list(warehouse.read(month, ["file_month"]))
        assert error.value.facts["asset"] == "warehouse_trips"


def test_replace_table(warehouse: Warehouse, put: Put) -> None:
    """A table of the user's own is replaced with the result of a query. Nothing changes if the query fails.

    A table of this project cannot be replaced.
    """
    warehouse.replace_month(MARCH, put(MARCH, 5), 5)
    for rows in (5, 3):
        sql = "SELECT file_month, count(*) AS trips FROM green_taxi_trips GROUP BY file_month"
        warehouse.replace_month(MARCH, put(MARCH, rows), rows)
        assert warehouse.replace_table("my_months", sql) == 1
        assert list(warehouse.query("SELECT * FROM my_months").rows) == [(MARCH.first_day, rows)]
    bad = {"my_months": "DELETE FROM green_taxi_trips WHERE true", "green_taxi_trips": sql, "a b": sql, "mine": "SELEC"}
    for name, text in bad.items():
        with pytest.raises(BadQuery):
            warehouse.replace_table(name, text)
    assert warehouse.count(MARCH) == 3
    assert list(warehouse.query("SELECT trips FROM my_months").rows) == [(3,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELEC 1",
        "SELECT nope FROM green_taxi_trips",
        "DELETE FROM green_taxi_trips WHERE true",
        "DROP TABLE green_taxi_trips",
    ],
)
def test_bad_query(sql: str, warehouse: Warehouse, put: Put) -> None:
    """Invalid SQL, and SQL that would change data, is an error. Nothing changes."""
    warehouse.replace_month(MARCH, put(MARCH, 5), 5)
    with pytest.raises(BadQuery):
        warehouse.query(sql)
    assert warehouse.count(MARCH) == 5


def test_probe(warehouse: Warehouse, put: Put) -> None:
    """A probe counts the tables, and neither creates nor changes any."""
    assert "tables:" not in warehouse.probe()
    assert "tables:" not in warehouse.probe()
    warehouse.replace_month(MARCH, put(MARCH, 5), 5)
    assert "tables: 1 of 4" in warehouse.probe()
    assert warehouse.count(MARCH) == 5


def test_stored_items(warehouse: Warehouse, put: Put) -> None:
    """A loaded month is a stored item with its table and row count. A month that is not loaded has none to remove."""
    assert (warehouse.stored_items(MARCH), warehouse.remove(MARCH)) == ([], [])
    warehouse.replace_month(MARCH, put(MARCH, 5), 5)
    ((place, rows),) = [(item.place, item.rows) for item in warehouse.stored_items(MARCH)]
    assert MARCH.table in place
    assert rows == 5
    assert (warehouse.stored_items(APRIL), warehouse.remove(APRIL)) == ([], [])
    assert warehouse.count(MARCH) == 5


Load = Callable[[TripMonth, int], "pa.Table"]


@pytest.fixture
def load_with_first_release(system: tuple[Warehouse, Lake], tmp_path: Path) -> Load:
    """A function that loads a month into the warehouse of `system` as the first release did, and returns its rows."""
    warehouse, lake = system

    def load(month: TripMonth, rows: int) -> "pa.Table":
        if isinstance(warehouse, DuckDBWarehouse):
            table = first_release.write_month(tmp_path / "month.parquet", month, rows)
            first_release.load_into_duckdb(warehouse.path, month, tmp_path / "month.parquet")
        else:
            staged = lake.stage(month)
            table = first_release.write_month(staged.path, month, rows)
            first_release.load_into_bigquery(warehouse.table(month), month, lake.put(month, staged).uri)
        return table

    return load


def _rows(warehouse: Warehouse, month: TripMonth, columns: str = "*") -> list[dict[str, Any]]:
    """Return the values of a month by column, in the order of its pickup times; missing ones last."""
    found = warehouse.query(
        f"SELECT {columns} FROM {month.table} WHERE file_month = DATE '{month.first_day}' "
        f"ORDER BY {LAYOUTS[month.color].pickup} NULLS LAST"
    )
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


def _later(color: str) -> list[str]:
    """Return the columns that the first release does not have."""
    return [name for name in LAYOUTS[color].names if name not in first_release.COLUMNS[color]]


@pytest.mark.parametrize("color", first_release.COLUMNS)
def test_widen_a_table_of_the_first_release(
    color: str, warehouse: Warehouse, system: tuple[Warehouse, Lake], load_with_first_release: Load
) -> None:
    """A load adds later columns at the end of an existing table, in the order of a new table. Loaded months stay."""
    march, april = TripMonth(color, "2020-03"), TripMonth(color, "2020-04")
    before = load_with_first_release(march, 9).to_pylist()
    assert _rows(warehouse, march) == before
    values: dict[str, Any] = {
        column.name: [f"text {row}" if column.kind is Kind.text else row + 0.25 for row in range(4)]
        for column in LAYOUTS[color].columns
        if column.name in _later(color)
    }
    staged = system[1].stage(april)
    write_month(staged.path, april, 4, source="5ha", **values)
    warehouse.replace_month(april, system[1].put(april, staged), 4)
    columns = warehouse.query(f"SELECT * FROM {march.table} LIMIT 0").columns
    assert list(columns) == [column.name for column in LAYOUTS[color].table_columns]
    assert _rows(warehouse, march) == [row | dict.fromkeys(_later(color)) for row in before]
    loaded = _rows(warehouse, april)
    assert {name: sorted(row[name] for row in loaded) for name in values} == values
    assert (warehouse.count(march), warehouse.total_rows(march)) == (9, 13)


def test_reload_a_month_of_the_first_release(warehouse: Warehouse, put: Put, load_with_first_release: Load) -> None:
    """A load replaces a month that the first release loaded."""
    load_with_first_release(MARCH, 9)
    load_with_first_release(APRIL, 3)
    assert warehouse.replace_month(MARCH, put(MARCH, 5, mark=8), 5) == 5
    assert {row[location(MARCH)] for row in _rows(warehouse, MARCH)} == {8}
    assert (warehouse.count(MARCH), warehouse.count(APRIL), warehouse.total_rows(MARCH)) == (5, 3, 8)


def test_use_a_table_of_the_first_release(warehouse: Warehouse, load_with_first_release: Load) -> None:
    """A table of the first release is compatible, and only a load changes it."""
    load_with_first_release(MARCH, 9)
    load_with_first_release(APRIL, 3)
    assert "tables: 1 of 4" in warehouse.probe()
    assert (warehouse.count(MARCH), warehouse.total_rows(MARCH)) == (9, 12)
    assert [item.rows for item in warehouse.stored_items(MARCH)] == [9]
    columns = warehouse.query("SELECT * FROM green_taxi_trips LIMIT 0").columns
    assert list(columns) == list(first_release.COLUMNS["green"])
    later = _later("green")[0]
    rows = [row for table in warehouse.read(MARCH, [later, "file_month"]) for row in table.to_pylist()]
    assert rows == 9 * [{later: None, "file_month": MARCH.first_day}]


@pytest.mark.parametrize("color", first_release.COLUMNS)
def test_object_of_the_first_release(
    color: str, warehouse: Warehouse, system: tuple[Warehouse, Lake], load_with_first_release: Load
) -> None:
    """An object of the first release is loaded into its table. Values of later columns are missing."""
    march = TripMonth(color, "2020-03")
    load_with_first_release(TripMonth(color, "2020-04"), 3)
    staged = system[1].stage(march)
    expected = first_release.write_month(staged.path, march, 9).to_pylist()
    lake_object = system[1].put(march, staged)
    assert warehouse.replace_month(march, lake_object, 9) == 9
    assert _rows(warehouse, march) == [row | dict.fromkeys(_later(color)) for row in expected]
    assert warehouse.summarize(march).differences(lake_object.summarize()) == {}


@pytest.mark.parametrize("missing", ["fare_amount", "file_month"])
def test_object_without_a_column(missing: str, warehouse: Warehouse, put: Put, system: tuple[Warehouse, Lake]) -> None:
    """An object without a column of the first release is not loaded, and the month does not change."""
    import pyarrow.parquet as pq

    warehouse.replace_month(MARCH, put(MARCH, 5, mark=1), 5)
    staged = system[1].stage(MARCH)
    table = first_release.write_month(staged.path, MARCH, 9)
    pq.write_table(pq.read_table(staged.path).drop_columns([missing]), staged.path)
    lake_object = system[1].put(MARCH, staged)
    with pytest.raises(DamagedFile) as error:
        warehouse.replace_month(MARCH, lake_object, table.num_rows)
    assert error.value.facts == {**MARCH.facts, "uri": lake_object.uri, "asset": "lake_trips"}
    assert missing in str(error.value)
    assert _marks(warehouse) == [(1, 5)]
