"""Old runs go from the history, and everything is told of each month as before."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import dagster as dg
import pytest
import yaml
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.storage.tags import BACKFILL_ID_TAG, PARENT_RUN_ID_TAG, PARTITION_NAME_TAG, ROOT_RUN_ID_TAG

from taxi_assets.graph import TRIP_ASSETS, asset_key, job_name
from taxi_assets.instance.downloads import remembered
from taxi_assets.instance.opening import open_instance
from taxi_assets.instance.partition_status import observed_versions, read_history, report_wiped
from taxi_assets.instance.retention import remove_old_runs
from taxi_assets.news import PartitionStatus
from taxi_assets.operations.plan import Which, plan_backfill
from taxi_assets.operations.runs import ORIGIN
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.installation import ObservingInstallation, web_path
from taxi_assets_tests.web_server import Reply, WebServer

COLOR = "green"

TWICE, IN_PARTS, NEVER, WIPED = MONTHS = [TripMonth(COLOR, f"2021-0{month}") for month in range(1, 5)]


@pytest.fixture
def installation(home: Path, web_source: WebServer) -> Iterator[ObservingInstallation]:
    """An installation where nothing has run."""
    assert home.exists()
    with closing(ObservingInstallation(web_source)) as made:
        yield made


@pytest.fixture
def deployment(home: Path, postgres_url: str, web_source: WebServer) -> Iterator[ObservingInstallation]:
    """One with its history in Postgres, as a deployment has it."""
    storage = {"storage": {"postgres": {"postgres_url": postgres_url}}, "telemetry": {"enabled": False}}
    (home / "dagster" / "dagster.yaml").write_text(yaml.safe_dump(storage))
    with closing(ObservingInstallation(web_source)) as made:
        yield made


def _ran(installation: ObservingInstallation, month: TripMonth, *assets: str) -> str:
    """Run assets of a month, however that ends; the run's id."""
    return installation.run(month, *assets)[-1].run_id


def _observed(installation: ObservingInstallation) -> str:
    """Observe the source; the run's id."""
    installation.observe(COLOR)
    return installation.instance.get_runs(limit=1)[0].run_id


def _told(installation: ObservingInstallation) -> list[object]:
    """All that `taxi status`, `taxi backfill`, the assets and Dagster's UI tell of the months."""
    instance, settings = installation.instance, installation.settings
    return [
        read_history(instance, settings),
        [plan_backfill(settings, instance, MONTHS, TRIP_ASSETS, which) for which in Which],
        [remembered(instance, month) for month in MONTHS],
        observed_versions(instance, COLOR),
        [installation.stale(month) for month in MONTHS],
        [_unfinished(instance, name) for name in TRIP_ASSETS],
    ]


def _unfinished(instance: dg.DagsterInstance, name: str) -> object:
    """The partitions of an asset whose newest run did not come so far, as the UI shows them."""
    return instance.event_log_storage.get_latest_asset_partition_materialization_attempts_without_materializations(
        asset_key(COLOR, name)
    )


@pytest.mark.parametrize("nothing", [Reply(b"<html>no trips here</html>"), Reply(status=404)], ids=["page", "absent"])
def test_months_are_told_as_before(nothing: Reply, installation: ObservingInstallation) -> None:
    """Runs go that others took the place of, with their events; nothing that is told of any month changes."""
    for month in (TWICE, IN_PARTS, WIPED):
        installation.publish(month, ETag='"v1"')
    replaced = [_ran(installation, TWICE, "raw_trips", "clean_trips")]
    _ran(installation, TWICE)
    for name in ("raw_trips", "clean_trips"):
        _ran(installation, IN_PARTS, name)
    # Of those that load nothing, the second asked for more than the newest: Dagster's UI knows of the rest by that.
    for month in (IN_PARTS, NEVER):
        installation.web.replies[web_path(month)] = [nothing]
        replaced.append(_ran(installation, month, "raw_trips", "clean_trips"))
        _ran(installation, month, "raw_trips", "clean_trips")
        _ran(installation, month, "raw_trips")
    report_wiped(installation.instance, WIPED, "raw_trips", _ran(installation, WIPED, "raw_trips"))
    replaced.append(_observed(installation))
    again = installation.publish(TWICE, seed=2, ETag='"v2"')
    _observed(installation)
    # What was seen last of a month is older than what was seen last of the source.
    installation.web.replies[web_path(TWICE)] = [Reply(status=404)]
    _observed(installation)
    _remove(installation, replaced)
    installation.web.replies[web_path(TWICE)] = [again]
    assert (installation.standing(TWICE), installation.stale(TWICE)) == (PartitionStatus.stale, ["raw_trips"])
    _ran(installation, TWICE, "raw_trips")
    assert installation.stale(TWICE) == ["clean_trips"]


def test_months_of_a_deployment_are_told_as_before(deployment: ObservingInstallation) -> None:
    """The same holds where the history is in Postgres."""
    deployment.publish(TWICE, ETag='"v1"')
    replaced = [_ran(deployment, TWICE, "raw_trips"), _observed(deployment)]
    _ran(deployment, TWICE, "raw_trips")
    deployment.publish(TWICE, seed=2, ETag='"v2"')
    _observed(deployment)
    _remove(deployment, replaced)


def _remove(installation: ObservingInstallation, replaced: list[str]) -> None:
    """Remove all runs that may go: it must be these, with their events, and change nothing that is told."""
    instance = installation.instance
    told, runs = _told(installation), {run.run_id for run in instance.get_runs()}
    assert remove_old_runs(instance, datetime.now(UTC)) == len(replaced)
    assert runs - {run.run_id for run in instance.get_runs()} == set(replaced)
    assert [instance.all_logs(run_id) for run_id in replaced] == [[]] * len(replaced)
    assert _told(installation) == told


@pytest.fixture
def instance(tmp_path: Path, empty_history: Path) -> Iterator[dg.DagsterInstance]:
    """A fresh instance."""
    shutil.copytree(empty_history, tmp_path / "dagster")
    with open_instance(tmp_path) as opened:
        yield opened


def _run(
    instance: dg.DagsterInstance,
    days_ago: float,
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.SUCCESS,
    tags: Mapping[str, str] = MappingProxyType({}),
    job: str = job_name(COLOR),
) -> str:
    """A run of no month that ended, if it did, so many days ago, a day after it was made; its id."""
    run_id = instance.create_run_for_job(
        dg.GraphDefinition(job).to_job(),
        status=status,
        tags=tags,
        remote_job_origin=ORIGIN.get_job_origin(job),
        parent_run_id=tags.get(PARENT_RUN_ID_TAG),
        root_run_id=tags.get(ROOT_RUN_ID_TAG),
    ).run_id
    ended = datetime.now(UTC) - timedelta(days=days_ago)
    _write(instance, run_id, {"create_timestamp": ended - timedelta(days=1), "end_time": ended.timestamp()})
    return run_id


def _write(instance: dg.DagsterInstance, run_id: str, values: dict[str, object]) -> None:
    assert isinstance(instance.run_storage, SqlRunStorage)
    with instance.run_storage.connect() as connection:
        connection.execute(RunsTable.update().where(RunsTable.c.run_id == run_id).values(values))


def _left(instance: dg.DagsterInstance) -> set[str]:
    """The runs that are left when those that ended a year ago were removed."""
    remove_old_runs(instance, datetime.now(UTC) - timedelta(days=365))
    return {run.run_id for run in instance.get_runs()}


def test_runs_go_by_when_they_ended(instance: dg.DagsterInstance) -> None:
    """Of runs that ended around the time it is those before that go, however they ended."""
    for status in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED):
        _run(instance, 365.1, status)
    stay = _run(instance, 364.9)
    assert _left(instance) == {stay}


def test_the_newest_run_of_a_month_stays(instance: dg.DagsterInstance) -> None:
    """However old it is, a month stands as its newest run ended, also where that came to no asset."""
    _, newest = (_run(instance, days, tags={PARTITION_NAME_TAG: "2021-01"}) for days in (401, 400))
    assert _left(instance) == {newest}


def test_runs_of_other_projects_stay(instance: dg.DagsterInstance) -> None:
    """What another project keeps in the same instance is its own business."""
    other = _run(instance, 400, job="another")
    _run(instance, 400)
    assert remove_old_runs(instance, datetime.now(UTC) - timedelta(days=365)) == 1
    assert _left(instance) == {other}


def test_a_run_that_never_started_goes_too(instance: dg.DagsterInstance) -> None:
    """A run that tells no end is as old as what was last written of it."""
    for days_ago in (365.1, 364.9):
        written = datetime.now(UTC) - timedelta(days=days_ago)
        run_id = _run(instance, days_ago, dg.DagsterRunStatus.CANCELED)
        _write(instance, run_id, {"end_time": None, "update_timestamp": written})
    assert len(_left(instance)) == 1


def test_what_is_under_way_stays(instance: dg.DagsterInstance) -> None:
    """A run that has waited or run for a year is not removed."""
    stay = {_run(instance, 400, dg.DagsterRunStatus.QUEUED), _run(instance, 400, dg.DagsterRunStatus.STARTED)}
    assert _left(instance) == stay


def test_a_run_that_is_run_again_has_its_first(instance: dg.DagsterInstance) -> None:
    """The first of the runs that a young one was run as stays, so that Dagster finds the young one's group."""
    first = _run(instance, 400, dg.DagsterRunStatus.FAILURE)
    second = _run(instance, 399, dg.DagsterRunStatus.FAILURE, _again(first, first))
    third = _run(instance, 1, dg.DagsterRunStatus.FAILURE, _again(second, first))
    assert _left(instance) == {first, third}
    group = instance.get_run_group(third)
    assert group
    assert {run.run_id for run in group[1]} == {first, third}


def _again(parent: str, root: str) -> dict[str, str]:
    """The tags of a run that is run again."""
    return {PARENT_RUN_ID_TAG: parent, ROOT_RUN_ID_TAG: root}


@pytest.mark.parametrize("status", [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING])
def test_runs_of_a_backfill_under_way_stay(status: BulkActionStatus, instance: dg.DagsterInstance) -> None:
    """By its runs a backfill knows what it still is to ask for: they go when it is over."""
    run = _run(instance, 400, tags={BACKFILL_ID_TAG: "fill"})
    _backfill(instance, status)
    assert _left(instance) == {run}
    backfill = instance.get_backfill("fill")
    assert backfill
    instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED))  # type: ignore[no-untyped-call]
    assert _left(instance) == set()


def test_a_backfill_is_over_with_its_last_run(instance: dg.DagsterInstance) -> None:
    """A backfill that Dagster calls complete keeps its runs while one of them waits."""
    done = _run(instance, 400, tags={BACKFILL_ID_TAG: "fill"})
    waiting = _run(instance, 400, dg.DagsterRunStatus.QUEUED, {BACKFILL_ID_TAG: "fill"})
    _backfill(instance, BulkActionStatus.COMPLETED)
    assert _left(instance) == {done, waiting}


def _backfill(instance: dg.DagsterInstance, status: BulkActionStatus) -> None:
    """A backfill `fill` with this status."""
    instance.add_backfill(
        PartitionBackfill("fill", status, from_failure=False, tags={}, backfill_timestamp=0.0, partition_names=[])
    )
