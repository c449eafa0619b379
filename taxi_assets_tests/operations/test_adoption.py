"""Months that stores hold and Dagster does not know of are recognized, once, with their rows, and nothing is loaded."""

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
from dagster._core.definitions.data_version import CODE_VERSION_TAG, DATA_VERSION_TAG

from taxi_assets.errors import BadFile, StoreError
from taxi_assets.graph import SOURCE_TRIPS, TRIP_ASSETS, asset_key
from taxi_assets.instance.partition_status import read_history
from taxi_assets.news import MonthStatus, PartitionStatus
from taxi_assets.operations.adoption import Adopted, adopt, adopt_previous_release, open_upgraded
from taxi_assets.settings import Settings
from taxi_assets.stores.embedded_postgres import EmbeddedPostgres
from taxi_assets.stores.postgres import PostgresStore
from taxi_assets.tlc import parquet
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
"""What the previous release recorded, of what runs record today."""


@dataclass(frozen=True)
class Loaded:
    """A home with two months in every store, a database of its own, and the web server that they came from."""

    home: Path
    postgres_url: str
    web: WebServer
    metadata: dict[tuple[TripMonth, str], Mapping[str, dg.MetadataValue[Any]]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, empty_history: Path, postgres_server: str) -> Iterator[Loaded]:
    """Stores that this release loaded, whose history the tests do not have."""
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
        made = Loaded(home, url, web)
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
                    made.metadata[month, asset] = record.asset_materialization.metadata
        yield made


def _settings(home: Path, postgres_url: str, web: WebServer) -> dict[str, str]:
    return {"TAXI_HOME": str(home), "TAXI_POSTGRES_URL": postgres_url, "TAXI_SOURCE_URL": web.url}


class Upgraded(ObservingInstallation):
    """An installation of this release on the stores of the previous one."""

    def record(self, loaded: Loaded, month: TripMonth, *assets: str, **metadata: str) -> None:
        """Let the history have what the previous release recorded when it loaded these assets of a month."""
        for asset in assets or TRIP_ASSETS:
            told = {name: entry for name, entry in loaded.metadata[month, asset].items() if name in RECORDED}
            event = dg.AssetMaterialization(
                asset,
                partition=_previous_key(month),
                metadata={**told, **metadata},
                tags={CODE_VERSION_TAG: "1", DATA_VERSION_TAG: "computed by Dagster"},
            )
            self.instance.report_runless_asset_event(event)

    def observe_previous(self, month: TripMonth, version: str) -> None:
        """Let the history have an observation of the source by the previous release."""
        key, tags = dg.MultiPartitionKey({"color": month.color, "month": month.month}), {DATA_VERSION_TAG: version}
        self.instance.report_runless_asset_event(dg.AssetObservation(SOURCE_TRIPS, partition=key, tags=tags))

    def wipe_previous(self, month: TripMonth, asset: str) -> None:
        """Let the history have a wipe by the previous release."""
        event = dg.AssetObservation(asset, partition=_previous_key(month), metadata={"wiped": True, "newest_run": ""})
        self.instance.report_runless_asset_event(event)

    def start(self) -> list[Adopted]:
        """Do what a command does at its start."""
        return list(adopt_previous_release(self.settings, self.instance))

    def adopt(self) -> list[Adopted]:
        """Do what `taxi adopt` does."""
        return list(adopt(self.settings, self.instance))

    def history(self, month: TripMonth) -> MonthStatus:
        """What `taxi status` says of a month."""
        return next(each for each in read_history(self.instance, self.settings) if each.month == month)

    def materializations(self, month: TripMonth) -> dict[str, int]:
        """How often each asset of a month was reported as materialized."""
        wanted = {name: dg.AssetRecordsFilter(asset_key(month.color, name), [month.month]) for name in TRIP_ASSETS}
        fetch = self.instance.fetch_materializations
        return {name: len(fetch(each, limit=10).records) for name, each in wanted.items()}

    def place(self, asset: str, month: TripMonth) -> Path:
        """The file of an asset of a month."""
        [found] = (self.settings.home / FOLDERS[asset]).rglob(f"{month.stem}.*")
        return found


def _previous_key(month: TripMonth) -> dg.MultiPartitionKey:
    return dg.MultiPartitionKey({"color": month.color, "month": month.month})


@pytest.fixture
def home(tmp_path: Path, loaded: Loaded, empty_history: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with nothing in it, in the environment."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name, value in _settings(tmp_path / "home", loaded.postgres_url, loaded.web).items():
        monkeypatch.setenv(name, value)
    shutil.copytree(empty_history, tmp_path / "home" / "dagster")
    return tmp_path / "home"


@pytest.fixture
def filled(home: Path, loaded: Loaded) -> Path:
    """A home with the files of the loaded one, and an empty history: as of a copy of the stores."""
    for name in ("raw", "clean", "lake"):
        shutil.copytree(loaded.home / name, home / name)
    shutil.copy(loaded.home / "warehouse.duckdb", home)
    return home


@pytest.fixture
def upgraded(filled: Path, loaded: Loaded) -> Iterator[Upgraded]:
    """A home in which the previous release loaded March and April; its files did not state their version."""
    for place in (*(filled / "clean").rglob("*.parquet"), *(filled / "lake").rglob("*.parquet")):
        source = parquet.read_source(place)
        assert source
        table = pq.read_table(place)
        pq.write_table(table.replace_schema_metadata({"taxi_assets.source_sha256": source}), place)
    with closing(Upgraded(loaded.web)) as made:
        for month in MONTHS:
            made.record(loaded, month)
        loaded.web.seen.clear()
        yield made


@pytest.fixture
def foreign(filled: Path, loaded: Loaded) -> Iterator[Upgraded]:
    """A home whose stores somebody else filled: there is no history."""
    assert filled
    with closing(Upgraded(loaded.web)) as made:
        yield made


@pytest.fixture
def empty(home: Path, loaded: Loaded) -> Iterator[Upgraded]:
    """A home with nothing in it."""
    assert home
    with closing(Upgraded(loaded.web)) as made:
        yield made


def _counts(loaded: Loaded, month: TripMonth) -> dict[str, int]:
    """The rows of each asset, by what the stores and files say themselves."""
    stem = f"{month.color}/{month.stem}.parquet"
    places = {"clean_trips": loaded.home / "clean" / stem, "lake_trips": loaded.home / "lake" / "data" / stem}
    count = f"SELECT count(*) FROM {month.table} WHERE file_month = '{month.first_day}'"
    with duckdb.connect(str(loaded.home / "warehouse.duckdb"), read_only=True) as warehouse:
        in_warehouse = warehouse.execute(count).fetchall()[0][0]
    return {
        "raw_trips": ROWS[month],
        **{asset: pq.read_metadata(place).num_rows for asset, place in places.items()},
        "warehouse_trips": in_warehouse,
        "postgres_trips": PostgresStore(loaded.postgres_url).query(count).rows[0][0],
    }


# The previous release


def test_months_of_the_previous_release_are_recognized(upgraded: Upgraded, loaded: Loaded) -> None:
    """`taxi status` and the UI show them as loaded, with the rows that the stores hold; no file is downloaded."""
    assert upgraded.start() == [Adopted(month, _counts(loaded, month)) for month in MONTHS]
    for month in MONTHS:
        assert (upgraded.standing(month), upgraded.stale(month)) == (PartitionStatus.loaded, [])
        assert dict(upgraded.history(month).rows) == _counts(loaded, month)
    assert loaded.web.seen == []


def test_the_ui_counts_recognized_months(upgraded: Upgraded) -> None:
    """Every asset of the color, and its source, has the partitions, and no others."""
    upgraded.start()
    for name in (SOURCE_TRIPS, *TRIP_ASSETS):
        assert upgraded.instance.get_materialized_partitions(asset_key("green", name)) == {"2020-03", "2020-04"}


def test_what_the_previous_release_recorded_stays(upgraded: Upgraded, loaded: Loaded) -> None:
    """The materialization has the metadata of the one before, and says that it was not made by a run."""
    upgraded.start()
    metadata = upgraded.metadata("raw_trips", MARCH)
    assert metadata["adopted"] is True
    recorded = {name: entry.value for name, entry in loaded.metadata[MARCH, "raw_trips"].items() if name in RECORDED}
    assert recorded.items() <= metadata.items()


def test_months_are_recognized_once(upgraded: Upgraded) -> None:
    """The second start reports nothing, and asks no store."""
    assert len(upgraded.start()) == 2
    (upgraded.settings.home / "warehouse.duckdb").write_bytes(b"no database" * 1000)
    assert upgraded.start() == []
    assert upgraded.materializations(MARCH) == dict.fromkeys(TRIP_ASSETS, 1)


def test_a_month_is_recognized_once_however_it_is_asked_for(upgraded: Upgraded) -> None:
    """After the first start `taxi adopt` finds nothing, and neither does a first start after `taxi adopt`."""
    assert len(upgraded.adopt()) == 2
    assert upgraded.start() == []
    assert upgraded.adopt() == []
    assert upgraded.materializations(APRIL) == dict.fromkeys(TRIP_ASSETS, 1)


def test_two_first_starts_at_once(upgraded: Upgraded, loaded: Loaded) -> None:
    """Each month is reported by one of two processes that start together."""
    assert upgraded

    def start(_: int) -> list[Adopted]:
        with closing(Upgraded(loaded.web)) as other:
            return other.start()

    with ThreadPoolExecutor(2) as pool:
        adopted = [found.month for each in pool.map(start, range(2)) for found in each]
    assert sorted(adopted) == [*MONTHS]
    assert upgraded.materializations(MARCH) == dict.fromkeys(TRIP_ASSETS, 1)


@pytest.mark.parametrize(
    ("remade", "stale"), [("lake_trips", ["warehouse_trips"]), ("clean_trips", ["lake_trips", "postgres_trips"])]
)
def test_what_was_stale_stays_stale(remade: str, stale: list[str], upgraded: Upgraded, loaded: Loaded) -> None:
    """An asset that the previous release made before its input is stale in `taxi status` and in the UI."""
    upgraded.record(loaded, MARCH, remade)
    upgraded.start()
    assert (upgraded.standing(MARCH), upgraded.stale(MARCH)) == (PartitionStatus.stale, stale)
    assert (upgraded.standing(APRIL), upgraded.stale(APRIL)) == (PartitionStatus.loaded, [])


def test_what_is_made_from_a_stale_asset_is_stale_once_that_is_made_again(upgraded: Upgraded, loaded: Loaded) -> None:
    """The warehouse holds the stale object: it is stale after the lake is loaded, and fresh after its own load."""
    upgraded.record(loaded, MARCH, "clean_trips")
    upgraded.start()
    upgraded.run(MARCH, "lake_trips")
    assert upgraded.stale(MARCH) == ["warehouse_trips", "postgres_trips"]
    upgraded.run(MARCH, "warehouse_trips", "postgres_trips")
    assert (upgraded.standing(MARCH), upgraded.stale(MARCH)) == (PartitionStatus.loaded, [])


def test_a_month_that_was_published_again_stays_stale(upgraded: Upgraded) -> None:
    """The previous release saw another version at the source than it had downloaded."""
    upgraded.observe_previous(MARCH, ETAG)
    upgraded.observe_previous(MARCH, '"v2"')
    upgraded.observe_previous(APRIL, ETAG)
    upgraded.start()
    assert (upgraded.standing(MARCH), upgraded.stale(MARCH)) == (PartitionStatus.stale, ["raw_trips"])
    assert (upgraded.standing(APRIL), upgraded.stale(APRIL)) == (PartitionStatus.loaded, [])


def test_the_source_is_compared_with_what_was_downloaded(upgraded: Upgraded) -> None:
    """A recognized month stays fresh while the source has the version of then, and is stale once it has another."""
    upgraded.start()
    assert upgraded.observe("green", MARCH.month)[MARCH.month] == ETAG
    assert (upgraded.standing(MARCH), upgraded.stale(MARCH)) == (PartitionStatus.loaded, [])
    replies, path = upgraded.web.replies, web_path(MARCH)
    before = replies[path]
    upgraded.publish(MARCH, ETag='"v2"')
    upgraded.observe("green", MARCH.month)
    replies[path] = before
    assert (upgraded.standing(MARCH), upgraded.stale(MARCH)) == (PartitionStatus.stale, ["raw_trips"])


def test_a_recognized_month_is_not_downloaded_again(upgraded: Upgraded) -> None:
    """The next run asks the source for the version that was downloaded, and gets no file."""
    upgraded.start()
    upgraded.load(MARCH)
    assert [seen["If-None-Match"] for seen in upgraded.web.seen] == [ETAG]
    assert upgraded.metadata("raw_trips", MARCH)["download"].startswith("not needed")
    assert (upgraded.standing(MARCH), upgraded.stale(MARCH)) == (PartitionStatus.loaded, [])


def test_assets_have_the_versions_that_runs_give_them(upgraded: Upgraded) -> None:
    """Running an asset again under the same rules makes nothing stale."""
    upgraded.start()
    for asset in ("raw_trips", "clean_trips", "lake_trips"):
        upgraded.run(MARCH, asset)
        assert (asset, upgraded.stale(MARCH)) == (asset, [])


def test_a_lake_made_again_from_an_old_clean_file_makes_nothing_stale(upgraded: Upgraded) -> None:
    """A clean file that states no version has the one that follows from its raw file."""
    upgraded.start()
    upgraded.run(MARCH, "lake_trips")
    assert upgraded.stale(MARCH) == []


def test_an_asset_keeps_the_rule_that_it_was_made_by(upgraded: Upgraded, loaded: Loaded) -> None:
    """Running the lake under another rule than the previous release did makes the warehouse stale."""
    upgraded.record(loaded, MARCH, "lake_trips", rule="keep")
    upgraded.record(loaded, MARCH, "warehouse_trips")
    upgraded.start()
    assert upgraded.stale(MARCH) == []
    upgraded.run(MARCH, "lake_trips")
    assert upgraded.stale(MARCH) == ["warehouse_trips"]


@pytest.mark.usefixtures("upgraded")
def test_an_asset_that_was_made_by_other_code_is_stale(monkeypatch: pytest.MonkeyPatch, loaded: Loaded) -> None:
    """An asset keeps the version of the code that made it: a release whose code has another one shows it as stale."""
    changed = {**CODE_VERSIONS, "postgres_trips": "2"}
    for module in ("tlc.versions", "defs.assets", "instance.partition_status", "operations.adoption"):
        monkeypatch.setattr(f"taxi_assets.{module}.CODE_VERSIONS", changed)
    with closing(Upgraded(loaded.web)) as later:
        later.start()
        assert (later.standing(MARCH), later.stale(MARCH)) == (PartitionStatus.stale, ["postgres_trips"])


def test_a_month_that_was_wiped_is_not_recognized(upgraded: Upgraded) -> None:
    """Of assets that the previous release wiped, nothing is reported: neither of some, nor of all."""
    for asset in ("raw_trips", "lake_trips"):
        upgraded.wipe_previous(MARCH, asset)
        upgraded.place(asset, MARCH).unlink()
    [found, _] = upgraded.start()
    assert list(found.rows) == ["clean_trips", "warehouse_trips", "postgres_trips"]
    assert upgraded.standing(MARCH) is PartitionStatus.partly


def test_files_may_have_gone_with_their_machine(upgraded: Upgraded, loaded: Loaded) -> None:
    """Raw and clean files that are not here, as those of a pod, and were not wiped, count as recorded."""
    for name in ("raw", "clean"):
        shutil.rmtree(upgraded.settings.home / name)
    assert upgraded.start() == [Adopted(month, _counts(loaded, month)) for month in MONTHS]
    assert (upgraded.standing(MARCH), upgraded.stale(MARCH)) == (PartitionStatus.loaded, [])
    upgraded.load(MARCH)
    assert (upgraded.standing(MARCH), upgraded.stale(MARCH)) == (PartitionStatus.loaded, [])


def test_what_is_recorded_and_nowhere_is_not_recognized(upgraded: Upgraded, loaded: Loaded) -> None:
    """A month that the previous release recorded, and no store holds, is not reported."""
    may = TripMonth("green", "2020-05")
    loaded.metadata.update({(may, asset): loaded.metadata[APRIL, asset] for asset in TRIP_ASSETS})
    upgraded.record(loaded, may)
    assert [found.month for found in upgraded.start()] == [*MONTHS]


def test_a_month_that_the_previous_release_forgot_is_recognized(foreign: Upgraded, loaded: Loaded) -> None:
    """A month without a record, as after a run without a partition tag, is recognized with the others."""
    foreign.record(loaded, MARCH)
    assert [found.month for found in foreign.start()] == [*MONTHS]
    assert (foreign.standing(APRIL), foreign.stale(APRIL)) == (PartitionStatus.loaded, [])


def test_a_record_of_something_else_does_not_count(upgraded: Upgraded, loaded: Loaded) -> None:
    """A raw file that somebody replaced is counted and hashed itself; the clean file of before is stale."""
    other = publish(upgraded.settings.home / "other", MARCH, ROWS[MARCH] + 1, seed=7)
    shutil.copy(other, upgraded.place("raw_trips", MARCH))
    [found, _] = upgraded.start()
    assert found.rows == {**_counts(loaded, MARCH), "raw_trips": ROWS[MARCH] + 1}
    assert upgraded.stale(MARCH) == ["clean_trips"]
    assert "sha256" not in upgraded.metadata("raw_trips", MARCH)


def test_what_a_run_makes_before_the_recognition_is_newer(
    upgraded: Upgraded, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the recognition fails, a run loads the lake under another rule: the old warehouse is stale."""
    monkeypatch.setenv("TAXI_MISSING_PASSENGERS", "keep")
    with closing(Upgraded(loaded.web)) as later:
        later.run(MARCH, "lake_trips")
        later.start()
        assert (later.standing(MARCH), later.stale(MARCH)) == (PartitionStatus.stale, ["warehouse_trips"])
    assert upgraded.materializations(MARCH) == dict.fromkeys(TRIP_ASSETS, 1)


def test_a_store_that_is_down_does_not_stop_a_command(
    upgraded: Upgraded,
    dead_postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A first start warns, names `taxi adopt`, and goes on; the next start tries again, and a later one is quiet."""
    with monkeypatch.context() as patch:
        patch.setenv("TAXI_POSTGRES_URL", dead_postgres_url)
        with open_upgraded(settings := Settings.load()) as instance:
            assert read_history(instance, settings) == []
    warning = capsys.readouterr().err
    assert "no connection to Postgres at host 127.0.0.1" in warning
    assert "taxi adopt" in warning
    with open_upgraded(upgraded.settings) as instance:
        assert [month.standing for month in read_history(instance, upgraded.settings)] == [PartitionStatus.loaded] * 2
    assert "Recognized: green 2020-03..2020-04\n" in capsys.readouterr().err
    with open_upgraded(upgraded.settings):
        assert capsys.readouterr().err == ""


def test_months_before_a_failure_stay_recognized(upgraded: Upgraded, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged file is named with the step that replaces it; after that, the rest is recognized."""
    upgraded.place("clean_trips", APRIL).write_bytes(b"damaged")
    with open_upgraded(upgraded.settings):
        warning = capsys.readouterr().err
    assert "Recognized: green 2020-03\n" in warning
    assert f"{APRIL.stem}.parquet is not a Parquet file" in warning
    assert "taxi materialize --color green --months 2020-04 --select clean_trips+" in warning
    upgraded.run(APRIL, "clean_trips")
    assert [(found.month, "clean_trips" in found.rows) for found in upgraded.start()] == [(APRIL, False)]
    assert upgraded.materializations(MARCH) == dict.fromkeys(TRIP_ASSETS, 1)


def test_stores_that_were_never_loaded_are_not_asked(
    foreign: Upgraded, loaded: Loaded, dead_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that the previous release never loaded does not have to answer."""
    foreign.record(loaded, MARCH, *TRIP_ASSETS[:4])
    monkeypatch.setenv("TAXI_POSTGRES_URL", dead_postgres_url)
    with closing(Upgraded(loaded.web)) as other:
        assert [list(found.rows) for found in other.start()] == [[*TRIP_ASSETS[:4]]] * 2


def test_there_is_nothing_to_recognize_in_a_new_home(foreign: Upgraded, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a previous release, a start asks no store, prints nothing, and leaves what it finds."""
    with open_upgraded(foreign.settings) as instance:
        assert read_history(instance, foreign.settings) == []
    assert capsys.readouterr().err == ""


# Stores that somebody else filled


def test_stores_that_somebody_else_filled_are_recognized(foreign: Upgraded, loaded: Loaded) -> None:
    """Without any history, months are loaded with the rows that the stores hold, and fresh in the UI too."""
    assert foreign.adopt() == [Adopted(month, _counts(loaded, month)) for month in MONTHS]
    for month in MONTHS:
        assert (foreign.standing(month), foreign.stale(month)) == (PartitionStatus.loaded, [])


@pytest.mark.parametrize("asset", ["lake_trips", "warehouse_trips", "postgres_trips"])
def test_one_store_that_somebody_else_filled(
    asset: str, home: Path, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lake, a warehouse or a Postgres alone is recognized: its months are partial, and nothing is stale."""
    filled = {
        "lake_trips": ("TAXI_LAKE_URL", str(loaded.home / "lake")),
        "warehouse_trips": ("TAXI_WAREHOUSE_URL", f"duckdb:///{loaded.home}/warehouse.duckdb"),
        "postgres_trips": ("TAXI_POSTGRES_URL", loaded.postgres_url),
    }
    monkeypatch.setenv("TAXI_POSTGRES_URL", "")
    monkeypatch.setenv(*filled[asset])
    with closing(Upgraded(loaded.web)) as installation:
        assert installation.adopt() == [Adopted(month, {asset: _counts(loaded, month)[asset]}) for month in MONTHS]
        assert (installation.standing(MARCH), installation.stale(MARCH)) == (PartitionStatus.partly, [])
    assert not (home / "postgres").exists()


def test_a_lake_in_a_bucket_is_recognized(empty: Upgraded, loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects that are in the bucket are recognized by their footers."""
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


def test_an_embedded_server_is_started_to_be_asked(home: Path, loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home whose own Postgres server does not run has its months recognized."""
    monkeypatch.setenv("TAXI_POSTGRES_URL", "")
    server = EmbeddedPostgres(home / "postgres")
    clean = loaded.home / "clean" / "green" / f"{MARCH.stem}.parquet"
    try:
        PostgresStore(server.ensure_running()).replace_month(MARCH, parquet.read_row_groups(clean), ROWS[MARCH])
        server.stop()
        with closing(Upgraded(loaded.web)) as installation:
            assert installation.adopt() == [Adopted(MARCH, {"postgres_trips": ROWS[MARCH]})]
    finally:
        server.stop()


def test_a_second_look_finds_nothing(foreign: Upgraded) -> None:
    """What was recognized is known, and not reported again."""
    assert len(foreign.adopt()) == 2
    assert foreign.adopt() == []
    assert foreign.materializations(MARCH) == dict.fromkeys(TRIP_ASSETS, 1)


def test_what_comes_later_is_recognized_beside_what_is_known(foreign: Upgraded, loaded: Loaded) -> None:
    """A store that is filled after the first look is recognized by the next, and fits what was known before."""
    place = foreign.place("lake_trips", MARCH)
    kept = place.rename(place.with_suffix(".kept"))
    assert "lake_trips" not in foreign.adopt()[0].rows
    assert (foreign.standing(MARCH), foreign.stale(MARCH)) == (PartitionStatus.partly, [])
    kept.rename(place)
    assert foreign.adopt() == [Adopted(MARCH, {"lake_trips": _counts(loaded, MARCH)["lake_trips"]})]
    assert (foreign.standing(MARCH), foreign.stale(MARCH)) == (PartitionStatus.loaded, [])


def test_what_a_run_loaded_is_known(foreign: Upgraded) -> None:
    """A month that was loaded here is not reported again, and its other assets are."""
    foreign.run(MARCH, "raw_trips", "clean_trips")
    [found, _] = foreign.adopt()
    assert list(found.rows) == ["lake_trips", "warehouse_trips", "postgres_trips"]
    assert (foreign.standing(MARCH), foreign.stale(MARCH)) == (PartitionStatus.loaded, [])


def test_a_month_that_is_in_some_stores_is_partial(foreign: Upgraded, loaded: Loaded) -> None:
    """Only the assets whose store holds the month are reported."""
    foreign.place("raw_trips", MARCH).unlink()
    with duckdb.connect(str(foreign.settings.home / "warehouse.duckdb")) as warehouse:
        warehouse.execute(f"DELETE FROM {MARCH.table} WHERE file_month = '{MARCH.first_day}'")
    [found, _] = foreign.adopt()
    assert list(found.rows) == ["clean_trips", "lake_trips", "postgres_trips"]
    assert (foreign.standing(MARCH), foreign.stale(MARCH)) == (PartitionStatus.partly, [])
    foreign.load(MARCH)
    assert (foreign.standing(MARCH), foreign.stale(MARCH)) == (PartitionStatus.loaded, [])
    assert dict(foreign.history(MARCH).rows) == _counts(loaded, MARCH)


def test_months_that_are_not_partitions_are_left_alone(
    foreign: Upgraded, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A month outside TAXI_FIRST_MONTH and TAXI_LAST_MONTH is not reported, and neither is another color's."""
    assert foreign
    monkeypatch.setenv("TAXI_FIRST_MONTH", "2020-04")
    with closing(Upgraded(loaded.web)) as later:
        assert list(adopt(later.settings, later.instance, ["yellow", "fhv"])) == []
        assert [found.month for found in later.adopt()] == [APRIL]
        assert later.instance.get_materialized_partitions(asset_key("green", "raw_trips")) == {"2020-04"}


def test_a_home_without_partitions_has_nothing_to_recognize(
    foreign: Upgraded, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the bounds leave no month, there is nothing to look for, and no error."""
    assert foreign
    monkeypatch.setenv("TAXI_FIRST_MONTH", "2021-01")
    monkeypatch.setenv("TAXI_LAST_MONTH", "2020-12")
    with closing(Upgraded(loaded.web)) as later:
        assert later.adopt() == []


def test_a_clean_file_of_another_raw_file_is_stale(foreign: Upgraded) -> None:
    """The clean file states which raw file it was made from."""
    shutil.copy(publish(foreign.settings.home / "other", MARCH, ROWS[MARCH], seed=7), foreign.place("raw_trips", MARCH))
    foreign.adopt()
    assert (foreign.standing(MARCH), foreign.stale(MARCH)) == (PartitionStatus.stale, ["clean_trips"])


def test_an_object_of_another_clean_file_is_stale(foreign: Upgraded) -> None:
    """The object states its version, which follows from the clean file's."""
    place = foreign.place("lake_trips", MARCH)
    table = pq.read_table(place)
    pq.write_table(table.replace_schema_metadata({"taxi_assets.version": "of something else"}), place)
    foreign.adopt()
    assert (foreign.standing(MARCH), foreign.stale(MARCH)) == (PartitionStatus.stale, ["lake_trips"])


@pytest.mark.parametrize("first", [True, False])
def test_an_object_with_other_rows_is_stale(foreign: Upgraded, loaded: Loaded, *, first: bool) -> None:
    """An object that states no version and has other rows is stale, and so is what was loaded from another object.

    So they are where these are the first events of the instance, too.
    """
    if first:
        shutil.rmtree(foreign.settings.home / "raw")
    write_month(foreign.place("lake_trips", MARCH), MARCH, ROWS[MARCH] + 5)
    foreign.adopt()
    assert foreign.stale(MARCH) == ["lake_trips", "warehouse_trips"]
    foreign.load(MARCH)
    assert (foreign.standing(MARCH), foreign.stale(MARCH)) == (PartitionStatus.loaded, [])
    assert dict(foreign.history(MARCH).rows) == _counts(loaded, MARCH)


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(("extra", "stale"), [(0, []), (-1, ["postgres_trips"]), (1, ["postgres_trips"])])
def test_postgres_may_have_the_rows_without_passengers_or_not(
    extra: int, stale: list[str], loaded: Loaded, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All clean rows are right, as under the rule `keep`; any other number, but that of the rule `drop`, is not."""
    monkeypatch.setenv("TAXI_POSTGRES_URL", postgres_url)
    rows = ROWS[MARCH] + extra
    assert _counts(loaded, MARCH)["postgres_trips"] < ROWS[MARCH] - 1
    with closing(Upgraded(loaded.web)) as installation:
        written = installation.settings.home / "written.parquet"
        write_month(written, MARCH, rows)
        PostgresStore(postgres_url).replace_month(MARCH, parquet.read_row_groups(written), rows)
        [found, _] = installation.adopt()
        assert found.rows["postgres_trips"] == rows
        assert installation.stale(MARCH) == stale


def test_a_table_of_something_else_is_an_error(foreign: Upgraded) -> None:
    """A table of that name with other columns is reported as an error, and no month of it is recognized."""
    with duckdb.connect(str(foreign.settings.home / "warehouse.duckdb")) as warehouse:
        warehouse.execute(f"ALTER TABLE {MARCH.table} ADD COLUMN x INTEGER")
    with pytest.raises(StoreError, match="other columns"):
        foreign.adopt()


def test_a_raw_file_that_is_damaged_is_an_error(foreign: Upgraded) -> None:
    """A file that nothing is recorded of is counted, which finds that it is cut short."""
    place = foreign.place("raw_trips", MARCH)
    place.write_bytes(place.read_bytes()[:-20])
    with pytest.raises(BadFile, match="cut short"):
        foreign.adopt()


# The command


def test_the_command_prints_each_month(
    foreign: Upgraded, loaded: Loaded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`taxi adopt` has a line for each month, with the rows of each asset; the next one finds nothing."""
    assert foreign
    assert run_here(monkeypatch, "adopt", "--color", "green") == 0
    rows = ", ".join(f"{asset} {count}" for asset, count in _counts(loaded, MARCH).items())
    assert capsys.readouterr().out.splitlines()[0] == f"recognized green 2020-03: {rows} rows"
    assert run_here(monkeypatch, "adopt") == 0
    assert capsys.readouterr().out.startswith("Nothing to recognize")


def test_the_command_fails_with_its_store(
    foreign: Upgraded,
    dead_postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`taxi adopt` exits with 1, and says why, where a store cannot be asked."""
    assert foreign
    monkeypatch.setenv("TAXI_POSTGRES_URL", dead_postgres_url)
    assert run_here(monkeypatch, "adopt") == 1
    assert "no connection to Postgres" in capsys.readouterr().err


def test_a_deployment_recognizes_the_previous_release_before_its_daemon_starts(
    upgraded: Upgraded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`taxi adopt --previous-release` recognizes its months the first time, and asks no store after that."""
    assert run_here(monkeypatch, "adopt", "--previous-release") == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in printed] == [f"recognized {month}" for month in MONTHS]
    (upgraded.settings.home / "warehouse.duckdb").write_bytes(b"no database" * 1000)
    assert run_here(monkeypatch, "adopt", "--previous-release") == 0
    assert capsys.readouterr().out == ""
    assert run_here(monkeypatch, "adopt", "--previous-release", "--color", "green") == 2
