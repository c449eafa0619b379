"""What the tests of Dagster's definitions share."""

import shutil
from pathlib import Path

import pytest

from taxi_assets_tests.web_server import WebServer


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
