"""Failures of the network, staged in this process."""

import socket

import pytest


def fail_to_resolve(monkeypatch: pytest.MonkeyPatch, code: int = socket.EAI_NONAME) -> list[str]:
    """Let the resolution of every host name fail with an error code, without proxies. Return the names as they come."""
    names: list[str] = []

    def getaddrinfo(host: str, *_: object, **__: object) -> None:
        names.append(host)
        raise socket.gaierror(code, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setenv("NO_PROXY", "*")
    return names
