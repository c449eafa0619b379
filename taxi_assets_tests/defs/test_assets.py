"""Tests of the runs of the assets: files, tables, metadata and versions, and what a failed run leaves unchanged."""

import gzip
import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest

from taxi_assets.defs.build import build_definitions
from taxi_assets.graph import SOURCE_TRIPS, TRIP_ASSETS
from taxi_assets.instance.partition_status import PartitionStatus, read_history
from taxi_assets.keys import asset_key
from taxi_assets.operations.progress import Progress
from taxi_assets.settings import Settings
from taxi_assets.stores.duckdb import DuckDBWarehouse
from taxi_assets.stores.files.home import Home
from taxi_assets.stores.files.staging import StagedFile
from taxi_assets.stores.lake import LakeObject
from taxi_assets.stores.source.months import Fetched, Source
from taxi_assets.tlc.eras import CSV_ERAS
from taxi_assets.tlc.parquet import read_source
from taxi_assets.tlc.sample import write_sample
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests.defs.dagster_internals import get_and_update_asset_status_cache_value
from taxi_assets_tests.defs.installation import Installation
from taxi_assets_tests.defs.store_installation import ROWS, StoreInstallation, figures

GREEN, YELLOW = TripMonth("green", "2021-03"), TripMonth("yellow", "2021-03")


@pytest.fixture
def installation(home: Path) -> Iterator[StoreInstallation]:
    """Create an installation with an empty source."""
    with closing(StoreInstallation()) as created:
        assert created.home == home
        created.source.mkdir(exist_ok=True)
        yield created


@pytest.mark.parametrize("color", COLORS)
def test_a_month_is_loaded_into_every_asset(color: str, installation: StoreInstallation) -> None:
    """A run loads the rows into each store, in the order of the assets. Each asset reports its row count."""
    month = TripMonth(color, "2021-03")
    installation.publish(month)
    events = installation.run(month)
    assert events[-1].what is Progress.done, events[-1].error
    assert [event.asset for event in events if event.what is Progress.asset_done] == list(TRIP_ASSETS)
    zero = installation.metadata("clean_trips", month)["zero_passengers"]
    rows = {name: installation.metadata(name, month)["dagster/partition_row_count"] for name in TRIP_ASSETS}
    assert rows == dict.fromkeys(TRIP_ASSETS, ROWS) | {"postgres_trips": ROWS - zero}
    assert installation.warehouse.count(month) == ROWS
    assert installation.postgres.count(month) == ROWS - zero
    keys = {asset_key(color, name) for name in (SOURCE_TRIPS, *TRIP_ASSETS)}
    assert set(installation.instance.all_asset_keys()) - keys == set()


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("month", ["2021-03", "2025-03"])
def test_a_parquet_month_is_loaded_into_every_asset(
    color: str, month: str, installation: StoreInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A month in the TLC's format is loaded into each store, with the values of the raw file in all its columns."""
    trips = TripMonth(color, month)
    raw = installation.source / f"{trips.stem}.parquet"
    write_sample(trips, 500, raw)
    monkeypatch.setenv("TAXI_SOURCE_URL", f"{installation.source}/{{color}}_tripdata_{{month}}.parquet")
    monkeypatch.setenv("TAXI_ZERO_PASSENGERS", "keep")
    with closing(Installation()) as created:
        created.load(trips)
        assert created.metadata("raw_trips", trips)["dagster/partition_row_count"] == 500
        stored = installation.home / "raw" / color / raw.name
        assert stored.read_bytes() == raw.read_bytes()
    names = pq.read_schema(raw).names
    counts = ", ".join(f"count({name})" for name in names)
    expected = (500, *(500 - column.null_count for column in pq.read_table(raw).columns))
    blank = {name for name in names if LAYOUTS[color].color == "fhvhv" and name.endswith("_flag")}
    rule = {LAYOUTS[color].passengers}
    for store, filled in ((installation.warehouse, rule), (installation.postgres, set())):
        (found,) = store.query(f"SELECT count(*), {counts} FROM {trips.table}").rows
        for name, theirs, ours in zip(["rows", *names], expected, found, strict=True):
            wanted = 500 if name in filled else theirs
            assert ours == wanted or (name in blank and ours < wanted), name


def test_metadata_of_a_clean_month(installation: StoreInstallation) -> None:
    """The metadata of a clean month matches the content of its file, as read by another library."""
    installation.publish(GREEN)
    installation.run(GREEN, "raw_trips", "clean_trips")
    metadata = installation.metadata("clean_trips", GREEN)
    path = installation.home / "clean/green/green_tripdata_2021-03.parquet"
    table = pq.read_table(path)
    assert metadata["path"] == str(path)
    assert metadata["bytes"] == path.stat().st_size
    assert metadata["missing_passengers"] == table["passenger_count"].null_count > 0
    assert read_source(path) == installation.metadata("raw_trips", GREEN)["sha256"]
    nulls = {record.data["column"]: record.data["rows"] for record in metadata["nulls_by_column"].records}
    assert nulls == {name: table[name].null_count for name in LAYOUTS["green"].names}
    assert [column.name for column in metadata["dagster/column_schema"].columns] == table.column_names
    assert metadata["preview"].records[0].data["trip_distance"] == table["trip_distance"][0].as_py()


@pytest.mark.parametrize("color", COLORS)
def test_metadata_has_standard_keys(color: str, installation: StoreInstallation) -> None:
    """The metadata of a month contains its location, rows, size and columns under Dagster's standard keys."""
    month = TripMonth(color, "2021-03")
    installation.publish(month)
    installation.load(month)
    metadata = {name: installation.metadata(name, month) for name in TRIP_ASSETS}
    files = {
        "raw_trips": installation.home / "raw" / color / f"{month.stem}.csv.gz",
        "clean_trips": installation.home / "clean" / color / f"{month.stem}.parquet",
        "lake_trips": installation.home / "lake" / month.object_name,
    }
    for name, path in files.items():
        size = path.stat().st_size
        assert metadata[name]["dagster/uri"] == path.as_uri()
        assert (metadata[name]["bytes"], metadata[name]["size"]) == (size, f"{size / 1000:.1f} kB")
    assert metadata["warehouse_trips"]["dagster/table_name"] == f"warehouse.main.{color}_taxi_trips"
    database = installation.postgres.table(month).partition(".")[0]
    assert metadata["postgres_trips"]["dagster/table_name"] == f"{database}.public.{color}_taxi_trips"
    columns = {
        "clean_trips": pq.read_schema(files["clean_trips"]).names,
        "lake_trips": pq.read_schema(files["lake_trips"]).names,
        "warehouse_trips": installation.warehouse.query(f"SELECT * FROM {month.table}").columns,
        "postgres_trips": installation.postgres.query(f"SELECT * FROM {month.table}").columns,
    }
    for name, names in columns.items():
        assert [column.name for column in metadata[name]["dagster/column_schema"].columns] == list(names)
    assert all("seconds" in metadata[name] and "rows_per_second" in metadata[name] for name in TRIP_ASSETS)


def test_row_counts_of_the_partition_and_of_the_table(installation: StoreInstallation) -> None:
    """The metadata of a table contains the row counts of the month and of all months. Each month counts once."""
    february = TripMonth("green", "2021-02")
    installation.publish(february, rows=100)
    installation.publish(GREEN, rows=300)
    installation.load(february, GREEN, GREEN)
    kept = {month: installation.postgres.count(month) for month in (february, GREEN)}
    for name, expected in {"warehouse_trips": {february: 100, GREEN: 300}, "postgres_trips": kept}.items():
        metadata = installation.metadata(name, GREEN)
        assert metadata["dagster/partition_row_count"] == expected[GREEN]
        assert metadata["dagster/row_count"] == sum(expected.values())


def test_metadata_of_the_lake_rule(installation: StoreInstallation) -> None:
    """The metadata contains the rule of the lake and the missing values before and after. The clean file keeps them."""
    installation.publish(GREEN)
    installation.run(GREEN)
    metadata = installation.metadata("lake_trips", GREEN)
    missing = installation.metadata("clean_trips", GREEN)["missing_passengers"]
    assert metadata["rule"] == "zero"
    assert (metadata["missing_passengers_before"], metadata["missing_passengers_after"]) == (missing, 0)
    lake = pq.read_table(installation.home / "lake" / GREEN.object_name)
    assert lake["passenger_count"].null_count == 0


def test_the_rules_can_be_settings(installation: StoreInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    """If both rules are `keep`, the lake has missing values, Postgres has every row, and all checks pass."""
    installation.publish(YELLOW)
    monkeypatch.setenv("TAXI_MISSING_PASSENGERS", "keep")
    monkeypatch.setenv("TAXI_ZERO_PASSENGERS", "keep")
    installation.definitions = build_definitions(Settings.load())
    run_id = installation.run(YELLOW)[-1].run_id
    missing = installation.metadata("lake_trips", YELLOW)["missing_passengers_after"]
    assert missing > 0
    checks = installation.checks(run_id)
    assert checks["lake_trips", "verified"].metadata["missing_passengers"].value == missing
    assert all(check.passed for check in checks.values())
    assert installation.postgres.count(YELLOW) == ROWS


def test_the_rules_can_be_run_config(installation: StoreInstallation) -> None:
    """The config of a run overrides both rules of the settings."""
    installation.publish(YELLOW)
    run_id = installation.run_with_config(
        YELLOW, lake_trips={"missing_passengers": "keep"}, postgres_trips={"zero_passengers": "keep"}
    )
    assert installation.metadata("lake_trips", YELLOW)["rule"] == "keep"
    assert installation.postgres.count(YELLOW) == ROWS
    assert all(check.passed for check in installation.checks(run_id).values())


def test_a_second_run_leaves_one_copy_and_the_same_bytes(installation: StoreInstallation) -> None:
    """A second run with the same input leaves the same files, versions and row counts."""
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


def test_the_data_version_of_a_raw_file_is_its_sha256(installation: StoreInstallation) -> None:
    """The data version of a raw month is the SHA-256 of the source file."""
    month = TripMonth("fhv", "2021-03")
    path = installation.publish(month)
    installation.run(month, "raw_trips")
    assert installation.version("raw_trips", month) == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("color", COLORS)
def test_data_versions_depend_on_the_rules(color: str, installation: StoreInstallation) -> None:
    """Other rules change the versions of the lake, the warehouse and Postgres, unless a color has no passengers."""
    month = TripMonth(color, "2021-03")
    installation.publish(month, rows=100)
    installation.load(month)
    before = {name: installation.version(name, month) for name in TRIP_ASSETS}
    installation.run_with_config(
        month, lake_trips={"missing_passengers": "keep"}, postgres_trips={"zero_passengers": "keep"}
    )
    after = {name: installation.version(name, month) for name in TRIP_ASSETS}
    changed = {name for name in TRIP_ASSETS if before[name] != after[name]}
    affected = {"lake_trips", "warehouse_trips", "postgres_trips"} if LAYOUTS[color].passengers else set()
    assert changed == affected
    installation.load(month)
    assert {name: installation.version(name, month) for name in TRIP_ASSETS} == before


def test_a_selection_runs_no_other_asset(installation: StoreInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of the warehouse does not query the source and evaluates only the checks of the warehouse."""
    installation.publish(GREEN, rows=100)
    installation.load(GREEN)
    requested: list[TripMonth] = []
    monkeypatch.setattr(Source, "current_version", lambda _, month, *__: requested.append(month))
    end = installation.run(GREEN, "warehouse_trips")[-1]
    assert end.what is Progress.done, end.error
    assert set(installation.checks(end.run_id)) == {
        ("warehouse_trips", "verified"),
        ("warehouse_trips", "matches_lake"),
    }
    assert requested == []


def test_a_load_of_the_warehouse_from_the_ui_needs_no_source(installation: StoreInstallation) -> None:
    """A load from the UI also evaluates `newest_month_loaded`. If the source is not available, that check warns."""
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


def _break_lines(path: Path, every: int) -> None:
    """Make every n-th row of a raw file invalid."""
    with gzip.open(path, "rb") as file:
        header, *lines = file.readlines()
    broken = [b"not,a,trip\r\n" if number % every == 0 else line for number, line in enumerate(lines, 1)]
    with gzip.open(path, "wb") as file:
        file.writelines([header, *broken])


def test_rejected_rows_are_saved_and_counted(installation: StoreInstallation) -> None:
    """Within the limit, lines that do not parse are saved with their line number, the reason and the text."""
    _break_lines(installation.publish(YELLOW), every=500)
    installation.load(YELLOW)
    path = Home(installation.home, ".csv.gz").find_rejected(YELLOW)
    assert path
    rejected = pq.read_table(path).to_pylist()
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
    """If a corrected month has no rejected lines, the file with those of an earlier run is deleted."""
    _break_lines(installation.publish(YELLOW), every=500)
    installation.run(YELLOW, "raw_trips", "clean_trips")
    installation.publish(YELLOW)
    installation.run(YELLOW, "raw_trips", "clean_trips")
    assert not list((installation.home / "rejected").rglob("*.parquet"))


def test_too_many_rejects_publish_nothing(installation: StoreInstallation) -> None:
    """Above the limit, the run fails at `clean_trips`, and each store keeps the previous month."""
    installation.publish(YELLOW)
    installation.run(YELLOW)
    clean = installation.home / "clean/yellow/yellow_tripdata_2021-03.parquet"
    before = clean.read_bytes()
    _break_lines(installation.publish(YELLOW, rows=600), every=25)
    end = installation.run(YELLOW)[-1]
    assert (end.what, end.asset) == (Progress.failed, "clean_trips")
    for fact in ("16", "600", "0.01", "TAXI_REJECT_LIMIT", "[too-many-rejects]"):
        assert fact in end.error
    assert clean.read_bytes() == before
    assert installation.warehouse.count(YELLOW) == ROWS
    assert installation.staged_files() == []


def test_the_reject_limit_can_be_run_config(installation: StoreInstallation) -> None:
    """The config of a run overrides the limit of the settings."""
    _break_lines(installation.publish(YELLOW, rows=600), every=10)
    assert installation.run(YELLOW)[-1].what is Progress.failed
    run_id = installation.run_with_config(YELLOW, clean_trips={"reject_limit": 0.2})
    shown = figures(installation.checks(run_id)["clean_trips", "verified"].metadata)
    assert (shown["rejected_rows"], shown["rejected_share"], shown["reject_limit"]) == (60, 0.1, 0.2)


def _publish_as(installation: StoreInstallation, month: TripMonth, other: TripMonth, rows: int = 300) -> None:
    """Publish the trips of another month as those of a month."""
    write_sample(other, rows, installation.publish(month))


@pytest.mark.parametrize(
    ("color", "other"),
    [
        ("green", "2020-03"),
        ("green", "2021-04"),
        ("yellow", "2019-12"),
        ("fhv", "2021-02"),
        ("fhvhv", "2021-02"),
    ],
)
def test_a_file_of_another_month_is_refused(color: str, other: str, installation: StoreInstallation) -> None:
    """The run fails at `clean_trips` with the month that the file seems to contain. Each store keeps its rows."""
    month = TripMonth(color, "2021-03")
    installation.publish(month)
    installation.run(month)
    version = installation.version("clean_trips", month)
    _publish_as(installation, month, TripMonth(color, other))
    end = installation.run(month)[-1]
    assert (end.what, end.asset) == (Progress.failed, "clean_trips")
    for fact in (f"{color} 2021-03", other, "TAXI_OUTSIDE_MONTH_LIMIT", "[wrong-month]"):
        assert fact in end.error
    facts = figures(installation.failures(end.run_id)["clean_trips"].metadata)
    assert (facts["error"], facts["month"], facts["seen"]) == ("wrong-month", "2021-03", other)
    assert facts["outside_share"] > facts["outside_limit"] == 0.5
    check = installation.checks(end.run_id)["clean_trips", "verified"]
    assert not check.passed
    assert installation.warehouse.count(month) == ROWS
    assert installation.version("clean_trips", month) == version
    assert installation.staged_files() == []


def test_the_limit_of_pickups_outside_the_month_can_be_run_config(installation: StoreInstallation) -> None:
    """The config of a run overrides the limit of the settings. The rows are kept and counted."""
    _publish_as(installation, GREEN, TripMonth("green", "2020-03"))
    assert installation.run(GREEN)[-1].what is Progress.failed
    installation.run_with_config(GREEN, clean_trips={"outside_month_limit": 1.0})
    metadata = installation.metadata("clean_trips", GREEN)
    assert metadata["pickups_outside_month"] == metadata["dagster/partition_row_count"] == 300
    assert installation.warehouse.count(GREEN) == 300


def test_the_limit_of_pickups_outside_the_month_can_be_a_setting(
    installation: StoreInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TAXI_OUTSIDE_MONTH_LIMIT applies to every run without config. At 0, one such pickup fails the month."""
    path = installation.publish(GREEN, rows=100)
    _edit_lines(path, lambda lines: [lines[0].replace(b"2021-03", b"2008-12"), *lines[1:]])
    installation.run(GREEN, "raw_trips", "clean_trips")
    assert installation.metadata("clean_trips", GREEN)["pickups_outside_month"] == 1
    monkeypatch.setenv("TAXI_OUTSIDE_MONTH_LIMIT", "0")
    installation.definitions = build_definitions(Settings.load())
    end = installation.run(GREEN, "clean_trips")[-1]
    assert (end.what, end.asset) == (Progress.failed, "clean_trips")
    assert end.error.endswith("[wrong-month]")
    monkeypatch.setenv("TAXI_OUTSIDE_MONTH_LIMIT", "1")
    installation.definitions = build_definitions(Settings.load())
    _publish_as(installation, GREEN, TripMonth("green", "2020-03"))
    assert installation.run(GREEN, "raw_trips", "clean_trips")[-1].what is Progress.done


def _edit_lines(path: Path, edit: Callable[[list[bytes]], list[bytes]]) -> None:
    """Replace the rows of a raw file."""
    with gzip.open(path, "rb") as file:
        header, *lines = file.readlines()
    with gzip.open(path, "wb") as file:
        file.writelines([header, *edit(lines)])


@pytest.mark.parametrize("color", COLORS)
def test_empty_rows_are_not_trips(color: str, installation: StoreInstallation) -> None:
    """Rows with only empty fields are in no count and in no store, and are no rejects."""
    month = TripMonth(color, "2021-03")
    empty = b"," * (len(CSV_ERAS[color].names) - 1) + b"\r\n"
    path = installation.publish(month, rows=200)
    _edit_lines(path, lambda lines: [empty, *lines[:100], empty * 50, *lines[100:], empty.rstrip()])
    installation.load(month)
    rows = {name: installation.metadata(name, month)["dagster/partition_row_count"] for name in TRIP_ASSETS[:4]}
    assert rows == dict.fromkeys(TRIP_ASSETS[:4], 200)
    metadata = installation.metadata("clean_trips", month)
    assert (metadata["raw_rows"], metadata["rejected_rows"]) == (200, 0)
    assert installation.warehouse.count(month) == 200


def test_rows_in_windows_1252_are_counted(installation: StoreInstallation) -> None:
    """The metadata of a clean month contains the number of rows with text that was decoded as Windows-1252."""
    month = TripMonth("fhv", "2021-03")
    path = installation.publish(month, rows=200)
    _edit_lines(path, lambda lines: [b"caf\xe9," + line.split(b",", 1)[1] for line in lines[:3]] + lines[3:])
    installation.run(month, "raw_trips", "clean_trips")
    assert installation.metadata("clean_trips", month)["rows_decoded_as_windows_1252"] == 3
    table = pq.read_table(installation.home / "clean/fhv/fhv_tripdata_2021-03.parquet")
    assert table["dispatching_base_num"].to_pylist()[:3] == ["CAF\u00c9"] * 3
    installation.publish(month, rows=200)
    installation.run(month, "raw_trips", "clean_trips")
    assert installation.metadata("clean_trips", month)["rows_decoded_as_windows_1252"] == 0


def test_a_file_without_valid_rows_does_not_advise_a_higher_limit(installation: StoreInstallation) -> None:
    """If a spreadsheet program saved the file, the run fails with the expected form of timestamps."""
    path = installation.publish(GREEN, rows=200)
    _edit_lines(
        path,
        lambda lines: [re.sub(rb"(\d{4})-(\d\d)-(\d\d) (\d\d:\d\d):\d\d", rb"\2/\3/\1 \4", line) for line in lines],
    )
    end = installation.run(GREEN)[-1]
    assert (end.what, end.asset) == (Progress.failed, "clean_trips")
    assert '"2020-04-01 00:12:00"' in end.error
    assert "TAXI_REJECT_LIMIT" not in end.error
    assert end.error.endswith("[wrong-timestamps]")


@pytest.mark.parametrize(
    ("content", "slug"),
    [
        (b"", "empty-file"),
        (b"<html></html>", "not-a-csv"),
        (gzip.compress(b"a,b\n1,2\n" * 9000)[:-20], "corrupt-file"),
        (gzip.compress(gzip.compress(b"a,b\n1,2\n")), "compressed-twice"),
    ],
    ids=["empty", "a web page", "truncated", "compressed twice"],
)
def test_an_unreadable_file_is_not_published(content: bytes, slug: str, installation: StoreInstallation) -> None:
    """If the source file cannot be read completely, the run fails and no raw file is published."""
    installation.publish(GREEN).write_bytes(content)
    end = installation.run(GREEN)[-1]
    assert (end.what, end.asset) == (Progress.failed, "raw_trips")
    assert end.error.endswith(f"[{slug}]")
    assert "green_tripdata_2021-03.csv.gz" in end.error
    assert not [path for path in (installation.home / "raw").rglob("*") if path.is_file()]


def test_an_unreadable_file_replaces_nothing(installation: StoreInstallation) -> None:
    """If a loaded month is replaced by a web page, the run fails at `raw_trips`, and each store keeps the month."""
    path = installation.publish(GREEN, rows=100)
    raw = installation.home / "raw/green/green_tripdata_2021-03.csv.gz"
    installation.load(GREEN)
    before = raw.read_bytes()
    path.write_text("<html>no trips here</html>")
    end = installation.run(GREEN)[-1]
    assert (end.what, end.asset) == (Progress.failed, "raw_trips")
    assert raw.read_bytes() == before
    assert len(installation.materializations("raw_trips", GREEN)) == 1
    assert installation.warehouse.count(GREEN) == 100


def test_an_incomplete_fetch_replaces_nothing(installation: StoreInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    """If bytes of the file are lost, the run fails at `raw_trips`, and the previous file stays published."""
    installation.publish(GREEN, rows=100)
    installation.load(GREEN)
    raw = installation.home / "raw/green/green_tripdata_2021-03.csv.gz"
    before = raw.read_bytes()
    installation.publish(GREEN, rows=200)
    with monkeypatch.context() as patch:
        patch.setattr(Source, "fetch", _lose_bytes)
        end = installation.run(GREEN)[-1]
    assert (end.what, end.asset) == (Progress.failed, "raw_trips")
    assert end.error.endswith("[corrupt-file]")
    assert raw.read_bytes() == before
    assert installation.staged_files() == []
    assert len(installation.materializations("raw_trips", GREEN)) == 1


FETCH = Source.fetch


def _lose_bytes(source: Source, month: TripMonth, staged: StagedFile, *arguments: Any) -> Fetched:
    """Fetch a month, then remove the last bytes of the staged file."""
    fetched = FETCH(source, month, staged, *arguments)
    staged.path.write_bytes(staged.path.read_bytes()[:-50])
    return fetched


def test_a_failure_names_its_asset(installation: StoreInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Postgres is not available, `postgres_trips` fails and the warehouse is loaded."""
    installation.publish(GREEN, rows=100)
    monkeypatch.setenv("TAXI_POSTGRES_URL", "postgresql://taxi:hunter2@127.0.0.1:9/none")
    installation.definitions = build_definitions(Settings.load())
    end = installation.run(GREEN)[-1]
    assert (end.what, end.asset) == (Progress.failed, "postgres_trips")
    assert "127.0.0.1" in end.error
    assert end.error.endswith("[postgres-unreachable]")
    assert "hunter2" not in end.error
    assert installation.warehouse.count(GREEN) == 100


def test_a_file_without_rows_replaces_nothing(installation: StoreInstallation) -> None:
    """A source file with only a header is an error. The loaded month stays."""
    installation.publish(GREEN, rows=100)
    installation.run(GREEN)
    installation.publish(GREEN, rows=0)
    end = installation.run(GREEN)[-1]
    assert (end.what, end.asset) == (Progress.failed, "raw_trips")
    assert end.error.endswith("[empty-file]")
    assert installation.warehouse.count(GREEN) == 100


def test_a_file_of_another_color_is_not_published(installation: StoreInstallation) -> None:
    """A file with the header of another color is an error, and no raw file is published."""
    write_sample(GREEN, 100, installation.publish(YELLOW))
    end = installation.run(YELLOW)[-1]
    assert (end.what, end.asset) == (Progress.failed, "raw_trips")
    assert "lpep_pickup_datetime" in end.error
    assert end.error.endswith("[bad-header]")
    assert not [path for path in (installation.home / "raw").rglob("*") if path.is_file()]


def test_a_file_with_an_index_is_not_published(installation: StoreInstallation) -> None:
    """A file with an unnamed first column is an error that says how pandas writes a file without one."""
    path = installation.publish(GREEN, rows=100)
    with gzip.open(path, "rb") as file:
        lines = file.readlines()
    with gzip.open(path, "wb") as file:
        file.writelines(b"%s,%s" % (b"" if number == 0 else b"%d" % number, line) for number, line in enumerate(lines))
    end = installation.run(GREEN)[-1]
    assert (end.what, end.asset) == (Progress.failed, "raw_trips")
    assert "index=False" in end.error
    assert end.error.endswith("[unnamed-column]")
    assert not [path for path in (installation.home / "raw").rglob("*") if path.is_file()]


def test_a_failed_publish_leaves_no_staged_file(installation: StoreInstallation) -> None:
    """If a folder has the path of the clean file, the run fails and deletes its staged file."""
    installation.publish(GREEN, rows=100)
    (installation.home / "clean/green/green_tripdata_2021-03.parquet").mkdir(parents=True)
    end = installation.run(GREEN)[-1]
    assert (end.what, end.asset) == (Progress.failed, "clean_trips")
    assert installation.staged_files() == []


def test_statuses_of_months(installation: StoreInstallation) -> None:
    """A month is loaded, partial, stale or failed, with the row count of each materialized asset."""
    loaded, partial, stale, failed, not_published = (TripMonth("green", f"2021-0{number}") for number in range(1, 6))
    for month in (loaded, partial, stale):
        installation.publish(month, rows=100)
    installation.publish(failed).write_text("<html>no trips here</html>")
    installation.load(loaded, stale)
    installation.run(partial, "raw_trips")
    installation.publish(stale, rows=150)
    installation.run(stale, "raw_trips")
    installation.run(failed)
    installation.run(not_published)
    history = read_history(installation.instance, installation.settings)
    assert [(entry.month, entry.status) for entry in history] == [
        (loaded, PartitionStatus.loaded),
        (partial, PartitionStatus.partial),
        (stale, PartitionStatus.stale),
        (failed, PartitionStatus.failed),
    ]
    assert history[1].rows == {"raw_trips": 100}
    assert (history[2].rows["raw_trips"], history[2].rows["warehouse_trips"]) == (150, 100)


def test_a_lake_object_replaced_during_the_load(
    installation: StoreInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the object is replaced during the load, the table may contain either version: the step is retried."""
    installation.publish(GREEN)
    installation.run(GREEN, "raw_trips", "clean_trips", "lake_trips")
    path = installation.home / "lake/data/green/green_tripdata_2021-03.parquet"
    load = DuckDBWarehouse.replace_month

    def replace_month(store: DuckDBWarehouse, month: TripMonth, lake_object: LakeObject, rows: int) -> int:
        loaded = load(store, month, lake_object, rows)
        pq.write_table(pq.read_table(path), path, compression="none")
        return loaded

    with monkeypatch.context() as patch:
        patch.setattr(DuckDBWarehouse, "replace_month", replace_month)
        events = installation.run(GREEN, "warehouse_trips")
    retry, end = [event for event in events if event.what in (Progress.retry_scheduled, Progress.done)]
    assert (retry.what, end.what) == (Progress.retry_scheduled, Progress.done)
    assert str(path) in retry.detail
    assert len(installation.materializations("warehouse_trips", GREEN)) == 1


def test_an_unpublished_month_does_not_fail(installation: StoreInstallation) -> None:
    """The run succeeds without materializations. Its log, an observation and its tags contain the reason."""
    *events, end = installation.run(GREEN)
    assert (end.what, end.error, end.asset) == (Progress.not_published, "", "")
    assert not {event.what for event in events} & {Progress.asset_done, Progress.retry_scheduled, Progress.failed}
    run = installation.instance.get_run_by_id(end.run_id)
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
    for fact in ("green 2021-03", str(installation.source), "[not-published]"):
        assert fact in reason
    assert reason in [event.detail for event in events if event.what is Progress.progress]


def test_an_unpublished_month_skips_downstream_assets(installation: StoreInstallation) -> None:
    """Downstream steps are skipped and evaluate no check. Their partitions are neither failed nor materialized."""
    run_id = installation.run(GREEN)[-1].run_id
    skipped = installation.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_SKIPPED)
    assert {entry.step_key for entry in skipped} == {f"green__{name}" for name in TRIP_ASSETS[1:]}
    assert installation.checks(run_id) == {}
    assert installation.history(GREEN) is None
    for name in TRIP_ASSETS:
        assert _partition_statuses(installation, name) == (set(), set(), set())


def _partition_statuses(installation: StoreInstallation, name: str) -> tuple[set[str], set[str], set[str]]:
    """Return the partitions of an asset that the UI shows as materialized, as failed, and as in progress."""
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


def test_a_month_removed_from_the_source_stays_loaded(installation: StoreInstallation) -> None:
    """A month that the source no longer has stays loaded, with the same status."""
    path = installation.publish(GREEN, rows=100)
    installation.load(GREEN)
    path.unlink()
    assert installation.run(GREEN)[-1].what is Progress.not_published
    assert installation.warehouse.count(GREEN) == 100
    history = installation.history(GREEN)
    assert history
    assert (history.status, history.rows["warehouse_trips"]) == (PartitionStatus.loaded, 100)
    for name in TRIP_ASSETS:
        assert len(installation.materializations(name, GREEN)) == 1
        assert _partition_statuses(installation, name) == ({GREEN.month}, set(), set())


def test_a_failed_month_removed_from_the_source_has_no_status(installation: StoreInstallation) -> None:
    """If the source no longer has a failed month, the next run removes its status."""
    path = installation.publish(GREEN)
    path.write_text("<html>no trips here</html>")
    assert installation.run(GREEN)[-1].what is Progress.failed
    path.unlink()
    assert installation.run(GREEN)[-1].what is Progress.not_published
    assert installation.history(GREEN) is None
    for name in TRIP_ASSETS:
        assert _partition_statuses(installation, name) == (set(), set(), set())


def test_a_source_without_any_month_is_a_failure(installation: StoreInstallation) -> None:
    """If the folder of the source has no month at all, the run fails: the folder is probably the wrong one."""
    shutil.rmtree(installation.source)
    (installation.source / "green").mkdir(parents=True)
    end = installation.run(GREEN)[-1]
    assert (end.what, end.asset) == (Progress.failed, "raw_trips")
    assert end.error.endswith("[empty-source]")


def test_a_missing_source_folder_is_a_failure(installation: StoreInstallation) -> None:
    """If the folder of the source does not exist, the run fails: the month may be published."""
    shutil.rmtree(installation.source)
    end = installation.run(GREEN)[-1]
    assert (end.what, end.asset) == (Progress.failed, "raw_trips")
    for fact in (str(installation.source), "TAXI_SOURCE_URL", "[source-folder-missing]"):
        assert fact in end.error


def test_a_failed_step_has_the_slug_and_the_facts_of_its_error(installation: StoreInstallation) -> None:
    """The failure of a step contains the slug of the error, its facts, and a description that ends with the slug."""
    path = installation.publish(GREEN)
    path.write_text("<html>no trips here</html>")
    end = installation.run(GREEN)[-1]
    failure = installation.failures(end.run_id)["raw_trips"]
    facts = figures(failure.metadata)
    assert (facts["error"], facts["address"]) == ("not-a-csv", str(path))
    assert failure.description == end.error
    assert end.error.endswith("[not-a-csv]")


def test_a_failure_of_an_io_manager_has_the_slug_and_the_facts_of_its_error(installation: StoreInstallation) -> None:
    """An error of an I/O manager, such as a missing upstream file, fails the step like an error of its own code."""
    end = installation.run(GREEN, "lake_trips")[-1]
    failure = installation.failures(end.run_id)["lake_trips"]
    facts = figures(failure.metadata)
    assert facts.pop("path") == str(installation.home / "clean/green/green_tripdata_2021-03.parquet")
    assert facts == {"error": "missing-upstream", "color": "green", "month": "2021-03", "asset": "clean_trips"}
    assert failure.description == end.error
    assert end.error.endswith("[missing-upstream]")
