"""The jobs of the marts and the taxi zones.

The partitions of the colors differ, and Dagster refuses an asset job whose assets have different partitions. So each
color has a job for a month, and `load_marts` is one run that computes all marts which are missing or out of date. It
reports a materialization and checks for each of them, as the job of the color does.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg

from taxi_assets.defs.marts import compute_mart, version_of_trips
from taxi_assets.defs.retries import retry_tags, translate_errors
from taxi_assets.errors import MissingUpstream
from taxi_assets.graph import LOAD_MARTS, LOAD_ZONES, MART_UPSTREAM, mart_job_name
from taxi_assets.instance._dagster import (
    CODE_VERSION_TAG,
    DATA_VERSION_TAG,
    UnresolvedAssetJobDefinition,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from taxi_assets.instance.events import newest_events
from taxi_assets.instance.partition_status import read_month
from taxi_assets.instance.processes import claim_run
from taxi_assets.instance.tags import COLOR_TAG
from taxi_assets.keys import asset_key
from taxi_assets.partitions import partition_keys, source_colors
from taxi_assets.settings import Settings
from taxi_assets.stores.files.home import Home
from taxi_assets.stores.warehouse import Warehouse
from taxi_assets.tlc.marts import MARTS, ZONES_TABLE, Mart
from taxi_assets.tlc.trips import TripMonth


def build_mart_jobs(settings: Settings) -> list[dg.JobDefinition | UnresolvedAssetJobDefinition]:
    """Return the job of the taxi zones, the job of all marts, and the job of each color's marts."""
    zones = dg.define_asset_job(
        LOAD_ZONES,
        selection=dg.AssetSelection.assets(dg.AssetKey([ZONES_TABLE])),
        description="Loads the taxi zones into the lake, the warehouse and Postgres.",
    )
    return [zones, _all_marts(settings), *(_marts_of(color) for color in source_colors(settings))]


def _marts_of(color: str) -> UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        mart_job_name(color),
        selection=dg.AssetSelection.assets(*(asset_key(color, mart.name) for mart in MARTS)),
        tags={COLOR_TAG: color},
        description=f"Computes the marts of a month of {color} trips, which must be in the warehouse.",
    )


def _all_marts(settings: Settings) -> dg.JobDefinition:
    @dg.op(tags=retry_tags(settings), description="Computes each mart that is missing or older than its trips.")
    def update_marts(
        context: dg.OpExecutionContext, warehouse: dg.ResourceParam[Warehouse], home: dg.ResourceParam[Home]
    ) -> None:
        claim_run(context.instance, context.run)
        with translate_errors(context.get_step_execution_context()):
            for outdated in outdated_marts(context.instance, settings):
                _compute(context, warehouse, home, outdated)

    @dg.job(
        name=LOAD_MARTS,
        description="Computes every mart that is missing or older than its trips, for all loaded months and colors, in "
        "one run. To choose months, use the job of a color.",
    )
    def load_marts() -> None:
        update_marts()

    return load_marts


@dataclass(frozen=True)
class OutdatedMart:
    """A mart to compute for a month. `trips_event` is the storage ID of the newest materialization of its trips."""

    mart: Mart
    month: TripMonth
    trips_event: int


def outdated_marts(instance: dg.DagsterInstance, settings: Settings) -> Iterator[OutdatedMart]:
    """Yield the marts of loaded months that are missing, or were computed before the month was loaded again."""
    colors, names = source_colors(settings), (MART_UPSTREAM, *(mart.name for mart in MARTS))
    keys = [asset_key(color, name) for color in colors for name in names]
    events = newest_events(instance, keys, dg.DagsterEventType.ASSET_MATERIALIZATION)
    newest = {place: number for number, place in events.items()}  # storage IDs increase over time
    for color in colors:
        for key in partition_keys(settings, color):
            month, loaded = read_month(color, key), newest.get((asset_key(color, MART_UPSTREAM), key), 0)
            for mart in MARTS:
                if month and loaded > newest.get((asset_key(color, mart.name), key), 0):
                    yield OutdatedMart(mart, month, loaded)


def _compute(context: dg.OpExecutionContext, warehouse: Warehouse, home: Home, outdated: OutdatedMart) -> None:
    mart, month = outdated.mart, outdated.month
    trips = asset_key(month.color, MART_UPSTREAM)
    trips_version = version_of_trips(context.instance, month)
    try:
        result = compute_mart(context.instance, warehouse, home, mart, month)
    except MissingUpstream as error:  # the month was wiped
        context.log.info("%s", error)
        return
    key = asset_key(month.color, mart.name)
    version = result.data_version.value if result.data_version else ""
    context.log_event(
        dg.AssetMaterialization(
            key,
            partition=month.month,
            metadata=dict(result.metadata or {}),
            # Dagster sets these tags only for the step of an asset. With them, the UI knows when the mart is stale.
            tags={
                DATA_VERSION_TAG: version,
                CODE_VERSION_TAG: mart.code_version,
                get_input_data_version_tag(trips): trips_version,
                get_input_event_pointer_tag(trips): str(outdated.trips_event),
            },
        )
    )
    for check in result.check_results or ():
        context.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=key,
                check_name=check.check_name or "",
                passed=check.passed,
                severity=check.severity,
                metadata=check.metadata,
                partition=month.month,
            )
        )
    context.log.info("Computed %s of %s", mart.name, month)
