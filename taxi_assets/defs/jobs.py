"""Jobs: one per color, which loads one month per run, and the tags of its runs.

Not here: the meaning of the tags (`instance.tags`), and the schedules (`schedules`).
"""

import json

import dagster as dg

from taxi_assets.graph import JOBS, NEWEST_MONTH_LOADED, TRIP_ASSETS
from taxi_assets.instance._dagster import UnresolvedAssetJobDefinition
from taxi_assets.instance.tags import ASKED_BY_TAG, COLOR_TAG, REVISION_TAG
from taxi_assets.keys import asset_key
from taxi_assets.partitions import source_colors
from taxi_assets.settings import Settings


def build_jobs(settings: Settings) -> list[UnresolvedAssetJobDefinition]:
    """Return the jobs of all colors, with the run tags from the settings and the revision, if it is set."""
    return [_job(settings, name, color) for name, color in JOBS.items() if color in source_colors(settings)]


def _job(settings: Settings, name: str, color: str) -> UnresolvedAssetJobDefinition:
    of_color = settings.run_tags.get(color, {})
    assets = dg.AssetSelection.assets(*(asset_key(color, asset) for asset in TRIP_ASSETS))
    about_the_color = dg.AssetSelection.checks(
        dg.AssetCheckKey(asset_key(color, "warehouse_trips"), NEWEST_MONTH_LOADED)
    )
    return dg.define_asset_job(
        name,
        selection=assets - about_the_color,
        tags={
            **{tag: value if isinstance(value, str) else json.dumps(value) for tag, value in of_color.items()},
            COLOR_TAG: color,
            ASKED_BY_TAG: "dagster",
            # The retry of a killed run may start on another machine, which does not have the files of the first.
            "dagster/retry_strategy": "ALL_STEPS",
            **({REVISION_TAG: settings.revision} if settings.revision else {}),
        },
        description=f"Loads a month of {color} trips: from the source to files, lake, warehouse and Postgres. To start "
        "it, click Materialize all and select months.",
    )
