"""A tick requests runs of months that are published and not loaded, or published again; else it has a skip reason."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id

from taxi_assets.defs.build import build_definitions
from taxi_assets.defs.checks import NEWEST_MONTH_LOADED
from taxi_assets.errors import SettingsError, StoreError
from taxi_assets.graph import TRIP_ASSETS, asset_key, job_name
from taxi_assets.instance.partition_status import report_wiped
from taxi_assets.instance.processes import PROCESS_TAG, process_tags
from taxi_assets.news import Progress
from taxi_assets.operations.runs import ORIGIN
from taxi_assets.partitions import bounds
from taxi_assets.settings import Settings
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests.defs.installation import WebInstallation, web_path
from taxi_assets_tests.web_server import Reply, WebServer

TICK = datetime(2021, 8, 1, 5, tzinfo=ZoneInfo("America/New_York"))
MARCH, APRIL = TripMonth("green", "2021-03"), TripMonth("green", "2021-04")

WARN = dg.AssetCheckSeverity.WARN
NONE_PUBLISHED = (True, "none of the recent months", WARN)


class Scheduled(WebInstallation):
    """An installation, and what its schedules ask for."""

    def tick(self, color: str = "green", at: datetime = TICK) -> list[dg.RunRequest]:
        """The runs that a schedule asks for; where it asks for none, `skipped` is its reason."""
        repository = self.definitions.get_repository_def()
        with dg.build_schedule_context(
            self.instance,
            scheduled_execution_time=at,
            repository_def=repository,
            resources=repository.get_top_level_resources(),
        ) as context:
            evaluated = repository.get_schedule_def(f"load_{color}").evaluate_tick(context)
        self.skipped = evaluated.skip_message or ""
        return list(evaluated.run_requests or [])

    def newest(self, color: str = "green") -> tuple[bool, object, dg.AssetCheckSeverity] | None:
        """The newest evaluation of `newest_month_loaded`: whether it passed, the month, its severity; None for none."""
        key = dg.AssetCheckKey(asset_key(color, "warehouse_trips"), NEWEST_MONTH_LOADED)
        records = self.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
        found = records[0].evaluation if records else None
        if found is None:
            return None
        assert found.partition is None
        month = found.metadata.get("newest_published_month")
        return found.passed, month and month.value, found.severity

    def evaluate(self, color: str = "green") -> bool:
        """Evaluate `newest_month_loaded` on demand, as the UI does; whether that run succeeded."""
        key = dg.AssetCheckKey(asset_key(color, "warehouse_trips"), NEWEST_MONTH_LOADED)
        job = self.definitions.resolve_implicit_global_asset_job_def()
        subset = job.get_subset(asset_selection=set(), asset_check_selection={key})
        return subset.execute_in_process(instance=self.instance, raise_on_error=False).success

    def asked(self) -> list[str]:
        """The partitions of the runs that a tick asks for."""
        return [str(request.partition_key) for request in self.tick()]


@pytest.fixture
def installation(web_source: WebServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scheduled]:
    """An installation with nothing loaded, whose source has nothing."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    with closing(Scheduled(web_source)) as made:
        yield made


def test_what_is_not_published_is_not_asked_for(installation: Scheduled) -> None:
    """The skip reason names the months and the source that was asked. Each month is looked up once."""
    assert installation.tick() == []
    assert "2021-01..2021-06 not published" in installation.skipped
    assert installation.web.url in installation.skipped
    assert len(installation.web.seen) == 6


def test_what_is_published_and_not_loaded_is_asked_for(installation: Scheduled) -> None:
    """Runs of exactly those months are requested, with partition, run key and tags, until they are loaded."""
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
    assert installation.asked() == ["2021-04"]
    installation.load(APRIL)
    assert installation.asked() == []
    assert "2021-03..2021-04 loaded, and not published again" in installation.skipped
    assert "2021-01..2021-02,2021-05..2021-06 not published" in installation.skipped


@pytest.mark.parametrize(
    ("before", "after", "seed"),
    [
        ({"ETag": '"v1"'}, {"ETag": '"v2"'}, 1),
        ({"Last-Modified": "Fri, 20 May 2022 10:00:00 GMT"}, {"Last-Modified": "Sat, 21 May 2022 10:00:00 GMT"}, 1),
        ({}, {}, 2),
    ],
    ids=["ETag", "date", "size"],
)
def test_what_was_published_again_is_asked_for_again(
    before: dict[str, str], after: dict[str, str], seed: int, installation: Scheduled
) -> None:
    """A loaded month is requested again once its ETag changes, or its size or date where there is no ETag."""
    installation.publish(MARCH, 1, **before)
    (first,) = installation.tick()
    installation.load(MARCH)
    assert installation.asked() == []
    installation.publish(MARCH, seed, **after)
    (again,) = installation.tick()
    assert again.partition_key == "2021-03"
    assert again.run_key != first.run_key
    installation.load(MARCH)
    assert installation.asked() == []


def test_a_weak_etag_is_no_other_version(installation: Scheduled) -> None:
    """The same ETag comes weak where a proxy is in between."""
    installation.publish(MARCH, ETag='"v1"')
    installation.load(MARCH)
    installation.publish(MARCH, ETag='W/"v1"')
    assert installation.asked() == []


def test_a_failed_month_is_asked_for_at_the_next_tick(installation: Scheduled) -> None:
    """A month whose newest run failed is requested again, even if it was loaded and the source has not changed."""
    installation.publish(MARCH, ETag='"v1"')
    installation.load(MARCH)
    assert installation.asked() == []
    for clean in installation.settings.home.glob("clean/green/*"):
        clean.unlink()
    assert installation.run(MARCH, "lake_trips")[-1].what is Progress.failed
    assert installation.asked() == ["2021-03"]


def test_a_stale_or_partial_month_is_asked_for(installation: Scheduled) -> None:
    """Only a month that all assets have in one version is loaded."""
    installation.publish(MARCH, ETag='"v1"')
    installation.run(MARCH, "raw_trips")
    assert installation.asked() == ["2021-03"]
    installation.run(MARCH, *TRIP_ASSETS[1:])
    assert installation.asked() == []
    installation.run(MARCH, "raw_trips")
    assert installation.asked() == [], "the source gave the same version"
    installation.publish(MARCH, 2, ETag='"v2"')
    installation.run(MARCH, "raw_trips")
    assert installation.asked() == ["2021-03"]
    assert installation.tick()[0].run_key == 'green 2021-03 "v2"'


def test_a_month_that_a_run_did_not_find_is_asked_for_once_it_is_published(installation: Scheduled) -> None:
    """A run of a month that was not published leaves it as it was: neither failed, nor loaded."""
    assert installation.run(MARCH)[-1].what is Progress.not_published
    assert installation.asked() == []
    assert "2021-01..2021-06 not published" in installation.skipped
    installation.publish(MARCH)
    assert installation.asked() == ["2021-03"]


def test_what_is_under_way_is_not_asked_for(installation: Scheduled) -> None:
    """A month whose run is under way is left alone; a run whose process is gone is not under way."""
    installation.publish(MARCH)
    job = installation.definitions.resolve_job_def(job_name("green"))
    of_march = job.get_tags_for_partition_key("2021-03", selected_asset_keys=None)

    def start() -> str:
        run_id = make_new_run_id()
        installation.instance.create_run_for_job(
            job,
            run_id=run_id,
            status=dg.DagsterRunStatus.STARTED,
            tags={**of_march, **process_tags(run_id)},
            remote_job_origin=ORIGIN.get_job_origin(job.name),
        )
        return run_id

    run_id = start()
    assert installation.asked() == []
    assert "2021-03 running already" in installation.skipped
    installation.instance.delete_run(run_id)
    process = json.loads(process_tags("")[PROCESS_TAG])
    run_id = start()
    installation.instance.add_run_tags(run_id, {PROCESS_TAG: json.dumps({**process, "started": 1.0, "run": run_id})})
    assert installation.asked() == ["2021-03"]


def test_a_source_that_cannot_be_asked_fails_the_tick(installation: Scheduled) -> None:
    """A tick fails in the source's words, after as many tries as can help."""
    installation.publish(MARCH)
    good = installation.web.replies[web_path(MARCH)]
    installation.web.replies[web_path(MARCH)] = [Reply(status=503), *good]
    assert installation.asked() == ["2021-03"]
    installation.web.replies[web_path(MARCH)] = [Reply(status=403)]
    with pytest.raises(dg.DagsterUserCodeExecutionError) as caught:
        installation.tick()
    assert isinstance(caught.value.user_exception, StoreError)
    assert f"{web_path(MARCH)} answered 403" in str(caught.value.user_exception)


def test_a_page_in_a_months_place_is_no_month(installation: Scheduled) -> None:
    """A web page in the place of a month is not a published month. Other months are still requested."""
    installation.publish(APRIL)
    installation.web.replies[web_path(MARCH)] = [Reply(b"<!DOCTYPE html><title>Log in</title>")]
    assert installation.asked() == ["2021-04"]
    del installation.web.replies[web_path(APRIL)]
    assert installation.asked() == []
    assert "is an HTML page" in installation.skipped


@pytest.mark.usefixtures("installation")
def test_a_tick_looks_as_far_back_as_is_set(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Months are by New York time, and none before the first partition is looked up."""
    monkeypatch.setenv("TAXI_LOOKBACK_MONTHS", "3")
    monkeypatch.setenv("TAXI_FIRST_MONTH", "2021-05")
    with closing(Scheduled(web)) as made:
        for at, asked in (
            (datetime(2021, 8, 1, 3, tzinfo=UTC), "green: 2021-05 not published"),
            (datetime(2021, 8, 1, 5, tzinfo=UTC), "green: 2021-05..2021-06 not published"),
            (datetime(2021, 12, 1, 5, tzinfo=UTC), "green: 2021-08..2021-10 not published"),
            (datetime(2021, 5, 1, 5, tzinfo=UTC), "TAXI_FIRST_MONTH"),
        ):
            assert made.tick(at=at) == []
            assert asked in made.skipped


@pytest.mark.usefixtures("installation")
@pytest.mark.parametrize("bounds", [{"TAXI_FIRST_MONTH": "2999-01"}, {"TAXI_LAST_MONTH": "2018-12"}])
def test_a_tick_without_partitions_asks_for_nothing(
    bounds: dict[str, str], web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the settings leave no month, a tick names them and does not fail."""
    for name, value in bounds.items():
        monkeypatch.setenv(name, value)
    with closing(Scheduled(web)) as made:
        assert made.tick() == []
        assert "TAXI_FIRST_MONTH" in made.skipped
    assert web.seen == []


@pytest.mark.parametrize(("set_to", "status"), [("", "STOPPED"), ("off", "STOPPED"), ("on", "RUNNING")])
def test_schedules_are_off_unless_they_are_set_on(set_to: str, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each color has a schedule of New York's time, which a setting starts."""
    monkeypatch.setenv("TAXI_SCHEDULES", set_to)
    repository = build_definitions(Settings.load()).get_repository_def()
    schedules = {schedule.name: schedule for schedule in repository.schedule_defs}
    assert set(schedules) == {f"load_{color}" for color in COLORS}
    for schedule in schedules.values():
        assert schedule.cron_schedule == "0 5 1 * *"
        assert schedule.execution_timezone == "America/New_York"
        assert schedule.default_status.value == status
        assert schedule.job_name == schedule.name


def test_a_time_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cron line that cannot be read is a wrong setting, and is named."""
    monkeypatch.setenv("TAXI_SCHEDULE_CRON", "at five")
    with pytest.raises(SettingsError, match="TAXI_SCHEDULE_CRON=at five is no time"):
        build_definitions(Settings.load())


def test_a_tick_checks_that_the_newest_month_is_loaded(installation: Scheduled) -> None:
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
    assert installation.newest() == (True, "2021-04", WARN), "without another tick, which may be a month away"
    installation.tick()
    assert installation.newest() == (True, "2021-04", WARN)
    assert installation.newest("yellow") is None


def test_the_check_ignores_a_month_under_way(installation: Scheduled) -> None:
    """A month whose run is under way may not be published: the check judges the newest other one."""
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
    assert "2021-04 running already" in installation.skipped
    assert installation.newest() == (True, "2021-03", WARN)


def test_the_check_warns_of_a_month_that_was_wiped(installation: Scheduled) -> None:
    """What was removed from the warehouse is not loaded, though it once was."""
    installation.publish(MARCH)
    installation.load(MARCH)
    installation.tick()
    assert installation.newest() == (True, "2021-03", WARN)
    report_wiped(installation.instance, MARCH, "warehouse_trips", "")
    installation.tick()
    assert installation.newest() == (False, "2021-03", WARN)


def test_the_check_can_be_evaluated_on_demand(installation: Scheduled, monkeypatch: pytest.MonkeyPatch) -> None:
    """On demand it asks the source for the recent months of now, newest first, until it finds one."""
    monkeypatch.setenv("TAXI_LAST_MONTH", "2021-04")
    with closing(Scheduled(installation.web)) as made:
        assert made.evaluate()
        assert made.newest() == NONE_PUBLISHED
        made.publish(MARCH)
        made.web.replies[web_path(APRIL)] = [Reply(b"<!DOCTYPE html><title>Log in</title>")]
        made.web.seen.clear()
        assert made.evaluate()
        assert made.newest() == (False, "2021-03", WARN)
        assert len(made.web.seen) == 2
        made.load(MARCH)
        assert made.evaluate()
        assert made.newest() == (True, "2021-03", WARN)


def test_a_source_that_cannot_be_asked_warns(installation: Scheduled) -> None:
    """On demand, a source that cannot be reached is a warning, not a failed run. A load does not end this warning."""
    installation.web.replies[web_path(TripMonth("green", _newest_partition()))] = [Reply(status=403)]
    assert installation.evaluate()
    assert installation.newest() == (False, None, WARN)
    installation.publish(MARCH)
    installation.load(MARCH)
    assert installation.newest() == (False, None, WARN)


def _newest_partition() -> str:
    """The newest partition of a source that goes on."""
    return bounds(Settings.load(), "green")[1]
