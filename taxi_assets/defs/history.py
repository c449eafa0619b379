"""What the instance remembers of each month: which assets it is in, with how many rows, and what its last run did.

Not here: how that looks (`console`).
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import dagster as dg
from dagster._core.definitions.data_version import CODE_VERSION_TAG, DATA_VERSION_TAG, get_input_event_pointer_tag
from dagster._core.events import JobFailureData
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus, PartitionBackfill
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.tags import BACKFILL_ID_TAG, PARTITION_NAME_TAG
from dagster_shared.serdes import deserialize_value

from taxi_assets.defs.graph import (
    JOBS,
    SOURCE_TRIPS,
    TRIP_ASSETS,
    UPSTREAM,
    asset_key,
    asset_of_step,
    is_trip_asset,
    run_colors,
    split_step,
)
from taxi_assets.defs.instance import said_end
from taxi_assets.defs.partitions import month_partitions
from taxi_assets.defs.runs import explain
from taxi_assets.defs.source_trips import observed_versions
from taxi_assets.errors import UnknownMonth
from taxi_assets.news import UNDER_WAY, MonthHistory, Standing
from taxi_assets.settings import Settings
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets.tlc.versions import CODE_VERSIONS

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
class _Told:
    """The newest event that told of a month of an asset: its number, which grows, and the data version it told."""

    event: int
    version: str


@dataclass(frozen=True)
class _Materialized(_Told):
    """A month's newest materialization of an asset, its rows, the version of the code that made it, and its input.

    `input` is the number of an event: what was told of the month's input up to it is what the asset was made from. None
    where that is not known. By these Dagster's UI decides what is stale too.
    """

    rows: int
    code: str
    input: int | None


@dataclass(frozen=True)
class _Wipe:
    """The newest wipe of a month at a station: the number of its event, and the run that was the month's newest."""

    event: int
    run_id: str


@dataclass(frozen=True)
class Failure:
    """The asset at which a run failed first, its color, and why; all empty where it did not tell."""

    station: str = ""
    error: str = ""
    color: str = ""


def read_history(instance: dg.DagsterInstance, settings: Settings) -> list[MonthHistory]:
    """Every month that any run ever touched, in order.

    Without those that were wiped everywhere and not run since, and those that turned out not to be published.
    """
    every_run = instance.get_runs()
    runs, waiting = newest_runs(every_run), _waiting_in_backfills(instance, every_run)
    wipes = _newest_wipes(instance)
    found: dict[TripMonth, dict[str, _Materialized]] = {month: {} for month in (*runs, *waiting)}
    for color in COLORS:
        for name in TRIP_ASSETS:
            for month, newest in _newest_materializations(instance, color, name).items():
                wiped = wipes.get(month, {}).get(name)
                if wiped is None or wiped.event < newest.event:
                    found.setdefault(month, {})[name] = newest
    stale = _find_stale(instance, found)
    failures = read_failures(instance, [run for run in runs.values() if run.status is dg.DagsterRunStatus.FAILURE])
    partitions = {color: set(month_partitions(settings, color).get_partition_keys()) for color in COLORS}
    histories = (
        replace(
            _history(month, runs.get(month), assets, failures, is_stale=month in stale),
            is_partition=month.month in partitions[month.color],
        )
        for month, assets in found.items()
        if assets or month in waiting or not _is_over(runs[month], wipes.get(month, {}).values())
    )
    told = (_as_waiting(history) if history.month in waiting else history for history in histories)
    return sorted(told, key=lambda history: history.month)


def report_wiped(instance: dg.DagsterInstance, month: TripMonth, station: str, newest_run: str) -> None:
    """Remember that a month is at a station no more. Dagster cannot forget that it once passed.

    `newest_run` is the month's newest run, if that is over: a month that is nowhere then has no history any more.
    """
    instance.report_runless_asset_event(
        dg.AssetObservation(
            asset_key(month.color, station),
            description="taxi wipe removed the month here",
            metadata={_WIPED: True, _NEWEST_RUN: newest_run},
            partition=month.month,
        )
    )


def _is_over(newest: dg.DagsterRun, wipes: Iterable[_Wipe]) -> bool:
    """Whether a month that is nowhere was wiped after its newest run, or that run succeeded in finding nothing."""
    return newest.status is dg.DagsterRunStatus.SUCCESS or any(wipe.run_id == newest.run_id for wipe in wipes)


def _history(
    month: TripMonth,
    run: dg.DagsterRun | None,
    assets: Mapping[str, _Materialized],
    failures: Mapping[str, Failure],
    *,
    is_stale: bool,
) -> MonthHistory:
    run_id = run.run_id if run else ""
    failure = failures.get(run_id, Failure())
    if run and failure.color not in ("", month.color):
        # A run of several colors, which the UI starts, failed at another one.
        run, failure = None, Failure()
    rows = {name: newest.rows for name, newest in assets.items()}
    standing = _standing(run.status if run else None, assets, is_stale=is_stale)
    return MonthHistory(month, standing, rows, run_id, failure.station, failure.error)


def _standing(newest: dg.DagsterRunStatus | None, assets: Mapping[str, _Materialized], *, is_stale: bool) -> Standing:
    """How a month stands, judged by its newest run, then by its assets."""
    if newest is dg.DagsterRunStatus.QUEUED:
        return Standing.waiting
    if newest in _RUNNING:
        return Standing.running
    if newest is dg.DagsterRunStatus.FAILURE:
        return Standing.failed
    if len(assets) < len(TRIP_ASSETS):
        return Standing.partly
    return Standing.stale if is_stale else Standing.loaded


def _find_stale(
    instance: dg.DagsterInstance, months: Mapping[TripMonth, Mapping[str, _Materialized]]
) -> set[TripMonth]:
    """The months with an asset that was made by other code, or from an input that has another version by now."""
    sources = {color: _newest_observations(instance, color) for color in COLORS}
    stale = set()
    for month, assets in months.items():
        now = {SOURCE_TRIPS: sources[month.color].get(month.month), **assets}
        if any(_is_stale(instance, month, name, made, now.get(UPSTREAM[name])) for name, made in assets.items()):
            stale.add(month)
    return stale


def _is_stale(
    instance: dg.DagsterInstance, month: TripMonth, name: str, made: _Materialized, now: _Told | None
) -> bool:
    """Whether an asset of a month is stale; `now` is what was last told of its input."""
    if not made.code:
        # Somebody reported it by hand: Dagster knows no more than when.
        return now is not None and UPSTREAM[name] != SOURCE_TRIPS and made.event < now.event
    if made.code != CODE_VERSIONS[name]:
        return True
    if now is None or made.input is None or now.event <= made.input:
        return False
    # The input was made again since. It may have the same version.
    kind = "ASSET_OBSERVATION" if UPSTREAM[name] == SOURCE_TRIPS else "ASSET_MATERIALIZATION"
    used = instance.event_log_storage.get_latest_tags_by_partition(
        asset_key(month.color, UPSTREAM[name]),
        dg.DagsterEventType(kind),
        [DATA_VERSION_TAG],
        asset_partitions=[month.month],
        before_cursor=made.input + 1,
    )
    return used.get(month.month, {}).get(DATA_VERSION_TAG, "") != now.version


def _newest_observations(instance: dg.DagsterInstance, color: str) -> dict[str, _Told]:
    """The newest observation of the source of a color's months, by partition key."""
    key = asset_key(color, SOURCE_TRIPS)
    versions = observed_versions(instance, color)
    events = instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_OBSERVATION)
    return {partition: _Told(event, versions.get(partition, "")) for partition, event in events.items()}


def _newest_materializations(instance: dg.DagsterInstance, color: str, name: str) -> dict[TripMonth, _Materialized]:
    """The newest materialization of each month of an asset."""
    key = asset_key(color, name)
    newest = instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
    stored = dict(_stored_events(instance, _EVENTS.c.id.in_(list(newest.values()))))
    months = ((read_month(color, partition), number) for partition, number in newest.items())
    upstream = asset_key(color, UPSTREAM[name])
    return {month: _materialized(number, stored[number], upstream) for month, number in months if month}


def _newest_wipes(instance: dg.DagsterInstance) -> dict[TripMonth, dict[str, _Wipe]]:
    """The newest wipe of each month, by asset."""
    ours = _EVENTS.c.asset_key.in_([asset_key(color, name).to_string() for color in COLORS for name in TRIP_ASSETS])
    observed = _EVENTS.c.dagster_event_type == dg.DagsterEventType.ASSET_OBSERVATION.value
    newest: dict[TripMonth, dict[str, _Wipe]] = {}
    # The same assets are observed for other reasons too.
    for number, stored in sorted(_stored_events(instance, ours & observed & _EVENTS.c.event.contains(_WIPED))):
        observation = json.loads(stored)["dagster_event"]["event_specific_data"]["asset_observation"]
        told = {entry["label"]: entry for entry in observation["metadata_entries"]}
        color, name = observation["asset_key"]["path"]
        if _WIPED in told and (month := read_month(color, observation["partition"])):
            newest.setdefault(month, {})[name] = _Wipe(number, told[_NEWEST_RUN]["entry_data"]["text"])
    return newest


def _materialized(number: int, event: str, upstream: dg.AssetKey) -> _Materialized:
    """What a stored materialization tells.

    Dagster makes each column of the schema beside it an object, which takes ten times as long.
    """
    materialization = json.loads(event)["dagster_event"]["event_specific_data"]["materialization"]
    told = {entry["label"]: entry["entry_data"] for entry in materialization["metadata_entries"]}
    tags = materialization.get("tags") or {}
    pointer = tags.get(get_input_event_pointer_tag(upstream), "")
    return _Materialized(
        number,
        tags.get(DATA_VERSION_TAG, ""),
        cast("int", told[_ROW_COUNT]["value"]) if _ROW_COUNT in told else 0,
        tags.get(CODE_VERSION_TAG, ""),
        int(pointer) if pointer.isdigit() else None,
    )


def _as_waiting(history: MonthHistory) -> MonthHistory:
    under_way = history.standing in UNDER_WAY
    return history if under_way else replace(history, standing=Standing.waiting, failed_at="", error="")


def _waiting_in_backfills(instance: dg.DagsterInstance, runs: Iterable[dg.DagsterRun]) -> set[TripMonth]:
    """The months for which a backfill asks whose run of them is not in the queue yet."""
    requested = instance.get_backfills(BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED]))
    ran = {(run.tags.get(BACKFILL_ID_TAG), month) for run in runs for month in months_of(run)} if requested else set()
    return {
        month
        for backfill in requested
        for month in months_of_backfill(backfill)
        if (backfill.backfill_id, month) not in ran
    }


def months_of_backfill(backfill: PartitionBackfill) -> list[TripMonth]:
    """The months that a backfill of one of this project's jobs asks for, in its order; none for another backfill."""
    color = JOBS.get(backfill.job_name or "", "")
    return [month for key in backfill.partition_names or () if (month := read_month(color, key))] if color else []


def newest_runs(runs: Iterable[dg.DagsterRun]) -> dict[TripMonth, dg.DagsterRun]:
    """Each month's newest run of this project that materializes something; others may be in the same instance."""
    newest: dict[TripMonth, dg.DagsterRun] = {}
    for run in filter(_materializes, runs):
        for month in months_of(run):
            newest.setdefault(month, run)
    return newest


def _materializes(run: dg.DagsterRun) -> bool:
    """Whether a run is to materialize something: others observe the source, or evaluate checks."""
    selected = run.asset_selection or ()
    return not (selected or run.asset_check_selection) or any(key.path[-1] != SOURCE_TRIPS for key in selected)


def months_of(run: dg.DagsterRun) -> list[TripMonth]:
    """The months that a run is of: one, but for a run of several colors' assets that the UI starts."""
    key = run.tags.get(PARTITION_NAME_TAG, "")
    return [month for color in sorted(run_colors(run)) if (month := read_month(color, key))]


def read_month(color: str, key: str) -> TripMonth | None:
    """The month of a color that a partition key stands for; None where it is none, such as another project's."""
    try:
        return TripMonth(color, key)
    except UnknownMonth:
        return None


def are_own_assets(assets: Iterable[dg.AssetKey]) -> bool:
    """Whether these are assets, at least one, and all of this project."""
    keys = list(assets)
    return bool(keys) and all(map(is_trip_asset, keys))


def runs_of_backfills(backfill_ids: Sequence[str]) -> dg.RunsFilter:
    """What finds the runs of backfills."""
    return dg.RunsFilter(tags={BACKFILL_ID_TAG: list(backfill_ids)})


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
            step_key = (step and step.step_key) or ""
            failures[entry.run_id] = Failure(
                asset_of_step(step_key),
                explain(data.error) or _said_of_end(instance, entry.run_id, event.message or ""),
                split_step(step_key)[0],
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


def _stored_events(instance: dg.DagsterInstance, wanted: "ColumnElement[bool]") -> list[tuple[int, str]]:
    """The number and the JSON of each stored event that is wanted."""
    columns = _EVENTS.select().with_only_columns(_EVENTS.c.id, _EVENTS.c.event)
    with cast("SqlEventLogStorage", instance.event_log_storage).index_connection() as connection:
        return [(number, event) for number, event in connection.execute(columns.where(wanted))]
