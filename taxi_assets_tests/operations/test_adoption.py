"""Months that stores contain but Dagster does not know are recognized once, with their rows, and not loaded."""

import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import psycopg2
import pyarrow.parquet as pq
import pytest

from taxi_assets.errors import CorruptFile, IncompatibleTable
from taxi_assets.graph import SOURCE_TRIPS, TRIP_ASSETS
from taxi_assets.instance._dagster import CODE_VERSION_TAG, DATA_VERSION_TAG
from taxi_assets.instance.partition_status import MonthStatus, PartitionStatus, read_history
from taxi_assets.keys import asset_key
from taxi_assets.operations.adoption import Adopted, adopt, adopt_previous_release, open_upgraded
from taxi_assets.settings import Settings
from taxi_assets.stores.postgres.embedded import EmbeddedPostgres
from taxi_assets.stores.postgres.store import PostgresStore
from taxi_assets.tlc import parquet
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import TripMonth
from taxi_assets.tlc.versions import CODE_VERSIONS
from taxi_assets_tests.defs.installation import ObservingInstallation, WebInstallation, web_path
from taxi_assets_tests.google_server import serve_google
from taxi_assets_tests.months import publish, write_month
from taxi_assets_tests.program import run_here
from taxi_assets_tests.web_server import Reply, WebServer, serve

MARCH, APRIL = TripMonth("green", "2020-03"), TripMonth("green", "2020-04")
MONTHS = (MARCH, APRIL)
ROWS = {MARCH: 60, APRIL: 80}
ETAG = '"v1"'

FOLDERS = {"raw_trips": "raw", "clean_trips": "clean", "lake_trips": "lake"}

RECORDED = (
    *("dagster/partition_row_count", "seconds", "rows_per_second", "dagster/column_schema", "rule"),
    *("source", "download", "tries", "resumed", "bytes", "sha256", "etag", "last_modified", "path", "uri"),
)
"""The metadata of today's runs that the previous release also recorded."""


@dataclass(frozen=True)
class Loaded:
    """A TAXI_HOME with two months in every store, its own database, and the web server that is its source."""

    home: Path
    postgres_url: str
    web: WebServer
    metadata: dict[tuple[TripMonth, str], Mapping[str, dg.MetadataValue[Any]]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, empty_history: Path, postgres_server: str) -> Iterator[Loaded]:
    """Stores that this release loaded. The tests copy the stores without their history."""
    home = tmp_path_factory.mktemp("loaded")
    shutil.copytree(empty_history, home / "dagster")
    with closing(psycopg2.connect(postgres_server)) as connection:
        connection.autocommit = True
        connection.cursor().execute("CREATE DATABASE adopted")
    url = postgres_server.replace("/ny_taxi?", "/adopted?")
    assert url != postgres_server
    with serve() as web, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        for name, value in _settings(home, url, web).items():
            patch.setenv(name, value)
        stores = Loaded(home, url, web)
        with closing(WebInstallation(web)) as installation:
            for month in MONTHS:
                published = publish(home / "source", month, ROWS[month])
                web.replies[web_path(month)] = [Reply(published.read_bytes(), headers={"ETag": ETAG})]
            installation.load(*MONTHS)
            for month in MONTHS:
                for asset in TRIP_ASSETS:
                    wanted = dg.AssetRecordsFilter(asset_key(month.color, asset), [month.month])
                    record = installation.instance.fetch_materializations(wanted, limit=1).records[0]
                    assert record.asset_materialization
                    stores.metadata[month, asset] = record.asset_materialization.metadata
        yield stores


def _settings(home: Path, postgres_url: str, web: WebServer) -> dict[str, str]:
    return {"TAXI_HOME": str(home), "TAXI_POSTGRES_URL": postgres_url, "TAXI_SOURCE_URL": web.url}


class Upgraded(ObservingInstallation):
    """An installation of this release that uses the stores of the previous release."""

    def record(self, loaded: Loaded, month: TripMonth, *assets: str, code: str = "", **metadata: str) -> None:
        """Add the materializations that the previous release reported for these assets of a month.

        Their code version is the current one if `code` is empty, so that the months are not stale because of it.
        """
        for asset in assets or TRIP_ASSETS:
            recorded = {name: entry for name, entry in loaded.metadata[month, asset].items() if name in RECORDED}
            event = dg.AssetMaterialization(
                asset,
                partition=_previous_key(month),
                metadata={**recorded, **metadata},
                tags={CODE_VERSION_TAG: code or CODE_VERSIONS[asset], DATA_VERSION_TAG: "computed by Dagster"},
            )
            self.instance.report_runless_asset_event(event)

    def observe_previous(self, month: TripMonth, version: str) -> None:
        """Add an observation of the source by the previous release."""
        key, tags = dg.MultiPartitionKey({"color": month.color, "month": month.month}), {DATA_VERSION_TAG: version}
        self.instance.report_runless_asset_event(dg.AssetObservation(SOURCE_TRIPS, partition=key, tags=tags))

    def wipe_previous(self, month: TripMonth, asset: str) -> None:
        """Add a wipe by the previous release."""
        event = dg.AssetObservation(asset, partition=_previous_key(month), metadata={"wiped": True, "newest_run": ""})
        self.instance.report_runless_asset_event(event)

    def start(self) -> list[Adopted]:
        """Adopt the months of the previous release, as every command does first."""
        return list(adopt_previous_release(self.settings, self.instance))

    def adopt(self) -> list[Adopted]:
        """Adopt all months, as `taxi adopt` does."""
        return list(adopt(self.settings, self.instance))

    def history(self, month: TripMonth) -> MonthStatus:
        """Return a month as `taxi status` shows it."""
        return next(each for each in read_history(self.instance, self.settings) if each.month == month)

    def materializations(self, month: TripMonth) -> dict[str, int]:
        """Return the number of materializations of each asset of a month."""
        wanted = {name: dg.AssetRecordsFilter(asset_key(month.color, name), [month.month]) for name in TRIP_ASSETS}
        fetch = self.instance.fetch_materializations
        return {name: len(fetch(each, limit=10).records) for name, each in wanted.items()}

    def path(self, asset: str, month: TripMonth) -> Path:
        """Return the file of an asset of a month."""
        [found] = (self.settings.home / FOLDERS[asset]).rglob(f"{month.stem}.*")
        return found


def _previous_key(month: TripMonth) -> dg.MultiPartitionKey:
    return dg.MultiPartitionKey({"color": month.color, "month": month.month})


@pytest.fixture
def home(tmp_path: Path, loaded: Loaded, empty_history: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TAXI_HOME with nothing loaded. The environment has its settings."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name, value in _settings(tmp_path / "home", loaded.postgres_url, loaded.web).items():
        monkeypatch.setenv(name, value)
    shutil.copytree(empty_history, tmp_path / "home" / "dagster")
    return tmp_path / "home"


@pytest.fixture
def filled(home: Path, loaded: Loaded) -> Path:
    """A TAXI_HOME with a copy of the loaded stores and an empty history."""
    for name in ("raw", "clean", "lake"):
        shutil.copytree(loaded.home / name, home / name)
    shutil.copy(loaded.home / "warehouse.duckdb", home)
    return home


@pytest.fixture
def upgraded(filled: Path, loaded: Loaded) -> Iterator[Upgraded]:
    """An installation in which the previous release loaded March and April. Its files do not contain their version."""
    for path in (*(filled / "clean").rglob("*.parquet"), *(filled / "lake").rglob("*.parquet")):
        source = parquet.read_source(path)
        assert source
        table = pq.read_table(path)
        pq.write_table(table.replace_schema_metadata({"taxi_assets.source_sha256": source}), path)
    with closing(Upgraded(loaded.web)) as installation:
        for month in MONTHS:
            installation.record(loaded, month)
        loaded.web.seen.clear()
        yield installation


@pytest.fixture
def foreign(filled: Path, loaded: Loaded) -> Iterator[Upgraded]:
    """An installation whose stores another installation filled, so there is no history."""
    assert filled
    with closing(Upgraded(loaded.web)) as installation:
        yield installation


@pytest.fixture
def empty(home: Path, loaded: Loaded) -> Iterator[Upgraded]:
    """An installation with nothing loaded."""
    assert home
    with closing(Upgraded(loaded.web)) as installation:
        yield installation


def _counts(loaded: Loaded, month: TripMonth) -> dict[str, int]:
    """The row count of each asset, read from the files and tables."""
    stem = f"{month.color}/{month.stem}.parquet"
    files = {"clean_trips": loaded.home / "clean" / stem, "lake_trips": loaded.home / "lake" / "data" / stem}
    count = f"SELECT count(*) FROM {month.table} WHERE file_month = '{month.first_day}'"
    with duckdb.connect(str(loaded.home / "warehouse.duckdb"), read_only=True) as warehouse:
        in_warehouse = warehouse.execute(count).fetchall()[0][0]
    return {
        "raw_trips": ROWS[month],
        **{asset: pq.read_metadata(path).num_rows for asset, path in files.items()},
        "warehouse_trips": in_warehouse,
        "postgres_trips": PostgresStore(loaded.postgres_url).query(count).rows[0][0],
    }


# The previous release


def test_months_of_the_previous_release_are_recognized(upgraded: Upgraded, loaded: Loaded) -> None:
    """`taxi status` and the UI show the months as loaded, with the rows in the stores. No file is downloaded."""
    assert upgraded.start() == [Adopted(month, _counts(loaded, month)) for month in MONTHS]
    for month in MONTHS:
        assert (upgraded.status(month), upgraded.stale(month)) == (PartitionStatus.loaded, [])
        assert dict(upgraded.history(month).rows) == _counts(loaded, month)
    assert loaded.web.seen == []


def test_the_ui_shows_the_partitions(upgraded: Upgraded) -> None:
    """Every asset of the color and its source have exactly these partitions."""
    upgraded.start()
    for name in (SOURCE_TRIPS, *TRIP_ASSETS):
        assert upgraded.instance.get_materialized_partitions(asset_key("green", name)) == {"2020-03", "2020-04"}


def test_metadata_of_the_previous_release_is_kept(upgraded: Upgraded, loaded: Loaded) -> None:
    """The materialization has the metadata of the previous one, and a mark that no run reported it."""
    upgraded.start()
    metadata = upgraded.metadata("raw_trips", MARCH)
    assert metadata["adopted"] is True
    recorded = {name: entry.value for name, entry in loaded.metadata[MARCH, "raw_trips"].items() if name in RECORDED}
    assert recorded.items() <= metadata.items()


def test_months_are_recognized_once(upgraded: Upgraded) -> None:
    """The second command reports nothing, and opens no store."""
    assert len(upgraded.start()) == 2
    (upgraded.settings.home / "warehouse.duckdb").write_bytes(b"no database" * 1000)
    assert upgraded.start() == []
    assert upgraded.materializations(MARCH) == dict.fromkeys(TRIP_ASSETS, 1)


def test_months_are_recognized_once_by_both_commands(upgraded: Upgraded) -> None:
    """After `taxi adopt`, neither the next command nor another `taxi adopt` finds anything."""
    assert len(upgraded.adopt()) == 2
    assert upgraded.start() == []
    assert upgraded.adopt() == []
    assert upgraded.materializations(APRIL) == dict.fromkeys(TRIP_ASSETS, 1)


def test_two_commands_at_the_same_time(upgraded: Upgraded, loaded: Loaded) -> None:
    """If two commands start together, only one of them reports each month."""
    assert upgraded

    def start(_: int) -> list[Adopted]:
        with closing(Upgraded(loaded.web)) as other:
            return other.start()

    with ThreadPoolExecutor(2) as pool:
        adopted = [found.month for each in pool.map(start, range(2)) for found in each]
    assert sorted(adopted) == [*MONTHS]
    assert upgraded.materializations(MARCH) == dict.fromkeys(TRIP_ASSETS, 1)


@pytest.mark.parametrize(
    ("reloaded", "stale"), [("lake_trips", ["warehouse_trips"]), ("clean_trips", ["lake_trips", "postgres_trips"])]
)
def test_a_stale_asset_stays_stale(reloaded: str, stale: list[str], upgraded: Upgraded, loaded: Loaded) -> None:
    """An asset that the previous release loaded before its input is stale in `taxi status` and in the UI."""
    upgraded.record(loaded, MARCH, reloaded)
    upgraded.start()
    assert (upgraded.status(MARCH), upgraded.stale(MARCH)) == (PartitionStatus.stale, stale)
    assert (upgraded.status(APRIL), upgraded.stale(APRIL)) == (PartitionStatus.loaded, [])


def test_assets_downstream_of_a_stale_asset(upgraded: Upgraded, loaded: Loaded) -> None:
    """After the lake is loaded again, the warehouse is stale until it is loaded again, too."""
    upgraded.record(loaded, MARCH, "clean_trips")
    upgraded.start()
    upgraded.run(MARCH, "lake_trips")
    assert upgraded.stale(MARCH) == ["warehouse_trips", "postgres_trips"]
    upgraded.run(MARCH, "warehouse_trips", "postgres_trips")
    assert (upgraded.status(MARCH), upgraded.stale(MARCH)) == (PartitionStatus.loaded, [])


def test_a_month_that_was_published_again_stays_stale(upgraded: Upgraded) -> None:
    """A month is stale if the previous release observed another version than it had downloaded."""
    upgraded.observe_previous(MARCH, ETAG)
    upgraded.observe_previous(MARCH, '"v2"')
    upgraded.observe_previous(APRIL, ETAG)
    upgraded.start()
    assert (upgraded.status(MARCH), upgraded.stale(MARCH)) == (PartitionStatus.stale, ["raw_trips"])
    assert (upgraded.status(APRIL), upgraded.stale(APRIL)) == (PartitionStatus.loaded, [])


def test_a_new_version_at_the_source_makes_a_month_stale(upgraded: Upgraded) -> None:
    """A recognized month is stale as soon as the source has another version than the downloaded one."""
    upgraded.start()
    assert upgraded.observe("green", MARCH.month)[MARCH.month] == ETAG
    assert (upgraded.status(MARCH), upgraded.stale(MARCH)) == (PartitionStatus.loaded, [])
    replies, path = upgraded.web.replies, web_path(MARCH)
    before = replies[path]
    upgraded.publish(MARCH, ETag='"v2"')
    upgraded.observe("green", MARCH.month)
    replies[path] = before
    assert (upgraded.status(MARCH), upgraded.stale(MARCH)) == (PartitionStatus.stale, ["raw_trips"])


def test_a_recognized_month_is_not_downloaded_again(upgraded: Upgraded) -> None:
    """The next run requests the file only if it has changed, and the server sends no file."""
    upgraded.start()
    upgraded.load(MARCH)
    assert [seen["If-None-Match"] for seen in upgraded.web.seen] == [ETAG]
    assert upgraded.metadata("raw_trips", MARCH)["download"].startswith("not needed")
    assert (upgraded.status(MARCH), upgraded.stale(MARCH)) == (PartitionStatus.loaded, [])


def test_running_an_asset_again_keeps_its_version(upgraded: Upgraded) -> None:
    """If an asset runs again with the same rules and code, no downstream asset becomes stale."""
    upgraded.start()
    for asset in ("raw_trips", "lake_trips"):
        upgraded.run(MARCH, asset)
        assert (asset, upgraded.stale(MARCH)) == (asset, [])
    # The previous release had another code version of this asset.
    upgraded.run(MARCH, "clean_trips")
    assert upgraded.stale(MARCH) == ["lake_trips", "postgres_trips"]


def test_clean_months_of_an_earlier_code_version_are_stale(upgraded: Upgraded, loaded: Loaded) -> None:
    """Months that the previous release loaded are recognized, and the UI shows that their rows may change."""
    upgraded.record(loaded, MARCH, "clean_trips", code="1")
    upgraded.record(loaded, MARCH, "lake_trips", "warehouse_trips", "postgres_trips", code="1")
    upgraded.start()
    assert (upgraded.status(MARCH), upgraded.stale(MARCH)) == (PartitionStatus.stale, ["clean_trips"])
    assert upgraded.status(APRIL) is PartitionStatus.loaded


def test_a_clean_file_without_a_version(upgraded: Upgraded) -> None:
    """If a clean file does not contain its version, the version is derived from its raw file."""
    upgraded.start()
    upgraded.run(MARCH, "lake_trips")
    assert upgraded.stale(MARCH) == []


def test_an_asset_keeps_the_rule_of_its_load(upgraded: Upgraded, loaded: Loaded) -> None:
    """If the lake runs with another rule than in the previous release, the warehouse becomes stale."""
    upgraded.record(loaded, MARCH, "lake_trips", rule="keep")
    upgraded.record(loaded, MARCH, "warehouse_trips")
    upgraded.start()
    assert upgraded.stale(MARCH) == []
    upgraded.run(MARCH, "lake_trips")
    assert upgraded.stale(MARCH) == ["warehouse_trips"]


@pytest.mark.usefixtures("upgraded")
def test_an_asset_of_another_code_version_is_stale(monkeypatch: pytest.MonkeyPatch, loaded: Loaded) -> None:
    """An asset keeps the code version of its load. It is stale in a release with another code version."""
    changed = {**CODE_VERSIONS, "postgres_trips": "2"}
    for module in ("tlc.versions", "defs.assets", "instance.partition_status", "operations.adoption"):
        monkeypatch.setattr(f"taxi_assets.{module}.CODE_VERSIONS", changed)
    with closing(Upgraded(loaded.web)) as later:
        later.start()
        assert (later.status(MARCH), later.stale(MARCH)) == (PartitionStatus.stale, ["postgres_trips"])


def test_wiped_assets_are_not_recognized(upgraded: Upgraded) -> None:
    """Assets of a month that the previous release wiped are not reported."""
    for asset in ("raw_trips", "lake_trips"):
        upgraded.wipe_previous(MARCH, asset)
        upgraded.path(asset, MARCH).unlink()
    [found, _] = upgraded.start()
    assert list(found.rows) == ["clean_trips", "warehouse_trips", "postgres_trips"]
    assert upgraded.status(MARCH) is PartitionStatus.partial


def test_files_on_a_machine_that_no_longer_exists(upgraded: Upgraded, loaded: Loaded) -> None:
    """Raw and clean files that are gone, such as those of a pod, but were not wiped, have their recorded rows."""
    for name in ("raw", "clean"):
        shutil.rmtree(upgraded.settings.home / name)
    assert upgraded.start() == [Adopted(month, _counts(loaded, month)) for month in MONTHS]
    assert (upgraded.status(MARCH), upgraded.stale(MARCH)) == (PartitionStatus.loaded, [])
    upgraded.load(MARCH)
    assert (upgraded.status(MARCH), upgraded.stale(MARCH)) == (PartitionStatus.loaded, [])


def test_a_month_in_no_store_is_not_recognized(upgraded: Upgraded, loaded: Loaded) -> None:
    """A month that the previous release recorded but no store contains is not reported."""
    may = TripMonth("green", "2020-05")
    loaded.metadata.update({(may, asset): loaded.metadata[APRIL, asset] for asset in TRIP_ASSETS})
    upgraded.record(loaded, may)
    assert [found.month for found in upgraded.start()] == [*MONTHS]


def test_a_month_without_a_record_is_recognized(foreign: Upgraded, loaded: Loaded) -> None:
    """A month that the previous release did not record is recognized with the others."""
    foreign.record(loaded, MARCH)
    assert [found.month for found in foreign.start()] == [*MONTHS]
    assert (foreign.status(APRIL), foreign.stale(APRIL)) == (PartitionStatus.loaded, [])


def test_a_record_of_another_file_is_ignored(upgraded: Upgraded, loaded: Loaded) -> None:
    """If the raw file was replaced, its own rows and hash are used, and the clean file is stale."""
    other = publish(upgraded.settings.home / "other", MARCH, ROWS[MARCH] + 1, seed=7)
    shutil.copy(other, upgraded.path("raw_trips", MARCH))
    [found, _] = upgraded.start()
    assert found.rows == {**_counts(loaded, MARCH), "raw_trips": ROWS[MARCH] + 1}
    assert upgraded.stale(MARCH) == ["clean_trips"]
    assert "sha256" not in upgraded.metadata("raw_trips", MARCH)


def test_a_run_before_the_recognition_is_newer(
    upgraded: Upgraded, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a run loads the lake with another rule before the recognition, the warehouse is stale."""
    monkeypatch.setenv("TAXI_MISSING_PASSENGERS", "keep")
    with closing(Upgraded(loaded.web)) as later:
        later.run(MARCH, "lake_trips")
        later.start()
        assert (later.status(MARCH), later.stale(MARCH)) == (PartitionStatus.stale, ["warehouse_trips"])
    assert upgraded.materializations(MARCH) == dict.fromkeys(TRIP_ASSETS, 1)


def test_a_store_that_fails_does_not_stop_a_command(
    upgraded: Upgraded,
    dead_postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first command warns, shows `taxi adopt`, and continues. The next one tries again; later ones do not."""
    with monkeypatch.context() as patch:
        patch.setenv("TAXI_POSTGRES_URL", dead_postgres_url)
        with open_upgraded(settings := Settings.load()) as instance:
            assert read_history(instance, settings) == []
    warning = capsys.readouterr().err
    assert "[postgres-unreachable]" in warning
    assert "taxi adopt" in warning
    with open_upgraded(upgraded.settings) as instance:
        assert [month.status for month in read_history(instance, upgraded.settings)] == [PartitionStatus.loaded] * 2
    assert "Recognized: green 2020-03..2020-04\n" in capsys.readouterr().err
    with open_upgraded(upgraded.settings):
        assert capsys.readouterr().err == ""


def test_months_before_an_error_stay_recognized(upgraded: Upgraded, capsys: pytest.CaptureFixture[str]) -> None:
    """The warning has the damaged file and the command that replaces it. After that, the rest is recognized."""
    upgraded.path("clean_trips", APRIL).write_bytes(b"damaged")
    with open_upgraded(upgraded.settings):
        warning = capsys.readouterr().err
    assert "Recognized: green 2020-03\n" in warning
    assert f"{APRIL.stem}.parquet" in warning
    assert "[damaged-file]" in warning
    assert "taxi materialize --color green --months 2020-04 --select clean_trips+" in warning
    upgraded.run(APRIL, "clean_trips")
    assert [(found.month, "clean_trips" in found.rows) for found in upgraded.start()] == [(APRIL, False)]
    assert upgraded.materializations(MARCH) == dict.fromkeys(TRIP_ASSETS, 1)


def test_stores_without_a_record_are_not_opened(
    foreign: Upgraded, loaded: Loaded, dead_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that the previous release never loaded does not have to be available."""
    foreign.record(loaded, MARCH, *TRIP_ASSETS[:4])
    monkeypatch.setenv("TAXI_POSTGRES_URL", dead_postgres_url)
    with closing(Upgraded(loaded.web)) as other:
        assert [list(found.rows) for found in other.start()] == [[*TRIP_ASSETS[:4]]] * 2


def test_nothing_to_recognize_without_a_previous_release(foreign: Upgraded, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a previous release, a command opens no store, prints nothing, and recognizes nothing."""
    with open_upgraded(foreign.settings) as instance:
        assert read_history(instance, foreign.settings) == []
    assert capsys.readouterr().err == ""


# Stores of another installation


def test_stores_of_another_installation_are_recognized(foreign: Upgraded, loaded: Loaded) -> None:
    """Without any history, the months are loaded with the rows in the stores, and not stale in the UI."""
    assert foreign.adopt() == [Adopted(month, _counts(loaded, month)) for month in MONTHS]
    for month in MONTHS:
        assert (foreign.status(month), foreign.stale(month)) == (PartitionStatus.loaded, [])


@pytest.mark.parametrize("asset", ["lake_trips", "warehouse_trips", "postgres_trips"])
def test_one_store_of_another_installation(
    asset: str, home: Path, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If only the lake, the warehouse or Postgres contains months, they are partial, and nothing is stale."""
    filled = {
        "lake_trips": ("TAXI_LAKE_URL", str(loaded.home / "lake")),
        "warehouse_trips": ("TAXI_WAREHOUSE_URL", f"duckdb:///{loaded.home}/warehouse.duckdb"),
        "postgres_trips": ("TAXI_POSTGRES_URL", loaded.postgres_url),
    }
    monkeypatch.setenv("TAXI_POSTGRES_URL", "")
    monkeypatch.setenv(*filled[asset])
    with closing(Upgraded(loaded.web)) as installation:
        assert installation.adopt() == [Adopted(month, {asset: _counts(loaded, month)[asset]}) for month in MONTHS]
        assert (installation.status(MARCH), installation.stale(MARCH)) == (PartitionStatus.partial, [])
    assert not (home / "postgres").exists()


def test_a_lake_in_a_bucket_is_recognized(empty: Upgraded, loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects in the bucket are recognized, with the row counts in their footers."""
    with serve_google() as google:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", google.url)
        monkeypatch.setenv("TAXI_LAKE_URL", "gs://trips/nyc")
        monkeypatch.setenv("TAXI_FIRST_MONTH", "2020-02")
        monkeypatch.setenv("TAXI_LAST_MONTH", "2020-05")
        google.buckets["trips"] = {}
        content = (loaded.home / "lake" / MARCH.object_name).read_bytes()
        google.store(f"gs://trips/nyc/{MARCH.object_name}", content)
        found = list(adopt(Settings.load(), empty.instance, ["green"], ["lake_trips"]))
    assert found == [Adopted(MARCH, {"lake_trips": ROWS[MARCH]})]


def test_the_embedded_server_is_started(home: Path, loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Months in an embedded Postgres server that is stopped are recognized."""
    monkeypatch.setenv("TAXI_POSTGRES_URL", "")
    server = EmbeddedPostgres(home / "postgres")
    clean = loaded.home / "clean" / "green" / f"{MARCH.stem}.parquet"
    try:
        tables = parquet.read_row_groups(clean, LAYOUTS["green"])
        PostgresStore(server.ensure_running()).replace_month(MARCH, tables, ROWS[MARCH])
        server.stop()
        with closing(Upgraded(loaded.web)) as installation:
            assert installation.adopt() == [Adopted(MARCH, {"postgres_trips": ROWS[MARCH]})]
    finally:
        server.stop()


def test_the_second_adoption_finds_nothing(foreign: Upgraded) -> None:
    """Recognized months are not reported again."""
    assert len(foreign.adopt()) == 2
    assert foreign.adopt() == []
    assert foreign.materializations(MARCH) == dict.fromkeys(TRIP_ASSETS, 1)


def test_an_asset_that_is_added_later_is_recognized(foreign: Upgraded, loaded: Loaded) -> None:
    """An asset that appears in a store after the first adoption is recognized by the next, and nothing is stale."""
    path = foreign.path("lake_trips", MARCH)
    moved = path.rename(path.with_suffix(".moved"))
    assert "lake_trips" not in foreign.adopt()[0].rows
    assert (foreign.status(MARCH), foreign.stale(MARCH)) == (PartitionStatus.partial, [])
    moved.rename(path)
    assert foreign.adopt() == [Adopted(MARCH, {"lake_trips": _counts(loaded, MARCH)["lake_trips"]})]
    assert (foreign.status(MARCH), foreign.stale(MARCH)) == (PartitionStatus.loaded, [])


def test_assets_of_a_run_are_not_reported(foreign: Upgraded) -> None:
    """Assets that a run materialized are not reported again, but the other assets of the month are."""
    foreign.run(MARCH, "raw_trips", "clean_trips")
    [found, _] = foreign.adopt()
    assert list(found.rows) == ["lake_trips", "warehouse_trips", "postgres_trips"]
    assert (foreign.status(MARCH), foreign.stale(MARCH)) == (PartitionStatus.loaded, [])


def test_a_month_in_some_stores_is_partial(foreign: Upgraded, loaded: Loaded) -> None:
    """Only the assets whose store contains the month are reported."""
    foreign.path("raw_trips", MARCH).unlink()
    with duckdb.connect(str(foreign.settings.home / "warehouse.duckdb")) as warehouse:
        warehouse.execute(f"DELETE FROM {MARCH.table} WHERE file_month = '{MARCH.first_day}'")
    [found, _] = foreign.adopt()
    assert list(found.rows) == ["clean_trips", "lake_trips", "postgres_trips"]
    assert (foreign.status(MARCH), foreign.stale(MARCH)) == (PartitionStatus.partial, [])
    foreign.load(MARCH)
    assert (foreign.status(MARCH), foreign.stale(MARCH)) == (PartitionStatus.loaded, [])
    assert dict(foreign.history(MARCH).rows) == _counts(loaded, MARCH)


def test_months_that_are_not_partitions_are_ignored(
    foreign: Upgraded, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Months outside TAXI_FIRST_MONTH and TAXI_LAST_MONTH, and months of other colors, are not reported."""
    assert foreign
    monkeypatch.setenv("TAXI_FIRST_MONTH", "2020-04")
    with closing(Upgraded(loaded.web)) as later:
        assert list(adopt(later.settings, later.instance, ["yellow", "fhv"])) == []
        assert [found.month for found in later.adopt()] == [APRIL]
        assert later.instance.get_materialized_partitions(asset_key("green", "raw_trips")) == {"2020-04"}


def test_nothing_to_recognize_without_partitions(
    foreign: Upgraded, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the bounds leave no partition, nothing is reported, and there is no error."""
    assert foreign
    monkeypatch.setenv("TAXI_FIRST_MONTH", "2021-01")
    monkeypatch.setenv("TAXI_LAST_MONTH", "2020-12")
    with closing(Upgraded(loaded.web)) as later:
        assert later.adopt() == []


def test_a_clean_file_of_another_raw_file_is_stale(foreign: Upgraded) -> None:
    """A clean file contains the hash of its raw file, and is stale if the raw file has another one."""
    shutil.copy(publish(foreign.settings.home / "other", MARCH, ROWS[MARCH], seed=7), foreign.path("raw_trips", MARCH))
    foreign.adopt()
    assert (foreign.status(MARCH), foreign.stale(MARCH)) == (PartitionStatus.stale, ["clean_trips"])


def test_an_object_of_another_clean_file_is_stale(foreign: Upgraded) -> None:
    """An object contains its version, and is stale if the version does not match the clean file."""
    path = foreign.path("lake_trips", MARCH)
    table = pq.read_table(path)
    metadata = {**table.schema.metadata, b"taxi_assets.version": b"of another file"}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    foreign.adopt()
    assert (foreign.status(MARCH), foreign.stale(MARCH)) == (PartitionStatus.stale, ["lake_trips"])


@pytest.mark.parametrize("first", [True, False])
def test_an_object_with_other_rows_is_stale(foreign: Upgraded, loaded: Loaded, *, first: bool) -> None:
    """An object without a version and with other rows than the clean file is stale, and so is the warehouse.

    This also holds if these are the first events of the instance.
    """
    if first:
        shutil.rmtree(foreign.settings.home / "raw")
    write_month(foreign.path("lake_trips", MARCH), MARCH, ROWS[MARCH] + 5, source="5ha")
    foreign.adopt()
    assert foreign.stale(MARCH) == ["lake_trips", "warehouse_trips"]
    foreign.load(MARCH)
    assert (foreign.status(MARCH), foreign.stale(MARCH)) == (PartitionStatus.loaded, [])
    assert dict(foreign.history(MARCH).rows) == _counts(loaded, MARCH)


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(("extra", "stale"), [(0, []), (-1, ["postgres_trips"]), (1, ["postgres_trips"])])
def test_postgres_with_or_without_zero_passengers(
    extra: int, stale: list[str], loaded: Loaded, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres matches if it has all clean rows, as with the rule `keep`. With any other number, it is stale."""
    monkeypatch.setenv("TAXI_POSTGRES_URL", postgres_url)
    rows = ROWS[MARCH] + extra
    assert _counts(loaded, MARCH)["postgres_trips"] < ROWS[MARCH] - 1
    with closing(Upgraded(loaded.web)) as installation:
        written = installation.settings.home / "written.parquet"
        write_month(written, MARCH, rows)
        PostgresStore(postgres_url).replace_month(MARCH, parquet.read_row_groups(written, LAYOUTS["green"]), rows)
        [found, _] = installation.adopt()
        assert found.rows["postgres_trips"] == rows
        assert installation.stale(MARCH) == stale


def test_an_incompatible_table_is_an_error(foreign: Upgraded) -> None:
    """A table with other columns is an error with its name."""
    with duckdb.connect(str(foreign.settings.home / "warehouse.duckdb")) as warehouse:
        warehouse.execute(f"ALTER TABLE {MARCH.table} ADD COLUMN x INTEGER")
    with pytest.raises(IncompatibleTable) as caught:
        foreign.adopt()
    assert caught.value.facts["table"] == MARCH.table


def test_a_damaged_raw_file_is_an_error(foreign: Upgraded) -> None:
    """A truncated raw file without a record is an error, because its rows cannot be counted."""
    path = foreign.path("raw_trips", MARCH)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CorruptFile, match=path.name):
        foreign.adopt()


# The command


def test_the_command_prints_each_month(
    foreign: Upgraded, loaded: Loaded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`taxi adopt` prints a line for each month with the rows of each asset. The next one finds nothing."""
    assert foreign
    assert run_here(monkeypatch, "adopt", "--color", "green") == 0
    rows = ", ".join(f"{asset} {count}" for asset, count in _counts(loaded, MARCH).items())
    assert capsys.readouterr().out.splitlines()[0] == f"recognized green 2020-03: {rows} rows"
    assert run_here(monkeypatch, "adopt") == 0
    assert capsys.readouterr().out.startswith("Nothing to recognize")


def test_the_command_fails_if_a_store_fails(
    foreign: Upgraded,
    dead_postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`taxi adopt` exits with 1 and the error if a store is not available."""
    assert foreign
    monkeypatch.setenv("TAXI_POSTGRES_URL", dead_postgres_url)
    assert run_here(monkeypatch, "adopt") == 1
    assert "[postgres-unreachable]" in capsys.readouterr().err


def test_the_command_for_the_previous_release(
    upgraded: Upgraded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`taxi adopt --previous-release` recognizes its months the first time, and opens no store after that."""
    assert run_here(monkeypatch, "adopt", "--previous-release") == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in printed] == [f"recognized {month}" for month in MONTHS]
    (upgraded.settings.home / "warehouse.duckdb").write_bytes(b"no database" * 1000)
    assert run_here(monkeypatch, "adopt", "--previous-release") == 0
    assert capsys.readouterr().out == ""
    assert run_here(monkeypatch, "adopt", "--previous-release", "--color", "green") == 2
