"""One partition as one Dagster run in this process, told station by station to whoever listens.

Not here: several processes (`workers`), and how a run looks to people (`console`).
"""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from time import perf_counter
from typing import cast

import dagster as dg
from dagster._core.definitions.asset_selection import DagsterInvalidAssetSelectionError
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.events import JobFailureData
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.utils import make_new_run_id
from dagster._utils.warnings import disable_dagster_warnings
from dagster_shared.error import SerializableErrorInfo

from taxi_assets import errors
from taxi_assets.defs.instance import process_tags
from taxi_assets.defs.jobs import ALERT_TAG, ASKED_BY_TAG, LOAD_TRIPS, STATIONS
from taxi_assets.defs.partitions import partition_key
from taxi_assets.news import News, RunNews
from taxi_assets.tlc.trips import TripMonth

_MODULE = "taxi_assets.definitions"

ORIGIN = RemoteRepositoryOrigin(
    ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name=_MODULE), location_name=_MODULE),
    SINGLETON_REPOSITORY_NAME,
)
"""Where the UI finds the job of a run, to run it again from there. Dagster's execute_in_process names none."""


@dataclass(frozen=True)
class Order:
    """What is to be done with each month: at which stations, and whether it is fetched though nothing changed.

    `teller` is the name of the command's process that tells people of a failed run, so that the sensor need not; empty
    for none.
    """

    stations: Sequence[str] = STATIONS
    fresh: bool = False
    teller: str = ""

    @property
    def selection(self) -> frozenset[dg.AssetKey] | None:
        """The assets to run; None for the whole job, which is spared the time of a selection."""
        whole = set(self.stations) == set(STATIONS)
        return None if whole else frozenset(dg.AssetKey(station) for station in self.stations)

    @property
    def run_config(self) -> dict[str, object]:
        """The config of the runs."""
        return {"ops": {"raw_trips": {"config": {"fresh": True}}}} if self.fresh else {}


def run_month(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    month: TripMonth,
    order: Order,
    tell: Callable[[RunNews], None],
) -> None:
    """Run the ordered stations of a month as one run of `load_trips`; `tell` hears of each, and of the end."""
    run_id, started = make_new_run_id(), perf_counter()
    listener = Listener(month, run_id, tell)
    instance.add_event_listener(run_id, listener)
    tell(RunNews(month, News.started, run_id=run_id))
    job = definitions.resolve_job_def(LOAD_TRIPS)
    selection = order.selection
    run = instance.create_run_for_job(
        job.get_subset(asset_selection=selection) if selection else job,
        run_id=run_id,
        run_config=order.run_config,
        tags={
            **job.get_tags_for_partition_key(partition_key(month), selection),
            ASKED_BY_TAG: "cli",
            **({ALERT_TAG: order.teller} if order.teller else {}),
            **process_tags(run_id),
        },
        asset_selection=selection,
        remote_job_origin=ORIGIN.get_job_origin(LOAD_TRIPS),
    )
    result = execute_run(InMemoryJob(job), run, instance)
    tell(
        RunNews(
            month,
            News.done if result.success else News.failed,
            listener.failed_at,
            seconds=perf_counter() - started,
            error=listener.error,
            run_id=run_id,
            trace=listener.trace,
        )
    )


def select_stations(definitions: dg.Definitions, selection: str) -> tuple[str, ...]:
    """The stations that an asset selection names, in their order; all of them for an empty one.

    Such as `lake_trips+`, or `lake_trips,warehouse_trips`. Raises BadSelection where it names none.
    """
    if not selection:
        return STATIONS
    try:
        chosen = reduce(or_, map(_selection, selection.split(","))).resolve(definitions.resolve_asset_graph())
    except (DagsterInvalidAssetSelectionError, dg.DagsterInvalidSubsetError) as error:
        raise errors.BadSelection(f"the selection {selection!r} cannot be read: {error}") from error
    stations = tuple(station for station in STATIONS if dg.AssetKey(station) in chosen)
    if not stations:
        raise errors.BadSelection(f"the selection {selection!r} names none of {', '.join(STATIONS)}")
    return stations


def _selection(words: str) -> dg.AssetSelection:
    """What one part of a selection names; a `+` before or after a name takes all before or after it.

    Dagster takes just the next ones in a list of such names.
    """
    named = re.fullmatch(r"(\+?)(\w+)(\+?)", words.strip())
    if not named:
        with disable_dagster_warnings():
            return dg.AssetSelection.from_coercible([words])
    before, name, after = named.groups()
    asset = dg.AssetSelection.assets(name)
    ways = ([asset.upstream()] if before else []) + ([asset.downstream()] if after else [])
    return reduce(or_, ways, asset)


class Listener:
    """Hears the events of one run, and remembers where it failed first, and all that went wrong.

    What a station logs as information is how far it is, and as a warning what it has to do again: nothing here logs for
    another reason.
    """

    def __init__(self, month: TripMonth, run_id: str, tell: Callable[[RunNews], None]) -> None:
        self.month = month
        self._run_id = run_id
        self._tell = tell
        self.failed_at = ""
        self.error = ""
        self.trace = ""

    def __call__(self, entry: dg.EventLogEntry) -> None:
        """Hear an event."""
        event = entry.dagster_event
        if event is None:
            if entry.step_key and (what := _LOGGED.get(int(entry.level))):
                self._tell(RunNews(self.month, what, entry.step_key, run_id=self._run_id, detail=entry.user_message))
        elif event.event_type in (dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_RESTARTED):
            self._tell(RunNews(self.month, News.station_started, event.step_key or "", run_id=self._run_id))
        elif event.event_type is dg.DagsterEventType.STEP_UP_FOR_RETRY:
            detail = _explain_pause(event.step_retry_data.error)
            self._tell(RunNews(self.month, News.pause, event.step_key or "", run_id=self._run_id, detail=detail))
        elif event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION:
            metadata = event.step_materialization_data.materialization.metadata
            rows = metadata["dagster/partition_row_count"].value
            station = event.step_key or ""
            self._tell(RunNews(self.month, News.station_done, station, cast("int", rows), run_id=self._run_id))
        elif event.event_type is dg.DagsterEventType.STEP_FAILURE:
            # Independent stations go on after one has failed, and may fail too.
            error = event.step_failure_data.error
            said = explain(error)
            self.error = f"{self.error}\n{event.step_key} failed too: {said}" if self.failed_at else said
            self.failed_at = self.failed_at or event.step_key or ""
            self.trace += error.to_string() if error else ""
        elif event.event_type is dg.DagsterEventType.RUN_FAILURE and not self.error:
            # A run that was marked as failed from outside has no more than a message.
            told = event.event_specific_data
            error = told.error if isinstance(told, JobFailureData) else None
            self.error = explain(error) or event.message or ""
            self.trace = error.to_string() if error else ""


_LOGGED = {logging.INFO: News.progress, logging.WARNING: News.setback}


def _explain_pause(again: SerializableErrorInfo | None) -> str:
    """When a station is tried again, and why, in a line."""
    said = again.message.partition(": ")[2].strip() if again else ""
    return f"{said}: {explain(again).partition(chr(10))[0]}"


def explain(error: SerializableErrorInfo | None) -> str:
    """What went wrong, without Dagster's wrapping; an error that is not the project's own keeps its class."""
    while error and error.cause and error.cls_name in _WRAPPERS:
        error = error.cause
    if error is None:
        return ""
    text = error.message.partition(": ")[2].strip()
    if error.cls_name == "DagsterExecutionInterruptedError":
        return "it was stopped"
    return text if hasattr(errors, error.cls_name or "") else f"{error.cls_name}: {text}"


_WRAPPERS = {
    "DagsterExecutionHandleOutputError",
    "DagsterExecutionLoadInputError",
    "DagsterExecutionStepExecutionError",
    "DagsterResourceFunctionError",
    "RetryRequested",
}
