"""Tests of the notifications about finished backfills: one message with the outcome of each month."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
import pytest

from taxi_assets.defs import finished_backfills
from taxi_assets.instance._dagster import (
    BulkActionStatus,
    PartitionBackfill,
    RemotePartitionSetOrigin,
    SerializableErrorInfo,
    disable_dagster_warnings,
    partition_set_snap_name_for_job_name,
)
from taxi_assets.instance.processes import PROCESS_TAG, process_tags
from taxi_assets.keys import asset_key
from taxi_assets.operations.runs import ORIGIN
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.notification_installation import NotificationInstallation, open_notification_installation
from taxi_assets_tests.months import publish
from taxi_assets_tests.web_server import Reply

SENSOR = "alert_finished_backfills"
SUCCESS, FAILURE = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE
MONTHS = [TripMonth("green", f"2021-0{number}") for number in range(1, 8)]


@pytest.fixture(scope="module")
def _shared(tmp_path_factory: pytest.TempPathFactory, empty_history: Path) -> Iterator[NotificationInstallation]:
    with open_notification_installation(tmp_path_factory.mktemp("installation"), empty_history) as opened:
        yield opened


@pytest.fixture
def installation(_shared: NotificationInstallation, monkeypatch: pytest.MonkeyPatch) -> NotificationInstallation:
    """Return the module's installation with an empty inbox. Its sensor has seen all earlier backfills."""
    monkeypatch.setattr(finished_backfills, "RETRY_WITHIN_S", 0.0)
    _shared.start_test(SENSOR)
    return _shared


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Return the ID of the test's backfill."""
    return str(request.node.name)


def _backfill(
    installation: NotificationInstallation,
    name: str,
    months: Sequence[TripMonth],
    status: str = "REQUESTED",
    job: str = "load_green",
) -> PartitionBackfill:
    """Create a backfill of these months, as `taxi backfill` and Dagster's own command do."""
    backfill = PartitionBackfill(
        name,
        BulkActionStatus(status),
        from_failure=False,
        tags={},
        backfill_timestamp=time.time(),
        partition_set_origin=RemotePartitionSetOrigin(
            repository_origin=ORIGIN, partition_set_name=partition_set_snap_name_for_job_name(job)
        ),
        partition_names=[month.month for month in months],
        title="spring",
    )
    installation.instance.add_backfill(backfill)
    return backfill


def _set_status(installation: NotificationInstallation, backfill: PartitionBackfill, status: str) -> None:
    """Set the status of a backfill, as the daemon does."""
    installation.instance.update_backfill(backfill._replace(status=BulkActionStatus(status)))


def _run(
    installation: NotificationInstallation,
    backfill: PartitionBackfill,
    month: TripMonth,
    status: dg.DagsterRunStatus = SUCCESS,
) -> None:
    installation.create_run(month, status, _tags(backfill))


def _tags(backfill: PartitionBackfill) -> dict[str, str]:
    return {"dagster/backfill": backfill.backfill_id}


def test_a_finished_backfill_is_reported_once(installation: NotificationInstallation, name: str) -> None:
    """The message lists the months by outcome, and contains a command to resubmit and a link."""
    unpublished = TripMonth("green", "2021-08")
    backfill = _backfill(installation, name, [*MONTHS, unpublished])
    for month in MONTHS[:2]:
        _run(installation, backfill, month)
    for month in MONTHS[2:4]:
        installation.fail_run(month, tags=_tags(backfill))
    installation.fail_run(MONTHS[5], tags=_tags(backfill), cancel=True)
    _run(installation, backfill, MONTHS[4], dg.DagsterRunStatus.CANCELED)
    _run_raw_trips(installation, backfill, unpublished)
    assert installation.tick(SENSOR) == "backfills reported: 0, in progress: 1"
    assert installation.inbox.mails == []
    _set_status(installation, backfill, "COMPLETED_FAILED")
    assert installation.tick(SENSOR) == "backfills reported: 1, in progress: 0"
    assert installation.tick(SENSOR) == "backfills reported: 0, in progress: 0"
    (mail,) = installation.inbox.mails
    counts = "2 loaded, 2 failed, 1 not published, 2 canceled, 1 never ran"
    assert (mail.title, mail.kind) == (f"Backfill of 8 months: {counts}", "failure")
    assert mail.text.splitlines() == [
        f"{name} spring",
        "loaded: green 2021-01..2021-02",
        "failed: green 2021-03..2021-04",
        "not published: green 2021-08",
        "canceled: green 2021-05..2021-06",
        "never ran: green 2021-07",
        f"To load the other months: taxi backfill resume {name}",
        f"https://ui.example.org/runs/b/{name}",
    ]


def _run_raw_trips(installation: NotificationInstallation, backfill: PartitionBackfill, month: TripMonth) -> None:
    """Run the first asset of a month that the source does not have."""
    installation.run(month, "raw_trips")
    installation.instance.add_run_tags(installation.instance.get_runs(limit=1)[0].run_id, _tags(backfill))


def test_unpublished_months_are_not_failures(installation: NotificationInstallation, name: str) -> None:
    """If each month is loaded or not published, the message reports a success without a command to resubmit."""
    unpublished = TripMonth("green", "2021-08")
    backfill = _backfill(installation, name, [MONTHS[0], unpublished])
    _run(installation, backfill, MONTHS[0])
    _run_raw_trips(installation, backfill, unpublished)
    _set_status(installation, backfill, "COMPLETED_SUCCESS")
    installation.tick(SENSOR)
    (mail,) = installation.inbox.mails
    assert (mail.title, mail.kind) == ("Backfill of 2 months: 1 loaded, 1 not published", "success")
    assert "taxi backfill resume" not in mail.text


def test_the_newest_run_of_a_month_counts(installation: NotificationInstallation, name: str) -> None:
    """A month that failed and was loaded by a retry is loaded. If all months are, the message reports a success."""
    backfill = _backfill(installation, name, MONTHS[:1])
    installation.fail_run(MONTHS[0], tags=_tags(backfill))
    _run(installation, backfill, MONTHS[0])
    _set_status(installation, backfill, "COMPLETED_FAILED")
    installation.tick(SENSOR)
    assert [(mail.title, mail.kind) for mail in installation.inbox.mails] == [
        ("Backfill of 1 month: 1 loaded", "success")
    ]


def test_a_backfill_of_dagsters_command_finishes_with_its_runs(
    installation: NotificationInstallation, name: str
) -> None:
    """`dagster job backfill` marks its backfill as completed at once. It is reported when its runs have finished."""
    backfill = _backfill(installation, name, MONTHS[:2], "COMPLETED")
    _run(installation, backfill, MONTHS[0])
    queued = installation.create_run(MONTHS[1], dg.DagsterRunStatus.QUEUED, _tags(backfill))
    installation.tick(SENSOR)
    assert installation.inbox.mails == []
    installation.instance.report_run_failed(queued, "no such file")
    installation.tick(SENSOR)
    installation.tick(SENSOR)
    assert [mail.title for mail in installation.inbox.mails] == ["Backfill of 2 months: 1 loaded, 1 failed"]


def test_a_backfill_waits_for_its_retries(
    installation: NotificationInstallation, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backfill with a run that failed recently and is marked for a retry is reported later."""
    monkeypatch.setattr(finished_backfills, "RETRY_WITHIN_S", 60.0)
    backfill = _backfill(installation, name, MONTHS[:1], "COMPLETED_FAILED")
    installation.fail_run(MONTHS[0], tags={**_tags(backfill), "dagster/max_retries": "1"})
    installation.tick(SENSOR)
    assert installation.inbox.mails == []
    monkeypatch.setattr(finished_backfills, "RETRY_WITHIN_S", 0.0)
    installation.tick(SENSOR)
    assert [mail.title for mail in installation.inbox.mails] == ["Backfill of 1 month: 1 failed"]


def test_backfills_that_finished_earlier_are_not_reported(installation: NotificationInstallation, name: str) -> None:
    """Only backfills that finish after the first evaluation of the sensor are reported."""
    _set_status(installation, _backfill(installation, f"{name} old", MONTHS[:1]), "COMPLETED_SUCCESS")
    in_progress = _backfill(installation, f"{name} in progress", MONTHS[:1])
    installation.reset_cursor(SENSOR)
    assert installation.tick(SENSOR) == "backfills reported: 0, in progress: 1"
    _set_status(installation, in_progress, "COMPLETED_SUCCESS")
    installation.tick(SENSOR)
    assert [mail.text.splitlines()[0] for mail in installation.inbox.mails] == [f"{name} in progress spring"]


def test_many_backfills_are_reported_in_several_ticks(
    installation: NotificationInstallation, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tick reports a limited number of backfills, oldest first. Each of them is reported once."""
    monkeypatch.setattr(finished_backfills, "NEWEST_READ", (2, 6))
    monkeypatch.setattr(finished_backfills, "MAX_REPORTED", 3)
    for number in range(5):
        _backfill(installation, f"{name} {number}", MONTHS[:1], "COMPLETED_SUCCESS")
    for reported in (3, 5, 5):
        installation.tick(SENSOR)
        lines = [mail.text.splitlines()[0] for mail in installation.inbox.mails]
        assert lines == [f"{name} {number} spring" for number in range(reported)]


def _asset_backfill(
    installation: NotificationInstallation, name: str, months: Sequence[str], assets: Sequence[dg.AssetKey]
) -> PartitionBackfill:
    """Create a backfill of these assets, as the asset graph of the UI does."""
    with disable_dagster_warnings():
        backfill = PartitionBackfill.from_asset_partitions(
            backfill_id=name,
            asset_graph=installation.definitions.resolve_asset_graph(),
            partition_names=list(months),
            asset_selection=list(assets),
            backfill_timestamp=time.time(),
            tags={},
            dynamic_partitions_store=installation.instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
    installation.instance.add_backfill(backfill)
    return backfill


def test_a_backfill_of_the_asset_graph(installation: NotificationInstallation, name: str) -> None:
    """The message about a backfill of the asset graph contains all of its months, also those that never ran."""
    assets = [asset_key("green", "clean_trips"), asset_key("green", "postgres_trips")]
    backfill = _asset_backfill(installation, name, [month.month for month in MONTHS[:3]], assets)
    installation.tick(SENSOR)
    _run(installation, backfill, MONTHS[0])
    installation.fail_run(MONTHS[1], tags=_tags(backfill))
    _set_status(installation, backfill, "CANCELED")
    installation.tick(SENSOR)
    (mail,) = installation.inbox.mails
    assert mail.title == "Backfill of 3 months: 1 loaded, 1 failed, 1 never ran"
    assert "Re-execute" in mail.text
    assert "taxi backfill resume" not in mail.text


def test_a_run_of_several_colors_has_an_outcome_for_each(installation: NotificationInstallation, name: str) -> None:
    """In a run of several colors, the month of one color can be loaded and that of another not published."""
    loaded, absent = TripMonth("green", "2021-09"), TripMonth("fhv", "2021-09")
    publish(Path(installation.settings.source_url), loaded, 10)
    assets = [asset_key(month.color, "raw_trips") for month in (loaded, absent)]
    backfill = _asset_backfill(installation, name, [loaded.month], assets)
    installation.tick(SENSOR)
    job = installation.definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection=set(assets))
    run = job.execute_in_process(instance=installation.instance, partition_key=loaded.month, tags=_tags(backfill))
    assert run.success
    _set_status(installation, backfill, "COMPLETED_SUCCESS")
    installation.tick(SENSOR)
    (mail,) = installation.inbox.mails
    assert mail.title == "Backfill of 2 months: 1 loaded, 1 not published"
    assert {"loaded: green 2021-09", "not published: fhv 2021-09"} <= set(mail.text.splitlines())


def test_a_backfill_stopped_by_the_daemon(installation: NotificationInstallation, name: str) -> None:
    """If the daemon stops a backfill after an error, the message contains the error."""
    backfill = _backfill(installation, name, MONTHS[:1])
    error = SerializableErrorInfo(
        "DagsterBackfillFailedError: no such partition set\n", [], "DagsterBackfillFailedError"
    )
    installation.instance.update_backfill(backfill._replace(status=BulkActionStatus.FAILED, error=error))
    installation.tick(SENSOR)
    (mail,) = installation.inbox.mails
    assert (mail.title, mail.kind) == (
        "Backfill of 1 month: 1 never ran, stopped by the daemon after an error",
        "failure",
    )
    assert "DagsterBackfillFailedError: no such partition set" in mail.text.splitlines()


def test_a_backfill_of_another_project_is_not_reported(installation: NotificationInstallation, name: str) -> None:
    """If several projects share an instance, only backfills of this project are reported."""
    _backfill(installation, name, MONTHS[:1], "COMPLETED_SUCCESS", job="other")
    installation.tick(SENSOR)
    assert installation.inbox.mails == []


def test_an_unavailable_channel_does_not_fail_the_tick(
    installation: NotificationInstallation, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """If a channel rejects the message, the log contains the error. The message is not sent again."""
    installation.inbox.answer(Reply(status=500))
    _backfill(installation, name, MONTHS[:1], "COMPLETED_SUCCESS")
    installation.tick(SENSOR)
    log = str(capfd.readouterr())
    for fact in ("Backfill of 1 month: 1 never ran: ", "json", "500", "[notification-failed]"):
        assert fact in log
    attempts = len(installation.inbox.mails)
    installation.tick(SENSOR)
    assert len(installation.inbox.mails) == attempts


def test_a_backfill_with_a_dead_run_is_finished(installation: NotificationInstallation, name: str) -> None:
    """A run whose process no longer exists is marked as failed, and its backfill is reported."""
    backfill = _backfill(installation, name, MONTHS[:1])
    run = installation.create_run(MONTHS[0], tags=_tags(backfill))
    # A process with this PID exists, but it started later.
    process = {**json.loads(process_tags(run.run_id)[PROCESS_TAG]), "started": 1.0}
    installation.instance.add_run_tags(run.run_id, {PROCESS_TAG: json.dumps(process)})
    _set_status(installation, backfill, "COMPLETED")
    installation.tick(SENSOR)
    assert [mail.title for mail in installation.inbox.mails] == ["Backfill of 1 month: 1 failed"]
