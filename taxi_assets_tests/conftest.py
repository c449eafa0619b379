"""What tests of several folders share."""

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from taxi_assets.settings import setting_names
from taxi_assets.stores.embedded_postgres import EmbeddedPostgres
from taxi_assets_tests.web_server import WebServer, serve

# An empty value is the default, and wins over `.env`: no test, nor what it starts, finds a developer's own stores.
os.environ.update(dict.fromkeys(setting_names(), ""))
for name in [name for name in os.environ if name.startswith("DAGSTER_")]:
    del os.environ[name]

# At each commit a database waits for the disk, thousands of times in all: the tests' folders are in memory, if it has
# room for them several times over.
MEMORY = Path("/dev/shm")  # noqa: S108  # Linux has it; below it pytest makes a folder that only this user may enter
if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 4 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# What is tried again is so at once.
os.environ["TAXI_RETRY_DELAY_S"] = "0"

# A job that a shell runs in the background ignores Ctrl-C, and so would all that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


INTEGRATION = (
    "end_to_end/",
    "operations/test_adoption.py",
    "operations/test_daemon.py",
    "instance/test_retention.py",
    "defs/test_staleness.py",
    "docs/test_pages.py::test_sessions",
)
"""Tests that need a daemon, a shell session, or many runs: `make test-all` and CI run them, `make test` does not."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the integration tests."""
    for item in items:
        if item.nodeid.removeprefix("taxi_assets_tests/").startswith(INTEGRATION):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a database on a server of this test process' own."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"))
    yield server.ensure_running()
    server.stop()


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """The address of a database without what earlier tests left in it."""
    with closing(psycopg2.connect(postgres_server)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("DROP OWNED BY CURRENT_USER")
    return postgres_server


@pytest.fixture(scope="session")
def empty_history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `dagster` folder of a home where nothing has run, to be copied: to make its tables takes Dagster a while."""
    from taxi_assets.instance.opening import open_instance

    home = tmp_path_factory.mktemp("empty")
    with open_instance(home):
        return home / "dagster"


@pytest.fixture
def dead_postgres_url() -> Iterator[str]:
    """The address of a database whose server refuses connections, since nobody listens there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"postgresql://taxi@127.0.0.1:{taken.getsockname()[1]}/none"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """A web server that has nothing yet."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, empty_history: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with nothing loaded, beside a folder `source`, on the tests' Postgres: all of it in the environment."""
    shutil.copytree(empty_history, tmp_path / "home" / "dagster")
    monkeypatch.setenv("TAXI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TAXI_SOURCE_URL", str(tmp_path / "source"))
    monkeypatch.setenv("TAXI_POSTGRES_URL", postgres_url)
    return tmp_path / "home"


@pytest.fixture
def web_source(home: Path, web: WebServer, monkeypatch: pytest.MonkeyPatch) -> WebServer:
    """The same home with a web server as its source, which has nothing yet."""
    assert home.exists()
    monkeypatch.setenv("TAXI_SOURCE_URL", web.url)
    return web
