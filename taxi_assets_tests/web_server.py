"""A web server on the loopback interface that serves files and simulates errors."""

import re
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Reply:
    """One response of the server. By default it is complete and correct."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    repeat: int = 1
    """Number of times that the body is sent, in one response."""
    ranges: bool = True
    """Whether range requests are supported."""
    cut_at: int | None = None
    """The byte of the file before which the server closes the connection."""
    stall_at: int | None = None
    """The byte of the file before which the server stops sending, with the connection open until it is stopped."""
    before: Iterable[bytes] = ()
    """What is sent before the response, with a pause after each part. It may be endless."""


@dataclass
class WebServer:
    """The state of a server.

    `replies` maps a path to its next replies, the last of which is repeated, and `missing` is the reply for other
    paths. `seen` contains the headers of each GET request, `paths` their paths, and `posted` the body of each POST
    request.
    """

    url: str = ""
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    missing: Reply = field(default_factory=lambda: Reply(b"Not Found", 404))
    seen: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    posted: list[bytes] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def next_reply(self, path: str) -> Reply:
        """Return the next reply for a path. A path without replies has status 404, unless `missing` is replaced."""
        replies = self.replies.get(path, [self.missing])
        return replies.pop(0) if len(replies) > 1 else replies[0]


@contextmanager
def serve() -> Iterator[WebServer]:
    """Start a web server without files, and stop it at the end."""
    server = WebServer()
    with listening(_handler(server)) as server.url:
        try:
            yield server
        finally:
            server.closing.set()


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler], bugs: list[str] | None = None) -> Iterator[str]:
    """Start a server on the loopback interface with this handler, and yield its URL.

    Errors of a closed connection are ignored. Other errors of the handler are added to `bugs`, if it is given.
    """

    class Listening(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, _: object) -> None:
            error = sys.exc_info()[1]
            if bugs is not None and not isinstance(error, ConnectionError):
                bugs.append(f"{request}: {error!r}")

    with Listening(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


def _handler(server: WebServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.seen.append(dict(self.headers))
            server.paths.append(self.path)
            reply = server.next_reply(self.path)
            if _not_modified(self.headers, reply):
                reply = Reply(status=304)
            self._send_reply(reply, _requested_start(self.headers, reply))

        def do_POST(self) -> None:
            server.posted.append(self.rfile.read(int(self.headers["Content-Length"])))
            self._send_reply(server.next_reply(self.path), 0)

        def _send_reply(self, reply: Reply, start: int) -> None:
            for sent in reply.before:
                self.wfile.write(sent)
                server.closing.wait(0.001)
            total = len(reply.body) * reply.repeat
            self.send_response(206 if start else reply.status)
            part = {"Content-Range": f"bytes {start}-{total - 1}/{total}"} if start else {}
            for name, value in {"Content-Length": str(total - start), **part, **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            _send(self, server, reply, start)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    return Handler


def _send(handler: BaseHTTPRequestHandler, server: WebServer, reply: Reply, start: int) -> None:
    end = next((at for at in (reply.cut_at, reply.stall_at) if at is not None), None)
    if reply.repeat > 1:
        for _ in range(reply.repeat):
            handler.wfile.write(reply.body)
    else:
        handler.wfile.write(reply.body[start:end])
    if reply.stall_at is not None:
        server.closing.wait(10)
    if reply.cut_at is not None or reply.stall_at is not None:
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)


def _not_modified(headers: "Message[str, str]", reply: Reply) -> bool:
    """Whether the condition of a request matches the version of the reply."""
    get = headers.get
    by_tag = get("If-None-Match") and get("If-None-Match") == reply.headers.get("ETag")
    by_date = get("If-Modified-Since") and get("If-Modified-Since") == reply.headers.get("Last-Modified")
    return reply.status == 200 and bool(by_tag or by_date)


def _requested_start(headers: "Message[str, str]", reply: Reply) -> int:
    """Return the first byte of the requested range if the file is unchanged, otherwise 0 for the whole file."""
    get = headers.get
    span = re.fullmatch(r"bytes=(\d+)-", get("Range") or "")
    same = get("If-Range") in (None, reply.headers.get("ETag"), reply.headers.get("Last-Modified"))
    return int(span[1]) if span and same and reply.ranges and reply.status == 200 else 0
