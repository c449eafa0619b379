"""The definitions under given settings: the one place where settings meet resources."""

import dagster as dg

from taxi_assets.defs.assets import build_assets
from taxi_assets.defs.io_managers import CleanFiles, LakeObjects, RawFiles
from taxi_assets.defs.jobs import build_jobs
from taxi_assets.defs.resources import PostgresResource, RuleDefaults, SourceResource, WarehouseResource
from taxi_assets.settings import Settings
from taxi_assets.stores.lake import open_lake
from taxi_assets.stores.source import Source
from taxi_assets.stores.warehouse import open_warehouse


def build_definitions(settings: Settings) -> dg.Definitions:
    """Everything that Dagster shows and runs. A run is one partition, and its steps run in one process."""
    home = str(settings.home)
    # What cannot be opened is a wrong setting, and is said before anything runs.
    open_lake(settings.lake_url)
    open_warehouse(settings.warehouse_url)
    return dg.Definitions(
        assets=build_assets(settings),
        jobs=build_jobs(),
        executor=dg.in_process_executor,
        resources={
            "source": SourceResource(url=settings.source_url),
            "raw_files": RawFiles(folder=home, raw_suffix=Source(settings.source_url).suffix),
            "clean_files": CleanFiles(folder=home),
            "lake": LakeObjects(url=settings.lake_url),
            "warehouse": WarehouseResource(url=settings.warehouse_url),
            "postgres": PostgresResource(
                # A variable's name, not its value: the URL holds a password.
                url=dg.EnvVar("TAXI_POSTGRES_URL") if settings.postgres_url else "",
                folder=str(settings.home / "postgres"),
                port=settings.postgres_port,
            ),
            "defaults": RuleDefaults(
                reject_limit=settings.reject_limit,
                missing_passengers=settings.missing_passengers,
                zero_passengers=settings.zero_passengers,
            ),
        },
    )
