"""Google Cloud: in whose name its clients act, how long they try, and what its errors mean to people.

Here: credentials, clients, retries, the errors that any Google service gives.
Not here: what is done with a service (`gcs`, `bigquery`).
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
    """In whose name Google's clients act: a service account's key, or Google's application defaults.

    `key` is the JSON of a key, plain or base64, or empty. `project` is the one that new buckets, and the cost of
    queries, belong to; where it is empty, that of the credentials.
    """

    key: str = field(default="", repr=False)
    project: str = ""

    def storage_client(self) -> "StorageClient":
        """A client of Cloud Storage. Raises SettingsError where there are no credentials."""
        from google.cloud.storage import Client

        credentials, project = self._who("STORAGE_EMULATOR_HOST")
        return Client(project=project, credentials=credentials)

    def bigquery_client(self, location: str | None = None) -> "bigquery.Client":
        """A client of BigQuery, whose jobs run at `location`. Raises SettingsError where there are no credentials."""
        from google.cloud import bigquery

        credentials, project = self._who("BIGQUERY_EMULATOR_HOST")
        return bigquery.Client(project=project, credentials=credentials, location=location)

    def _who(self, emulator: str) -> "tuple[Credentials, str]":
        """The credentials, and the project. An emulator asks for none."""
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
        # What Google's client says of a bad key may show its values; so would the traceback of its error.
        raise SettingsError(f"TAXI_GCP_CREDENTIALS is no usable key of a service account: {_KEY_EXPECTED}") from None
    return credentials, info.get("project_id")


def _key_info(text: str) -> dict[str, Any]:
    """The fields of a key. Raises SettingsError, without a word of what is in it."""
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
    """How long to try again what can pass, in seconds: pauses double from the first to the longest."""

    first_pause_s: float = 1
    longest_pause_s: float = 30
    give_up_s: float = 180

    def retry(self) -> "Retry":
        """A retry for Google's clients, of what `can_pass`."""
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
        """The pause after so many tries, from 0."""
        return min(self.first_pause_s * 2.0 ** min(times, _DOUBLINGS), self.longest_pause_s)

    def brief(self) -> "Patience":
        """For a person who waits."""
        return replace(self, give_up_s=min(self.give_up_s, 10))


_DOUBLINGS = 30
"""More would overflow in the end."""


def _warn(error: Exception) -> None:
    _log.warning("Google did not do it at once: %s", said_by_network(error) if not _answer(error) else said(error))


def can_pass(error: BaseException) -> bool:
    """Whether another try of the same request may succeed: too busy, broken inside, broken line."""
    import requests
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import TransportError
    from google.cloud.storage.exceptions import InvalidResponse

    if isinstance(error, GoogleAPICallError):
        return error.code in _PASSING_STATUS or reason(error) in PASSING_REASONS
    if isinstance(error, InvalidResponse):  # what an upload has inside its own retries
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
"""Google's words for what may not be met a second time, also by a job."""


@contextmanager
def google_errors(doing: str, roles: str) -> Iterator[None]:
    """Raise StoreError for what Google's clients raise in here; `doing` has failed, `roles` are what it takes.

    It is StoreUnreachable where another try may succeed, though many did not.
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
            raise  # a file's, not Google's
        kind = StoreUnreachable if can_pass(error) or isinstance(error, DataCorruption) else StoreError
        raise kind(f"{doing}: {_told(error, roles)}") from error


def _told(error: BaseException, roles: str) -> str:
    """What went wrong, and what to do."""
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
    """What the last of many tries met."""
    from google.api_core.exceptions import RetryError

    while isinstance(error, RetryError) and (cause := error.cause or error.__cause__):
        error = cause
    return error


def _answer_told(error: "GoogleAPICallError", roles: str) -> str:
    """What Google refused, and what to do."""
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
    """What an error of Google's says, in a line: its status and message, without the address that was asked."""
    answer = _answer(error)
    text = str(answer.get("message") or getattr(error, "message", None) or error)
    if text.startswith(("GET ", "POST ", "PUT ", "PATCH ", "DELETE ")):
        text = text.partition(": ")[2]
    code = getattr(error, "code", None)
    return f"{int(code) if isinstance(code, int) else ''} {' '.join(text.split())[:_SHOWN]}".strip().rstrip(".")


def reason(error: BaseException) -> str:
    """The word for what is wrong that Google's answer has, such as `quotaExceeded`; empty where it has none."""
    errors = _answer(error).get("errors") or getattr(error, "errors", None) or [{}]
    return str(errors[0].get("reason", "")) if isinstance(errors[0], dict) else ""


def _answer(error: BaseException) -> dict[str, Any]:
    """The `error` of Google's JSON answer, where there is one."""
    from requests import Response

    response = getattr(error, "response", None)
    try:
        answer = response.json()["error"] if isinstance(response, Response) else {}
    except (ValueError, KeyError, TypeError):
        return {}
    return answer if isinstance(answer, dict) else {}


_SHOWN = 600
"""Letters of what Google says that are shown: a proxy may answer with a whole page."""
