"""What people read when their machine is at fault: one message with what to do, no traceback, and no half month."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.machine import small_disk
from taxi_assets_tests.months import publish
from taxi_assets_tests.program import BIN

MONTH = TripMonth("fhv", "2020-02")
LOAD = ("materialize", "--color", MONTH.color, "--months", MONTH.month)


class Machine:
    """A machine with a source of one month, and a Postgres of its own or of the tests."""

    def __init__(self, folder: Path, home: Path, postgres_url: str, rows: int = 100) -> None:
        publish(folder / "source", MONTH, rows)
        self.folder = folder
        self.environment = {**os.environ, "TAXI_HOME": str(home), "TAXI_SOURCE_URL": str(folder / "source")}
        self.environment["TAXI_POSTGRES_URL"] = postgres_url

    def taxi(self, *words: str, status: int) -> str:
        """All that a command says, when it ends as expected; never a traceback."""
        with subprocess.Popen(
            [str(BIN / "taxi"), *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as running:
            try:
                said, _ = running.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)  # a `taxi dev` that should not have started, and its programs
                raise
        assert running.returncode == status, said
        assert "Traceback" not in said
        assert "bug" not in said
        return said


def test_full_disk(tmp_path: Path, postgres_url: str) -> None:
    """A month that finds no room fails with the room that there is; what was not finished is not there."""
    with small_disk(tmp_path / "disk", 5) as disk:
        machine = Machine(tmp_path, disk / "home", postgres_url, rows=200_000)
        said = machine.taxi(*LOAD, status=1)
        assert "fhv 2020-02 failed at clean_trips" in said
        assert "there is no room for" in said
        assert "MB are free" in said
        assert not list((disk / "home").glob("clean/**/*.parquet")) + list((disk / "home").rglob("*.staged"))
        assert "failed" in machine.taxi("status", status=0)


def test_doctor(tmp_path: Path, postgres_url: str) -> None:
    """`taxi doctor` ends with 0 where all is well, 1 where something is to be mended."""
    machine = Machine(tmp_path, tmp_path / "home", postgres_url)
    assert "ok    postgres" in machine.taxi("doctor", status=0)
    machine.environment["TAXI_POSTGRES_URL"] = "postgresql://ann:s3cr3t@127.0.0.1:1/trips"
    said = machine.taxi("doctor", "--json", status=1)
    assert "s3cr3t" not in said
    assert [finding["system"] for finding in json.loads(said) if finding["verdict"] == "mend"] == ["postgres"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_dev_on_a_taken_port(host: str, tmp_path: Path) -> None:
    """`taxi dev` says that its port is taken, and which to try, before it starts or makes anything."""
    machine = Machine(tmp_path, tmp_path / "home", "")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        said = machine.taxi("dev", "--host", host, "--port", str(port), status=1)
    assert f"port {port} of {host}" in said
    assert "taxi dev --port" in said
    assert not (tmp_path / "home").exists()
