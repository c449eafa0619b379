"""What the instance remembers of each month: which stations it passed, with how many rows, and what its last run did.

Not here: how that looks (`console`).
"""

from typing import cast

import dagster as dg
from dagster._core.storage.tags import MULTIDIMENSIONAL_PARTITION_PREFIX, PARTITION_NAME_TAG

from taxi_assets.defs.jobs import STATIONS
from taxi_assets.defs.partitions import trip_month
from taxi_assets.news import MonthHistory, Standing

_PAGE = 1000

_RUNNING = frozenset({dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.QUEUED})


def read_history(instance: dg.DagsterInstance, partitions: dg.MultiPartitionsDefinition) -> list[MonthHistory]:
    """Every month that any run ever touched, in order."""
    statuses = _newest_run_status(instance)
    rows: dict[str, dict[str, int]] = {key: {} for key in statuses}
    for station in STATIONS:
        for key, count in _rows_by_partition(instance, dg.AssetKey(station)).items():
            rows.setdefault(key, {})[station] = count
    histories = (
        MonthHistory(trip_month(key, partitions), _standing(statuses.get(key), passed), passed)
        for key, passed in rows.items()
    )
    return sorted(histories, key=lambda history: history.month)


def _standing(newest: dg.DagsterRunStatus | None, passed: dict[str, int]) -> Standing:
    if newest in _RUNNING:
        return Standing.running
    if newest is dg.DagsterRunStatus.FAILURE:
        return Standing.failed
    return Standing.loaded if len(passed) == len(STATIONS) else Standing.partly


def _rows_by_partition(instance: dg.DagsterInstance, asset: dg.AssetKey) -> dict[str, int]:
    """The rows that the newest materialization of each partition told."""
    rows: dict[str, int] = {}
    cursor = None
    while True:
        page = instance.fetch_materializations(asset, limit=_PAGE, cursor=cursor)
        for record in page.records:
            materialization = record.asset_materialization
            if materialization and materialization.partition and materialization.partition not in rows:
                count = materialization.metadata.get("dagster/partition_row_count")
                rows[materialization.partition] = cast("int", count.value) if count else 0
        if not page.has_more:
            return rows
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
