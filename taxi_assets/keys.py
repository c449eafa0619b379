"""Dagster's keys of the asset graph: asset keys, step keys, and the colors that keys and runs belong to.

Not here: the graph itself (`graph`).
"""

from collections.abc import Iterable

import dagster as dg

from taxi_assets.graph import JOBS, SOURCE_TRIPS, TRIP_ASSETS
from taxi_assets.tlc.trips import COLORS


def asset_key(color: str, name: str) -> dg.AssetKey:
    """Return the key of a color's asset, such as `green/clean_trips`."""
    return dg.AssetKey([color, name])


def step_key(color: str, name: str) -> str:
    """Return the key of the step that materializes a color's asset, which is also the name of its op."""
    return asset_key(color, name).to_python_identifier()


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
