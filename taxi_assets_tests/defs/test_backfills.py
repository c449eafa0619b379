"""A backfill asks for what can be run, the newest month first, says what it leaves out, and is followed to its end."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.remote_origin import RemotePartitionSetOrigin

from taxi_assets.defs.backfills import (
    Which,
    cancel_backfill,
    follow_backfill,
    is_daemon_alive,
    left_of_backfill,
    plan_backfill,
    submit_backfill,
)
from taxi_assets.defs.jobs import LOAD_TRIPS, STATIONS
from taxi_assets.defs.runs import ORIGIN, Order
from taxi_assets.errors import StoreBusy, StoreError, UnknownBackfill
from taxi_assets.news import BackfillPlan, News, RunNews
from taxi_assets.tlc.trips import TripMonth, parse_months
from taxi_assets_tests.defs.installation import Installation
from taxi_assets_tests.months import publish

# Dagster's own tags of a partition.
pytestmark = pytest.mark.filterwarnings("ignore:Non-compliant tag keys like .'dagster/partition/:DeprecationWarning")

FILES = ("raw_trips", "clean_trips")


def _months(color: str, months: str) -> list[TripMonth]:
    return [TripMonth(color, month) for month in parse_months(months)]


class Backfilled(Installation):
    """An installation whose source is a folder, and what is asked of it."""

    def __init__(self, source: Path) -> None:
        super().__init__()
        self.source = source

    def publish(self, *months: TripMonth) -> None:
        """Let the source have months."""
        for month in months:
            publish(self.source, month, 10)

    def run_tagged(self, month: TripMonth, **tags: str) -> RunNews:
        """Run the stations of files of a month, with further tags; how it ended."""
        told = self.run(month, *FILES)
        self.instance.add_run_tags(told[-1].run_id, tags)
        return told[-1]

    def plan(
        self, months: Sequence[TripMonth], which: Which = Which.all, stations: Sequence[str] = STATIONS
    ) -> BackfillPlan:
        """What a backfill of these months would ask for."""
        return plan_backfill(self.settings, self.instance, months, stations, which)

    def submit(self, *months: TripMonth, order: Order | None = None) -> str:
        """Hand in a backfill."""
        return submit_backfill(self.instance, months, order or Order(), "taxi backfill")

    def status(self, backfill_id: str) -> BulkActionStatus:
        """How a backfill stands."""
        backfill = self.instance.get_backfill(backfill_id)
        assert backfill
        return backfill.status

    def end(self, backfill_id: str, status: BulkActionStatus) -> None:
        """End a backfill, as the daemon would."""
        backfill = self.instance.get_backfill(backfill_id)
        assert backfill
        self.instance.update_backfill(backfill.with_status(status))  # type: ignore[no-untyped-call]


@pytest.fixture
def installation(home: Path) -> Iterator[Backfilled]:
    """An installation with nothing loaded, whose source has an empty folder."""
    source = home.parent / "source"
    source.mkdir()
    with closing(Backfilled(source)) as made:
        yield made


def test_the_newest_month_comes_first(installation: Backfilled) -> None:
    """Months go from the newest back, with the colors of a month in the order that they were named in."""
    green, yellow = _months("green", "2020-01..2020-02"), _months("yellow", "2020-01..2020-02")
    installation.publish(*green, *yellow)
    plan = installation.plan([*green, *yellow])
    assert list(plan.wanted) == [green[1], yellow[1], green[0], yellow[0]]
    assert plan.left_out == {}
    size = (installation.source / "green" / "green_tripdata_2020-02.csv.gz").stat().st_size
    assert plan.wanted[green[1]] == size


def test_the_impossible_is_left_out(installation: Backfilled) -> None:
    """Months that are no partitions, or are not published, are not asked for."""
    early, there, absent = _months("green", "2018-12..2019-02")
    installation.publish(there)
    late = TripMonth("green", "2999-01")
    plan = installation.plan([early, there, absent, late])
    assert list(plan.wanted) == [there]
    assert plan.left_out[absent] == "not published"
    for month in (early, late):
        assert plan.left_out[month].startswith("no partition. The months go from 2019-01 (TAXI_FIRST_MONTH) to ")


def test_a_source_that_cannot_be_asked_is_an_error(installation: Backfilled) -> None:
    """Where the source is gone, nothing is taken as not published."""
    installation.source.rmdir()
    with pytest.raises(StoreError, match="there is no folder"):
        installation.plan(_months("green", "2020-01"))


def test_missing_and_failed_months_are_told_apart(installation: Backfilled) -> None:
    """Missing is what some station has not passed, failed what failed last; each leaves the other out, and says why."""
    loaded, partly, failed, absent = _months("fhv", "2020-01..2020-04")
    installation.publish(loaded, partly, absent)
    installation.run(loaded, *FILES)
    installation.run(partly, *FILES[:1])
    assert installation.run(failed, *FILES)[-1].what is News.failed
    installation.publish(failed)
    months = [loaded, partly, failed, absent]
    missing = installation.plan(months, Which.missing, FILES)
    assert list(missing.wanted) == [absent, failed, partly]
    assert missing.left_out == {loaded: "loaded already"}
    again = installation.plan(months, Which.failed, FILES)
    assert list(again.wanted) == [failed]
    assert set(again.left_out.values()) == {"not failed"}
    assert list(installation.plan(months, Which.all, FILES).wanted) == [absent, failed, partly, loaded]
    assert loaded in installation.plan(months, Which.missing).wanted


def test_what_is_under_way_is_left_out(installation: Backfilled) -> None:
    """A month whose run is under way is not asked for a second time."""
    [month] = _months("green", "2020-01")
    installation.publish(month)
    job = installation.definitions.resolve_job_def(LOAD_TRIPS)
    tags = job.get_tags_for_partition_key("green|2020-01", selected_asset_keys=None)
    installation.instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.STARTED, tags=tags, remote_job_origin=ORIGIN.get_job_origin(LOAD_TRIPS)
    )
    assert installation.plan([month]).left_out == {month: "running already"}


def test_the_source_is_asked_only_where_it_is_needed(installation: Backfilled) -> None:
    """Stations that begin at the clean files or the lake do not need the month at the source."""
    [month] = _months("green", "2020-01")
    plan = installation.plan([month], stations=("lake_trips", "warehouse_trips"))
    assert plan.wanted == {month: None}


def test_a_backfill_is_what_the_daemon_and_the_ui_know(installation: Backfilled) -> None:
    """It is one of the job, with its keys in order, who asked, its stations, and how raw files are fetched."""
    months = list(reversed(_months("green", "2020-01..2020-03")))
    backfill = installation.instance.get_backfill(installation.submit(*months, order=Order(FILES, fresh=True)))
    assert backfill
    assert backfill.status is BulkActionStatus.REQUESTED
    assert backfill.partition_names == ["green|2020-03", "green|2020-02", "green|2020-01"]
    assert backfill.partition_set_name == "load_trips_partition_set"
    assert backfill.tags == {"taxi/asked_by": "cli"}
    assert {key.to_user_string() for key in backfill.asset_selection or []} == set(FILES)
    assert backfill.run_config == {"ops": {"raw_trips": {"config": {"fresh": True}}}}


def test_a_backfill_is_cancelled_once(installation: Backfilled, monkeypatch: pytest.MonkeyPatch) -> None:
    """To cancel marks it for the daemon; one that is over stays as it is, and an unknown one is an error."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    backfill_id = installation.submit(*_months("green", "2020-01"))
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
    backfill_id = installation.submit(*_months("green", "2020-01"))
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
    """Each run is told station by station, as runs of this process are; what had no turn is told at the end."""
    done, failed, waiting = _months("fhv", "2020-01..2020-03")
    installation.publish(done)
    backfill_id = installation.submit(done, failed, waiting)
    for month in (done, failed):
        installation.run_tagged(month, **{"dagster/backfill": backfill_id})
    installation.end(backfill_id, BulkActionStatus.CANCELED)
    told = list(follow_backfill(installation.instance, backfill_id, installation.settings))
    by_month = {month: [news for news in told if news.month == month] for month in (done, failed, waiting)}
    assert [news.what for news in by_month[done] if news.what in (News.started, News.station_done, News.done)] == [
        News.started,
        News.station_done,
        News.station_done,
        News.done,
    ]
    assert [news.rows for news in by_month[done] if news.what is News.station_done] == [10, 10]
    assert by_month[failed][-1].station == "raw_trips"
    assert "is not published" in by_month[failed][-1].error
    assert [news.error for news in by_month[waiting]] == ["it was cancelled before its turn"]


def test_a_run_that_will_be_run_again_has_not_failed_yet(installation: Backfilled) -> None:
    """A failed run with a retry to come is a setback; the month ends as its last run does."""
    [month] = _months("fhv", "2020-01")
    backfill_id = installation.submit(month)
    tags = {"dagster/backfill": backfill_id}
    installation.run_tagged(month, **tags, **{"dagster/will_retry": "true"})
    installation.publish(month)
    installation.run_tagged(month, **tags)
    told = [news.what for news in follow_backfill(installation.instance, backfill_id, installation.settings)]
    assert News.failed not in told
    assert told.index(News.setback) < told.index(News.done)


def test_a_backfill_that_the_daemon_gave_up_is_an_error(installation: Backfilled) -> None:
    """Where the daemon cannot run a backfill, nobody waits for it any longer."""
    backfill_id = installation.submit(*_months("green", "2020-01"))
    installation.end(backfill_id, BulkActionStatus.FAILED)
    with pytest.raises(StoreError, match=f"the daemon gave the backfill {backfill_id} up"):
        list(follow_backfill(installation.instance, backfill_id, installation.settings))


def test_no_daemon_is_noticed(installation: Backfilled) -> None:
    """An instance that no daemon ever served has none."""
    assert not is_daemon_alive(installation.instance)


def test_what_a_backfill_asks_for_is_waiting(installation: Backfilled) -> None:
    """Months are waiting from the moment that they are handed in, until their run is there or the backfill is over."""
    first, second = _months("green", "2020-01..2020-02")
    installation.publish(first, second)
    backfill_id = installation.submit(second, first)
    assert installation.plan([first, second]).left_out == {first: "waiting already", second: "waiting already"}
    installation.run_tagged(second, **{"dagster/backfill": backfill_id})
    assert list(installation.plan([first, second]).wanted) == [second]
    installation.end(backfill_id, BulkActionStatus.CANCELED)
    assert list(installation.plan([first, second]).wanted) == [second, first]


@pytest.mark.parametrize(
    "title", ["taxi backfill --select '*'", f"taxi backfill --months {'2020-01,' * 20}", '"100 %"']
)
def test_any_command_can_be_a_title(installation: Backfilled, title: str) -> None:
    """What Dagster does not take in a title is left out of it, and it is cut where it is too long."""
    backfill_id = submit_backfill(installation.instance, _months("green", "2020-01"), Order(), title)
    backfill = installation.instance.get_backfill(backfill_id)
    assert backfill
    assert backfill.title
    assert backfill.title[:10] == title.replace('"', "").replace("%", "")[:10]


def test_a_backfill_is_taken_up_where_it_was_left(installation: Backfilled) -> None:
    """What it has not loaded is asked for again at the same stations, whatever became of it, also if loaded before."""
    loaded, failed, waiting = _months("fhv", "2020-01..2020-03")
    installation.publish(loaded, waiting)
    installation.run(waiting, *FILES)
    backfill_id = installation.submit(waiting, failed, loaded, order=Order(FILES, fresh=True))
    for month in (loaded, failed):
        installation.run_tagged(month, **{"dagster/backfill": backfill_id})
    installation.end(backfill_id, BulkActionStatus.CANCELED)
    months, order = left_of_backfill(installation.instance, backfill_id, installation.settings)
    assert months == [waiting, failed]
    assert order == Order(FILES, fresh=True)


def test_a_backfill_of_another_job_is_taken_up_at_its_stations(installation: Backfilled) -> None:
    """One that Dagster's command asked of a smaller job has that job's stations."""
    backfill_id = installation.submit(*_months("green", "2020-01"))
    backfill = installation.instance.get_backfill(backfill_id)
    assert backfill
    origin = RemotePartitionSetOrigin(repository_origin=ORIGIN, partition_set_name="load_lake_partition_set")
    installation.instance.add_backfill(backfill._replace(backfill_id="of_lake", partition_set_origin=origin))
    _, order = left_of_backfill(installation.instance, "of_lake", installation.settings)
    assert order.stations == ("raw_trips", "clean_trips", "lake_trips")


@pytest.mark.parametrize(
    ("reported", "told"),
    [("It did not start within 180 seconds.", "It did not start"), (None, "its process ended without a word")],
    ids=["monitored", "killed"],
)
def test_a_run_that_died_before_it_began_is_told(reported: str | None, told: str, installation: Backfilled) -> None:
    """A run that is marked as failed from outside ends its month with what was said of it, after no time."""
    [month] = _months("green", "2020-01")
    backfill_id = installation.submit(month)
    job = installation.definitions.resolve_job_def(LOAD_TRIPS)
    tags = job.get_tags_for_partition_key("green|2020-01", selected_asset_keys=None)
    run = installation.instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.STARTING,
        tags={**tags, "dagster/backfill": backfill_id},
        remote_job_origin=ORIGIN.get_job_origin(LOAD_TRIPS),
    )
    installation.instance.report_run_failed(run, reported)
    heard = list(follow_backfill(installation.instance, backfill_id, installation.settings))
    assert [news.what for news in heard] == [News.started, News.failed]
    assert told in heard[-1].error
    assert heard[-1].seconds == 0
