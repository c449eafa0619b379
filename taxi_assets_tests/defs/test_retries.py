"""What may pass is tried again, a few times and after longer and longer pauses; all else fails at its first try."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import psycopg2
import pytest

from taxi_assets import errors
from taxi_assets.defs.build import build_definitions
from taxi_assets.defs.retries import retry_tags, tried_again
from taxi_assets.errors import CountMismatch, StoreBusy, StoreError, StoreUnreachable
from taxi_assets.graph import TRIP_ASSETS, asset_key
from taxi_assets.instance.partition_status import read_history
from taxi_assets.news import Progress, ProgressEvent
from taxi_assets.operations.runs import Order, run_month
from taxi_assets.settings import Settings
from taxi_assets.stores import download
from taxi_assets.stores.lake import FolderLake
from taxi_assets.stores.postgres import PostgresStore
from taxi_assets.tlc.sample import write_sample
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.installation import Installation
from taxi_assets_tests.months import publish
from taxi_assets_tests.web_server import Reply, WebServer

MONTH = TripMonth("green", "2021-03")
ROWS = 100


class Retried(Installation):
    """An installation whose source, a folder, has one month."""

    def __init__(self) -> None:
        super().__init__()
        self.home = self.settings.home
        self.raw = publish(self.home.parent / "source", MONTH, ROWS)

    def try_month(self, *assets: str, hear: Callable[[ProgressEvent], None] = lambda _: None) -> list[ProgressEvent]:
        """Run assets of the month, all if none is named, under the settings of now; what was told, and heard."""
        told: list[ProgressEvent] = []

        def tell(news: ProgressEvent) -> None:
            told.append(news)
            hear(news)

        run_month(build_definitions(Settings.load()), self.instance, MONTH, Order(assets or TRIP_ASSETS), tell)
        return told

    def retries(self, run_id: str) -> int:
        """How often Dagster was asked to try an asset of a run again."""
        return len(self.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY))


@pytest.fixture
def installation(home: Path) -> Iterator[Retried]:
    """An installation with nothing loaded."""
    assert home.exists()
    made = Retried()
    yield made
    made.close()


def _pauses(told: list[ProgressEvent]) -> list[ProgressEvent]:
    return [news for news in told if news.what is Progress.pause]


def _admit(postgres_url: str, connections: int) -> None:
    """Let the tests' user have so many connections; -1 for any number."""
    with (
        closing(psycopg2.connect(postgres_url.replace("taxi@", "postgres@"))) as admin,
        admin,
        admin.cursor() as cursor,
    ):
        cursor.execute(f"ALTER ROLE taxi CONNECTION LIMIT {connections}")


def test_a_database_that_comes_back_is_loaded(installation: Retried, postgres_url: str) -> None:
    """An asset that meets what passes is told of, with when and why, tried again, and done once it has passed."""
    _admit(postgres_url, 0)
    try:
        told = installation.try_month(
            hear=lambda news: _admit(postgres_url, -1) if news.what is Progress.pause else None
        )
    finally:
        _admit(postgres_url, -1)
    assert told[-1].what is Progress.done, told[-1].error
    [pause] = _pauses(told)
    assert pause.asset == "postgres_trips"
    assert pause.detail.startswith("will be tried again in 0 s (1 of 2): no connection to Postgres at host ")
    tries = [news.asset for news in told if news.what is Progress.asset_started]
    assert tries.count("postgres_trips") == 2
    assert tries.count("raw_trips") == 1
    assert PostgresStore(postgres_url).count(MONTH) > 0


def test_a_server_that_comes_back_is_asked_again(
    installation: Retried, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that cannot now, whatever a download has tried, is asked again by its asset."""
    monkeypatch.setattr(download, "TRIES", 1)
    monkeypatch.setenv("TAXI_SOURCE_URL", web.url)
    web.replies[f"/green/{MONTH.stem}.csv.gz"] = [Reply(status=503), Reply(installation.raw.read_bytes())]
    told = installation.try_month("raw_trips")
    assert [news.asset for news in _pauses(told)] == ["raw_trips"]
    assert told[-1].what is Progress.done, told[-1].error


@pytest.mark.parametrize(
    ("method", "asset"),
    [("put", "lake_trips"), ("find", "warehouse_trips")],
    ids=["what it publishes", "what it starts from"],
)
def test_a_store_around_the_work_is_tried_again(
    method: str, asset: str, installation: Retried, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An asset is tried again too where only what it made cannot be published, or what it needs cannot be had."""
    installation.try_month("raw_trips", "clean_trips", "lake_trips")
    faults = [StoreBusy("somebody puts it"), StoreUnreachable("no answer")]
    works = getattr(FolderLake, method)

    def fails_twice(lake: FolderLake, *given: Any) -> Any:
        if faults:
            raise faults.pop(0)
        return works(lake, *given)

    monkeypatch.setattr(FolderLake, method, fails_twice)
    told = installation.try_month(asset)
    assert [news.detail.partition(": ")[2] for news in _pauses(told)] == ["somebody puts it", "no answer"]
    assert told[-1].what is Progress.done, told[-1].error
    assert not list(installation.home.rglob("*.staged"))


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_there_is_an_end_to_trying(
    retries: int, installation: Retried, dead_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not pass fails after as many tries as the setting says, in the words of the error, as at one try."""
    monkeypatch.setenv("TAXI_RETRIES", str(retries))
    monkeypatch.setenv("TAXI_POSTGRES_URL", dead_postgres_url)
    told = installation.try_month("raw_trips", "clean_trips", "postgres_trips")
    assert len(_pauses(told)) == retries
    assert (told[-1].what, told[-1].asset) == (Progress.failed, "postgres_trips")
    assert told[-1].error.startswith("no connection to Postgres at host 127.0.0.1")
    assert "RetryRequested" not in told[-1].trace
    [history] = read_history(installation.instance, installation.settings)
    assert (history.failed_at, history.error) == ("postgres_trips", told[-1].error)


def _no_csv(installation: Retried) -> None:
    installation.raw.write_bytes(b"<html>")


def _other_header(installation: Retried) -> None:
    write_sample(TripMonth("yellow", MONTH.month), ROWS, installation.raw)


def _clean_in_the_way(installation: Retried) -> None:
    (installation.home / "clean/green/green_tripdata_2021-03.parquet").mkdir(parents=True)


def _wrong_database(_: Retried) -> None:
    os.environ["TAXI_POSTGRES_URL"] = os.environ["TAXI_POSTGRES_URL"].replace("ny_taxi", "nowhere")


def _table_of_others(_: Retried) -> None:
    with closing(psycopg2.connect(os.environ["TAXI_POSTGRES_URL"])) as theirs, theirs, theirs.cursor() as cursor:
        cursor.execute("CREATE TABLE green_taxi_trips (index bigint)")


LASTING = {
    "BadFile": (_no_csv, "raw_trips", "an HTML page"),
    "BadHeader": (_other_header, "raw_trips", "unknown: tpep_pickup_datetime"),
    "no place": (_clean_in_the_way, "clean_trips", "cannot be used by user"),
    "no database": (_wrong_database, "postgres_trips", 'database "nowhere" does not exist'),
    "not our table": (_table_of_others, "postgres_trips", "was made by something else"),
}


@pytest.mark.parametrize(("fault", "asset", "said"), LASTING.values(), ids=LASTING)
def test_what_another_try_cannot_mend_is_not_tried_again(
    fault: Callable[[Retried], None],
    asset: str,
    said: str,
    installation: Retried,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wrong source, place, setting or table fails its month at the first try, where it is met."""
    monkeypatch.setenv("TAXI_POSTGRES_URL", os.environ["TAXI_POSTGRES_URL"])  # a fault may change it
    fault(installation)
    told = installation.try_month()
    assert (told[-1].what, told[-1].asset) == (Progress.failed, asset)
    assert said in told[-1].error
    assert installation.retries(told[-1].run_id) == 0


def test_a_month_that_is_not_published_is_not_tried_again(installation: Retried) -> None:
    """An unpublished month is not a failure and is not retried."""
    installation.raw.unlink()
    told = installation.try_month()
    assert told[-1].what is Progress.not_published
    assert installation.retries(told[-1].run_id) == 0
    assert [news.asset for news in told if news.what is Progress.asset_started] == ["raw_trips"]


def test_an_asset_without_what_it_needs_is_not_tried_again(installation: Retried) -> None:
    """A file that an earlier asset would make does not come by waiting."""
    told = installation.try_month("lake_trips")
    assert "taxi materialize --color green --months 2021-03 --select +clean_trips" in told[-1].error
    assert not _pauses(told)


@pytest.mark.parametrize("error", [CountMismatch("rows were lost"), StoreError("refused"), ZeroDivisionError("a bug")])
def test_lost_rows_refusals_and_bugs_are_not_tried_again(
    error: Exception, installation: Retried, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody foresaw fails at once too: it is for people."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(FolderLake, "put", fail)
    told = installation.try_month("raw_trips", "clean_trips", "lake_trips")
    assert told[-1].what is Progress.failed
    assert str(error) in told[-1].error
    assert not _pauses(told)


def test_a_run_that_is_stopped_is_not_begun_again(installation: Retried, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stops a run, as from the UI, stops it for good."""

    def stopped(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)

    monkeypatch.setattr(FolderLake, "put", stopped)
    told = installation.try_month("raw_trips", "clean_trips", "lake_trips")
    assert (told[-1].what, told[-1].error) == (Progress.failed, "it was stopped")
    assert installation.retries(told[-1].run_id) == 0


def _step(settings: Settings, tries: int) -> Any:
    return SimpleNamespace(op=SimpleNamespace(tags=retry_tags(settings)), previous_attempt_count=tries)


def test_pauses_grow_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pause is longer than the last, and no two runs that failed together come back together."""
    monkeypatch.setenv("TAXI_RETRIES", "3")
    monkeypatch.setenv("TAXI_RETRY_DELAY_S", "10")
    settings = Settings.load()
    for tries, (least, most) in enumerate([(0, 20), (20, 40), (60, 80)]):
        pauses = set()
        for _ in range(30):
            with pytest.raises(dg.RetryRequested) as asked, tried_again(_step(settings, tries)):
                raise StoreBusy("somebody has it")
            pauses.add(pause := asked.value.seconds_to_wait or 0)
            assert least <= pause <= most
        assert len(pauses) > 10
    with pytest.raises(StoreBusy), tried_again(_step(settings, 3)):
        raise StoreBusy("somebody has it")


def test_what_may_pass_is_known_for_each_error() -> None:
    """Of all the project's errors these, and no others, are tried again."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.MAY_PASS)]
    assert {kind.__name__ for kind in kinds} == {"StoreUnreachable", "SourceUnreachable", "StoreBusy"}


def test_a_month_can_be_loaded_where_nothing_runs(installation: Retried) -> None:
    """Outside of runs, as in a notebook, Dagster gives what an asset left, or the error as it is."""
    definitions, key = build_definitions(Settings.load()), asset_key(MONTH.color, "clean_trips")
    with pytest.raises(errors.MissingUpstream):
        definitions.load_asset_value(key, partition_key=MONTH.month, instance=installation.instance)
    installation.try_month("raw_trips", "clean_trips")
    path = definitions.load_asset_value(key, partition_key=MONTH.month, instance=installation.instance)
    assert isinstance(path, Path)
    assert path.exists()
