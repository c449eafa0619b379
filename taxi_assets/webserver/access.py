"""Which requests the webserver accepts: those for one of its own names, and not from the page of another server.

A browser sends requests to servers on this machine for any page that the user visits. The header `Origin` names the
server of that page. `Host` is the name in the request's URL, which another server can let point to this machine (DNS
rebinding): the browser then treats its pages and this server as one.
"""

from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from taxi_assets.errors import ForeignOrigin, TaxiAssetsError, UnknownHost
from taxi_assets.stores.ports import name_of

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SCHEMES = {"ws": "http", "wss": "https"}
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """What browsers compare to decide whether two URLs belong to the same server."""

    scheme: str
    name: str
    port: int | None


def own_names(host: str, ui_url: str) -> frozenset[str]:
    """Return the names of a webserver that listens on `host`, in addition to the address of each connection."""
    ui = _origin(ui_url)
    return frozenset({*_LOOPBACK, name_of(host).lower(), *([ui.name] if ui else [])})


class OwnRequests:
    """ASGI middleware that refuses all other requests, websockets included, with status 403 and the reason."""

    def __init__(self, app: ASGIApp, names: frozenset[str], ui_url: str) -> None:
        self._app = app
        self._names = names
        self._ui = _origin(ui_url)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        error = self._error(scope) if scope["type"] in ("http", "websocket") else None
        app = PlainTextResponse(error.explain(), 403) if error else self._app
        await app(scope, receive, send)

    def _error(self, scope: Scope) -> TaxiAssetsError | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        own = _origin(f"{_SCHEMES.get(scope['scheme'], scope['scheme'])}://{host}")
        address, _ = scope["server"] or ("", None)
        # The port is not compared: a tunnel or a container can have another one, and only a name can be rebound.
        if own is None or own.name not in {*self._names, address}:
            return UnknownHost(f'This request is for the host "{host}", which is not a name of this server.')
        sender = own if origin is None else _origin(origin)
        if sender is None or sender not in (own, self._ui):
            return ForeignOrigin(f'This request comes from a page of "{origin}", which is not this server.')
        return None


def _origin(url: str) -> Origin | None:
    """Return the origin of a URL, or None if it has none."""
    try:
        parts = urlsplit(url)
        name, port = parts.hostname, parts.port
    except ValueError:
        return None
    return Origin(parts.scheme, name, port or _DEFAULT_PORTS.get(parts.scheme)) if name else None
