"""Loads that are killed while they upload a file to a bucket. The server of the tests responds as Google does."""

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import psutil
import pytest
from pyarrow.parquet import read_metadata

from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.google_server import Fault, GoogleServer, serve_google, skip
from taxi_assets_tests.months import publish
from taxi_assets_tests.program import BIN, run_well

pytestmark = pytest.mark.integration

MONTH = TripMonth("green", "2020-03")
OLD, NEW = 60_000, 61_000
"""The rows of two versions of the month."""

CHUNK = "PUT /session/"
"""The requests that upload a chunk. The file has two."""


@dataclass(frozen=True)
class Cloud:
    """A TAXI_HOME in a folder, with the lake in a bucket of a server."""

    folder: Path
    server: GoogleServer

    @property
    def settings(self) -> dict[str, str]:
        """The settings of the command."""
        return {
            "TAXI_HOME": str(self.folder / "home"),
            "TAXI_SOURCE_URL": str(self.folder / "source"),
            "TAXI_LAKE_URL": "gs://trips",
            "TAXI_WAREHOUSE_URL": "bigquery://nyc-trips/trips",
            "TAXI_UPLOAD_CHUNK_MB": "1",
            "STORAGE_EMULATOR_HOST": self.server.url,
            "BIGQUERY_EMULATOR_HOST": self.server.url,
            "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "true",
        }

    @property
    def load(self) -> tuple[str, ...]:
        """The command that loads the month into the bucket."""
        return ("materialize", "--color", MONTH.color, "--months", MONTH.month, "--select", "+lake_trips")

    def publish_and_load(self, rows: int) -> None:
        """Publish a version of the month and load it."""
        publish(self.folder / "source", MONTH, rows)
        run_well("taxi", *self.load, settings=self.settings)

    def kill(self, nth: int) -> None:
        """Load the month, and kill the load when the server has received the nth chunk, which it stores."""
        with subprocess.Popen(
            [BIN / "taxi", *self.load],
            env={**os.environ, **self.settings},
            stdout=subprocess.DEVNULL,
        ) as process:
            kill = Fault(CHUNK, before=lambda: _kill(psutil.Process(process.pid)))
            self.server.faults[:] = [skip(CHUNK, nth - 1), kill]
            assert process.wait() == -signal.SIGKILL
        assert not kill.times

    def objects(self) -> dict[str, int]:
        """The row count of each object in the bucket."""
        return {uri: read_metadata(BytesIO(found.content)).num_rows for uri, found in self.server.objects.items()}

    def staged(self) -> list[Path]:
        """The files that wait for their upload."""
        return [path for path in (self.folder / "home" / "upload").rglob("*") if path.is_file()]


def _kill(process: psutil.Process) -> None:
    """Kill a process, then its descendants, which it would replace."""
    for each in [process, *process.children(recursive=True)]:
        each.kill()


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """A TAXI_HOME with the lake in an empty bucket."""
    with serve_google() as server:
        yield Cloud(tmp_path, server)


def test_killed_upload(cloud: Cloud) -> None:
    """The object has all rows of the old version until the last chunk is stored. The next load leaves no other file."""
    cloud.publish_and_load(OLD)
    [(uri, _)] = cloud.objects().items()
    publish(cloud.folder / "source", MONTH, NEW)
    for nth, left in ((1, OLD), (2, NEW)):
        cloud.kill(nth)
        assert cloud.objects() == {uri: left}
        assert cloud.staged()
    cloud.publish_and_load(NEW)
    assert cloud.objects() == {uri: NEW}
    assert not cloud.staged()
