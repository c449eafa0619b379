"""The webserver accepts requests for its own names that do not come from pages of other servers."""

import asyncio
import socket

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Scope

from taxi_assets.webserver.access import OwnRequests, own_names

LOCAL = "http://127.0.0.1:3000"
PROXY = "https://ui.example.org"
MACHINE = socket.gethostname()
EVERYWHERE = "0.0.0.0"  # noqa: S104  # what users may choose


def response(scope: Scope, listening: str = "127.0.0.1", ui_url: str = LOCAL) -> tuple[int, str]:
    """Return the status and the text of the response to a request. A request that is accepted gets 200."""
    app = OwnRequests(PlainTextResponse("accepted"), own_names(listening, ui_url), ui_url)
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    start, body = sent
    return start["status"], body["body"].decode()


def request(
    host: str | None, origin: str | None = None, *, scheme: str = "http", server: str = "127.0.0.1", kind: str = "http"
) -> Scope:
    """Return the ASGI scope of a request that arrives at the address `server`."""
    headers = [(name, value.encode()) for name, value in ((b"host", host), (b"origin", origin)) if value is not None]
    return {"type": kind, "scheme": scheme, "server": (server, 3000), "headers": headers}


@pytest.mark.parametrize(
    ("host", "origin", "scheme"),
    [
        ("127.0.0.1:3000", None, "http"),
        ("127.0.0.1:3000", "http://127.0.0.1:3000", "http"),
        ("localhost:3000", "http://localhost:3000", "http"),
        ("LOCALHOST:3000", "http://localhost:3000", "http"),
        ("[::1]:3000", "http://[::1]:3000", "http"),
        # Browsers leave out the default port. Other clients may not.
        ("localhost", "http://localhost", "http"),
        ("localhost:80", "http://localhost", "http"),
        ("localhost:443", "https://localhost", "https"),
        # The local port of a tunnel or of a container is a different one.
        ("localhost:8080", "http://localhost:8080", "http"),
        ("127.0.0.1:3000", "http://127.0.0.1:3000", "ws"),
        ("127.0.0.1", "https://127.0.0.1", "wss"),
    ],
)
def test_own_requests_are_accepted(host: str, origin: str | None, scheme: str) -> None:
    """Requests for the loopback interface are accepted if they come from a page of the same host and port, or none."""
    assert response(request(host, origin, scheme=scheme)) == (200, "accepted")


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://evil.example",
        "http://127.0.0.1:8888",
        "http://127.0.0.1",
        "https://127.0.0.1:3000",
        "http://localhost:3000",
        "http://127.0.0.1:3000.evil.example",
        "http://127.0.0.1:port",
        "file://",
        "chrome-extension://abc",
    ],
)
@pytest.mark.parametrize(("scheme", "kind"), [("http", "http"), ("ws", "websocket")])
def test_pages_of_other_servers_are_refused(origin: str, scheme: str, kind: str) -> None:
    """A page with another scheme, host or port is refused, with the reason. So is a page without an origin."""
    status, reason = response(request("127.0.0.1:3000", origin, scheme=scheme, kind=kind))
    assert status == 403
    assert f'"{origin}"' in reason
    assert "[foreign-origin]" in reason


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:3000",
        "evil.example",
        "localhost.evil.example:3000",
        "127.0.0.1.evil.example:3000",
        "192.0.2.1:3000",
        "[::2]:3000",
        "[::1",
        "localhost:port",
        "",
        None,
    ],
)
def test_other_names_are_refused(host: str | None) -> None:
    """A request for another name is refused, even if its origin is that name, as after DNS rebinding."""
    for origin in (None, f"http://{host}"):
        status, reason = response(request(host, origin))
        assert status == 403
        assert f'"{host or ""}"' in reason
        assert "[unknown-host]" in reason


@pytest.mark.parametrize(
    ("listening", "server", "host", "status"),
    [
        (EVERYWHERE, "192.0.2.1", "192.0.2.1:3000", 200),
        (EVERYWHERE, "192.0.2.1", f"{MACHINE}:3000", 200),
        (EVERYWHERE, "192.0.2.1", "localhost:3000", 200),
        (EVERYWHERE, "192.0.2.1", "192.0.2.2:3000", 403),
        (EVERYWHERE, "192.0.2.1", "evil.example:3000", 403),
        ("::", "2001:db8::1", "[2001:db8::1]:3000", 200),
        ("::", "2001:db8::1", f"{MACHINE}:3000", 200),
        ("taxi.example.org", "192.0.2.1", "taxi.example.org:3000", 200),
        ("Taxi.Example.org", "192.0.2.1", "taxi.example.org:3000", 200),
        ("taxi.example.org", "192.0.2.1", "127.0.0.1:3000", 200),
    ],
)
def test_names_of_a_server_that_others_reach(listening: str, server: str, host: str, status: int) -> None:
    """The name in `--host` is one of the server's own; for all interfaces, the machine's name and its addresses are."""
    assert response(request(host, f"http://{host}", server=server), listening)[0] == status


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        # The proxy keeps the name of the request, or uses that of its own connection.
        ("ui.example.org", PROXY, 200),
        ("127.0.0.1:3000", PROXY, 200),
        ("127.0.0.1:3000", f"{PROXY}:443", 200),
        ("127.0.0.1:3000", "http://127.0.0.1:3000", 200),
        ("127.0.0.1:3000", f"{PROXY}:8443", 403),
        ("127.0.0.1:3000", "https://other.example.org", 403),
        ("other.example.org", PROXY, 403),
    ],
)
def test_requests_through_a_proxy(host: str, origin: str, status: int) -> None:
    """The webserver also accepts requests for the host of TAXI_UI_URL, and those of its pages."""
    assert response(request(host, origin), ui_url=f"{PROXY}/dagster")[0] == status


@pytest.mark.parametrize("ui_url", ["http://127.0.0.1:port", "http://", "http://[x"])
def test_an_invalid_ui_url_is_no_origin(ui_url: str) -> None:
    """If the URL of the UI has no origin, pages without an origin are refused all the same."""
    assert response(request("127.0.0.1:3000", "null"), ui_url=ui_url)[0] == 403
    assert response(request("127.0.0.1:3000", LOCAL), ui_url=ui_url)[0] == 200


def test_a_server_without_an_address_has_names() -> None:
    """A server that listens on a Unix socket has no address, but has its names."""
    assert response({**request("localhost:3000"), "server": None})[0] == 200


def test_the_start_of_the_server_is_no_request() -> None:
    """Messages about the server itself are passed on."""
    received: list[str] = []

    async def app(scope: Scope, *_: object) -> None:
        await asyncio.sleep(0)
        received.append(scope["type"])

    asyncio.run(OwnRequests(app, frozenset(), LOCAL)({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert received == ["lifespan"]
