"""Retries of Google's clients, and the translation of their errors.

Not here: the use of a service (`gcs`, `bigquery`).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from taxi_assets.errors import (
    GoogleBilling,
    GoogleError,
    GoogleLogin,
    GooglePermission,
    GoogleQuota,
    GoogleRateLimit,
    GoogleTlsError,
    GoogleUnreachable,
    TaxiAssetsError,
    UploadInterrupted,
)
from taxi_assets.stores.network import describe_network_error

if TYPE_CHECKING:
    from google.api_core.exceptions import GoogleAPICallError
    from google.api_core.retry import Retry

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RetryPolicy:
    """A retry policy for transient errors, in seconds: the delay doubles from `first_delay_s` to `longest_delay_s`.

    `total_timeout_s` limits the total time of all attempts.
    """

    first_delay_s: float = 1
    longest_delay_s: float = 30
    total_timeout_s: float = 180

    def retry(self) -> "Retry":
        """Return this policy as a `Retry` for Google's clients. It retries errors for which `is_transient` is true."""
        from google.api_core.retry import Retry

        return Retry(
            predicate=is_transient,
            initial=self.first_delay_s,
            maximum=self.longest_delay_s,
            multiplier=2,
            timeout=self.total_timeout_s,
            on_error=_log_retry,
        )

    def delay_s(self, attempt: int) -> float:
        """Return the delay in seconds after attempt number `attempt`, counted from 0."""
        return min(self.first_delay_s * 2.0 ** min(attempt, _MAX_DOUBLINGS), self.longest_delay_s)

    def brief(self) -> "RetryPolicy":
        """Return a copy with a total timeout of at most 10 seconds, for checks that a user waits for."""
        return replace(self, total_timeout_s=min(self.total_timeout_s, 10))


_MAX_DOUBLINGS = 30
"""Upper limit of the exponent, which prevents a float overflow."""


def _log_retry(error: Exception) -> None:
    text = describe_google_error(error) if _response_error(error) else describe_network_error(error)
    _log.warning("A request to Google failed and will be retried: %s", text)


def is_transient(error: BaseException) -> bool:
    """Whether a retry may succeed: rate limits, server errors, lost connections."""
    import requests
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import TransportError
    from google.cloud.storage.exceptions import InvalidResponse

    if isinstance(error, GoogleAPICallError):
        return error.code in _TRANSIENT_STATUS or error_reason(error) in TRANSIENT_REASONS
    if isinstance(error, InvalidResponse):  # uploads raise this inside their own retries
        return error.response.status_code in _TRANSIENT_STATUS
    if isinstance(error, requests.exceptions.SSLError):
        return False
    lost = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError, ConnectionError)
    return isinstance(error, (*lost, TransportError))


_TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504})

TRANSIENT_REASONS = frozenset(
    {
        *("backendError", "internalError", "rateLimitExceeded", "userRateLimitExceeded"),
        *("jobBackendError", "jobInternalError", "jobRateLimitExceeded"),
    }
)
"""Google's error reasons for transient errors, of requests and of jobs."""


@contextmanager
def translate_google_errors(context: str, roles: str, **facts: str | float) -> Iterator[None]:
    """Translate errors of Google's clients to errors of this project. Transient ones become StoreUnreachable.

    `context` starts the message and says what failed. `roles` are the IAM roles that the operation requires. `facts`
    are added to those of the error.
    """
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import DataCorruption
    from requests import RequestException

    try:
        yield
    except RetryError as error:
        translated = _translate(_last_attempt(error), roles, facts)
        raise translated.within(f"{context}, and retries did not help") from error
    except (GoogleAPICallError, GoogleAuthError, DataCorruption, RequestException, OSError) as error:
        if isinstance(error, OSError) and not isinstance(error, (RequestException, ConnectionError, TimeoutError)):
            raise  # an error on a local file, not Google's
        raise _translate(error, roles, facts).within(context) from error


def _translate(error: BaseException, roles: str, facts: dict[str, str | float]) -> TaxiAssetsError:
    """Create the error of this project for an error of Google's clients."""
    from google.api_core.exceptions import GoogleAPICallError, Unauthorized, from_http_response
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

    if isinstance(error, InvalidResponse):
        error = from_http_response(error.response)  # type: ignore[no-untyped-call]
    if isinstance(error, DataCorruption):
        return UploadInterrupted("The checksum of the uploaded object does not match that of the file.", **facts)
    if isinstance(error, (Unauthorized, GoogleAuthError)) and not isinstance(error, TransportError):
        text = describe_google_error(error)
        return GoogleLogin(f'Google rejected the credentials: "{text}".', **facts, seen=text)
    if isinstance(error, GoogleAPICallError):
        return _translate_response(error, roles, facts)
    return _translate_network_error(error, facts)


def _last_attempt(error: BaseException) -> BaseException:
    """Return the error of the last attempt."""
    from google.api_core.exceptions import RetryError

    while isinstance(error, RetryError) and (cause := error.cause or error.__cause__):
        error = cause
    return error


def _translate_response(error: "GoogleAPICallError", roles: str, facts: dict[str, str | float]) -> TaxiAssetsError:
    """Create the error of this project for an error response."""
    from google.api_core.exceptions import Forbidden

    text = describe_google_error(error)
    facts = {**facts, "seen": text}
    if is_transient(error):
        if error_reason(error) in _QUOTA_REASONS or error.code == _TOO_MANY_REQUESTS:
            return GoogleRateLimit(f'Google limits the rate of requests: "{text}".', **facts)
        return GoogleUnreachable(f'Google reported a temporary error: "{text}".', **facts)
    if error_reason(error) in _QUOTA_REASONS:
        return GoogleQuota(f'A quota of the project has been exceeded: "{text}".', **facts)
    if "billing" in text.lower():
        return GoogleBilling(f'Google rejected the request because of billing: "{text}".', **facts)
    if isinstance(error, Forbidden):
        return GooglePermission(f'Google denied the request: "{text}".', **facts, roles=roles)
    return GoogleError(f'Google rejected the request: "{text}".', **facts)


_QUOTA_REASONS = frozenset({"quotaExceeded", "rateLimitExceeded", "userRateLimitExceeded", "dailyLimitExceeded"})

_TOO_MANY_REQUESTS = 429


def _translate_network_error(error: BaseException, facts: dict[str, str | float]) -> TaxiAssetsError:
    from google.api_core.exceptions import RetryError
    from requests.exceptions import SSLError

    text = describe_network_error(error)
    facts = {**facts, "seen": text}
    if isinstance(error, SSLError):
        return GoogleTlsError(f"No secure connection to Google is possible: {text}.", **facts)
    # A RetryError without a cause reports only that the time is up.
    if is_transient(error) or isinstance(error, RetryError):
        return GoogleUnreachable(f"Google cannot be reached: {text}.", **facts)
    return GoogleError(f"The request to Google failed: {text}.", **facts)


def describe_google_error(error: BaseException) -> str:
    """Return a Google error on one line: status code and message, without the request URL."""
    text = str(_response_error(error).get("message") or getattr(error, "message", None) or error)
    if text.startswith(("GET ", "POST ", "PUT ", "PATCH ", "DELETE ")):
        text = text.partition(": ")[2]
    code = getattr(error, "code", None)
    return f"{int(code) if isinstance(code, int) else ''} {' '.join(text.split())[:_MAX_SHOWN]}".strip().rstrip(".")


def error_reason(error: BaseException) -> str:
    """Return the reason in Google's response, such as `quotaExceeded`, or "" if there is none."""
    errors = _response_error(error).get("errors") or getattr(error, "errors", None) or [{}]
    return str(errors[0].get("reason", "")) if isinstance(errors[0], dict) else ""


def _response_error(error: BaseException) -> dict[str, Any]:
    """Return the `error` object of Google's JSON response, or an empty dictionary if there is none."""
    from requests import Response

    response = getattr(error, "response", None)
    try:
        found = response.json()["error"] if isinstance(response, Response) else {}
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


_MAX_SHOWN = 600
"""Maximum number of characters of an error message to show: a proxy may return a whole HTML page."""
