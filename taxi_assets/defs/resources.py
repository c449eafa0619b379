"""Resources: the systems that assets use, each chosen by its URL. They take the place of the course's blocks.

Not here: how a system is used (`stores`).
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
    """The limits and rules of a run that does not say otherwise in its config."""

    reject_limit: float = Field(description="TAXI_REJECT_LIMIT")
    missing_passengers: MissingPassengers = Field(description="TAXI_MISSING_PASSENGERS")
    zero_passengers: ZeroPassengers = Field(description="TAXI_ZERO_PASSENGERS")


class SourceResource(dg.ConfigurableResource[Source]):
    """Where months are published: the mirror, another server, or a folder."""

    url: str = Field(description="TAXI_SOURCE_URL")

    def open(self) -> Source:
        """The source of this URL."""
        return Source(self.url)


class WarehouseResource(dg.ConfigurableResource[Warehouse]):
    """Where tables are asked for answers: a DuckDB file."""

    url: str = Field(description="TAXI_WAREHOUSE_URL")

    def open(self) -> Warehouse:
        """The warehouse of this URL."""
        return open_duckdb(self.url)


class PostgresResource(dg.ConfigurableResource[PostgresStore]):
    """A Postgres server: the one of the URL, or, where that is empty, one of this project's own in a folder."""

    url: str = Field(description="TAXI_POSTGRES_URL")
    folder: str = Field(description="The data of the server that is used without a URL")
    port: int | None = Field(description="TAXI_POSTGRES_PORT")

    def open(self) -> PostgresStore:
        """The store of this server, which is started if it is the project's own."""
        return open_postgres(self.url, Path(self.folder), self.port)

    def engine(self) -> "sqlalchemy.Engine":
        """A SQLAlchemy engine of this server."""
        return self.open().engine()


class AlertsResource(dg.ConfigurableResource[Channels]):
    """Where people are told of failed runs and finished backfills: Slack, mail, webhooks and others."""

    urls: str = Field(description="TAXI_ALERT_URLS")
    ui_url: str = Field(description="TAXI_UI_URL")

    def open(self) -> Channels:
        """The channels of these addresses."""
        return Channels(self.urls)
