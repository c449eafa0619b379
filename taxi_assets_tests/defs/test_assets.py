"""What a run of a color's assets produces: files, tables, metadata and versions; and what a failed run keeps."""

import gzip
import hashlib
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from taxi_assets.defs.build import build_definitions
from taxi_assets.graph import SOURCE_TRIPS, TRIP_ASSETS, asset_key
from taxi_assets.instance.partition_status import read_history
from taxi_assets.news import PartitionStatus, Progress
from taxi_assets.settings import Settings
from taxi_assets.stores.duckdb import DuckDBWarehouse
from taxi_assets.stores.files import StagedFile
from taxi_assets.stores.lake import LakeObject
from taxi_assets.tlc.parquet import read_source
from taxi_assets.tlc.sample import write_sample
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests.defs.store_installation import ROWS, StoreInstallation

GREEN, YELLOW = TripMonth("green", "2021-03"), TripMonth("yellow", "2021-03")


@pytest.fixture
def installation(home: Path) -> Iterator[StoreInstallation]:
    """An installation with nothing loaded."""
    with closing(StoreInstallation()) as made:
        assert made.home == home
        made.source.mkdir()
        yield made


@pytest.mark.parametrize("color", COLORS)
def test_a_month_is_loaded_into_every_asset(color: str, installation: StoreInstallation) -> None:
    """Every color is loaded the same way: each store has the rows, and each asset reports its counts."""
    month = TripMonth(color, "2021-03")
    installation.publish(month)
    told = installation.run(month)
    assert told[-1].what is Progress.done, told[-1].error
    assert [news.asset for news in told if news.what is Progress.asset_done] == list(ASSETS_AS_RUN)
    zero = installation.metadata("clean_trips", month)["zero_passengers"]
    rows = {name: installation.metadata(name, month)["dagster/partition_row_count"] for name in TRIP_ASSETS}
    assert rows == dict.fromkeys(TRIP_ASSETS, ROWS) | {"postgres_trips": ROWS - zero}
    assert installation.warehouse.count(month) == ROWS
    assert installation.postgres.count(month) == ROWS - zero
    keys = {asset_key(color, name) for name in (SOURCE_TRIPS, *TRIP_ASSETS)}
    assert set(installation.instance.all_asset_keys()) - keys == set()


ASSETS_AS_RUN = ("raw_trips", "clean_trips", "lake_trips", "postgres_trips", "warehouse_trips")
"""Dagster runs what is ready in the order of names."""


def test_clean_metadata_is_that_of_the_file(installation: StoreInstallation) -> None:
    """What the UI shows of a clean month is what another reader finds in the file."""
    installation.publish(GREEN)
    installation.run(GREEN, "raw_trips", "clean_trips")
    told = installation.metadata("clean_trips", GREEN)
    place = installation.home / "clean/green/green_tripdata_2021-03.parquet"
    table = pq.read_table(place)
    assert told["path"] == str(place)
    assert told["bytes"] == place.stat().st_size
    assert told["missing_passengers"] == table["passenger_count"].null_count > 0
    assert read_source(place) == installation.metadata("raw_trips", GREEN)["sha256"]
    nulls = {record.data["column"]: record.data["rows"] for record in told["nulls_by_column"].records}
    assert nulls == {name: table[name].null_count for name in LAYOUTS["green"].names}
    assert [column.name for column in told["dagster/column_schema"].columns] == table.column_names
    assert told["preview"].records[0].data["trip_distance"] == table["trip_distance"][0].as_py()


@pytest.mark.parametrize("color", COLORS)
def test_a_materialization_has_what_tools_look_for(color: str, installation: StoreInstallation) -> None:
    """Metadata has the location, rows, size and columns of a month, under the names that Dagster knows."""
    month = TripMonth(color, "2021-03")
    installation.publish(month)
    installation.load(month)
    told = {name: installation.metadata(name, month) for name in TRIP_ASSETS}
    files = {
        "raw_trips": installation.home / "raw" / color / f"{month.stem}.csv.gz",
        "clean_trips": installation.home / "clean" / color / f"{month.stem}.parquet",
        "lake_trips": installation.home / "lake" / month.object_name,
    }
    for name, place in files.items():
        size = place.stat().st_size
        assert told[name]["dagster/uri"] == place.as_uri()
        assert (told[name]["bytes"], told[name]["size"]) == (size, f"{size / 1000:.1f} kB")
    assert told["warehouse_trips"]["dagster/table_name"] == f"warehouse.main.{color}_taxi_trips"
    database = installation.postgres.table(month).partition(".")[0]
    assert told["postgres_trips"]["dagster/table_name"] == f"{database}.public.{color}_taxi_trips"
    columns = [column.name for column in LAYOUTS[color].table_columns]
    for name in TRIP_ASSETS[1:]:
        spelled = [column.lower() for column in columns] if name == "postgres_trips" else columns
        assert [column.name for column in told[name]["dagster/column_schema"].columns] == spelled
    assert all("seconds" in told[name] and "rows_per_second" in told[name] for name in TRIP_ASSETS)


def test_row_counts_are_of_the_partition_and_of_the_table(installation: StoreInstallation) -> None:
    """Metadata of a table has the rows of the month and of all months. A month that is loaded twice counts once."""
    february = TripMonth("green", "2021-02")
    installation.publish(february, rows=100)
    installation.publish(GREEN, rows=300)
    installation.load(february, GREEN, GREEN)
    kept = {month: installation.postgres.count(month) for month in (february, GREEN)}
    for name, expected in {"warehouse_trips": {february: 100, GREEN: 300}, "postgres_trips": kept}.items():
        told = installation.metadata(name, GREEN)
        assert told["dagster/partition_row_count"] == expected[GREEN]
        assert told["dagster/row_count"] == sum(expected.values())


def test_the_lake_rule_reports_before_and_after(installation: StoreInstallation) -> None:
    """Metadata has the passenger rule of the lake with its counts. The clean file keeps missing values."""
    installation.publish(GREEN)
    installation.run(GREEN)
    told = installation.metadata("lake_trips", GREEN)
    missing = installation.metadata("clean_trips", GREEN)["missing_passengers"]
    assert (told["rule"], told["missing_passengers_before"], told["missing_passengers_after"]) == ("zero", missing, 0)
    lake = pq.read_table(installation.home / "lake" / GREEN.object_name)
    assert lake["passenger_count"].null_count == 0


def test_the_rules_can_be_settings(installation: StoreInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    """With both rules at `keep`, the lake misses what was missing, Postgres has every row, and all checks pass."""
    installation.publish(YELLOW)
    monkeypatch.setenv("TAXI_MISSING_PASSENGERS", "keep")
    monkeypatch.setenv("TAXI_ZERO_PASSENGERS", "keep")
    installation.definitions = build_definitions(Settings.load())
    told = installation.run(YELLOW)
    missing = installation.metadata("lake_trips", YELLOW)["missing_passengers_after"]
    assert missing > 0
    checks = installation.checks(told[-1].run_id)
    assert checks["lake_trips", "verified"].metadata["missing_passengers"].value == missing
    assert all(check.passed for check in checks.values())
    assert installation.postgres.count(YELLOW) == ROWS


def test_the_rules_can_be_run_config(installation: StoreInstallation) -> None:
    """One run may differ from the settings: the course's parameters at run time."""
    installation.publish(YELLOW)
    run_id = installation.configured(
        YELLOW, lake_trips={"missing_passengers": "keep"}, postgres_trips={"zero_passengers": "keep"}
    )
    assert installation.metadata("lake_trips", YELLOW)["rule"] == "keep"
    assert installation.postgres.count(YELLOW) == ROWS
    assert all(check.passed for check in installation.checks(run_id).values())


def test_a_second_run_leaves_one_copy_and_the_same_bytes(installation: StoreInstallation) -> None:
    """A month that is run again, with the same input, has the same files, the same versions and as many rows."""
    month = TripMonth("fhv", "2021-03")
    installation.publish(month)
    files = [
        installation.home / "clean/fhv/fhv_tripdata_2021-03.parquet",
        installation.home / "lake" / month.object_name,
    ]
    installation.run(month)
    before = [file.read_bytes() for file in files]
    versions = [installation.version(name, month) for name in TRIP_ASSETS]
    installation.run(month)
    assert [file.read_bytes() for file in files] == before
    assert [installation.version(name, month) for name in TRIP_ASSETS] == versions
    assert len(set(versions)) == len(TRIP_ASSETS)
    assert (installation.warehouse.count(month), installation.postgres.count(month)) == (ROWS, ROWS)


def test_the_data_version_of_raw_is_the_sha256_of_the_source(installation: StoreInstallation) -> None:
    """The data version of a raw month is the hash of its bytes."""
    month = TripMonth("fhv", "2021-03")
    place = installation.publish(month)
    installation.run(month, "raw_trips")
    assert installation.version("raw_trips", month) == hashlib.sha256(place.read_bytes()).hexdigest()


@pytest.mark.parametrize("color", COLORS)
def test_a_version_changes_with_the_rule_where_the_color_has_passengers(
    color: str, installation: StoreInstallation
) -> None:
    """Another rule gives the lake, what is made from it and Postgres another version; of fhv it changes nothing."""
    month = TripMonth(color, "2021-03")
    installation.publish(month, rows=100)
    installation.load(month)
    before = {name: installation.version(name, month) for name in TRIP_ASSETS}
    installation.configured(
        month, lake_trips={"missing_passengers": "keep"}, postgres_trips={"zero_passengers": "keep"}
    )
    after = {name: installation.version(name, month) for name in TRIP_ASSETS}
    changed = {name for name in TRIP_ASSETS if before[name] != after[name]}
    assert changed == (set() if color == "fhv" else {"lake_trips", "warehouse_trips", "postgres_trips"})
    installation.load(month)
    assert {name: installation.version(name, month) for name in TRIP_ASSETS} == before


def test_a_selection_runs_nothing_else(installation: StoreInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of the warehouse alone neither asks the source nor evaluates checks of other assets."""
    installation.publish(GREEN, rows=100)
    installation.load(GREEN)
    asked: list[TripMonth] = []
    monkeypatch.setattr("taxi_assets.stores.source.Source.look", lambda _, month: asked.append(month))
    told = installation.run(GREEN, "warehouse_trips")
    assert told[-1].what is Progress.done, told[-1].error
    assert set(installation.checks(told[-1].run_id)) == {
        ("warehouse_trips", "verified"),
        ("warehouse_trips", "matches_lake"),
    }
    assert asked == []


def test_a_load_of_the_warehouse_from_the_ui_needs_no_source(installation: StoreInstallation) -> None:
    """Dagster evaluates every check of what the UI materializes: a source that is gone is a warning there."""
    installation.publish(GREEN, rows=100)
    installation.load(GREEN)
    shutil.rmtree(installation.source)
    key = asset_key("green", "warehouse_trips")
    job = installation.definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection={key})
    done = job.execute_in_process(partition_key=GREEN.month, instance=installation.instance)
    assert done.success
    checks = {check.check_name: (check.passed, check.partition) for check in done.get_asset_check_evaluations()}
    assert checks == {
        "verified": (True, GREEN.month),
        "matches_lake": (True, GREEN.month),
        "newest_month_loaded": (False, None),
    }


def _break_lines(place: Path, every: int) -> None:
    """Break every n-th row of a raw file."""
    with gzip.open(place, "rb") as file:
        header, *lines = file.readlines()
    broken = [b"not,a,trip\r\n" if number % every == 0 else line for number, line in enumerate(lines, 1)]
    with gzip.open(place, "wb") as file:
        file.writelines([header, *broken])


def test_rejected_rows_are_kept_and_counted(installation: StoreInstallation) -> None:
    """Lines that do not parse, within the limit, are in the reject file with their number, reason and text."""
    _break_lines(installation.publish(YELLOW), every=500)
    told = installation.run(YELLOW)
    assert told[-1].what is Progress.done, told[-1].error
    rejected = pq.read_table(installation.home / "rejected/yellow/yellow_tripdata_2021-03.parquet").to_pylist()
    assert [reject["line"] for reject in rejected] == [501, 1001, 1501, 2001]
    assert {(reject["reason"], reject["text"]) for reject in rejected} == {("3 fields instead of 18", "not,a,trip")}
    metadata = installation.metadata("clean_trips", YELLOW)
    assert (metadata["raw_rows"], metadata["dagster/partition_row_count"], metadata["rejected_rows"]) == (
        ROWS,
        ROWS - 4,
        4,
    )
    assert installation.warehouse.count(YELLOW) == ROWS - 4


def test_a_corrected_source_leaves_no_old_rejects(installation: StoreInstallation) -> None:
    """Once a month has no rejected lines any more, the reject file of an earlier run is gone."""
    _break_lines(installation.publish(YELLOW), every=500)
    installation.run(YELLOW, "raw_trips", "clean_trips")
    installation.publish(YELLOW)
    installation.run(YELLOW, "raw_trips", "clean_trips")
    assert not list((installation.home / "rejected").rglob("*.parquet"))


def test_too_many_rejects_publish_nothing(installation: StoreInstallation) -> None:
    """Above the limit the month fails at clean_trips with the reason, and every store keeps the month it had."""
    installation.publish(YELLOW)
    installation.run(YELLOW)
    clean = installation.home / "clean/yellow/yellow_tripdata_2021-03.parquet"
    before = clean.read_bytes()
    _break_lines(installation.publish(YELLOW, rows=600), every=10)
    told = installation.run(YELLOW)
    assert (told[-1].what, told[-1].asset) == (Progress.failed, "clean_trips")
    assert "of 600 rows do not parse" in told[-1].error
    assert "TAXI_REJECT_LIMIT=0.01" in told[-1].error
    assert clean.read_bytes() == before
    assert installation.warehouse.count(YELLOW) == ROWS
    assert installation.litter() == []


def test_a_run_may_reject_more(installation: StoreInstallation) -> None:
    """The limit of one run can be set in its config."""
    _break_lines(installation.publish(YELLOW, rows=600), every=10)
    assert installation.run(YELLOW)[-1].what is Progress.failed
    run_id = installation.configured(YELLOW, clean_trips={"reject_limit": 0.2})
    told = installation.checks(run_id)["clean_trips", "verified"].metadata
    assert (told["rejected_rows"].value, told["rejected_share"].value, told["reject_limit"].value) == (60, 0.1, 0.2)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b"<html></html>", "an HTML page"), (gzip.compress(b"a,b\n1,2\n" * 9000)[:-20], "cut short")],
    ids=["empty", "a web page", "cut short"],
)
def test_a_file_that_is_no_csv_is_never_published(content: bytes, said: str, installation: StoreInstallation) -> None:
    """A raw file that cannot be read to its end fails its month, and does not appear under its name."""
    installation.publish(GREEN).write_bytes(content)
    told = installation.run(GREEN)
    assert (told[-1].what, told[-1].asset) == (Progress.failed, "raw_trips")
    assert said in told[-1].error
    assert "green_tripdata_2021-03.csv.gz" in told[-1].error
    assert not [path for path in (installation.home / "raw").rglob("*") if path.is_file()]


def test_a_file_that_is_no_csv_replaces_nothing(installation: StoreInstallation) -> None:
    """A page in the place of a month that is loaded fails the run at raw_trips, and every place keeps its month."""
    place = installation.publish(GREEN, rows=100)
    raw = installation.home / "raw/green/green_tripdata_2021-03.csv.gz"
    installation.load(GREEN)
    before = raw.read_bytes()
    place.write_text("<html>no trips here</html>")
    told = installation.run(GREEN)
    assert (told[-1].what, told[-1].asset) == (Progress.failed, "raw_trips")
    assert raw.read_bytes() == before
    assert len(installation.materializations("raw_trips", GREEN)) == 1
    assert installation.warehouse.count(GREEN) == 100


def test_a_download_that_loses_bytes_replaces_nothing(
    installation: StoreInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where less was written than the source has, the run fails at raw_trips, and the old file stays."""
    installation.publish(GREEN, rows=100)
    installation.load(GREEN)
    raw = installation.home / "raw/green/green_tripdata_2021-03.csv.gz"
    before = raw.read_bytes()
    installation.publish(GREEN, rows=200)
    store = "taxi_assets.stores.source._store"
    with monkeypatch.context() as patch:
        patch.setattr(store, _lose_bytes)
        told = installation.run(GREEN)
    assert (told[-1].what, told[-1].asset) == (Progress.failed, "raw_trips")
    assert "cut short" in told[-1].error
    assert raw.read_bytes() == before
    assert installation.litter() == []
    assert len(installation.materializations("raw_trips", GREEN)) == 1


def _lose_bytes(chunks: Iterator[bytes], staged: StagedFile) -> tuple[int, str]:
    """Write all but the last bytes."""
    content = b"".join(chunks)
    staged.path.write_bytes(content[:-50])
    return len(content), hashlib.sha256(content).hexdigest()


def test_a_failure_is_reported_where_it_happened(
    installation: StoreInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When Postgres cannot be reached, it is postgres_trips that failed, and the warehouse is loaded all the same."""
    installation.publish(GREEN, rows=100)
    monkeypatch.setenv("TAXI_POSTGRES_URL", "postgresql://taxi:hunter2@127.0.0.1:9/none")
    told = installation.run(GREEN)
    assert (told[-1].what, told[-1].asset) == (Progress.failed, "postgres_trips")
    assert "127.0.0.1" in told[-1].error
    assert "hunter2" not in told[-1].error
    assert installation.warehouse.count(GREEN) == 100


def test_a_header_without_rows_empties_nothing(installation: StoreInstallation) -> None:
    """A source that has a header only is an error, and the month that was loaded stays."""
    installation.publish(GREEN, rows=100)
    installation.run(GREEN)
    installation.publish(GREEN, rows=0)
    told = installation.run(GREEN)
    assert (told[-1].what, told[-1].asset) == (Progress.failed, "raw_trips")
    assert "a header and no rows" in told[-1].error
    assert installation.warehouse.count(GREEN) == 100


def test_a_month_of_another_color_is_refused(installation: StoreInstallation) -> None:
    """A file whose header is another color's is refused before it appears as raw."""
    place = installation.publish(YELLOW)
    write_sample(GREEN, 100, place)
    told = installation.run(YELLOW)
    assert (told[-1].what, told[-1].asset) == (Progress.failed, "raw_trips")
    assert "unknown: lpep_pickup_datetime" in told[-1].error


def test_what_cannot_be_published_leaves_nothing(installation: StoreInstallation) -> None:
    """Where a folder is in the place of the clean file, the month fails, and no staged file stays."""
    installation.publish(GREEN, rows=100)
    (installation.home / "clean/green/green_tripdata_2021-03.parquet").mkdir(parents=True)
    told = installation.run(GREEN)
    assert (told[-1].what, told[-1].asset) == (Progress.failed, "clean_trips")
    assert installation.litter() == []


def test_months_have_a_status(installation: StoreInstallation) -> None:
    """A month is loaded, partial, stale or failed, each with its rows by asset."""
    loaded, partial, stale, failed, unknown = (TripMonth("green", f"2021-0{number}") for number in range(1, 6))
    for month in (loaded, partial, stale):
        installation.publish(month, rows=100)
    installation.publish(failed).write_text("<html>no trips here</html>")
    installation.load(loaded, stale)
    installation.run(partial, "raw_trips")
    installation.publish(stale, rows=150)
    installation.run(stale, "raw_trips")
    installation.run(failed)
    installation.run(unknown)
    history = read_history(installation.instance, installation.settings)
    assert [(told.month, told.standing) for told in history] == [
        (loaded, PartitionStatus.loaded),
        (partial, PartitionStatus.partly),
        (stale, PartitionStatus.stale),
        (failed, PartitionStatus.failed),
    ]
    assert history[1].rows == {"raw_trips": 100}
    assert (history[2].rows["raw_trips"], history[2].rows["warehouse_trips"]) == (150, 100)


def test_an_object_that_is_replaced_while_it_is_loaded(
    installation: StoreInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warehouse may have loaded either of the two: another try has the new one."""
    installation.publish(GREEN)
    installation.run(GREEN, "raw_trips", "clean_trips", "lake_trips")
    place = installation.home / "lake/data/green/green_tripdata_2021-03.parquet"
    load = DuckDBWarehouse.replace_month

    def replaced(store: DuckDBWarehouse, month: TripMonth, lake_object: LakeObject, rows: int) -> int:
        loaded = load(store, month, lake_object, rows)
        table = pq.read_table(place)
        pq.write_table(table, place, compression="none")
        return loaded

    with monkeypatch.context() as patch:
        patch.setattr(DuckDBWarehouse, "replace_month", replaced)
        told = installation.run(GREEN, "warehouse_trips")
    assert [news.what for news in told if news.what in (Progress.pause, Progress.done)] == [
        Progress.pause,
        Progress.done,
    ]
    assert "was replaced while it was loaded" in next(news.detail for news in told if news.what is Progress.pause)
    assert len(installation.materializations("warehouse_trips", GREEN)) == 1


def test_a_month_that_is_not_published_is_no_failure(installation: StoreInstallation) -> None:
    """The run succeeds and materializes nothing. Its log, an observation and its tags have the reason."""
    told = installation.run(GREEN)
    assert (told[-1].what, told[-1].error, told[-1].asset) == (Progress.not_published, "", "")
    assert not [news for news in told if news.what in (Progress.asset_done, Progress.pause, Progress.failed)]
    run = installation.instance.get_run_by_id(told[-1].run_id)
    assert run
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert run.tags["taxi/result"] == "not_published"
    for name in TRIP_ASSETS:
        assert installation.materializations(name, GREEN) == []
    observed = installation.instance.fetch_observations(asset_key("green", "raw_trips"), limit=10).records
    (observation,) = [record.asset_observation for record in observed if record.asset_observation]
    assert observation.partition == GREEN.month
    assert observation.metadata["result"].value == "not_published"
    reason = str(observation.description)
    assert "green 2021-03 is not published" in reason
    assert str(installation.source) in reason
    assert reason in [news.detail for news in told if news.what is Progress.progress]


def test_a_month_that_is_not_published_skips_what_is_made_from_it(installation: StoreInstallation) -> None:
    """Later steps are skipped and evaluate no check: their partitions are neither failed nor materialized."""
    run_id = installation.run(GREEN)[-1].run_id
    skipped = installation.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_SKIPPED)
    assert {entry.step_key for entry in skipped} == {f"green__{name}" for name in TRIP_ASSETS[1:]}
    assert installation.checks(run_id) == {}
    assert installation.history(GREEN) is None
    for name in TRIP_ASSETS:
        assert _partition_statuses(installation, name) == (set(), set(), set())


def _partition_statuses(installation: StoreInstallation, name: str) -> tuple[set[str], set[str], set[str]]:
    """The partitions of an asset that Dagster's UI shows as materialized, as failed and as in progress."""
    graph = installation.definitions.resolve_asset_graph()
    key = asset_key("green", name)
    partitions = graph.get(key).partitions_def
    assert partitions
    status = get_and_update_asset_status_cache_value(installation.instance, key, partitions)
    assert status
    subsets = (
        status.deserialize_materialized_partition_subsets(partitions),
        status.deserialize_failed_partition_subsets(partitions),
        status.deserialize_in_progress_partition_subsets(partitions),
    )
    materialized, failed, in_progress = (set(subset.get_partition_keys()) for subset in subsets)
    return materialized, failed, in_progress


def test_a_month_that_is_not_published_any_more_stays_loaded(installation: StoreInstallation) -> None:
    """A month that the source removed stays loaded, with the status it had."""
    place = installation.publish(GREEN, rows=100)
    installation.load(GREEN)
    place.unlink()
    assert installation.run(GREEN)[-1].what is Progress.not_published
    assert installation.warehouse.count(GREEN) == 100
    history = installation.history(GREEN)
    assert history
    assert (history.standing, history.rows["warehouse_trips"]) == (PartitionStatus.loaded, 100)
    for name in TRIP_ASSETS:
        assert len(installation.materializations(name, GREEN)) == 1
        assert _partition_statuses(installation, name) == ({GREEN.month}, set(), set())


def test_a_month_that_failed_and_is_not_published_is_no_failure_any_more(installation: StoreInstallation) -> None:
    """A failed month that turns out not to be published has no status any more."""
    place = installation.publish(GREEN)
    place.write_text("<html>no trips here</html>")
    assert installation.run(GREEN)[-1].what is Progress.failed
    place.unlink()
    assert installation.run(GREEN)[-1].what is Progress.not_published
    assert installation.history(GREEN) is None
    for name in TRIP_ASSETS:
        assert _partition_statuses(installation, name) == (set(), set(), set())


def test_a_source_that_is_gone_is_a_failure(installation: StoreInstallation) -> None:
    """A folder that is not mounted is a failure: it does not mean that a month is not published."""
    installation.source.rmdir()
    told = installation.run(GREEN)
    assert (told[-1].what, told[-1].asset) == (Progress.failed, "raw_trips")
    assert "TAXI_SOURCE_URL" in told[-1].error
