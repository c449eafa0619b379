"""`taxi` loads months into Cloud Storage and BigQuery, on emulators of both.

BIGQUERY_EMULATOR_HOST and STORAGE_EMULATOR_HOST name the emulators, REAL_TRIPS a folder of real months, if any, and
PARQUET_TRIPS one of the TLC's Parquet files.
"""

import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pyarrow.parquet import read_metadata, read_table

from taxi_assets_tests.months import folder_of
from taxi_assets_tests.program import run, run_well

pytestmark = pytest.mark.gcp_emulators

MONTHS = ("2020-03", "2020-04", "2020-05")
KNOWN = dict(zip(MONTHS, (223_406, 35_612, 57_360), strict=True))
"""The row counts of the real months, as published with the files."""


@dataclass
class Machine:
    """A machine with its own TAXI_HOME, and the `taxi` command on it. `name` is that of its bucket and its dataset."""

    home: Path
    source: Path | str
    name: str = field(default_factory=lambda: f"trips_{uuid.uuid4().hex[:8]}")

    @property
    def settings(self) -> dict[str, str]:
        """The settings of the command."""
        return {
            "TAXI_HOME": str(self.home),
            "TAXI_SOURCE_URL": str(self.source),
            "TAXI_LAKE_URL": f"gs://{self.name}/nyc",
            "TAXI_WAREHOUSE_URL": f"bigquery://nyc-trips/{self.name}",
            "TAXI_UPLOAD_CHUNK_MB": "1",
            "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "true",
        }

    def taxi(self, *words: str) -> str:
        """Run `taxi`, which must succeed, and return what it prints."""
        return run_well("taxi", *words, settings=self.settings)

    def counts(self) -> dict[str, int]:
        """The row count of each month in BigQuery."""
        lines = self.taxi("query", "--csv", "SELECT file_month, count(*) FROM green_taxi_trips GROUP BY file_month")
        return {line.split(",")[0][:7]: int(line.split(",")[1]) for line in lines.splitlines()[1:]}


def _require_emulator() -> None:
    if not os.environ.get("BIGQUERY_EMULATOR_HOST"):
        pytest.skip("BIGQUERY_EMULATOR_HOST is not set to a BigQuery emulator")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine without loaded months, whose source has green months: real ones if REAL_TRIPS is set."""
    _require_emulator()
    folder = tmp_path_factory.mktemp("machine")
    machine = Machine(folder / "home", Path(os.environ.get("REAL_TRIPS") or folder / "source"))
    if not os.environ.get("REAL_TRIPS"):
        machine.taxi(
            "sample", str(machine.source), "--color", "green", "--months", "2020-03..2020-05", "--rows", "20000"
        )
    yield machine
    machine.taxi("stop")


def _expected() -> dict[str, int]:
    return KNOWN if os.environ.get("REAL_TRIPS") else dict.fromkeys(MONTHS, 20_000)


def test_loading_months_twice_adds_no_rows(machine: Machine) -> None:
    """Months that are loaded into all assets twice have the same rows in BigQuery, the history and the report."""
    for _ in range(2):
        machine.taxi("materialize", "--color", "green", "--months", "2020-03..2020-05")
        assert machine.counts() == _expected()
    months = json.loads(machine.taxi("status", "--json"))
    assert {month["month"]: month["rows"]["warehouse_trips"] for month in months} == _expected()
    assert {month["status"] for month in months} == {"loaded"}
    assert not [path for path in (machine.home / "upload").rglob("*") if path.is_file()]
    machine.taxi("report", "-o", str(machine.home / "report.html"))
    assert f"<dd>{sum(_expected().values()):,}</dd>" in (machine.home / "report.html").read_text()


DATA_FRAMES = """
import sys
from pathlib import Path
import pandas as pd
from taxi_assets.definitions import defs
from taxi_assets.errors import UnsupportedInput

with defs().get_asset_value_loader() as loader:
    def load(asset, wanted, **metadata):
        return loader.load_asset_value(
            ["green", asset], partition_key="2020-04", python_type=wanted, input_definition_metadata=metadata
        )

    for asset in ("lake_trips", "warehouse_trips"):
        frame = load(asset, pd.DataFrame, columns=["passenger_count", "total_amount"])
        print(len(frame), frame["passenger_count"].dtype, f"{frame['total_amount'].sum():.2f}")
    try:
        load("lake_trips", Path)
    except UnsupportedInput as error:
        print(error)
"""


def test_data_frames_of_bucket_and_dataset(machine: Machine) -> None:
    """A month in the bucket and in BigQuery is the same data frame. An object has no path, and the error says so."""
    machine.taxi("materialize", "--color", "green", "--months", "2020-04")
    total = machine.taxi(
        "query", "--csv", "SELECT sum(total_amount) FROM green_taxi_trips WHERE file_month='2020-04-01'"
    )
    lake, warehouse, refused = run_well("python", "-c", DATA_FRAMES, settings=machine.settings).splitlines()
    assert lake == warehouse == f"{_expected()['2020-04']} Int64 {float(total.splitlines()[1]):.2f}"
    assert "gs://" in refused
    assert "green/clean_trips" in refused


def test_the_doctor_checks_bucket_and_dataset(machine: Machine) -> None:
    """`taxi doctor` reports the bucket and the dataset as ready."""
    machine.taxi("materialize", "--color", "green", "--months", "2020-04")
    findings = {finding["system"]: finding for finding in json.loads(machine.taxi("doctor", "--json"))}
    for system in ("lake", "warehouse"):
        assert findings[system]["verdict"] == "ok", findings[system]
        assert machine.name in findings[system]["seen"]


def test_another_machine_loads_from_the_bucket(machine: Machine, tmp_path: Path) -> None:
    """A machine that never ran a month loads it from the bucket. Without a local file, the error names the command."""
    machine.taxi("materialize", "--color", "green", "--months", "2020-05", "--select", "+lake_trips")
    other = Machine(tmp_path / "other", machine.source, machine.name)
    other.taxi("materialize", "--color", "green", "--months", "2020-05", "--select", "warehouse_trips")
    assert other.counts()["2020-05"] == _expected()["2020-05"]
    words = ("materialize", "--color", "green", "--months", "2020-05", "--select", "lake_trips")
    failed = run("taxi", *words, settings=other.settings)
    assert failed.returncode == 1
    assert "[missing-upstream]" in failed.stdout
    assert "--select +clean_trips" in failed.stdout


def test_parquet_files_of_the_tlc(tmp_path: Path) -> None:
    """Parquet files of three periods have the rows of their metadata in BigQuery, and a new column has its values."""
    _require_emulator()
    folder = folder_of("PARQUET_TRIPS", "Parquet files of the TLC")
    months = ("2020-04", "2023-02", "2025-01")
    rows = {month: read_metadata(folder / f"green_tripdata_{month}.parquet").num_rows for month in months}
    machine = Machine(tmp_path / "home", f"{folder}/{{color}}_tripdata_{{month}}.parquet")
    selected = "raw_trips,clean_trips,lake_trips,warehouse_trips"
    machine.taxi("materialize", "--color", "green", "--months", ",".join(months), "--select", selected)
    assert machine.counts() == rows
    [fees] = read_table(folder / "green_tripdata_2025-01.parquet", columns=["cbd_congestion_fee"]).columns
    counted = "SELECT count(cbd_congestion_fee) FROM green_taxi_trips WHERE file_month = '{}-01'"
    counts = {month: int(machine.taxi("query", "--csv", counted.format(month)).splitlines()[1]) for month in months}
    assert counts == {"2020-04": 0, "2023-02": 0, "2025-01": len(fees) - fees.null_count}


def test_bigquery_needs_a_lake_in_a_bucket(machine: Machine, tmp_path: Path) -> None:
    """If the lake is a folder and the warehouse is BigQuery, the command fails before anything runs."""
    settings = {"TAXI_HOME": str(tmp_path), "TAXI_WAREHOUSE_URL": "bigquery://nyc-trips/none"}
    done = run("taxi", "materialize", "--color", "green", "--months", "2020-04", settings=settings)
    assert done.returncode == 2
    assert "[lake-and-warehouse-differ]" in done.stderr
    assert machine.home != tmp_path
