"""The lake in a bucket and the warehouse in BigQuery: dagster-gcp's resources give the clients, the transport is ours.

Imported only where a setting names one of them: Google's clients take longer to import than Dagster.
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
    """Clients of Cloud Storage: the course's GcpCredentials block."""

    key: str = Field(description="TAXI_GCP_CREDENTIALS; empty for Google's application defaults")

    def get_client(self) -> storage.Client:
        """A client in the name of the key."""
        return GoogleAccount(self.key, self.project or "").storage_client()


class BigQueryClients(BigQueryResource):
    """Clients of BigQuery: the course's GcpCredentials block."""

    def client(self) -> bigquery.Client:
        """A client in the name of the key, for jobs at the location."""
        return GoogleAccount(self.gcp_credentials or "", self.project or "").bigquery_client(self.location)

    @contextmanager
    def get_client(self) -> Iterator[bigquery.Client]:
        """The same, as dagster-gcp gives it."""
        yield self.client()


class BucketObjects(LakeObjects):
    """Months as objects of a bucket: the course's GcsBucket block."""

    gcs: dg.ResourceDependency[StorageClients]
    staging_folder: str = Field(description="Where a month's file lies before it is sent")
    location: str = Field(description="TAXI_BIGQUERY_LOCATION")
    chunk_mb: int = Field(description="TAXI_UPLOAD_CHUNK_MB")
    timeout_s: float = Field(description="TAXI_UPLOAD_TIMEOUT_S")

    def lake(self) -> GCSLake:
        """The bucket of this URL."""
        return GCSLake(
            self.url,
            self.gcs.get_client,
            Path(self.staging_folder),
            location=self.location,
            chunk_mb=self.chunk_mb,
            timeout_s=self.timeout_s,
        )


class BigQueryTables(WarehouseResource):
    """Where tables are asked for answers: a BigQuery dataset."""

    bigquery: dg.ResourceDependency[BigQueryClients]
    location: str = Field(description="TAXI_BIGQUERY_LOCATION")

    def open(self) -> BigQueryWarehouse:
        """The dataset of this URL."""
        return BigQueryWarehouse(self.url, self.bigquery.client, location=self.location)


def bucket_objects(settings: Settings) -> BucketObjects:
    """The lake of these settings, which is a bucket."""
    return BucketObjects(
        url=settings.lake_url,
        gcs=StorageClients(project=google_project(settings), key=_key(settings)),
        staging_folder=str(settings.home / "upload"),
        location=settings.bigquery_location,
        chunk_mb=settings.upload_chunk_mb,
        timeout_s=settings.upload_timeout_s,
    )


def bigquery_tables(settings: Settings) -> BigQueryTables:
    """The warehouse of these settings, which is BigQuery."""
    location = settings.bigquery_location
    clients = BigQueryClients(
        project=google_project(settings), location=location, gcp_credentials=_key(settings) or None
    )
    return BigQueryTables(url=settings.warehouse_url, bigquery=clients, location=location)


def _key(settings: Settings) -> str:
    # A variable's name, not its value: the UI shows what a resource is given.
    return dg.EnvVar("TAXI_GCP_CREDENTIALS") if settings.gcp_credentials else ""
