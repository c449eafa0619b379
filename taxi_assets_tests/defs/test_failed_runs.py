"""People are told of each run that failed for good, once, in words that hold no secret; of nothing else."""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._utils.warnings import disable_dagster_warnings

from taxi_assets.defs.build import build_definitions
from taxi_assets.defs.checks import NEWEST_MONTH_LOADED
from taxi_assets.defs.failed_runs import tell_failed_month
from taxi_assets.graph import asset_key, job_name
from taxi_assets.instance.processes import process_name
from taxi_assets.news import Progress, ProgressEvent
from taxi_assets.operations.runs import Order, run_month
from taxi_assets.settings import Settings
from taxi_assets.systems import open_channels
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.office import Office, office_in
from taxi_assets_tests.inbox import SECRET
from taxi_assets_tests.months import publish
from taxi_assets_tests.web_server import Reply

SENSOR = "alert_failed_runs"
ONE_RETRY = {"dagster/max_retries": "1"}
# Its number is this process's, but it began long ago.
DEAD = json.dumps({**json.loads(process_name()), "started": 1.0})
ELSEWHERE = json.dumps({**json.loads(process_name()), "host": "another"})
MARCH, APRIL = TripMonth("green", "2021-03"), TripMonth("green", "2021-04")


@pytest.fixture(scope="module")
def _shared(tmp_path_factory: pytest.TempPathFactory, empty_history: Path) -> Iterator[Office]:
    with office_in(tmp_path_factory.mktemp("office"), empty_history) as made:
        yield made


@pytest.fixture
def office(_shared: Office) -> Office:
    """An office with an empty inbox, whose sensor has looked at all that was before."""
    _shared.begin(SENSOR)
    return _shared


def _run(office: Office, month: TripMonth, *, teller: str = "") -> dg.DagsterRun:
    """Run a month's first asset, as `taxi materialize` does; `teller` is the process of one with --alert."""
    run_month(office.definitions, office.instance, month, Order(("raw_trips",), teller=teller), lambda _: None)
    return office.instance.get_runs(limit=1)[0]


def test_a_failed_run_is_told_once(office: Office) -> None:
    """One message says which month failed where, why, for whom it ran, and where its run is."""
    office.publish_page(MARCH)
    run = _run(office, MARCH)
    office.tick(SENSOR)
    office.tick(SENSOR)
    (mail,) = office.inbox.mails
    assert mail.title == "green 2021-03 failed at raw_trips"
    assert mail.kind == "failure"
    error, *asked, link = mail.text.splitlines()
    assert f"{MARCH.stem}.csv.gz is an HTML page" in error
    assert asked == ["Asked for by cli"]
    assert link == f"https://ui.example.org/runs/{run.run_id}"


def test_failures_from_before_the_first_look_are_not_told(office: Office) -> None:
    """Who sets TAXI_ALERT_URLS later is not told of years of failures."""
    office.fail(MARCH)
    office.forget(SENSOR)
    office.tick(SENSOR)
    office.fail(APRIL)
    office.tick(SENSOR)
    assert [mail.title for mail in office.inbox.mails] == ["green 2021-04 failed"]


def test_a_month_that_is_not_published_is_not_told(office: Office) -> None:
    """A run of an unpublished month succeeds and sends no notification."""
    run = _run(office, TripMonth("fhv", "2021-05"))
    assert run.status is dg.DagsterRunStatus.SUCCESS
    office.tick(SENSOR)
    assert office.inbox.mails == []


def test_what_a_command_tells_is_not_told_again(office: Office) -> None:
    """A run of `taxi materialize --alert` is left to it; what the UI runs again of it, with its tags, is not."""
    office.publish_page(MARCH)
    run = _run(office, MARCH, teller=process_name())
    office.tick(SENSOR)
    assert office.inbox.mails == []
    office.fail(MARCH, parent=run)
    office.tick(SENSOR)
    assert [mail.title for mail in office.inbox.mails] == ["green 2021-03 failed"]


def test_what_a_dead_command_told_is_not_told_again(office: Office) -> None:
    """The sensor may look after the command has told and ended: the run says that it was told."""
    office.publish_page(MARCH)
    run = _run(office, MARCH, teller=DEAD)
    failed = ProgressEvent(MARCH, Progress.failed, "raw_trips", error="an HTML page", run_id=run.run_id)
    assert tell_failed_month(office.settings, open_channels(office.settings), failed) == []
    office.tick(SENSOR)
    assert [mail.text.splitlines()[0] for mail in office.inbox.mails] == ["an HTML page"]


@pytest.mark.parametrize("teller", [DEAD, ELSEWHERE], ids=["dead", "elsewhere"])
def test_what_a_dead_command_did_not_tell_is_told(teller: str, office: Office) -> None:
    """A command that was killed before it told leaves its runs to the sensor, also where it cannot be seen."""
    office.publish_page(MARCH)
    _run(office, MARCH, teller=teller)
    office.tick(SENSOR)
    assert [mail.title for mail in office.inbox.mails] == ["green 2021-03 failed at raw_trips"]


def test_a_run_of_another_project_is_not_told(office: Office) -> None:
    """Of a daemon that several projects share, each tells its own."""
    run = office.instance.create_run_for_job(dg.GraphDefinition("other").to_job())
    office.instance.report_run_failed(run, "no such thing")
    office.tick(SENSOR)
    assert office.inbox.mails == []


@pytest.mark.parametrize("tags", [{}, {"dagster/partition": "2021-1"}], ids=["none", "no month"])
def test_a_run_without_a_partition_is_told(tags: Mapping[str, str], office: Office) -> None:
    """A job that was started without a partition, or with a key that is none, fails too; its name stands for it."""
    office.fail(None, "no partition was chosen", tags=tags)
    office.tick(SENSOR)
    (mail,) = office.inbox.mails
    assert mail.title == "load_yellow failed"
    assert mail.text.splitlines()[:2] == ["no partition was chosen", "Asked for by dagster"]


def test_a_run_of_several_colors_is_told_once(office: Office) -> None:
    """One run of two colors' assets, which the UI can start, sends one notification that names both months."""
    office.publish_page(MARCH)
    fhv = TripMonth("fhv", MARCH.month)
    publish(Path(office.settings.source_url), fhv, 10)
    job = office.definitions.resolve_implicit_global_asset_job_def()
    both = {asset_key(month.color, "raw_trips") for month in (MARCH, fhv)}
    run = job.get_subset(asset_selection=both).execute_in_process(
        instance=office.instance, partition_key=MARCH.month, raise_on_error=False
    )
    assert not run.success
    office.tick(SENSOR)
    (mail,) = office.inbox.mails
    assert mail.title == "fhv 2021-03, green 2021-03 failed at raw_trips"
    assert f"{MARCH.stem}.csv.gz is an HTML page" in mail.text


def test_a_failed_run_of_a_check_is_told(office: Office) -> None:
    """A run of a check alone, which the UI can start, sends a notification that names the check."""
    check = dg.AssetCheckKey(asset_key("green", "warehouse_trips"), NEWEST_MONTH_LOADED)
    run = office.instance.add_run(dg.DagsterRun("__ASSET_JOB", asset_check_selection=frozenset({check})))
    office.instance.report_run_failed(run, "the source did not answer")
    office.tick(SENSOR)
    assert [mail.title for mail in office.inbox.mails] == ["green/warehouse_trips:newest_month_loaded failed"]


def test_only_the_last_try_is_told(office: Office) -> None:
    """A run that will be run again is left alone; of the last one it is told how often the month failed."""
    first = office.fail(MARCH, tags=ONE_RETRY)
    assert first.tags["dagster/will_retry"] == "true"
    office.tick(SENSOR)
    assert office.inbox.mails == []
    office.fail(MARCH, parent=first, tags={"dagster/retry_number": "1", "taxi/asked_by": "schedule"})
    office.tick(SENSOR)
    (mail,) = office.inbox.mails
    assert mail.text.splitlines()[-2] == "Asked for by schedule, failed 2 times"


@pytest.mark.parametrize(("retries", "told"), [("0", 1), ("1", 0)], ids=["the last", "not the last"])
def test_a_failure_that_is_not_marked_yet_is_judged(
    retries: str, told: int, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster marks a run for its retry a moment after it tells its failure; the sensor may look in between."""
    monkeypatch.setattr(type(office.instance), "add_run_tags", lambda *_: None)
    run = office.fail(MARCH, tags={"dagster/max_retries": retries})
    assert "dagster/will_retry" not in run.tags
    office.tick(SENSOR)
    assert len(office.inbox.mails) == told


@pytest.mark.parametrize(("status", "told"), [("none yet", 1), ("COMPLETED", 1), ("CANCELED", 1), ("REQUESTED", 0)])
def test_what_the_daemon_does_not_retry_is_told(status: str, told: int, office: Office) -> None:
    """Runs of a backfill that is over, or not there yet, are marked for a retry that never comes: they are told."""
    if status != "none yet":
        backfill = PartitionBackfill(
            status, BulkActionStatus(status), from_failure=False, tags={}, backfill_timestamp=0.0
        )
        office.instance.add_backfill(backfill)
    office.fail(MARCH, tags={**ONE_RETRY, "dagster/backfill": status})
    office.tick(SENSOR)
    assert len(office.inbox.mails) == told


def test_what_was_retried_though_its_backfill_is_over_is_not_told(office: Office) -> None:
    """A retry that was made just before its backfill ended is what is told, if it fails too."""
    office.fail(MARCH, tags={**ONE_RETRY, "dagster/backfill": "gone", "dagster/auto_retry_run_id": "another"})
    office.tick(SENSOR)
    assert office.inbox.mails == []


def test_no_secret_is_told(office: Office) -> None:
    """An error that quotes the addresses of Postgres and of the channels goes out without what is secret in them."""
    url = "postgresql://ann:hunter2@127.0.0.1:1/trips"
    key = asset_key("green", "raw_trips")
    partitions = office.definitions.resolve_asset_graph().get(key).partitions_def

    @dg.asset(key=key, partitions_def=partitions)
    def raw_trips() -> None:
        raise ValueError(f"no connection to {url}, nor to {os.environ['TAXI_ALERT_URLS']}: refused")

    name = job_name("green")
    careless = dg.Definitions([raw_trips], jobs=[dg.define_asset_job(name, [raw_trips])])
    # As Dagster's own commands do, this run names no code location.
    job = careless.resolve_job_def(name)
    job.execute_in_process(instance=office.instance, partition_key="2021-03", raise_on_error=False)
    office.tick(SENSOR)
    (mail,) = office.inbox.mails
    assert mail.title == "green 2021-03 failed at raw_trips"
    assert mail.text.startswith("ValueError: no connection to postgresql://...@127.0.0.1:1/trips, nor to ...: refused")
    assert "hunter2" not in mail.text
    assert SECRET not in mail.text


def test_only_the_first_lines_of_an_error_are_told(office: Office) -> None:
    """Of a long error its first lines are told, and that there are more."""
    office.fail(MARCH, "\n\n".join(f"line {n} {'x' * 300}" for n in range(9)))
    office.fail(APRIL, "\n\n".join(f"line {n}" for n in range(9)))
    office.tick(SENSOR)
    long, many = office.inbox.mails
    assert [line[:6] for line in long.text.splitlines()[:4]] == ["line 0", "line 1", "line 2", "..."]
    assert len(long.text) < 1000
    assert [line[:6] for line in many.text.splitlines()[4:6]] == ["line 4", "..."]


def test_a_dead_channel_fails_no_tick(
    office: Office, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """A channel that takes nothing is told in the tick's log, by its kind, and what is to be told next is told."""
    caplog.set_level(logging.DEBUG)
    office.inbox.answer(Reply(status=500))
    office.fail(MARCH)
    office.tick(SENSOR)
    said = caplog.text + str(capfd.readouterr())
    assert "green 2021-03 failed: the alert did not get through to json (it answered 500)" in said
    assert SECRET not in said
    office.inbox.answer(Reply())
    office.fail(APRIL)
    office.tick(SENSOR)
    assert office.inbox.mails[-1].title == "green 2021-04 failed"


def test_without_channels_there_are_no_sensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alerts are there, and on, where TAXI_ALERT_URLS is set; the UI sees the variable's name only."""
    monkeypatch.setenv("TAXI_HOME", str(tmp_path))
    monkeypatch.setenv("TAXI_ALERT_URLS", "")
    assert build_definitions(Settings.load()).get_repository_def().sensor_defs == []
    monkeypatch.setenv("TAXI_ALERT_URLS", f"json://{SECRET}")
    repository = build_definitions(Settings.load()).get_repository_def()
    sensors = {sensor.name: sensor.default_status.value for sensor in repository.sensor_defs}
    assert sensors == {"alert_failed_runs": "RUNNING", "alert_finished_backfills": "RUNNING"}
    with disable_dagster_warnings():
        shown = str(RepositorySnap.from_def(repository).resources)
    assert "TAXI_ALERT_URLS" in shown
    assert SECRET not in shown
