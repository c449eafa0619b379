"""Execute one partition as a Dagster run in this process and send a progress event for each step.

Not here: several processes (`workers`), and how a run is displayed (`cli`).
"""

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from time import perf_counter
from typing import Any, Self, cast
from uuid import uuid4

import dagster as dg

from taxi_assets import errors
from taxi_assets.graph import LOAD_ZONES, MART_ASSETS, TRIP_ASSETS, job_name, mart_job_name
from taxi_assets.instance._dagster import (
    SINGLETON_REPOSITORY_NAME,
    InMemoryJob,
    JobFailureData,
    LoadableTargetOrigin,
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteRepositoryOrigin,
    SerializableErrorInfo,
    create_execution_plan,
    disable_dagster_warnings,
    execute_run,
)
from taxi_assets.instance.failures import explain, read_failures
from taxi_assets.instance.processes import process_tags
from taxi_assets.instance.sqlite import kept_open
from taxi_assets.instance.tags import ASKED_BY_TAG, NOT_PUBLISHED
from taxi_assets.keys import asset_key, asset_of_step, is_trip_asset, step_key
from taxi_assets.operations.progress import Progress, ProgressEvent
from taxi_assets.tlc.marts import ZONES_TABLE
from taxi_assets.tlc.trips import TripMonth

_MODULE = "taxi_assets.definitions"

ORIGIN = RemoteRepositoryOrigin(
    ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name=_MODULE), location_name=_MODULE),
    SINGLETON_REPOSITORY_NAME,
)
"""The code location of the job, which the UI needs to re-execute a run. `execute_in_process` does not set it."""


@dataclass(frozen=True)
class RunSpec:
    """What to run for each month: the assets, and how. The assets are either assets of trips or marts.

    `fresh` downloads a raw file even if it has not changed. `overwrite` replaces objects in the lake that another
    program wrote.
    """

    assets: Sequence[str] = TRIP_ASSETS
    fresh: bool = False
    overwrite: bool = False

    def selection(self, color: str) -> frozenset[dg.AssetKey] | None:
        """The assets of a color to run. None means the whole job, which avoids the cost of a selection."""
        whole = set(self.assets) in (set(TRIP_ASSETS), set(MART_ASSETS))
        return None if whole else frozenset(asset_key(color, name) for name in self.assets)

    @property
    def is_marts(self) -> bool:
        """Whether the assets are marts."""
        return set(self.assets) <= set(MART_ASSETS)

    def job(self, color: str) -> str:
        """The name of the job that has the assets of a color."""
        return mart_job_name(color) if self.is_marts else job_name(color)

    def steps(self, color: str) -> list[str]:
        """The step keys of the assets to run."""
        return [step_key(color, name) for name in self.assets]

    def run_config(self, color: str) -> dict[str, object]:
        """The run config for a color."""
        wanted = {"raw_trips": ("fresh", self.fresh), "lake_trips": ("overwrite", self.overwrite)}
        ops = {
            step_key(color, asset): {"config": {option: True}}
            for asset, (option, is_set) in wanted.items()
            if is_set and asset in self.assets
        }
        return {"ops": ops} if ops else {}

    @classmethod
    def read(cls, assets: Sequence[str], color: str, run_config: Mapping[str, Any]) -> Self:
        """The spec for these assets with the options that a run config for a color sets."""
        ops = run_config.get("ops", {})

        def is_set(asset: str, option: str) -> bool:
            return bool(ops.get(step_key(color, asset), {}).get("config", {}).get(option))

        return cls(assets, is_set("raw_trips", "fresh"), is_set("lake_trips", "overwrite"))


def run_month(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    month: TripMonth,
    spec: RunSpec,
    report: Callable[[ProgressEvent], None],
) -> None:
    """Run the assets in `spec` for a month as one run of its color's job. `report` receives each progress event."""
    run_id, started = str(uuid4()), perf_counter()
    listener = Listener(month, run_id, report)
    instance.add_event_listener(run_id, listener)
    report(ProgressEvent(month, Progress.started, run_id=run_id))
    job = definitions.resolve_job_def(spec.job(month.color))
    selection, run_config = spec.selection(month.color), spec.run_config(month.color)
    selected = job.get_subset(asset_selection=selection) if selection else job
    with kept_open(instance):
        run = instance.create_run_for_job(
            selected,
            # Dagster would also select every check of the assets, including the one that requests other months.
            create_execution_plan(selected, run_config, spec.steps(month.color)) if selection else None,
            run_id=run_id,
            run_config=run_config,
            tags={
                **job.run_tags,
                **job.get_tags_for_partition_key(month.month, selection),
                ASKED_BY_TAG: "cli",
                **process_tags(run_id),
            },
            asset_selection=selection,
            remote_job_origin=ORIGIN.get_job_origin(job.name),
        )
        result = execute_run(InMemoryJob(job), run, instance)
    report(
        ProgressEvent(
            month,
            listener.end(success=result.success),
            listener.failed_at,
            seconds=perf_counter() - started,
            error=listener.error,
            run_id=run_id,
            trace=listener.trace,
        )
    )


def run_job(definitions: dg.Definitions, instance: dg.DagsterInstance, name: str) -> str:
    """Run a job without partitions in this process. Return why it failed, or "" if it succeeded."""
    run_id, job = str(uuid4()), definitions.resolve_job_def(name)
    run = instance.create_run_for_job(
        job,
        run_id=run_id,
        tags={**job.run_tags, ASKED_BY_TAG: "cli", **process_tags(run_id)},
        remote_job_origin=ORIGIN.get_job_origin(name),
    )
    if execute_run(InMemoryJob(job), run, instance).success:
        return ""
    return read_failures(instance, [run])[run_id].error


def load_zones_once(definitions: dg.Definitions, instance: dg.DagsterInstance) -> str:
    """Load the taxi zones in this process, unless they were loaded before. Return why it failed, or ""."""
    if instance.get_latest_materialization_event(dg.AssetKey([ZONES_TABLE])):
        return ""
    return run_job(definitions, instance, LOAD_ZONES)


def select_assets(definitions: dg.Definitions, selection: str, *, marts: bool = True) -> tuple[str, ...]:
    """The asset names that a selection matches, in pipeline order; all assets for an empty selection.

    Examples of selections are `lake_trips+`, `lake` and `lake_trips,warehouse_trips`. Marts are matched only by their
    names, or by `marts` for all of them, and are not run together with other assets. `marts` is whether they may be
    selected. Raises BadSelection if the selection is invalid or matches no asset.
    """
    if not selection:
        return TRIP_ASSETS
    if chosen_marts := _select_marts(selection):
        if marts:
            return chosen_marts
        raise errors.BadSelection(
            f'The selection "{selection}" has marts, which a backfill does not load. Expected assets of trips. Use '
            "taxi materialize, or the job load_marts."
        )
    try:
        graph = definitions.resolve_asset_graph()
        colors = {key.path[0] for key in graph.get_all_asset_keys() if is_trip_asset(key)}
        chosen = reduce(or_, (_selection(part, colors) for part in selection.split(","))).resolve(graph)
    except dg.DagsterError as error:
        raise errors.BadSelection(f'The selection "{selection}" is invalid: {error}') from error
    names = {key.path[1] for key in chosen if is_trip_asset(key)}
    assets = tuple(name for name in TRIP_ASSETS if name in names)
    if not assets:
        names_of_all = ", ".join((*TRIP_ASSETS, *MART_ASSETS))
        raise errors.BadSelection(f'The selection "{selection}" matches none of {names_of_all}.')
    return assets


def _select_marts(selection: str) -> tuple[str, ...]:
    """Return the marts that a selection names; none if it does not name any. Raises BadSelection if it has others."""
    names = {part.strip() for part in selection.split(",")}
    if not names.intersection((ALL_MARTS, *MART_ASSETS)):
        return ()
    if others := names.difference((ALL_MARTS, *MART_ASSETS)):
        raise errors.BadSelection(
            f'The selection "{selection}" has marts and other assets ({", ".join(sorted(others))}). Expected one kind: '
            "marts are computed after the trips are loaded."
        )
    return tuple(name for name in MART_ASSETS if names & {ALL_MARTS, name})


ALL_MARTS = "marts"
"""The name of all marts in a selection."""


def _selection(text: str, colors: Iterable[str]) -> dg.AssetSelection:
    """Convert one part of a selection to an asset selection in these colors.

    A `+` before or after a name adds all upstream or downstream assets.
    """
    match = re.fullmatch(r"(\+?)(\w+)(\+?)", text.strip())
    if not match:
        with disable_dagster_warnings():
            return dg.AssetSelection.from_coercible([text])
    before, name, after = match.groups()
    full = name if name.endswith(_SUFFIX) else f"{name}{_SUFFIX}"
    assets = dg.AssetSelection.assets(*(asset_key(color, full) for color in colors))
    parts = ([assets.upstream()] if before else []) + ([assets.downstream()] if after else [])
    return reduce(or_, parts, assets)


_SUFFIX = "_trips"


class Listener:
    """Converts the Dagster events of one run to progress events, and keeps the first failed step and all errors.

    Steps log their progress at level INFO and their retries at level WARNING, and log nothing else at these levels.
    """

    def __init__(self, month: TripMonth, run_id: str, report: Callable[[ProgressEvent], None]) -> None:
        self.month = month
        self._run_id = run_id
        self._report_event = report
        self.not_published = False
        self.failed_at = ""
        self.error = ""
        self.trace = ""

    def __call__(self, entry: dg.EventLogEntry) -> None:
        """Handle an event log entry."""
        event = entry.dagster_event
        if event is None:
            if entry.step_key and (what := _LOGGED.get(int(entry.level))):
                self._report(what, entry.step_key, detail=entry.user_message)
            return
        step = event.step_key or ""
        match event.event_type:
            case dg.DagsterEventType.STEP_START | dg.DagsterEventType.STEP_RESTARTED:
                self._report(Progress.asset_started, step)
            case dg.DagsterEventType.STEP_UP_FOR_RETRY:
                self._report(Progress.retry_scheduled, step, detail=_explain_retry(event.step_retry_data.error))
            case dg.DagsterEventType.ASSET_MATERIALIZATION:
                rows = event.step_materialization_data.materialization.metadata.get("dagster/partition_row_count")
                if rows:  # the source asset reports no row count
                    self._report(Progress.asset_done, step, cast("int", rows.value))
            case dg.DagsterEventType.ASSET_OBSERVATION:
                result = event.asset_observation_data.asset_observation.metadata.get("result")
                self.not_published |= result is not None and result.value == NOT_PUBLISHED
            case dg.DagsterEventType.STEP_FAILURE:
                self._add_failure(asset_of_step(step), event.step_failure_data.error)
            case dg.DagsterEventType.RUN_FAILURE if not self.error:
                # A run that another process marked as failed has only a message.
                data = event.event_specific_data
                error = data.error if isinstance(data, JobFailureData) else None
                self.error = explain(error) or event.message or ""
                self.trace = error.to_string() if error else ""

    def _add_failure(self, name: str, error: SerializableErrorInfo | None) -> None:
        # After a failure, independent assets continue and may also fail.
        reason = explain(error)
        self.error = f"{self.error}\n{name} also failed: {reason}" if self.failed_at else reason
        self.failed_at = self.failed_at or name
        self.trace += error.to_string() if error else ""

    def _report(self, what: Progress, step: str, rows: int | None = None, detail: str = "") -> None:
        self._report_event(
            ProgressEvent(self.month, what, asset_of_step(step), rows, run_id=self._run_id, detail=detail)
        )

    def end(self, *, success: bool) -> Progress:
        """The final progress of a finished run."""
        if not success:
            return Progress.failed
        return Progress.not_published if self.not_published else Progress.done


_LOGGED = {logging.INFO: Progress.progress, logging.WARNING: Progress.attempt_failed}


def _explain_retry(request: SerializableErrorInfo | None) -> str:
    """Describe in one line when and why a step will be retried."""
    return request.message.partition(": ")[2].strip() if request else ""
