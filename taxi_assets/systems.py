"""Open the systems that the settings configure: choose the store for each URL and pass its options.

Not here: how a store works (`stores`), and the resources of Dagster runs (`defs.resources`).
"""

from collections.abc import Callable
from functools import partial

from taxi_assets.errors import SettingsError
from taxi_assets.settings import Settings
from taxi_assets.stores import postgres
from taxi_assets.stores.alerts import Channels
from taxi_assets.stores.bigquery import BigQueryWarehouse, split_url
from taxi_assets.stores.duckdb import open_duckdb
from taxi_assets.stores.embedded_postgres import EmbeddedPostgres
from taxi_assets.stores.gcs import GCSLake
from taxi_assets.stores.google_cloud import GoogleAccount
from taxi_assets.stores.home import Home
from taxi_assets.stores.inventory import Inventory
from taxi_assets.stores.lake import Lake, open_folder
from taxi_assets.stores.postgres import PostgresStore
from taxi_assets.stores.source import Source
from taxi_assets.stores.warehouse import Warehouse


def open_source(settings: Settings) -> Source:
    """Open the source of the raw files. Raises SettingsError."""
    return Source(settings.source_url)


def open_lake(settings: Settings) -> Lake:
    """Open the lake without connecting to it. Raises SettingsError."""
    if not is_bucket(settings):
        return open_folder(settings.lake_url)
    return GCSLake(
        settings.lake_url,
        google_account(settings).storage_client,
        settings.home / "upload",
        location=settings.bigquery_location,
        chunk_mb=settings.upload_chunk_mb,
        timeout_s=settings.upload_timeout_s,
    )


def open_warehouse(settings: Settings) -> Warehouse:
    """Open the warehouse without connecting to it.

    Raises SettingsError, also for a warehouse that cannot load from the configured lake.
    """
    opened = _open_bigquery(settings) if is_bigquery(settings) else open_duckdb(settings.warehouse_url)
    if is_bucket(settings) != is_bigquery(settings):
        raise SettingsError(
            f"TAXI_WAREHOUSE_URL={settings.warehouse_url} cannot load from TAXI_LAKE_URL={settings.lake_url}: BigQuery "
            "loads from gs://bucket, DuckDB from a folder. Set both to Google Cloud, or neither"
        )
    return opened


def _open_bigquery(settings: Settings) -> BigQueryWarehouse:
    location = settings.bigquery_location
    client = partial(google_account(settings).bigquery_client, location)
    return BigQueryWarehouse(settings.warehouse_url, client, location=location)


def open_postgres(settings: Settings) -> PostgresStore:
    """Open the Postgres database, and start the embedded server if TAXI_POSTGRES_URL is not set.

    Raises SettingsError and StoreError.
    """
    url = settings.postgres_url.get_secret_value() if settings.postgres_url else ""
    return postgres.open_postgres(url, settings.home / "postgres", settings.postgres_port)


def open_channels(settings: Settings) -> Channels:
    """Open the alert channels. Raises SettingsError, also if none are configured."""
    if settings.alert_urls is None:
        raise SettingsError(
            "TAXI_ALERT_URLS is not set, so there is nowhere to send alerts: set it to addresses of Apprise, such as "
            "slack://TOKEN_A/TOKEN_B/TOKEN_C"
        )
    return Channels(settings.alert_urls.get_secret_value())


def open_inventory(settings: Settings, store: str) -> Inventory:
    """Open the inventory of one of `STORES` for a wipe. Raises SettingsError and StoreError."""
    home = Home(settings.home, raw_suffix="")
    match store:
        case "raw":
            return Inventory(home.held_raw, home.remove_raw)
        case "clean":
            return Inventory(home.held_clean, home.remove_clean)
        case "postgres" if not settings.postgres_url and not EmbeddedPostgres(settings.home / "postgres").has_data():
            # Creating a server only to find it empty would take too long.
            return Inventory(lambda _: [], lambda _: [])
    opened = _OPENERS[store](settings)
    return Inventory(opened.held, opened.remove)


_OPENERS: dict[str, Callable[[Settings], Lake | Warehouse | PostgresStore]] = {
    "lake": open_lake,
    "warehouse": open_warehouse,
    "postgres": open_postgres,
}


def google_account(settings: Settings) -> GoogleAccount:
    """The Google account: the configured key, and the project of the warehouse if it is BigQuery."""
    key = settings.gcp_credentials.get_secret_value() if settings.gcp_credentials else ""
    return GoogleAccount(key, google_project(settings))


def google_project(settings: Settings) -> str:
    """The Google Cloud project for jobs and new buckets; empty to use the project of the credentials."""
    return split_url(settings.warehouse_url)[0] if is_bigquery(settings) else ""


def is_bucket(settings: Settings) -> bool:
    """Whether the lake is in Cloud Storage."""
    return settings.lake_url.startswith("gs://")


def is_bigquery(settings: Settings) -> bool:
    """Whether the warehouse is BigQuery."""
    return settings.warehouse_url.startswith("bigquery://")
