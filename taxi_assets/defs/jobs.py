"""Jobs: one a color, which loads a month as one run, and the tags that its runs carry."""

import json

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.execution.plan.resume_retry import ReexecutionStrategy
from dagster._core.storage.tags import RETRY_STRATEGY_TAG

from taxi_assets.defs.checks import NEWEST_MONTH_LOADED
from taxi_assets.defs.graph import JOBS, TRIP_ASSETS, asset_key
from taxi_assets.settings import Settings

COLOR_TAG = "taxi/color"

ASKED_BY_TAG = "taxi/asked_by"
"""Who asked for a run: `schedule`, `cli`, or `dagster`, which is its UI or one of its commands."""

RESULT_TAG, NOT_PUBLISHED = "taxi/result", "not_published"
"""What a run that succeeded came to, where that is not a loaded month."""

ALERT_TAG, TOLD = ".dagster/taxi_alert", "told"
"""Who tells of a run that fails: the command that ran it, by its process, then `told`; without this tag, the sensor."""

REVISION_TAG = "taxi/revision"
"""The revision of the image whose code server made a run's job: not set on one machine."""


def color_result_tag(color: str) -> str:
    """What `taxi/result` is called on a run of several colors, which the UI starts: the others may well be loaded."""
    return f"{RESULT_TAG}/{color}"


def build_jobs(settings: Settings) -> list[UnresolvedAssetJobDefinition]:
    """The jobs of all colors, with the tags that the settings give their runs, and the revision, if there is one."""
    return [_job(settings, name, color) for name, color in JOBS.items()]


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
            # The retry of a run that was killed may be on another machine, without the files of that one.
            RETRY_STRATEGY_TAG: ReexecutionStrategy.ALL_STEPS.value,
            **({REVISION_TAG: settings.revision} if settings.revision else {}),
        },
        description=f"Loads a month of {color} trips: from the source to files, lake, warehouse and Postgres.",
    )
