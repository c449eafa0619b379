"""Opens the stores that the settings configure: the only place that knows which store a URL selects.

The commands of `taxi` and the resources of Dagster runs are both built here. Not here: how a store works (`stores`).
"""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from taxi_assets.errors import MissingExtra, MixedClouds, NoNotificationUrls
from taxi_assets.notifications import Channels
from taxi_assets.settings import Settings
from taxi_assets.stores.duckdb import open_duckdb
from taxi_assets.stores.files.folder_lake import open_folder
from taxi_assets.stores.files.home import Home
from taxi_assets.stores.google.account import GoogleAccount
from taxi_assets.stores.google.addresses import dataset_of
from taxi_assets.stores.inventory import Inventory
from taxi_assets.stores.lake import Lake
from taxi_assets.stores.postgres.embedded import EmbeddedPostgres
from taxi_assets.stores.postgres.store import PostgresStore
from taxi_assets.stores.postgres.store import open_postgres as open_postgres_at
from taxi_assets.stores.source.months import Source
from taxi_assets.stores.warehouse import Warehouse
from taxi_assets.tlc.trips import TripMonth

if TYPE_CHECKING:
    from google.cloud import bigquery, storage


def open_source(settings: Settings) -> Source:
    """Open the source of the raw files. Raises SettingsError."""
    source = Source(settings.source_url)
    expected = [
        TripMonth(color, month)
        for color in source.colors
        for month in ([settings.first_month] if settings.first_month else source.likely_months(color))
    ]
    return Source(settings.source_url, expected)


def open_home(settings: Settings) -> Home:
    """Open the folder for raw, clean and rejected months. Raises SettingsError."""
    return Home(settings.home, open_source(settings).suffix)


def open_lake(settings: Settings, client: "Callable[[], storage.Client] | None" = None) -> Lake:
    """Open the lake without connecting to it. `client` replaces the Cloud Storage client. Raises SettingsError."""
    if not is_bucket(settings):
        return open_folder(settings.lake_url)
    from taxi_assets.stores.google.gcs import GCSLake

    _require_google()
    return GCSLake(
        settings.lake_url,
        client or google_account(settings).storage_client,
        settings.home / "upload",
        location=settings.bigquery_location,
        chunk_mb=settings.upload_chunk_mb,
        timeout_s=settings.upload_timeout_s,
    )


def open_warehouse(settings: Settings, client: "Callable[[], bigquery.Client] | None" = None) -> Warehouse:
    """Open the warehouse without connecting to it. `client` replaces the BigQuery client.

    Raises SettingsError, also for a warehouse that cannot load from the configured lake.
    """
    if is_bucket(settings) != is_bigquery(settings):
        raise MixedClouds(
            f'The warehouse "{settings.warehouse_url}" cannot load from the lake "{settings.lake_url}": BigQuery loads '
            "from a bucket, DuckDB from a folder."
        )
    if not is_bigquery(settings):
        return open_duckdb(settings.warehouse_url)
    from taxi_assets.stores.google.bigquery import BigQueryWarehouse

    _require_google()
    location = settings.bigquery_location
    client = client or partial(google_account(settings).bigquery_client, location)
    return BigQueryWarehouse(settings.warehouse_url, client, location=location)


def open_postgres(settings: Settings) -> PostgresStore:
    """Open the Postgres database, and start the embedded server if TAXI_POSTGRES_URL is not set.

    Raises SettingsError and StoreError.
    """
    url = settings.postgres_url.get_secret_value() if settings.postgres_url else ""
    return open_postgres_at(url, settings.home / "postgres", settings.postgres_port)


def has_postgres_data(settings: Settings) -> bool:
    """Return whether Postgres can contain months. Starting an embedded server to find it empty would take too long."""
    return bool(settings.postgres_url) or EmbeddedPostgres(settings.home / "postgres").has_data()


def open_channels(settings: Settings) -> Channels:
    """Open the notification channels. Raises SettingsError, also if none are configured."""
    if settings.alert_urls is None:
        raise NoNotificationUrls("TAXI_ALERT_URLS is not set, so there is no channel to notify.")
    return Channels(settings.alert_urls.get_secret_value())


def open_inventory(settings: Settings, store: str) -> Inventory:
    """Open the inventory of one of `STORES` for a wipe. Raises SettingsError and StoreError."""
    home = open_home(settings)
    match store:
        case "raw":
            return Inventory(home.raw_items, home.remove_raw)
        case "clean":
            return Inventory(home.clean_items, home.remove_clean)
        case "postgres" if not has_postgres_data(settings):
            return Inventory(lambda _: [], lambda _: [])
    opened = _OPENERS[store](settings)
    return Inventory(opened.stored_items, opened.remove)


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
    return dataset_of(settings.warehouse_url)[0] if is_bigquery(settings) else ""


def is_bucket(settings: Settings) -> bool:
    """Whether the lake is in Cloud Storage."""
    return settings.lake_url.startswith("gs://")


def is_bigquery(settings: Settings) -> bool:
    """Whether the warehouse is BigQuery."""
    return settings.warehouse_url.startswith("bigquery://")


def _require_google() -> None:
    if missing := [name for name in _GOOGLE_PACKAGES if not _is_installed(name)]:
        raise MissingExtra(f"Google Cloud is configured, but {', '.join(missing)} is not installed.", extra="gcp")


_GOOGLE_PACKAGES = ("google.cloud.storage", "google.cloud.bigquery", "dagster_gcp", "sqlglot")


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False
