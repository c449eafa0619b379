"""Backfills, one for each color, are submitted, followed until they finish, canceled and resumed."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from taxi_assets.errors import BackfillFailed, BackfillNotCanceled, NotResumable, UnknownBackfill
from taxi_assets.graph import job_name
from taxi_assets.instance._dagster import BulkActionStatus, PartitionBackfill, RemotePartitionSetOrigin
from taxi_assets.keys import asset_key
from taxi_assets.operations.backfills import (
    cancel_backfill,
    follow_backfills,
    is_daemon_alive,
    list_backfills,
    submit_backfills,
    unloaded_months,
)
from taxi_assets.operations.progress import ENDS, Progress, ProgressEvent
from taxi_assets.operations.runs import ORIGIN, RunSpec
from taxi_assets.tlc.trips import TripMonth, parse_months
from taxi_assets_tests.defs.installation import FolderInstallation

FILES = ("raw_trips", "clean_trips")


def _months(color: str, months: str) -> list[TripMonth]:
    return [TripMonth(color, month) for month in parse_months(months)]


class BackfillInstallation(FolderInstallation):
    """An installation whose source is a folder, with backfills that no daemon runs."""

    def run_tagged(self, month: TripMonth, **tags: str) -> ProgressEvent:
        """Materialize the raw and clean file of a month with additional tags. Return the last event."""
        end = self.run(month, *FILES)[-1]
        self.instance.add_run_tags(end.run_id, tags)
        return end

    def submit(self, *months: TripMonth, spec: RunSpec | None = None) -> list[str]:
        """Submit a backfill for each color. Return their IDs."""
        return submit_backfills(self.instance, months, spec or RunSpec(), "taxi backfill")

    def backfill(self, backfill_id: str) -> PartitionBackfill:
        """Return a backfill as the daemon and the UI read it."""
        backfill = self.instance.get_backfill(backfill_id)
        assert backfill
        return backfill

    def follow(self, *backfill_ids: str) -> list[ProgressEvent]:
        """Return all progress events of finished backfills."""
        return list(follow_backfills(self.instance, backfill_ids))

    def status(self, backfill_id: str) -> BulkActionStatus:
        """Return the status of a backfill in Dagster."""
        return self.backfill(backfill_id).status

    def end(self, backfill_id: str, status: BulkActionStatus) -> None:
        """Set the status of a backfill, as the daemon does."""
        self.instance.update_backfill(self.backfill(backfill_id).with_status(status))  # type: ignore[no-untyped-call]


@pytest.fixture
def installation(home: Path) -> Iterator[BackfillInstallation]:
    """An installation with nothing loaded and an empty source."""
    assert home.exists()
    with closing(BackfillInstallation()) as opened:
        yield opened


def test_a_submitted_backfill(installation: BackfillInstallation) -> None:
    """It has the color's job, its partition keys in order, the tag of its origin, its assets and its run config."""
    months = list(reversed(_months("green", "2020-01..2020-03")))
    [backfill_id] = installation.submit(*months, spec=RunSpec(FILES, fresh=True))
    backfill = installation.backfill(backfill_id)
    assert backfill.status is BulkActionStatus.REQUESTED
    assert backfill.partition_names == ["2020-03", "2020-02", "2020-01"]
    assert backfill.partition_set_name == "load_green_partition_set"
    assert backfill.tags == {"taxi/asked_by": "cli"}
    assert set(backfill.asset_selection or []) == {asset_key("green", name) for name in FILES}
    assert backfill.run_config == {"ops": {"green__raw_trips": {"config": {"fresh": True}}}}


def test_each_color_is_a_separate_backfill(installation: BackfillInstallation) -> None:
    """Each backfill has its color's job and months in the same order, and the same title."""
    months = [TripMonth(color, month) for month in ("2020-02", "2020-01") for color in ("yellow", "green")]
    submitted = [installation.backfill(backfill_id) for backfill_id in installation.submit(*months)]
    assert [backfill.partition_set_name for backfill in submitted] == [
        "load_yellow_partition_set",
        "load_green_partition_set",
    ]
    assert [backfill.partition_names for backfill in submitted] == [["2020-02", "2020-01"]] * 2
    assert {backfill.title for backfill in submitted} == {"taxi backfill"}
    assert {backfill.asset_selection for backfill in submitted} == {None}


def test_cancel(installation: BackfillInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancellation sets the status for the daemon. A finished backfill keeps its status, and an unknown ID fails."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    [backfill_id] = installation.submit(*_months("green", "2020-01"))
    assert cancel_backfill(installation.instance, backfill_id)
    assert installation.status(backfill_id) is BulkActionStatus.CANCELING
    installation.end(backfill_id, BulkActionStatus.CANCELED)
    assert not cancel_backfill(installation.instance, backfill_id)
    assert installation.status(backfill_id) is BulkActionStatus.CANCELED
    with pytest.raises(UnknownBackfill, match='"unknown"'):
        cancel_backfill(installation.instance, "unknown")


@pytest.mark.parametrize("times", [1, 9])
def test_cancel_again_after_the_daemon_overwrites_it(
    times: int, installation: BackfillInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon may overwrite the status. The request is repeated, and fails if that happens several times."""
    [backfill_id] = installation.submit(*_months("green", "2020-01"))
    overwrites = iter(range(times))

    def overwrite(_: float) -> None:
        if next(overwrites, None) is not None:
            installation.end(backfill_id, BulkActionStatus.REQUESTED)

    monkeypatch.setattr("time.sleep", overwrite)
    if times == 1:
        assert cancel_backfill(installation.instance, backfill_id)
        assert installation.status(backfill_id) is BulkActionStatus.CANCELING
    else:
        with pytest.raises(BackfillNotCanceled, match=backfill_id):
            cancel_backfill(installation.instance, backfill_id)


def test_list(installation: BackfillInstallation) -> None:
    """The newest backfills are listed first, with their status, months and number of loaded months."""
    first, second = _months("green", "2020-01..2020-02")
    installation.publish(first)
    [of_green] = installation.submit(first, second)
    installation.run_tagged(first, **{"dagster/backfill": of_green})
    installation.end(of_green, BulkActionStatus.COMPLETED_FAILED)
    [of_fhv] = installation.submit(*_months("fhv", "2020-01"))
    listed = list_backfills(installation.instance, limit=10)
    assert [(summary.backfill_id, summary.status, summary.loaded) for summary in listed] == [
        (of_fhv, "in progress", 0),
        (of_green, "completed with failures", 1),
    ]
    assert [(summary.color, list(summary.months)) for summary in listed] == [
        ("fhv", ["2020-01"]),
        ("green", ["2020-01", "2020-02"]),
    ]
    assert [summary.backfill_id for summary in list_backfills(installation.instance, limit=1)] == [of_fhv]


def test_follow_a_backfill(installation: BackfillInstallation) -> None:
    """Each run has the same events as a run of this process. Months that never ran fail at the end."""
    done, failed, absent, canceled = _months("fhv", "2020-01..2020-04")
    installation.publish(done)
    installation.publish_page(failed)
    [backfill_id] = installation.submit(done, failed, absent, canceled)
    for month in (done, failed, absent):
        installation.run_tagged(month, **{"dagster/backfill": backfill_id})
    installation.end(backfill_id, BulkActionStatus.CANCELED)
    events = installation.follow(backfill_id)
    by_month = {
        month: [event for event in events if event.month == month] for month in (done, failed, absent, canceled)
    }
    expected = [Progress.started, Progress.asset_done, Progress.asset_done, Progress.done]
    assert [event.what for event in by_month[done] if event.what in expected] == expected
    steps = [event for event in by_month[done] if event.what is Progress.asset_done]
    assert [(event.asset, event.rows) for event in steps] == [("raw_trips", 10), ("clean_trips", 10)]
    assert (by_month[failed][-1].what, by_month[failed][-1].asset) == (Progress.failed, "raw_trips")
    assert "[not-a-csv]" in by_month[failed][-1].error
    assert (by_month[absent][-1].what, by_month[absent][-1].error) == (Progress.not_published, "")
    assert [event.what for event in by_month[canceled]] == [Progress.failed]
    assert "canceled" in by_month[canceled][0].error


def test_follow_backfills_of_several_colors(installation: BackfillInstallation) -> None:
    """The events of all colors are one stream, until every backfill has finished."""
    green, yellow = _months("green", "2020-01..2020-02"), _months("yellow", "2020-01..2020-02")
    installation.publish(*green, *yellow)
    of_green, of_yellow = installation.submit(*green, *yellow)
    installation.run_tagged(green[0], **{"dagster/backfill": of_green})
    installation.run_tagged(yellow[0], **{"dagster/backfill": of_yellow})
    installation.run_tagged(yellow[1], **{"dagster/backfill": of_yellow})
    # The status of yellow lags behind its runs. Green is canceled before its last run.
    installation.end(of_green, BulkActionStatus.CANCELED)
    events = installation.follow(of_green, of_yellow)
    ends = {event.month: event.what for event in events if event.what in ENDS}
    assert ends == {green[0]: Progress.done, green[1]: Progress.failed, **dict.fromkeys(yellow, Progress.done)}


def test_follow_until_the_last_backfill_finishes(installation: BackfillInstallation) -> None:
    """A finished backfill does not end the wait for another one."""
    [green], [yellow] = _months("green", "2020-01"), _months("yellow", "2020-01")
    installation.publish(green, yellow)
    of_green, of_yellow = installation.submit(green, yellow)
    installation.run_tagged(green, **{"dagster/backfill": of_green})
    installation.end(of_green, BulkActionStatus.COMPLETED_SUCCESS)
    ends = []
    for event in follow_backfills(installation.instance, [of_green, of_yellow], poll_s=0.01):
        if event.what in ENDS:
            ends.append((event.month, event.what))
        if ends == [(green, Progress.done)]:
            installation.run_tagged(yellow, **{"dagster/backfill": of_yellow})
    assert ends == [(green, Progress.done), (yellow, Progress.done)]


def test_a_run_that_will_be_retried_has_not_failed(installation: BackfillInstallation) -> None:
    """A failed run that the daemon retries is a failed attempt. The last run decides the end of the month."""
    [month] = _months("fhv", "2020-01")
    [backfill_id] = installation.submit(month)
    tags = {"dagster/backfill": backfill_id}
    installation.publish_page(month)
    installation.run_tagged(month, **tags, **{"dagster/will_retry": "true"})
    installation.publish(month)
    installation.run_tagged(month, **tags)
    kinds = [event.what for event in installation.follow(backfill_id)]
    assert Progress.failed not in kinds
    assert kinds.index(Progress.attempt_failed) < kinds.index(Progress.done)


def test_a_canceled_run_fails_its_month(installation: BackfillInstallation) -> None:
    """A run that was canceled ends its month as failed, with that as the reason."""
    [month] = _months("green", "2020-01")
    [backfill_id] = installation.submit(month)
    run = _start_run(installation, month, backfill_id)
    started = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name)
    installation.instance.report_dagster_event(started, run.run_id)
    installation.instance.report_run_canceled(run)
    [_, end] = installation.follow(backfill_id)
    assert end.what is Progress.failed
    assert "canceled" in end.error


def test_a_backfill_that_the_daemon_cannot_run_is_an_error(installation: BackfillInstallation) -> None:
    """If the daemon stops a backfill, following it fails with its ID and the command that resumes it."""
    [backfill_id] = installation.submit(*_months("green", "2020-01"))
    installation.end(backfill_id, BulkActionStatus.FAILED)
    with pytest.raises(BackfillFailed) as caught:
        installation.follow(backfill_id)
    assert caught.value.facts == {"backfill": backfill_id}
    assert f"taxi backfill resume {backfill_id}" in caught.value.explain()


def test_an_instance_without_a_daemon(installation: BackfillInstallation) -> None:
    """No daemon is alive in an instance that no daemon ever served."""
    assert not is_daemon_alive(installation.instance)


def test_months_of_a_backfill_are_queued(installation: BackfillInstallation) -> None:
    """Months are queued from the submission until their run exists or the backfill has finished."""
    first, second = _months("green", "2020-01..2020-02")
    [other] = _months("yellow", "2020-01")
    installation.publish(first, second, other)
    [backfill_id] = installation.submit(second, first)
    plan = installation.plan([first, second, other])
    assert plan.left_out == {first: "already queued", second: "already queued"}
    assert list(plan.wanted) == [other]
    installation.run_tagged(second, **{"dagster/backfill": backfill_id})
    assert list(installation.plan([first, second]).wanted) == [second]
    installation.end(backfill_id, BulkActionStatus.CANCELED)
    assert list(installation.plan([first, second]).wanted) == [second, first]


@pytest.mark.parametrize(
    "title", ["taxi backfill --select '*'", f"taxi backfill --months {'2020-01,' * 20}", '"100 %"']
)
def test_any_command_can_be_a_title(installation: BackfillInstallation, title: str) -> None:
    """Characters that Dagster does not accept are removed from a title, and a long title is shortened."""
    [backfill_id] = submit_backfills(installation.instance, _months("green", "2020-01"), RunSpec(), title)
    shown = installation.backfill(backfill_id).title
    assert shown
    assert shown[:10] == title.replace('"', "").replace("%", "")[:10]


def test_unloaded_months_of_a_backfill(installation: BackfillInstallation) -> None:
    """The months that a backfill did not load keep its order and assets, even if an earlier run loaded them."""
    loaded, failed, absent, earlier = _months("fhv", "2020-01..2020-04")
    installation.publish(loaded, earlier)
    installation.publish_page(failed)
    installation.run(earlier, *FILES)
    [backfill_id] = installation.submit(earlier, absent, failed, loaded, spec=RunSpec(FILES, fresh=True))
    for month in (loaded, failed, absent):
        installation.run_tagged(month, **{"dagster/backfill": backfill_id})
    installation.end(backfill_id, BulkActionStatus.CANCELED)
    months, spec = unloaded_months(installation.instance, [backfill_id])
    assert months == [earlier, absent, failed]
    assert spec == RunSpec(FILES, fresh=True)


def test_unloaded_months_of_several_backfills(installation: BackfillInstallation) -> None:
    """The backfills of several colors are resumed together."""
    green, yellow = _months("green", "2020-01..2020-02"), _months("yellow", "2020-01..2020-02")
    installation.publish(*green, *yellow)
    of_green, of_yellow = installation.submit(*green, *yellow)
    installation.run_tagged(green[0], **{"dagster/backfill": of_green})
    installation.run_tagged(yellow[1], **{"dagster/backfill": of_yellow})
    for backfill_id in (of_green, of_yellow):
        installation.end(backfill_id, BulkActionStatus.CANCELED)
    months, spec = unloaded_months(installation.instance, [of_green, of_yellow])
    assert months == [green[1], yellow[0]]
    assert spec == RunSpec()


def test_backfills_of_different_assets_are_resumed_separately(installation: BackfillInstallation) -> None:
    """One command runs the same assets for every month, so backfills of different assets are an error."""
    whole = installation.submit(*_months("green", "2020-01"))
    part = installation.submit(*_months("yellow", "2020-01"), spec=RunSpec(FILES))
    with pytest.raises(NotResumable):
        unloaded_months(installation.instance, [*whole, *part])


@pytest.mark.parametrize("job", ["load_trips", "another"], ids=["of the previous release", "of another project"])
def test_a_backfill_of_another_job_is_not_resumed(job: str, installation: BackfillInstallation) -> None:
    """A backfill of a job that does not exist is an error that names Re-execute in the UI."""
    [backfill_id] = installation.submit(*_months("green", "2020-01"))
    origin = RemotePartitionSetOrigin(repository_origin=ORIGIN, partition_set_name=f"{job}_partition_set")
    other = installation.backfill(backfill_id)._replace(
        backfill_id="other", partition_set_origin=origin, partition_names=["green|2020-01"]
    )
    installation.instance.add_backfill(other)
    with pytest.raises(NotResumable) as caught:
        unloaded_months(installation.instance, ["other"])
    assert '"other"' in str(caught.value)
    assert "Re-execute" in caught.value.explain()


@pytest.mark.parametrize(
    ("reported", "expected"),
    [("It did not start within 180 seconds.", "within 180 seconds"), (None, "without an error message")],
    ids=["monitored", "killed"],
)
def test_a_run_that_never_started_fails_its_month(
    reported: str | None, expected: str, installation: BackfillInstallation
) -> None:
    """A run that was marked as failed from outside ends its month with the reported reason, after 0 seconds."""
    [month] = _months("green", "2020-01")
    [backfill_id] = installation.submit(month)
    installation.instance.report_run_failed(_start_run(installation, month, backfill_id), reported)
    events = installation.follow(backfill_id)
    assert [event.what for event in events] == [Progress.started, Progress.failed]
    assert expected in events[-1].error
    assert events[-1].seconds == 0


def _start_run(installation: BackfillInstallation, month: TripMonth, backfill_id: str) -> dg.DagsterRun:
    """Create a run of a backfill that is starting."""
    job = installation.definitions.resolve_job_def(job_name(month.color))
    tags = job.get_tags_for_partition_key(month.month, selected_asset_keys=None)
    return installation.instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.STARTING,
        tags={**tags, "dagster/backfill": backfill_id},
        remote_job_origin=ORIGIN.get_job_origin(job.name),
    )
