"""Resources: the systems that assets use, each selected by its URL.

They replace the blocks of the Data Engineering Zoomcamp. Not here: how a system is used (`stores`).
"""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from taxi_assets.stores.alerts import Channels
from taxi_assets.stores.duckdb import open_duckdb
from taxi_assets.stores.postgres import PostgresStore, open_postgres
from taxi_assets.stores.source import Source
from taxi_assets.stores.warehouse import Warehouse
from taxi_assets.tlc.rules import MissingPassengers, ZeroPassengers

if TYPE_CHECKING:
    import sqlalchemy


class RuleDefaults(dg.ConfigurableResource[None]):
    """The default limits and rules, which the config of a run can override."""

    reject_limit: float = Field(description="TAXI_REJECT_LIMIT")
    missing_passengers: MissingPassengers = Field(description="TAXI_MISSING_PASSENGERS")
    zero_passengers: ZeroPassengers = Field(description="TAXI_ZERO_PASSENGERS")


class SourceResource(dg.ConfigurableResource[Source]):
    """The source of the TLC's files: the mirror on GitHub, another web server, or a folder."""

    url: str = Field(description="TAXI_SOURCE_URL")

    def open(self) -> Source:
        """Return the source at `url`."""
        return Source(self.url)


class WarehouseResource(dg.ConfigurableResource[Warehouse]):
    """The warehouse: a DuckDB file."""

    url: str = Field(description="TAXI_WAREHOUSE_URL")

    def open(self) -> Warehouse:
        """Return the warehouse at `url`."""
        return open_duckdb(self.url)


class PostgresResource(dg.ConfigurableResource[PostgresStore]):
    """A Postgres server: the server at `url`, or, if `url` is empty, an embedded server with its data in `folder`."""

    url: str = Field(description="TAXI_POSTGRES_URL")
    folder: str = Field(description="The data of the server that is used without a URL")
    port: int | None = Field(description="TAXI_POSTGRES_PORT")

    def open(self) -> PostgresStore:
        """Return the store on this server. Starts the embedded server if it is used and not running."""
        return open_postgres(self.url, Path(self.folder), self.port)

    def engine(self) -> "sqlalchemy.Engine":
        """Return a SQLAlchemy engine for this server. Starts the embedded server as `open` does."""
        return self.open().engine()


class AlertsResource(dg.ConfigurableResource[Channels]):
    """The channels to notify about failed runs and finished backfills, such as Slack, email, and webhooks."""

    urls: str = Field(description="TAXI_ALERT_URLS")
    ui_url: str = Field(description="TAXI_UI_URL")

    def open(self) -> Channels:
        """Return the channels at these Apprise URLs."""
        return Channels(self.urls)
