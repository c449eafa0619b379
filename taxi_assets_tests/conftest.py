"""What tests of several folders share."""

import os
import signal
from collections.abc import Iterator

import pytest

from taxi_assets.settings import setting_names
from taxi_assets.stores.embedded_postgres import EmbeddedPostgres
from taxi_assets_tests.web_server import WebServer, serve

# An empty value is the default, and wins over `.env`: no test, nor what it starts, finds a developer's own stores.
os.environ.update(dict.fromkeys(setting_names(), ""))

# A job that a shell runs in the background ignores Ctrl-C, and so would all that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database that was empty when the tests began, on a server of this test process' own."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"))
    yield server.ensure_running()
    server.stop()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """A web server that has nothing yet."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve() as server:
        yield server
