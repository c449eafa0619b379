"""Clients of Cloud Storage and BigQuery, as the resources of dagster-gcp.

They replace the `GcpCredentials` block of the Data Engineering Zoomcamp, also for assets that you add. Import this
module only if a setting refers to Google Cloud, because Google's client libraries take longer to import than Dagster.

Not here: uploads, load jobs, and queries (`stores.google`), and credentials (`stores.google.account`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dagster_gcp import BigQueryResource, GCSResource
from google.cloud import bigquery, storage
from pydantic import PrivateAttr

from taxi_assets.connections import google_account, is_bigquery, is_bucket
from taxi_assets.settings import Settings
from taxi_assets.stores.google.account import GoogleAccount


class StorageClients(GCSResource):
    """Cloud Storage clients of the configured account."""

    _account: GoogleAccount = PrivateAttr()

    def __init__(self, account: GoogleAccount) -> None:
        super().__init__(project=account.project or None)
        self._account = account

    def get_client(self) -> storage.Client:
        """Return a client that is authenticated as the account."""
        return self._account.storage_client()


class BigQueryClients(BigQueryResource):
    """BigQuery clients of the configured account, whose jobs run in `location`."""

    _account: GoogleAccount = PrivateAttr()

    def __init__(self, account: GoogleAccount, location: str) -> None:
        super().__init__(project=account.project or None, location=location)
        self._account = account

    def client(self) -> bigquery.Client:
        """Return a client that is authenticated as the account and runs jobs in the location."""
        return self._account.bigquery_client(self.location)

    @contextmanager
    def get_client(self) -> Iterator[bigquery.Client]:
        """Yield the same client, as a context manager like that of dagster-gcp."""
        yield self.client()


def google_clients(settings: Settings) -> Mapping[str, Any]:
    """Return the clients of the services that the settings use: `gcs`, `bigquery`, or both."""
    account = google_account(settings)
    clients: dict[str, Any] = {}
    if is_bucket(settings):
        clients["gcs"] = StorageClients(account)
    if is_bigquery(settings):
        clients["bigquery"] = BigQueryClients(account, settings.bigquery_location)
    return clients
