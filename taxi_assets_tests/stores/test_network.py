"""Host names without an address, and their errors."""

import socket
import threading
from collections.abc import Iterator

import pytest

from taxi_assets.stores import network
from taxi_assets.stores.network import why_host_not_found
from taxi_assets_tests.network import fail_to_resolve


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/files", "https://[::1]/{color}-{month}.csv", "http://localhost/x"])
def test_a_host_with_an_address_is_found(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the name is resolved: no server has to respond."""
    monkeypatch.setenv("NO_PROXY", "*")
    assert why_host_not_found(url) == ""


@pytest.mark.parametrize("code", [socket.EAI_NONAME, socket.EAI_AGAIN])
def test_a_host_without_an_address_is_named(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason has the name of the host."""
    names = fail_to_resolve(monkeypatch, code)
    assert '"nowhere.invalid" cannot be resolved' in why_host_not_found("https://nowhere.invalid:8443/files")
    assert names == ["nowhere.invalid"]


@pytest.mark.parametrize("proxy", ["http://proxy.invalid:3128", "proxy.invalid:3128"])
def test_the_host_of_a_proxy_is_resolved_instead(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a proxy, this machine does not need the address of the source's host."""
    names = fail_to_resolve(monkeypatch)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    assert 'the proxy "proxy.invalid"' in why_host_not_found("https://nowhere.invalid/files")
    assert names == ["proxy.invalid"]


@pytest.fixture
def silent_name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A name server that does not answer until the end of the test."""
    end = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: end.wait())
    monkeypatch.setenv("NO_PROXY", "*")
    yield
    end.set()


@pytest.mark.usefixtures("silent_name_server")
def test_the_wait_for_a_name_server_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the name server does not answer in time, the host counts as not found."""
    monkeypatch.setattr(network, "RESOLVE_TIMEOUT_S", 0.1)
    assert "within 0.1 s" in why_host_not_found("https://nowhere.invalid/files")
