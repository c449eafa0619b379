"""TCP ports of this machine: whether a server can listen on a port, and which port to use instead.

Not here: the servers.
"""

import errno
import socket

from taxi_assets.errors import AddressNotAvailable, PortInUse, PortNotPermitted

_ALL_INTERFACES = {"0.0.0.0", "::"}  # noqa: S104  # what users may choose
"""The hosts of a server that listens on all addresses of this machine."""

_PORTS_TO_TRY = 100


def name_of(host: str) -> str:
    """Return the name under which a server that listens on `host` can be opened."""
    return socket.gethostname() if host in _ALL_INTERFACES else host


def require_free_port(host: str, port: int) -> None:
    """Raise StoreError if this process cannot listen on `port` of `host`.

    PortInUse and PortNotPermitted have a port that is free as the fact `free_port`.
    """
    error = _listen(host, port)
    if error is None:
        return
    if error.errno not in (errno.EADDRINUSE, errno.EACCES):
        reason = str(error.strerror).partition(" (")[0]
        raise AddressNotAvailable(
            f'The address "{host}" is not available on this machine: {reason}.', address=host
        ) from error
    free_port = next((other for other in _candidates(port) if _listen(host, other) is None), 0)
    facts: dict[str, str | int] = {"address": host, "port": port, "free_port": free_port}
    if error.errno == errno.EADDRINUSE:
        raise PortInUse(f"Another program is listening on port {port} of {host}.", **facts) from error
    raise PortNotPermitted(f"This user is not allowed to listen on port {port} of {host}.", **facts) from error


def _candidates(port: int) -> range:
    first = max(port + 1, 1024)
    return range(first, min(first + _PORTS_TO_TRY, 65536))


def _listen(host: str, port: int) -> OSError | None:
    """Listen on the port for a moment. Returns the error, or None if the port is free."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        socket.create_server(address[:2], family=family).close()
    except OSError as error:
        return error
    return None
