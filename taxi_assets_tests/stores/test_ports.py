"""A port that is taken is said, with one that is free."""

import socket

import pytest

from taxi_assets.errors import StoreError
from taxi_assets.stores.ports import require_free_port


def test_free_port() -> None:
    """A port that nobody has is free, and is so again after it was asked for."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for _ in range(2):
        require_free_port("127.0.0.1", port, choose="")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])  # noqa: S104  # it is only asked for
def test_taken_port(host: str) -> None:
    """A port on which another program listens is named, with how to choose another, which is free."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(StoreError, match=rf"port {port} of {host} .*another program.*--port \d+$") as caught:
            require_free_port(host, port, choose="use --port {port}")
        other = int(str(caught.value).split()[-1])
        assert other > port
        socket.create_server(("127.0.0.1", other)).close()


def test_no_address_of_this_machine() -> None:
    """An address that is another machine's, or none, is no taken port."""
    for host in ("192.0.2.1", "nowhere.invalid"):
        with pytest.raises(StoreError, match=f"nobody can listen on {host}: .*Expected an address of this machine"):
            require_free_port(host, 3000, choose="")
