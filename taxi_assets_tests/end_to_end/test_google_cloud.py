"""Months go to a bucket and to BigQuery by the commands that people type, on servers that stand for Google's.

BIGQUERY_EMULATOR_HOST and STORAGE_EMULATOR_HOST name the servers; REAL_TRIPS a folder with real months, if any.
"""

import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from taxi_assets_tests.program import run, run_well

pytestmark = pytest.mark.gcp_emulators

MONTHS = ("2020-03", "2020-04", "2020-05")
KNOWN = dict(zip(MONTHS, (223_406, 35_612, 57_360), strict=True))
"""The rows of the real months, as published with the files."""


@dataclass
class Machine:
    """A home of its own and the `taxi` command on it, all of which share a bucket and a dataset."""

    home: Path
    source: Path
    name: str = field(default_factory=lambda: f"trips_{uuid.uuid4().hex[:8]}")

    @property
    def settings(self) -> dict[str, str]:
        """What is set for the command."""
        return {
            "TAXI_HOME": str(self.home),
            "TAXI_SOURCE_URL": str(self.source),
            "TAXI_LAKE_URL": f"gs://{self.name}/nyc",
            "TAXI_WAREHOUSE_URL": f"bigquery://nyc-trips/{self.name}",
            "TAXI_UPLOAD_CHUNK_MB": "1",
            "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "true",
        }

    def taxi(self, *words: str) -> str:
        """What the command prints, when it succeeds."""
        return run_well("taxi", *words, settings=self.settings)

    def counts(self) -> dict[str, int]:
        """The rows by month that BigQuery has."""
        lines = self.taxi("query", "--csv", "SELECT file_month, count(*) FROM green_taxi_trips GROUP BY file_month")
        return {line.split(",")[0][:7]: int(line.split(",")[1]) for line in lines.splitlines()[1:]}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with nothing loaded, whose source has green months, real ones if there are any."""
    if not os.environ.get("BIGQUERY_EMULATOR_HOST"):
        pytest.skip("no BigQuery server: BIGQUERY_EMULATOR_HOST is not set")
    folder = tmp_path_factory.mktemp("machine")
    made = Machine(folder / "home", Path(os.environ.get("REAL_TRIPS") or folder / "source"))
    if not os.environ.get("REAL_TRIPS"):
        made.taxi("sample", str(made.source), "--color", "green", "--months", "2020-03..2020-05", "--rows", "20000")
    yield made
    made.taxi("stop")


def _expected() -> dict[str, int]:
    return KNOWN if os.environ.get("REAL_TRIPS") else dict.fromkeys(MONTHS, 20_000)


def test_months_are_loaded_twice_and_are_there_once(machine: Machine) -> None:
    """Into all assets, two times: the same rows in BigQuery each time, and in the history."""
    for _ in range(2):
        machine.taxi("materialize", "--color", "green", "--months", "2020-03..2020-05")
        assert machine.counts() == _expected()
    told = json.loads(machine.taxi("status", "--json"))
    assert {month["month"]: month["rows"]["warehouse_trips"] for month in told} == _expected()
    assert {month["standing"] for month in told} == {"loaded"}
    assert not [path for path in (machine.home / "upload").rglob("*") if path.is_file()]


def test_the_doctor_tries_both(machine: Machine) -> None:
    """Bucket and dataset are told among what a run can use."""
    machine.taxi("materialize", "--color", "green", "--months", "2020-04")
    verdicts = {finding["system"]: finding for finding in json.loads(machine.taxi("doctor", "--json"))}
    for system in ("lake", "warehouse"):
        assert verdicts[system]["verdict"] == "ok", verdicts[system]
        assert machine.name in verdicts[system]["seen"]


def test_another_machine_loads_what_this_one_put(machine: Machine, tmp_path: Path) -> None:
    """A machine that never saw the month loads it from the bucket; where it lacks a file, it says what to run."""
    machine.taxi("materialize", "--color", "green", "--months", "2020-05", "--select", "+lake_trips")
    other = Machine(tmp_path / "other", machine.source, machine.name)
    other.taxi("materialize", "--color", "green", "--months", "2020-05", "--select", "warehouse_trips")
    assert other.counts()["2020-05"] == _expected()["2020-05"]
    words = ("materialize", "--color", "green", "--months", "2020-05", "--select", "lake_trips")
    failed = run("taxi", *words, settings=other.settings)
    assert failed.returncode == 1
    assert "is not on this machine" in failed.stdout
    assert "--select +clean_trips" in failed.stdout


def test_a_lake_that_bigquery_cannot_load_from(machine: Machine, tmp_path: Path) -> None:
    """A folder and BigQuery do not go together, which is said before anything runs."""
    settings = {"TAXI_HOME": str(tmp_path), "TAXI_WAREHOUSE_URL": "bigquery://nyc-trips/none"}
    done = run("taxi", "materialize", "--color", "green", "--months", "2020-04", settings=settings)
    assert done.returncode == 2
    assert "BigQuery loads from gs://bucket" in done.stderr
    assert machine.home != tmp_path
