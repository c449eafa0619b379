"""A file from a web server, however long it takes: resumed where it broke off, tried again where that can help.

Here: which answers are worth another try, how long to wait for it, and when what has come so far may be kept.
Not here: which file, and what is in it.
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
"""Seconds to connect, and from one byte to the next. The whole may take as long as it takes."""

ASK_TIMEOUT_S = (10.0, 30.0)
"""The same for the start of a file: who asks for that waits for the answer."""

TRIES = 5
"""Tries in a row which together bring the download no further, before it is given up."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
"""Between tries: doubled each time, and up to a second more by chance, so that not all come back at once."""

LONGEST_RETRY_AFTER_S = 300.0
"""A server may ask for a longer pause than ours; for one longer than this nobody waits."""

_TELL_EVERY_S = 5.0

_STEP_BYTES = 1 << 16
"""What a row of tries must bring at least, to count as having got further."""

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
"""Answers that another try may change. All others are for good."""

_log = logging.getLogger(__name__)

_AS_IT_IS = {"Accept-Encoding": "identity"}
"""The files are compressed already: a server must not compress them again, and what it sends is kept as it is."""


@dataclass(frozen=True)
class Version:
    """What tells a file from an earlier one at the same address: its ETag, its HTTP date of change."""

    etag: str | None = None
    last_modified: str | None = None

    def fingerprint(self, size: int | None) -> str:
        """What changes when a file of this size, in bytes, is published again: its ETag, else its size and date."""
        # The same ETag comes weak or strong by the way that the file took.
        return self.etag.removeprefix("W/") if self.etag else f"{size} bytes, {self.last_modified or 'no date'}"


@dataclass(frozen=True)
class Seen:
    """What a server tells of a file: its size in bytes, None where it does not tell, its version, its first bytes."""

    size: int | None
    version: Version
    start: bytes


class NotFound(Exception):  # as in `errors`
    """The server has no such file. For the caller, who knows what that means."""


class _Broken(Exception):
    """A try that failed in a way that may pass; `pause_s` is what the server asked for."""

    def __init__(self, said: str, pause_s: float = 0) -> None:
        super().__init__(said)
        self.pause_s = pause_s


class Download:
    """The file at `address`, on its way into `file`, which is empty and stays open.

    It logs, a few times a minute, how far it is, and warns when a try failed. After `fetch`, `bytes`, `sha256` and
    `version` are those of what was stored; `tries` and `resumed` count how often it was asked for, and how often it
    went on where it broke off.
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
        """The SHA-256, hexadecimal, of what is stored."""
        return self._digest.hexdigest()

    def fetch(self, known: Version | None = None) -> bool:
        """Store the whole file; False, and nothing stored, where it is still the version that is `known`.

        Raises NotFound; SourceUnreachable where the server cannot be reached, or breaks off again and again; StoreError
        where it refuses for good.
        """
        furthest = 0
        while True:
            try:
                return self._try_again_and_again(known)
            except _Broken as error:
                # As long as it gets further it goes on: a long file may well break off more often than TRIES.
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
                # What came is kept at once: read() would lose up to a chunk of it when the connection breaks. Both
                # hold the body against its announced length.
                while chunk := response.raw.read1(CHUNK_BYTES, decode_content=False):
                    self._store(chunk)
        except (requests.RequestException, HTTPError) as error:
            _require_askable(self.address, error)
            raise _Broken(said_by_network(error)) from error
        if self._length is not None and self.bytes != self._length:
            raise _Broken("the server sent a part of what was asked for")
        return True

    def _rest(self) -> dict[str, str]:
        """What asks for the part that is missing, if it is still of the same file: by a strong ETag, or its date."""
        same = _strong(self.version.etag) or self.version.last_modified
        return {"Range": f"bytes={self.bytes}-", "If-Range": same} if same else {}

    def _prepare(self, response: "requests.Response") -> None:
        """See what the server answers: the whole file, the rest of it, or a refusal."""
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
        """Whether a part begins where this one ends, and is of the same file."""
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
        whole = said_size(self._length) if self._length else "an unknown size"
        return f"{said_size(self.bytes)} of {whole}"

    def _warn_of_pause(self, state: "tenacity.RetryCallState") -> None:
        pause = state.next_action.sleep if state.next_action else 0
        error = state.outcome.exception() if state.outcome else None
        this = state.attempt_number + 1
        _log.warning("try %d of %d in %.0f s: %s; %s came", this, TRIES, pause, error, self._so_far())


def said_size(size: int) -> str:
    """A number of bytes, for people."""
    if size < _KILOBYTE:
        return f"{size} bytes"
    return f"{size / 1e6:,.1f} MB" if size >= _MEGABYTE else f"{size / 1e3:,.1f} kB"


def ask(address: str, tries: int = 1) -> Seen:
    """What the server tells of a file; asked for once, or up to `tries` times where that can help.

    Raises NotFound, SourceUnreachable, StoreError.
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
        # Not HEAD, which some servers refuse for what they do give.
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
    """What asks for the file only if it is not the known one."""
    if known and known.etag:
        return {"If-None-Match": known.etag}
    return {"If-Modified-Since": known.last_modified} if known and known.last_modified else {}


def _is_known(response: "requests.Response", known: Version | None) -> bool:
    """Whether the server has the known version: it says so, or it sends all the same, under the same ETag."""
    if known is None:
        return False
    same = known.etag is not None and response.headers.get("ETag") == known.etag
    return response.status_code == HTTPStatus.NOT_MODIFIED or (response.status_code == HTTPStatus.OK and same)


def _strong(etag: str | None) -> str | None:
    """An ETag under which the same bytes lie, not only the same meaning."""
    return None if etag is None or etag.startswith("W/") else etag


def _require_sent(address: str, response: "requests.Response") -> int | None:
    """The announced length, in bytes, of a whole file that is sent; else raises what the answer means."""
    if response.status_code == HTTPStatus.OK:
        return _number(response.headers.get("Content-Length", ""))
    if response.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        raise NotFound(address)
    said = f"{address} answered {response.status_code} {response.reason}, expected 200 OK"
    if response.status_code not in _PASSING:
        raise StoreError(f"{said}. Open the address in a browser to see what the server says")
    pause = _retry_after(response.headers.get("Retry-After", ""))
    if pause > LONGEST_RETRY_AFTER_S:
        # No SourceUnreachable: whoever tries that again would not leave it alone.
        raise StoreError(f"{said}, and asks to be left alone for {pause:,.0f} s. Run this again after that")
    raise _Broken(said, pause)


def _require_askable(address: str, error: Exception) -> None:
    """Raise StoreError for what no further try can mend."""
    from requests import exceptions

    if isinstance(error, exceptions.SSLError):
        raise StoreError(
            f"{address} cannot be fetched, for no safe connection can be made: {said_by_network(error)}. Check the "
            "address and this machine's clock; where a network has certificates of its own, name their file in "
            "REQUESTS_CA_BUNDLE"
        ) from error
    if isinstance(error, (ValueError, exceptions.TooManyRedirects)):  # those of a wrong address are ValueErrors
        raise StoreError(f"{address} cannot be fetched: {said_by_network(error)}. Check the address") from error


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def _retry_after(value: str) -> float:
    """The seconds that a Retry-After header asks for, which names them or an HTTP date; 0 for none."""
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
