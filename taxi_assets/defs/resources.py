"""The resources of runs: the stores that the settings configure, opened once for each process.

They replace the blocks of the Data Engineering Zoomcamp. Run config cannot override them: a place comes from the
settings only. Not here: which store a setting selects (`connections`), and how a store is used (`stores`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from taxi_assets.connections import (
    is_bigquery,
    is_bucket,
    open_channels,
    open_home,
    open_lake,
    open_postgres,
    open_source,
    open_warehouse,
)
from taxi_assets.defs.io_managers import CleanFiles, LakeObjects, PostgresTables, RawFiles, WarehouseTables
from taxi_assets.notifications import Channels
from taxi_assets.settings import Settings
from taxi_assets.stores.postgres.store import PostgresStore
from taxi_assets.tlc.rules import MissingPassengers, ZeroPassengers

if TYPE_CHECKING:
    import sqlalchemy


class RuleDefaults(dg.ConfigurableResource[None]):
    """The default limits and rules, which the config of a run can override."""

    reject_limit: float = Field(description="TAXI_REJECT_LIMIT")
    outside_month_limit: float = Field(description="TAXI_OUTSIDE_MONTH_LIMIT")
    missing_passengers: MissingPassengers = Field(description="TAXI_MISSING_PASSENGERS")
    zero_passengers: ZeroPassengers = Field(description="TAXI_ZERO_PASSENGERS")


@dataclass(frozen=True)
class PostgresResource:
    """The Postgres server of the settings, which is opened only by the steps that use it."""

    settings: Settings

    def open(self) -> PostgresStore:
        """Return the store on this server. Starts the embedded server if it is used and not running."""
        return open_postgres(self.settings)

    def engine(self) -> "sqlalchemy.Engine":
        """Return a SQLAlchemy engine for this server. Starts the embedded server as `open` does."""
        return self.open().engine()


@dataclass(frozen=True)
class NotificationsResource:
    """The channels to notify about failed runs and ticks and finished backfills, such as Slack, email, and webhooks."""

    settings: Settings

    @property
    def ui_url(self) -> str:
        """The address of the UI, with which links start."""
        return self.settings.ui_url

    def open(self) -> Channels:
        """Return the configured channels. Raises SettingsError."""
        return open_channels(self.settings)


def build_resources(settings: Settings) -> dict[str, Any]:
    """Return the resources and I/O managers by their keys.

    Raises SettingsError for a setting that cannot be used, when the definitions are loaded and not when a run fails.
    """
    home = open_home(settings)
    google = _google_resources(settings)
    lake = open_lake(settings, google["gcs"].get_client if "gcs" in google else None)
    warehouse = open_warehouse(settings, google["bigquery"].client if "bigquery" in google else None)
    return {
        "source": _fixed(open_source(settings), f"The source of the raw files: {settings.source_url}"),
        "home": _fixed(home, f"Local files: {settings.home}"),
        "raw_files": _fixed(RawFiles(home), f"Raw files: {settings.home}/raw"),
        "clean_files": _fixed(CleanFiles(home), f"Clean files and rejected lines: {settings.home}/clean"),
        "lake": _fixed(lake, f"The lake: {settings.lake_url}"),
        "lake_objects": _fixed(LakeObjects(lake), f"Objects in the lake: {settings.lake_url}"),
        "warehouse": _fixed(warehouse, f"The warehouse: {settings.warehouse_url}"),
        "warehouse_tables": _fixed(WarehouseTables(warehouse), f"Tables in the warehouse: {settings.warehouse_url}"),
        "postgres_tables": _fixed(PostgresTables(PostgresResource(settings).open), "Tables in Postgres"),
        "postgres": _fixed(PostgresResource(settings), "Postgres: the server in TAXI_POSTGRES_URL or the embedded one"),
        "notifications": _fixed(NotificationsResource(settings), "The channels in TAXI_ALERT_URLS"),
        "defaults": RuleDefaults(
            reject_limit=settings.reject_limit,
            outside_month_limit=settings.outside_month_limit,
            missing_passengers=settings.missing_passengers,
            zero_passengers=settings.zero_passengers,
        ),
        **{name: _fixed(clients, f"Clients of Google Cloud: {name}") for name, clients in google.items()},
    }


def _fixed(value: object, description: str) -> dg.ResourceDefinition:
    """Return a resource that accepts no config, so that a run cannot redirect it to another place."""
    # Without a schema, Dagster accepts any config.
    if isinstance(value, dg.IOManager):
        return dg.IOManagerDefinition(resource_fn=lambda _: value, config_schema={}, description=description)
    return dg.ResourceDefinition(resource_fn=lambda _: value, config_schema={}, description=description)


def _google_resources(settings: Settings) -> Mapping[str, Any]:
    """Return the clients of the Google services that are configured."""
    if not (is_bucket(settings) or is_bigquery(settings)):
        return {}
    # Google's client libraries take longer to import than Dagster.
    from taxi_assets.defs.google_cloud import google_clients

    return google_clients(settings)
