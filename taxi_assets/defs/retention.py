"""Old runs removed from the history, with their events, where nothing that is told of a month rests on them.

Not here: when that is done (`deploy/docker/clean_up.py`), and what is told (`history`).
"""

from collections.abc import Iterable
from datetime import datetime
from typing import cast

import dagster as dg
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionsFilter, BulkActionStatus
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.tags import BACKFILL_ID_TAG

from taxi_assets.defs.graph import run_colors
from taxi_assets.defs.history import newest_runs

_TOLD_OF_PARTITIONS = (
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_OBSERVATION,
    # By the newest of these Dagster's UI knows the partitions that failed.
    dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
)


def remove_old_runs(instance: dg.DagsterInstance, ended_before: datetime) -> int:
    """Remove this project's runs that ended before a time, with their events; how many.

    These stay, however old: each partition's newest run, the runs of backfills that are not over, each run with the
    newest materialization or observation of a partition of an asset, and what a run that stays was first run as. So
    every month is told as before. Events that are of no run, such as wipes, stay too.
    """
    records = instance.get_run_records()
    needed = _needed(instance, [record.dagster_run for record in records])
    old = {
        record.dagster_run.run_id
        for record in records
        if run_colors(record.dagster_run)
        and record.dagster_run.status in FINISHED_STATUSES
        and _ended(record) < ended_before.timestamp()
        and record.dagster_run.run_id not in needed
    }
    # The daemon, which runs a run again, looks for the first of those that it was run as.
    old -= {record.dagster_run.root_run_id for record in records if record.dagster_run.run_id not in old}
    for run_id in old:
        instance.delete_run(run_id)
    return len(old)


def _ended(record: dg.RunRecord) -> float:
    """When a run that is over ended. One that never ran may not tell: then, when it was last written."""
    return record.end_time or record.update_timestamp.timestamp()


def _needed(instance: dg.DagsterInstance, runs: Iterable[dg.DagsterRun]) -> set[str]:
    """The runs that something rests on, by their ids."""
    under_way = _backfills_under_way(instance, runs)
    of_backfills = {run.run_id for run in runs if run.tags.get(BACKFILL_ID_TAG) in under_way}
    return of_backfills | {run.run_id for run in newest_runs(runs).values()} | _tell_the_newest(instance)


def _backfills_under_way(instance: dg.DagsterInstance, runs: Iterable[dg.DagsterRun]) -> set[str]:
    """The backfills that ask for more, or of which a run is not over: the daemon calls one complete before that."""
    statuses = [status for status in BulkActionStatus if status not in BULK_ACTION_TERMINAL_STATUSES]
    asking = {backfill.backfill_id for backfill in instance.get_backfills(BulkActionsFilter(statuses=statuses))}
    unfinished = [run for run in runs if run.status not in FINISHED_STATUSES]
    return asking | {run.tags[BACKFILL_ID_TAG] for run in unfinished if BACKFILL_ID_TAG in run.tags}


def _tell_the_newest(instance: dg.DagsterInstance) -> set[str]:
    """The runs that have the newest event of a kind of any partition of any asset."""
    from sqlalchemy import func, select

    events = SqlEventLogStorageTable.c
    newest = (
        select(func.max(events.id))
        .where(events.dagster_event_type.in_([kind.value for kind in _TOLD_OF_PARTITIONS]))
        .group_by(events.asset_key, events.partition, events.dagster_event_type)
    )
    with cast("SqlEventLogStorage", instance.event_log_storage).index_connection() as connection:
        return set(connection.execute(select(events.run_id).where(events.id.in_(newest))).scalars())
