"""Builds the Dagster definitions from the settings.

Not here: the definitions themselves, which the other modules of `defs` build.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg

import taxi_assets
from taxi_assets.defs.assets import build_assets
from taxi_assets.defs.executor import build_executor
from taxi_assets.defs.failed_runs import build_run_notifications
from taxi_assets.defs.finished_backfills import build_backfill_notifications
from taxi_assets.defs.jobs import build_jobs
from taxi_assets.defs.mart_jobs import build_mart_jobs
from taxi_assets.defs.marts import build_mart_sensor, build_marts
from taxi_assets.defs.newest import build_newest_checks
from taxi_assets.defs.resources import build_resources
from taxi_assets.defs.schedules import build_schedules
from taxi_assets.defs.source_trips import build_source_trips
from taxi_assets.defs.zones import build_zones
from taxi_assets.instance._dagster import disable_dagster_warnings
from taxi_assets.settings import Settings


def build_definitions(settings: Settings) -> dg.Definitions:
    """Return the Dagster definitions for these settings.

    Each run covers one partition and executes its steps in one process. Raises SettingsError for a setting that cannot
    be used, such as an invalid URL.
    """
    return dg.Definitions(
        assets=[
            *build_source_trips(settings),
            *_with_links(settings, [*build_assets(settings), *build_marts(settings), build_zones(settings)]),
        ],
        asset_checks=build_newest_checks(settings),
        jobs=[*build_jobs(settings), *build_mart_jobs(settings)],
        schedules=build_schedules(settings),
        sensors=[
            build_mart_sensor(settings),
            # Without channels, these sensors would appear in the UI but do nothing.
            *([build_run_notifications(), build_backfill_notifications()] if settings.alert_urls else []),
        ],
        executor=build_executor(),
        resources=build_resources(settings),
    )


def _with_links(settings: Settings, assets: Sequence[dg.AssetsDefinition]) -> Sequence[Any]:
    """Add links to the source code: to the repository if TAXI_REPOSITORY_URL is set, else to the local file."""
    with disable_dagster_warnings():
        linked = dg.with_source_code_references(assets)
        if not settings.repository_url:
            return linked
        git_url, _, branch = settings.repository_url.partition("/tree/")
        anchored = dg.AnchorBasedFilePathMapping(
            local_file_anchor=Path(taxi_assets.__file__), file_anchor_path_in_repository="taxi_assets/__init__.py"
        )
        return dg.link_code_references_to_git(linked, git_url, branch or "main", anchored)
