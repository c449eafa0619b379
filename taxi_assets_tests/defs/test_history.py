"""The history of months is what their newest runs and materializations say, however many came before."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import RemotePartitionSetOrigin
from dagster._core.remote_representation.external_data import partition_set_snap_name_for_job_name
from dagster._grpc.server import DagsterApiServer
from dagster._utils import get_run_crash_explanation

from taxi_assets.defs.history import read_history, report_wiped
from taxi_assets.defs.instance import open_instance
from taxi_assets.defs.jobs import LOAD_TRIPS, STATIONS
from taxi_assets.defs.metadata import column_schema
from taxi_assets.defs.partitions import partition_key, trip_partitions
from taxi_assets.defs.runs import ORIGIN
from taxi_assets.news import MonthHistory, Standing
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import TripMonth

MONTH = TripMonth("green", "2021-01")
PARTITIONS = trip_partitions("2009-01")


@pytest.fixture
def instance(tmp_path: Path, empty_history: Path) -> Iterator[dg.DagsterInstance]:
    """A fresh instance."""
    shutil.copytree(empty_history, tmp_path / "dagster")
    with open_instance(tmp_path) as opened:
        yield opened


def _pass(instance: dg.DagsterInstance, month: TripMonth, *stations: str, rows: int = 500) -> None:
    """Let a month pass stations, with as much beside its rows as the real ones tell."""
    for station in stations:
        metadata = {"seconds": 0.1, "dagster/partition_row_count": rows, **column_schema(LAYOUTS[month.color])}
        materialized = dg.AssetMaterialization(station, metadata=metadata, partition=partition_key(month))
        instance.report_runless_asset_event(materialized)


def _run(instance: dg.DagsterInstance, month: TripMonth, status: dg.DagsterRunStatus) -> str:
    """A run of a month, tagged dimension by dimension as the UI does."""
    job = dg.GraphDefinition(LOAD_TRIPS).to_job()
    tags = {"dagster/partition/color": month.color, "dagster/partition/month": month.month}
    origin = ORIGIN.get_job_origin(LOAD_TRIPS)
    return instance.create_run_for_job(job, status=status, tags=tags, remote_job_origin=origin).run_id


def _history(instance: dg.DagsterInstance) -> MonthHistory:
    """The history of the one month that has any."""
    (history,) = read_history(instance, PARTITIONS)
    return history


def test_a_month_has_the_rows_of_its_newest_run(instance: dg.DagsterInstance) -> None:
    """A month that ran twice has the rows of the second time, at each station, in their order."""
    _pass(instance, MONTH, *STATIONS, rows=500)
    _pass(instance, MONTH, *STATIONS, rows=700)
    history = _history(instance)
    assert history.standing is Standing.loaded
    assert list(history.rows.items()) == [(station, 700) for station in STATIONS]


def test_a_month_that_was_reported_by_hand_has_no_rows(instance: dg.DagsterInstance) -> None:
    """A materialization that tells no rows, as the UI reports one, counts as passed."""
    instance.report_runless_asset_event(dg.AssetMaterialization("raw_trips", partition=partition_key(MONTH)))
    assert _history(instance).rows == {"raw_trips": 0}


@pytest.mark.parametrize("again", ["raw_trips", "clean_trips", "lake_trips"])
def test_a_station_that_ran_after_those_it_feeds_makes_a_month_stale(again: str, instance: dg.DagsterInstance) -> None:
    """A month is stale once a station is newer than one made from it, until that has run too."""
    _pass(instance, MONTH, *STATIONS)
    _pass(instance, MONTH, again)
    assert _history(instance).standing is Standing.stale
    _pass(instance, MONTH, *STATIONS[STATIONS.index(again) + 1 :])
    assert _history(instance).standing is Standing.loaded


@pytest.mark.parametrize("again", ["warehouse_trips", "postgres_trips"])
def test_a_last_station_that_ran_again_makes_nothing_stale(again: str, instance: dg.DagsterInstance) -> None:
    """Nothing is made from the warehouse or from Postgres, so that either may be newer than the other."""
    _pass(instance, MONTH, *STATIONS)
    _pass(instance, MONTH, again)
    assert _history(instance).standing is Standing.loaded


def test_a_month_that_did_not_pass_all_is_partly_there(instance: dg.DagsterInstance) -> None:
    """A month says which stations it passed."""
    _pass(instance, MONTH, "raw_trips", "clean_trips")
    history = _history(instance)
    assert history.standing is Standing.partly
    assert list(history.rows) == ["raw_trips", "clean_trips"]


@pytest.mark.parametrize(
    ("status", "standing"),
    [
        (dg.DagsterRunStatus.QUEUED, Standing.waiting),
        (dg.DagsterRunStatus.STARTED, Standing.running),
        (dg.DagsterRunStatus.FAILURE, Standing.failed),
        (dg.DagsterRunStatus.SUCCESS, Standing.loaded),
        (dg.DagsterRunStatus.CANCELED, Standing.loaded),
    ],
)
def test_the_newest_run_decides(status: dg.DagsterRunStatus, standing: Standing, instance: dg.DagsterInstance) -> None:
    """Whatever earlier runs did, a month stands as its newest run; its rows of before stay known."""
    _pass(instance, MONTH, *STATIONS)
    _run(instance, MONTH, dg.DagsterRunStatus.FAILURE)
    newest = _run(instance, MONTH, status)
    history = _history(instance)
    assert (history.standing, history.run_id) == (standing, newest)
    assert history.rows["warehouse_trips"] == 500


@pytest.mark.parametrize("key", ["2021-01", "purple|2021-01", "green|2021-01|north"])
@pytest.mark.parametrize("job", ["another", LOAD_TRIPS])
def test_what_is_no_month_is_no_history(job: str, key: str, instance: dg.DagsterInstance) -> None:
    """Runs and backfills of other projects in the same instance, and keys that somebody typed wrong, are left out."""
    _pass(instance, MONTH, *STATIONS)
    instance.report_runless_asset_event(dg.AssetMaterialization("raw_trips", partition=key))
    instance.create_run_for_job(dg.GraphDefinition(job).to_job(), tags={"dagster/partition": key})
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
    assert _history(instance).standing is Standing.loaded


def test_a_run_of_another_project_decides_nothing(instance: dg.DagsterInstance) -> None:
    """What others do with the same colors and months is not what became of the trips; a run of one station is."""
    _pass(instance, MONTH, *STATIONS)
    months = {"partitions_def": PARTITIONS}
    others, ours = (dg.asset(lambda: 1 // 0, name=name, **months) for name in ("figures", "lake_trips"))
    for made, standing in ((others, Standing.loaded), (ours, Standing.failed)):
        dg.materialize([made], partition_key=partition_key(MONTH), instance=instance, raise_on_error=False)
        assert _history(instance).standing is standing


def test_a_month_from_before_the_first_is_no_partition(instance: dg.DagsterInstance) -> None:
    """A month that TAXI_FIRST_MONTH left out since is still shown, and said to be none that can be run."""
    _pass(instance, MONTH, "raw_trips")
    assert _history(instance).is_partition
    (history,) = read_history(instance, trip_partitions("2021-02"))
    assert (history.month, history.is_partition) == (MONTH, False)


def test_a_failure_says_where_and_why(instance: dg.DagsterInstance) -> None:
    """A failed month has the station and the error of its newest run, without Dagster's wrapping."""

    @dg.asset(partitions_def=PARTITIONS)
    def raw_trips() -> None:
        raise FileNotFoundError("it is not there")

    definitions = dg.Definitions([raw_trips], jobs=[dg.define_asset_job("load_trips", [raw_trips])])
    job = definitions.resolve_job_def("load_trips")
    done = job.execute_in_process(instance=instance, partition_key=partition_key(MONTH), raise_on_error=False)
    history = _history(instance)
    assert (history.standing, history.run_id) == (Standing.failed, done.run_id)
    assert (history.failed_at, history.error) == ("raw_trips", "FileNotFoundError: it is not there")


def test_a_run_that_was_marked_as_failed_says_what_is_known(instance: dg.DagsterInstance) -> None:
    """A run whose process is gone failed at no station that is known, and has the message it was marked with."""
    run = instance.get_run_by_id(_run(instance, MONTH, dg.DagsterRunStatus.STARTED))
    assert run
    instance.report_run_failed(run, "The process 7 that this run ran in is gone.")
    history = _history(instance)
    assert (history.standing, history.failed_at) == (Standing.failed, "")
    assert history.error == "The process 7 that this run ran in is gone."


def _fail(instance: dg.DagsterInstance, exit_code: int | None, said: str | None = None) -> str:
    """Let a run be marked as failed, as Dagster's code server does, or with what its daemon says; what is told."""
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
def test_a_process_that_said_nothing_is_told(exit_code: int | None, told: str, instance: dg.DagsterInstance) -> None:
    """A run of the daemon whose process was killed says how that ended, if Dagster saw it, and what to look at."""
    assert _fail(instance, exit_code) == told


def test_a_container_that_was_killed_is_told(instance: dg.DagsterInstance) -> None:
    """Of all that the engine knows of a container that is gone, its end is told, with what to look at."""
    state = '{"Status": "exited", "Running": false, "OOMKilled": true, "Pid": 0, "ExitCode": 137, "Error": ""}'
    said = (
        f"Detected run worker status FAILED: 'Container status is exited. Container state: {state}'. Marking run 7 as "
        "failed."
    )
    assert _fail(instance, None, said) == "its container was killed (signal 9): often too little memory"


def test_a_stopped_run_was_stopped(instance: dg.DagsterInstance) -> None:
    """A run that Ctrl-C ended has these words as its error, and not the name of a class."""

    @dg.asset(partitions_def=PARTITIONS)
    def raw_trips() -> None:
        raise dg.DagsterExecutionInterruptedError

    definitions = dg.Definitions([raw_trips], jobs=[dg.define_asset_job("load_trips", [raw_trips])])
    job = definitions.resolve_job_def("load_trips")
    with contextlib.suppress(dg.DagsterExecutionInterruptedError):
        job.execute_in_process(instance=instance, partition_key=partition_key(MONTH))
    assert _history(instance).error == "it was stopped"


def test_a_wiped_station_is_not_passed(instance: dg.DagsterInstance) -> None:
    """A month is partly there once a station was wiped, and loaded again when it has passed it again."""
    _pass(instance, MONTH, *STATIONS)
    report_wiped(instance, MONTH, "lake_trips", "")
    history = _history(instance)
    assert history.standing is Standing.partly
    assert "lake_trips" not in history.rows
    _pass(instance, MONTH, *STATIONS[2:], rows=700)
    history = _history(instance)
    assert (history.standing, history.rows["lake_trips"]) == (Standing.loaded, 700)


def test_a_wipe_is_of_its_month_alone(instance: dg.DagsterInstance) -> None:
    """Other months of a wiped station, and of the same color, stay loaded."""
    april = TripMonth("green", "2021-04")
    for month in (MONTH, april):
        _pass(instance, month, *STATIONS)
    report_wiped(instance, april, "raw_trips", "")
    standings = {history.month: history.standing for history in read_history(instance, PARTITIONS)}
    assert standings == {MONTH: Standing.loaded, april: Standing.partly}


def test_another_observation_is_no_wipe(instance: dg.DagsterInstance) -> None:
    """What others observe of a station neither wipes it nor hides that it was wiped."""
    _pass(instance, MONTH, *STATIONS)
    seen = dg.AssetObservation("lake_trips", partition=partition_key(MONTH), metadata={"note": "not wiped yet"})
    instance.report_runless_asset_event(seen)
    assert _history(instance).standing is Standing.loaded
    report_wiped(instance, MONTH, "lake_trips", "")
    instance.report_runless_asset_event(seen)
    assert _history(instance).standing is Standing.partly


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE])
def test_a_month_that_was_wiped_everywhere_has_no_history(
    status: dg.DagsterRunStatus, instance: dg.DagsterInstance
) -> None:
    """A month that is nowhere is not told any more, however its run ended; but one that ran, or failed, since is."""
    run_id = _run(instance, MONTH, status)
    _pass(instance, MONTH, *STATIONS)
    for station in STATIONS:
        report_wiped(instance, MONTH, station, run_id)
    assert read_history(instance, PARTITIONS) == []
    _run(instance, MONTH, dg.DagsterRunStatus.FAILURE)
    assert _history(instance).standing is Standing.failed
    _pass(instance, MONTH, "raw_trips")
    assert list(_history(instance).rows) == ["raw_trips"]


def test_a_run_under_way_during_a_wipe_is_told(instance: dg.DagsterInstance) -> None:
    """A month that is nowhere, but whose run was not over when it was wiped, stands as that run ends."""
    _pass(instance, MONTH, "raw_trips")
    run_id = _run(instance, MONTH, dg.DagsterRunStatus.STARTED)
    report_wiped(instance, MONTH, "raw_trips", "")
    assert _history(instance).standing is Standing.running
    run = instance.get_run_by_id(run_id)
    assert run
    instance.report_run_failed(run, "It ended.")
    assert _history(instance).standing is Standing.failed
