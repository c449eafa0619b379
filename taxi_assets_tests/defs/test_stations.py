"""What a run of the stations leaves: metadata, checks, files and tables; and what it leaves alone when it fails."""

import gzip
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest

from taxi_assets.defs.build import build_definitions
from taxi_assets.defs.checks import CHECKS
from taxi_assets.defs.history import read_history
from taxi_assets.defs.jobs import LOAD_TRIPS, STATIONS
from taxi_assets.defs.partitions import partition_key, trip_partitions
from taxi_assets.news import News, Standing
from taxi_assets.settings import Settings
from taxi_assets.stores.duckdb import DuckDBWarehouse
from taxi_assets.stores.lake import LakeObject
from taxi_assets.systems import open_postgres, open_warehouse
from taxi_assets.tlc.parquet import read_source
from taxi_assets.tlc.sample import write_sample
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests.defs.installation import Installation
from taxi_assets_tests.months import publish

ROWS = 2_000


class Stations(Installation):
    """An installation, and what its stores hold."""

    def __init__(self) -> None:
        super().__init__()
        self.home = self.settings.home
        self.postgres = open_postgres(self.settings)
        self.warehouse = open_warehouse(self.settings)

    def publish(self, month: TripMonth, rows: int = ROWS) -> Path:
        """Let the source have a month."""
        return publish(Path(self.settings.source_url), month, rows)

    def checks(self, run_id: str) -> dict[tuple[str, str], bool]:
        """The checks that a run evaluated, and whether they passed."""
        records = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        found = (entry.dagster_event.asset_check_evaluation_data for entry in records if entry.dagster_event)
        return {(check.asset_key.to_user_string(), check.check_name): check.passed for check in found}


@pytest.fixture
def installation(home: Path) -> Iterator[Stations]:
    """An installation with nothing loaded."""
    with closing(Stations()) as made:
        assert made.home == home
        yield made


@pytest.mark.parametrize("color", COLORS)
def test_a_month_passes_all_stations(color: str, installation: Stations) -> None:
    """Every color goes the same way: each store has the rows, each check passes, each station tells its counts."""
    month = TripMonth(color, "2021-03")
    installation.publish(month)
    told = installation.run(month)
    assert told[-1].what is News.done, told[-1].error
    assert [news.station for news in told if news.what is News.station_done] == list(STATIONS_AS_RUN)
    zero = installation.metadata("clean_trips", month)["zero_passengers"]
    rows = {station: installation.metadata(station, month)["dagster/partition_row_count"] for station in STATIONS}
    assert rows == dict.fromkeys(STATIONS, ROWS) | {"postgres_trips": ROWS - zero}
    assert installation.warehouse.count(month) == ROWS
    assert installation.postgres.count(month) == ROWS - zero
    passed = installation.checks(told[-1].run_id)
    assert set(passed) == {(asset, name) for asset, checks in CHECKS.items() for name in checks}
    assert all(ok for (_, name), ok in passed.items() if name != "pickups_in_month")


STATIONS_AS_RUN = ("raw_trips", "clean_trips", "lake_trips", "postgres_trips", "warehouse_trips")
"""Dagster runs what is ready in the order of names."""


def test_clean_metadata_is_that_of_the_file(installation: Stations) -> None:
    """What the UI shows of a clean month is what another reader finds in the file."""
    month = TripMonth("green", "2021-03")
    installation.publish(month)
    installation.run(month, "raw_trips", "clean_trips")
    told = installation.metadata("clean_trips", month)
    place = installation.home / "clean/green/green_tripdata_2021-03.parquet"
    table = pq.read_table(place)
    assert told["path"] == str(place)
    assert told["bytes"] == place.stat().st_size
    assert told["missing_passengers"] == table["passenger_count"].null_count > 0
    assert read_source(place) == installation.metadata("raw_trips", month)["sha256"]
    nulls = {record.data["column"]: record.data["rows"] for record in told["nulls_by_column"].records}
    assert nulls == {name: table[name].null_count for name in LAYOUTS["green"].names}
    assert [column.name for column in told["dagster/column_schema"].columns] == table.column_names
    assert told["preview"].records[0].data["trip_distance"] == table["trip_distance"][0].as_py()


def test_the_lake_rule_tells_before_and_after(installation: Stations) -> None:
    """The passenger rule of the lake is told with its counts, and the clean file keeps what was missing."""
    month = TripMonth("green", "2021-03")
    installation.publish(month)
    installation.run(month)
    told = installation.metadata("lake_trips", month)
    missing = installation.metadata("clean_trips", month)["missing_passengers"]
    assert (told["rule"], told["missing_passengers_before"], told["missing_passengers_after"]) == ("zero", missing, 0)
    lake = pq.read_table(installation.home / "lake" / month.object_name)
    assert lake["passenger_count"].null_count == 0


def test_the_rules_can_be_settings(installation: Stations, monkeypatch: pytest.MonkeyPatch) -> None:
    """With both rules at `keep`, the lake misses what was missing, and Postgres has every row."""
    month = TripMonth("yellow", "2021-03")
    installation.publish(month)
    monkeypatch.setenv("TAXI_MISSING_PASSENGERS", "keep")
    monkeypatch.setenv("TAXI_ZERO_PASSENGERS", "keep")
    installation.definitions = build_definitions(Settings.load())
    told = installation.run(month)
    assert installation.metadata("lake_trips", month)["missing_passengers_after"] > 0
    assert installation.checks(told[-1].run_id)["lake_trips", "no_missing_passengers"]
    assert installation.postgres.count(month) == ROWS


def test_the_rules_can_be_run_config(installation: Stations) -> None:
    """One run may differ from the settings: the course's parameters at run time."""
    month = TripMonth("yellow", "2021-04")
    installation.publish(month)
    result = installation.definitions.resolve_job_def(LOAD_TRIPS).execute_in_process(
        partition_key=partition_key(month),
        instance=installation.instance,
        run_config={
            "ops": {
                "lake_trips": {"config": {"missing_passengers": "keep"}},
                "postgres_trips": {"config": {"zero_passengers": "keep"}},
            }
        },
    )
    assert result.success
    assert installation.metadata("lake_trips", month)["rule"] == "keep"
    assert installation.postgres.count(month) == ROWS


def test_a_second_run_leaves_one_copy_and_the_same_bytes(installation: Stations) -> None:
    """A month that is run again, with the same input, has the same files and as many rows."""
    month = TripMonth("fhv", "2021-03")
    installation.publish(month)
    files = [
        installation.home / "clean/fhv/fhv_tripdata_2021-03.parquet",
        installation.home / "lake" / month.object_name,
    ]
    installation.run(month)
    before = [file.read_bytes() for file in files]
    installation.run(month)
    assert [file.read_bytes() for file in files] == before
    assert (installation.warehouse.count(month), installation.postgres.count(month)) == (ROWS, ROWS)


def test_the_data_version_of_raw_is_the_sha256_of_the_source(installation: Stations) -> None:
    """A file that was published again has another data version, so that Dagster shows what is stale."""
    import hashlib

    month = TripMonth("fhv", "2021-03")
    place = installation.publish(month)
    installation.run(month, "raw_trips")
    record = installation.instance.fetch_materializations(dg.AssetKey("raw_trips"), limit=1).records[0]
    assert record.asset_materialization
    tags = record.asset_materialization.tags or {}
    assert tags["dagster/data_version"] == hashlib.sha256(place.read_bytes()).hexdigest()


def _break_lines(place: Path, every: int) -> None:
    """Let every so many rows of a raw file not parse."""
    with gzip.open(place, "rb") as file:
        header, *lines = file.readlines()
    broken = [b"not,a,trip\r\n" if number % every == 0 else line for number, line in enumerate(lines, 1)]
    with gzip.open(place, "wb") as file:
        file.writelines([header, *broken])


def test_rejected_rows_are_kept_and_counted(installation: Stations) -> None:
    """Lines that do not parse, within the limit, are in the reject file with their number, reason and text."""
    month = TripMonth("yellow", "2021-03")
    _break_lines(installation.publish(month), every=500)
    told = installation.run(month)
    assert told[-1].what is News.done, told[-1].error
    rejected = pq.read_table(installation.home / "rejected/yellow/yellow_tripdata_2021-03.parquet").to_pylist()
    assert [reject["line"] for reject in rejected] == [501, 1001, 1501, 2001]
    assert {(reject["reason"], reject["text"]) for reject in rejected} == {("3 fields instead of 18", "not,a,trip")}
    metadata = installation.metadata("clean_trips", month)
    assert (metadata["raw_rows"], metadata["dagster/partition_row_count"], metadata["rejected_rows"]) == (
        ROWS,
        ROWS - 4,
        4,
    )
    assert installation.warehouse.count(month) == ROWS - 4


def test_a_mended_source_leaves_no_old_rejects(installation: Stations) -> None:
    """Once a month has no rejected lines any more, the reject file of an earlier run is gone."""
    month = TripMonth("yellow", "2021-03")
    _break_lines(installation.publish(month), every=500)
    installation.run(month, "raw_trips", "clean_trips")
    installation.publish(month)
    installation.run(month, "raw_trips", "clean_trips")
    assert not list((installation.home / "rejected").rglob("*.parquet"))


def test_too_many_rejects_publish_nothing(installation: Stations) -> None:
    """Above the limit the month fails at clean_trips, says why, and every place keeps the month it had."""
    month = TripMonth("yellow", "2021-03")
    installation.publish(month)
    installation.run(month)
    clean = installation.home / "clean/yellow/yellow_tripdata_2021-03.parquet"
    before = clean.read_bytes()
    _break_lines(installation.publish(month, rows=600), every=10)
    told = installation.run(month)
    assert (told[-1].what, told[-1].station) == (News.failed, "clean_trips")
    assert "of 600 rows do not parse" in told[-1].error
    assert "TAXI_REJECT_LIMIT=0.01" in told[-1].error
    assert clean.read_bytes() == before
    assert installation.warehouse.count(month) == ROWS
    assert not list(installation.home.rglob("*.staged"))


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b"<html></html>", "an HTML page"), (gzip.compress(b"a,b\n1,2\n" * 9000)[:-20], "cut short")],
    ids=["empty", "a web page", "cut short"],
)
def test_a_file_that_is_no_csv_is_never_published(content: bytes, said: str, installation: Stations) -> None:
    """A raw file that cannot be read to its end fails its month, and does not appear under its name."""
    month = TripMonth("green", "2021-03")
    installation.publish(month).write_bytes(content)
    told = installation.run(month)
    assert (told[-1].what, told[-1].station) == (News.failed, "raw_trips")
    assert said in told[-1].error
    assert "green_tripdata_2021-03.csv.gz" in told[-1].error
    assert not [path for path in (installation.home / "raw").rglob("*") if path.is_file()]


def test_a_failure_is_told_where_it_happened(installation: Stations, monkeypatch: pytest.MonkeyPatch) -> None:
    """When Postgres cannot be reached, it is postgres_trips that failed, and the warehouse is loaded all the same."""
    month = TripMonth("green", "2021-03")
    installation.publish(month, rows=100)
    monkeypatch.setenv("TAXI_POSTGRES_URL", "postgresql://taxi:hunter2@127.0.0.1:9/none")
    told = installation.run(month)
    assert (told[-1].what, told[-1].station) == (News.failed, "postgres_trips")
    assert "127.0.0.1" in told[-1].error
    assert "hunter2" not in told[-1].error
    assert installation.warehouse.count(month) == 100


def test_a_header_without_rows_empties_nothing(installation: Stations) -> None:
    """A source that has a header only is an error, and the month that was loaded stays."""
    month = TripMonth("green", "2021-03")
    installation.publish(month, rows=100)
    installation.run(month)
    installation.publish(month, rows=0)
    told = installation.run(month)
    assert (told[-1].what, told[-1].station) == (News.failed, "raw_trips")
    assert "a header and no rows" in told[-1].error
    assert installation.warehouse.count(month) == 100


def test_a_month_of_another_color_is_not_published(installation: Stations) -> None:
    """A file whose header is another color's is refused before it appears as raw."""
    month = TripMonth("yellow", "2021-03")
    place = installation.publish(month)
    write_sample(TripMonth("green", "2021-03"), 100, place)
    told = installation.run(month)
    assert (told[-1].what, told[-1].station) == (News.failed, "raw_trips")
    assert "unknown: lpep_pickup_datetime" in told[-1].error


def test_history_tells_what_is_stale(installation: Stations) -> None:
    """A month whose raw file is newer than what was made of it is stale, and shows the rows that the warehouse has."""
    month = TripMonth("green", "2021-03")
    installation.publish(month, rows=100)
    installation.run(month)
    installation.publish(month, rows=150)
    installation.run(month, "raw_trips")
    [history] = read_history(installation.instance, trip_partitions("2019-01"))
    assert history.standing is Standing.stale
    assert history.rows["warehouse_trips"] == 100


def test_what_cannot_be_published_leaves_nothing(installation: Stations) -> None:
    """Where a folder is in the place of the clean file, the month fails, and no staged file stays."""
    month = TripMonth("green", "2021-03")
    installation.publish(month, rows=100)
    (installation.home / "clean/green/green_tripdata_2021-03.parquet").mkdir(parents=True)
    told = installation.run(month)
    assert (told[-1].what, told[-1].station) == (News.failed, "clean_trips")
    assert not list(installation.home.rglob("*.staged"))


def test_history_tells_how_months_stand(installation: Stations) -> None:
    """Loaded, partly loaded and failed months are told apart, each with its rows by station."""
    loaded, partly, failed = (TripMonth("green", f"2021-0{number}") for number in (1, 2, 3))
    for month in (loaded, partly):
        installation.publish(month, rows=100)
    installation.run(loaded)
    installation.run(partly, "raw_trips")
    installation.run(failed)
    history = read_history(installation.instance, trip_partitions("2019-01"))
    assert [(told.month, told.standing) for told in history] == [
        (loaded, Standing.loaded),
        (partly, Standing.partly),
        (failed, Standing.failed),
    ]
    assert history[1].rows == {"raw_trips": 100}


def test_an_object_that_is_replaced_while_it_is_loaded(installation: Stations, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warehouse may have loaded either of the two: another try has the new one."""
    month = TripMonth("green", "2021-03")
    installation.publish(month)
    installation.run(month, "raw_trips", "clean_trips", "lake_trips")
    place = installation.home / "lake/data/green/green_tripdata_2021-03.parquet"
    load = DuckDBWarehouse.replace_month

    def replaced(store: DuckDBWarehouse, month: TripMonth, lake_object: LakeObject, rows: int) -> int:
        loaded = load(store, month, lake_object, rows)
        table = pq.read_table(place)
        pq.write_table(table, place, compression="none")
        return loaded

    with monkeypatch.context() as patch:
        patch.setattr(DuckDBWarehouse, "replace_month", replaced)
        told = installation.run(month, "warehouse_trips")
    assert [news.what for news in told if news.what in (News.pause, News.done)] == [News.pause, News.done]
    assert "was replaced while it was loaded" in next(news.detail for news in told if news.what is News.pause)
