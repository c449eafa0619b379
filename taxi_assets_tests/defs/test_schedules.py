"""A tick asks for the months that are published and not loaded, or published again since; else it says why not."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id

from taxi_assets.defs.build import build_definitions
from taxi_assets.defs.instance import process_tags
from taxi_assets.defs.jobs import LOAD_TRIPS, STATIONS
from taxi_assets.defs.runs import ORIGIN
from taxi_assets.errors import SettingsError, StoreError
from taxi_assets.news import News
from taxi_assets.settings import Settings
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests.defs.installation import WebInstallation, web_path
from taxi_assets_tests.web_server import Reply, WebServer

# Dagster's own tags of a partition.
pytestmark = pytest.mark.filterwarnings("ignore:Non-compliant tag keys like .'dagster/partition/:DeprecationWarning")

TICK = datetime(2021, 8, 1, 5, tzinfo=ZoneInfo("America/New_York"))
MARCH, APRIL = TripMonth("green", "2021-03"), TripMonth("green", "2021-04")


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
    """A tick that finds nothing says which months it asked for, whom, and what that said; each was asked for once."""
    assert installation.tick() == []
    assert "2021-02..2021-07 not published" in installation.skipped
    assert installation.web.url in installation.skipped
    assert len(installation.web.seen) == 6


def test_what_is_published_and_not_loaded_is_asked_for(installation: Scheduled) -> None:
    """Exactly those months are asked for, each with its partition, its version and its tags, until they are loaded."""
    installation.publish(MARCH, ETag='"v1"')
    installation.publish(APRIL, ETag='"v1"')
    installation.publish(TripMonth("yellow", "2021-05"))
    first, second = installation.tick()
    assert (first.partition_key, first.run_key) == ("green|2021-03", 'green|2021-03 "v1"')
    assert (
        first.tags.items()
        >= {
            "taxi/color": "green",
            "taxi/month": "2021-03",
            "taxi/asked_by": "schedule",
            "dagster/partition": "green|2021-03",
        }.items()
    )
    assert second.partition_key == "green|2021-04"
    installation.load(MARCH)
    assert installation.asked() == ["green|2021-04"]
    installation.load(APRIL)
    assert installation.asked() == []
    assert "2021-03..2021-04 loaded, and not published again" in installation.skipped
    assert "2021-02,2021-05..2021-07 not published" in installation.skipped


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
    """A loaded month is asked for once its ETag, or where there is none its size or date, is another one."""
    installation.publish(MARCH, 1, **before)
    (first,) = installation.tick()
    installation.load(MARCH)
    assert installation.asked() == []
    installation.publish(MARCH, seed, **after)
    (again,) = installation.tick()
    assert again.partition_key == "green|2021-03"
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
    """A month whose newest run failed is asked for again, though it was loaded, and the source has the same version."""
    installation.publish(MARCH, ETag='"v1"')
    installation.load(MARCH)
    assert installation.asked() == []
    for clean in installation.settings.home.glob("clean/green/*"):
        clean.unlink()
    assert installation.run(MARCH, "lake_trips")[-1].what is News.failed
    assert installation.asked() == ["green|2021-03"]


def test_a_month_that_is_stale_or_in_part_is_asked_for(installation: Scheduled) -> None:
    """Only a month that all stations have of one version is loaded."""
    installation.publish(MARCH, ETag='"v1"')
    for stations, asked in (
        (STATIONS[:1], ["green|2021-03"]),
        (STATIONS[1:], []),
        (STATIONS[:1], ["green|2021-03"]),
    ):
        installation.run(MARCH, *stations)
        assert installation.asked() == asked


def test_what_is_under_way_is_not_asked_for(installation: Scheduled) -> None:
    """A month whose run is under way is left alone; a run whose process is gone is not under way."""
    installation.publish(MARCH)
    job = installation.definitions.resolve_job_def(LOAD_TRIPS)
    of_march = job.get_tags_for_partition_key("green|2021-03", selected_asset_keys=None)

    def start(**tags: str) -> str:
        run_id = make_new_run_id()
        installation.instance.create_run_for_job(
            job,
            run_id=run_id,
            status=dg.DagsterRunStatus.STARTED,
            tags={**of_march, **process_tags(run_id), **tags},
            remote_job_origin=ORIGIN.get_job_origin(LOAD_TRIPS),
        )
        return run_id

    run_id = start()
    assert installation.asked() == []
    assert "2021-03 running already" in installation.skipped
    installation.instance.delete_run(run_id)
    start(**{"taxi/process_started": "1.00"})
    assert installation.asked() == ["green|2021-03"]


def test_a_source_that_cannot_be_asked_fails_the_tick(installation: Scheduled) -> None:
    """A tick fails in the source's words, after as many tries as can help."""
    installation.publish(MARCH)
    good = installation.web.replies[web_path(MARCH)]
    installation.web.replies[web_path(MARCH)] = [Reply(status=503), *good]
    assert installation.asked() == ["green|2021-03"]
    installation.web.replies[web_path(MARCH)] = [Reply(status=403)]
    with pytest.raises(dg.DagsterUserCodeExecutionError) as caught:
        installation.tick()
    assert isinstance(caught.value.user_exception, StoreError)
    assert f"{web_path(MARCH)} answered 403" in str(caught.value.user_exception)


def test_a_page_in_a_months_place_is_no_month(installation: Scheduled) -> None:
    """A server that answers with a page is not taken at its word, and the other months are asked for."""
    installation.publish(APRIL)
    installation.web.replies[web_path(MARCH)] = [Reply(b"<!DOCTYPE html><title>Log in</title>")]
    assert installation.asked() == ["green|2021-04"]
    del installation.web.replies[web_path(APRIL)]
    assert installation.asked() == []
    assert "is an HTML page" in installation.skipped


@pytest.mark.usefixtures("installation")
def test_a_tick_looks_as_far_back_as_is_set(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last whole month is that of New York, and no month before the first partition is asked for."""
    monkeypatch.setenv("TAXI_LOOKBACK_MONTHS", "3")
    monkeypatch.setenv("TAXI_FIRST_MONTH", "2021-05")
    with closing(Scheduled(web)) as made:
        made.tick(at=datetime(2021, 8, 1, 3, tzinfo=UTC))
        assert "2021-05..2021-06 not published" in made.skipped
        made.tick(at=datetime(2021, 5, 1, 5, tzinfo=UTC))
        assert "TAXI_FIRST_MONTH" in made.skipped


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
        assert schedule.job_name == LOAD_TRIPS


def test_a_time_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cron line that cannot be read is a wrong setting, and is named."""
    monkeypatch.setenv("TAXI_SCHEDULE_CRON", "at five")
    with pytest.raises(SettingsError, match="TAXI_SCHEDULE_CRON=at five is no time"):
        build_definitions(Settings.load())
