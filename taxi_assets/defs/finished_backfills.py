"""Notifications about finished backfills: one message per backfill, with the outcome of each of its months.

Not here: notifications about single runs (`failed_runs`).
"""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import dagster as dg

from taxi_assets.defs.failed_runs import INTERVAL_S, WHEN, first_lines, notify
from taxi_assets.defs.resources import NotificationsResource
from taxi_assets.instance.failures import explain, read_failures
from taxi_assets.instance.partition_status import (
    is_own_backfill,
    months_of_backfill,
    newest_runs,
    read_month,
    runs_of_backfills,
)
from taxi_assets.instance.processes import end_dead_runs
from taxi_assets.instance.tags import NOT_PUBLISHED, RESULT_TAG, color_result_tag
from taxi_assets.keys import colors_of
from taxi_assets.notifications import Message
from taxi_assets.tlc.trips import TripMonth, format_by_color

if TYPE_CHECKING:
    from taxi_assets.instance._dagster import PartitionBackfill

MAX_REPORTED = 5
"""The maximum number of backfills that a tick reports.

Dagster limits a tick to one minute, and channels that do not respond take a while to time out.
"""

NEWEST_READ = (10, 100)
"""How many of the newest backfills to read.

The second number is used only if the newest backfill of the previous tick is not among the first.
"""

RETRY_WITHIN_S = 60.0
"""The time within which the daemon creates the retry of a run that it marked for one, in seconds.

The daemon checks every five seconds.
"""


class Outcome(StrEnum):
    """The outcome of a month in a backfill, based on its newest run in that backfill."""

    loaded = "loaded"
    failed = "failed"
    not_published = "not published"
    canceled = "canceled"
    never_ran = "never ran"


@dataclass(frozen=True)
class _Cursor:
    """The sensor's cursor: the newest backfill it has seen, and the backfills it has seen that are not finished."""

    newest: str
    open: Sequence[str]

    @classmethod
    def read(cls, text: str) -> "_Cursor":
        cursor = json.loads(text)
        return cls(cursor["newest"], cursor["open"])

    def __str__(self) -> str:
        return json.dumps({"newest": self.newest, "open": list(self.open)})


def build_backfill_notifications() -> dg.SensorDefinition:
    """Return the sensor `alert_finished_backfills`."""

    @dg.sensor(
        name="alert_finished_backfills",
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Notifies the channels in TAXI_ALERT_URLS of each finished backfill of this project, with the "
        "outcome of each of its months. Backfills that finished before the sensor was first evaluated are not "
        f"reported. {WHEN}",
    )
    def tick(
        context: dg.SensorEvaluationContext, notifications: dg.ResourceParam[NotificationsResource]
    ) -> dg.SkipReason:
        instance = context.instance
        # Otherwise a run whose process no longer exists would stay in progress forever and never be reported.
        end_dead_runs(instance)
        cursor = _look(instance, context.cursor)
        over = [backfill for backfill in _find(instance, cursor.open) if _is_over(instance, backfill)][:MAX_REPORTED]
        messages = [
            _summary(instance, backfill, _targets(context, backfill), notifications.ui_url) for backfill in over
        ]
        if messages:
            notify(notifications, messages, context.log)
        reported = {backfill.backfill_id for backfill in over}
        left = [backfill_id for backfill_id in cursor.open if backfill_id not in reported]
        context.update_cursor(str(_Cursor(cursor.newest, left)))
        return dg.SkipReason(f"backfills reported: {len(reported)}, in progress: {len(left)}")

    return tick


def _look(instance: dg.DagsterInstance, before: str | None) -> _Cursor:
    """Return the cursor with the backfills to watch: those already watched, and those created since."""
    known = _Cursor.read(before) if before else _Cursor("", ())
    listed = _newer(instance, known.newest)
    ours = filter(is_own_backfill, listed)
    # On the first tick, skip backfills that have already finished.
    new = [backfill.backfill_id for backfill in ours if before or not _is_over(instance, backfill)]
    return _Cursor(listed[0].backfill_id if listed else known.newest, [*known.open, *reversed(new)])


def _newer(instance: dg.DagsterInstance, than: str) -> "Sequence[PartitionBackfill]":
    """Return the backfills created after this one, newest first, or the newest backfills if it is not found."""
    listed: Sequence[PartitionBackfill] = ()
    for limit in NEWEST_READ:
        listed = instance.get_backfills(limit=limit)
        ids = [backfill.backfill_id for backfill in listed]
        if than in ids:
            return listed[: ids.index(than)]
    return listed


def _find(instance: dg.DagsterInstance, ids: Iterable[str]) -> "Iterator[PartitionBackfill]":
    return (backfill for backfill_id in ids if (backfill := instance.get_backfill(backfill_id)))


def _is_over(instance: dg.DagsterInstance, backfill: "PartitionBackfill") -> bool:
    """Return whether a backfill has no more runs to request, and none in progress or about to be retried.

    The backfill's status is not enough: `dagster job backfill` marks a backfill as completed as soon as its runs are
    queued.
    """
    from taxi_assets.instance._dagster import BULK_ACTION_TERMINAL_STATUSES

    if backfill.status not in BULK_ACTION_TERMINAL_STATUSES:
        return False
    recently = time.time() - RETRY_WITHIN_S
    return all(
        record.dagster_run.is_finished
        and not (record.dagster_run.is_complete_and_waiting_to_retry and (record.end_time or 0) > recently)
        for record in instance.get_run_records(runs_of_backfills([backfill.backfill_id]))
    )


def _targets(context: dg.SensorEvaluationContext, backfill: "PartitionBackfill") -> set[TripMonth]:
    """Return the months that a backfill requested, whether they ran or not."""
    if not backfill.is_asset_backfill or context.repository_def is None:
        return set(months_of_backfill(backfill))
    try:
        data = backfill.get_asset_backfill_data(context.repository_def.asset_graph)
    except dg.DagsterError:
        # The partitions definition has changed since. The months that ran are known from their runs.
        return set()
    by_asset = data.target_subset.partitions_subsets_by_asset_key.items()
    found = (
        read_month(color, key)
        for asset, subset in by_asset
        for color in colors_of([asset])
        for key in subset.get_partition_keys()
    )
    return {month for month in found if month}


def _summary(
    instance: dg.DagsterInstance,
    backfill: "PartitionBackfill",
    targets: Iterable[TripMonth],
    ui_url: str,
) -> Message:
    """Return the message about a backfill: its months by outcome, how to resubmit those not loaded, and a link."""
    from taxi_assets.instance._dagster import BulkActionStatus

    outcomes = _outcomes(instance, backfill, targets)
    by_outcome = {outcome: sorted(m for m, own in outcomes.items() if own is outcome) for outcome in Outcome}
    counts = [f"{len(months)} {outcome}" for outcome, months in by_outcome.items() if months]
    lines = [f"{backfill.backfill_id} {backfill.title or ''}".rstrip()]
    lines += [f"{outcome}: {format_by_color(months)}" for outcome, months in by_outcome.items() if months]
    if backfill.status is BulkActionStatus.FAILED:
        counts.append("stopped by the daemon after an error")
        lines += first_lines(explain(backfill.error))
    if set(outcomes.values()) - _GOOD:
        retry = (
            "select Re-execute from failure on its page"
            if backfill.is_asset_backfill
            else f"taxi backfill resume {backfill.backfill_id}"
        )
        lines.append(f"To load the other months: {retry}")
    lines.append(f"{ui_url}/runs/b/{backfill.backfill_id}")
    good = backfill.status is not BulkActionStatus.FAILED and set(outcomes.values()) <= _GOOD
    return Message(f"Backfill of {_counted(len(outcomes))}: {', '.join(counts)}", "\n".join(lines), good=good)


_GOOD = {Outcome.loaded, Outcome.not_published}


def _counted(months: int) -> str:
    return "1 month" if months == 1 else f"{months} months"


def _outcomes(
    instance: dg.DagsterInstance, backfill: "PartitionBackfill", targets: Iterable[TripMonth]
) -> dict[TripMonth, Outcome]:
    """Return the outcome of each month."""
    newest = newest_runs(instance.get_runs(runs_of_backfills([backfill.backfill_id])))
    failed = [run for run in newest.values() if run.status is dg.DagsterRunStatus.FAILURE]
    canceled = {run_id for run_id, failure in read_failures(instance, failed).items() if failure.is_canceled}
    return dict.fromkeys(targets, Outcome.never_ran) | {
        month: Outcome.canceled if run.run_id in canceled else _outcome(run, month.color)
        for month, run in newest.items()
    }


def _outcome(run: dg.DagsterRun, color: str) -> Outcome:
    if run.status is dg.DagsterRunStatus.SUCCESS:
        results = {run.tags.get(tag) for tag in (RESULT_TAG, color_result_tag(color))}
        return Outcome.not_published if NOT_PUBLISHED in results else Outcome.loaded
    return Outcome.canceled if run.status is dg.DagsterRunStatus.CANCELED else Outcome.failed
