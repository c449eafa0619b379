"""Ports that are free, in use or not permitted, and addresses of other machines."""

import errno
import socket
from typing import Any

import pytest

from taxi_assets.errors import AddressNotAvailable, PortInUse, PortNotPermitted
from taxi_assets.stores.ports import require_free_port


def test_free_port() -> None:
    """A free port is accepted, and is still free afterward."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for _ in range(2):
        require_free_port("127.0.0.1", port)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])  # noqa: S104  # nothing listens there for long
def test_port_in_use(host: str) -> None:
    """A port on which another program listens is an error with another port, which is free."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortInUse) as error:
            require_free_port(host, port)
        free_port = int(error.value.facts["free_port"])
        assert error.value.facts == {"address": host, "port": port, "free_port": free_port}
        assert f"port {port} of {host}" in str(error.value)
        assert free_port > port
        socket.create_server(("127.0.0.1", free_port)).close()


def test_port_not_permitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port on which only root may listen is an error with another port, which is free."""
    create_server = socket.create_server

    def create_unprivileged(address: tuple[str, int], **options: Any) -> socket.socket:
        if address[1] < 1024:
            raise PermissionError(errno.EACCES, "Permission denied")
        return create_server(address, **options)

    monkeypatch.setattr(socket, "create_server", create_unprivileged)
    with pytest.raises(PortNotPermitted) as error:
        require_free_port("127.0.0.1", 80)
    assert error.value.facts["port"] == 80
    create_server(("127.0.0.1", int(error.value.facts["free_port"]))).close()


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
def test_address_of_another_machine(host: str) -> None:
    """An address that this machine does not have is an error of its own, not a port in use."""
    with pytest.raises(AddressNotAvailable) as error:
        require_free_port(host, 3000)
    assert error.value.facts == {"address": host}
    assert host in str(error.value)
