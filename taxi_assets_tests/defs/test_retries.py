"""Tests of the retries of steps: transient errors are retried with backoff, other errors fail immediately."""

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
from taxi_assets.defs.retries import retry_tags, retry_transient
from taxi_assets.errors import CountMismatch, StoreBusy, StoreError, StoreUnreachable
from taxi_assets.graph import TRIP_ASSETS
from taxi_assets.instance.partition_status import read_history
from taxi_assets.keys import asset_key
from taxi_assets.operations.progress import Progress, ProgressEvent
from taxi_assets.operations.runs import RunSpec, run_month
from taxi_assets.settings import Settings
from taxi_assets.stores.files.folder_lake import FolderLake
from taxi_assets.stores.postgres.store import PostgresStore
from taxi_assets.stores.source import download
from taxi_assets.tlc.sample import write_sample
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.installation import OLD, Installation
from taxi_assets_tests.months import publish
from taxi_assets_tests.web_server import Reply, WebServer

MONTH = TripMonth("green", "2021-03")
ROWS = 100


class MonthInstallation(Installation):
    """An installation whose source is a folder with one month."""

    def __init__(self) -> None:
        super().__init__()
        self.home = self.settings.home
        self.raw = publish(self.home.parent / "source", MONTH, ROWS)

    def run_month(self, *assets: str, listen: Callable[[ProgressEvent], None] = lambda _: None) -> list[ProgressEvent]:
        """Run assets of the month, all of them by default, with the current settings.

        Return the progress events. `listen` receives each event during the run.
        """
        events: list[ProgressEvent] = []

        def report(event: ProgressEvent) -> None:
            events.append(event)
            listen(event)

        run_month(build_definitions(Settings.load()), self.instance, MONTH, RunSpec(assets or TRIP_ASSETS), report)
        return events

    def count_retries(self, run_id: str) -> int:
        """Return the number of retries in the events of a run."""
        return len(self.shown_retries(run_id))

    def shown_retries(self, run_id: str) -> list[str]:
        """Return what the UI shows first of each retry in the events of a run."""
        entries = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY)
        return [entry.dagster_event.step_retry_data.error.message for entry in entries if entry.dagster_event]


@pytest.fixture
def installation(home: Path) -> Iterator[MonthInstallation]:
    """Create an installation with nothing loaded."""
    assert home.exists()
    with closing(MonthInstallation()) as created:
        yield created


def _retries(events: list[ProgressEvent]) -> list[ProgressEvent]:
    return [event for event in events if event.what is Progress.retry_scheduled]


def _limit_connections(postgres_url: str, connections: int) -> None:
    """Limit the connections of the database user. -1 means no limit."""
    with (
        closing(psycopg2.connect(postgres_url.replace("taxi@", "postgres@"))) as admin,
        admin,
        admin.cursor() as cursor,
    ):
        cursor.execute(f"ALTER ROLE taxi CONNECTION LIMIT {connections}")


def test_a_database_becomes_available(installation: MonthInstallation, postgres_url: str) -> None:
    """A step with a transient error reports the retry, the delay and the reason, and succeeds in the retry."""

    def remove_limit(event: ProgressEvent) -> None:
        if event.what is Progress.retry_scheduled:
            _limit_connections(postgres_url, -1)

    _limit_connections(postgres_url, 0)
    try:
        events = installation.run_month(listen=remove_limit)
    finally:
        _limit_connections(postgres_url, -1)
    assert events[-1].what is Progress.done, events[-1].error
    [retry] = _retries(events)
    assert retry.asset == "postgres_trips"
    assert retry.detail.startswith("retry 1 of 2 in 0 s: ")
    assert 'too many connections for role "taxi"' in retry.detail
    starts = [event.asset for event in events if event.what is Progress.asset_started]
    assert starts.count("postgres_trips") == 2
    assert starts.count("raw_trips") == 1
    assert PostgresStore(postgres_url).count(MONTH) > 0


def test_a_web_server_becomes_available(
    installation: MonthInstallation, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If all attempts of a download fail with a transient error, the step is retried. Its event gives the reason."""
    monkeypatch.setattr(download, "TRIES", 1)
    monkeypatch.setenv("TAXI_SOURCE_URL", web.url)
    web.replies[f"/green/{MONTH.stem}.csv.gz"] = [Reply(status=503), Reply(installation.raw.read_bytes())]
    events = installation.run_month("raw_trips")
    [retry] = _retries(events)
    assert retry.asset == "raw_trips"
    assert "503" in retry.detail
    assert installation.shown_retries(retry.run_id) == [f"RetryRequested: {retry.detail}\n"]
    assert events[-1].what is Progress.done, events[-1].error


@pytest.mark.parametrize(("method", "asset"), [("put", "lake_trips"), ("find", "warehouse_trips")])
def test_transient_errors_of_an_io_manager_are_retried(
    method: str, asset: str, installation: MonthInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step is also retried if its output cannot be published, or its input cannot be loaded."""
    installation.run_month("raw_trips", "clean_trips", "lake_trips")
    faults = [StoreBusy("Another run publishes it."), StoreUnreachable("The store did not respond.")]
    original = getattr(FolderLake, method)

    def fail_twice(lake: FolderLake, *arguments: Any) -> Any:
        if faults:
            raise faults.pop(0)
        return original(lake, *arguments)

    monkeypatch.setattr(FolderLake, method, fail_twice)
    events = installation.run_month(asset)
    first, second = (event.detail for event in _retries(events))
    assert "Another run publishes it." in first
    assert "The store did not respond." in second
    assert events[-1].what is Progress.done, events[-1].error
    assert not list(installation.home.rglob("*.staged"))


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_the_number_of_retries_is_limited(
    retries: int, installation: MonthInstallation, dead_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After TAXI_RETRIES retries, the run fails with the error of the last attempt."""
    monkeypatch.setenv("TAXI_RETRIES", str(retries))
    monkeypatch.setenv("TAXI_POSTGRES_URL", dead_postgres_url)
    events = installation.run_month("raw_trips", "clean_trips", "postgres_trips")
    assert len(_retries(events)) == retries
    end = events[-1]
    assert (end.what, end.asset) == (Progress.failed, "postgres_trips")
    assert "127.0.0.1" in end.error
    assert end.error.endswith("[postgres-unreachable]")
    assert "RetryRequested" not in end.trace
    [history] = read_history(installation.instance, installation.settings)
    assert (history.failed_at, history.error) == ("postgres_trips", end.error)


def _publish_page(installation: MonthInstallation) -> None:
    installation.raw.write_bytes(b"<html>")


def _publish_another_color(installation: MonthInstallation) -> None:
    write_sample(TripMonth("yellow", MONTH.month), ROWS, installation.raw)


def _create_folder_at_clean_file(installation: MonthInstallation) -> None:
    (installation.home / "clean/green/green_tripdata_2021-03.parquet").mkdir(parents=True)


def _set_unknown_database(_: MonthInstallation) -> None:
    os.environ["TAXI_POSTGRES_URL"] = os.environ["TAXI_POSTGRES_URL"].replace("ny_taxi", "nowhere")


def _create_other_table(_: MonthInstallation) -> None:
    with closing(psycopg2.connect(os.environ["TAXI_POSTGRES_URL"])) as connection, connection:
        connection.cursor().execute("CREATE TABLE green_taxi_trips (index bigint)")


PERMANENT = {
    "a web page": (_publish_page, "raw_trips", "not-a-csv"),
    "another color": (_publish_another_color, "raw_trips", "bad-header"),
    "a folder at the path": (_create_folder_at_clean_file, "clean_trips", "wrong-file-type"),
    "an unknown database": (_set_unknown_database, "postgres_trips", "postgres-login"),
    "another table": (_create_other_table, "postgres_trips", "incompatible-table"),
}
"""A fault, the asset that fails because of it, and the slug of its error."""


@pytest.mark.parametrize(("fault", "asset", "slug"), PERMANENT.values(), ids=PERMANENT)
def test_permanent_errors_are_not_retried(
    fault: Callable[[MonthInstallation], None],
    asset: str,
    slug: str,
    installation: MonthInstallation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error that a retry cannot resolve fails the run at its asset in the first attempt.

    The event of the failure starts with the error and its remedy, not with a traceback.
    """
    monkeypatch.setenv("TAXI_POSTGRES_URL", os.environ["TAXI_POSTGRES_URL"])  # a fault may change it
    fault(installation)
    end = installation.run_month()[-1]
    assert (end.what, end.asset) == (Progress.failed, asset)
    assert end.error.endswith(f"[{slug}]")
    assert installation.count_retries(end.run_id) == 0
    assert installation.shown_errors(end.run_id) == [f"Failure: {end.error}"]


def test_an_unpublished_month_is_not_retried(installation: MonthInstallation) -> None:
    """A run of a month that is not published executes only `raw_trips`, once."""
    publish(installation.home.parent / "source", OLD, 1)
    installation.raw.unlink()
    events = installation.run_month()
    assert events[-1].what is Progress.not_published
    assert installation.count_retries(events[-1].run_id) == 0
    assert [event.asset for event in events if event.what is Progress.asset_started] == ["raw_trips"]


def test_a_missing_upstream_file_is_not_retried(installation: MonthInstallation) -> None:
    """A missing upstream file fails the run immediately with the command that creates the file."""
    events = installation.run_month("lake_trips")
    assert events[-1].error.endswith("[missing-upstream]")
    assert "taxi materialize --color green --months 2021-03 --select +clean_trips" in events[-1].error
    assert not _retries(events)


@pytest.mark.parametrize(
    "error", [CountMismatch("Rows were lost."), StoreError("The request was rejected."), ZeroDivisionError("a bug")]
)
def test_mismatches_and_bugs_are_not_retried(
    error: Exception, installation: MonthInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors that are not transient fail the run immediately with their message, also unexpected ones."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(FolderLake, "put", fail)
    events = installation.run_month("raw_trips", "clean_trips", "lake_trips")
    assert events[-1].what is Progress.failed
    assert str(error) in events[-1].error
    assert not _retries(events)


def test_a_stopped_run_is_not_retried(installation: MonthInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is interrupted, such as from the UI, ends without a retry."""

    def interrupt(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)

    monkeypatch.setattr(FolderLake, "put", interrupt)
    end = installation.run_month("raw_trips", "clean_trips", "lake_trips")[-1]
    assert (end.what, end.error) == (Progress.failed, "The run was stopped.")
    assert installation.count_retries(end.run_id) == 0


def _step(settings: Settings, failed_attempts: int) -> Any:
    """Return the part of a step's context that determines its retries."""
    return SimpleNamespace(op=SimpleNamespace(tags=retry_tags(settings)), previous_attempt_count=failed_attempts)


def test_delays_increase_and_vary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each delay is longer than the previous one. Random jitter keeps parallel runs from retrying together."""
    monkeypatch.setenv("TAXI_RETRIES", "3")
    monkeypatch.setenv("TAXI_RETRY_DELAY_S", "10")
    settings = Settings.load()
    for failed_attempts, (shortest, longest) in enumerate([(0, 20), (20, 40), (60, 80)]):
        delays = set()
        for _ in range(30):
            with pytest.raises(dg.RetryRequested) as request, retry_transient(_step(settings, failed_attempts)):
                raise StoreBusy("Another run uses it.")
            delays.add(delay := request.value.seconds_to_wait or 0)
            assert shortest <= delay <= longest
        assert len(delays) > 10
    with pytest.raises(StoreBusy), retry_transient(_step(settings, 3)):
        raise StoreBusy("Another run uses it.")


def test_transient_errors() -> None:
    """Exactly these errors are transient."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.TRANSIENT)]
    assert {kind.slug for kind in kinds} == {
        "embedded-postgres-starting",
        "google-rate-limit",
        "google-unreachable",
        "load-job-interrupted",
        "load-job-running",
        "postgres-connection-lost",
        "postgres-unreachable",
        "replaced-by-another-run",
        "source-unreachable",
        "store-busy",
        "store-unreachable",
        "table-locked",
        "upload-interrupted",
        "warehouse-open-elsewhere",
    }


def test_load_an_asset_outside_of_a_run(installation: MonthInstallation) -> None:
    """Outside of a run, such as in a notebook, Dagster loads a published asset or raises the original error."""
    definitions, key = build_definitions(Settings.load()), asset_key(MONTH.color, "clean_trips")
    with pytest.raises(errors.MissingUpstream):
        definitions.load_asset_value(key, partition_key=MONTH.month, instance=installation.instance)
    installation.run_month("raw_trips", "clean_trips")
    path = definitions.load_asset_value(key, partition_key=MONTH.month, instance=installation.instance)
    assert isinstance(path, Path)
    assert path.exists()
