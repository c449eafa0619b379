"""Faults of the machine: `taxi` prints one message and no traceback, and does not publish a partial month."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from taxi_assets.errors import BUG
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.machine import read_only, small_disk
from taxi_assets_tests.months import publish
from taxi_assets_tests.program import BIN

MONTH = TripMonth("fhv", "2020-02")
LOAD = ("materialize", "--color", MONTH.color, "--months", MONTH.month)


class Setup:
    """A source with one month, and the settings of the commands that load it."""

    def __init__(self, folder: Path, home: Path, postgres_url: str, rows: int = 100) -> None:
        publish(folder / "source", MONTH, rows)
        self.folder = folder
        self.environment = {**os.environ, "TAXI_HOME": str(home), "TAXI_SOURCE_URL": str(folder / "source")}
        self.environment["TAXI_POSTGRES_URL"] = postgres_url

    def taxi(self, *words: str, status: int, megabytes: int | None = None) -> str:
        """Run `taxi`, check its exit code and that its output has no traceback, and return the output.

        `megabytes` limits the address space of each process.
        """
        limit = ["prlimit", f"--as={megabytes << 20}"] if megabytes else []
        with subprocess.Popen(
            [*limit, str(BIN / "taxi"), *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # a `taxi dev` that should not have started, and its children
                raise
        assert process.returncode == status, output
        assert "Traceback" not in output
        assert f"[{BUG}]" not in output
        return output


def test_full_disk(tmp_path: Path, postgres_url: str) -> None:
    """On a full disk, a month fails with the free space in the message, and no unfinished file stays.

    The status can be shown even if the disk cannot be written.
    """
    with small_disk(tmp_path / "disk", 11) as disk:
        setup = Setup(tmp_path, disk / "home", postgres_url, rows=400_000)
        output = setup.taxi(*LOAD, status=1)
        assert "fhv 2020-02 failed at clean_trips" in output
        assert "[disk-full]" in output
        assert "0.0 MB" in output
        assert not list((disk / "home").glob("clean/**/*.parquet")) + list((disk / "home").rglob("*.staged"))
        with read_only(disk):
            assert "failed" in setup.taxi("status", status=0)


@pytest.mark.parametrize("megabytes", [60, 300])
def test_little_memory(megabytes: int, tmp_path: Path, postgres_url: str) -> None:
    """Wherever memory runs out in the command or in its worker, the message says so."""
    setup = Setup(tmp_path, tmp_path / "home", postgres_url)
    assert "[out-of-memory]" in setup.taxi(*LOAD, status=1, megabytes=megabytes)


def test_doctor(tmp_path: Path, postgres_url: str) -> None:
    """`taxi doctor` exits with 0 if all systems are ready, and with 1 if one of them has an error."""
    setup = Setup(tmp_path, tmp_path / "home", postgres_url)
    assert "ok    postgres" in setup.taxi("doctor", status=0)
    setup.environment["TAXI_POSTGRES_URL"] = "postgresql://ann:s3cr3t@127.0.0.1:1/trips"
    output = setup.taxi("doctor", "--json", status=1)
    assert "s3cr3t" not in output
    errors = [(finding["system"], finding["error"]) for finding in json.loads(output) if finding["verdict"] == "error"]
    assert errors == [("postgres", "postgres-unreachable")]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_dev_on_a_port_in_use(host: str, tmp_path: Path) -> None:
    """`taxi dev` reports a port in use and a free one, before it starts a process or creates a file."""
    setup = Setup(tmp_path, tmp_path / "home", "")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        output = setup.taxi("dev", "--host", host, "--port", str(port), status=1)
    assert f"port {port} of {host}" in output
    assert "[port-in-use]" in output
    assert not (tmp_path / "home").exists()
