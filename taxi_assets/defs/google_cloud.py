"""Resources for a lake in a Cloud Storage bucket and a warehouse in BigQuery.

They extend the resources of dagster-gcp. Import this module only if a setting refers to one of these services, because
Google's client libraries take longer to import than Dagster.

Not here: uploads, load jobs, and queries (`stores.gcs`, `stores.bigquery`), and credentials (`stores.google_cloud`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster_gcp import BigQueryResource, GCSResource
from google.cloud import bigquery, storage
from pydantic import Field

from taxi_assets.defs.io_managers import LakeObjects
from taxi_assets.defs.resources import WarehouseResource
from taxi_assets.settings import Settings
from taxi_assets.stores.bigquery import BigQueryWarehouse
from taxi_assets.stores.gcs import GCSLake
from taxi_assets.stores.google_cloud import GoogleAccount
from taxi_assets.systems import google_project


class StorageClients(GCSResource):
    """Cloud Storage clients. They replace the `GcpCredentials` block of the Data Engineering Zoomcamp."""

    key: str = Field(description="TAXI_GCP_CREDENTIALS; empty for Google's application defaults")

    def get_client(self) -> storage.Client:
        """Return a client that is authenticated with the key."""
        return GoogleAccount(self.key, self.project or "").storage_client()


class BigQueryClients(BigQueryResource):
    """BigQuery clients. They replace the `GcpCredentials` block of the Data Engineering Zoomcamp."""

    def client(self) -> bigquery.Client:
        """Return a client that is authenticated with the key and runs jobs in the location."""
        return GoogleAccount(self.gcp_credentials or "", self.project or "").bigquery_client(self.location)

    @contextmanager
    def get_client(self) -> Iterator[bigquery.Client]:
        """Yield the same client, as a context manager like that of dagster-gcp."""
        yield self.client()


class BucketObjects(LakeObjects):
    """Stores months as objects in a bucket. It replaces the `GcsBucket` block of the Data Engineering Zoomcamp."""

    gcs: dg.ResourceDependency[StorageClients]
    staging_folder: str = Field(description="Where a month's file lies before it is sent")
    location: str = Field(description="TAXI_BIGQUERY_LOCATION")
    chunk_mb: int = Field(description="TAXI_UPLOAD_CHUNK_MB")
    timeout_s: float = Field(description="TAXI_UPLOAD_TIMEOUT_S")

    def lake(self) -> GCSLake:
        """Return the lake in the bucket at `url`."""
        return GCSLake(
            self.url,
            self.gcs.get_client,
            Path(self.staging_folder),
            location=self.location,
            chunk_mb=self.chunk_mb,
            timeout_s=self.timeout_s,
        )


class BigQueryTables(WarehouseResource):
    """The warehouse: a BigQuery dataset."""

    bigquery: dg.ResourceDependency[BigQueryClients]
    location: str = Field(description="TAXI_BIGQUERY_LOCATION")

    def open(self) -> BigQueryWarehouse:
        """Return the warehouse in the dataset at `url`."""
        return BigQueryWarehouse(self.url, self.bigquery.client, location=self.location)


def bucket_objects(settings: Settings) -> BucketObjects:
    """Return the I/O manager for these settings, whose lake is a bucket."""
    return BucketObjects(
        url=settings.lake_url,
        gcs=StorageClients(project=google_project(settings), key=_key(settings)),
        staging_folder=str(settings.home / "upload"),
        location=settings.bigquery_location,
        chunk_mb=settings.upload_chunk_mb,
        timeout_s=settings.upload_timeout_s,
    )


def bigquery_tables(settings: Settings) -> BigQueryTables:
    """Return the warehouse resource for these settings, whose warehouse is BigQuery."""
    location = settings.bigquery_location
    clients = BigQueryClients(
        project=google_project(settings), location=location, gcp_credentials=_key(settings) or None
    )
    return BigQueryTables(url=settings.warehouse_url, bigquery=clients, location=location)


def _key(settings: Settings) -> str:
    # Pass the name of the environment variable, not its value, because the UI shows the configuration of resources.
    return dg.EnvVar("TAXI_GCP_CREDENTIALS") if settings.gcp_credentials else ""
