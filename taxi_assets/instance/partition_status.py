"""The status of each month: its materialized assets, their row counts, and the result of its newest run.

Not here: how the status is displayed (`cli`).
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, cast

import dagster as dg

from taxi_assets.errors import UnknownMonth
from taxi_assets.graph import JOBS, SOURCE_TRIPS, TRIP_ASSETS, UPSTREAM
from taxi_assets.instance._dagster import (
    BACKFILL_ID_TAG,
    CODE_VERSION_TAG,
    DATA_VERSION_TAG,
    PARTITION_NAME_TAG,
    get_input_event_pointer_tag,
)
from taxi_assets.instance.events import (
    batched,
    event_data,
    events_table,
    newest_events,
    newest_materializations,
    reading_event,
    run_ids_of,
    stored_events,
)
from taxi_assets.instance.failures import Failure, read_failures
from taxi_assets.keys import asset_key, is_trip_asset, run_colors
from taxi_assets.partitions import partition_keys
from taxi_assets.settings import Settings
from taxi_assets.stores.source.similar import source_of
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets.tlc.versions import CODE_VERSIONS

if TYPE_CHECKING:
    from taxi_assets.instance._dagster import PartitionBackfill

_TRIP_KEYS = [asset_key(color, name) for color in COLORS for name in TRIP_ASSETS]

_ROW_COUNT, _SOURCE = "dagster/partition_row_count", "source"

_WIPED, _NEWEST_RUN = "wiped", "newest_run"

_RUNNING = frozenset(
    {
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    }
)


class PartitionStatus(StrEnum):
    """The status of a month, derived from its latest run and the assets that were ever materialized."""

    queued = "queued"
    running = "running"
    failed = "failed"
    loaded = "loaded"
    stale = "stale"
    partial = "partial"


IN_PROGRESS = frozenset({PartitionStatus.running, PartitionStatus.queued})
"""Statuses of months that have a queued or active run."""


@dataclass(frozen=True)
class MonthStatus:
    """The status of a month and the row count of each materialized asset, in pipeline order.

    For a failed month, `run_id` is its run, and `failed_at` and `error` are the failed step and the reason; both are
    empty if the run did not record them. `is_partition` is false for a month that TAXI_FIRST_MONTH now excludes: it
    cannot be run again. `source` is the source of the raw file, as a value of TAXI_SOURCE_URL where that is possible;
    empty if it is not known.
    """

    month: TripMonth
    status: PartitionStatus
    rows: Mapping[str, int]
    run_id: str = ""
    failed_at: str = ""
    error: str = ""
    is_partition: bool = True
    source: str = ""


@dataclass(frozen=True)
class _Event:
    """The newest event of an asset's partition: its storage ID, which increases over time, and its data version."""

    event: int
    version: str


@dataclass(frozen=True)
class _Materialized(_Event):
    """The newest materialization of an asset's partition: its row count, code version, input, and source address.

    `input` is the storage ID of an event, or None if it is not known. The asset was made from the newest version of its
    upstream partition up to and including that event. Dagster's UI uses the same data to decide what is stale.
    `address` is the path or URL that a raw file was fetched from, and empty for other assets.
    """

    rows: int
    code: str
    input: int | None
    address: str = ""


@dataclass(frozen=True)
class _Wipe:
    """The newest wipe of an asset's partition: the storage ID of its event, and the month's newest run at that time."""

    event: int
    run_id: str


def read_history(instance: dg.DagsterInstance, settings: Settings) -> list[MonthStatus]:
    """Return the status of every month that has ever been run or materialized, or that a backfill requests, in order.

    Excludes months that were wiped from all assets and not run since, and months that turned out not to be published.
    """
    runs, requested = _read_newest_runs(instance), _requested_by_backfills(instance)
    wipes = _newest_wipes(instance)
    found: dict[TripMonth, dict[str, _Materialized]] = {month: {} for month in (*runs, *requested)}
    for month, name, newest in _newest_materializations(instance):
        wiped = wipes.get(month, {}).get(name)
        if wiped is None or wiped.event < newest.event:
            found.setdefault(month, {})[name] = newest
    stale = _find_stale(instance, found)
    failures = read_failures(instance, [run for run in runs.values() if run.status is dg.DagsterRunStatus.FAILURE])
    partitions = {color: set(partition_keys(settings, color)) for color in COLORS}
    histories = (
        replace(
            _history(month, runs.get(month), assets, failures, is_stale=month in stale),
            is_partition=month.month in partitions[month.color],
        )
        for month, assets in found.items()
        if assets or month in requested or not _is_hidden(runs[month], wipes.get(month, {}).values())
    )
    statuses = (_as_queued(history) if history.month in requested else history for history in histories)
    return sorted(statuses, key=lambda history: history.month)


def report_wiped(instance: dg.DagsterInstance, month: TripMonth, asset: str, newest_run: str) -> None:
    """Record that a month was wiped from an asset, because Dagster cannot delete the record of its materialization.

    `newest_run` is the ID of the month's newest run, if that run has finished. A month that is wiped from all assets
    after that run is no longer listed by `read_history`.
    """
    instance.report_runless_asset_event(
        dg.AssetObservation(
            asset_key(month.color, asset),
            description="taxi wipe deleted the month from this asset",
            metadata={_WIPED: True, _NEWEST_RUN: newest_run},
            partition=month.month,
        )
    )


def _is_hidden(newest: dg.DagsterRun, wipes: Iterable[_Wipe]) -> bool:
    """Return whether to omit a month that no asset contains.

    It is omitted if it was wiped after its newest run, or if that run succeeded because the month is not published.
    """
    return newest.status is dg.DagsterRunStatus.SUCCESS or any(wipe.run_id == newest.run_id for wipe in wipes)


def _history(
    month: TripMonth,
    run: dg.DagsterRun | None,
    assets: Mapping[str, _Materialized],
    failures: Mapping[str, Failure],
    *,
    is_stale: bool,
) -> MonthStatus:
    run_id = run.run_id if run else ""
    failure = failures.get(run_id, Failure())
    if run and failure.color not in ("", month.color):
        # The run, started from the UI, covers several colors and failed for another one.
        run, failure = None, Failure()
    rows = {name: assets[name].rows for name in TRIP_ASSETS if name in assets}
    newest = run.status if run else None
    if failure.is_canceled:
        newest = dg.DagsterRunStatus.CANCELED
    status = _status(newest, assets, is_stale=is_stale)
    address = assets["raw_trips"].address if "raw_trips" in assets else ""
    source = source_of(address, month) if address else ""
    return MonthStatus(month, status, rows, run_id, failure.asset, failure.error, source=source)


def _status(
    newest: dg.DagsterRunStatus | None, assets: Mapping[str, _Materialized], *, is_stale: bool
) -> PartitionStatus:
    """Return the status of a month, based on its newest run and then on its assets."""
    if newest is dg.DagsterRunStatus.QUEUED:
        return PartitionStatus.queued
    if newest in _RUNNING:
        return PartitionStatus.running
    if newest is dg.DagsterRunStatus.FAILURE:
        return PartitionStatus.failed
    if len(assets) < len(TRIP_ASSETS):
        return PartitionStatus.partial
    return PartitionStatus.stale if is_stale else PartitionStatus.loaded


def _find_stale(
    instance: dg.DagsterInstance, months: Mapping[TripMonth, Mapping[str, _Materialized]]
) -> set[TripMonth]:
    """Return the months with an asset whose code version changed, or whose upstream data version has changed since."""
    sources = {color: _newest_observations(instance, color) for color in COLORS}
    stale = set()
    for month, assets in months.items():
        now = {SOURCE_TRIPS: sources[month.color].get(month.month), **assets}
        if any(_is_stale(instance, month, name, made, now.get(UPSTREAM[name])) for name, made in assets.items()):
            stale.add(month)
    return stale


def _is_stale(
    instance: dg.DagsterInstance, month: TripMonth, name: str, made: _Materialized, now: _Event | None
) -> bool:
    """Return whether an asset's partition is stale. `now` is the newest event of its upstream partition."""
    if not made.code:
        # It was reported manually, so Dagster only knows when.
        return now is not None and UPSTREAM[name] != SOURCE_TRIPS and made.event < now.event
    if made.code != CODE_VERSIONS[name]:
        return True
    if now is None or made.input is None or now.event <= made.input:
        return False
    # The upstream partition was updated since, but may have the same version.
    kind = "ASSET_OBSERVATION" if UPSTREAM[name] == SOURCE_TRIPS else "ASSET_MATERIALIZATION"
    used = instance.event_log_storage.get_latest_tags_by_partition(
        asset_key(month.color, UPSTREAM[name]),
        dg.DagsterEventType(kind),
        [DATA_VERSION_TAG],
        asset_partitions=[month.month],
        before_cursor=made.input + 1,
    )
    return used.get(month.month, {}).get(DATA_VERSION_TAG, "") != now.version


def observed_versions(instance: dg.DagsterInstance, color: str) -> dict[str, str]:
    """Return the source version last observed for each month of a color, by partition key."""
    observed = instance.event_log_storage.get_latest_tags_by_partition(
        asset_key(color, SOURCE_TRIPS), dg.DagsterEventType.ASSET_OBSERVATION, [DATA_VERSION_TAG]
    )
    return {key: tags[DATA_VERSION_TAG] for key, tags in observed.items()}


def _newest_observations(instance: dg.DagsterInstance, color: str) -> dict[str, _Event]:
    """Return the newest observation of the source for each month of a color, by partition key."""
    key = asset_key(color, SOURCE_TRIPS)
    versions = observed_versions(instance, color)
    events = instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_OBSERVATION)
    return {partition: _Event(event, versions.get(partition, "")) for partition, event in events.items()}


def _newest_materializations(instance: dg.DagsterInstance) -> Iterator[tuple[TripMonth, str, _Materialized]]:
    """Yield the newest materialization of each month of each asset, with the month and the name of the asset."""
    for key, partition, number, event in newest_materializations(instance, _TRIP_KEYS):
        color, name = key.path
        if month := read_month(color, partition):
            yield month, name, _materialized(number, event, asset_key(color, UPSTREAM[name]))


def _newest_wipes(instance: dg.DagsterInstance) -> dict[TripMonth, dict[str, _Wipe]]:
    """Return the newest wipe of each month, by asset."""
    events = events_table().c
    ours = events.asset_key.in_([key.to_string() for key in _TRIP_KEYS])
    observed = events.dagster_event_type == dg.DagsterEventType.ASSET_OBSERVATION.value
    newest: dict[TripMonth, dict[str, _Wipe]] = {}
    # These assets also have observations that are not wipes.
    for number, stored in sorted(stored_events(instance, ours & observed & events.event.contains(_WIPED))):
        with reading_event():
            observation = event_data(json.loads(stored))["asset_observation"]
            metadata = {entry["label"]: entry for entry in observation["metadata_entries"]}
            color, name = observation["asset_key"]["path"]
            if _WIPED in metadata and (month := read_month(color, observation["partition"])):
                newest.setdefault(month, {})[name] = _Wipe(number, metadata[_NEWEST_RUN]["entry_data"]["text"])
    return newest


def _materialized(number: int, event: str, upstream: dg.AssetKey) -> _Materialized:
    """Parse a stored materialization event.

    Reads the JSON because Dagster would also create an object for each column of the schema, which takes ten times as
    long.
    """
    with reading_event():
        materialization = event_data(json.loads(event))["materialization"]
        metadata = {entry["label"]: entry["entry_data"] for entry in materialization["metadata_entries"]}
        tags = materialization.get("tags") or {}
        pointer = tags.get(get_input_event_pointer_tag(upstream), "")
        return _Materialized(
            number,
            tags.get(DATA_VERSION_TAG, ""),
            cast("int", metadata[_ROW_COUNT]["value"]) if _ROW_COUNT in metadata else 0,
            tags.get(CODE_VERSION_TAG, ""),
            int(pointer) if pointer.isdigit() else None,
            str(metadata.get(_SOURCE, {}).get("url", "")),
        )


def _as_queued(history: MonthStatus) -> MonthStatus:
    if history.status in IN_PROGRESS:
        return history
    return replace(history, status=PartitionStatus.queued, failed_at="", error="")


def _read_newest_runs(instance: dg.DagsterInstance) -> dict[TripMonth, dg.DagsterRun]:
    """Return each month's newest run that materializes assets of this project.

    When a run is created, Dagster records an event for each partition that it plans to materialize. The newest of these
    events are found by an index, so that this takes no longer with many old runs.
    """
    planned: dict[TripMonth, int] = {}
    newest = newest_events(instance, _TRIP_KEYS, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
    for event, (key, partition) in newest.items():
        if month := read_month(key.path[0], partition):
            planned[month] = max(event, planned.get(month, 0))
    run_ids = run_ids_of(instance, planned.values())
    runs = {run.run_id: run for ids in batched(sorted(set(run_ids.values()))) for run in _runs(instance, ids)}
    return {month: runs[run_ids[event]] for month, event in planned.items() if run_ids.get(event) in runs}


def _runs(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> Sequence[dg.DagsterRun]:
    return instance.get_runs(dg.RunsFilter(run_ids=list(run_ids)))


def _requested_by_backfills(instance: dg.DagsterInstance) -> set[TripMonth]:
    """Return the months requested by a backfill that has not created their runs yet."""
    from taxi_assets.instance._dagster import BulkActionsFilter, BulkActionStatus

    requested = instance.get_backfills(BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED]))
    runs = instance.get_runs(runs_of_backfills([backfill.backfill_id for backfill in requested])) if requested else ()
    ran = {(run.tags.get(BACKFILL_ID_TAG), month) for run in runs for month in months_of(run)}
    return {
        month
        for backfill in requested
        for month in months_of_backfill(backfill)
        if (backfill.backfill_id, month) not in ran
    }


def months_of_backfill(backfill: "PartitionBackfill") -> list[TripMonth]:
    """Return the months that a backfill of one of this project's jobs requests, in its order.

    Returns an empty list for any other backfill.
    """
    color = JOBS.get(backfill.job_name or "", "")
    return [month for key in backfill.partition_names or () if (month := read_month(color, key))] if color else []


def newest_runs(runs: Iterable[dg.DagsterRun]) -> dict[TripMonth, dg.DagsterRun]:
    """Return each month's newest run that materializes assets of this project, ignoring runs of other projects.

    `runs` must be sorted newest first.
    """
    newest: dict[TripMonth, dg.DagsterRun] = {}
    for run in filter(_materializes, runs):
        for month in months_of(run):
            newest.setdefault(month, run)
    return newest


def _materializes(run: dg.DagsterRun) -> bool:
    """Return whether a run materializes assets. Other runs only observe the source or evaluate checks."""
    selected = run.asset_selection or ()
    return not (selected or run.asset_check_selection) or any(key.path[-1] != SOURCE_TRIPS for key in selected)


def months_of(run: dg.DagsterRun) -> list[TripMonth]:
    """Return the months that a run covers: one per color. Only runs started from the UI can cover several colors."""
    key = run.tags.get(PARTITION_NAME_TAG, "")
    return [month for color in sorted(run_colors(run)) if (month := read_month(color, key))]


def read_month(color: str, key: str) -> TripMonth | None:
    """Return the month of a color for a partition key, or None if the key is not a month, as in other projects."""
    try:
        return TripMonth(color, key)
    except UnknownMonth:
        return None


def is_own_backfill(backfill: "PartitionBackfill") -> bool:
    """Return whether a backfill is of one of this project's jobs, or of assets that all belong to this project."""
    assets = backfill.asset_selection or ()
    return bool(months_of_backfill(backfill)) or (bool(assets) and all(map(is_trip_asset, assets)))


def runs_of_backfills(backfill_ids: Sequence[str]) -> dg.RunsFilter:
    """Return the filter that selects the runs of these backfills."""
    return dg.RunsFilter(tags={BACKFILL_ID_TAG: list(backfill_ids)})
