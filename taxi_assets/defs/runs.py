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
from dagster._core.execution.api import create_execution_plan, execute_run
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.utils import make_new_run_id
from dagster._utils.warnings import disable_dagster_warnings
from dagster_shared.error import SerializableErrorInfo

from taxi_assets import errors
from taxi_assets.defs.graph import TRIP_ASSETS, asset_key, asset_of_step, is_trip_asset, job_name, step_key
from taxi_assets.defs.instance import process_tags
from taxi_assets.defs.jobs import ALERT_TAG, ASKED_BY_TAG, NOT_PUBLISHED
from taxi_assets.news import News, RunNews
from taxi_assets.tlc.trips import COLORS, TripMonth

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

    stations: Sequence[str] = TRIP_ASSETS
    fresh: bool = False
    teller: str = ""

    def selection(self, color: str) -> frozenset[dg.AssetKey] | None:
        """The assets of a color to run; None for the whole job, which is spared the time of a selection."""
        whole = set(self.stations) == set(TRIP_ASSETS)
        return None if whole else frozenset(asset_key(color, name) for name in self.stations)

    def steps(self, color: str) -> list[str]:
        """The steps of these assets."""
        return [step_key(color, name) for name in self.stations]

    def run_config(self, color: str) -> dict[str, object]:
        """The config of the runs of a color."""
        return {"ops": {step_key(color, "raw_trips"): {"config": {"fresh": True}}}} if self.fresh else {}


def run_month(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    month: TripMonth,
    order: Order,
    tell: Callable[[RunNews], None],
) -> None:
    """Run the ordered assets of a month as one run of its color's job; `tell` hears of each, and of the end."""
    run_id, started = make_new_run_id(), perf_counter()
    listener = Listener(month, run_id, tell)
    instance.add_event_listener(run_id, listener)
    tell(RunNews(month, News.started, run_id=run_id))
    job = definitions.resolve_job_def(job_name(month.color))
    selection, run_config = order.selection(month.color), order.run_config(month.color)
    selected = job.get_subset(asset_selection=selection) if selection else job
    run = instance.create_run_for_job(
        selected,
        # Dagster adds every check of a selected asset, also the one that asks the source for other months.
        create_execution_plan(selected, run_config, order.steps(month.color)) if selection else None,
        run_id=run_id,
        run_config=run_config,
        tags={
            **job.run_tags,
            **job.get_tags_for_partition_key(month.month, selection),
            ASKED_BY_TAG: "cli",
            **({ALERT_TAG: order.teller} if order.teller else {}),
            **process_tags(run_id),
        },
        asset_selection=selection,
        remote_job_origin=ORIGIN.get_job_origin(job.name),
    )
    result = execute_run(InMemoryJob(job), run, instance)
    tell(
        RunNews(
            month,
            listener.end(success=result.success),
            listener.failed_at,
            seconds=perf_counter() - started,
            error=listener.error,
            run_id=run_id,
            trace=listener.trace,
        )
    )


def select_assets(definitions: dg.Definitions, selection: str) -> tuple[str, ...]:
    """The assets of a color that a selection names, in their order; all of them for an empty one.

    Such as `lake_trips+`, `lake`, or `lake_trips,warehouse_trips`. Raises BadSelection where it names none.
    """
    if not selection:
        return TRIP_ASSETS
    try:
        chosen = reduce(or_, map(_selection, selection.split(","))).resolve(definitions.resolve_asset_graph())
    except (DagsterInvalidAssetSelectionError, dg.DagsterInvalidSubsetError) as error:
        raise errors.BadSelection(f"the selection {selection!r} cannot be read: {error}") from error
    names = {key.path[1] for key in chosen if is_trip_asset(key)}
    assets = tuple(name for name in TRIP_ASSETS if name in names)
    if not assets:
        raise errors.BadSelection(f"the selection {selection!r} names none of {', '.join(TRIP_ASSETS)}")
    return assets


def _selection(words: str) -> dg.AssetSelection:
    """What one part of a selection names in every color.

    A `+` before or after a name adds all assets upstream or downstream of it.
    """
    named = re.fullmatch(r"(\+?)(\w+)(\+?)", words.strip())
    if not named:
        with disable_dagster_warnings():
            return dg.AssetSelection.from_coercible([words])
    before, name, after = named.groups()
    full = name if name.endswith(_SUFFIX) else f"{name}{_SUFFIX}"
    assets = dg.AssetSelection.assets(*(asset_key(color, full) for color in COLORS))
    ways = ([assets.upstream()] if before else []) + ([assets.downstream()] if after else [])
    return reduce(or_, ways, assets)


_SUFFIX = "_trips"


class Listener:
    """Hears the events of one run, and remembers where it failed first, and all that went wrong.

    What a station logs as information is how far it is, and as a warning what it has to do again: nothing here logs for
    another reason.
    """

    def __init__(self, month: TripMonth, run_id: str, tell: Callable[[RunNews], None]) -> None:
        self.month = month
        self._run_id = run_id
        self._tell = tell
        self.not_published = False
        self.failed_at = ""
        self.error = ""
        self.trace = ""

    def __call__(self, entry: dg.EventLogEntry) -> None:
        """Hear an event."""
        event = entry.dagster_event
        if event is None:
            if entry.step_key and (what := _LOGGED.get(int(entry.level))):
                self._say(what, entry.step_key, detail=entry.user_message)
            return
        step = event.step_key or ""
        match event.event_type:
            case dg.DagsterEventType.STEP_START | dg.DagsterEventType.STEP_RESTARTED:
                self._say(News.station_started, step)
            case dg.DagsterEventType.STEP_UP_FOR_RETRY:
                self._say(News.pause, step, detail=_explain_pause(event.step_retry_data.error))
            case dg.DagsterEventType.ASSET_MATERIALIZATION:
                rows = event.step_materialization_data.materialization.metadata.get("dagster/partition_row_count")
                if rows:  # the source's has none
                    self._say(News.station_done, step, cast("int", rows.value))
            case dg.DagsterEventType.ASSET_OBSERVATION:
                result = event.asset_observation_data.asset_observation.metadata.get("result")
                self.not_published |= result is not None and result.value == NOT_PUBLISHED
            case dg.DagsterEventType.STEP_FAILURE:
                self._hear_failure(asset_of_step(step), event.step_failure_data.error)
            case dg.DagsterEventType.RUN_FAILURE if not self.error:
                # A run that was marked as failed from outside has no more than a message.
                told = event.event_specific_data
                error = told.error if isinstance(told, JobFailureData) else None
                self.error = explain(error) or event.message or ""
                self.trace = error.to_string() if error else ""

    def _hear_failure(self, name: str, error: SerializableErrorInfo | None) -> None:
        # Independent assets go on after one has failed, and may fail too.
        said = explain(error)
        self.error = f"{self.error}\n{name} failed too: {said}" if self.failed_at else said
        self.failed_at = self.failed_at or name
        self.trace += error.to_string() if error else ""

    def _say(self, what: News, step: str, rows: int | None = None, detail: str = "") -> None:
        self._tell(RunNews(self.month, what, asset_of_step(step), rows, run_id=self._run_id, detail=detail))

    def end(self, *, success: bool) -> News:
        """How a run that is over ended."""
        if not success:
            return News.failed
        return News.not_published if self.not_published else News.done


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
    return text if error.cls_name in _WRAPPERS or hasattr(errors, error.cls_name or "") else f"{error.cls_name}: {text}"


_WRAPPERS = {
    "DagsterExecutionHandleOutputError",
    "DagsterExecutionLoadInputError",
    "DagsterExecutionStepExecutionError",
    "DagsterResourceFunctionError",
    "Failure",
    "RetryRequested",
}
