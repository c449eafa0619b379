"""HTTP downloads that resume after an interruption and retry transient errors.

Here: which responses to retry, the delays between attempts, and when a partial download may be resumed.
Not here: which file to download, and its content.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING, BinaryIO

from taxi_assets.errors import SourceUnreachable, StoreError
from taxi_assets.stores.network import said_by_network

if TYPE_CHECKING:
    import requests
    import tenacity

CHUNK_BYTES = 1 << 20
TIMEOUT_S = (10.0, 60.0)
"""Connect timeout and read timeout between bytes, in seconds. The total time of a download is unlimited."""

ASK_TIMEOUT_S = (10.0, 30.0)
"""The same for `ask`, which reads only the start of a file, often while a user waits."""

TRIES = 5
"""Maximum number of consecutive attempts that together make no progress."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
"""First and longest delay between attempts, in seconds.

The delay doubles each time. A random jitter of up to a second prevents all clients from retrying at the same moment.
"""

LONGEST_RETRY_AFTER_S = 300.0
"""The longest Retry-After delay to wait for, in seconds. If a server asks for more, the download fails."""

_TELL_EVERY_S = 5.0

_STEP_BYTES = 1 << 16
"""Minimum number of bytes that TRIES attempts must add to count as progress."""

_START_BYTES = 64

_KILOBYTE, _MEGABYTE = 10**3, 10**6

_PASSING = frozenset(
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

_AS_IT_IS = {"Accept-Encoding": "identity"}
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
class Seen:
    """A server's response about a file: `start` is its first bytes; `size`, in bytes, is None if it is not sent."""

    size: int | None
    version: Version
    start: bytes


class NotFound(Exception):  # no Error suffix, as in `errors`
    """The file does not exist on the server (404 or 410). The caller decides what that means."""


class _Broken(Exception):
    """A transient error in an attempt. `pause_s` is the Retry-After delay that the server asked for, in seconds."""

    def __init__(self, said: str, pause_s: float = 0) -> None:
        super().__init__(said)
        self.pause_s = pause_s


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
        self._told_at = monotonic()
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
                return self._try_again_and_again(known)
            except _Broken as error:
                # Continue as long as there is progress: the transfer of a large file may break off more than TRIES
                # times.
                if self.bytes < furthest + _STEP_BYTES:
                    raise SourceUnreachable(
                        f"{self.address} did not arrive: {error}. {self.tries} tries, {self._so_far()} came. "
                        "Check the address and the connection, then run this again"
                    ) from error
                furthest = self.bytes

    def _try_again_and_again(self, known: Version | None) -> bool:
        import tenacity

        jittered = tenacity.wait_exponential_jitter(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        again = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Broken),
            stop=tenacity.stop_after_attempt(TRIES),
            wait=lambda state: max(jittered(state), _asked_pause(state)),
            before_sleep=self._warn_of_pause,
            reraise=True,
        )
        return again(self._try, known)

    def _try(self, known: Version | None) -> bool:
        import requests
        from urllib3.exceptions import HTTPError

        self.tries += 1
        headers = {**_AS_IT_IS, **(self._rest() if self.bytes else _unless(known))}
        try:
            with requests.get(self.address, stream=True, timeout=TIMEOUT_S, headers=headers) as response:
                if _is_known(response, known) and not self.bytes:
                    return False
                self._prepare(response)
                # read1() stores bytes as they arrive; read() would lose up to a chunk when the connection breaks.
                # Both check the body against Content-Length.
                while chunk := response.raw.read1(CHUNK_BYTES, decode_content=False):
                    self._store(chunk)
        except (requests.RequestException, HTTPError) as error:
            _require_askable(self.address, error)
            raise _Broken(said_by_network(error)) from error
        if self._length is not None and self.bytes != self._length:
            raise _Broken("the server sent a part of what was asked for")
        return True

    def _rest(self) -> dict[str, str]:
        """Return headers that request the missing part if the file is unchanged, by strong ETag or Last-Modified."""
        same = _strong(self.version.etag) or self.version.last_modified
        return {"Range": f"bytes={self.bytes}-", "If-Range": same} if same else {}

    def _prepare(self, response: "requests.Response") -> None:
        """Handle the response headers: the whole file, the missing part, or an error."""
        if self.bytes and response.status_code == HTTPStatus.PARTIAL_CONTENT and self._goes_on(response.headers):
            self.resumed += 1
            return
        if response.status_code in (HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
            self._start_over()
            raise _Broken("the server did not send the part that was asked for")
        self._length = _require_sent(self.address, response)
        self._start_over()
        self.version = _version(response.headers)

    def _goes_on(self, headers: Mapping[str, str]) -> bool:
        """Whether a partial response starts where the stored bytes end and belongs to the same version of the file."""
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""), re.ASCII)
        if span is None or int(span[1]) != self.bytes:
            return False
        same_etag = headers.get("ETag", self.version.etag) == self.version.etag
        same_date = headers.get("Last-Modified", self.version.last_modified) == self.version.last_modified
        total = _number(span[2])
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
        if monotonic() - self._told_at > _TELL_EVERY_S:
            self._told_at = monotonic()
            _log.info(self._so_far())

    def _so_far(self) -> str:
        whole = format_size(self._length) if self._length else "an unknown size"
        return f"{format_size(self.bytes)} of {whole}"

    def _warn_of_pause(self, state: "tenacity.RetryCallState") -> None:
        pause = state.next_action.sleep if state.next_action else 0
        error = state.outcome.exception() if state.outcome else None
        this = state.attempt_number + 1
        _log.warning("try %d of %d in %.0f s: %s; %s came", this, TRIES, pause, error, self._so_far())


def format_size(size: int) -> str:
    """Format a number of bytes for display, in bytes, kB or MB."""
    if size < _KILOBYTE:
        return f"{size} bytes"
    return f"{size / 1e6:,.1f} MB" if size >= _MEGABYTE else f"{size / 1e3:,.1f} kB"


def ask(address: str, tries: int = 1) -> Seen:
    """Request the size, version and first bytes of a file. Transient errors are retried, up to `tries` attempts in all.

    Raises NotFound if the file does not exist, SourceUnreachable if a transient error persists, and StoreError for a
    permanent error.
    """
    import tenacity

    jittered = tenacity.wait_exponential_jitter(FIRST_PAUSE_S, LONGEST_PAUSE_S)
    again = tenacity.Retrying(
        retry=tenacity.retry_if_exception(
            lambda error: isinstance(error, _Broken) and error.pause_s <= LONGEST_PAUSE_S
        ),
        stop=tenacity.stop_after_attempt(tries),
        wait=lambda state: max(jittered(state), _asked_pause(state)),
        reraise=True,
    )
    try:
        return again(_ask, address)
    except _Broken as error:
        raise SourceUnreachable(str(error)) from error


def _ask(address: str) -> Seen:
    import requests
    from urllib3.exceptions import HTTPError

    try:
        # Not HEAD, which some servers reject even for files that they serve.
        with requests.get(address, stream=True, timeout=ASK_TIMEOUT_S, headers=_AS_IT_IS) as response:
            size = _require_sent(address, response)
            return Seen(size, _version(response.headers), response.raw.read(_START_BYTES, decode_content=False))
    except _Broken as error:
        raise _Broken(f"{error}. Try again later", error.pause_s) from error
    except (requests.RequestException, HTTPError) as error:
        _require_askable(address, error)
        raise _Broken(f"{address}: {said_by_network(error)}. Check the address and the connection") from error


def _version(headers: Mapping[str, str]) -> Version:
    return Version(headers.get("ETag"), headers.get("Last-Modified"))


def _unless(known: Version | None) -> dict[str, str]:
    """Return headers that request the file only if it differs from the known version."""
    if known and known.etag:
        return {"If-None-Match": known.etag}
    return {"If-Modified-Since": known.last_modified} if known and known.last_modified else {}


def _is_known(response: "requests.Response", known: Version | None) -> bool:
    """Whether the server still has the known version: it returns 304, or 200 with the same ETag."""
    if known is None:
        return False
    same = known.etag is not None and response.headers.get("ETag") == known.etag
    return response.status_code == HTTPStatus.NOT_MODIFIED or (response.status_code == HTTPStatus.OK and same)


def _strong(etag: str | None) -> str | None:
    """Return the ETag if it is strong, that is, if it guarantees identical bytes; otherwise None."""
    return None if etag is None or etag.startswith("W/") else etag


def _require_sent(address: str, response: "requests.Response") -> int | None:
    """Return the Content-Length of a 200 response, in bytes, or None if there is none.

    Raises NotFound for 404 and 410, _Broken for a transient error, and StoreError for all other status codes.
    """
    if response.status_code == HTTPStatus.OK:
        return _number(response.headers.get("Content-Length", ""))
    if response.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        raise NotFound(address)
    said = f"{address} answered {response.status_code} {response.reason}, expected 200 OK"
    if response.status_code not in _PASSING:
        raise StoreError(f"{said}. Open the address in a browser to see what the server says")
    pause = _retry_after(response.headers.get("Retry-After", ""))
    if pause > LONGEST_RETRY_AFTER_S:
        # Not SourceUnreachable, which callers retry: the server asked us to wait.
        raise StoreError(f"{said}, and asks to be left alone for {pause:,.0f} s. Run this again after that")
    raise _Broken(said, pause)


def _require_askable(address: str, error: Exception) -> None:
    """Raise StoreError for errors that a retry cannot fix: TLS errors, invalid URLs, too many redirects."""
    from requests import exceptions

    if isinstance(error, exceptions.SSLError):
        raise StoreError(
            f"{address} cannot be fetched, for no safe connection can be made: {said_by_network(error)}. Check the "
            "address and this machine's clock; where a network has certificates of its own, name their file in "
            "REQUESTS_CA_BUNDLE"
        ) from error
    if isinstance(error, (ValueError, exceptions.TooManyRedirects)):  # requests raises ValueErrors for invalid URLs
        raise StoreError(f"{address} cannot be fetched: {said_by_network(error)}. Check the address") from error


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def _retry_after(value: str) -> float:
    """Parse a Retry-After header (seconds or an HTTP date). Returns seconds, or 0 if it is missing or invalid."""
    seconds = _number(value)
    if seconds is not None:
        return float(seconds)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _asked_pause(state: "tenacity.RetryCallState") -> float:
    error = state.outcome.exception() if state.outcome else None
    return error.pause_s if isinstance(error, _Broken) else 0.0
