"""TCP ports of this machine: whether a server can listen on a port, and which port to use instead.

Not here: the servers.
"""

import errno
import socket

from taxi_assets.errors import StoreError

_TRIED = 100


def require_free_port(host: str, port: int, choose: str) -> None:
    """Raise StoreError if this process cannot listen on `port` of `host`.

    `choose` ends the message and says how to choose another port; its placeholder `{port}` is replaced by a free one.
    """
    error = _in_the_way(host, port)
    if error is None:
        return
    if error.errno not in (errno.EADDRINUSE, errno.EACCES):
        said = str(error.strerror).partition(" (")[0]
        raise StoreError(f"nobody can listen on {host}: {said}. Expected an address of this machine") from error
    other = next((other for other in _others(port) if _in_the_way(host, other) is None), 0)
    taken = error.errno == errno.EADDRINUSE
    why = "another program listens there. End that" if taken else "this user may not listen there. Run this as root"
    raise StoreError(f"port {port} of {host} cannot be had: {why}, or {choose.format(port=other)}") from error


def _others(port: int) -> range:
    first = max(port + 1, 1024)
    return range(first, min(first + _TRIED, 65536))


def _in_the_way(host: str, port: int) -> OSError | None:
    """Return the error from listening on the port, or None if it is free."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        socket.create_server(address[:2], family=family).close()
    except OSError as error:
        return error
    return None
