"""A month comes from a folder or a web server, byte for byte, or not at all."""

import gzip
import hashlib
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from taxi_assets.errors import NotPublished, SettingsError, StoreError, TaxiAssetsError
from taxi_assets.stores import source as source_module
from taxi_assets.stores.files import StagedFile
from taxi_assets.stores.source import CHUNK_BYTES, MIRROR_URL, Source
from taxi_assets.tlc.trips import TripMonth

MONTH = TripMonth("green", "2020-04")
NAME = "green/green_tripdata_2020-04.csv.gz"
BODY = gzip.compress(b"VendorID\r\n2\r\n" * 1000)


@dataclass
class Reply:
    """What the test's web server answers."""

    status: int = 200
    body: bytes = BODY
    repeat: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    stall: threading.Event | None = None


@dataclass
class Server:
    """A web server on loopback: what it answers by path, and the requests that it saw."""

    url: str
    replies: dict[str, Reply] = field(default_factory=dict)
    seen: list[dict[str, str]] = field(default_factory=list)


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.seen.append(dict(self.headers))
            reply = server.replies.get(self.path, Reply(404, b"Not Found"))
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(reply.body) * reply.repeat), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            for _ in range(reply.repeat):
                self.wfile.write(reply.body)
            if reply.stall:
                reply.stall.wait(10)

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A web server that has nothing yet."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    http = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server = Server(f"http://127.0.0.1:{http.server_port}")
    http.RequestHandlerClass = _handler(server)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[StagedFile]:
    """A staged file for the month."""
    with StagedFile(tmp_path / "raw" / "month.csv.gz") as staged:
        yield staged
        staged.discard()


def _write(path: Path, content: bytes = BODY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("url", "address", "suffix"),
    [
        (MIRROR_URL, f"{MIRROR_URL}/{NAME}", ".csv.gz"),
        ("https://host/base/", f"https://host/base/{NAME}", ".csv.gz"),
        ("/data/source", f"/data/source/{NAME}", ".csv.gz"),
        ("/", f"/{NAME}", ".csv.gz"),
        ("file:///data/source", f"file:///data/source/{NAME}", ".csv.gz"),
        ("http://host/{month}/{color}.csv", "http://host/2020-04/green.csv", ".csv"),
        ("/data/{color}-{month}.csv.gz", "/data/green-2020-04.csv.gz", ".csv.gz"),
    ],
)
def test_address(url: str, address: str, suffix: str) -> None:
    """A base gets the TLC's layout, a template only its month; the suffix says the format."""
    source = Source(url)
    assert (source.address(MONTH), source.suffix) == (address, suffix)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://host/base", "starts with ftp://"),
        ("gs://bucket", "starts with gs://"),
        ("file://data/source", "file:///"),
        ("http://", "no host"),
        ("https://host/{color}.csv.gz", "only {color}"),
        ("https://host/{month}.csv.gz", "only {month}"),
        ("https://host/{color}-{month}.parquet", "ends in {color}-{month}.parquet"),
    ],
)
def test_refused_url(url: str, said: str) -> None:
    """An address that cannot be a source is refused at once, with the reason."""
    with pytest.raises(SettingsError, match=said):
        Source(url)


def test_refused_password() -> None:
    """An address with a password is refused, and the message does not repeat it."""
    with pytest.raises(SettingsError, match="password") as caught:
        Source("https://me:s3cret@host/base")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("form", [str, Path.as_uri])
def test_fetch_from_folder(form: Callable[[Path], str], tmp_path: Path, staged: StagedFile) -> None:
    """A file in a folder, whose name may need quoting in a URL, is copied, counted and hashed."""
    place = _write(tmp_path / "a source 100%" / NAME)
    fetched = Source(form(tmp_path / "a source 100%")).fetch(MONTH, staged)
    assert staged.path.read_bytes() == BODY
    assert (fetched.address, fetched.bytes) == (str(place), len(BODY))
    assert fetched.sha256 == hashlib.sha256(BODY).hexdigest()
    assert fetched.last_modified is not None


def test_fetch_from_web(server: Server, staged: StagedFile) -> None:
    """A file on a web server is stored, counted and hashed, with what the server says of its version."""
    server.replies[f"/{NAME}"] = Reply(headers={"ETag": '"v1"', "Last-Modified": "Fri, 20 May 2022 10:00:00 GMT"})
    fetched = Source(server.url).fetch(MONTH, staged)
    assert staged.path.read_bytes() == BODY
    assert (fetched.address, fetched.bytes) == (f"{server.url}/{NAME}", len(BODY))
    assert fetched.sha256 == hashlib.sha256(BODY).hexdigest()
    assert (fetched.etag, fetched.last_modified) == ('"v1"', "Fri, 20 May 2022 10:00:00 GMT")


def test_fetch_follows_redirects(server: Server, staged: StagedFile) -> None:
    """A server may send the file from elsewhere, as the mirror does; the address stays the asked one."""
    server.replies |= {f"/{NAME}": Reply(302, b"", headers={"Location": "/elsewhere"}), "/elsewhere": Reply()}
    assert Source(server.url).fetch(MONTH, staged).address == f"{server.url}/{NAME}"
    assert staged.path.read_bytes() == BODY


def test_fetch_keeps_bytes_as_sent(server: Server, staged: StagedFile) -> None:
    """No compression is asked for, and a file that a server calls gzip-encoded is not unpacked."""
    server.replies[f"/{NAME}"] = Reply(headers={"Content-Encoding": "gzip"})
    Source(server.url).fetch(MONTH, staged)
    assert staged.path.read_bytes() == BODY
    assert server.seen[0]["Accept-Encoding"] == "identity"


def test_fetch_streams(server: Server, tmp_path: Path, staged: StagedFile) -> None:
    """Memory does not grow with the file."""
    server.replies[f"/{NAME}"] = Reply(body=bytes(CHUNK_BYTES), repeat=32)
    _write(tmp_path / NAME, bytes(32 * CHUNK_BYTES))
    Source(server.url).fetch(MONTH, staged)
    for source in (Source(server.url), Source(str(tmp_path))):
        tracemalloc.start()
        try:
            fetched = source.fetch(MONTH, staged)
            assert tracemalloc.get_traced_memory()[1] < 8 * CHUNK_BYTES
        finally:
            tracemalloc.stop()
        assert fetched.bytes == 32 * CHUNK_BYTES


def test_not_published_in_folder(tmp_path: Path, staged: StagedFile) -> None:
    """A month that a folder does not have is not published: the message has month and path."""
    with pytest.raises(NotPublished, match=rf"green 2020-04.*{tmp_path / NAME}"):
        Source(str(tmp_path)).fetch(MONTH, staged)


def test_not_published_on_web(server: Server, staged: StagedFile) -> None:
    """A month that a server answers with 404 is not published: the message has month and address."""
    with pytest.raises(NotPublished, match=rf"green 2020-04.*{server.url}/{NAME}"):
        Source(server.url).fetch(MONTH, staged)


@pytest.mark.parametrize("status", [204, 403, 500, 503])
def test_other_status(status: int, server: Server, staged: StagedFile) -> None:
    """Any status but 200 and 404 is the store's error, and no month that is not published."""
    server.replies[f"/{NAME}"] = Reply(status, b"")
    with pytest.raises(StoreError, match=f"green 2020-04.*{NAME} answered {status}.*expected 200"):
        Source(server.url).fetch(MONTH, staged)


@pytest.mark.parametrize(
    "headers",
    [{"Content-Length": str(len(BODY) + 100)}, {"Transfer-Encoding": "chunked", "Content-Length": ""}],
    ids=["shorter than announced", "chunk cut"],
)
def test_short_body(headers: dict[str, str], server: Server, staged: StagedFile) -> None:
    """A body that ends too early is an error, not a short month."""
    body = f"{len(BODY) + 100:x}\r\n".encode() + BODY if "Transfer-Encoding" in headers else BODY
    server.replies[f"/{NAME}"] = Reply(body=body, headers=headers)
    with pytest.raises(StoreError, match="green 2020-04 did not arrive"):
        Source(server.url).fetch(MONTH, staged)


def test_stalled_body(server: Server, staged: StagedFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that stops sending is given up on."""
    monkeypatch.setattr(source_module, "TIMEOUT_S", (1, 0.1))
    stall = threading.Event()
    server.replies[f"/{NAME}"] = Reply(headers={"Content-Length": str(len(BODY) + 1)}, stall=stall)
    with pytest.raises(StoreError, match="timed out"):
        Source(server.url).fetch(MONTH, staged)
    stall.set()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://nowhere.invalid"])
def test_unreachable(url: str, staged: StagedFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """No listener, no such host: the store's error, which names the month and the address."""
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(StoreError, match=f"green 2020-04 did not arrive from {url}"):
        Source(url).fetch(MONTH, staged)


def test_unreadable_file(tmp_path: Path, staged: StagedFile) -> None:
    """A folder in the file's place is the store's error."""
    (tmp_path / NAME).mkdir(parents=True)
    with pytest.raises(StoreError, match=f"green 2020-04 cannot be read.*{NAME}"):
        Source(str(tmp_path)).fetch(MONTH, staged)


def test_failed_fetch_publishes_nothing(server: Server, tmp_path: Path) -> None:
    """After a failed fetch neither the month nor litter is there."""
    server.replies[f"/{NAME}"] = Reply(headers={"Content-Length": str(len(BODY) + 1)})
    place = tmp_path / "raw" / "month.csv.gz"
    with pytest.raises(TaxiAssetsError), StagedFile(place) as staged:
        Source(server.url).fetch(MONTH, staged)
    assert list(place.parent.iterdir()) == []
