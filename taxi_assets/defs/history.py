"""What the instance remembers of each month: which stations it passed, with how many rows, and what its last run did.

Not here: how that looks (`console`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import dagster as dg
from dagster._core.storage.tags import MULTIDIMENSIONAL_PARTITION_PREFIX, PARTITION_NAME_TAG

from taxi_assets.defs.jobs import STATIONS, UPSTREAM
from taxi_assets.defs.partitions import partition_key, trip_month
from taxi_assets.news import MonthHistory, Standing
from taxi_assets.tlc.trips import TripMonth

_PAGE = 1000

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
    """A month's newest materialization at a station: the number of its event, which grows, and its rows."""

    event: int
    rows: int


def read_history(instance: dg.DagsterInstance, partitions: dg.MultiPartitionsDefinition) -> list[MonthHistory]:
    """Every month that any run ever touched, in order."""
    statuses = _newest_run_status(instance)
    passed: dict[str, dict[str, _Passed]] = {key: {} for key in statuses}
    for station in STATIONS:
        for key, newest in _newest_by_partition(instance, dg.AssetKey(station)).items():
            passed.setdefault(key, {})[station] = newest
    histories = (
        MonthHistory(
            trip_month(key, partitions),
            _standing(statuses.get(key), stations),
            {station: newest.rows for station, newest in stations.items()},
        )
        for key, stations in passed.items()
    )
    return sorted(histories, key=lambda history: history.month)


def read_sources(instance: dg.DagsterInstance, months: Iterable[TripMonth]) -> dict[TripMonth, str]:
    """The address that each of these months was fetched from last, for those that ever were."""
    sources = {}
    for month in months:
        wanted = dg.AssetRecordsFilter(dg.AssetKey("raw_trips"), asset_partitions=[partition_key(month)])
        for record in instance.fetch_materializations(wanted, limit=1).records:
            if record.asset_materialization and (source := record.asset_materialization.metadata.get("source")):
                sources[month] = str(source.value)
    return sources


def _standing(newest: dg.DagsterRunStatus | None, passed: Mapping[str, _Passed]) -> Standing:
    if newest is dg.DagsterRunStatus.QUEUED:
        return Standing.waiting
    if newest in _RUNNING:
        return Standing.running
    if newest is dg.DagsterRunStatus.FAILURE:
        return Standing.failed
    if len(passed) < len(STATIONS):
        return Standing.partly
    stale = any(passed[station].event < passed[upstream].event for station, upstream in UPSTREAM.items())
    return Standing.stale if stale else Standing.loaded


def _newest_by_partition(instance: dg.DagsterInstance, asset: dg.AssetKey) -> dict[str, _Passed]:
    """What the newest materialization of each partition told."""
    newest: dict[str, _Passed] = {}
    cursor = None
    while True:
        page = instance.fetch_materializations(asset, limit=_PAGE, cursor=cursor)
        for record in page.records:
            materialization = record.asset_materialization
            if materialization and materialization.partition and materialization.partition not in newest:
                count = materialization.metadata.get("dagster/partition_row_count")
                rows = cast("int", count.value) if count else 0
                newest[materialization.partition] = _Passed(record.storage_id, rows)
        if not page.has_more:
            return newest
        cursor = page.cursor


def _newest_run_status(instance: dg.DagsterInstance) -> dict[str, dg.DagsterRunStatus]:
    """The status of each partition's newest run."""
    statuses: dict[str, dg.DagsterRunStatus] = {}
    for run in instance.get_runs():
        if key := _partition_of(run):
            statuses.setdefault(key, run.status)
    return statuses


def _partition_of(run: dg.DagsterRun) -> str | None:
    """The partition that a run's tags name, as one key or dimension by dimension."""
    by_dimension = {
        tag.removeprefix(MULTIDIMENSIONAL_PARTITION_PREFIX): value
        for tag, value in run.tags.items()
        if tag.startswith(MULTIDIMENSIONAL_PARTITION_PREFIX)
    }
    return str(dg.MultiPartitionKey(by_dimension)) if by_dimension else run.tags.get(PARTITION_NAME_TAG)
