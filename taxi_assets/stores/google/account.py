"""The Google account: credentials, project, and the clients that use them.

Not here: retries and errors of the clients (`retry`), and the use of a service (`gcs`, `bigquery`).
"""

import base64
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from taxi_assets.errors import InvalidCredentials, NoCredentials, NoProject

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.cloud import bigquery
    from google.cloud.storage import Client as StorageClient

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)


@dataclass(frozen=True)
class GoogleAccount:
    """The Google account of all clients: a service account key, or Application Default Credentials.

    `key` is the JSON of a service account key, plain or in base64; if it is empty, Application Default Credentials are
    used. `project` is the project for new buckets and for the cost of queries; if it is empty, the project of the
    credentials is used.
    """

    key: str = field(default="", repr=False)
    project: str = ""

    def storage_client(self) -> "StorageClient":
        """Create a Cloud Storage client. Raises SettingsError if there are no usable credentials or no project."""
        from google.cloud.storage import Client

        credentials, project = self._credentials("STORAGE_EMULATOR_HOST")
        return Client(project=project, credentials=credentials)

    def bigquery_client(self, location: str | None = None) -> "bigquery.Client":
        """Create a BigQuery client whose jobs run in `location`.

        Raises SettingsError if there are no usable credentials or no project.
        """
        from google.cloud import bigquery

        credentials, project = self._credentials("BIGQUERY_EMULATOR_HOST")
        return bigquery.Client(project=project, credentials=credentials, location=location)

    def _credentials(self, emulator: str) -> "tuple[Credentials, str]":
        """Return the credentials and the project. `emulator` is the variable that selects an emulator without login."""
        if os.environ.get(emulator):
            from google.auth.credentials import AnonymousCredentials

            return AnonymousCredentials(), self.project or "emulator"  # type: ignore[no-untyped-call]
        credentials, project = _from_key(self.key) if self.key else _application_default()
        if not (self.project or project):
            raise NoProject("The credentials do not contain a Google Cloud project.")
        return credentials, self.project or str(project)


def _from_key(text: str) -> "tuple[Credentials, str | None]":
    from google.oauth2.service_account import Credentials

    info = _key_info(text)
    try:
        credentials = Credentials.from_service_account_info(info, scopes=_SCOPES)  # type: ignore[no-untyped-call]
    except ValueError:
        # The client's error message for an invalid key can contain parts of the key, and so can its traceback.
        raise InvalidCredentials("A field of the service account key is missing or invalid.") from None
    return credentials, info.get("project_id")


def _key_info(text: str) -> dict[str, Any]:
    """Parse a service account key. Raises InvalidCredentials, without any content of the key in the message."""
    try:
        info = json.loads(text if text.lstrip().startswith("{") else base64.b64decode(text))
    except ValueError:
        raise InvalidCredentials("The service account key is neither JSON nor base64-encoded JSON.") from None
    if not isinstance(info, dict) or info.get("type") != "service_account":
        raise InvalidCredentials('The credentials are JSON, but their type is not "service_account".')
    return info


def _application_default() -> "tuple[Credentials, str | None]":
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    try:
        return google.auth.default(scopes=_SCOPES)
    except DefaultCredentialsError as error:
        text = str(error).rstrip(".")
        raise NoCredentials(f'No usable credentials for Google Cloud were found: "{text}".', seen=text) from error
