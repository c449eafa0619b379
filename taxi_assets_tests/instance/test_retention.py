"""Tests of the retention of runs: old runs are deleted, and the status of each month stays the same."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import dagster as dg
import pytest
import yaml

from taxi_assets.graph import TRIP_ASSETS, job_name
from taxi_assets.instance._dagster import (
    BACKFILL_ID_TAG,
    PARTITION_NAME_TAG,
    BulkActionStatus,
    PartitionBackfill,
    SqlRunStorage,
)
from taxi_assets.instance.downloads import last_fetch
from taxi_assets.instance.opening import open_instance
from taxi_assets.instance.partition_status import PartitionStatus, observed_versions, read_history, report_wiped
from taxi_assets.instance.retention import remove_old_runs
from taxi_assets.keys import asset_key
from taxi_assets.operations.plan import Which, plan_backfill
from taxi_assets.operations.runs import ORIGIN
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.dagster_internals import PARENT_RUN_ID_TAG, ROOT_RUN_ID_TAG, RunsTable
from taxi_assets_tests.defs.installation import ObservingInstallation, web_path
from taxi_assets_tests.web_server import Reply, WebServer

COLOR = "green"

LOADED_TWICE, PARTIAL, UNPUBLISHED, WIPED = MONTHS = [TripMonth(COLOR, f"2021-0{month}") for month in range(1, 5)]


@pytest.fixture
def installation(home: Path, web_source: WebServer) -> Iterator[ObservingInstallation]:
    """Create an installation without runs."""
    assert home.exists()
    with closing(ObservingInstallation(web_source)) as created:
        yield created


@pytest.fixture
def deployment(home: Path, postgres_url: str, web_source: WebServer) -> Iterator[ObservingInstallation]:
    """Create an installation with its history in Postgres, as in a deployment."""
    storage = {"storage": {"postgres": {"postgres_url": postgres_url}}, "telemetry": {"enabled": False}}
    (home / "dagster" / "dagster.yaml").write_text(yaml.safe_dump(storage))
    with closing(ObservingInstallation(web_source)) as created:
        yield created


def _run_assets(installation: ObservingInstallation, month: TripMonth, *assets: str) -> str:
    """Run assets of a month. Return the run ID, also if the run fails."""
    return installation.run(month, *assets)[-1].run_id


def _observe(installation: ObservingInstallation) -> str:
    """Observe the source. Return the run ID."""
    installation.observe(COLOR)
    return installation.instance.get_runs(limit=1)[0].run_id


def _displayed(installation: ObservingInstallation) -> list[object]:
    """Return what `taxi status`, `taxi backfill`, the assets and Dagster's UI display about the months."""
    instance, settings = installation.instance, installation.settings
    return [
        read_history(instance, settings),
        [plan_backfill(settings, instance, MONTHS, TRIP_ASSETS, which) for which in Which],
        [last_fetch(instance, month) for month in MONTHS],
        observed_versions(instance, COLOR),
        [installation.stale(month) for month in MONTHS],
        [_unfinished(instance, name) for name in TRIP_ASSETS],
    ]


def _unfinished(instance: dg.DagsterInstance, name: str) -> object:
    """Return the partitions of an asset that the UI shows as failed or in progress."""
    return instance.event_log_storage.get_latest_asset_partition_materialization_attempts_without_materializations(
        asset_key(COLOR, name)
    )


@pytest.mark.parametrize(
    "reply", [Reply(b"<html>no trips here</html>"), Reply(status=404)], ids=["a web page", "not found"]
)
def test_deleting_runs_changes_no_status(reply: Reply, installation: ObservingInstallation) -> None:
    """Runs that were superseded are deleted with their events. The status of each month stays the same."""
    for month in (LOADED_TWICE, PARTIAL, WIPED):
        installation.publish(month, ETag='"v1"')
    replaced = [_run_assets(installation, LOADED_TWICE, "raw_trips", "clean_trips")]
    _run_assets(installation, LOADED_TWICE)
    for name in ("raw_trips", "clean_trips"):
        _run_assets(installation, PARTIAL, name)
    # The UI needs the second of the runs without materializations, because the newest run planned fewer assets.
    for month in (PARTIAL, UNPUBLISHED):
        installation.web.replies[web_path(month)] = [reply]
        replaced.append(_run_assets(installation, month, "raw_trips", "clean_trips"))
        _run_assets(installation, month, "raw_trips", "clean_trips")
        _run_assets(installation, month, "raw_trips")
    report_wiped(installation.instance, WIPED, "raw_trips", _run_assets(installation, WIPED, "raw_trips"))
    replaced.append(_observe(installation))
    second = installation.publish(LOADED_TWICE, seed=2, ETag='"v2"')
    _observe(installation)
    # The newest observation of the month is older than the newest observation of the source.
    installation.web.replies[web_path(LOADED_TWICE)] = [Reply(status=404)]
    _observe(installation)
    _remove(installation, replaced)
    installation.web.replies[web_path(LOADED_TWICE)] = [second]
    assert (installation.status(LOADED_TWICE), installation.stale(LOADED_TWICE)) == (
        PartitionStatus.stale,
        ["raw_trips"],
    )
    _run_assets(installation, LOADED_TWICE, "raw_trips")
    assert installation.stale(LOADED_TWICE) == ["clean_trips"]


def test_deleting_runs_of_a_deployment_changes_no_status(deployment: ObservingInstallation) -> None:
    """The same is true if the history is in Postgres."""
    deployment.publish(LOADED_TWICE, ETag='"v1"')
    replaced = [_run_assets(deployment, LOADED_TWICE, "raw_trips"), _observe(deployment)]
    _run_assets(deployment, LOADED_TWICE, "raw_trips")
    deployment.publish(LOADED_TWICE, seed=2, ETag='"v2"')
    _observe(deployment)
    _remove(deployment, replaced)


def _remove(installation: ObservingInstallation, replaced: list[str]) -> None:
    """Delete old runs. Raises AssertionError if other runs are deleted than these, or if a status changes."""
    instance = installation.instance
    displayed, runs = _displayed(installation), {run.run_id for run in instance.get_runs()}
    assert remove_old_runs(instance, datetime.now(UTC)) == len(replaced)
    assert runs - {run.run_id for run in instance.get_runs()} == set(replaced)
    assert [instance.all_logs(run_id) for run_id in replaced] == [[]] * len(replaced)
    assert _displayed(installation) == displayed


@pytest.fixture
def instance(tmp_path: Path, empty_history: Path) -> Iterator[dg.DagsterInstance]:
    """Open an instance without history."""
    shutil.copytree(empty_history, tmp_path / "dagster")
    with open_instance(tmp_path) as opened:
        yield opened


def _create_run(
    instance: dg.DagsterInstance,
    days_ago: float,
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.SUCCESS,
    tags: Mapping[str, str] = MappingProxyType({}),
    job: str = job_name(COLOR),
) -> str:
    """Create a run without a month that ended some days ago and was created a day earlier. Return its ID."""
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


def _remaining(instance: dg.DagsterInstance) -> set[str]:
    """Delete the runs that ended more than a year ago. Return the IDs of the remaining runs."""
    remove_old_runs(instance, datetime.now(UTC) - timedelta(days=365))
    return {run.run_id for run in instance.get_runs()}


def test_runs_are_deleted_by_their_end(instance: dg.DagsterInstance) -> None:
    """Runs that ended before the time are deleted, whatever their status. Later ones are kept."""
    for status in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED):
        _create_run(instance, 365.1, status)
    kept = _create_run(instance, 364.9)
    assert _remaining(instance) == {kept}


def test_the_newest_run_of_a_month_is_kept(instance: dg.DagsterInstance) -> None:
    """The newest run of a month is kept regardless of its age, also without materializations."""
    _, newest = (_create_run(instance, days, tags={PARTITION_NAME_TAG: "2021-01"}) for days in (401, 400))
    assert _remaining(instance) == {newest}


def test_runs_of_other_projects_are_kept(instance: dg.DagsterInstance) -> None:
    """Old runs of other projects in the same instance are not deleted."""
    other = _create_run(instance, 400, job="another")
    _create_run(instance, 400)
    assert remove_old_runs(instance, datetime.now(UTC) - timedelta(days=365)) == 1
    assert _remaining(instance) == {other}


def test_a_run_that_never_started_is_deleted(instance: dg.DagsterInstance) -> None:
    """The age of a finished run without an end time depends on its last update."""
    for days_ago in (365.1, 364.9):
        updated = datetime.now(UTC) - timedelta(days=days_ago)
        run_id = _create_run(instance, days_ago, dg.DagsterRunStatus.CANCELED)
        _write(instance, run_id, {"end_time": None, "update_timestamp": updated})
    assert len(_remaining(instance)) == 1


def test_runs_in_progress_are_kept(instance: dg.DagsterInstance) -> None:
    """A run that has been queued or active for more than a year is not deleted."""
    kept = {
        _create_run(instance, 400, dg.DagsterRunStatus.QUEUED),
        _create_run(instance, 400, dg.DagsterRunStatus.STARTED),
    }
    assert _remaining(instance) == kept


def test_the_root_run_of_a_kept_run_is_kept(instance: dg.DagsterInstance) -> None:
    """The root run of a recent retry is kept, so that Dagster finds the group of the retry."""
    first = _create_run(instance, 400, dg.DagsterRunStatus.FAILURE)
    second = _create_run(instance, 399, dg.DagsterRunStatus.FAILURE, _retry_tags(first, first))
    third = _create_run(instance, 1, dg.DagsterRunStatus.FAILURE, _retry_tags(second, first))
    assert _remaining(instance) == {first, third}
    group = instance.get_run_group(third)
    assert group
    assert {run.run_id for run in group[1]} == {first, third}


def _retry_tags(parent: str, root: str) -> dict[str, str]:
    """Return the tags of a retry."""
    return {PARENT_RUN_ID_TAG: parent, ROOT_RUN_ID_TAG: root}


@pytest.mark.parametrize("status", [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING])
def test_runs_of_an_unfinished_backfill_are_kept(status: BulkActionStatus, instance: dg.DagsterInstance) -> None:
    """The runs of a backfill, which show what it has requested, are kept until it is finished."""
    run = _create_run(instance, 400, tags={BACKFILL_ID_TAG: "fill"})
    _backfill(instance, status)
    assert _remaining(instance) == {run}
    backfill = instance.get_backfill("fill")
    assert backfill
    instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED))  # type: ignore[no-untyped-call]
    assert _remaining(instance) == set()


def test_runs_of_a_backfill_with_a_queued_run_are_kept(instance: dg.DagsterInstance) -> None:
    """The runs of a completed backfill are kept while one of them is queued."""
    done = _create_run(instance, 400, tags={BACKFILL_ID_TAG: "fill"})
    queued = _create_run(instance, 400, dg.DagsterRunStatus.QUEUED, {BACKFILL_ID_TAG: "fill"})
    _backfill(instance, BulkActionStatus.COMPLETED)
    assert _remaining(instance) == {done, queued}


def _backfill(instance: dg.DagsterInstance, status: BulkActionStatus) -> None:
    """Create a backfill `fill` with this status."""
    instance.add_backfill(
        PartitionBackfill("fill", status, from_failure=False, tags={}, backfill_timestamp=0.0, partition_names=[])
    )
