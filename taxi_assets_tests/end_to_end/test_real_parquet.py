"""The TLC's own Parquet files are loaded into all assets, and every count matches the metadata of the files.

The files are not part of the project. PARQUET_TRIPS names the folder that contains them, and REAL_TRIPS the folder with
the CSVs of the mirror.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from pyarrow.parquet import read_metadata

from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets_tests.end_to_end.taxi_home import TaxiHome
from taxi_assets_tests.months import folder_of

pytestmark = pytest.mark.real_trips

MONTHS = {
    "green": ("2020-04", "2021-01", "2022-01", "2023-01", "2023-02", "2024-01", "2025-01"),
    "yellow": ("2025-02",),
}
REPLACED = "2020-04"
"""A green month whose CSV is loaded first. The CSV has fewer rows."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Copies of the Parquet files under the TLC's names, by color and month."""
    folder = tmp_path_factory.mktemp("parquet")
    copied = {}
    for path in folder_of("PARQUET_TRIPS", "Parquet files of the TLC").glob("*.parquet"):
        # Yellow 2025-02 is a sample, which its name says.
        name = path.name.replace("_sample5000", "")
        copied[name.split("_")[0], name.split("_")[2][:7]] = Path(shutil.copy(path, folder / name))
    return copied


@pytest.fixture(scope="module")
def home(files: dict[tuple[str, str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaxiHome]:
    """A TAXI_HOME with all months loaded by one command, one of which was loaded from the mirror's CSV before."""
    folder = tmp_path_factory.mktemp("real-parquet")
    mirror = TaxiHome(folder, folder_of("REAL_TRIPS", "real months"))
    mirror.taxi("materialize", "--color", "green", "--months", REPLACED)
    home = TaxiHome(folder, f"{next(iter(files.values())).parent}/{{color}}_tripdata_{{month}}.parquet")
    months = ",".join(sorted({month for _, month in files}))
    home.taxi("materialize", "--color", ",".join(MONTHS), "--months", months)
    yield home
    home.taxi("stop")


def test_every_file_is_loaded(files: dict[tuple[str, str], Path], home: TaxiHome) -> None:
    """Each file of the folder is a month of this test, and `taxi status` shows each of them as loaded, and no other."""
    assert files.keys() == {(color, month) for color, months in MONTHS.items() for month in months}
    months = {(month["color"], month["month"]): month["status"] for month in json.loads(home.taxi("status", "--json"))}
    assert months == dict.fromkeys(files, "loaded")


@pytest.mark.parametrize("color", MONTHS)
def test_the_warehouse_has_the_rows_of_the_files(
    files: dict[tuple[str, str], Path], home: TaxiHome, color: str
) -> None:
    """Each month of the table has the rows that the metadata of its file states, also the month that was replaced."""
    rows = {month: read_metadata(path).num_rows for (of, month), path in files.items() if of == color}
    assert home.counts(color=color) == rows


@pytest.mark.parametrize("color", MONTHS)
def test_postgres_has_the_rows_of_the_files_without_empty_trips(
    files: dict[tuple[str, str], Path], home: TaxiHome, color: str
) -> None:
    """Postgres has the rows of the files without those with 0 passengers, which DuckDB counts in the files."""
    count = "SELECT count(*) FILTER (passenger_count IS NULL OR passenger_count <> 0) FROM read_parquet(?)"
    rows = {
        month: duckdb.execute(count, [str(path)]).fetchall()[0][0] for (of, month), path in files.items() if of == color
    }
    assert home.counts("--postgres", color=color) == rows


def test_the_replaced_month_has_one_raw_file(files: dict[tuple[str, str], Path], home: TaxiHome) -> None:
    """The raw file of the month that was loaded from a CSV before is the Parquet file, byte for byte."""
    [raw] = (home.folder / "raw" / "green").glob(f"*{REPLACED}*")
    assert raw.name == f"green_tripdata_{REPLACED}.parquet"
    assert raw.read_bytes() == files["green", REPLACED].read_bytes()


@pytest.mark.parametrize("color", MONTHS)
def test_values_are_those_of_the_files(files: dict[tuple[str, str], Path], home: TaxiHome, color: str) -> None:
    """In the warehouse, each column that a file has holds as many values as in the file, and the others none."""
    for (of, month), path in files.items():
        if of != color:
            continue
        names = [column.name for column in LAYOUTS[color].columns]
        table = _filled(home, names, f"{color}_taxi_trips WHERE file_month = '{month}-01'")
        found = {name.lower() for name in read_metadata(path).schema.names}
        known = [name for name in names if name.lower() in found]
        [row] = duckdb.execute(f"SELECT {_counts(known)} FROM read_parquet(?)", [str(path)]).fetchall()
        # In the warehouse, passengers that are not known are 0: a rule of `lake_trips`.
        expected = dict.fromkeys(names, 0) | dict(zip(known, row, strict=True))
        expected["passenger_count"] = read_metadata(path).num_rows
        assert table == expected, month


def _filled(home: TaxiHome, names: list[str], table: str) -> dict[str, int]:
    """Count the values of each column in the warehouse."""
    _, values = home.taxi("query", "--csv", f"SELECT {_counts(names)} FROM {table}").splitlines()
    return dict(zip(names, map(int, values.split(",")), strict=True))


def _counts(names: list[str]) -> str:
    return ", ".join(f'count("{name}")' for name in names)
