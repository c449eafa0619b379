"""The status of a month comes from its newest run and materializations, however many came before."""

import contextlib
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_TAG,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import RemotePartitionSetOrigin
from dagster._core.remote_representation.external_data import partition_set_snap_name_for_job_name
from dagster._grpc.server import DagsterApiServer
from dagster._utils import get_run_crash_explanation

from taxi_assets.defs.metadata import column_schema
from taxi_assets.graph import SOURCE_TRIPS, TRIP_ASSETS, UPSTREAM, asset_key, job_name
from taxi_assets.instance.opening import open_instance
from taxi_assets.instance.partition_status import read_history, report_wiped
from taxi_assets.news import MonthStatus, PartitionStatus
from taxi_assets.operations.runs import ORIGIN
from taxi_assets.partitions import month_partitions
from taxi_assets.settings import Settings
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import TripMonth
from taxi_assets.tlc.versions import CODE_VERSIONS

MONTH = TripMonth("green", "2021-01")
SETTINGS = Settings(source_url="https://trips.example.org", first_month="2009-01")
PARTITIONS = month_partitions(SETTINGS, "green")


@pytest.fixture
def instance(tmp_path: Path, empty_history: Path) -> Iterator[dg.DagsterInstance]:
    """A fresh instance."""
    shutil.copytree(empty_history, tmp_path / "dagster")
    with open_instance(tmp_path) as opened:
        yield opened


def _materialize(
    instance: dg.DagsterInstance, month: TripMonth, *names: str, rows: int = 500, version: str = ""
) -> None:
    """Report assets as materialized, with as much beside their rows as real runs report.

    Each is made from what its upstream asset is then, and has a version of its own unless one is given.
    """
    for name in names:
        upstream = asset_key(month.color, UPSTREAM[name])
        made_from = instance.get_latest_storage_id_by_partition(upstream, dg.DagsterEventType.ASSET_MATERIALIZATION)
        tags = {
            DATA_VERSION_TAG: version or f"{next(_NUMBERS)}",
            CODE_VERSION_TAG: CODE_VERSIONS[name],
            get_input_data_version_tag(upstream): "any",
            get_input_event_pointer_tag(upstream): str(made_from.get(month.month, "NULL")),
        }
        metadata = {"seconds": 0.1, "dagster/partition_row_count": rows, **column_schema(LAYOUTS[month.color])}
        key = asset_key(month.color, name)
        instance.report_runless_asset_event(
            dg.AssetMaterialization(key, metadata=metadata, partition=month.month, tags=tags)
        )


_NUMBERS = itertools.count()


def _run(instance: dg.DagsterInstance, month: TripMonth, status: dg.DagsterRunStatus) -> str:
    """A run of a month's job."""
    job = dg.GraphDefinition(job_name(month.color)).to_job()
    origin = ORIGIN.get_job_origin(job.name)
    tags = {"dagster/partition": month.month}
    return instance.create_run_for_job(job, status=status, tags=tags, remote_job_origin=origin).run_id


def _history(instance: dg.DagsterInstance) -> MonthStatus:
    """The history of the one month that has any."""
    (history,) = read_history(instance, SETTINGS)
    return history


def test_a_month_has_the_rows_of_its_newest_run(instance: dg.DagsterInstance) -> None:
    """A month that ran twice has the rows of the second time, in each asset, in their order."""
    _materialize(instance, MONTH, *TRIP_ASSETS, rows=500)
    _materialize(instance, MONTH, *TRIP_ASSETS, rows=700)
    history = _history(instance)
    assert history.standing is PartitionStatus.loaded
    assert list(history.rows.items()) == [(name, 700) for name in TRIP_ASSETS]


def test_months_of_all_colors_are_in_order(instance: dg.DagsterInstance) -> None:
    """The same month of several colors are months of their own, by color and then by month."""
    months = [TripMonth(color, month) for color in ("fhv", "green", "yellow") for month in ("2020-12", "2021-01")]
    for rows, month in enumerate(reversed(months)):
        _materialize(instance, month, "raw_trips", rows=rows)
    histories = read_history(instance, SETTINGS)
    assert [history.month for history in histories] == months
    assert [history.rows["raw_trips"] for history in histories] == [5, 4, 3, 2, 1, 0]


def test_a_month_that_was_reported_by_hand_has_no_rows(instance: dg.DagsterInstance) -> None:
    """A materialization without a row count, as the UI reports one, counts as loaded into that asset."""
    reported = dg.AssetMaterialization(asset_key("green", "raw_trips"), partition=MONTH.month)
    instance.report_runless_asset_event(reported)
    assert _history(instance).rows == {"raw_trips": 0}


@pytest.mark.parametrize("again", ["raw_trips", "clean_trips", "lake_trips"])
def test_an_asset_of_another_version_than_those_made_from_it_makes_a_month_stale(
    again: str, instance: dg.DagsterInstance
) -> None:
    """A month is stale once what an asset is made from has another version, until that asset has run too."""
    _materialize(instance, MONTH, *TRIP_ASSETS)
    _materialize(instance, MONTH, again)
    assert _history(instance).standing is PartitionStatus.stale
    _materialize(instance, MONTH, *TRIP_ASSETS[TRIP_ASSETS.index(again) + 1 :])
    assert _history(instance).standing is PartitionStatus.loaded


@pytest.mark.parametrize("again", TRIP_ASSETS)
def test_an_asset_that_ran_again_and_has_the_same_version_makes_nothing_stale(
    again: str, instance: dg.DagsterInstance
) -> None:
    """What is newer than what was made from it, and the same, leaves the month loaded."""
    _materialize(instance, MONTH, *TRIP_ASSETS, version="same")
    _materialize(instance, MONTH, again, version="same")
    assert _history(instance).standing is PartitionStatus.loaded


@pytest.mark.parametrize("again", ["warehouse_trips", "postgres_trips"])
def test_a_last_asset_that_ran_again_makes_nothing_stale(again: str, instance: dg.DagsterInstance) -> None:
    """Nothing is made from the warehouse or from Postgres, so that either may be newer than the other."""
    _materialize(instance, MONTH, *TRIP_ASSETS)
    _materialize(instance, MONTH, again)
    assert _history(instance).standing is PartitionStatus.loaded


def test_a_month_that_not_all_assets_have_is_partial(instance: dg.DagsterInstance) -> None:
    """A month names the assets that have it."""
    _materialize(instance, MONTH, "raw_trips", "clean_trips")
    history = _history(instance)
    assert history.standing is PartitionStatus.partly
    assert list(history.rows) == ["raw_trips", "clean_trips"]


@pytest.mark.parametrize(
    ("status", "standing"),
    [
        (dg.DagsterRunStatus.QUEUED, PartitionStatus.waiting),
        (dg.DagsterRunStatus.STARTED, PartitionStatus.running),
        (dg.DagsterRunStatus.FAILURE, PartitionStatus.failed),
        (dg.DagsterRunStatus.SUCCESS, PartitionStatus.loaded),
        (dg.DagsterRunStatus.CANCELED, PartitionStatus.loaded),
    ],
)
def test_the_newest_run_decides(
    status: dg.DagsterRunStatus, standing: PartitionStatus, instance: dg.DagsterInstance
) -> None:
    """The newest run decides the status of a month, whatever earlier runs did. Row counts from before are kept."""
    _materialize(instance, MONTH, *TRIP_ASSETS)
    _run(instance, MONTH, dg.DagsterRunStatus.FAILURE)
    newest = _run(instance, MONTH, status)
    history = _history(instance)
    assert (history.standing, history.run_id) == (standing, newest)
    assert history.rows["warehouse_trips"] == 500


def test_a_run_that_succeeded_and_left_nothing_is_no_history(instance: dg.DagsterInstance) -> None:
    """A month that is not published was run, and is not listed; nor is its earlier failure any more."""
    _run(instance, MONTH, dg.DagsterRunStatus.FAILURE)
    assert _history(instance).standing is PartitionStatus.failed
    _run(instance, MONTH, dg.DagsterRunStatus.SUCCESS)
    assert read_history(instance, SETTINGS) == []


@pytest.mark.parametrize("key", ["2021-1", "green|2021-01", "2021-01-01", "north", "2021-01...2021-03"])
@pytest.mark.parametrize("job", ["another", "load_green"])
def test_what_is_no_month_is_no_history(job: str, key: str, instance: dg.DagsterInstance) -> None:
    """Runs and backfills of other projects in the same instance, and keys that somebody typed wrong, are left out."""
    _materialize(instance, MONTH, *TRIP_ASSETS)
    for asset in (dg.AssetKey("raw_trips"), dg.AssetKey(["purple", "raw_trips"]), asset_key("green", "raw_trips")):
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=key))
    instance.create_run_for_job(dg.GraphDefinition(job).to_job(), tags={"dagster/partition": key})
    _request_backfill(instance, job, key)
    assert _history(instance).standing is PartitionStatus.loaded


@pytest.mark.parametrize("job", ["another", "load_trips"])
def test_jobs_of_other_projects_are_no_history(job: str, instance: dg.DagsterInstance) -> None:
    """Another project may have the same partitions; so did the release before this one."""
    _materialize(instance, MONTH, *TRIP_ASSETS)
    for asset in (dg.AssetKey("raw_trips"), dg.AssetKey(["purple", "raw_trips"]), dg.AssetKey(["green", "figures"])):
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition="2021-02"))
    status = dg.DagsterRunStatus.FAILURE
    instance.create_run_for_job(
        dg.GraphDefinition(job).to_job(), status=status, tags={"dagster/partition": MONTH.month}
    )
    _request_backfill(instance, job, MONTH.month)
    assert _history(instance).standing is PartitionStatus.loaded


def test_a_month_that_a_backfill_asks_for_waits(instance: dg.DagsterInstance) -> None:
    """A month whose run a backfill has not created yet is queued, of the color of the backfill's job."""
    _request_backfill(instance, "load_green", MONTH.month)
    history = _history(instance)
    assert (history.month, history.standing) == (MONTH, PartitionStatus.waiting)


def _request_backfill(instance: dg.DagsterInstance, job: str, key: str) -> None:
    """Ask for a partition of a job."""
    of_job = RemotePartitionSetOrigin(
        repository_origin=ORIGIN, partition_set_name=partition_set_snap_name_for_job_name(job)
    )
    instance.add_backfill(
        PartitionBackfill(
            "asked",
            BulkActionStatus.REQUESTED,
            from_failure=False,
            tags={},
            backfill_timestamp=0.0,
            partition_set_origin=of_job,
            partition_names=[key],
        )
    )


def _failing(key: dg.AssetKey, error: type[BaseException], message: str = "") -> dg.AssetsDefinition:
    """An asset whose step fails."""

    @dg.asset(key=key, partitions_def=PARTITIONS)
    def fail() -> None:
        raise error(message)

    return fail


def test_a_run_of_another_project_decides_nothing(instance: dg.DagsterInstance) -> None:
    """What others do with the same months is not what became of the trips; a run of one asset of ours is."""
    _materialize(instance, MONTH, *TRIP_ASSETS)
    for key, standing in (
        (dg.AssetKey("raw_trips"), PartitionStatus.loaded),
        (dg.AssetKey(["green", "figures"]), PartitionStatus.loaded),
        (dg.AssetKey(["purple", "lake_trips"]), PartitionStatus.loaded),
        (asset_key("green", "lake_trips"), PartitionStatus.failed),
    ):
        failing = _failing(key, ZeroDivisionError)
        dg.materialize([failing], partition_key=MONTH.month, instance=instance, raise_on_error=False)
        assert _history(instance).standing is standing


def test_a_look_at_the_source_decides_nothing(instance: dg.DagsterInstance) -> None:
    """A month stays failed when the source is observed since, and loaded when that fails."""
    loaded = TripMonth("green", "2021-02")
    _run(instance, MONTH, dg.DagsterRunStatus.FAILURE)
    _materialize(instance, loaded, *TRIP_ASSETS)
    key = asset_key("green", SOURCE_TRIPS)
    job = dg.define_asset_job("look", [key]).resolve(
        asset_graph=dg.Definitions([_failing(key, ValueError)]).resolve_asset_graph()
    )
    for month, status in ((MONTH, dg.DagsterRunStatus.SUCCESS), (loaded, dg.DagsterRunStatus.FAILURE)):
        tags = {"dagster/partition": month.month}
        instance.create_run_for_job(job, status=status, tags=tags, asset_selection={key})
    standings = {history.month: history.standing for history in read_history(instance, SETTINGS)}
    assert standings == {MONTH: PartitionStatus.failed, loaded: PartitionStatus.loaded}


@pytest.mark.parametrize(
    "settings",
    [
        Settings(source_url=SETTINGS.source_url, first_month="2021-02"),
        Settings(source_url=SETTINGS.source_url, last_month="2020-12"),
        Settings(source_url=SETTINGS.source_url, first_month="2999-01"),
    ],
)
def test_a_month_outside_the_bounds_is_no_partition(settings: Settings, instance: dg.DagsterInstance) -> None:
    """A loaded month that the settings now exclude is still listed, and marked as one that cannot be run."""
    _materialize(instance, MONTH, "raw_trips")
    assert _history(instance).is_partition
    (history,) = read_history(instance, settings)
    assert (history.month, history.is_partition) == (MONTH, False)


def test_a_failure_has_its_asset_and_error(instance: dg.DagsterInstance) -> None:
    """A failed month has the asset, without its color, and the error of its newest run, without Dagster's wrapping."""
    failing = _failing(asset_key("green", "raw_trips"), FileNotFoundError, "it is not there")
    job = dg.Definitions([failing], jobs=[dg.define_asset_job("load_green", [failing])]).resolve_job_def("load_green")
    done = job.execute_in_process(instance=instance, partition_key=MONTH.month, raise_on_error=False)
    history = _history(instance)
    assert (history.standing, history.run_id) == (PartitionStatus.failed, done.run_id)
    assert (history.failed_at, history.error) == ("raw_trips", "FileNotFoundError: it is not there")


def test_a_run_that_was_marked_as_failed_has_its_message(instance: dg.DagsterInstance) -> None:
    """A run whose process is gone failed at no asset that is known, and has the message it was marked with."""
    run = instance.get_run_by_id(_run(instance, MONTH, dg.DagsterRunStatus.STARTED))
    assert run
    instance.report_run_failed(run, "The process 7 that this run ran in is gone.")
    history = _history(instance)
    assert (history.standing, history.failed_at) == (PartitionStatus.failed, "")
    assert history.error == "The process 7 that this run ran in is gone."


def _fail(instance: dg.DagsterInstance, exit_code: int | None, said: str | None = None) -> str:
    """Mark a run as failed, as Dagster's code server or its daemon does; returns the error that is shown."""
    run = instance.get_run_by_id(_run(instance, MONTH, dg.DagsterRunStatus.STARTED))
    assert run
    instance.report_engine_event("Executing steps in process (pid: 7)", run)
    if exit_code is not None:
        crash = get_run_crash_explanation(f"Run execution process for {run.run_id}", exit_code)
        instance.report_engine_event(crash, run, cls=DagsterApiServer)
    instance.report_run_failed(run, said)
    return _history(instance).error


@pytest.mark.parametrize(
    ("exit_code", "told"),
    [
        (-9, "its process was killed (signal 9): often too little memory"),
        (-11, "its process was killed (signal 11)"),
        (3, "its process ended with status 3"),
        (None, "its process ended without a word: often too little memory"),
    ],
)
def test_a_process_that_ended_without_a_message(exit_code: int | None, told: str, instance: dg.DagsterInstance) -> None:
    """The error of a run whose process was killed is how that process ended, if Dagster saw it, with a hint."""
    assert _fail(instance, exit_code) == told


def test_a_container_that_was_killed(instance: dg.DagsterInstance) -> None:
    """The error of a run whose container is gone is how that container ended, with a hint."""
    state = '{"Status": "exited", "Running": false, "OOMKilled": true, "Pid": 0, "ExitCode": 137, "Error": ""}'
    said = (
        f"Detected run worker status FAILED: 'Container status is exited. Container state: {state}'. Marking run 7 as "
        "failed."
    )
    assert _fail(instance, None, said) == "its container was killed (signal 9): often too little memory"


def test_a_stopped_run_was_stopped(instance: dg.DagsterInstance) -> None:
    """A run that Ctrl-C ended has these words as its error, and not the name of a class."""
    failing = _failing(asset_key("green", "raw_trips"), dg.DagsterExecutionInterruptedError)
    job = dg.Definitions([failing], jobs=[dg.define_asset_job("load_green", [failing])]).resolve_job_def("load_green")
    with contextlib.suppress(dg.DagsterExecutionInterruptedError):
        job.execute_in_process(instance=instance, partition_key=MONTH.month)
    assert _history(instance).error == "it was stopped"


def test_a_wiped_asset_does_not_have_the_month(instance: dg.DagsterInstance) -> None:
    """A month is partial once an asset was wiped, and loaded again when that has run again."""
    _materialize(instance, MONTH, *TRIP_ASSETS)
    report_wiped(instance, MONTH, "lake_trips", "")
    history = _history(instance)
    assert history.standing is PartitionStatus.partly
    assert "lake_trips" not in history.rows
    _materialize(instance, MONTH, *TRIP_ASSETS[2:], rows=700)
    history = _history(instance)
    assert (history.standing, history.rows["lake_trips"]) == (PartitionStatus.loaded, 700)


def test_a_wipe_is_of_its_month_alone(instance: dg.DagsterInstance) -> None:
    """Other months of a wiped asset, and of the same color, stay loaded."""
    april = TripMonth("green", "2021-04")
    for month in (MONTH, april):
        _materialize(instance, month, *TRIP_ASSETS)
    report_wiped(instance, april, "raw_trips", "")
    standings = {history.month: history.standing for history in read_history(instance, SETTINGS)}
    assert standings == {MONTH: PartitionStatus.loaded, april: PartitionStatus.partly}


def test_another_observation_is_no_wipe(instance: dg.DagsterInstance) -> None:
    """What others observe of an asset neither wipes it nor hides that it was wiped."""
    _materialize(instance, MONTH, *TRIP_ASSETS)
    seen = dg.AssetObservation(
        asset_key("green", "lake_trips"), partition=MONTH.month, metadata={"note": "not wiped yet"}
    )
    instance.report_runless_asset_event(seen)
    assert _history(instance).standing is PartitionStatus.loaded
    report_wiped(instance, MONTH, "lake_trips", "")
    instance.report_runless_asset_event(seen)
    assert _history(instance).standing is PartitionStatus.partly


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE])
def test_a_month_that_was_wiped_everywhere_has_no_history(
    status: dg.DagsterRunStatus, instance: dg.DagsterInstance
) -> None:
    """A month that was removed everywhere is not listed, however its run ended, until it runs or fails again."""
    run_id = _run(instance, MONTH, status)
    _materialize(instance, MONTH, *TRIP_ASSETS)
    for name in TRIP_ASSETS:
        report_wiped(instance, MONTH, name, run_id)
    assert read_history(instance, SETTINGS) == []
    _run(instance, MONTH, dg.DagsterRunStatus.FAILURE)
    assert _history(instance).standing is PartitionStatus.failed
    _materialize(instance, MONTH, "raw_trips")
    assert list(_history(instance).rows) == ["raw_trips"]


def test_a_run_under_way_during_a_wipe_is_listed(instance: dg.DagsterInstance) -> None:
    """A month that was wiped during its run has the status of that run."""
    _materialize(instance, MONTH, "raw_trips")
    run_id = _run(instance, MONTH, dg.DagsterRunStatus.STARTED)
    report_wiped(instance, MONTH, "raw_trips", "")
    assert _history(instance).standing is PartitionStatus.running
    run = instance.get_run_by_id(run_id)
    assert run
    instance.report_run_failed(run, "It ended.")
    assert _history(instance).standing is PartitionStatus.failed
