"""The asset graph: the assets of each color, their upstream assets, and their keys, step keys, and job names.

Not here: what an asset computes (`defs.assets`).
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import dagster as dg

from taxi_assets.tlc.trips import COLORS

SOURCE_TRIPS = "source_trips"
"""The observable source asset: what the source has published. It is observed, never materialized."""

TRIP_ASSETS = ("raw_trips", "clean_trips", "lake_trips", "warehouse_trips", "postgres_trips")
"""The assets of each color, in the order in which a run materializes them."""

UPSTREAM: Mapping[str, str] = MappingProxyType(
    {
        "raw_trips": SOURCE_TRIPS,
        "clean_trips": "raw_trips",
        "lake_trips": "clean_trips",
        "warehouse_trips": "lake_trips",
        "postgres_trips": "clean_trips",
    }
)
"""The upstream asset of each asset."""

JOBS: Mapping[str, str] = MappingProxyType({f"load_{color}": color for color in COLORS})
"""The color that each job loads, by job name."""


def asset_key(color: str, name: str) -> dg.AssetKey:
    """Return the key of a color's asset, such as `green/clean_trips`."""
    return dg.AssetKey([color, name])


def step_key(color: str, name: str) -> str:
    """Return the key of the step that materializes a color's asset, which is also the name of its op."""
    return asset_key(color, name).to_python_identifier()


def job_name(color: str) -> str:
    """Return the name of the job that loads a month of a color, which is also the name of its schedule."""
    return f"load_{color}"


def is_trip_asset(key: dg.AssetKey) -> bool:
    """Return whether a key belongs to one of this project's assets, including `source_trips`."""
    return len(key.path) == len(("color", "name")) and key.path[0] in COLORS and key.path[1] in _NAMES


_NAMES = frozenset((SOURCE_TRIPS, *TRIP_ASSETS))


def split_step(step: str) -> tuple[str, str]:
    """Return the color and the asset name of a step, or two empty strings for a step of another project."""
    color, _, name = step.partition("__")
    return (color, name) if is_trip_asset(asset_key(color, name)) else ("", "")


def asset_of_step(step: str) -> str:
    """Return the name, without its color, of the asset that a step materializes.

    For a step of another project, return the step key unchanged.
    """
    return split_step(step)[1] or step


def colors_of(keys: Iterable[dg.AssetKey]) -> frozenset[str]:
    """Return the colors of these assets, ignoring assets of other projects."""
    return frozenset(key.path[0] for key in keys if is_trip_asset(key))


def run_colors(run: dg.DagsterRun) -> frozenset[str]:
    """Return the colors that a run covers, or an empty set for a run of another project."""
    if run.asset_selection or run.asset_check_selection:
        checked = (check.asset_key for check in run.asset_check_selection or ())
        return colors_of([*(run.asset_selection or ()), *checked])
    if run.job_name in JOBS:
        return frozenset({JOBS[run.job_name]})
    return frozenset(color for step in run.step_keys_to_execute or () if (color := split_step(step)[0]))
