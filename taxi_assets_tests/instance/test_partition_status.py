"""Tests of the status of months, which depends on the newest run and the newest materializations of each month."""

import contextlib
import itertools
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import dagster as dg
import pytest

from taxi_assets.defs.build import build_definitions
from taxi_assets.defs.metadata import column_schema
from taxi_assets.graph import SOURCE_TRIPS, TRIP_ASSETS, UPSTREAM, job_name
from taxi_assets.instance._dagster import (
    CODE_VERSION_TAG,
    DATA_VERSION_TAG,
    BulkActionStatus,
    PartitionBackfill,
    RemotePartitionSetOrigin,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
    partition_set_snap_name_for_job_name,
)
from taxi_assets.instance.opening import open_instance
from taxi_assets.instance.partition_status import MonthStatus, PartitionStatus, read_history, report_wiped
from taxi_assets.keys import asset_key
from taxi_assets.operations.runs import ORIGIN
from taxi_assets.partitions import month_partitions
from taxi_assets.settings import Settings
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import TripMonth
from taxi_assets.tlc.versions import CODE_VERSIONS
from taxi_assets_tests.defs.dagster_internals import DagsterApiServer, get_run_crash_explanation

MONTH = TripMonth("green", "2021-01")
SETTINGS = Settings(source_url="https://trips.example.org", first_month="2009-01")
PARTITIONS = month_partitions(SETTINGS, "green")


@pytest.fixture
def instance(tmp_path: Path, empty_history: Path) -> Iterator[dg.DagsterInstance]:
    """Open an instance without history."""
    shutil.copytree(empty_history, tmp_path / "dagster")
    with open_instance(tmp_path) as opened:
        yield opened


def _materialize(
    instance: dg.DagsterInstance, month: TripMonth, *names: str, rows: int = 500, version: str = ""
) -> None:
    """Report materializations with the same tags and metadata as those of real runs.

    The input of each is the newest materialization of its upstream asset. Each has a new version if none is given.
    """
    for name in names:
        upstream = asset_key(month.color, UPSTREAM[name])
        inputs = instance.get_latest_storage_id_by_partition(upstream, dg.DagsterEventType.ASSET_MATERIALIZATION)
        tags = {
            DATA_VERSION_TAG: version or f"{next(_NUMBERS)}",
            CODE_VERSION_TAG: CODE_VERSIONS[name],
            get_input_data_version_tag(upstream): "any",
            get_input_event_pointer_tag(upstream): str(inputs.get(month.month, "NULL")),
        }
        metadata = {
            "seconds": 0.1,
            "dagster/partition_row_count": rows,
            **column_schema(LAYOUTS[month.color].table_columns),
        }
        key = asset_key(month.color, name)
        instance.report_runless_asset_event(
            dg.AssetMaterialization(key, metadata=metadata, partition=month.month, tags=tags)
        )


_NUMBERS = itertools.count()


def _create_run(instance: dg.DagsterInstance, month: TripMonth, status: dg.DagsterRunStatus) -> str:
    """Create a run of the job of a month, with the events that Dagster records for it. Return its ID."""
    job = _job(month.color)
    tags, origin = job.get_tags_for_partition_key(month.month, None), ORIGIN.get_job_origin(job.name)
    return instance.create_run_for_job(job, status=status, tags=dict(tags), remote_job_origin=origin).run_id


@cache
def _job(color: str) -> dg.JobDefinition:
    return build_definitions(SETTINGS).resolve_job_def(job_name(color))


def _history(instance: dg.DagsterInstance) -> MonthStatus:
    """Return the status of the only month with a history."""
    (history,) = read_history(instance, SETTINGS)
    return history


def test_the_newest_row_counts_are_shown(instance: dg.DagsterInstance) -> None:
    """A month that was loaded twice has the row counts of the second load, in pipeline order."""
    _materialize(instance, MONTH, *TRIP_ASSETS, rows=500)
    _materialize(instance, MONTH, *TRIP_ASSETS, rows=700)
    history = _history(instance)
    assert history.status is PartitionStatus.loaded
    assert list(history.rows.items()) == [(name, 700) for name in TRIP_ASSETS]


def test_months_are_sorted(instance: dg.DagsterInstance) -> None:
    """Months are sorted by color, then by month."""
    months = [TripMonth(color, month) for color in ("fhv", "green", "yellow") for month in ("2020-12", "2021-01")]
    for rows, month in enumerate(reversed(months)):
        _materialize(instance, month, "raw_trips", rows=rows)
    histories = read_history(instance, SETTINGS)
    assert [history.month for history in histories] == months
    assert [history.rows["raw_trips"] for history in histories] == [5, 4, 3, 2, 1, 0]


def test_a_reported_materialization_has_no_row_count(instance: dg.DagsterInstance) -> None:
    """A materialization without a row count, such as one reported in the UI, counts as 0 rows."""
    reported = dg.AssetMaterialization(asset_key("green", "raw_trips"), partition=MONTH.month)
    instance.report_runless_asset_event(reported)
    assert _history(instance).rows == {"raw_trips": 0}


@pytest.mark.parametrize("name", ["raw_trips", "clean_trips", "lake_trips"])
def test_a_new_version_of_an_asset_makes_the_month_stale(name: str, instance: dg.DagsterInstance) -> None:
    """A month is stale if an asset has a new version, until its downstream assets are materialized."""
    _materialize(instance, MONTH, *TRIP_ASSETS)
    _materialize(instance, MONTH, name)
    assert _history(instance).status is PartitionStatus.stale
    _materialize(instance, MONTH, *TRIP_ASSETS[TRIP_ASSETS.index(name) + 1 :])
    assert _history(instance).status is PartitionStatus.loaded


@pytest.mark.parametrize("name", TRIP_ASSETS)
def test_a_rerun_with_the_same_version_makes_nothing_stale(name: str, instance: dg.DagsterInstance) -> None:
    """A newer materialization with the same version does not change the status."""
    _materialize(instance, MONTH, *TRIP_ASSETS, version="same")
    _materialize(instance, MONTH, name, version="same")
    assert _history(instance).status is PartitionStatus.loaded


@pytest.mark.parametrize("name", ["warehouse_trips", "postgres_trips"])
def test_a_rerun_of_a_last_asset_makes_nothing_stale(name: str, instance: dg.DagsterInstance) -> None:
    """The warehouse and Postgres have no downstream assets, so a rerun of one does not change the status."""
    _materialize(instance, MONTH, *TRIP_ASSETS)
    _materialize(instance, MONTH, name)
    assert _history(instance).status is PartitionStatus.loaded


def test_a_month_without_some_assets_is_partial(instance: dg.DagsterInstance) -> None:
    """A month that is not materialized in all assets is partial. Its row counts are those of the others."""
    _materialize(instance, MONTH, "raw_trips", "clean_trips")
    history = _history(instance)
    assert history.status is PartitionStatus.partial
    assert list(history.rows) == ["raw_trips", "clean_trips"]


@pytest.mark.parametrize(
    ("run_status", "status"),
    [
        (dg.DagsterRunStatus.QUEUED, PartitionStatus.queued),
        (dg.DagsterRunStatus.STARTED, PartitionStatus.running),
        (dg.DagsterRunStatus.FAILURE, PartitionStatus.failed),
        (dg.DagsterRunStatus.SUCCESS, PartitionStatus.loaded),
        (dg.DagsterRunStatus.CANCELED, PartitionStatus.loaded),
    ],
)
def test_the_newest_run_determines_the_status(
    run_status: dg.DagsterRunStatus, status: PartitionStatus, instance: dg.DagsterInstance
) -> None:
    """The status of a month depends on its newest run, not on earlier ones. The row counts do not change."""
    _materialize(instance, MONTH, *TRIP_ASSETS)
    _create_run(instance, MONTH, dg.DagsterRunStatus.FAILURE)
    newest = _create_run(instance, MONTH, run_status)
    history = _history(instance)
    assert (history.status, history.run_id) == (status, newest)
    assert history.rows["warehouse_trips"] == 500


def test_a_successful_run_without_materializations_is_not_listed(instance: dg.DagsterInstance) -> None:
    """A month that turned out not to be published is not listed, also if an earlier run failed."""
    _create_run(instance, MONTH, dg.DagsterRunStatus.FAILURE)
    assert _history(instance).status is PartitionStatus.failed
    _create_run(instance, MONTH, dg.DagsterRunStatus.SUCCESS)
    assert read_history(instance, SETTINGS) == []


@pytest.mark.parametrize("key", ["2021-1", "green|2021-01", "2021-01-01", "north", "2021-01...2021-03"])
@pytest.mark.parametrize("job", ["another", "load_green"])
def test_invalid_keys_are_ignored(job: str, key: str, instance: dg.DagsterInstance) -> None:
    """Runs, backfills and materializations with keys that are not months are ignored."""
    _materialize(instance, MONTH, *TRIP_ASSETS)
    for asset in (dg.AssetKey("raw_trips"), dg.AssetKey(["purple", "raw_trips"]), asset_key("green", "raw_trips")):
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=key))
    instance.create_run_for_job(dg.GraphDefinition(job).to_job(), tags={"dagster/partition": key})
    _request_backfill(instance, job, key)
    assert _history(instance).status is PartitionStatus.loaded


@pytest.mark.parametrize("job", ["another", "load_trips"])
def test_other_projects_are_ignored(job: str, instance: dg.DagsterInstance) -> None:
    """Runs and assets of other projects, and of an earlier release, are ignored, also with the same partitions."""
    _materialize(instance, MONTH, *TRIP_ASSETS)
    for asset in (dg.AssetKey("raw_trips"), dg.AssetKey(["purple", "raw_trips"]), dg.AssetKey(["green", "figures"])):
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition="2021-02"))
    status = dg.DagsterRunStatus.FAILURE
    instance.create_run_for_job(
        dg.GraphDefinition(job).to_job(), status=status, tags={"dagster/partition": MONTH.month}
    )
    _request_backfill(instance, job, MONTH.month)
    assert _history(instance).status is PartitionStatus.loaded


def test_a_month_requested_by_a_backfill_is_queued(instance: dg.DagsterInstance) -> None:
    """A month is queued if a backfill requests it and has not created its run yet."""
    _request_backfill(instance, "load_green", MONTH.month)
    history = _history(instance)
    assert (history.month, history.status) == (MONTH, PartitionStatus.queued)


def _request_backfill(instance: dg.DagsterInstance, job: str, key: str) -> None:
    """Request a backfill of one partition of a job."""
    of_job = RemotePartitionSetOrigin(
        repository_origin=ORIGIN, partition_set_name=partition_set_snap_name_for_job_name(job)
    )
    instance.add_backfill(
        PartitionBackfill(
            "requested",
            BulkActionStatus.REQUESTED,
            from_failure=False,
            tags={},
            backfill_timestamp=0.0,
            partition_set_origin=of_job,
            partition_names=[key],
        )
    )


def _failing(key: dg.AssetKey, error: type[BaseException], message: str = "") -> dg.AssetsDefinition:
    """Return an asset whose step fails."""

    @dg.asset(key=key, partitions_def=PARTITIONS)
    def fail() -> None:
        raise error(message)

    return fail


def test_runs_of_other_assets_are_ignored(instance: dg.DagsterInstance) -> None:
    """A failed run of another project's asset does not change the status of a month with the same key."""
    _materialize(instance, MONTH, *TRIP_ASSETS)
    for key, status in (
        (dg.AssetKey("raw_trips"), PartitionStatus.loaded),
        (dg.AssetKey(["green", "figures"]), PartitionStatus.loaded),
        (dg.AssetKey(["purple", "lake_trips"]), PartitionStatus.loaded),
        (asset_key("green", "lake_trips"), PartitionStatus.failed),
    ):
        failing = _failing(key, ZeroDivisionError)
        dg.materialize([failing], partition_key=MONTH.month, instance=instance, raise_on_error=False)
        assert _history(instance).status is status


def test_observations_of_the_source_are_ignored(instance: dg.DagsterInstance) -> None:
    """A later observation of the source does not change the status of a month, also if it fails."""
    loaded = TripMonth("green", "2021-02")
    _create_run(instance, MONTH, dg.DagsterRunStatus.FAILURE)
    _materialize(instance, loaded, *TRIP_ASSETS)
    key = asset_key("green", SOURCE_TRIPS)
    job = dg.define_asset_job("observe", [key]).resolve(
        asset_graph=dg.Definitions([_failing(key, ValueError)]).resolve_asset_graph()
    )
    for month, status in ((MONTH, dg.DagsterRunStatus.SUCCESS), (loaded, dg.DagsterRunStatus.FAILURE)):
        tags = {"dagster/partition": month.month}
        instance.create_run_for_job(job, status=status, tags=tags, asset_selection={key})
    statuses = {history.month: history.status for history in read_history(instance, SETTINGS)}
    assert statuses == {MONTH: PartitionStatus.failed, loaded: PartitionStatus.loaded}


@pytest.mark.parametrize(
    "settings",
    [
        Settings(source_url=SETTINGS.source_url, first_month="2021-02"),
        Settings(source_url=SETTINGS.source_url, last_month="2020-12"),
        Settings(source_url=SETTINGS.source_url, first_month="2999-01"),
    ],
)
def test_a_month_outside_the_partitions_is_listed(settings: Settings, instance: dg.DagsterInstance) -> None:
    """A loaded month that the settings now exclude is listed, and marked as not being a partition."""
    _materialize(instance, MONTH, "raw_trips")
    assert _history(instance).is_partition
    (history,) = read_history(instance, settings)
    assert (history.month, history.is_partition) == (MONTH, False)


def test_a_failed_month_has_its_asset_and_error(instance: dg.DagsterInstance) -> None:
    """A failed month has the name of the failed asset, and the error without Dagster's wrapper exceptions."""
    failing = _failing(asset_key("green", "raw_trips"), FileNotFoundError, "no such file")
    job = dg.Definitions([failing], jobs=[dg.define_asset_job("load_green", [failing])]).resolve_job_def("load_green")
    done = job.execute_in_process(instance=instance, partition_key=MONTH.month, raise_on_error=False)
    history = _history(instance)
    assert (history.status, history.run_id) == (PartitionStatus.failed, done.run_id)
    assert (history.failed_at, history.error) == ("raw_trips", "FileNotFoundError: no such file")


def test_a_run_marked_as_failed_has_the_message(instance: dg.DagsterInstance) -> None:
    """The error of a run that was marked as failed is the message of the mark. Its failed asset is not known."""
    run = instance.get_run_by_id(_create_run(instance, MONTH, dg.DagsterRunStatus.STARTED))
    assert run
    instance.report_run_failed(run, "The process that executed this run (7) no longer exists.")
    history = _history(instance)
    assert (history.status, history.failed_at) == (PartitionStatus.failed, "")
    assert history.error == "The process that executed this run (7) no longer exists."


def _fail(instance: dg.DagsterInstance, exit_code: int | None, message: str | None = None) -> str:
    """Mark a run as failed, as Dagster's code server or its daemon does. Return the displayed error."""
    run = instance.get_run_by_id(_create_run(instance, MONTH, dg.DagsterRunStatus.STARTED))
    assert run
    instance.report_engine_event("Executing steps in process (pid: 7)", run)
    if exit_code is not None:
        crash = get_run_crash_explanation(f"Run execution process for {run.run_id}", exit_code)
        instance.report_engine_event(crash, run, cls=DagsterApiServer)
    instance.report_run_failed(run, message)
    return _history(instance).error


@pytest.mark.parametrize(
    ("exit_code", "facts"),
    [
        (-9, ["killed", "signal 9", "memory"]),
        (-11, ["killed", "signal 11"]),
        (3, ["status 3"]),
        (None, ["memory"]),
    ],
)
def test_a_process_that_ended_without_an_error(
    exit_code: int | None, facts: list[str], instance: dg.DagsterInstance
) -> None:
    """The error of a run whose process ended without one is the exit description, with a hint at the likely cause."""
    error = _fail(instance, exit_code)
    assert "process" in error
    assert [fact for fact in ("killed", "signal 9", "signal 11", "status 3", "memory") if fact in error] == facts


def test_a_container_that_was_killed(instance: dg.DagsterInstance) -> None:
    """The error of a run whose container was killed is its exit description, with a hint at the likely cause."""
    state = '{"Status": "exited", "Running": false, "OOMKilled": true, "Pid": 0, "ExitCode": 137, "Error": ""}'
    message = (
        f"Detected run worker status FAILED: 'Container status is exited. Container state: {state}'. Marking run 7 as "
        "failed."
    )
    error = _fail(instance, None, message)
    for fact in ("container", "killed", "signal 9", "memory"):
        assert fact in error
    assert "OOMKilled" not in error


def test_a_stopped_run(instance: dg.DagsterInstance) -> None:
    """The error of an interrupted run does not contain the name of an exception."""
    failing = _failing(asset_key("green", "raw_trips"), dg.DagsterExecutionInterruptedError)
    job = dg.Definitions([failing], jobs=[dg.define_asset_job("load_green", [failing])]).resolve_job_def("load_green")
    with contextlib.suppress(dg.DagsterExecutionInterruptedError):
        job.execute_in_process(instance=instance, partition_key=MONTH.month)
    assert _history(instance).error == "The run was stopped."


def test_a_wiped_asset(instance: dg.DagsterInstance) -> None:
    """A month is partial after an asset was wiped, until that asset is materialized again."""
    _materialize(instance, MONTH, *TRIP_ASSETS)
    report_wiped(instance, MONTH, "lake_trips", "")
    history = _history(instance)
    assert history.status is PartitionStatus.partial
    assert "lake_trips" not in history.rows
    _materialize(instance, MONTH, *TRIP_ASSETS[2:], rows=700)
    history = _history(instance)
    assert (history.status, history.rows["lake_trips"]) == (PartitionStatus.loaded, 700)


def test_a_wipe_does_not_affect_other_months(instance: dg.DagsterInstance) -> None:
    """Other months of the same color and asset stay loaded."""
    april = TripMonth("green", "2021-04")
    for month in (MONTH, april):
        _materialize(instance, month, *TRIP_ASSETS)
    report_wiped(instance, april, "raw_trips", "")
    statuses = {history.month: history.status for history in read_history(instance, SETTINGS)}
    assert statuses == {MONTH: PartitionStatus.loaded, april: PartitionStatus.partial}


def test_other_observations_are_not_wipes(instance: dg.DagsterInstance) -> None:
    """Another observation of an asset neither counts as a wipe nor reverts one."""
    _materialize(instance, MONTH, *TRIP_ASSETS)
    observation = dg.AssetObservation(
        asset_key("green", "lake_trips"), partition=MONTH.month, metadata={"note": "not wiped yet"}
    )
    instance.report_runless_asset_event(observation)
    assert _history(instance).status is PartitionStatus.loaded
    report_wiped(instance, MONTH, "lake_trips", "")
    instance.report_runless_asset_event(observation)
    assert _history(instance).status is PartitionStatus.partial


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE])
def test_a_month_wiped_from_all_assets_is_not_listed(status: dg.DagsterRunStatus, instance: dg.DagsterInstance) -> None:
    """A month that was wiped from all assets is not listed until its next run."""
    run_id = _create_run(instance, MONTH, status)
    _materialize(instance, MONTH, *TRIP_ASSETS)
    for name in TRIP_ASSETS:
        report_wiped(instance, MONTH, name, run_id)
    assert read_history(instance, SETTINGS) == []
    _create_run(instance, MONTH, dg.DagsterRunStatus.FAILURE)
    assert _history(instance).status is PartitionStatus.failed
    _materialize(instance, MONTH, "raw_trips")
    assert list(_history(instance).rows) == ["raw_trips"]


def test_a_month_wiped_during_its_run_is_listed(instance: dg.DagsterInstance) -> None:
    """A month that was wiped during its run has the status of that run."""
    _materialize(instance, MONTH, "raw_trips")
    run_id = _create_run(instance, MONTH, dg.DagsterRunStatus.STARTED)
    report_wiped(instance, MONTH, "raw_trips", "")
    assert _history(instance).status is PartitionStatus.running
    run = instance.get_run_by_id(run_id)
    assert run
    instance.report_run_failed(run, "The process ended.")
    assert _history(instance).status is PartitionStatus.failed
