"""HTTP downloads that resume after an interruption and retry transient errors.

Here: which responses to retry, the delays between attempts, and when a partial download may be resumed.
Not here: which file to download, and its content.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING, BinaryIO

from taxi_assets.errors import (
    SourceAddressInvalid,
    SourceHostNotFound,
    SourceRateLimited,
    SourceRejected,
    SourceTlsError,
    SourceUnreachable,
)
from taxi_assets.stores.network import (
    describe_network_error,
    find_resolution_error,
    has_no_address,
    shorten_reason,
)
from taxi_assets.stores.sizes import format_size

if TYPE_CHECKING:
    import requests
    import tenacity

CHUNK_BYTES = 1 << 20
TIMEOUT_S = (10.0, 60.0)
"""Connect timeout, and maximum time for the headers and between bytes of the body, in seconds.

The total time of a download is unlimited.
"""

VERSION_TIMEOUT_S = (10.0, 30.0)
"""The same for `request_version`, which reads only the start of a file, often while a user waits."""

TRIES = 5
"""Maximum number of consecutive attempts that together make no progress."""

FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 30.0
"""First and longest delay between attempts, in seconds.

The delay doubles each time. A random jitter of up to a second prevents all clients from retrying at the same moment.
"""

LONGEST_RETRY_AFTER_S = 300.0
"""The longest Retry-After delay to wait for, in seconds. If a server asks for more, the download fails."""

LOG_INTERVAL_S = 5.0
"""Minimum time between two log messages about the progress of a download, in seconds."""

_PROGRESS_BYTES = 1 << 16
"""Minimum number of bytes that TRIES attempts must add to count as progress."""

_START_BYTES = 64

_LONGEST_NUMBER = 18
"""Maximum number of digits in a header's number. Longer ones are invalid: no file has so many bytes."""

_TRANSIENT_STATUSES = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""HTTP status codes of transient errors. All other error codes are permanent."""

_log = logging.getLogger(__name__)

_IDENTITY = {"Accept-Encoding": "identity"}
"""The files are stored exactly as sent, so the server must not apply a content encoding."""


@dataclass(frozen=True)
class Version:
    """The version of the file at a URL: its ETag and Last-Modified headers. Each is None if the server omits it."""

    etag: str | None = None
    last_modified: str | None = None

    def fingerprint(self, size: int | None) -> str:
        """Return a string that changes when the file is republished: its ETag, or else its size (bytes) and date."""
        # A proxy or CDN may turn a strong ETag into a weak one.
        return self.etag.removeprefix("W/") if self.etag else f"{size} bytes, {self.last_modified or 'no date'}"


@dataclass(frozen=True)
class FileInfo:
    """The size of a file in bytes, or None if the server omits it; its version, and its first bytes."""

    size: int | None
    version: Version
    start: bytes


class NotFound(Exception):  # no Error suffix, as in `errors`
    """The file does not exist on the server (404 or 410). The caller decides what that means."""


class _TransientError(Exception):
    """A transient error of an attempt. `retry_after_s` is the delay that the server asks for, in seconds."""

    def __init__(self, reason: str, retry_after_s: float = 0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Download:
    """A download of the URL `address` into `file`, which must be empty and stays open.

    Logs its progress a few times a minute, and a warning for each failed attempt. After `fetch`, `bytes`, `sha256` and
    `version` describe the stored file; `tries` is the number of requests, and `resumed` the number of requests that
    continued a partial download.
    """

    def __init__(self, address: str, file: BinaryIO) -> None:
        self.address = address
        self.bytes = 0
        self.version = Version()
        self.tries = self.resumed = 0
        self._file = file
        self._logged_at = monotonic()
        self._digest = sha256()
        self._length: int | None = None

    @property
    def sha256(self) -> str:
        """The hexadecimal SHA-256 of the stored bytes."""
        return self._digest.hexdigest()

    def fetch(self, known: Version | None = None) -> bool:
        """Download the whole file. Returns False, and stores nothing, if the server still has the `known` version.

        Raises NotFound if the file does not exist, SourceUnreachable if the server is unreachable or keeps breaking off
        the transfer, and StoreError for a permanent error.
        """
        furthest = 0
        while True:
            try:
                return _retrying(TRIES, before_sleep=self._log_retry)(self._attempt, known)
            except _TransientError as error:
                # Continue as long as there is progress: the transfer of a large file may break off more than TRIES
                # times.
                if self.bytes < furthest + _PROGRESS_BYTES:
                    raise SourceUnreachable(
                        f"{self.address} was not downloaded: {error}. Attempts: {self.tries}. "
                        f"Received: {self._progress()}.",
                        address=self.address,
                        tries=self.tries,
                        bytes=self.bytes,
                    ) from error
                furthest = self.bytes

    def _attempt(self, known: Version | None) -> bool:
        import requests
        from urllib3.exceptions import HTTPError

        from taxi_assets.stores.source.session import get

        self.tries += 1
        headers = {**_IDENTITY, **(self._range_headers() if self.bytes else _condition_headers(known))}
        try:
            with get(self.address, TIMEOUT_S, headers) as response:
                if _is_unchanged(response, known) and not self.bytes:
                    return False
                self._handle_headers(response)
                # read1() stores bytes as they arrive; read() would lose up to a chunk when the connection breaks.
                # Both check the body against Content-Length.
                while chunk := response.raw.read1(CHUNK_BYTES, decode_content=False):
                    self._store(chunk)
        except (requests.RequestException, HTTPError) as error:
            _raise_if_permanent(self.address, error)
            # A transfer that breaks off because the network is down continues when it is up again.
            if not self.bytes:
                _raise_if_not_resolved(self.address, error)
            raise _TransientError(describe_network_error(error)) from error
        if self._length is not None and self.bytes != self._length:
            raise _TransientError("the server sent only a part of the requested range")
        return True

    def _range_headers(self) -> dict[str, str]:
        """Return headers that request the missing part if the file is unchanged, by strong ETag or Last-Modified."""
        version = _strong_etag(self.version.etag) or self.version.last_modified
        return {"Range": f"bytes={self.bytes}-", "If-Range": version} if version else {}

    def _handle_headers(self, response: "requests.Response") -> None:
        """Prepare to store the whole file or the missing part. Raises an error for any other response."""
        if self.bytes and response.status_code == HTTPStatus.PARTIAL_CONTENT and self._continues(response.headers):
            self.resumed += 1
            return
        if response.status_code in (HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
            self._start_over()
            raise _TransientError("the server did not send the requested range")
        self._length = _require_ok(self.address, response)
        self._start_over()
        self.version = _version(response.headers)

    def _continues(self, headers: Mapping[str, str]) -> bool:
        """Whether a partial response starts where the stored bytes end and belongs to the same version of the file."""
        content_range = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""), re.ASCII)
        if content_range is None or _number(content_range[1]) != self.bytes:
            return False
        same_etag = headers.get("ETag", self.version.etag) == self.version.etag
        same_date = headers.get("Last-Modified", self.version.last_modified) == self.version.last_modified
        total = _number(content_range[2])
        self._length = total if self._length is None else self._length
        return same_etag and same_date and total in (None, self._length)

    def _start_over(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self.bytes, self._digest = 0, sha256()

    def _store(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._digest.update(chunk)
        self.bytes += len(chunk)
        if monotonic() - self._logged_at > LOG_INTERVAL_S:
            self._logged_at = monotonic()
            _log.info(self._progress())

    def _progress(self) -> str:
        length = format_size(self._length) if self._length else "an unknown size"
        return f"{format_size(self.bytes)} of {length}"

    def _log_retry(self, state: "tenacity.RetryCallState") -> None:
        delay_s = state.next_action.sleep if state.next_action else 0
        error = state.outcome.exception() if state.outcome else None
        message = "Attempt %d of %d failed: %s. Received: %s. Retrying in %.0f s."
        _log.warning(message, state.attempt_number, TRIES, error, self._progress(), delay_s)


def is_forbidden(rejected: SourceRejected) -> bool:
    """Whether the server answered 403 Forbidden."""
    return rejected.facts.get("status") == HTTPStatus.FORBIDDEN


def request_version(address: str, tries: int = 1) -> FileInfo:
    """Request the size, version and first bytes of a file. Transient errors are retried, up to `tries` attempts in all.

    Raises NotFound if the file does not exist, SourceUnreachable if a transient error persists, and StoreError for a
    permanent error.
    """
    try:
        return _retrying(tries, longest_retry_after_s=LONGEST_DELAY_S)(_request_start, address)
    except _TransientError as error:
        raise SourceUnreachable(f"{address} cannot be read: {error}.", address=address) from error


def _request_start(address: str) -> FileInfo:
    import requests
    from urllib3.exceptions import HTTPError

    from taxi_assets.stores.source.session import get

    try:
        # Not HEAD, which some servers reject even for files that they serve.
        with get(address, VERSION_TIMEOUT_S, _IDENTITY) as response:
            size = _require_ok(address, response)
            return FileInfo(size, _version(response.headers), response.raw.read(_START_BYTES, decode_content=False))
    except (requests.RequestException, HTTPError) as error:
        _raise_if_permanent(address, error)
        _raise_if_not_resolved(address, error)
        raise _TransientError(describe_network_error(error)) from error


def _retrying(
    tries: int,
    longest_retry_after_s: float = LONGEST_RETRY_AFTER_S,
    before_sleep: "Callable[[tenacity.RetryCallState], None] | None" = None,
) -> "tenacity.Retrying":
    """Return a function that calls its argument until it raises no _TransientError, at most `tries` times."""
    import tenacity

    backoff = tenacity.wait_exponential_jitter(FIRST_DELAY_S, LONGEST_DELAY_S)

    def retry_after_s(error: BaseException | None) -> float:
        return error.retry_after_s if isinstance(error, _TransientError) else 0.0

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(
            lambda error: isinstance(error, _TransientError) and error.retry_after_s <= longest_retry_after_s
        ),
        stop=tenacity.stop_after_attempt(tries),
        wait=lambda state: max(backoff(state), retry_after_s(state.outcome.exception() if state.outcome else None)),
        before_sleep=before_sleep,
        reraise=True,
    )


def _version(headers: Mapping[str, str]) -> Version:
    return Version(_printable(headers.get("ETag")), _printable(headers.get("Last-Modified")))


def _printable(header: str | None) -> str | None:
    """Return a header, or None if it cannot be sent back to the server, because it has control characters."""
    return header if header and header.isprintable() else None


def _condition_headers(known: Version | None) -> dict[str, str]:
    """Return headers that request the file only if it differs from the known version."""
    if known and known.etag:
        return {"If-None-Match": known.etag}
    return {"If-Modified-Since": known.last_modified} if known and known.last_modified else {}


def _is_unchanged(response: "requests.Response", known: Version | None) -> bool:
    """Whether the server still has the known version: it returns 304, or 200 with the same ETag."""
    if known is None:
        return False
    same = known.etag is not None and response.headers.get("ETag") == known.etag
    return response.status_code == HTTPStatus.NOT_MODIFIED or (response.status_code == HTTPStatus.OK and same)


def _strong_etag(etag: str | None) -> str | None:
    """Return the ETag if it is strong, that is, if it guarantees identical bytes; otherwise None."""
    return None if etag is None or etag.startswith("W/") else etag


def _require_ok(address: str, response: "requests.Response") -> int | None:
    """Return the Content-Length of a 200 response, in bytes, or None if there is none.

    Raises NotFound for 404 and 410, _TransientError for a transient error, and StoreError for all other status codes.
    """
    code = response.status_code
    if code == HTTPStatus.OK:
        return _length(response.headers.get("Content-Length"))
    if code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        raise NotFound(address)
    status = shorten_reason(f"{code} {response.reason}".rstrip())
    if code not in _TRANSIENT_STATUSES:
        raise SourceRejected(
            f"The server responded to a request for {address} with {status}. Expected 200 OK.",
            address=address,
            status=code,
        )
    seconds = _retry_after(response.headers.get("Retry-After", ""))
    if seconds > LONGEST_RETRY_AFTER_S:
        # Not SourceUnreachable, which callers retry: the server requires a longer delay.
        raise SourceRateLimited(
            f"The server responded to a request for {address} with {status}. A run waits at most "
            f"{LONGEST_RETRY_AFTER_S:.0f} s, but the server asks for a delay of {seconds:,.0f} s.",
            address=address,
            status=code,
            seconds=round(seconds),
        )
    raise _TransientError(f"the server responded with {status}, expected 200 OK", seconds)


def _raise_if_permanent(address: str, error: Exception) -> None:
    """Raise StoreError for errors that a retry cannot fix: TLS errors, invalid URLs, too many redirects."""
    from requests import exceptions

    reason = describe_network_error(error)
    if isinstance(error, exceptions.SSLError):
        raise SourceTlsError(f"No secure connection to {address} is possible: {reason}.", address=address) from error
    # requests raises ValueErrors for invalid URLs. The headers that are invalid are those of the server.
    invalid = isinstance(error, ValueError) and not isinstance(error, exceptions.InvalidHeader)
    if invalid or isinstance(error, exceptions.TooManyRedirects):
        raise SourceAddressInvalid(f"{address} cannot be requested: {reason}.", address=address) from error


def _raise_if_not_resolved(address: str, error: Exception) -> None:
    """Raise StoreError if the host has no address. It is only transient if the name server did not answer.

    There are no further attempts: the resolver has already made some, and a step is retried after a longer delay.
    """
    cause = find_resolution_error(error)
    if cause:
        kind = SourceHostNotFound if has_no_address(cause) else SourceUnreachable
        raise kind(f"{address} cannot be read: {describe_network_error(error)}.", address=address) from error


def _length(header: str | None) -> int | None:
    """Parse a Content-Length header. Raises _TransientError if it is invalid."""
    if not header:
        return None
    values = {value.strip() for value in header.split(",")}  # some proxies repeat it
    length = _number(values.pop()) if len(values) == 1 else None
    if length is None:
        raise _TransientError(f'the server sent an invalid Content-Length, "{shorten_reason(header)}"')
    return length


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER else None


def _retry_after(value: str) -> float:
    """Parse a Retry-After header (seconds or an HTTP date). Returns seconds, or 0 if it is missing or invalid."""
    seconds = _number(value)
    if seconds is not None:
        return float(seconds)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return 0.0
