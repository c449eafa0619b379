"""What the instance remembers of each month: which stations it passed, with how many rows, and what its last run did.

Not here: how that looks (`console`).
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import dagster as dg
from dagster._core.events import JobFailureData
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.tags import BACKFILL_ID_TAG, MULTIDIMENSIONAL_PARTITION_PREFIX, PARTITION_NAME_TAG
from dagster_shared.error import SerializableErrorInfo
from dagster_shared.serdes import deserialize_value

from taxi_assets.defs.instance import said_end
from taxi_assets.defs.jobs import JOBS, STATIONS, UPSTREAM
from taxi_assets.defs.partitions import partition_key, read_month
from taxi_assets.defs.runs import explain
from taxi_assets.defs.source_trips import SOURCE_TRIPS, observed_versions
from taxi_assets.errors import NotPublished
from taxi_assets.news import UNDER_WAY, MonthHistory, Standing
from taxi_assets.stores.download import Version
from taxi_assets.tlc.trips import TripMonth

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

_EVENTS = SqlEventLogStorageTable

_ROW_COUNT = "dagster/partition_row_count"

_WIPED, _NEWEST_RUN = "wiped", "newest_run"

_RUNNING = frozenset(
    {
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    }
)


@dataclass(frozen=True)
class _Passed:
    """A month's newest materialization at a station: the number of its event, which grows, and its rows.

    Of `raw_trips` also the version of the source that was fetched; empty where that is not told.
    """

    event: int
    rows: int
    version: str


@dataclass(frozen=True)
class _Wipe:
    """The newest wipe of a month at a station: the number of its event, and the run that was the month's newest."""

    event: int
    run_id: str


@dataclass(frozen=True)
class Failure:
    """At which station a run failed first, and why; both empty where it did not tell.

    `not_published` where that was only that the source has no such month.
    """

    station: str = ""
    error: str = ""
    not_published: bool = False


def read_history(instance: dg.DagsterInstance, partitions: dg.MultiPartitionsDefinition) -> list[MonthHistory]:
    """Every month that any run ever touched, in order; without those that were wiped everywhere, and not run since."""
    every_run = instance.get_runs()
    runs, waiting = newest_runs(every_run), _waiting_in_backfills(instance, every_run)
    wipes = _newest_wipes(instance)
    passed: dict[str, dict[str, _Passed]] = {key: {} for key in (*runs, *waiting)}
    for station in STATIONS:
        for key, newest in _newest_by_partition(instance, dg.AssetKey(station)).items():
            wiped = wipes.get(key, {}).get(station)
            if wiped is None or wiped.event < newest.event:
                passed.setdefault(key, {})[station] = newest
    observed = observed_versions(instance)
    failures = read_failures(instance, [run for run in runs.values() if run.status is dg.DagsterRunStatus.FAILURE])
    known = set(partitions.get_partition_keys())
    histories = (
        replace(
            _history(month, runs.get(key), stations, failures, observed.get(key, "")),
            is_partition=key in known,
        )
        for key, stations in passed.items()
        if (month := read_month(key, partitions))
        and (stations or key in waiting or not _is_over(runs[key], wipes.get(key, {}).values()))
    )
    asked_for = {read_month(key, partitions) for key in waiting}
    told = (_as_waiting(history) if history.month in asked_for else history for history in histories)
    return sorted(told, key=lambda history: history.month)


def report_wiped(instance: dg.DagsterInstance, month: TripMonth, station: str, newest_run: str) -> None:
    """Remember that a month is at a station no more. Dagster cannot forget that it once passed.

    `newest_run` is the month's newest run, if that is over: a month that is nowhere then has no history any more.
    """
    instance.report_runless_asset_event(
        dg.AssetObservation(
            station,
            description="taxi wipe removed the month here",
            metadata={_WIPED: True, _NEWEST_RUN: newest_run},
            partition=partition_key(month),
        )
    )


def _is_over(newest: dg.DagsterRun, wipes: Iterable[_Wipe]) -> bool:
    """Whether a month that is nowhere was wiped after its newest run, whatever became of that."""
    return any(wipe.run_id == newest.run_id for wipe in wipes)


def _history(
    month: TripMonth,
    run: dg.DagsterRun | None,
    stations: Mapping[str, _Passed],
    failures: Mapping[str, Failure],
    observed: str,
) -> MonthHistory:
    run_id = run.run_id if run else ""
    failure = failures.get(run_id, Failure())
    rows = {station: newest.rows for station, newest in stations.items()}
    standing = _standing(run.status if run else None, stations, observed)
    return MonthHistory(month, standing, rows, run_id, failure.station, failure.error)


def _standing(newest: dg.DagsterRunStatus | None, passed: Mapping[str, _Passed], observed: str) -> Standing:
    """How a month stands; `observed` is the version that the source was last seen to have, empty for none."""
    if newest is dg.DagsterRunStatus.QUEUED:
        return Standing.waiting
    if newest in _RUNNING:
        return Standing.running
    if newest is dg.DagsterRunStatus.FAILURE:
        return Standing.failed
    if len(passed) < len(STATIONS):
        return Standing.partly
    stale = any(passed[station].event < passed[upstream].event for station, upstream in UPSTREAM.items())
    fetched = passed["raw_trips"].version
    published_again = fetched and observed and fetched != observed
    return Standing.stale if stale or published_again else Standing.loaded


def _newest_by_partition(instance: dg.DagsterInstance, asset: dg.AssetKey) -> dict[str, _Passed]:
    """What the newest materialization of each partition told."""
    newest = instance.get_latest_storage_id_by_partition(asset, dg.DagsterEventType.ASSET_MATERIALIZATION)
    passed = {
        number: _passed(number, event)
        for number, event in _stored_events(instance, _EVENTS.c.id.in_(list(newest.values())))
    }
    return {key: passed[number] for key, number in newest.items()}


def _newest_wipes(instance: dg.DagsterInstance) -> dict[str, dict[str, _Wipe]]:
    """The newest wipe of each partition, by station."""
    of_stations = _EVENTS.c.asset_key.in_([dg.AssetKey(station).to_string() for station in STATIONS])
    observed = _EVENTS.c.dagster_event_type == dg.DagsterEventType.ASSET_OBSERVATION.value
    newest: dict[str, dict[str, _Wipe]] = {}
    # Others may observe the stations too, for other reasons.
    for number, stored in sorted(_stored_events(instance, of_stations & observed & _EVENTS.c.event.contains(_WIPED))):
        observation = json.loads(stored)["dagster_event"]["event_specific_data"]["asset_observation"]
        told = {entry["label"]: entry for entry in observation["metadata_entries"]}
        if _WIPED in told:
            station = observation["asset_key"]["path"][-1]
            newest.setdefault(observation["partition"], {})[station] = _Wipe(
                number, told[_NEWEST_RUN]["entry_data"]["text"]
            )
    return newest


def _passed(number: int, event: str) -> _Passed:
    """What a stored materialization tells.

    Dagster makes each column of the schema beside it an object, which takes ten times as long.
    """
    materialization = json.loads(event)["dagster_event"]["event_specific_data"]["materialization"]
    told = {entry["label"]: entry["entry_data"] for entry in materialization["metadata_entries"]}
    rows = cast("int", told[_ROW_COUNT]["value"]) if _ROW_COUNT in told else 0
    return _Passed(number, rows, _version(told) if told.keys() >= {"etag", "last_modified", "bytes"} else "")


def _version(told: Mapping[str, Mapping[str, object]]) -> str:
    """The version of the source that a fetch tells, as `fetches.remembered` reads it too."""
    etag, last_modified = (str(told[name]["text"]) or None for name in ("etag", "last_modified"))
    return Version(etag, last_modified).fingerprint(int(str(told["bytes"]["value"])))


def _as_waiting(history: MonthHistory) -> MonthHistory:
    under_way = history.standing in UNDER_WAY
    return history if under_way else replace(history, standing=Standing.waiting, failed_at="", error="")


def _waiting_in_backfills(instance: dg.DagsterInstance, runs: Iterable[dg.DagsterRun]) -> set[str]:
    """The partitions for which a backfill asks whose run of them is not in the queue yet."""
    requested = instance.get_backfills(BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED]))
    ran = {(run.tags.get(BACKFILL_ID_TAG), partition_of(run)) for run in runs} if requested else set()
    return {
        key
        for backfill in requested
        if backfill.job_name in JOBS
        for key in backfill.partition_names or ()
        if (backfill.backfill_id, key) not in ran
    }


def newest_runs(runs: Iterable[dg.DagsterRun]) -> dict[str, dg.DagsterRun]:
    """Each partition's newest run of this project; others may be in the same instance."""
    newest: dict[str, dg.DagsterRun] = {}
    for run in runs:
        key = partition_of(run)
        if key and key not in newest and is_own_run(run):
            newest[key] = run
    return newest


def is_own_run(run: dg.DagsterRun) -> bool:
    """Whether a run is of one of this project's jobs, or has one of its assets."""
    if run.job_name in JOBS:
        return True
    selected = {key.to_user_string() for key in run.asset_selection or ()}
    return not _OURS.isdisjoint(selected or run.step_keys_to_execute or ())


def are_own_assets(assets: Iterable[dg.AssetKey]) -> bool:
    """Whether these are assets, at least one, and all of this project."""
    names = {key.to_user_string() for key in assets}
    return bool(names) and names <= _OURS


_OURS = frozenset((SOURCE_TRIPS, *STATIONS))


def runs_of_backfill(backfill_id: str) -> dg.RunsFilter:
    """What finds the runs of a backfill."""
    return dg.RunsFilter(tags=dg.DagsterRun.tags_for_backfill_id(backfill_id))


def read_failures(instance: dg.DagsterInstance, runs: Iterable[dg.DagsterRun]) -> dict[str, Failure]:
    """Where and why each of these runs failed, by its id; of one that was killed, how its process ended."""
    of_these = _EVENTS.c.run_id.in_([run.run_id for run in runs])
    failed = _EVENTS.c.dagster_event_type == dg.DagsterEventType.RUN_FAILURE.value
    failures = {}
    for _, stored in _stored_events(instance, of_these & failed):
        entry = deserialize_value(stored, dg.EventLogEntry)
        if event := entry.dagster_event:
            # A run that was marked as failed from outside has no more than a message.
            told = event.event_specific_data
            data = told if isinstance(told, JobFailureData) else JobFailureData(None)
            step = data.first_step_failure_event
            failures[entry.run_id] = Failure(
                (step and step.step_key) or "",
                explain(data.error) or _said_of_end(instance, entry.run_id, event.message or ""),
                not_published=_is_not_published(data.error),
            )
    return failures


_FROM_OUTSIDE = "This run has been marked as failed from outside the execution context."
"""All that Dagster says of a run whose process ended without a word."""

_CRASH = re.compile(
    r"Run execution process for \S+ (?:was terminated by signal (\d+)|unexpectedly exited with code (\d+))"
)
"""What the code server tells of such a process, in an event of its own."""

_CONTAINER = re.compile(r'Container state: .*"ExitCode": (\d+)')
"""What the daemon of the deployment tells of a container that is gone, among all that the engine knows of it."""


def _said_of_end(instance: dg.DagsterInstance, run_id: str, message: str) -> str:
    """How the process or the container of a run ended that says no more than this; else the message."""
    if state := _CONTAINER.search(message):
        return f"its container {said_end(int(state[1]))}"
    return f"its process {said_end(_exit_code(instance, run_id))}" if message == _FROM_OUTSIDE else message


def _exit_code(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """How the process of a run ended, negative for a signal; None where the code server did not tell."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        if crash := _CRASH.search((entry.dagster_event and entry.dagster_event.message) or ""):
            signal, code = crash.groups()
            return -int(signal) if signal else int(code)
    return None


def _is_not_published(error: SerializableErrorInfo | None) -> bool:
    """Whether an error, or what led to it, is NotPublished."""
    while error and error.cls_name != NotPublished.__name__:
        error = error.cause
    return error is not None


def _stored_events(instance: dg.DagsterInstance, wanted: "ColumnElement[bool]") -> list[tuple[int, str]]:
    """The number and the JSON of each stored event that is wanted."""
    columns = _EVENTS.select().with_only_columns(_EVENTS.c.id, _EVENTS.c.event)
    with cast("SqlEventLogStorage", instance.event_log_storage).index_connection() as connection:
        return [(number, event) for number, event in connection.execute(columns.where(wanted))]


def partition_of(run: dg.DagsterRun) -> str | None:
    """The partition that a run's tags name, as one key or dimension by dimension."""
    by_dimension = {
        tag.removeprefix(MULTIDIMENSIONAL_PARTITION_PREFIX): value
        for tag, value in run.tags.items()
        if tag.startswith(MULTIDIMENSIONAL_PARTITION_PREFIX)
    }
    return str(dg.MultiPartitionKey(by_dimension)) if by_dimension else run.tags.get(PARTITION_NAME_TAG)
