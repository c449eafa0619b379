"""A proxy in front of PostgreSQL, which resets all of its connections when it receives SIGUSR1."""

import os
import signal
import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path

_RESET = struct.pack("ii", 1, 0)
"""For SO_LINGER: a connection that is closed is reset."""


def serve_proxy(url: str, pid: Path, port: Path) -> None:
    """Forward connections to the server at `url`, which listens on a Unix socket. Call it in a child.

    Writes its process ID, then the port that it listens on, to files.
    """
    from psycopg2.extensions import parse_dsn

    server = parse_dsn(url)
    address, clients = f"{server['host']}/.s.PGSQL.{server['port']}", list[socket.socket]()

    def reset(*_: object) -> None:
        for client in clients:
            with suppress(OSError):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                client.shutdown(socket.SHUT_RD)  # wakes up the thread that reads
                client.close()
        clients.clear()

    signal.signal(signal.SIGUSR1, reset)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pid.write_text(str(os.getpid()))
        port.with_suffix(".new").write_text(str(listener.getsockname()[1]))
        port.with_suffix(".new").replace(port)
        while True:
            client, _ = listener.accept()
            upstream = socket.socket(socket.AF_UNIX)
            upstream.connect(address)
            clients.append(client)
            for ends in ((client, upstream), (upstream, client)):
                threading.Thread(target=_forward, args=ends, daemon=True).start()


def _forward(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while received := source.recv(1 << 16):
            target.sendall(received)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
