"""Jobs: which assets run together, as one run a partition."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

LOAD_TRIPS = "load_trips"

STATIONS = ("raw_trips", "clean_trips", "lake_trips", "warehouse_trips", "postgres_trips")
"""The assets in the order that a month passes them."""


UPSTREAM = {
    "clean_trips": "raw_trips",
    "lake_trips": "clean_trips",
    "warehouse_trips": "lake_trips",
    "postgres_trips": "clean_trips",
}
"""The asset that each is made from."""


def build_jobs() -> list[UnresolvedAssetJobDefinition]:
    """The job `load_trips`: a month from the source to every store."""
    return [
        dg.define_asset_job(
            LOAD_TRIPS,
            selection=dg.AssetSelection.assets(*STATIONS),
            description="Takes a month from the source through all five stations: files, lake, warehouse and Postgres.",
        )
    ]
