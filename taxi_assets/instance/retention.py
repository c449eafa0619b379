"""Deletes old runs and their events from the history, unless the status of a month depends on them.

Not here: when that happens (`deploy/docker/clean_up.py`), and the status of months (`partition_status`).
"""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, cast

import dagster as dg

from taxi_assets.instance._dagster import BACKFILL_ID_TAG
from taxi_assets.instance.events import events_table
from taxi_assets.instance.partition_status import newest_runs
from taxi_assets.keys import is_own_run

if TYPE_CHECKING:
    from taxi_assets.instance._dagster import SqlEventLogStorage

_PARTITION_EVENTS = (
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_OBSERVATION,
    # Dagster's UI uses the newest of these events to find failed partitions.
    dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
)


def remove_old_runs(instance: dg.DagsterInstance, ended_before: datetime) -> int:
    """Delete this project's runs that ended before a time, with their events, and return the number of deleted runs.

    The following are kept regardless of age, so that the status of every month stays the same:

    - each partition's newest run
    - runs of unfinished backfills
    - runs with the newest materialization, planned materialization, or observation of an asset's partition
    - the root run of each run that is kept
    - events that do not belong to a run, such as wipes
    """
    records = instance.get_run_records()
    needed = _needed(instance, [record.dagster_run for record in records])
    old = {
        record.dagster_run.run_id
        for record in records
        if is_own_run(record.dagster_run)
        and record.dagster_run.is_finished
        and _ended(record) < ended_before.timestamp()
        and record.dagster_run.run_id not in needed
    }
    # To retry a run, the daemon looks up its root run.
    old -= {record.dagster_run.root_run_id for record in records if record.dagster_run.run_id not in old}
    for run_id in old:
        instance.delete_run(run_id)
    return len(old)


def _ended(record: dg.RunRecord) -> float:
    """Return when a finished run ended (Unix time), or was last updated if it never started and has no end time."""
    return record.end_time or record.update_timestamp.timestamp()


def _needed(instance: dg.DagsterInstance, runs: Iterable[dg.DagsterRun]) -> set[str]:
    """Return the IDs of the runs to keep."""
    unfinished = _unfinished_backfills(instance, runs)
    of_backfills = {run.run_id for run in runs if run.tags.get(BACKFILL_ID_TAG) in unfinished}
    return of_backfills | {run.run_id for run in newest_runs(runs).values()} | _with_newest_events(instance)


def _unfinished_backfills(instance: dg.DagsterInstance, runs: Iterable[dg.DagsterRun]) -> set[str]:
    """Return the IDs of the backfills that are not finished.

    The daemon can mark a backfill as completed before its last run ends, so this also checks the runs.
    """
    from taxi_assets.instance._dagster import BULK_ACTION_TERMINAL_STATUSES, BulkActionsFilter, BulkActionStatus

    statuses = [status for status in BulkActionStatus if status not in BULK_ACTION_TERMINAL_STATUSES]
    requested = {backfill.backfill_id for backfill in instance.get_backfills(BulkActionsFilter(statuses=statuses))}
    unfinished = [run for run in runs if not run.is_finished]
    return requested | {run.tags[BACKFILL_ID_TAG] for run in unfinished if BACKFILL_ID_TAG in run.tags}


def _with_newest_events(instance: dg.DagsterInstance) -> set[str]:
    """Return the IDs of the runs with the newest event of each type for each partition of each asset."""
    from sqlalchemy import func, select

    events = events_table().c
    newest = (
        select(func.max(events.id))
        .where(events.dagster_event_type.in_([kind.value for kind in _PARTITION_EVENTS]))
        .group_by(events.asset_key, events.partition, events.dagster_event_type)
    )
    with cast("SqlEventLogStorage", instance.event_log_storage).index_connection() as connection:
        return set(connection.execute(select(events.run_id).where(events.id.in_(newest))).scalars())
