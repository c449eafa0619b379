"""What the source has published, as an asset that is only observed: its versions make `raw_trips` stale.

Not here: fetching a month (`assets`), and asking for runs (`schedules`).
"""

from datetime import UTC, datetime

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.definitions.external_asset import create_external_asset_from_source_asset
from dagster._utils.warnings import disable_dagster_warnings

from taxi_assets.defs.instance import claim_run
from taxi_assets.defs.partitions import partition_key, recent_months, trip_month, trip_partitions
from taxi_assets.defs.resources import SourceResource
from taxi_assets.defs.retries import retry_tags, tried_again
from taxi_assets.errors import BadFile
from taxi_assets.settings import Settings
from taxi_assets.stores.source import Publication, Source
from taxi_assets.tlc.trips import COLORS, TripMonth

SOURCE_TRIPS = "source_trips"


def build_source_trips(settings: Settings) -> dg.AssetsDefinition:
    """The asset `source_trips` under these settings."""
    partitions = trip_partitions(settings.first_month)

    def source_trips(context: dg.OpExecutionContext, source: SourceResource) -> dg.DataVersionsByPartition:
        months = (
            [trip_month(context.partition_key, partitions)]
            if context.has_partition_key
            else _months_to_observe(context.instance, settings)
        )
        versions: dict[str, str | dg.DataVersion] = {}
        claim_run(context.instance, context.run)
        opened = source.open()
        with tried_again(context.get_step_execution_context()):
            for month in months:
                published = look(opened, month)
                if isinstance(published, Publication):
                    versions[partition_key(month)] = dg.DataVersion(published.fingerprint)
                else:
                    context.log.info("%s: %s", month, published)
        context.log.info("asked for %d months, %d are published", len(months), len(versions))
        with disable_dagster_warnings():
            return dg.DataVersionsByPartition(versions)

    # It is in beta, and Dagster itself uses what it deprecates: both are said at each start. Its release is pinned.
    with disable_dagster_warnings():
        observable = dg.observable_source_asset(
            name=SOURCE_TRIPS,
            partitions_def=partitions,
            group_name="trips",
            op_tags=retry_tags(settings),
            description="What the source has published. To observe it asks the source for the version of each month "
            "that is loaded, and of the last TAXI_LOOKBACK_MONTHS: one that was published again makes raw_trips stale.",
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
    context.log_event(
        dg.AssetObservation(SOURCE_TRIPS, partition=partition_key(month), tags={DATA_VERSION_TAG: fingerprint})
    )
    # Dagster has read already which observation this step comes after, and would hold it against the new one.
    context.get_step_execution_context().wipe_input_asset_version_info(dg.AssetKey(SOURCE_TRIPS))


def observed_versions(instance: dg.DagsterInstance) -> dict[str, str]:
    """The fingerprint that the source was last seen to have, by partition key."""
    told = instance.event_log_storage.get_latest_tags_by_partition(
        dg.AssetKey(SOURCE_TRIPS), dg.DagsterEventType.ASSET_OBSERVATION, [DATA_VERSION_TAG]
    )
    return {key: tags[DATA_VERSION_TAG] for key, tags in told.items()}


def _months_to_observe(instance: dg.DagsterInstance, settings: Settings) -> list[TripMonth]:
    """The months that were ever fetched and still are partitions, and the recent ones of each color."""
    partitions = trip_partitions(settings.first_month)
    fetched = set(instance.get_materialized_partitions(dg.AssetKey("raw_trips")))
    months = {trip_month(key, partitions) for key in map(str, partitions.get_partition_keys()) if key in fetched}
    for color in COLORS:
        months.update(recent_months(color, datetime.now(UTC), settings.lookback_months, settings.first_month))
    return sorted(months)
