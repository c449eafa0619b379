"""Dagster's keys of the asset graph: asset keys, step keys, and the colors that keys and runs belong to.

Not here: the graph itself (`graph`).
"""

from collections.abc import Iterable

import dagster as dg

from taxi_assets.graph import JOBS, LOAD_MARTS, LOAD_ZONES, MART_ASSETS, SOURCE_TRIPS, TRIP_ASSETS, mart_job_name
from taxi_assets.tlc.marts import ZONES_TABLE
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


def is_color_asset(key: dg.AssetKey) -> bool:
    """Return whether a key belongs to one of this project's assets of a color: of trips, or of figures."""
    return is_trip_asset(key) or (len(key.path) == len(("color", "name")) and _is_mart(*key.path))


def _is_mart(color: str, name: str) -> bool:
    return color in COLORS and name in MART_ASSETS


def split_step(step: str) -> tuple[str, str]:
    """Return the color and the asset name of a step, or two empty strings for a step of another project."""
    color, _, name = step.partition("__")
    return (color, name) if is_color_asset(asset_key(color, name)) else ("", "")


def asset_of_step(step: str) -> str:
    """Return the name, without its color, of the asset that a step materializes.

    For a step of another project, return the step key unchanged.
    """
    return split_step(step)[1] or step


def colors_of(keys: Iterable[dg.AssetKey]) -> frozenset[str]:
    """Return the colors of these assets, ignoring assets of other projects."""
    return frozenset(key.path[0] for key in keys if is_color_asset(key))


def is_own_run(run: dg.DagsterRun) -> bool:
    """Return whether a run is of this project: of a color, of the taxi zones, or of all marts."""
    return bool(run_colors(run)) or run.job_name in (LOAD_ZONES, LOAD_MARTS) or _ZONES in (run.asset_selection or ())


_ZONES = dg.AssetKey([ZONES_TABLE])


def run_colors(run: dg.DagsterRun) -> frozenset[str]:
    """Return the colors that a run covers, or an empty set for a run of another project."""
    if run.asset_selection or run.asset_check_selection:
        checked = (check.asset_key for check in run.asset_check_selection or ())
        return colors_of([*(run.asset_selection or ()), *checked])
    if run.job_name in _JOBS:
        return frozenset({_JOBS[run.job_name]})
    return frozenset(color for step in run.step_keys_to_execute or () if (color := split_step(step)[0]))


_JOBS = {**JOBS, **{mart_job_name(color): color for color in COLORS}}
"""The color of each job that covers one."""
