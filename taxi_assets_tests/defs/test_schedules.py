"""Tests of the schedules: a tick requests runs of the recent months that need loading, or has a skip reason."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from taxi_assets import notifications
from taxi_assets.defs.build import build_definitions
from taxi_assets.errors import EmptySource, InvalidSchedule, StoreError
from taxi_assets.graph import NEWEST_MONTH_LOADED, TRIP_ASSETS, job_name
from taxi_assets.instance.partition_status import report_wiped
from taxi_assets.instance.processes import PROCESS_TAG, process_tags
from taxi_assets.keys import asset_key
from taxi_assets.operations.progress import Progress
from taxi_assets.operations.runs import ORIGIN
from taxi_assets.partitions import bounds
from taxi_assets.settings import Settings
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests.defs.installation import OLD, WebInstallation, web_path
from taxi_assets_tests.inbox import Inbox
from taxi_assets_tests.web_server import Reply, WebServer

TICK = datetime(2021, 8, 1, 5, tzinfo=ZoneInfo("America/New_York"))
MARCH, APRIL = TripMonth("green", "2021-03"), TripMonth("green", "2021-04")

WARN = dg.AssetCheckSeverity.WARN
NONE_PUBLISHED = (True, "none of the recent months", WARN)


class ScheduledInstallation(WebInstallation):
    """An installation whose schedules are evaluated on demand."""

    def tick(self, color: str = "green", at: datetime = TICK) -> list[dg.RunRequest]:
        """Evaluate a schedule. Return its run requests, and set `skip_reason`."""
        repository = self.definitions.get_repository_def()
        with dg.build_schedule_context(
            self.instance,
            scheduled_execution_time=at,
            repository_def=repository,
            resources=repository.get_top_level_resources(),
        ) as context:
            evaluated = repository.get_schedule_def(f"load_{color}").evaluate_tick(context)
        self.skip_reason = evaluated.skip_message or ""
        return list(evaluated.run_requests or [])

    def newest(self, color: str = "green") -> tuple[bool, object, dg.AssetCheckSeverity] | None:
        """Return the newest evaluation of `newest_month_loaded`: its result, its month and its severity."""
        key = dg.AssetCheckKey(asset_key(color, "warehouse_trips"), NEWEST_MONTH_LOADED)
        records = self.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
        found = records[0].evaluation if records else None
        if found is None:
            return None
        assert found.partition is None
        month = found.metadata.get("newest_published_month")
        return found.passed, month and month.value, found.severity

    def evaluate(self, color: str = "green") -> bool:
        """Evaluate `newest_month_loaded` on demand, as the UI does. Return whether the run succeeded."""
        key = dg.AssetCheckKey(asset_key(color, "warehouse_trips"), NEWEST_MONTH_LOADED)
        job = self.definitions.resolve_implicit_global_asset_job_def()
        subset = job.get_subset(asset_selection=set(), asset_check_selection={key})
        return subset.execute_in_process(instance=self.instance, raise_on_error=False).success

    def requested(self) -> list[str]:
        """Return the partitions of the runs that a tick requests."""
        return [str(request.partition_key) for request in self.tick()]


@pytest.fixture
def installation(web_source: WebServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScheduledInstallation]:
    """Create an installation with nothing loaded and an empty source."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    with closing(ScheduledInstallation(web_source)) as created:
        yield created


def test_unpublished_months_are_not_requested(installation: ScheduledInstallation) -> None:
    """The skip reason names the months and the source. Each is queried once, then first partitions until one exists."""
    assert installation.tick() == []
    assert "2021-01..2021-06 not published" in installation.skip_reason
    assert installation.web.url in installation.skip_reason
    assert len(installation.web.seen) == 6 + len(COLORS[: COLORS.index(OLD.color) + 1])


def test_a_source_without_any_month_fails_the_tick(installation: ScheduledInstallation) -> None:
    """If the server has no month at all, the tick fails, because the URL is probably wrong."""
    installation.web.replies.clear()
    with pytest.raises(dg.DagsterUserCodeExecutionError) as caught:
        installation.tick()
    assert isinstance(caught.value.__cause__, EmptySource)


def test_a_failed_tick_is_reported(web_source: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the source is gone, a message has the reason and what to do. A channel that fails does not hide the error."""
    inbox = Inbox(web_source)
    monkeypatch.setenv("TAXI_ALERT_URLS", inbox.address)
    monkeypatch.setattr(notifications, "RETRY_DELAY_S", 0.0)
    with closing(ScheduledInstallation(web_source)) as installation:
        web_source.replies = {path: replies for path, replies in web_source.replies.items() if "tripdata" not in path}
        with pytest.raises(dg.DagsterUserCodeExecutionError):
            installation.tick("yellow")
        (mail,) = inbox.mails
        inbox.answer(Reply(status=500))
        with pytest.raises(dg.DagsterUserCodeExecutionError) as caught:
            installation.tick("yellow")
    assert isinstance(caught.value.__cause__, EmptySource)
    assert (mail.title, mail.kind) == ("The schedule of yellow failed", "failure")
    *reason, link = mail.text.splitlines()
    assert reason[-1].endswith("[empty-source]")
    assert link == "http://127.0.0.1:3000/automation"


def test_a_rejected_month_does_not_fail_the_tick(installation: ScheduledInstallation) -> None:
    """A server that rejects requests for unpublished months does not prevent the others from being requested."""
    installation.publish(MARCH)
    installation.web.replies[web_path(APRIL)] = [Reply(b"no", status=403)]
    assert installation.requested() == [MARCH.month]


def test_published_months_are_requested_until_they_are_loaded(installation: ScheduledInstallation) -> None:
    """A tick requests exactly these months, with a partition, a run key and tags."""
    installation.publish(MARCH, ETag='"v1"')
    installation.publish(APRIL, ETag='"v1"')
    installation.publish(TripMonth("yellow", "2021-05"))
    first, second = installation.tick()
    assert (first.partition_key, first.run_key) == ("2021-03", 'green 2021-03 "v1"')
    # The daemon adds a job's tags to those of a request.
    tags = {**installation.definitions.resolve_job_def("load_green").run_tags, **first.tags}
    assert tags.items() >= {"taxi/color": "green", "taxi/asked_by": "schedule", "dagster/partition": "2021-03"}.items()
    assert second.partition_key == "2021-04"
    installation.load(MARCH)
    assert installation.requested() == ["2021-04"]
    installation.load(APRIL)
    assert installation.requested() == []
    assert "2021-03..2021-04 loaded" in installation.skip_reason
    assert "2021-01..2021-02,2021-05..2021-06 not published" in installation.skip_reason


@pytest.mark.parametrize(
    ("before", "after", "seed"),
    [
        ({"ETag": '"v1"'}, {"ETag": '"v2"'}, 1),
        ({"Last-Modified": "Fri, 20 May 2022 10:00:00 GMT"}, {"Last-Modified": "Sat, 21 May 2022 10:00:00 GMT"}, 1),
        ({}, {}, 2),
    ],
    ids=["ETag", "date", "size"],
)
def test_a_month_published_again_is_requested(
    before: dict[str, str], after: dict[str, str], seed: int, installation: ScheduledInstallation
) -> None:
    """A loaded month is requested again if its ETag changes, or, without an ETag, its date or its size."""
    installation.publish(MARCH, 1, **before)
    (first,) = installation.tick()
    installation.load(MARCH)
    assert installation.requested() == []
    installation.publish(MARCH, seed, **after)
    (again,) = installation.tick()
    assert again.partition_key == "2021-03"
    assert again.run_key != first.run_key
    installation.load(MARCH)
    assert installation.requested() == []


def test_a_weak_etag_is_the_same_version(installation: ScheduledInstallation) -> None:
    """A proxy may change an ETag to a weak one. A weak ETag with the same value is the same version."""
    installation.publish(MARCH, ETag='"v1"')
    installation.load(MARCH)
    installation.publish(MARCH, ETag='W/"v1"')
    assert installation.requested() == []


def test_a_failed_month_is_requested_at_the_next_tick(installation: ScheduledInstallation) -> None:
    """A month whose newest run failed is requested again, also if it was loaded before and did not change."""
    installation.publish(MARCH, ETag='"v1"')
    installation.load(MARCH)
    assert installation.requested() == []
    for clean in installation.settings.home.glob("clean/green/*"):
        clean.unlink()
    assert installation.run(MARCH, "lake_trips")[-1].what is Progress.failed
    assert installation.requested() == ["2021-03"]


def test_a_stale_or_partial_month_is_requested(installation: ScheduledInstallation) -> None:
    """A month is requested unless all assets have the same version of it."""
    installation.publish(MARCH, ETag='"v1"')
    installation.run(MARCH, "raw_trips")
    assert installation.requested() == ["2021-03"]
    installation.run(MARCH, *TRIP_ASSETS[1:])
    assert installation.requested() == []
    installation.run(MARCH, "raw_trips")
    assert installation.requested() == [], "the source has the same version"
    installation.publish(MARCH, 2, ETag='"v2"')
    installation.run(MARCH, "raw_trips")
    assert installation.requested() == ["2021-03"]
    assert installation.tick()[0].run_key == 'green 2021-03 "v2"'


def test_an_unpublished_month_is_requested_once_it_is_published(installation: ScheduledInstallation) -> None:
    """A run of a month that is not published does not prevent a later request."""
    assert installation.run(MARCH)[-1].what is Progress.not_published
    assert installation.requested() == []
    assert "2021-01..2021-06 not published" in installation.skip_reason
    installation.publish(MARCH)
    assert installation.requested() == ["2021-03"]


def test_a_month_in_progress_is_not_requested(installation: ScheduledInstallation) -> None:
    """A month with an active run is not requested, unless the process of the run no longer exists."""
    installation.publish(MARCH)
    job = installation.definitions.resolve_job_def(job_name("green"))
    of_march = job.get_tags_for_partition_key("2021-03", selected_asset_keys=None)

    def create_run() -> str:
        run_id = str(uuid4())
        installation.instance.create_run_for_job(
            job,
            run_id=run_id,
            status=dg.DagsterRunStatus.STARTED,
            tags={**of_march, **process_tags(run_id)},
            remote_job_origin=ORIGIN.get_job_origin(job.name),
        )
        return run_id

    run_id = create_run()
    assert installation.requested() == []
    assert "2021-03 already running" in installation.skip_reason
    installation.instance.delete_run(run_id)
    process = json.loads(process_tags("")[PROCESS_TAG])
    run_id = create_run()
    installation.instance.add_run_tags(run_id, {PROCESS_TAG: json.dumps({**process, "started": 1.0, "run": run_id})})
    assert installation.requested() == ["2021-03"]


def test_an_unavailable_source_fails_the_tick(installation: ScheduledInstallation) -> None:
    """A transient error of the source is retried. A server that rejects every request fails the tick."""
    installation.publish(MARCH)
    good = installation.web.replies[web_path(MARCH)]
    installation.web.replies[web_path(MARCH)] = [Reply(status=503), *good]
    assert installation.requested() == ["2021-03"]
    for month in (MARCH, *(TripMonth(color, "2019-01") for color in COLORS)):
        installation.web.replies[web_path(month)] = [Reply(status=403)]
    with pytest.raises(dg.DagsterUserCodeExecutionError) as caught:
        installation.tick()
    assert isinstance(caught.value.user_exception, StoreError)
    for fact in (installation.web.url, "403", "[source-forbidden]"):
        assert fact in caught.value.user_exception.explain()


def test_a_web_page_is_not_a_published_month(installation: ScheduledInstallation) -> None:
    """A web page instead of a month does not prevent the requests of other months."""
    installation.publish(APRIL)
    installation.web.replies[web_path(MARCH)] = [Reply(b"<!DOCTYPE html><title>Log in</title>")]
    assert installation.requested() == ["2021-04"]
    del installation.web.replies[web_path(APRIL)]
    assert installation.requested() == []
    assert "2021-03 not published" in installation.skip_reason
    assert web_path(MARCH) in installation.skip_reason


@pytest.mark.usefixtures("installation")
def test_the_number_of_recent_months_is_a_setting(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick queries the last TAXI_LOOKBACK_MONTHS partitions, by New York time."""
    monkeypatch.setenv("TAXI_LOOKBACK_MONTHS", "3")
    monkeypatch.setenv("TAXI_FIRST_MONTH", "2021-05")
    with closing(ScheduledInstallation(web)) as created:
        created.publish(TripMonth("fhv", "2021-05"))
        for at, reason in (
            (datetime(2021, 8, 1, 3, tzinfo=UTC), "green: 2021-05 not published"),
            (datetime(2021, 8, 1, 5, tzinfo=UTC), "green: 2021-05..2021-06 not published"),
            (datetime(2021, 12, 1, 5, tzinfo=UTC), "green: 2021-08..2021-10 not published"),
            (datetime(2021, 5, 1, 5, tzinfo=UTC), "TAXI_FIRST_MONTH"),
        ):
            assert created.tick(at=at) == []
            assert reason in created.skip_reason


@pytest.mark.usefixtures("installation")
@pytest.mark.parametrize("bounds", [{"TAXI_FIRST_MONTH": "2999-01"}, {"TAXI_LAST_MONTH": "2018-12"}])
def test_a_tick_without_partitions_is_skipped(
    bounds: dict[str, str], web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the settings exclude all months, the skip reason names the setting."""
    for name, value in bounds.items():
        monkeypatch.setenv(name, value)
    with closing(ScheduledInstallation(web)) as created:
        assert created.tick() == []
        assert "TAXI_FIRST_MONTH" in created.skip_reason
    assert web.seen == []


@pytest.mark.parametrize(("setting", "status"), [("", "STOPPED"), ("off", "STOPPED"), ("on", "RUNNING")])
def test_schedules_are_stopped_by_default(setting: str, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each color has a schedule in New York time. TAXI_SCHEDULES starts all of them."""
    monkeypatch.setenv("TAXI_SOURCE_URL", "tlc")
    monkeypatch.setenv("TAXI_SCHEDULES", setting)
    repository = build_definitions(Settings.load()).get_repository_def()
    schedules = {schedule.name: schedule for schedule in repository.schedule_defs}
    assert set(schedules) == {f"load_{color}" for color in COLORS}
    for schedule in schedules.values():
        assert schedule.cron_schedule == "0 5 1 * *"
        assert schedule.execution_timezone == "America/New_York"
        assert schedule.default_status.value == status
        assert schedule.job_name == schedule.name


def test_schedules_are_described(tmp_path: Path) -> None:
    """The description of a schedule has its months, its time and its default status, each with its setting."""
    settings = Settings(home=tmp_path, lookback_months=3, schedule_cron="30 6 2 * *", schedules="on")
    for schedule in build_definitions(settings).get_repository_def().schedule_defs:
        for fact in (
            f"last 3 months of {schedule.name.removeprefix('load_')} (TAXI_LOOKBACK_MONTHS)",
            "30 6 2 * * (TAXI_SCHEDULE_CRON), New York time",
            "on (TAXI_SCHEDULES)",
        ):
            assert fact in (schedule.description or "")


def test_an_invalid_cron_expression(monkeypatch: pytest.MonkeyPatch) -> None:
    """An invalid TAXI_SCHEDULE_CRON is an error when the definitions are built."""
    monkeypatch.setenv("TAXI_SCHEDULE_CRON", "at five")
    with pytest.raises(InvalidSchedule, match="at five") as caught:
        build_definitions(Settings.load())
    assert "TAXI_SCHEDULE_CRON" in caught.value.explain()


def test_a_tick_checks_that_the_newest_month_is_loaded(installation: ScheduledInstallation) -> None:
    """The check warns while the newest published month is not in the warehouse, and passes once it is loaded."""
    assert installation.newest() is None
    installation.tick()
    assert installation.newest() == NONE_PUBLISHED
    installation.publish(MARCH)
    installation.publish(APRIL)
    installation.tick()
    assert installation.newest() == (False, "2021-04", WARN)
    installation.load(MARCH)
    assert installation.newest() == (False, "2021-04", WARN)
    installation.run(APRIL, *TRIP_ASSETS[:3])
    assert installation.newest() == (False, "2021-04", WARN)
    installation.run(APRIL, "warehouse_trips")
    assert installation.newest() == (True, "2021-04", WARN), "no other tick is necessary"
    installation.tick()
    assert installation.newest() == (True, "2021-04", WARN)
    assert installation.newest("yellow") is None


def test_the_check_ignores_a_month_in_progress(installation: ScheduledInstallation) -> None:
    """A month with an active run may not be published, so the check evaluates the newest other month."""
    installation.publish(MARCH)
    installation.load(MARCH)
    job = installation.definitions.resolve_job_def(job_name("green"))
    installation.instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.STARTED,
        tags=job.get_tags_for_partition_key(APRIL.month, selected_asset_keys=None),
        remote_job_origin=ORIGIN.get_job_origin(job.name),
    )
    installation.tick()
    assert "2021-04 already running" in installation.skip_reason
    assert installation.newest() == (True, "2021-03", WARN)


def test_the_check_warns_about_a_wiped_month(installation: ScheduledInstallation) -> None:
    """A month that was deleted from the warehouse is not loaded."""
    installation.publish(MARCH)
    installation.load(MARCH)
    installation.tick()
    assert installation.newest() == (True, "2021-03", WARN)
    report_wiped(installation.instance, MARCH, "warehouse_trips", "")
    installation.tick()
    assert installation.newest() == (False, "2021-03", WARN)


def test_the_check_can_be_evaluated_on_demand(
    installation: ScheduledInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On demand, the check queries the source for the recent months, newest first, until it finds one."""
    monkeypatch.setenv("TAXI_LAST_MONTH", "2021-04")
    with closing(ScheduledInstallation(installation.web)) as created:
        assert created.evaluate()
        assert created.newest() == NONE_PUBLISHED
        created.publish(MARCH)
        created.web.replies[web_path(APRIL)] = [Reply(b"<!DOCTYPE html><title>Log in</title>")]
        created.web.seen.clear()
        assert created.evaluate()
        assert created.newest() == (False, "2021-03", WARN)
        assert len(created.web.seen) == 2
        created.load(MARCH)
        assert created.evaluate()
        assert created.newest() == (True, "2021-03", WARN)


def test_the_check_warns_about_an_unavailable_source(installation: ScheduledInstallation) -> None:
    """On demand, the check warns if the source is not available. A load does not change the result."""
    installation.web.replies[web_path(TripMonth("green", _newest_partition()))] = [Reply(status=403)]
    assert installation.evaluate()
    assert installation.newest() == (False, None, WARN)
    installation.publish(MARCH)
    installation.load(MARCH)
    assert installation.newest() == (False, None, WARN)


def _newest_partition() -> str:
    """Return the newest partition of green."""
    return bounds(Settings.load(), "green")[1]
