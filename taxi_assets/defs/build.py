"""Builds the Dagster definitions from the settings. This is the only place that configures resources from settings.

Not here: the definitions themselves, which the other modules of `defs` build.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg

import taxi_assets
from taxi_assets.defs.assets import build_assets
from taxi_assets.defs.failed_runs import build_run_alerts
from taxi_assets.defs.finished_backfills import build_backfill_alerts
from taxi_assets.defs.io_managers import CleanFiles, LakeObjects, RawFiles
from taxi_assets.defs.jobs import build_jobs
from taxi_assets.defs.newest import build_newest_checks
from taxi_assets.defs.resources import AlertsResource, PostgresResource, RuleDefaults, SourceResource, WarehouseResource
from taxi_assets.defs.schedules import build_schedules
from taxi_assets.defs.source_trips import build_source_trips
from taxi_assets.instance._dagster import disable_dagster_warnings
from taxi_assets.settings import Settings
from taxi_assets.systems import is_bigquery, is_bucket, open_lake, open_source, open_warehouse


def build_definitions(settings: Settings) -> dg.Definitions:
    """Return the Dagster definitions for these settings.

    Each run covers one partition and executes its steps in one process. Raises SettingsError for a setting that cannot
    be used, such as an invalid URL.
    """
    home = str(settings.home)
    # Report an invalid URL when the definitions are loaded, not when a run fails.
    source, _, _ = open_source(settings), open_lake(settings), open_warehouse(settings)
    return dg.Definitions(
        assets=[*build_source_trips(settings), *_with_links(settings, build_assets(settings))],
        asset_checks=build_newest_checks(settings),
        jobs=build_jobs(settings),
        schedules=build_schedules(settings),
        # Without channels, the sensors would appear in the UI but do nothing.
        sensors=[build_run_alerts(), build_backfill_alerts()] if settings.alert_urls else [],
        executor=dg.in_process_executor,
        resources={
            "source": SourceResource(url=settings.source_url),
            "raw_files": RawFiles(folder=home, raw_suffix=source.suffix),
            "clean_files": CleanFiles(folder=home),
            "lake": _lake(settings),
            "warehouse": _warehouse(settings),
            "postgres": PostgresResource(
                # Pass the name of the environment variable, not its value, because the URL contains a password.
                url=dg.EnvVar("TAXI_POSTGRES_URL") if settings.postgres_url else "",
                folder=str(settings.home / "postgres"),
                port=settings.postgres_port,
            ),
            "alerts": AlertsResource(
                # As above: these URLs contain tokens and passwords.
                urls=dg.EnvVar("TAXI_ALERT_URLS") if settings.alert_urls else "",
                ui_url=settings.ui_url,
            ),
            "defaults": RuleDefaults(
                reject_limit=settings.reject_limit,
                missing_passengers=settings.missing_passengers,
                zero_passengers=settings.zero_passengers,
            ),
        },
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


def _lake(settings: Settings) -> LakeObjects:
    if is_bucket(settings):
        from taxi_assets.defs.google_cloud import bucket_objects

        return bucket_objects(settings)
    return LakeObjects(url=settings.lake_url)


def _warehouse(settings: Settings) -> WarehouseResource:
    if is_bigquery(settings):
        from taxi_assets.defs.google_cloud import bigquery_tables

        return bigquery_tables(settings)
    return WarehouseResource(url=settings.warehouse_url)
