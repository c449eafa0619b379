"""HTTP sessions that a server cannot keep waiting: its headers, and each part of a body, have a deadline.

The timeout of a socket only limits the time between two bytes, so a server that sends a byte now and then never reaches
it. Here, the timeout also limits the time until the headers are complete, and until the next bytes of a body arrive.
Not here: which responses are errors, and what to retry (`download`).
"""

import io
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http import HTTPStatus
from http.client import BadStatusLine, HTTPException, HTTPResponse, RemoteDisconnected
from time import monotonic
from typing import TYPE_CHECKING

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidURL
from urllib3.connectionpool import ConnectionPool, HTTPConnectionPool
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_NO_HEADERS = "the server did not send complete headers"
_NO_DATA = "the server did not send data"


@contextmanager
def get(address: str, timeout_s: tuple[float, float], headers: dict[str, str]) -> Iterator[requests.Response]:
    """Request a URL and yield its response, whose body can be read with `raw`. Redirects are followed.

    `timeout_s` are the connect timeout, and the maximum time for the headers and for each read of the body, in seconds.
    Raises RequestException or urllib3's HTTPError.
    """
    with _Session() as session:
        try:
            response = session.get(address, stream=True, timeout=timeout_s, headers=headers)
        except (requests.RequestException, HTTPError):
            raise
        except ValueError as error:
            # Not the reason, which may contain a password.
            raise InvalidURL("the server redirects to an invalid URL") from error
        with response:
            yield response


class _Session(requests.Session):
    """A session with deadlines, which does not read the bodies of redirects: they may be endless."""

    def __init__(self) -> None:
        super().__init__()
        for prefix in list(self.adapters):
            self.mount(prefix, _Adapter())

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        if resp.is_redirect:
            resp.raw.close()
        return super().get_redirect_target(resp)


class _Adapter(HTTPAdapter):
    """An adapter whose connections have deadlines, also through a proxy."""

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str | None,  # noqa: FBT001  # the signature of the base class
        proxies: Mapping[str, str] | None = None,
        cert: tuple[str, str] | str | None = None,
    ) -> ConnectionPool:
        pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
        if isinstance(pool, HTTPConnectionPool):
            pool.ConnectionCls = _with_deadlines(pool.ConnectionCls)
        return pool


@cache
def _with_deadlines(kind: type) -> type:
    """Return a subclass of a class of connections that reads responses with deadlines."""
    return type(kind.__name__, (kind,), {"response_class": _Response})


class _Response(HTTPResponse):
    """A response that is read with deadlines, and that skips all interim responses (1xx), not only 100 Continue."""

    def __init__(
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        self._limited = _LimitedStream(sock, self.fp.detach())
        self.fp = io.BufferedReader(self._limited)

    def begin(self) -> None:
        self._limited.extend(_NO_HEADERS)
        try:
            super().begin()
            while self.status < HTTPStatus.OK and self.status != HTTPStatus.SWITCHING_PROTOCOLS:
                self.headers = self.msg = None  # type: ignore[assignment]  # they are missing before `begin`
                super().begin()
        except RemoteDisconnected:
            raise
        except BadStatusLine as error:
            raise HTTPException("the server's response is not HTTP") from error

    def read(self, amt: int | None = None) -> bytes:
        with self._one_read():
            return super().read(amt)

    def read1(self, n: int = -1) -> bytes:
        with self._one_read():
            return super().read1(n)

    @contextmanager
    def _one_read(self) -> Iterator[None]:
        self._limited.extend(_NO_DATA)
        try:
            yield
        except ValueError as error:  # a negative size
            raise HTTPException("the server sent a chunk without a valid size") from error


class _LimitedStream(io.RawIOBase):
    """The bytes from a socket until a deadline, which is the socket's timeout after the last call of `extend`."""

    def __init__(self, sock: socket.socket, stream: io.RawIOBase) -> None:
        super().__init__()
        self._sock, self._stream = sock, stream
        self._timeout_s = sock.gettimeout()
        self.extend(_NO_DATA)

    def extend(self, late: str) -> None:
        """Move the deadline. `late` is what to report if the server misses it."""
        self._ends_at = monotonic() + (self._timeout_s or 0)
        self._late = late

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        if self._timeout_s is not None:
            rest_s = self._ends_at - monotonic()
            if rest_s <= 0:
                raise self._timed_out()
            self._sock.settimeout(rest_s)
        try:
            return self._stream.readinto(buffer)
        except TimeoutError as error:
            raise self._timed_out() from error

    def _timed_out(self) -> HTTPException:
        return HTTPException(f"{self._late} within {self._timeout_s:g} s")

    def close(self) -> None:
        self._stream.close()
        super().close()
