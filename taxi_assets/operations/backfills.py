"""Submit, follow, resume and cancel Dagster backfills, which the daemon runs and the UI shows.

Not here: what a run does (`runs`), and how a backfill is displayed (`cli`).
"""

import re
import time
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from taxi_assets.defs.retries import will_be_retried
from taxi_assets.errors import BackfillFailed, BackfillNotCanceled, NotResumable, UnknownBackfill
from taxi_assets.graph import TRIP_ASSETS, job_name
from taxi_assets.instance._dagster import (
    BULK_ACTION_TERMINAL_STATUSES,
    BackfillDaemon,
    BulkActionStatus,
    PartitionBackfill,
    RemotePartitionSetOrigin,
    make_new_backfill_id,
    partition_set_snap_name_for_job_name,
)
from taxi_assets.instance.failures import CANCELED, read_failures
from taxi_assets.instance.partition_status import is_own_backfill, months_of, months_of_backfill, runs_of_backfills
from taxi_assets.instance.tags import ASKED_BY_TAG, NOT_PUBLISHED, RESULT_TAG
from taxi_assets.operations.progress import Progress, ProgressEvent
from taxi_assets.operations.runs import ORIGIN, Listener, RunSpec
from taxi_assets.tlc.trips import TripMonth

_HEARTBEAT_S = 120.0
"""Maximum age of the heartbeat of a live daemon, in seconds. An idle daemon sends one every 30 seconds."""


def submit_backfills(instance: dg.DagsterInstance, months: Sequence[TripMonth], spec: RunSpec, title: str) -> list[str]:
    """Submit one backfill for each color to the daemon, with months in the given order. Return the backfill IDs."""
    colors = dict.fromkeys(month.color for month in months)
    return [_submit(instance, [month for month in months if month.color == color], spec, title) for color in colors]


def _submit(instance: dg.DagsterInstance, months: Sequence[TripMonth], spec: RunSpec, title: str) -> str:
    color = months[0].color
    selection = spec.selection(color)
    backfill = PartitionBackfill(
        backfill_id=make_new_backfill_id(),
        status=BulkActionStatus.REQUESTED,
        from_failure=False,
        tags={ASKED_BY_TAG: "cli"},
        backfill_timestamp=time.time(),
        title=_shortened(title),
        partition_set_origin=RemotePartitionSetOrigin(
            repository_origin=ORIGIN, partition_set_name=partition_set_snap_name_for_job_name(job_name(color))
        ),
        partition_names=[month.month for month in months],
        asset_selection=list(selection) if selection else None,
        run_config=spec.run_config(color),
    )
    instance.add_backfill(backfill)
    return backfill.backfill_id


def _shortened(title: str) -> str:
    """Convert a title to what Dagster accepts: at most 100 characters, without characters special to queries."""
    plain = re.sub(r'[%*"]', "", title)
    return plain if len(plain) <= _LONGEST_TITLE else f"{plain[: _LONGEST_TITLE - 3]}..."


_LONGEST_TITLE = 100


def unloaded_months(instance: dg.DagsterInstance, backfill_ids: Sequence[str]) -> tuple[list[TripMonth], RunSpec]:
    """The months that backfills did not load, for any reason, and what to run for each of them.

    Raises UnknownBackfill, also for an asset backfill, which the UI can re-execute itself, and for backfills that load
    different assets.
    """
    left = [_unloaded(instance, backfill_id) for backfill_id in backfill_ids]
    specs = {spec for _, spec in left}
    if len(specs) > 1:
        raise NotResumable("These backfills load different assets.")
    return [month for months, _ in left for month in months], specs.pop()


def _unloaded(instance: dg.DagsterInstance, backfill_id: str) -> tuple[list[TripMonth], RunSpec]:
    backfill = _find(instance, backfill_id)
    months = months_of_backfill(backfill)
    if not months:
        raise NotResumable(f'The backfill "{backfill_id}" was not submitted for one of the jobs load_COLOR.')
    loaded = _loaded_months(instance, backfill_id)
    chosen = {key.path[-1] for key in backfill.asset_selection or ()}
    assets = tuple(name for name in TRIP_ASSETS if not chosen or name in chosen)
    spec = RunSpec.read(assets, months[0].color, backfill.run_config or {})
    return [month for month in months if month not in loaded], spec


def _loaded_months(instance: dg.DagsterInstance, backfill_id: str) -> set[TripMonth]:
    """The months that a backfill loaded, without those that were not published, because they may be by now."""
    return {
        month
        for run in instance.get_runs(runs_of_backfills([backfill_id]))
        if run.status is dg.DagsterRunStatus.SUCCESS and run.tags.get(RESULT_TAG) != NOT_PUBLISHED
        for month in months_of(run)
    }


def cancel_backfill(instance: dg.DagsterInstance, backfill_id: str) -> bool:
    """Request cancellation of a backfill and its runs. Return False if the backfill has already finished.

    The daemon may overwrite the request with a status that it read earlier, so the request is repeated until it
    persists. Raises UnknownBackfill, and BackfillNotCanceled if the request does not persist.
    """
    if _find(instance, backfill_id).status in BULK_ACTION_TERMINAL_STATUSES:
        return False
    for _ in range(_CANCEL_TRIES):
        asked = _find(instance, backfill_id).with_status(BulkActionStatus.CANCELING)  # type: ignore[no-untyped-call]
        instance.update_backfill(asked)
        time.sleep(_SETTLED_S)
        if _find(instance, backfill_id).status is not BulkActionStatus.REQUESTED:
            return True
    raise BackfillNotCanceled(f'The backfill "{backfill_id}" continues after {_CANCEL_TRIES} requests to cancel it.')


_CANCEL_TRIES, _SETTLED_S = 5, 2.0
"""The number of cancellation requests, and the seconds to wait before checking whether a request persisted."""


@dataclass(frozen=True)
class BackfillSummary:
    """A backfill of this project: its status in the words of Dagster's UI, and how many of its months are loaded.

    `color` and `months` are empty for a backfill of assets that was started from the UI. `created` is in UTC.
    """

    backfill_id: str
    status: str
    created: datetime
    title: str
    color: str
    months: Sequence[str]
    loaded: int


def list_backfills(instance: dg.DagsterInstance, limit: int) -> list[BackfillSummary]:
    """Return the newest backfills of this project, newest first."""
    return [
        _summarize(instance, backfill) for backfill in instance.get_backfills(limit=limit) if is_own_backfill(backfill)
    ]


def _summarize(instance: dg.DagsterInstance, backfill: PartitionBackfill) -> BackfillSummary:
    months = months_of_backfill(backfill)
    return BackfillSummary(
        backfill.backfill_id,
        _STATUSES.get(backfill.status, backfill.status.value.lower().replace("_", " ")),
        datetime.fromtimestamp(backfill.backfill_timestamp, UTC),
        backfill.title or "",
        months[0].color if months else "",
        [month.month for month in months],
        len(_loaded_months(instance, backfill.backfill_id)),
    )


_STATUSES = {
    BulkActionStatus.REQUESTED: "in progress",
    BulkActionStatus.COMPLETED_SUCCESS: "completed",
    BulkActionStatus.COMPLETED_FAILED: "completed with failures",
}


def is_daemon_alive(instance: dg.DagsterInstance) -> bool:
    """Whether the backfill daemon sent a recent heartbeat."""
    heartbeat = instance.get_daemon_heartbeats().get(BackfillDaemon.daemon_type())
    return heartbeat is not None and time.time() - heartbeat.timestamp < _HEARTBEAT_S


def follow_backfills(
    instance: dg.DagsterInstance, backfill_ids: Sequence[str], poll_s: float = 1.0
) -> Iterator[ProgressEvent]:
    """Yield progress events of backfills until all finish, then a failed event for each month that never ran.

    It reads new events every `poll_s` seconds. Raises BackfillFailed if the daemon fails to run a backfill.
    """
    follower = _BackfillFollower(instance, backfill_ids)
    while True:
        backfills = [_find(instance, backfill_id) for backfill_id in backfill_ids]
        # Poll after reading the status, so that no event of a finished backfill is missed.
        yield from follower.poll()
        # The daemon checks backfills only twice a minute, so its status lags behind the runs.
        if all(_has_ended(backfill, follower.ended) for backfill in backfills):
            break
        time.sleep(poll_s)
    for backfill in backfills:
        if backfill.status is BulkActionStatus.FAILED:
            reason = backfill.error.message.strip() if backfill.error else "the daemon recorded no reason"
            raise BackfillFailed(
                f'The daemon stopped the backfill "{backfill.backfill_id}": {reason}', backfill=backfill.backfill_id
            )
        canceled = backfill.status is BulkActionStatus.CANCELED
        for month in _unfinished(backfill, follower.ended):
            error = "The backfill was canceled before this month ran." if canceled else "The month never ran."
            yield ProgressEvent(month, Progress.failed, error=error)


def _has_ended(backfill: PartitionBackfill, ended: AbstractSet[TripMonth]) -> bool:
    return not _unfinished(backfill, ended) or backfill.status in BULK_ACTION_TERMINAL_STATUSES


def _unfinished(backfill: PartitionBackfill, ended: AbstractSet[TripMonth]) -> list[TripMonth]:
    return [month for month in months_of_backfill(backfill) if month not in ended]


class _BackfillFollower:
    """Reads new events of the runs of backfills."""

    def __init__(self, instance: dg.DagsterInstance, backfill_ids: Sequence[str]) -> None:
        self._instance = instance
        self._runs = runs_of_backfills(backfill_ids)
        self._listeners: dict[str, Listener] = {}
        self._cursors: dict[str, str] = {}
        self._read_runs: set[str] = set()
        self._events: list[ProgressEvent] = []
        self.ended: set[TripMonth] = set()
        """The months whose last run has finished."""

    def poll(self) -> list[ProgressEvent]:
        """Return the progress events since the last poll."""
        self._events.clear()
        for record in self._instance.get_run_records(self._runs, ascending=True):
            ran = record.start_time is not None or record.dagster_run.status is dg.DagsterRunStatus.FAILURE
            if ran and record.dagster_run.run_id not in self._read_runs:
                self._read(record)
        return list(self._events)

    def _read(self, record: dg.RunRecord) -> None:
        """Read the new events of a run and, if it has finished, its result."""
        run = record.dagster_run
        listener = self._listener(run)
        more = True
        while more:
            page = self._instance.get_records_for_run(run.run_id, self._cursors.get(run.run_id))
            for event in page.records:
                listener(event.event_log_entry)
            self._cursors[run.run_id], more = page.cursor, page.has_more
        if run.is_finished:
            self._read_runs.add(run.run_id)
            if run.status is dg.DagsterRunStatus.FAILURE and will_be_retried(self._instance, run):
                self._events.append(
                    ProgressEvent(listener.month, Progress.attempt_failed, detail="failed; the daemon retries the run")
                )
            else:
                self.ended.add(listener.month)
                self._events.append(_end(listener, record, self._why(listener, run)))

    def _why(self, listener: Listener, run: dg.DagsterRun) -> str:
        """Why a run did not load its month. A run whose process died has not reported a reason itself."""
        if run.status is dg.DagsterRunStatus.CANCELED:
            return CANCELED
        if run.status is dg.DagsterRunStatus.FAILURE and not listener.failed_at:
            return read_failures(self._instance, [run])[run.run_id].error
        return listener.error

    def _listener(self, run: dg.DagsterRun) -> Listener:
        if run.run_id not in self._listeners:
            (month,) = months_of(run)
            self._listeners[run.run_id] = Listener(month, run.run_id, self._events.append)
            self._events.append(ProgressEvent(month, Progress.started, run_id=run.run_id))
        return self._listeners[run.run_id]


def _end(listener: Listener, record: dg.RunRecord, error: str) -> ProgressEvent:
    """Create the final event of a run. `error` is why it did not load its month."""
    status = record.dagster_run.status
    return ProgressEvent(
        listener.month,
        listener.end(success=status is dg.DagsterRunStatus.SUCCESS),
        listener.failed_at,
        seconds=record.end_time - record.start_time if record.start_time and record.end_time else 0,
        error=error,
        run_id=record.dagster_run.run_id,
        trace=listener.trace,
    )


def _find(instance: dg.DagsterInstance, backfill_id: str) -> PartitionBackfill:
    backfill = instance.get_backfill(backfill_id)
    if backfill is None:
        raise UnknownBackfill(f'No backfill has the ID "{backfill_id}".')
    return backfill
