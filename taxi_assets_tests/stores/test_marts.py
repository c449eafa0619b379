"""The marts, the taxi zones and the views in a warehouse, DuckDB and BigQuery."""

from pathlib import Path

import duckdb
import pandas as pd
import pytest

from taxi_assets.errors import IncompatibleTable, MissingUpstream
from taxi_assets.stores.duckdb import DuckDBWarehouse
from taxi_assets.stores.files.folder_lake import FolderLake
from taxi_assets.stores.lake import Lake
from taxi_assets.stores.warehouse import Warehouse
from taxi_assets.tlc.marts import DAILY_TRIPS, MARTS, MONTHLY_ZONE_REVENUE
from taxi_assets.tlc.trips import TripMonth
from taxi_assets.tlc.zones import built_in_zones
from taxi_assets_tests import mart_figures
from taxi_assets_tests.tlc.sampled import write_clean

GREEN, YELLOW, FHV = TripMonth("green", "2020-03"), TripMonth("yellow", "2020-02"), TripMonth("fhv", "2020-02")


def _load(system: tuple[Warehouse, Lake], month: TripMonth, rows: int, folder: Path, seed: int = 0) -> "pd.DataFrame":
    """Load a sample month into the warehouse, and return its trips."""
    warehouse, lake = system
    staged = lake.stage(month)
    write_clean(month, rows, staged.path, folder, seed)
    trips = pd.read_parquet(staged.path)
    warehouse.replace_month(month, lake.put(month, staged), rows)
    return trips


def _query(warehouse: Warehouse, sql: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in warehouse.query(sql).rows]


@pytest.fixture(params=["duckdb", pytest.param("bigquery", marks=pytest.mark.gcp_emulators)])
def system(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Warehouse, Lake]:
    """An empty warehouse and the lake that it loads from."""
    if request.param == "duckdb":
        return DuckDBWarehouse(tmp_path / "warehouse.duckdb"), FolderLake(tmp_path / "lake")
    return request.getfixturevalue("emulated_warehouse"), request.getfixturevalue("emulated_lake")


def test_marts_and_views(system: tuple[Warehouse, Lake], tmp_path: Path) -> None:
    """Marts have pandas' figures, also after a repeat and a new load, and the views follow the tables."""
    warehouse = system[0]
    with pytest.raises(MissingUpstream):
        warehouse.replace_mart(DAILY_TRIPS, GREEN)

    _load(system, GREEN, 900, tmp_path, seed=1)
    warehouse.replace_mart(DAILY_TRIPS, GREEN)
    assert _query(warehouse, "SELECT color, count(*) AS n, max(pickup_zone) AS z FROM trips GROUP BY color") == [
        ("green", 900, None)
    ]
    green = _load(system, GREEN, 3_000, tmp_path)
    fhv = _load(system, FHV, 500, tmp_path)
    for month, trips in ((GREEN, green), (FHV, fhv), (GREEN, green)):
        daily = warehouse.replace_mart(DAILY_TRIPS, month).to_pylist()
        expected = mart_figures.daily_trips(trips, month.color, month.month)
        expected = [*expected[1:], expected[0]] if expected[0]["pickup_date"] is None else expected
        assert mart_figures.differences(daily, expected) == []
        zones = warehouse.replace_mart(MONTHLY_ZONE_REVENUE, month).to_pylist()
        expected = mart_figures.monthly_zone_revenue(trips, month.color, month.month)
        expected = [*expected[1:], expected[0]] if expected[0]["zone_id"] is None else expected
        assert mart_figures.differences(zones, expected) == []
    by_color = "SELECT color, sum(trips) AS trips FROM {} GROUP BY color ORDER BY color"
    for mart in MARTS:
        assert _query(warehouse, by_color.format(mart.name)) == [("fhv", 500), ("green", 3_000)]

    yellow = _load(system, YELLOW, 400, tmp_path)
    assert warehouse.replace_zones(built_in_zones()) == warehouse.replace_zones(built_in_zones())
    assert _query(warehouse, "SELECT count(*), count(Borough) FROM taxi_zones") == [(265, 265)]
    names = dict(built_in_zones().select(["LocationID", "Zone"]).to_pandas().itertuples(index=False, name=None))
    pickups = [*yellow["PULocationID"].map(names), *green["PULocationID"].map(names)]
    zone = max({name for name in pickups if isinstance(name, str)}, key=pickups.count)
    assert _query(warehouse, f"SELECT count(*) FROM trips WHERE pickup_zone = '{zone}'") == [(pickups.count(zone),)]
    assert _query(warehouse, "SELECT count(*) FROM trips") == [(3_400,)]
    assert _query(warehouse, "SELECT sum(trips) FROM monthly_zone_revenue WHERE borough IS NOT NULL") == [
        (3_000 + int(fhv["PUlocationID"].notna().sum()),)
    ]
    for view, rows in (("yellow_tripdata", 400), ("green_tripdata", 3_000), ("fhv_tripdata", 500)):
        assert _query(warehouse, f"SELECT count(*) FROM {view}") == [(rows,)]


def test_wipe(tmp_path: Path) -> None:
    """A wipe lists and deletes the month from the tables of trips and marts, and leaves the other months."""
    system = DuckDBWarehouse(tmp_path / "warehouse.duckdb"), FolderLake(tmp_path / "lake")
    warehouse = system[0]
    for month in (GREEN, TripMonth("green", "2020-04")):
        _load(system, month, 300, tmp_path)
        for mart in MARTS:
            warehouse.replace_mart(mart, month)
    wiped = {"green_taxi_trips", "green_daily_trips", "green_monthly_zone_revenue"}
    listed, removed = warehouse.stored_items(GREEN), warehouse.remove(GREEN)
    assert listed == removed
    assert {name for name in wiped for item in removed if name in item.place} == wiped
    assert len(removed) == len(wiped)
    assert (warehouse.stored_items(GREEN), warehouse.remove(GREEN)) == ([], [])
    assert _query(warehouse, "SELECT sum(trips) FROM daily_trips") == [(300,)]


def test_names_of_other_tables_and_views(tmp_path: Path) -> None:
    """Tables and views that somebody else created stay as they are, and do not prevent a load."""
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(path) as database:
        database.execute("CREATE TABLE trips AS SELECT 1 AS mine")
        database.execute("CREATE VIEW green_tripdata AS SELECT 2 AS mine")
        database.execute("CREATE TABLE taxi_zones AS SELECT 3 AS mine")
        database.execute("CREATE TABLE green_daily_trips AS SELECT 4 AS mine")
    system = DuckDBWarehouse(path), FolderLake(tmp_path / "lake")
    _load(system, GREEN, 100, tmp_path)
    system[0].replace_mart(MONTHLY_ZONE_REVENUE, GREEN)
    for mart in (lambda: system[0].replace_mart(DAILY_TRIPS, GREEN), lambda: system[0].replace_zones(built_in_zones())):
        with pytest.raises(IncompatibleTable):
            mart()
    system[0].remove(GREEN)
    mine = "SELECT mine FROM {}"
    names = ("trips", "green_tripdata", "taxi_zones", "green_daily_trips")
    assert [_query(system[0], mine.format(name)) for name in names] == [[(1,)], [(2,)], [(3,)], [(4,)]]
