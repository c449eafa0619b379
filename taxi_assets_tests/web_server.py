"""A real web server on loopback that serves files, and misbehaves as a test tells it to."""

import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Reply:
    """What is answered once: a file, by default well."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    repeat: int = 1
    """How often the body is sent, as one."""
    ranges: bool = True
    """Whether a part is given where one is asked for."""
    cut_at: int | None = None
    """The byte of the file before which the connection is cut, as if the line broke."""
    stall_at: int | None = None
    """The byte of the file before which nothing more is sent, until the server is closed."""


@dataclass
class WebServer:
    """What it answers by path, in order, the last again and again; the headers that it saw, and what was posted."""

    url: str = ""
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    seen: list[dict[str, str]] = field(default_factory=list)
    posted: list[bytes] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def next_reply(self, path: str) -> Reply:
        """What is answered now."""
        waiting = self.replies.get(path, [Reply(b"Not Found", 404)])
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


@contextmanager
def serve() -> Iterator[WebServer]:
    """A web server that has nothing yet."""
    server = WebServer()
    with listening(_handler(server)) as server.url:
        try:
            yield server
        finally:
            server.closing.set()


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler], bugs: list[str] | None = None) -> Iterator[str]:
    """The address of a server on loopback that answers with this handler.

    Says nothing when a client leaves early; other errors of the handler are added to `bugs`, if that is given.
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
            reply = server.next_reply(self.path)
            if _not_modified(self.headers, reply):
                reply = Reply(status=304)
            self._answer(reply, _asked_start(self.headers, reply))

        def do_POST(self) -> None:
            server.posted.append(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(server.next_reply(self.path), 0)

        def _answer(self, reply: Reply, start: int) -> None:
            total = len(reply.body) * reply.repeat
            self.send_response(206 if start else reply.status)
            part = {"Content-Range": f"bytes {start}-{total - 1}/{total}"} if start else {}
            for name, value in {"Content-Length": str(total - start), **part, **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            _send(self, server, reply, start)

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

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


def _not_modified(asked: "Message[str, str]", reply: Reply) -> bool:
    """Whether a request's condition says that the asker has this version."""
    get = asked.get
    by_tag = get("If-None-Match") and get("If-None-Match") == reply.headers.get("ETag")
    by_date = get("If-Modified-Since") and get("If-Modified-Since") == reply.headers.get("Last-Modified")
    return reply.status == 200 and bool(by_tag or by_date)


def _asked_start(asked: "Message[str, str]", reply: Reply) -> int:
    """The first byte of the part that is asked for, where the file is still the same; 0 for the whole."""
    get = asked.get
    span = re.fullmatch(r"bytes=(\d+)-", get("Range") or "")
    same = get("If-Range") in (None, reply.headers.get("ETag"), reply.headers.get("Last-Modified"))
    return int(span[1]) if span and same and reply.ranges and reply.status == 200 else 0
