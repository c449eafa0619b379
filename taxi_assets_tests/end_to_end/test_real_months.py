"""Real months of the TLC are loaded into all assets, twice, and every count is that of an independent reading.

The months are not part of the project: REAL_TRIPS names a folder that has them, laid out as the source is.
"""

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from taxi_assets_tests.defs.daemon import running_daemon
from taxi_assets_tests.months import folder_of
from taxi_assets_tests.program import run_well

pytestmark = pytest.mark.real_trips

ASKED = (
    ("green", "2020-03..2020-07"),
    ("yellow", "2019-03..2020-04"),
    ("fhv", "2020-04"),
)
KNOWN_GREEN = {"2020-03": 223_406, "2020-04": 35_612, "2020-05": 57_360, "2020-06": 63_109, "2020-07": 72_257}
"""The rows of whole months, as published with the files."""


@dataclass
class Installation:
    """A home of its own, and the `taxi` command on it."""

    home: Path
    source: Path

    def taxi(self, *words: str) -> str:
        """What the command prints, when it succeeds."""
        settings = {"TAXI_HOME": str(self.home), "TAXI_SOURCE_URL": str(self.source)}
        return run_well("taxi", *words, settings=settings)

    def counts(self, *flags: str, color: str) -> dict[str, int]:
        """The rows by month of a color's table."""
        sql = f"SELECT file_month, count(*) FROM {color}_taxi_trips GROUP BY file_month"
        lines = self.taxi("query", "--csv", *flags, sql).splitlines()[1:]
        return {line.split(",")[0][:7]: int(line.split(",")[1]) for line in lines}


@dataclass(frozen=True)
class Reading:
    """What Python's own csv and gzip see of a raw file: its rows, those with 0 passengers, those without."""

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
    """The independent reading of every month that was asked for."""
    paths = [path for color, _ in ASKED for path in (source / color).glob("*.csv.gz")]
    return {(path.parent.name, path.name.split("_")[2][:7]): _read(path) for path in paths}


@pytest.fixture(scope="module", params=["first run", "second run"])
def installation(
    request: pytest.FixtureRequest, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """All months, loaded; the second time into the home of the first."""
    home = tmp_path_factory.getbasetemp() / "real-months"
    installed = Installation(home, source)
    for color, months in ASKED:
        installed.taxi("materialize", "--color", color, "--months", months)
    yield installed
    if request.param == "second run":
        installed.taxi("stop")


def test_known_months_have_their_known_rows(readings: dict[tuple[str, str], Reading]) -> None:
    """The independent reading itself sees the rows that whole months are known to have."""
    assert {month: readings["green", month].rows for month in KNOWN_GREEN} == KNOWN_GREEN


def test_files_have_the_rows_of_the_csv(installation: Installation, readings: dict[tuple[str, str], Reading]) -> None:
    """Clean and lake files hold every row of the CSV, as another engine counts them."""
    import duckdb

    for (color, month), reading in readings.items():
        name = f"{color}/{color}_tripdata_{month}.parquet"
        for place in (installation.home / "clean" / name, installation.home / "lake" / "data" / name):
            [(rows,)] = duckdb.execute("SELECT count(*) FROM read_parquet(?)", [str(place)]).fetchall()
            assert rows == reading.rows, place


def test_the_lake_misses_no_passengers(installation: Installation, readings: dict[tuple[str, str], Reading]) -> None:
    """In the lake, the rows that report no passengers have 0: as many more zeros as were missing."""
    import duckdb

    for (color, month), reading in readings.items():
        if color == "fhv":
            continue
        place = installation.home / "lake" / "data" / color / f"{color}_tripdata_{month}.parquet"
        asked = duckdb.execute(
            "SELECT count(*) FILTER (passenger_count = 0), count(*) - count(passenger_count) FROM read_parquet(?)",
            [str(place)],
        )
        assert asked.fetchall() == [(reading.zero + reading.missing, 0)], place


def test_the_warehouse_has_the_rows_of_the_csv(
    installation: Installation, readings: dict[tuple[str, str], Reading]
) -> None:
    """Each month of each table has the rows of its CSV, also the second time: nothing is doubled."""
    for color, _ in ASKED:
        expected = {month: reading.rows for (of, month), reading in readings.items() if of == color}
        assert installation.counts(color=color) == expected


def test_postgres_has_the_rows_of_the_csv_without_empty_trips(
    installation: Installation, readings: dict[tuple[str, str], Reading]
) -> None:
    """Postgres has the rows of the CSV less those with 0 passengers, also the second time."""
    for color, _ in ASKED:
        expected = {month: reading.rows - reading.zero for (of, month), reading in readings.items() if of == color}
        assert installation.counts("--postgres", color=color) == expected


def test_the_daemon_backfills_them(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backfill that a daemon runs loads the green months with their known rows."""
    monkeypatch.setenv("TAXI_HOME", str(tmp_path))
    monkeypatch.setenv("TAXI_SOURCE_URL", str(source))
    installed = Installation(tmp_path, source)
    installed.taxi("status")
    with running_daemon(tmp_path):
        told = installed.taxi("backfill", "--color", "green", "--months", "2020-03..2020-07", "--wait")
    assert "5 partitions, 5 runs, " in told
    assert "5 months: 5 done" in told
    assert installed.counts(color="green") == KNOWN_GREEN
    installed.taxi("stop")
