"""Jobs: which assets run together, as one run a partition, and the tags that its runs carry."""

from collections.abc import Mapping

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from taxi_assets.defs.partitions import trip_month
from taxi_assets.tlc.trips import TripMonth

LOAD_TRIPS = "load_trips"

COLOR_TAG, MONTH_TAG = "taxi/color", "taxi/month"

ASKED_BY_TAG = "taxi/asked_by"
"""Who asked for a run: `schedule`, `cli`, or `dagster`, which is its UI or one of its commands."""

ALERT_TAG = "taxi/alert"
"""Who tells of a run that fails: `cli`, which is the command that ran it; without this tag, the sensor."""

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


def build_jobs(partitions: dg.MultiPartitionsDefinition) -> list[UnresolvedAssetJobDefinition]:
    """All jobs."""
    each_month = dg.PartitionedConfig(
        partitions,
        run_config_for_partition_key_fn=lambda _: {},
        tags_for_partition_key_fn=lambda key: month_tags(trip_month(key, partitions)),
    )
    return [
        dg.define_asset_job(
            name,
            selection=dg.AssetSelection.assets(*stations),
            config=each_month,
            tags={ASKED_BY_TAG: "dagster"},
            description=description,
        )
        for name, (stations, description) in JOBS.items()
    ]
