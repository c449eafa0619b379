"""Tests of the notifications about failed runs: one message for each run that is not retried, without secrets."""

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import pytest

from taxi_assets.defs.build import build_definitions
from taxi_assets.graph import NEWEST_MONTH_LOADED, job_name
from taxi_assets.instance._dagster import BulkActionStatus, PartitionBackfill, disable_dagster_warnings
from taxi_assets.instance.partition_status import PartitionStatus, read_history
from taxi_assets.keys import asset_key
from taxi_assets.operations.runs import RunSpec, run_month
from taxi_assets.settings import Settings
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.dagster_internals import RepositorySnap
from taxi_assets_tests.defs.notification_installation import NotificationInstallation, open_notification_installation
from taxi_assets_tests.inbox import SECRET
from taxi_assets_tests.months import publish
from taxi_assets_tests.web_server import Reply

SENSOR = "alert_failed_runs"
ONE_RETRY = {"dagster/max_retries": "1"}
MARCH, APRIL = TripMonth("green", "2021-03"), TripMonth("green", "2021-04")


@pytest.fixture(scope="module")
def _shared(tmp_path_factory: pytest.TempPathFactory, empty_history: Path) -> Iterator[NotificationInstallation]:
    with open_notification_installation(tmp_path_factory.mktemp("installation"), empty_history) as opened:
        yield opened


@pytest.fixture
def installation(_shared: NotificationInstallation) -> NotificationInstallation:
    """Return the module's installation with an empty inbox. Its sensor has seen all earlier runs."""
    _shared.start_test(SENSOR)
    return _shared


def _run(installation: NotificationInstallation, month: TripMonth) -> dg.DagsterRun:
    """Run the first asset of a month, as `taxi materialize` does."""
    run_month(installation.definitions, installation.instance, month, RunSpec(("raw_trips",)), lambda _: None)
    return installation.instance.get_runs(limit=1)[0]


def test_a_failed_run_is_reported_once(installation: NotificationInstallation) -> None:
    """The message contains the month, the asset, the error, who requested the run, and a link to it."""
    installation.publish_page(MARCH)
    run = _run(installation, MARCH)
    installation.tick(SENSOR)
    installation.tick(SENSOR)
    (mail,) = installation.inbox.mails
    assert mail.title == "green 2021-03 failed at raw_trips"
    assert mail.kind == "failure"
    error, requested, link = mail.text.splitlines()
    assert f"{MARCH.stem}.csv.gz" in error
    assert error.endswith("[not-a-csv]")
    assert requested == "Requested by cli"
    assert link == f"https://ui.example.org/runs/{run.run_id}"


def test_earlier_failures_are_not_reported(installation: NotificationInstallation) -> None:
    """Runs that failed before the first evaluation of the sensor are not reported."""
    installation.fail_run(MARCH)
    installation.reset_cursor(SENSOR)
    installation.tick(SENSOR)
    installation.fail_run(APRIL)
    installation.tick(SENSOR)
    assert [mail.title for mail in installation.inbox.mails] == ["green 2021-04 failed"]


def test_an_unpublished_month_is_not_reported(installation: NotificationInstallation) -> None:
    """A run of a month that is not published succeeds and sends no notification."""
    run = _run(installation, TripMonth("fhv", "2021-05"))
    assert run.status is dg.DagsterRunStatus.SUCCESS
    installation.tick(SENSOR)
    assert installation.inbox.mails == []


def test_a_canceled_run_is_not_reported(installation: NotificationInstallation) -> None:
    """A run that is canceled while it starts is not a failure, although Dagster fails it."""
    month = TripMonth("green", "2020-12")
    installation.fail_run(month, cancel=True)
    installation.tick(SENSOR)
    assert installation.inbox.mails == []
    history = read_history(installation.instance, installation.settings)
    assert [found.status for found in history if found.month == month] == [PartitionStatus.partial]


def test_a_run_of_another_project_is_not_reported(installation: NotificationInstallation) -> None:
    """If several projects share an instance, only runs of this project are reported."""
    run = installation.instance.create_run_for_job(dg.GraphDefinition("other").to_job())
    installation.instance.report_run_failed(run, "no such file")
    installation.tick(SENSOR)
    assert installation.inbox.mails == []


@pytest.mark.parametrize("tags", [{}, {"dagster/partition": "2021-1"}], ids=["no partition", "an invalid key"])
def test_a_run_without_a_month_is_reported(tags: Mapping[str, str], installation: NotificationInstallation) -> None:
    """The message about a run without a valid partition contains the name of its job."""
    installation.fail_run(None, "no partition was chosen", tags=tags)
    installation.tick(SENSOR)
    (mail,) = installation.inbox.mails
    assert mail.title == "load_yellow failed"
    assert mail.text.splitlines()[:2] == ["no partition was chosen", "Requested by dagster"]


def test_a_run_of_several_colors_is_reported_once(installation: NotificationInstallation) -> None:
    """The message about a run of two colors, which the UI can start, contains both months."""
    installation.publish_page(MARCH)
    fhv = TripMonth("fhv", MARCH.month)
    publish(Path(installation.settings.source_url), fhv, 10)
    job = installation.definitions.resolve_implicit_global_asset_job_def()
    both = {asset_key(month.color, "raw_trips") for month in (MARCH, fhv)}
    run = job.get_subset(asset_selection=both).execute_in_process(
        instance=installation.instance, partition_key=MARCH.month, raise_on_error=False
    )
    assert not run.success
    installation.tick(SENSOR)
    (mail,) = installation.inbox.mails
    assert mail.title == "fhv 2021-03, green 2021-03 failed at raw_trips"
    assert f"{MARCH.stem}.csv.gz" in mail.text
    assert "[not-a-csv]" in mail.text


def test_a_failed_run_of_a_check_is_reported(installation: NotificationInstallation) -> None:
    """The message about a run of only a check, which the UI can start, contains the name of the check."""
    check = dg.AssetCheckKey(asset_key("green", "warehouse_trips"), NEWEST_MONTH_LOADED)
    run = installation.instance.add_run(dg.DagsterRun("__ASSET_JOB", asset_check_selection=frozenset({check})))
    installation.instance.report_run_failed(run, "the source did not respond")
    installation.tick(SENSOR)
    assert [mail.title for mail in installation.inbox.mails] == ["green/warehouse_trips:newest_month_loaded failed"]


def test_only_the_last_retry_is_reported(installation: NotificationInstallation) -> None:
    """A run that will be retried is not reported. The message about the last retry contains the number of failures."""
    first = installation.fail_run(MARCH, tags=ONE_RETRY)
    assert first.tags["dagster/will_retry"] == "true"
    installation.tick(SENSOR)
    assert installation.inbox.mails == []
    installation.fail_run(MARCH, parent=first, tags={"dagster/retry_number": "1", "taxi/asked_by": "schedule"})
    installation.tick(SENSOR)
    (mail,) = installation.inbox.mails
    assert mail.text.splitlines()[-2] == "Requested by schedule, failed 2 times"


@pytest.mark.parametrize(("retries", "messages"), [("0", 1), ("1", 0)])
def test_a_failure_without_a_retry_mark(
    retries: str, messages: int, installation: NotificationInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster marks a run for a retry shortly after it fails. If the mark is missing, the retry limit decides."""
    monkeypatch.setattr(type(installation.instance), "add_run_tags", lambda *_: None)
    run = installation.fail_run(MARCH, tags={"dagster/max_retries": retries})
    assert "dagster/will_retry" not in run.tags
    installation.tick(SENSOR)
    assert len(installation.inbox.mails) == messages


@pytest.mark.parametrize(("status", "messages"), [("none yet", 1), ("COMPLETED", 1), ("CANCELED", 1), ("REQUESTED", 0)])
def test_runs_of_finished_backfills_are_reported(
    status: str, messages: int, installation: NotificationInstallation
) -> None:
    """The daemon marks runs of a backfill that is finished or not created yet for a retry, but does not retry them."""
    if status != "none yet":
        backfill = PartitionBackfill(
            status, BulkActionStatus(status), from_failure=False, tags={}, backfill_timestamp=0.0
        )
        installation.instance.add_backfill(backfill)
    installation.fail_run(MARCH, tags={**ONE_RETRY, "dagster/backfill": status})
    installation.tick(SENSOR)
    assert len(installation.inbox.mails) == messages


def test_a_retried_run_of_a_finished_backfill_is_not_reported(installation: NotificationInstallation) -> None:
    """A run that was retried before its backfill finished is not reported. Its retry is, if it fails too."""
    installation.fail_run(MARCH, tags={**ONE_RETRY, "dagster/backfill": "gone", "dagster/auto_retry_run_id": "another"})
    installation.tick(SENSOR)
    assert installation.inbox.mails == []


def test_messages_contain_no_secrets(installation: NotificationInstallation) -> None:
    """Logins and the URLs of the channels are removed from the error in a message."""
    url = "postgresql://ann:hunter2@127.0.0.1:1/trips"
    key = asset_key("green", "raw_trips")
    partitions = installation.definitions.resolve_asset_graph().get(key).partitions_def

    @dg.asset(key=key, partitions_def=partitions)
    def raw_trips() -> None:
        raise ValueError(f"no connection to {url}, nor to {os.environ['TAXI_ALERT_URLS']}: refused")

    name = job_name("green")
    definitions = dg.Definitions([raw_trips], jobs=[dg.define_asset_job(name, [raw_trips])])
    # Like runs of Dagster's own commands, this run has no code location.
    job = definitions.resolve_job_def(name)
    job.execute_in_process(instance=installation.instance, partition_key="2021-03", raise_on_error=False)
    installation.tick(SENSOR)
    (mail,) = installation.inbox.mails
    assert mail.title == "green 2021-03 failed at raw_trips"
    assert mail.text.startswith("ValueError: no connection to postgresql://...@127.0.0.1:1/trips, nor to ...: refused")
    assert "hunter2" not in mail.text
    assert SECRET not in mail.text


def test_long_errors_are_truncated(installation: NotificationInstallation) -> None:
    """The message contains the first lines of a long error, followed by an ellipsis."""
    installation.fail_run(MARCH, "\n\n".join(f"line {n} {'x' * 300}" for n in range(9)))
    installation.fail_run(APRIL, "\n\n".join(f"line {n}" for n in range(9)))
    installation.tick(SENSOR)
    long, many = installation.inbox.mails
    assert [line[:6] for line in long.text.splitlines()[:4]] == ["line 0", "line 1", "line 2", "..."]
    assert len(long.text) < 1000
    assert [line[:6] for line in many.text.splitlines()[4:6]] == ["line 4", "..."]


def test_an_unavailable_channel_does_not_fail_the_tick(
    installation: NotificationInstallation, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """If a channel rejects a message, the log contains its kind and the status. Later messages are sent."""
    caplog.set_level(logging.DEBUG)
    installation.inbox.answer(Reply(status=500))
    installation.fail_run(MARCH)
    installation.tick(SENSOR)
    log = caplog.text + str(capfd.readouterr())
    for fact in ("green 2021-03 failed: ", "json", "500", "[notification-failed]"):
        assert fact in log
    assert SECRET not in log
    installation.inbox.answer(Reply())
    installation.fail_run(APRIL)
    installation.tick(SENSOR)
    assert installation.inbox.mails[-1].title == "green 2021-04 failed"


def test_without_channels_there_are_no_sensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TAXI_ALERT_URLS no sensor notifies. With it, they run, and the UI displays only its name."""
    monkeypatch.setenv("TAXI_HOME", str(tmp_path))
    monkeypatch.setenv("TAXI_ALERT_URLS", "")
    silent = build_definitions(Settings.load()).get_repository_def().sensor_defs
    assert [(sensor.name, sensor.default_status.value) for sensor in silent] == [("marts", "STOPPED")]
    monkeypatch.setenv("TAXI_ALERT_URLS", f"json://{SECRET}")
    repository = build_definitions(Settings.load()).get_repository_def()
    notifying = [sensor for sensor in repository.sensor_defs if sensor.name != "marts"]
    sensors = {sensor.name: sensor.default_status.value for sensor in notifying}
    assert sensors == {"alert_failed_runs": "RUNNING", "alert_finished_backfills": "RUNNING"}
    for sensor in notifying:
        for fact in ("TAXI_ALERT_URLS", "every 10 seconds", "By default, the sensor is on"):
            assert fact in (sensor.description or "")
    with disable_dagster_warnings():
        displayed = str(RepositorySnap.from_def(repository).resources)
    assert "TAXI_ALERT_URLS" in displayed
    assert SECRET not in displayed
