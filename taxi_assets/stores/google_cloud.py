"""Google Cloud clients: credentials, retries, and error messages for users.

Here: everything that the Google services have in common.
Not here: the use of a service (`gcs`, `bigquery`).
"""

import base64
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from taxi_assets.errors import SettingsError, StoreError, StoreUnreachable
from taxi_assets.stores.network import said_by_network

if TYPE_CHECKING:
    from google.api_core.exceptions import GoogleAPICallError
    from google.api_core.retry import Retry
    from google.auth.credentials import Credentials
    from google.cloud import bigquery
    from google.cloud.storage import Client as StorageClient

_log = logging.getLogger(__name__)

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)

_KEY_EXPECTED = (
    "expected the JSON of a service account's key, as it is or in base64 (base64 -w0 key.json); without this setting, "
    "Google's application defaults are used"
)


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

        credentials, project = self._who("STORAGE_EMULATOR_HOST")
        return Client(project=project, credentials=credentials)

    def bigquery_client(self, location: str | None = None) -> "bigquery.Client":
        """Create a BigQuery client whose jobs run in `location`.

        Raises SettingsError if there are no usable credentials or no project.
        """
        from google.cloud import bigquery

        credentials, project = self._who("BIGQUERY_EMULATOR_HOST")
        return bigquery.Client(project=project, credentials=credentials, location=location)

    def _who(self, emulator: str) -> "tuple[Credentials, str]":
        """Return the credentials and the project. `emulator` is the variable that selects an emulator without login."""
        if os.environ.get(emulator):
            from google.auth.credentials import AnonymousCredentials

            return AnonymousCredentials(), self.project or "emulator"  # type: ignore[no-untyped-call]
        credentials, project = _from_key(self.key) if self.key else _application_default()
        if not (self.project or project):
            raise SettingsError(
                "the credentials name no Google project: set GOOGLE_CLOUD_PROJECT, or TAXI_GCP_CREDENTIALS to a "
                "service account's key, which names one"
            )
        return credentials, self.project or str(project)


def _from_key(text: str) -> "tuple[Credentials, str | None]":
    from google.oauth2.service_account import Credentials

    info = _key_info(text)
    try:
        credentials = Credentials.from_service_account_info(info, scopes=_SCOPES)  # type: ignore[no-untyped-call]
    except ValueError:
        # The client's error message for an invalid key can contain parts of the key, and so can its traceback.
        raise SettingsError(f"TAXI_GCP_CREDENTIALS is no usable key of a service account: {_KEY_EXPECTED}") from None
    return credentials, info.get("project_id")


def _key_info(text: str) -> dict[str, Any]:
    """Parse a service account key. Raises SettingsError, without any content of the key in the message."""
    try:
        info = json.loads(text if text.lstrip().startswith("{") else base64.b64decode(text))
    except ValueError:
        raise SettingsError(f"TAXI_GCP_CREDENTIALS cannot be read: {_KEY_EXPECTED}") from None
    if not isinstance(info, dict) or info.get("type") != "service_account":
        raise SettingsError(f"TAXI_GCP_CREDENTIALS is JSON, but no key of a service account: {_KEY_EXPECTED}")
    return info


def _application_default() -> "tuple[Credentials, str | None]":
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    try:
        return google.auth.default(scopes=_SCOPES)
    except DefaultCredentialsError as error:
        raise SettingsError(
            f"there are no credentials for Google Cloud: {error} Set TAXI_GCP_CREDENTIALS to a service account's key, "
            "or GOOGLE_APPLICATION_CREDENTIALS to its file, or run: gcloud auth application-default login"
        ) from error


@dataclass(frozen=True)
class Patience:
    """A retry policy for transient errors, in seconds: the delay doubles from `first_pause_s` to `longest_pause_s`.

    `give_up_s` limits the total time of all attempts.
    """

    first_pause_s: float = 1
    longest_pause_s: float = 30
    give_up_s: float = 180

    def retry(self) -> "Retry":
        """Return this policy as a `Retry` for Google's clients. It retries errors for which `can_pass` is true."""
        from google.api_core.retry import Retry

        return Retry(
            predicate=can_pass,
            initial=self.first_pause_s,
            maximum=self.longest_pause_s,
            multiplier=2,
            timeout=self.give_up_s,
            on_error=_warn,
        )

    def pause_s(self, times: int) -> float:
        """Return the delay in seconds after attempt number `times`, counted from 0."""
        return min(self.first_pause_s * 2.0 ** min(times, _DOUBLINGS), self.longest_pause_s)

    def brief(self) -> "Patience":
        """Return a copy that gives up after at most 10 seconds, for checks that a user waits for."""
        return replace(self, give_up_s=min(self.give_up_s, 10))


_DOUBLINGS = 30
"""Upper limit of the exponent, which prevents a float overflow."""


def _warn(error: Exception) -> None:
    _log.warning("Google did not do it at once: %s", said_by_network(error) if not _answer(error) else said(error))


def can_pass(error: BaseException) -> bool:
    """Whether an error is transient, so that a retry may succeed: rate limits, server errors, lost connections."""
    import requests
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import TransportError
    from google.cloud.storage.exceptions import InvalidResponse

    if isinstance(error, GoogleAPICallError):
        return error.code in _PASSING_STATUS or reason(error) in PASSING_REASONS
    if isinstance(error, InvalidResponse):  # uploads raise this inside their own retries
        return error.response.status_code in _PASSING_STATUS
    if isinstance(error, requests.exceptions.SSLError):
        return False
    broken = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError, ConnectionError)
    return isinstance(error, (*broken, TransportError))


_PASSING_STATUS = frozenset({408, 429, 500, 502, 503, 504})

PASSING_REASONS = frozenset(
    {
        *("backendError", "internalError", "rateLimitExceeded", "userRateLimitExceeded"),
        *("jobBackendError", "jobInternalError", "jobRateLimitExceeded"),
    }
)
"""Google's error reasons for transient errors, of requests and of jobs."""


@contextmanager
def google_errors(doing: str, roles: str) -> Iterator[None]:
    """Translate errors of Google's clients to StoreError, or to StoreUnreachable if a later retry may succeed.

    `doing` starts the message and says what failed; `roles` are the IAM roles that the operation requires.
    """
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import DataCorruption
    from requests import RequestException

    try:
        yield
    except RetryError as error:
        raise StoreUnreachable(f"{doing}: tried again and again, {_told(_last(error), roles)}") from error
    except (GoogleAPICallError, GoogleAuthError, DataCorruption, RequestException, OSError) as error:
        if isinstance(error, OSError) and not isinstance(error, (RequestException, ConnectionError, TimeoutError)):
            raise  # an error on a local file, not Google's
        kind = StoreUnreachable if can_pass(error) or isinstance(error, DataCorruption) else StoreError
        raise kind(f"{doing}: {_told(error, roles)}") from error


def _told(error: BaseException, roles: str) -> str:
    """Return a message that says what went wrong and what to do."""
    from google.api_core.exceptions import GoogleAPICallError, Unauthorized, from_http_response
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

    if isinstance(error, InvalidResponse):
        error = from_http_response(error.response)  # type: ignore[no-untyped-call]
    if isinstance(error, DataCorruption):
        return "the object was changed on its way: its checksum is not that of the file. Run this again"
    if isinstance(error, (Unauthorized, GoogleAuthError)) and not isinstance(error, TransportError):
        return (
            f"Google does not accept the credentials: {said(error)}. Give a valid key in TAXI_GCP_CREDENTIALS, or log "
            "in again: gcloud auth application-default login"
        )
    if isinstance(error, GoogleAPICallError):
        return _answer_told(error, roles)
    return f"Google cannot be reached: {said_by_network(error)}. Check the connection, then run this again"


def _last(error: BaseException) -> BaseException:
    """Return the error of the last attempt."""
    from google.api_core.exceptions import RetryError

    while isinstance(error, RetryError) and (cause := error.cause or error.__cause__):
        error = cause
    return error


def _answer_told(error: "GoogleAPICallError", roles: str) -> str:
    """Return a message that says which request error Google returned and what to do."""
    from google.api_core.exceptions import Forbidden, TooManyRequests

    if reason(error) in _QUOTA or isinstance(error, TooManyRequests):
        return f"a quota of Google's is used up: {said(error)}. {QUOTA_REMEDY}"
    if "billing" in said(error).lower():
        return f"Google refused: {said(error)}. Give the project a billing account"
    if isinstance(error, Forbidden):
        return f"Google refused: {said(error)}. It takes {roles}"
    return f"Google answered {said(error)}"


_QUOTA = frozenset({"quotaExceeded", "rateLimitExceeded", "userRateLimitExceeded", "dailyLimitExceeded"})

QUOTA_REMEDY = "Let fewer runs go at once, or wait, or ask Google for more under IAM & Admin > Quotas"


def said(error: BaseException) -> str:
    """Return a Google error on one line: status code and message, without the request URL."""
    answer = _answer(error)
    text = str(answer.get("message") or getattr(error, "message", None) or error)
    if text.startswith(("GET ", "POST ", "PUT ", "PATCH ", "DELETE ")):
        text = text.partition(": ")[2]
    code = getattr(error, "code", None)
    return f"{int(code) if isinstance(code, int) else ''} {' '.join(text.split())[:_SHOWN]}".strip().rstrip(".")


def reason(error: BaseException) -> str:
    """Return the reason in Google's response, such as `quotaExceeded`, or "" if there is none."""
    errors = _answer(error).get("errors") or getattr(error, "errors", None) or [{}]
    return str(errors[0].get("reason", "")) if isinstance(errors[0], dict) else ""


def _answer(error: BaseException) -> dict[str, Any]:
    """Return the `error` object of Google's JSON response, or an empty dictionary if there is none."""
    from requests import Response

    response = getattr(error, "response", None)
    try:
        answer = response.json()["error"] if isinstance(response, Response) else {}
    except (ValueError, KeyError, TypeError):
        return {}
    return answer if isinstance(answer, dict) else {}


_SHOWN = 600
"""Maximum number of characters of an error message to show: a proxy may return a whole HTML page."""
