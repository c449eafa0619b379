"""The asset graph: the assets of each color, their upstream assets, the stores that they fill, their checks and jobs.

Everything that needs the graph reads it here. Not here: Dagster's keys for it (`keys`), and what an asset computes
(`defs.assets`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from taxi_assets.tlc.marts import MARTS
from taxi_assets.tlc.trips import COLORS

SOURCE_TRIPS = "source_trips"
"""The observable source asset: what the source has published. It is observed, never materialized."""

VERIFIED = "verified"
"""The check of what was verified before the month was published."""

NEWEST_MONTH_LOADED = "newest_month_loaded"
"""The only check that is not partitioned: the newest month that the source has is in the warehouse."""


@dataclass(frozen=True)
class TripAsset:
    """An asset of a color: its upstream asset, the store that it fills, and its blocking checks.

    `layer` is the value of its tag in the catalog. The quality rules, which only warn, are in `tlc.quality`.
    """

    name: str
    upstream: str
    store: str
    layer: str
    checks: tuple[str, ...] = ()


ASSETS = (
    TripAsset("raw_trips", SOURCE_TRIPS, "raw", "raw"),
    TripAsset("clean_trips", "raw_trips", "clean", "clean", (VERIFIED,)),
    TripAsset("lake_trips", "clean_trips", "lake", "lake", (VERIFIED, "matches_clean")),
    TripAsset("warehouse_trips", "lake_trips", "warehouse", "warehouse", (VERIFIED, "matches_lake")),
    TripAsset("postgres_trips", "clean_trips", "postgres", "warehouse", (VERIFIED, "matches_clean")),
)
"""The assets of each color, in the order in which a run materializes them."""

TRIP_ASSETS = tuple(asset.name for asset in ASSETS)
"""The names of the assets, in the same order."""

UPSTREAM: Mapping[str, str] = MappingProxyType({asset.name: asset.upstream for asset in ASSETS})
"""The upstream asset of each asset."""

MART_ASSETS = tuple(mart.name for mart in MARTS)
"""The names of the assets of each color with figures, which are made from `MART_UPSTREAM`."""

MART_UPSTREAM = "warehouse_trips"
"""The asset from whose rows the marts are computed."""

LOAD_ZONES, LOAD_MARTS = "load_zones", "load_marts"
"""The names of the jobs that load the taxi zones, and that compute all marts that are missing or out of date."""

STORES = tuple(asset.store for asset in ASSETS)
"""The names of the stores in the user interface, in the same order."""

ASSET_OF_STORE: Mapping[str, str] = MappingProxyType({asset.store: asset.name for asset in ASSETS})
"""The asset that fills each store."""

JOBS: Mapping[str, str] = MappingProxyType({f"load_{color}": color for color in COLORS})
"""The color that each job loads, by job name."""


def job_name(color: str) -> str:
    """Return the name of the job that loads a month of a color, which is also the name of its schedule."""
    return f"load_{color}"


def mart_job_name(color: str) -> str:
    """Return the name of the job that computes the marts of a month of a color."""
    return f"{LOAD_MARTS}_{color}"
