"""What the source has published, as an asset that is only observed: its versions make `raw_trips` stale.

Not here: fetching a month (`assets`), and asking for runs (`schedules`).
"""

from datetime import UTC, datetime

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.definitions.external_asset import create_external_asset_from_source_asset
from dagster._utils.warnings import disable_dagster_warnings

from taxi_assets.defs.graph import SOURCE_TRIPS, asset_key, run_colors
from taxi_assets.defs.instance import claim_run
from taxi_assets.defs.jobs import NOT_PUBLISHED, RESULT_TAG, color_result_tag
from taxi_assets.defs.partitions import month_partitions, recent_months
from taxi_assets.defs.resources import SourceResource
from taxi_assets.defs.retries import retry_tags, tried_again
from taxi_assets.errors import BadFile, NotPublished
from taxi_assets.settings import Settings
from taxi_assets.stores.source import Publication, Source
from taxi_assets.tlc.trips import COLORS, TripMonth


def build_source_trips(settings: Settings) -> list[dg.AssetsDefinition]:
    """The asset `source_trips` of each color under these settings."""
    return [_build(settings, color) for color in COLORS]


def _build(settings: Settings, color: str) -> dg.AssetsDefinition:
    def source_trips(context: dg.OpExecutionContext, source: SourceResource) -> dg.DataVersionsByPartition:
        months = (
            [TripMonth(color, context.partition_key)]
            if context.has_partition_key
            else _months_to_observe(context.instance, settings, color)
        )
        versions: dict[str, str | dg.DataVersion] = {}
        claim_run(context.instance, context.run)
        opened = source.open()
        with tried_again(context.get_step_execution_context()):
            for month in months:
                published = look(opened, month)
                if isinstance(published, Publication):
                    versions[month.month] = dg.DataVersion(published.fingerprint)
                    context.log_event(_published(month))
                else:
                    context.log.info("%s: %s", month, published)
        context.log.info("%d of %d months are published", len(versions), len(months))
        with disable_dagster_warnings():
            return dg.DataVersionsByPartition(versions)

    # It is in beta, and Dagster itself uses what it deprecates: both are said at each start. Its release is pinned.
    with disable_dagster_warnings():
        observable = dg.observable_source_asset(
            key=asset_key(color, SOURCE_TRIPS),
            partitions_def=month_partitions(settings, color),
            group_name=color,
            op_tags=retry_tags(settings),
            tags={"domain": "taxi_trips", "layer": "source", "dagster/kind/csv": ""},
            description="What the source has published. Observe it to ask the source for the version of each loaded "
            "month and of the last TAXI_LOOKBACK_MONTHS: a month that was published again makes raw_trips stale.",
        )(source_trips)
        return create_external_asset_from_source_asset(observable)


def look(source: Source, month: TripMonth) -> Publication | str:
    """What the source has of a month; or, in words, why there is nothing to load. Raises StoreError."""
    try:
        return source.look(month) or "not published"
    except BadFile as error:
        return f"not published but for something else ({error})"


def observe_fetched(context: dg.AssetExecutionContext, month: TripMonth, fingerprint: str) -> None:
    """Remember what was fetched as what the source has, so that what was made of it is not stale."""
    key = asset_key(month.color, SOURCE_TRIPS)
    context.log_event(dg.AssetObservation(key, partition=month.month, tags={DATA_VERSION_TAG: fingerprint}))
    context.log_event(_published(month))
    # Dagster has read already which observation this step comes after, and would hold it against the new one.
    context.get_step_execution_context().wipe_input_asset_version_info(key)


def _published(month: TripMonth) -> dg.AssetMaterialization:
    """What lets the UI count a month among those that the source has: an observation does not."""
    return dg.AssetMaterialization(asset_key(month.color, SOURCE_TRIPS), partition=month.month)


def observe_not_published(context: dg.AssetExecutionContext, month: TripMonth, error: NotPublished) -> None:
    """Let the run, its log and the asset say why the run materializes nothing."""
    context.log.info("%s", error)
    context.log_event(
        dg.AssetObservation(
            asset_key(month.color, "raw_trips"),
            partition=month.month,
            description=str(error),
            metadata={"result": NOT_PUBLISHED},
        )
    )
    tag = color_result_tag(month.color) if len(run_colors(context.run)) > 1 else RESULT_TAG
    context.instance.add_run_tags(context.run.run_id, {tag: NOT_PUBLISHED})


def observed_versions(instance: dg.DagsterInstance, color: str) -> dict[str, str]:
    """The fingerprint that the source was last seen to have of a color's months, by partition key."""
    told = instance.event_log_storage.get_latest_tags_by_partition(
        asset_key(color, SOURCE_TRIPS), dg.DagsterEventType.ASSET_OBSERVATION, [DATA_VERSION_TAG]
    )
    return {key: tags[DATA_VERSION_TAG] for key, tags in told.items()}


def _months_to_observe(instance: dg.DagsterInstance, settings: Settings, color: str) -> list[TripMonth]:
    """The months that were ever fetched and still are partitions, and the recent ones of the color."""
    keys = month_partitions(settings, color).get_partition_keys()
    fetched = set(instance.get_materialized_partitions(asset_key(color, "raw_trips")))
    months = {TripMonth(color, key) for key in keys if key in fetched}
    return sorted(months.union(recent_months(settings, color, datetime.now(UTC))))
