"""Backfills: many months that the daemon is asked for at once, as one thing that the UI shows and cancels.

Not here: what a run does (`runs`), and how a backfill looks to people (`console`).
"""

import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum

import dagster as dg
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import RemotePartitionSetOrigin
from dagster._core.remote_representation.external_data import partition_set_snap_name_for_job_name
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.tags import PARTITION_NAME_TAG
from dagster._core.utils import make_new_backfill_id
from dagster._daemon.daemon import BackfillDaemon
from dagster._time import get_current_timestamp

from taxi_assets.defs.history import partition_of, read_failures, read_history, runs_of_backfill
from taxi_assets.defs.jobs import ASKED_BY_TAG, JOBS, LOAD_TRIPS
from taxi_assets.defs.partitions import partition_key, said_partitions, trip_month, trip_partitions
from taxi_assets.defs.retries import will_be_retried
from taxi_assets.defs.runs import ORIGIN, Listener, Order
from taxi_assets.defs.source_trips import look
from taxi_assets.errors import StoreBusy, StoreError, UnknownBackfill
from taxi_assets.news import UNDER_WAY, BackfillPlan, MonthHistory, News, RunNews, Standing
from taxi_assets.settings import Settings
from taxi_assets.systems import open_source
from taxi_assets.tlc.trips import TripMonth

_LOOKS_AT_ONCE = 8
"""Months that the source is asked for at once: one after another, a hundred would take half a minute."""

_POLL_S = 1.0
"""How often the history is asked how a backfill goes, in seconds."""

_SILENT_S = 120.0
"""How long a daemon that lives may be silent, in seconds: it says that it lives every 30, if it is not busy."""


class Which(StrEnum):
    """Which of the months that are named a backfill asks for."""

    all = "all"
    missing = "missing"
    failed = "failed"


def plan_backfill(
    settings: Settings, instance: dg.DagsterInstance, months: Sequence[TripMonth], stations: Sequence[str], which: Which
) -> BackfillPlan:
    """What a backfill of these months asks for, the newest month first, and what it leaves out, and why.

    It asks the source for each month that it would ask for, if `raw_trips` is among the stations. Raises SettingsError,
    and StoreError where the source cannot be asked.
    """
    partitions = trip_partitions(settings.first_month)
    histories = {history.month: history for history in read_history(instance, partitions)}
    known = set(map(str, partitions.get_partition_keys()))
    plan = BackfillPlan()
    possible: list[TripMonth] = []
    # The sort keeps the order of the colors within a month.
    for month in sorted(months, key=lambda month: month.month, reverse=True):
        if str(partition_key(month)) not in known:
            plan.left_out[month] = f"no partition. {said_partitions(settings.first_month)}"
        elif why := _not_asked_for(histories.get(month), stations, which):
            plan.left_out[month] = why
        else:
            possible.append(month)
    if "raw_trips" not in stations:
        plan.wanted.update(dict.fromkeys(possible))
        return plan
    source = open_source(settings)
    with ThreadPoolExecutor(_LOOKS_AT_ONCE) as pool:
        for month, published in zip(possible, pool.map(lambda month: look(source, month), possible), strict=True):
            if isinstance(published, str):
                plan.left_out[month] = published
            else:
                plan.wanted[month] = published.bytes
    return plan


def _not_asked_for(history: MonthHistory | None, stations: Sequence[str], which: Which) -> str:
    """Why a month is not asked for, judged by what is known of it; empty where it is."""
    if history and history.standing in UNDER_WAY:
        return f"{history.standing} already"
    if which is Which.missing and history and all(station in history.rows for station in stations):
        return "loaded already"
    if which is Which.failed and (history is None or history.standing is not Standing.failed):
        return "not failed"
    return ""


def submit_backfill(instance: dg.DagsterInstance, months: Sequence[TripMonth], order: Order, title: str) -> str:
    """Ask the daemon for what is ordered of these months, in their order; the backfill's id."""
    backfill = PartitionBackfill(
        backfill_id=make_new_backfill_id(),
        status=BulkActionStatus.REQUESTED,
        from_failure=False,
        tags={ASKED_BY_TAG: "cli"},
        backfill_timestamp=get_current_timestamp(),
        title=_shortened(title),
        partition_set_origin=RemotePartitionSetOrigin(
            repository_origin=ORIGIN, partition_set_name=partition_set_snap_name_for_job_name(LOAD_TRIPS)
        ),
        partition_names=[str(partition_key(month)) for month in months],
        asset_selection=list(order.selection) if order.selection else None,
        run_config=order.run_config,
    )
    instance.add_backfill(backfill)
    return backfill.backfill_id


def _shortened(title: str) -> str:
    """A title as Dagster takes it: no more than a hundred characters, and none that a query could misread."""
    plain = re.sub(r'[%*"]', "", title)
    return plain if len(plain) <= _LONGEST_TITLE else f"{plain[: _LONGEST_TITLE - 3]}..."


_LONGEST_TITLE = 100


def left_of_backfill(
    instance: dg.DagsterInstance, backfill_id: str, settings: Settings
) -> tuple[list[TripMonth], Order]:
    """The months that a backfill has not loaded, whatever became of them, and what was to be done with each.

    Raises UnknownBackfill, also for one of assets, which the UI takes up itself.
    """
    backfill, partitions = _find(instance, backfill_id), trip_partitions(settings.first_month)
    job = JOBS.get(backfill.job_name or "")
    if backfill.partition_names is None or job is None:
        raise UnknownBackfill(
            f"the backfill {backfill_id} was made of assets, in the UI, or of another project's job: take it up there, "
            "on its page, by Re-execute"
        )
    loaded = {
        partition_of(run)
        for run in instance.get_runs(runs_of_backfill(backfill_id))
        if run.status is dg.DagsterRunStatus.SUCCESS
    }
    chosen = {key.to_user_string() for key in backfill.asset_selection or ()}
    stations = tuple(station for station in job[0] if not chosen or station in chosen)
    months = [trip_month(key, partitions) for key in backfill.partition_names if key not in loaded]
    return months, Order(stations, fresh=bool(backfill.run_config))


def cancel_backfill(instance: dg.DagsterInstance, backfill_id: str) -> bool:
    """Ask the daemon to cancel a backfill, with its runs; false where it is over. Raises UnknownBackfill, StoreBusy.

    The daemon writes what it read of a backfill a moment before, and so may undo what was asked of it meanwhile: it is
    asked until that stays.
    """
    if _find(instance, backfill_id).status in BULK_ACTION_TERMINAL_STATUSES:
        return False
    for _ in range(_CANCEL_TRIES):
        asked = _find(instance, backfill_id).with_status(BulkActionStatus.CANCELING)  # type: ignore[no-untyped-call]
        instance.update_backfill(asked)
        time.sleep(_SETTLED_S)
        if _find(instance, backfill_id).status is not BulkActionStatus.REQUESTED:
            return True
    raise StoreBusy(f"the backfill {backfill_id} goes on, whatever it is asked: cancel it again, or in the UI")


_CANCEL_TRIES, _SETTLED_S = 5, 2.0
"""How often the daemon is asked to cancel, and the seconds after which that stays."""


def is_daemon_alive(instance: dg.DagsterInstance) -> bool:
    """Whether a daemon that runs backfills was heard of lately."""
    heartbeat = instance.get_daemon_heartbeats().get(BackfillDaemon.daemon_type())
    return heartbeat is not None and get_current_timestamp() - heartbeat.timestamp < _SILENT_S


def follow_backfill(instance: dg.DagsterInstance, backfill_id: str, settings: Settings) -> Iterator[RunNews]:
    """Tell what happens to the months of a backfill, until each has ended; then of those that had no turn, why.

    Raises StoreError where the daemon cannot run it.
    """
    follower = _Follower(instance, backfill_id, trip_partitions(settings.first_month))
    while True:
        backfill = _find(instance, backfill_id)
        # What runs told before the backfill was over is read after that was seen.
        yield from follower.poll()
        left = [key for key in backfill.partition_names or [] if key not in follower.ended]
        # The daemon, which looks twice a minute, takes a while to call it over.
        if not left or backfill.status in BULK_ACTION_TERMINAL_STATUSES:
            break
        time.sleep(_POLL_S)
    if backfill.status is BulkActionStatus.FAILED:
        said = backfill.error.message.strip() if backfill.error else "it did not say why"
        raise StoreError(f"the daemon gave the backfill {backfill_id} up: {said}")
    cancelled = backfill.status is BulkActionStatus.CANCELED
    for key in left:
        yield RunNews(
            follower.month(key), News.failed, error="it was cancelled before its turn" if cancelled else "it never ran"
        )


class _Follower:
    """Reads what the runs of a backfill have told since it was last asked."""

    def __init__(
        self, instance: dg.DagsterInstance, backfill_id: str, partitions: dg.MultiPartitionsDefinition
    ) -> None:
        self._instance = instance
        self._runs = runs_of_backfill(backfill_id)
        self._partitions = partitions
        self._listeners: dict[str, Listener] = {}
        self._cursors: dict[str, str] = {}
        self._over: set[str] = set()
        self._news: list[RunNews] = []
        self.ended: set[str] = set()
        """The partitions that will not run again."""

    def month(self, key: str) -> TripMonth:
        """The month of a partition."""
        return trip_month(key, self._partitions)

    def poll(self) -> list[RunNews]:
        """What happened since the last poll."""
        self._news.clear()
        for record in self._instance.get_run_records(self._runs, ascending=True):
            ran = record.start_time is not None or record.dagster_run.status is dg.DagsterRunStatus.FAILURE
            if ran and record.dagster_run.run_id not in self._over:
                self._read(record)
        return list(self._news)

    def _read(self, record: dg.RunRecord) -> None:
        """Hear the run's new events, and its end."""
        run = record.dagster_run
        listener = self._listener(run)
        more = True
        while more:
            told = self._instance.get_records_for_run(run.run_id, self._cursors.get(run.run_id))
            for event in told.records:
                listener(event.event_log_entry)
            self._cursors[run.run_id], more = told.cursor, told.has_more
        if run.status in FINISHED_STATUSES:
            self._over.add(run.run_id)
            if run.status is dg.DagsterRunStatus.FAILURE and will_be_retried(self._instance, run):
                self._news.append(RunNews(listener.month, News.setback, detail="failed, and will be run again"))
            else:
                self.ended.add(run.tags[PARTITION_NAME_TAG])
                self._news.append(_end(listener, record, self._why(listener, run)))

    def _why(self, listener: Listener, run: dg.DagsterRun) -> str:
        """Why a run did not load its month. One that died did not tell it itself."""
        if run.status is dg.DagsterRunStatus.CANCELED:
            return "it was cancelled"
        if run.status is dg.DagsterRunStatus.FAILURE and not listener.failed_at:
            return read_failures(self._instance, [run])[run.run_id].error
        return listener.error

    def _listener(self, run: dg.DagsterRun) -> Listener:
        if run.run_id not in self._listeners:
            month = self.month(run.tags[PARTITION_NAME_TAG])
            self._listeners[run.run_id] = Listener(month, run.run_id, self._news.append)
            self._news.append(RunNews(month, News.started, run_id=run.run_id))
        return self._listeners[run.run_id]


def _end(listener: Listener, record: dg.RunRecord, error: str) -> RunNews:
    """How a run ended, and why it did not load its month."""
    status = record.dagster_run.status
    return RunNews(
        listener.month,
        News.done if status is dg.DagsterRunStatus.SUCCESS else News.failed,
        listener.failed_at,
        seconds=record.end_time - record.start_time if record.start_time and record.end_time else 0,
        error=error,
        run_id=record.dagster_run.run_id,
        trace=listener.trace,
    )


def _find(instance: dg.DagsterInstance, backfill_id: str) -> PartitionBackfill:
    backfill = instance.get_backfill(backfill_id)
    if backfill is None:
        raise UnknownBackfill(f"there is no backfill {backfill_id!r} here: the UI lists them, Runs, Backfills")
    return backfill
