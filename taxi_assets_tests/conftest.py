"""What tests of several folders share."""

import os
from collections.abc import Iterator

import pytest

from taxi_assets.settings import setting_names
from taxi_assets.stores.embedded_postgres import EmbeddedPostgres

# An empty value is the default, and wins over `.env`: no test, nor what it starts, finds a developer's own stores.
os.environ.update(dict.fromkeys(setting_names(), ""))


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database that was empty when the tests began, on a server of this test process' own."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"))
    yield server.ensure_running()
    server.stop()
