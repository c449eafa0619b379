"""The observable source asset `source_trips`: what the source has published. A new version makes `raw_trips` stale.

Not here: downloading a month (`assets`), and requesting runs (`schedules`).
"""

from datetime import UTC, datetime

import dagster as dg

from taxi_assets.defs.descriptions import describe_asset, file_kind, location
from taxi_assets.defs.retries import retry_tags, translate_errors
from taxi_assets.errors import BadFile, NotPublished, SourceRejected
from taxi_assets.graph import SOURCE_TRIPS
from taxi_assets.instance._dagster import (
    DATA_VERSION_TAG,
    create_external_asset_from_source_asset,
    disable_dagster_warnings,
)
from taxi_assets.instance.partition_status import read_month
from taxi_assets.instance.processes import claim_run
from taxi_assets.instance.tags import NOT_PUBLISHED, RESULT_TAG, color_result_tag
from taxi_assets.keys import asset_key, run_colors
from taxi_assets.partitions import month_partitions, recent_months, source_colors, why_not_available
from taxi_assets.settings import Settings
from taxi_assets.stores.source.months import Source, SourceVersion
from taxi_assets.tlc.trips import TripMonth

_CONTENTS = (
    "What the source has published. Observe it to check the source for new versions of each loaded month and of the "
    "last `TAXI_LOOKBACK_MONTHS`. A month that was published again makes `raw_trips` stale."
)


def build_source_trips(settings: Settings) -> list[dg.AssetsDefinition]:
    """Return the asset `source_trips` of each color under these settings."""
    return [_build(settings, color) for color in source_colors(settings)]


def _build(settings: Settings, color: str) -> dg.AssetsDefinition:
    def source_trips(context: dg.OpExecutionContext, source: dg.ResourceParam[Source]) -> dg.DataVersionsByPartition:
        months = (
            [TripMonth(color, context.partition_key)]
            if context.has_partition_key
            else _months_to_observe(context.instance, settings, color)
        )
        versions: dict[str, str | dg.DataVersion] = {}
        claim_run(context.instance, context.run)
        with translate_errors(context.get_step_execution_context()):
            for month in months:
                published = read_source(context.instance, source, month)
                if isinstance(published, SourceVersion):
                    versions[month.month] = dg.DataVersion(published.fingerprint)
                    context.log_event(_published(month))
                else:
                    context.log.info("%s: %s", month, published)
            if not versions:
                source.probe(loaded_months(context.instance, color))
        context.log.info("%d of %d months are published", len(versions), len(months))
        with disable_dagster_warnings():
            return dg.DataVersionsByPartition(versions)

    # This API is in beta and uses deprecated parts of Dagster, so Dagster would warn at every start. The version of
    # Dagster is pinned, so hide the warnings.
    with disable_dagster_warnings():
        observable = dg.observable_source_asset(
            key=asset_key(color, SOURCE_TRIPS),
            partitions_def=month_partitions(settings, color),
            group_name=color,
            op_tags=retry_tags(settings),
            tags={"domain": "taxi_trips", "layer": "source", f"dagster/kind/{file_kind(settings)}": ""},
            description=describe_asset(settings, color, SOURCE_TRIPS, _CONTENTS),
            metadata=location(settings, color, SOURCE_TRIPS),
        )(source_trips)
        return create_external_asset_from_source_asset(observable)


def loaded_months(instance: dg.DagsterInstance, color: str) -> list[TripMonth]:
    """Return the months of a color that were ever fetched from a source."""
    keys = instance.get_materialized_partitions(asset_key(color, "raw_trips"))
    return [month for key in keys if (month := read_month(color, key))]


def read_source(instance: dg.DagsterInstance, source: Source, month: TripMonth) -> SourceVersion | str:
    """Return the version of a month that the source has, or a text that says why there is nothing to load.

    Raises StoreError if the source cannot be reached.
    """
    try:
        return source.current_version(month, lambda: loaded_months(instance, month.color)) or why_not_available(None)
    except (BadFile, SourceRejected) as error:
        return why_not_available(error)


def observe_fetched(context: dg.AssetExecutionContext, month: TripMonth, fingerprint: str) -> None:
    """Record the fetched version as the current version of the source, so that `raw_trips` is not stale."""
    key = asset_key(month.color, SOURCE_TRIPS)
    context.log_event(dg.AssetObservation(key, partition=month.month, tags={DATA_VERSION_TAG: fingerprint}))
    context.log_event(_published(month))
    # Dagster has already recorded an earlier observation as this step's input, which would make the asset stale.
    context.get_step_execution_context().wipe_input_asset_version_info(key)


def _published(month: TripMonth) -> dg.AssetMaterialization:
    """Return an event that makes the UI count a month as available at the source. An observation does not."""
    return dg.AssetMaterialization(asset_key(month.color, SOURCE_TRIPS), partition=month.month)


def observe_not_published(context: dg.AssetExecutionContext, month: TripMonth, error: NotPublished) -> None:
    """Record in the log, on the asset, and in the run's tags why the run materializes nothing."""
    context.log.info("%s", error.explain())
    context.log_event(
        dg.AssetObservation(
            asset_key(month.color, "raw_trips"),
            partition=month.month,
            description=error.explain(),
            metadata={"result": NOT_PUBLISHED},
        )
    )
    tag = color_result_tag(month.color) if len(run_colors(context.run)) > 1 else RESULT_TAG
    context.instance.add_run_tags(context.run.run_id, {tag: NOT_PUBLISHED})


def _months_to_observe(instance: dg.DagsterInstance, settings: Settings, color: str) -> list[TripMonth]:
    """Return the recent months of a color, and all its partitions that have ever been fetched."""
    keys = month_partitions(settings, color).get_partition_keys()
    fetched = set(instance.get_materialized_partitions(asset_key(color, "raw_trips")))
    months = {TripMonth(color, key) for key in keys if key in fetched}
    return sorted(months.union(recent_months(settings, color, datetime.now(UTC))))
