"""Backfills, one for each color, are submitted, followed as one to their end, cancelled and resumed."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import RemotePartitionSetOrigin

from taxi_assets.errors import StoreBusy, StoreError, UnknownBackfill
from taxi_assets.graph import asset_key, job_name
from taxi_assets.news import ENDS, Progress, ProgressEvent
from taxi_assets.operations import backfills
from taxi_assets.operations.backfills import (
    cancel_backfill,
    follow_backfills,
    is_daemon_alive,
    left_of_backfills,
    submit_backfills,
)
from taxi_assets.operations.runs import ORIGIN, Order
from taxi_assets.tlc.trips import TripMonth, parse_months
from taxi_assets_tests.defs.installation import FolderInstallation

FILES = ("raw_trips", "clean_trips")


def _months(color: str, months: str) -> list[TripMonth]:
    return [TripMonth(color, month) for month in parse_months(months)]


class Backfilled(FolderInstallation):
    """An installation whose source is a folder, and what is asked of it."""

    def run_tagged(self, month: TripMonth, **tags: str) -> ProgressEvent:
        """Run the assets of files of a month, with further tags; how it ended."""
        told = self.run(month, *FILES)
        self.instance.add_run_tags(told[-1].run_id, tags)
        return told[-1]

    def submit(self, *months: TripMonth, order: Order | None = None) -> list[str]:
        """Submit a backfill for each color; their ids."""
        return submit_backfills(self.instance, months, order or Order(), "taxi backfill")

    def backfill(self, backfill_id: str) -> PartitionBackfill:
        """What the daemon and the UI know of a backfill."""
        backfill = self.instance.get_backfill(backfill_id)
        assert backfill
        return backfill

    def follow(self, *backfill_ids: str) -> list[ProgressEvent]:
        """What is told of backfills that are over."""
        return list(follow_backfills(self.instance, backfill_ids))

    def status(self, backfill_id: str) -> BulkActionStatus:
        """How a backfill stands."""
        return self.backfill(backfill_id).status

    def end(self, backfill_id: str, status: BulkActionStatus) -> None:
        """End a backfill, as the daemon would."""
        self.instance.update_backfill(self.backfill(backfill_id).with_status(status))  # type: ignore[no-untyped-call]


@pytest.fixture
def installation(home: Path) -> Iterator[Backfilled]:
    """An installation with nothing loaded, whose source has an empty folder."""
    assert home.exists()
    with closing(Backfilled()) as made:
        yield made


def test_a_backfill_is_what_the_daemon_and_the_ui_know(installation: Backfilled) -> None:
    """It targets the color's job, with its partition keys in order, who asked, its assets and its run config."""
    months = list(reversed(_months("green", "2020-01..2020-03")))
    [backfill_id] = installation.submit(*months, order=Order(FILES, fresh=True))
    backfill = installation.backfill(backfill_id)
    assert backfill.status is BulkActionStatus.REQUESTED
    assert backfill.partition_names == ["2020-03", "2020-02", "2020-01"]
    assert backfill.partition_set_name == "load_green_partition_set"
    assert backfill.tags == {"taxi/asked_by": "cli"}
    assert set(backfill.asset_selection or []) == {asset_key("green", name) for name in FILES}
    assert backfill.run_config == {"ops": {"green__raw_trips": {"config": {"fresh": True}}}}


def test_each_color_is_a_backfill_of_its_own(installation: Backfilled) -> None:
    """Each backfill targets its color's job and months, keeps their order, and has the same title."""
    months = [TripMonth(color, month) for month in ("2020-02", "2020-01") for color in ("yellow", "green")]
    submitted = [installation.backfill(backfill_id) for backfill_id in installation.submit(*months)]
    assert [backfill.partition_set_name for backfill in submitted] == [
        "load_yellow_partition_set",
        "load_green_partition_set",
    ]
    assert [backfill.partition_names for backfill in submitted] == [["2020-02", "2020-01"]] * 2
    assert {backfill.title for backfill in submitted} == {"taxi backfill"}
    assert {backfill.asset_selection for backfill in submitted} == {None}


def test_a_backfill_is_cancelled_once(installation: Backfilled, monkeypatch: pytest.MonkeyPatch) -> None:
    """To cancel marks it for the daemon; one that is over stays as it is, and an unknown one is an error."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    [backfill_id] = installation.submit(*_months("green", "2020-01"))
    assert cancel_backfill(installation.instance, backfill_id)
    assert installation.status(backfill_id) is BulkActionStatus.CANCELING
    installation.end(backfill_id, BulkActionStatus.CANCELED)
    assert not cancel_backfill(installation.instance, backfill_id)
    with pytest.raises(UnknownBackfill, match="no backfill 'nobody'"):
        cancel_backfill(installation.instance, "nobody")


@pytest.mark.parametrize("times", [1, 9])
def test_a_daemon_that_undoes_a_cancel_is_asked_again(
    times: int, installation: Backfilled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon may write what it read before: then it is asked again, but not for ever."""
    [backfill_id] = installation.submit(*_months("green", "2020-01"))
    undone = iter(range(times))

    def undo(_: float) -> None:
        if next(undone, None) is not None:
            installation.end(backfill_id, BulkActionStatus.REQUESTED)

    monkeypatch.setattr("time.sleep", undo)
    if times == 1:
        assert cancel_backfill(installation.instance, backfill_id)
        assert installation.status(backfill_id) is BulkActionStatus.CANCELING
    else:
        with pytest.raises(StoreBusy, match="goes on, whatever it is asked"):
            cancel_backfill(installation.instance, backfill_id)


def test_a_backfill_is_followed_run_by_run(installation: Backfilled) -> None:
    """Each run is reported step by step, like runs of this process; months that never ran are reported at the end."""
    done, failed, absent, waiting = _months("fhv", "2020-01..2020-04")
    installation.publish(done)
    installation.publish_page(failed)
    [backfill_id] = installation.submit(done, failed, absent, waiting)
    for month in (done, failed, absent):
        installation.run_tagged(month, **{"dagster/backfill": backfill_id})
    installation.end(backfill_id, BulkActionStatus.CANCELED)
    told = installation.follow(backfill_id)
    by_month = {month: [news for news in told if news.month == month] for month in (done, failed, absent, waiting)}
    assert [
        news.what for news in by_month[done] if news.what in (Progress.started, Progress.asset_done, Progress.done)
    ] == [
        Progress.started,
        Progress.asset_done,
        Progress.asset_done,
        Progress.done,
    ]
    steps = [news for news in by_month[done] if news.what is Progress.asset_done]
    assert [(news.asset, news.rows) for news in steps] == [("raw_trips", 10), ("clean_trips", 10)]
    assert (by_month[failed][-1].what, by_month[failed][-1].asset) == (Progress.failed, "raw_trips")
    assert "is an HTML page" in by_month[failed][-1].error
    assert (by_month[absent][-1].what, by_month[absent][-1].error) == (Progress.not_published, "")
    assert [news.error for news in by_month[waiting]] == ["it was cancelled before its turn"]


def test_backfills_of_several_colors_are_followed_as_one(installation: Backfilled) -> None:
    """The progress of all colors is reported in one stream until every backfill is over."""
    green, yellow = _months("green", "2020-01..2020-02"), _months("yellow", "2020-01..2020-02")
    installation.publish(*green, *yellow)
    of_green, of_yellow = installation.submit(*green, *yellow)
    installation.run_tagged(green[0], **{"dagster/backfill": of_green})
    installation.run_tagged(yellow[0], **{"dagster/backfill": of_yellow})
    installation.run_tagged(yellow[1], **{"dagster/backfill": of_yellow})
    # One is over with its last run, whether the daemon says so or not; the other is ended before that.
    installation.end(of_green, BulkActionStatus.CANCELED)
    told = installation.follow(of_green, of_yellow)
    ends = {news.month: news.what for news in told if news.what in ENDS}
    assert ends == {green[0]: Progress.done, green[1]: Progress.failed, **dict.fromkeys(yellow, Progress.done)}
    assert [news.error for news in told if news.what is Progress.failed] == ["it was cancelled before its turn"]


def test_a_backfill_that_goes_on_is_waited_for(installation: Backfilled, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished backfill does not end the wait for another one."""
    monkeypatch.setattr(backfills, "_POLL_S", 0.01)
    [green], [yellow] = _months("green", "2020-01"), _months("yellow", "2020-01")
    installation.publish(green, yellow)
    of_green, of_yellow = installation.submit(green, yellow)
    installation.run_tagged(green, **{"dagster/backfill": of_green})
    installation.end(of_green, BulkActionStatus.COMPLETED_SUCCESS)
    ends = []
    for news in follow_backfills(installation.instance, [of_green, of_yellow]):
        if news.what in ENDS:
            ends.append((news.month, news.what))
        if ends == [(green, Progress.done)]:
            installation.run_tagged(yellow, **{"dagster/backfill": of_yellow})
    assert ends == [(green, Progress.done), (yellow, Progress.done)]


def test_a_run_that_will_be_run_again_has_not_failed_yet(installation: Backfilled) -> None:
    """A failed run with a retry to come is a setback; the month ends as its last run does."""
    [month] = _months("fhv", "2020-01")
    [backfill_id] = installation.submit(month)
    tags = {"dagster/backfill": backfill_id}
    installation.publish_page(month)
    installation.run_tagged(month, **tags, **{"dagster/will_retry": "true"})
    installation.publish(month)
    installation.run_tagged(month, **tags)
    told = [news.what for news in installation.follow(backfill_id)]
    assert Progress.failed not in told
    assert told.index(Progress.setback) < told.index(Progress.done)


def test_a_backfill_that_the_daemon_gave_up_is_an_error(installation: Backfilled) -> None:
    """Where the daemon cannot run a backfill, nobody waits for it any longer."""
    [backfill_id] = installation.submit(*_months("green", "2020-01"))
    installation.end(backfill_id, BulkActionStatus.FAILED)
    with pytest.raises(StoreError, match=f"the daemon gave the backfill {backfill_id} up"):
        installation.follow(backfill_id)


def test_no_daemon_is_noticed(installation: Backfilled) -> None:
    """An instance that no daemon ever served has none."""
    assert not is_daemon_alive(installation.instance)


def test_what_a_backfill_asks_for_is_waiting(installation: Backfilled) -> None:
    """Months are waiting from the moment that they are handed in, until their run is there or the backfill is over."""
    first, second = _months("green", "2020-01..2020-02")
    [other] = _months("yellow", "2020-01")
    installation.publish(first, second, other)
    [backfill_id] = installation.submit(second, first)
    plan = installation.plan([first, second, other])
    assert plan.left_out == {first: "waiting already", second: "waiting already"}
    assert list(plan.wanted) == [other]
    installation.run_tagged(second, **{"dagster/backfill": backfill_id})
    assert list(installation.plan([first, second]).wanted) == [second]
    installation.end(backfill_id, BulkActionStatus.CANCELED)
    assert list(installation.plan([first, second]).wanted) == [second, first]


@pytest.mark.parametrize(
    "title", ["taxi backfill --select '*'", f"taxi backfill --months {'2020-01,' * 20}", '"100 %"']
)
def test_any_command_can_be_a_title(installation: Backfilled, title: str) -> None:
    """What Dagster does not take in a title is left out of it, and it is cut where it is too long."""
    [backfill_id] = submit_backfills(installation.instance, _months("green", "2020-01"), Order(), title)
    shown = installation.backfill(backfill_id).title
    assert shown
    assert shown[:10] == title.replace('"', "").replace("%", "")[:10]


def test_a_backfill_is_resumed_where_it_stopped(installation: Backfilled) -> None:
    """Months that it did not load are submitted again for the same assets, even if an earlier run had loaded them."""
    loaded, failed, absent, waiting = _months("fhv", "2020-01..2020-04")
    installation.publish(loaded, waiting)
    installation.publish_page(failed)
    installation.run(waiting, *FILES)
    [backfill_id] = installation.submit(waiting, absent, failed, loaded, order=Order(FILES, fresh=True))
    for month in (loaded, failed, absent):
        installation.run_tagged(month, **{"dagster/backfill": backfill_id})
    installation.end(backfill_id, BulkActionStatus.CANCELED)
    months, order = left_of_backfills(installation.instance, [backfill_id])
    assert months == [waiting, absent, failed]
    assert order == Order(FILES, fresh=True)


def test_several_backfills_are_resumed_together(installation: Backfilled) -> None:
    """Resuming the backfills of several colors returns the months that none of them loaded."""
    green, yellow = _months("green", "2020-01..2020-02"), _months("yellow", "2020-01..2020-02")
    installation.publish(*green, *yellow)
    of_green, of_yellow = installation.submit(*green, *yellow)
    installation.run_tagged(green[0], **{"dagster/backfill": of_green})
    installation.run_tagged(yellow[1], **{"dagster/backfill": of_yellow})
    for backfill_id in (of_green, of_yellow):
        installation.end(backfill_id, BulkActionStatus.CANCELED)
    months, order = left_of_backfills(installation.instance, [of_green, of_yellow])
    assert months == [green[1], yellow[0]]
    assert order == Order()


def test_backfills_of_different_assets_are_not_resumed_together(installation: Backfilled) -> None:
    """One command runs the same assets for every month, so backfills of other assets need commands of their own."""
    whole = installation.submit(*_months("green", "2020-01"))
    part = installation.submit(*_months("yellow", "2020-01"), order=Order(FILES))
    with pytest.raises(UnknownBackfill, match="load different assets"):
        left_of_backfills(installation.instance, [*whole, *part])


@pytest.mark.parametrize("job", ["load_trips", "another"], ids=["of the release before", "of another project"])
def test_a_backfill_of_another_job_is_not_resumed(job: str, installation: Backfilled) -> None:
    """A backfill of a job that does not exist here is an error that points to Re-execute in the UI."""
    [backfill_id] = installation.submit(*_months("green", "2020-01"))
    origin = RemotePartitionSetOrigin(repository_origin=ORIGIN, partition_set_name=f"{job}_partition_set")
    other = installation.backfill(backfill_id)._replace(
        backfill_id="other", partition_set_origin=origin, partition_names=["green|2020-01"]
    )
    installation.instance.add_backfill(other)
    with pytest.raises(UnknownBackfill, match="Re-execute"):
        left_of_backfills(installation.instance, ["other"])


@pytest.mark.parametrize(
    ("reported", "told"),
    [("It did not start within 180 seconds.", "It did not start"), (None, "its process ended without a word")],
    ids=["monitored", "killed"],
)
def test_a_run_that_died_before_it_began_is_told(reported: str | None, told: str, installation: Backfilled) -> None:
    """A run that is marked as failed from outside ends its month with what was said of it, after no time."""
    [month] = _months("green", "2020-01")
    [backfill_id] = installation.submit(month)
    job = installation.definitions.resolve_job_def(job_name(month.color))
    tags = job.get_tags_for_partition_key(month.month, selected_asset_keys=None)
    run = installation.instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.STARTING,
        tags={**tags, "dagster/backfill": backfill_id},
        remote_job_origin=ORIGIN.get_job_origin(job.name),
    )
    installation.instance.report_run_failed(run, reported)
    heard = installation.follow(backfill_id)
    assert [news.what for news in heard] == [Progress.started, Progress.failed]
    assert told in heard[-1].error
    assert heard[-1].seconds == 0
