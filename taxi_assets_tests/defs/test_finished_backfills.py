"""People are told once of each backfill that is over: what became of its months, and what to run again."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import RemotePartitionSetOrigin
from dagster._core.remote_representation.external_data import partition_set_snap_name_for_job_name
from dagster._time import get_current_timestamp
from dagster._utils.warnings import disable_dagster_warnings
from dagster_shared.error import SerializableErrorInfo

from taxi_assets.defs import finished_backfills
from taxi_assets.graph import asset_key
from taxi_assets.instance.processes import PROCESS_TAG, process_tags
from taxi_assets.operations.runs import ORIGIN
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.office import Office, office_in
from taxi_assets_tests.months import publish
from taxi_assets_tests.web_server import Reply

SENSOR = "alert_finished_backfills"
SUCCESS, FAILURE = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE
MONTHS = [TripMonth("green", f"2021-0{number}") for number in range(1, 8)]


@pytest.fixture(scope="module")
def _shared(tmp_path_factory: pytest.TempPathFactory, empty_history: Path) -> Iterator[Office]:
    with office_in(tmp_path_factory.mktemp("office"), empty_history) as made:
        yield made


@pytest.fixture
def office(_shared: Office, monkeypatch: pytest.MonkeyPatch) -> Office:
    """An office with an empty inbox, whose sensor has looked at all that was before; retries come at once, or never."""
    monkeypatch.setattr(finished_backfills, "_RETRY_WITHIN_S", 0.0)
    _shared.begin(SENSOR)
    return _shared


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """The id of a test's backfill."""
    return str(request.node.name)


def _backfill(
    office: Office, name: str, months: Sequence[TripMonth], status: str = "REQUESTED", job: str = "load_green"
) -> PartitionBackfill:
    """A backfill of these months, as `taxi backfill` and Dagster's command make one."""
    backfill = PartitionBackfill(
        name,
        BulkActionStatus(status),
        from_failure=False,
        tags={},
        backfill_timestamp=get_current_timestamp(),
        partition_set_origin=RemotePartitionSetOrigin(
            repository_origin=ORIGIN, partition_set_name=partition_set_snap_name_for_job_name(job)
        ),
        partition_names=[month.month for month in months],
        title="spring",
    )
    office.instance.add_backfill(backfill)
    return backfill


def _end(office: Office, backfill: PartitionBackfill, status: str) -> None:
    """Let the daemon call a backfill over."""
    office.instance.update_backfill(backfill._replace(status=BulkActionStatus(status)))


def _run(office: Office, backfill: PartitionBackfill, month: TripMonth, status: dg.DagsterRunStatus = SUCCESS) -> None:
    office.start(month, status, _tags(backfill))


def _tags(backfill: PartitionBackfill) -> dict[str, str]:
    return {"dagster/backfill": backfill.backfill_id}


def test_a_backfill_is_told_once_when_it_is_over(office: Office, name: str) -> None:
    """One message counts what became of its months, names them, says how to run again what failed, and has a link."""
    unpublished = TripMonth("green", "2021-08")
    backfill = _backfill(office, name, [*MONTHS, unpublished])
    for month in MONTHS[:2]:
        _run(office, backfill, month)
    for month in (MONTHS[2], MONTHS[3], MONTHS[5]):
        office.fail(month, tags=_tags(backfill))
    _run(office, backfill, MONTHS[4], dg.DagsterRunStatus.CANCELED)
    _run_for_real(office, backfill, unpublished)
    assert office.tick(SENSOR) == "told of backfills: 0; not over yet: 1"
    assert office.inbox.mails == []
    _end(office, backfill, "COMPLETED_FAILED")
    assert office.tick(SENSOR) == "told of backfills: 1; not over yet: 0"
    assert office.tick(SENSOR) == "told of backfills: 0; not over yet: 0"
    (mail,) = office.inbox.mails
    counts = "2 loaded, 3 failed, 1 not published, 1 cancelled, 1 never ran"
    assert (mail.title, mail.kind) == (f"backfill of 8 months: {counts}", "failure")
    assert mail.text.splitlines() == [
        f"{name} spring",
        "loaded: green 2021-01..2021-02",
        "failed: green 2021-03..2021-04,2021-06",
        "not published: green 2021-08",
        "cancelled: green 2021-05",
        "never ran: green 2021-07",
        f"To run again what is not loaded: taxi backfill --resume {name}",
        f"https://ui.example.org/runs/b/{name}",
    ]


def _run_for_real(office: Office, backfill: PartitionBackfill, month: TripMonth) -> None:
    """Run the first asset of a month; the source does not have it."""
    office.run(month, "raw_trips")
    office.instance.add_run_tags(office.instance.get_runs(limit=1)[0].run_id, _tags(backfill))


def test_months_that_are_not_published_are_no_failure(office: Office, name: str) -> None:
    """A backfill whose months are loaded or not published sends a success message without a command to run again."""
    unpublished = TripMonth("green", "2021-08")
    backfill = _backfill(office, name, [MONTHS[0], unpublished])
    _run(office, backfill, MONTHS[0])
    _run_for_real(office, backfill, unpublished)
    _end(office, backfill, "COMPLETED_SUCCESS")
    office.tick(SENSOR)
    (mail,) = office.inbox.mails
    assert (mail.title, mail.kind) == ("backfill of 2 months: 1 loaded, 1 not published", "success")
    assert "run again" not in mail.text


def test_a_month_counts_by_its_newest_run(office: Office, name: str) -> None:
    """A month that failed and was loaded when it was tried again is loaded; all loaded is good news."""
    backfill = _backfill(office, name, MONTHS[:1])
    office.fail(MONTHS[0], tags=_tags(backfill))
    _run(office, backfill, MONTHS[0])
    _end(office, backfill, "COMPLETED_FAILED")
    office.tick(SENSOR)
    assert [(mail.title, mail.kind) for mail in office.inbox.mails] == [("backfill of 1 month: 1 loaded", "success")]


def test_dagsters_own_command_is_over_when_its_runs_are(office: Office, name: str) -> None:
    """`dagster job backfill` calls its backfill complete once it is in the queue; people are told when it has run."""
    backfill = _backfill(office, name, MONTHS[:2], "COMPLETED")
    _run(office, backfill, MONTHS[0])
    queued = office.start(MONTHS[1], dg.DagsterRunStatus.QUEUED, _tags(backfill))
    office.tick(SENSOR)
    assert office.inbox.mails == []
    office.instance.report_run_failed(queued, "no such thing")
    office.tick(SENSOR)
    office.tick(SENSOR)
    assert [mail.title for mail in office.inbox.mails] == ["backfill of 2 months: 1 loaded, 1 failed"]


def test_a_retry_to_come_is_waited_for(office: Office, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that failed a moment ago, and is marked for a retry, may get one; after a while it will not."""
    monkeypatch.setattr(finished_backfills, "_RETRY_WITHIN_S", 60.0)
    backfill = _backfill(office, name, MONTHS[:1], "COMPLETED_FAILED")
    office.fail(MONTHS[0], tags={**_tags(backfill), "dagster/max_retries": "1"})
    office.tick(SENSOR)
    assert office.inbox.mails == []
    monkeypatch.setattr(finished_backfills, "_RETRY_WITHIN_S", 0.0)
    office.tick(SENSOR)
    assert [mail.title for mail in office.inbox.mails] == ["backfill of 1 month: 1 failed"]


def test_what_was_over_before_the_first_look_is_not_told(office: Office, name: str) -> None:
    """Who sets TAXI_ALERT_URLS is not told of old backfills, but of those that end from then on."""
    _end(office, _backfill(office, f"{name} old", MONTHS[:1]), "COMPLETED_SUCCESS")
    under_way = _backfill(office, f"{name} under way", MONTHS[:1])
    office.forget(SENSOR)
    assert office.tick(SENSOR) == "told of backfills: 0; not over yet: 1"
    _end(office, under_way, "COMPLETED_SUCCESS")
    office.tick(SENSOR)
    assert [mail.text.splitlines()[0] for mail in office.inbox.mails] == [f"{name} under way spring"]


def test_many_at_once_are_told_one_after_another(office: Office, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are over at once, each is told once, the oldest first, some in each tick."""
    monkeypatch.setattr(finished_backfills, "_LOOK_BACK", (2, 6))
    monkeypatch.setattr(finished_backfills, "_AT_ONCE", 3)
    for number in range(5):
        _backfill(office, f"{name} {number}", MONTHS[:1], "COMPLETED_SUCCESS")
    for told in (3, 5, 5):
        office.tick(SENSOR)
        lines = [mail.text.splitlines()[0] for mail in office.inbox.mails]
        assert lines == [f"{name} {number} spring" for number in range(told)]


def _asset_backfill(
    office: Office, name: str, months: Sequence[str], assets: Sequence[dg.AssetKey]
) -> PartitionBackfill:
    """A backfill of these assets, as the UI's asset graph makes one."""
    with disable_dagster_warnings():
        backfill = PartitionBackfill.from_asset_partitions(
            backfill_id=name,
            asset_graph=office.definitions.resolve_asset_graph(),
            partition_names=list(months),
            asset_selection=list(assets),
            backfill_timestamp=get_current_timestamp(),
            tags={},
            dynamic_partitions_store=office.instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
    office.instance.add_backfill(backfill)
    return backfill


def test_a_backfill_of_the_asset_graph_is_told(office: Office, name: str) -> None:
    """What the UI's asset graph asks for counts its months too, also those that never ran."""
    assets = [asset_key("green", "clean_trips"), asset_key("green", "postgres_trips")]
    backfill = _asset_backfill(office, name, [month.month for month in MONTHS[:3]], assets)
    office.tick(SENSOR)
    _run(office, backfill, MONTHS[0])
    office.fail(MONTHS[1], tags=_tags(backfill))
    _end(office, backfill, "CANCELED")
    office.tick(SENSOR)
    (mail,) = office.inbox.mails
    assert mail.title == "backfill of 3 months: 1 loaded, 1 failed, 1 never ran"
    assert "To run again what is not loaded: Re-execute, on its page" in mail.text.splitlines()


def test_a_run_of_several_colors_counts_for_each(office: Office, name: str) -> None:
    """In a run of several colors, one color's month can be loaded while another's is not published."""
    loaded, absent = TripMonth("green", "2021-09"), TripMonth("fhv", "2021-09")
    publish(Path(office.settings.source_url), loaded, 10)
    assets = [asset_key(month.color, "raw_trips") for month in (loaded, absent)]
    backfill = _asset_backfill(office, name, [loaded.month], assets)
    office.tick(SENSOR)
    job = office.definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection=set(assets))
    run = job.execute_in_process(instance=office.instance, partition_key=loaded.month, tags=_tags(backfill))
    assert run.success
    _end(office, backfill, "COMPLETED_SUCCESS")
    office.tick(SENSOR)
    (mail,) = office.inbox.mails
    assert mail.title == "backfill of 2 months: 1 loaded, 1 not published"
    assert {"loaded: green 2021-09", "not published: fhv 2021-09"} <= set(mail.text.splitlines())


def test_a_backfill_that_the_daemon_gave_up_says_why(office: Office, name: str) -> None:
    """What the daemon died of is told."""
    backfill = _backfill(office, name, MONTHS[:1])
    error = SerializableErrorInfo(
        "DagsterBackfillFailedError: no such partition set\n", [], "DagsterBackfillFailedError"
    )
    office.instance.update_backfill(backfill._replace(status=BulkActionStatus.FAILED, error=error))
    office.tick(SENSOR)
    (mail,) = office.inbox.mails
    assert (mail.title, mail.kind) == ("backfill of 1 month: 1 never ran, given up by the daemon", "failure")
    assert "DagsterBackfillFailedError: no such partition set" in mail.text.splitlines()


def test_a_backfill_of_another_project_is_not_told(office: Office, name: str) -> None:
    """Of a daemon that several projects share, each tells its own."""
    _backfill(office, name, MONTHS[:1], "COMPLETED_SUCCESS", job="other")
    office.tick(SENSOR)
    assert office.inbox.mails == []


def test_a_dead_channel_fails_no_tick(office: Office, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A channel that takes nothing is told in the tick's log, and nothing is sent again later."""
    office.inbox.answer(Reply(status=500))
    _backfill(office, name, MONTHS[:1], "COMPLETED_SUCCESS")
    office.tick(SENSOR)
    assert "backfill of 1 month: 1 never ran: the alert did not get through to json" in str(capfd.readouterr())
    tries = len(office.inbox.mails)
    office.tick(SENSOR)
    assert len(office.inbox.mails) == tries


def test_a_backfill_with_a_run_whose_process_is_gone_is_over(office: Office, name: str) -> None:
    """A run that was killed, with all that would have noticed, is marked as failed, and its backfill is told."""
    backfill = _backfill(office, name, MONTHS[:1])
    run = office.start(MONTHS[0], tags=_tags(backfill))
    # Its number is this process's, but it began long ago.
    process = {**json.loads(process_tags(run.run_id)[PROCESS_TAG]), "started": 1.0}
    office.instance.add_run_tags(run.run_id, {PROCESS_TAG: json.dumps(process)})
    _end(office, backfill, "COMPLETED")
    office.tick(SENSOR)
    assert [mail.title for mail in office.inbox.mails] == ["backfill of 1 month: 1 failed"]
