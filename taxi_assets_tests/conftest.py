"""Fixtures that tests of several folders share, and the environment of all tests."""

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
from taxi_assets.stores.postgres.embedded import EmbeddedPostgres
from taxi_assets_tests.web_server import WebServer, serve

# An empty value means the default and takes precedence over `.env`, so no test uses a developer's own stores.
os.environ.update(dict.fromkeys(setting_names(), ""))
for name in [name for name in os.environ if name.startswith("DAGSTER_")]:
    del os.environ[name]

# At each commit, a database waits for the disk. The tests' folders are therefore in memory, if there is enough of it.
MEMORY = Path("/dev/shm")  # noqa: S108  # Linux only; pytest creates a folder in it that is private to this user
if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 4 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# Retry immediately.
os.environ["TAXI_RETRY_DELAY_S"] = "0"

# A background job of a shell ignores Ctrl-C, and so would the programs that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


INTEGRATION = (
    "end_to_end/",
    "operations/test_adoption.py",
    "operations/test_backfills.py",
    "operations/test_daemon.py",
    "operations/test_wipe.py",
    "operations/test_workers.py",
    "instance/test_retention.py",
    "cli/test_activity.py",
    "cli/test_sample.py",
    "defs/test_assets.py",
    "defs/test_checks.py",
    "defs/test_descriptions.py",
    "defs/test_executor.py",
    "defs/test_first_release.py",
    "defs/test_inputs.py",
    "defs/test_marts.py",
    "defs/test_parquet_source.py",
    "defs/test_retries.py",
    "defs/test_schedules.py",
    "defs/test_source_trips.py",
    "defs/test_staleness.py",
    "defs/test_unusable_files.py",
    "defs/test_zones.py::test_load",
    "docs/test_pages.py::test_sessions",
    "docs/test_extend_page.py",
    "docs/test_query_page.py",
)
"""Tests that need a daemon, a shell session, or many runs: `make test-all` and CI run them, `make test` does not."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the integration tests."""
    for item in items:
        if item.nodeid.removeprefix("taxi_assets_tests/").startswith(INTEGRATION):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database on a server that only this test process uses."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"))
    yield server.ensure_running()
    server.stop()


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """The URL of an empty database: tables of earlier tests are deleted."""
    with closing(psycopg2.connect(postgres_server)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("DROP OWNED BY CURRENT_USER")
    return postgres_server


@pytest.fixture(scope="session")
def empty_history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `dagster` folder of a TAXI_HOME without runs, to be copied, because Dagster creates its tables slowly."""
    from taxi_assets.instance.opening import open_instance

    home = tmp_path_factory.mktemp("empty")
    with open_instance(home):
        return home / "dagster"


@pytest.fixture
def dead_postgres_url() -> Iterator[str]:
    """The URL of a database whose server refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"postgresql://taxi@127.0.0.1:{taken.getsockname()[1]}/none"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """A web server without files."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, empty_history: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TAXI_HOME with nothing loaded, with `source` beside it as the source. The environment has these settings.

    All colors start in 2019, like the months of the tests, so that there are not many partitions.
    """
    shutil.copytree(empty_history, tmp_path / "home" / "dagster")
    monkeypatch.setenv("TAXI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TAXI_SOURCE_URL", str(tmp_path / "source"))
    monkeypatch.setenv("TAXI_FIRST_MONTH", "2019-01")
    monkeypatch.setenv("TAXI_POSTGRES_URL", postgres_url)
    return tmp_path / "home"


@pytest.fixture
def web_source(home: Path, web: WebServer, monkeypatch: pytest.MonkeyPatch) -> WebServer:
    """The web server that is the source of `home`, without files."""
    assert home.exists()
    monkeypatch.setenv("TAXI_SOURCE_URL", web.url)
    return web
