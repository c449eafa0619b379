"""Real months of the TLC are loaded into all assets, twice, and every count matches an independent count of the files.

The months are not part of the project. REAL_TRIPS names the folder that contains them, laid out like the source.
"""

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from taxi_assets.stores.duckdb import DuckDBWarehouse
from taxi_assets.tlc.marts import MARTS
from taxi_assets_tests import mart_figures
from taxi_assets_tests.defs.daemon import running_daemon
from taxi_assets_tests.end_to_end.taxi_home import TaxiHome
from taxi_assets_tests.months import folder_of

pytestmark = pytest.mark.real_trips

LOADED = (
    ("green", "2020-03..2020-07"),
    ("yellow", "2019-03..2020-04"),
    ("fhv", "2020-04"),
)
KNOWN_GREEN = {"2020-03": 223_406, "2020-04": 35_612, "2020-05": 57_360, "2020-06": 63_109, "2020-07": 72_257}
"""The row counts of complete months, as published with the files."""


@dataclass(frozen=True)
class Reading:
    """The rows of a raw file as Python's csv and gzip modules read it.

    `zero` are the rows with 0 passengers, `missing` those without a number of passengers.
    """

    rows: int
    zero: int
    missing: int


def _read(path: Path) -> Reading:
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    passengers = [row.get("passenger_count") for row in rows]
    return Reading(
        rows=len(rows),
        zero=sum(1 for value in passengers if value and float(value) == 0),
        missing=sum(1 for value in passengers if value == ""),
    )


@pytest.fixture(scope="module")
def source() -> Path:
    """The folder of real months."""
    return folder_of("REAL_TRIPS", "real months")


@pytest.fixture(scope="module")
def readings(source: Path) -> dict[tuple[str, str], Reading]:
    """The independent reading of each month to load."""
    paths = [path for color, _ in LOADED for path in (source / color).glob("*.csv.gz")]
    return {(path.parent.name, path.name.split("_")[2][:7]): _read(path) for path in paths}


@pytest.fixture(scope="module", params=["first run", "second run"])
def home(request: pytest.FixtureRequest, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaxiHome]:
    """A TAXI_HOME with all months loaded, the first time and again."""
    home = TaxiHome(tmp_path_factory.getbasetemp() / "real-months", source)
    for color, months in LOADED:
        home.taxi("materialize", "--color", color, "--months", months)
    yield home
    if request.param == "second run":
        home.taxi("stop")


def test_known_months_have_their_known_rows(readings: dict[tuple[str, str], Reading]) -> None:
    """The independent reading counts the known rows of complete months."""
    assert {month: readings["green", month].rows for month in KNOWN_GREEN} == KNOWN_GREEN


def test_files_have_the_rows_of_the_csv(home: TaxiHome, readings: dict[tuple[str, str], Reading]) -> None:
    """The clean file and the object in the lake have every row of the CSV file, as DuckDB counts them."""
    import duckdb

    for (color, month), reading in readings.items():
        name = f"{color}/{color}_tripdata_{month}.parquet"
        for place in (home.folder / "clean" / name, home.folder / "lake" / "data" / name):
            [(rows,)] = duckdb.execute("SELECT count(*) FROM read_parquet(?)", [str(place)]).fetchall()
            assert rows == reading.rows, place


def test_the_lake_has_no_missing_passengers(home: TaxiHome, readings: dict[tuple[str, str], Reading]) -> None:
    """In the lake, rows without a number of passengers have 0."""
    import duckdb

    for (color, month), reading in readings.items():
        if color == "fhv":
            continue
        place = home.folder / "lake" / "data" / color / f"{color}_tripdata_{month}.parquet"
        counts = duckdb.execute(
            "SELECT count(*) FILTER (passenger_count = 0), count(*) - count(passenger_count) FROM read_parquet(?)",
            [str(place)],
        )
        assert counts.fetchall() == [(reading.zero + reading.missing, 0)], place


def test_the_warehouse_has_the_rows_of_the_csv(home: TaxiHome, readings: dict[tuple[str, str], Reading]) -> None:
    """Each month of each table has the rows of its CSV file, also after the second run."""
    for color, _ in LOADED:
        expected = {month: reading.rows for (of, month), reading in readings.items() if of == color}
        assert home.counts(color=color) == expected


def test_postgres_has_the_rows_of_the_csv_without_empty_trips(
    home: TaxiHome, readings: dict[tuple[str, str], Reading]
) -> None:
    """Postgres has the rows of the CSV file without those with 0 passengers, also after the second run."""
    for color, _ in LOADED:
        expected = {month: reading.rows - reading.zero for (of, month), reading in readings.items() if of == color}
        assert home.counts("--postgres", color=color) == expected


def test_the_daemon_backfills_them(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backfill that the daemon runs loads the green months with their known row counts."""
    monkeypatch.setenv("TAXI_HOME", str(tmp_path))
    monkeypatch.setenv("TAXI_SOURCE_URL", str(source))
    home = TaxiHome(tmp_path, source)
    home.taxi("status")
    with running_daemon(tmp_path):
        output = home.taxi("backfill", "--color", "green", "--months", "2020-03..2020-07", "--wait")
    assert "5 partitions, 5 runs" in output
    assert "5 months: 5 done" in output
    assert home.counts(color="green") == KNOWN_GREEN
    home.taxi("stop")


def test_marts(home: TaxiHome, source: Path) -> None:
    """The marts of the complete months have the figures that pandas computes from the raw files."""
    import pandas as pd

    months = f"{min(KNOWN_GREEN)}..{max(KNOWN_GREEN)}"
    home.taxi("materialize", "--color", "green", "--months", months, "--select", "marts")
    of_pandas: dict[str, list[mart_figures.Row]] = {"pickup_date": [], "zone_id": []}
    for month in KNOWN_GREEN:
        trips = pd.read_csv(source / f"green/green_tripdata_{month}.csv.gz", low_memory=False)
        of_pandas["pickup_date"] += mart_figures.daily_trips(trips, "green", month)
        of_pandas["zone_id"] += mart_figures.monthly_zone_revenue(trips, "green", month)
    warehouse = DuckDBWarehouse(home.folder / "warehouse.duckdb")
    for mart in MARTS:
        key = mart.columns[0].name
        found = warehouse.query(f"FROM {mart.table('green')} ORDER BY file_month, {key} NULLS FIRST")
        rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
        assert mart_figures.differences(rows, of_pandas[key]) == []
