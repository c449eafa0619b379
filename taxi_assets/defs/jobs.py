"""Jobs: which assets run together, as one run a partition, and the tags that its runs carry."""

import json
from collections.abc import Mapping

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.execution.plan.resume_retry import ReexecutionStrategy
from dagster._core.storage.tags import RETRY_STRATEGY_TAG

from taxi_assets.defs.partitions import trip_month, trip_partitions
from taxi_assets.settings import Settings
from taxi_assets.tlc.trips import TripMonth

LOAD_TRIPS = "load_trips"

COLOR_TAG, MONTH_TAG = "taxi/color", "taxi/month"

ASKED_BY_TAG = "taxi/asked_by"
"""Who asked for a run: `schedule`, `cli`, or `dagster`, which is its UI or one of its commands."""

ALERT_TAG, TOLD = "taxi/alert", "told"
"""Who tells of a run that fails: the command that ran it, by its process, then `told`; without this tag, the sensor."""

REVISION_TAG = "taxi/revision"
"""The revision of the image whose code server made a run's job: not set on one machine."""

STATIONS = ("raw_trips", "clean_trips", "lake_trips", "warehouse_trips", "postgres_trips")
"""The assets in the order that a month passes them."""


UPSTREAM = {
    "clean_trips": "raw_trips",
    "lake_trips": "clean_trips",
    "warehouse_trips": "lake_trips",
    "postgres_trips": "clean_trips",
}
"""The asset that each is made from."""

JOBS: Mapping[str, tuple[tuple[str, ...], str]] = {
    LOAD_TRIPS: (
        STATIONS,
        "Takes a month from the source through all five stations: files, lake, warehouse and Postgres.",
    ),
    "load_lake": (STATIONS[:3], "Takes a month from the source to the lake's object."),
    "load_warehouse": (STATIONS[:4], "Takes a month from the source through the lake to the warehouse."),
    "load_postgres": (("raw_trips", "clean_trips", "postgres_trips"), "Takes a month from the source to Postgres."),
}
"""The stations of each job, each with what it is made from, and what the job does."""


def month_tags(month: TripMonth) -> dict[str, str]:
    """The tags by which a month's runs are found."""
    return {COLOR_TAG: month.color, MONTH_TAG: month.month}


def build_jobs(settings: Settings) -> list[UnresolvedAssetJobDefinition]:
    """All jobs; their runs carry the tags that the settings give their color, and the revision, if there is one."""
    partitions = trip_partitions(settings.first_month)

    def tags(key: str) -> dict[str, str]:
        month = trip_month(key, partitions)
        of_color = settings.run_tags.get(month.color, {})
        said = {tag: value if isinstance(value, str) else json.dumps(value) for tag, value in of_color.items()}
        return {**said, **month_tags(month)}

    each_month = dg.PartitionedConfig(
        partitions, run_config_for_partition_key_fn=lambda _: {}, tags_for_partition_key_fn=tags
    )
    of_all = {
        ASKED_BY_TAG: "dagster",
        # A run that takes the place of one that was killed may be on another machine, without the files of that one.
        RETRY_STRATEGY_TAG: ReexecutionStrategy.ALL_STEPS.value,
        **({REVISION_TAG: settings.revision} if settings.revision else {}),
    }
    return [
        dg.define_asset_job(
            name,
            selection=dg.AssetSelection.assets(*stations),
            config=each_month,
            tags=of_all,
            description=description,
        )
        for name, (stations, description) in JOBS.items()
    ]
