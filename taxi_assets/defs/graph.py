"""The graph of assets, declared once: which assets a color has, what each is made from, and what they are called.

Not here: what an asset does (`assets`).
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import dagster as dg

from taxi_assets.tlc.trips import COLORS

SOURCE_TRIPS = "source_trips"
"""What the source has published: observed, never materialized."""

TRIP_ASSETS = ("raw_trips", "clean_trips", "lake_trips", "warehouse_trips", "postgres_trips")
"""The assets of a color, in the order that a month passes them."""

UPSTREAM: Mapping[str, str] = MappingProxyType(
    {
        "raw_trips": SOURCE_TRIPS,
        "clean_trips": "raw_trips",
        "lake_trips": "clean_trips",
        "warehouse_trips": "lake_trips",
        "postgres_trips": "clean_trips",
    }
)
"""The asset that each is made from."""

JOBS: Mapping[str, str] = MappingProxyType({f"load_{color}": color for color in COLORS})
"""The color that each job loads."""


def asset_key(color: str, name: str) -> dg.AssetKey:
    """The key of an asset of a color, such as `green/clean_trips`."""
    return dg.AssetKey([color, name])


def step_key(color: str, name: str) -> str:
    """The step, and op, that materializes an asset of a color."""
    return asset_key(color, name).to_python_identifier()


def job_name(color: str) -> str:
    """The job that loads a month of a color, and the schedule that asks for its runs."""
    return f"load_{color}"


def is_trip_asset(key: dg.AssetKey) -> bool:
    """Whether a key is that of one of this project's assets, the source's included."""
    return len(key.path) == len(("color", "name")) and key.path[0] in COLORS and key.path[1] in _NAMES


_NAMES = frozenset((SOURCE_TRIPS, *TRIP_ASSETS))


def split_step(step: str) -> tuple[str, str]:
    """The color and the asset of a step; both empty for a step that is not this project's."""
    color, _, name = step.partition("__")
    return (color, name) if is_trip_asset(asset_key(color, name)) else ("", "")


def asset_of_step(step: str) -> str:
    """The asset that a step materializes, without its color; the step's own name where it is not this project's."""
    return split_step(step)[1] or step


def colors_of(keys: Iterable[dg.AssetKey]) -> frozenset[str]:
    """The colors that these assets are of; others than this project's are left out."""
    return frozenset(key.path[0] for key in keys if is_trip_asset(key))


def run_colors(run: dg.DagsterRun) -> frozenset[str]:
    """The colors that a run is of; none for another project's."""
    if run.asset_selection or run.asset_check_selection:
        checked = (check.asset_key for check in run.asset_check_selection or ())
        return colors_of([*(run.asset_selection or ()), *checked])
    if run.job_name in JOBS:
        return frozenset({JOBS[run.job_name]})
    return frozenset(color for step in run.step_keys_to_execute or () if (color := split_step(step)[0]))
