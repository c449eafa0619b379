"""Real files that are damaged or unusual load with counted rejected rows, or fail with the reason.

The files are not part of the project. AWKWARD_TRIPS names the folder that contains them.
"""

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from taxi_assets.errors import BadHeader
from taxi_assets.tlc.clean import CleanLimits, CleanReport, clean_month, inspect_raw
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.months import folder_of
from taxi_assets_tests.program import run

pytestmark = pytest.mark.real_trips

REJECTED = {
    "fhv_2018-12_sample4018.csv": ("fhv", "2018-12", ("era", "fhv trips in 2018")),
    # Headers of another table, or headers that are not the TLC's.
    "taxi_zone_lookup.v12055.csv": ("yellow", "2021-01", ("missing", "VendorID")),
    "taxi_zone_lookup.v12320.csv": ("fhv", "2021-01", ("missing", "dispatching_base_num")),
    "yellow_trip_data_sample_2016-01.csv": ("yellow", "2016-01", ("missing", "VendorID")),
    "yellow_trip_data_sample_2016-07.csv": ("yellow", "2016-07", ("missing", "VendorID")),
    "yellow_tripdata_sample_2018-06.csv": ("yellow", "2018-06", ("missing", "VendorID")),
}
"""The color and month of each file with other columns, and a fact of its error: the era or the first missing column."""

LOADED = {
    "fhvhv_2020-04_parquetexport1000.csv": ("fhvhv", "2020-04", 0),
    "green_2025-01_head1000.csv": ("green", "2025-01", 0),
    "yellow_2009-01_sample1000.csv": ("yellow", "2009-01", 0),
    "yellow_2025-01_head1000.csv": ("yellow", "2025-01", 0),
    "yellow_2021-01_head22793.csv": ("yellow", "2021-01", 1),
    "yellow_tripdata_2019-02.many_zero_passengers.csv.gz": ("yellow", "2019-02", 0),
}
"""The color and month of each valid file, and its number of rejected rows."""


FARES = ("fare_amount", "Fare_Amt", "base_passenger_fare")
"""The names of the column with the fare."""


@pytest.fixture(scope="module")
def awkward() -> Path:
    """The folder of the files."""
    return folder_of("AWKWARD_TRIPS", "damaged and unusual files")


def _clean(month: TripMonth, raw: Path, folder: Path) -> CleanReport:
    return clean_month(month, raw, folder / "clean.parquet", folder / "rejected.parquet", CleanLimits())


@dataclass(frozen=True)
class Reading:
    """The rows of a file as Python's csv module reads it: complete rows, and rows with too few or too many fields.

    `zero` are the complete rows with 0 passengers, and `fares` is the sum of the fares of all complete rows.
    """

    complete: int
    broken: int
    zero: int
    fares: float


def _read(path: Path) -> Reading:
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    header, *rows = csv.reader(text.decode().splitlines())
    complete = [dict(zip(header, row, strict=True)) for row in rows if len(row) == len(header)]
    return Reading(
        complete=len(complete),
        broken=len(rows) - len(complete),
        zero=sum(1 for row in complete if (count := _field(row, "passenger_count")) and float(count) == 0),
        fares=round(sum(float(_field(row, *FARES)) for row in complete), 2),
    )


def _field(row: dict[str, str], *names: str) -> str:
    """Return the value of the column that has one of these names, in any letter case; empty if there is none."""
    return next((value for name, value in row.items() if name.lower() in map(str.lower, names)), "")


def test_every_file_is_tested(awkward: Path) -> None:
    """The folder contains the files of these tests and no others."""
    assert {path.name for path in awkward.iterdir()} == {*REJECTED, *LOADED}


@pytest.mark.parametrize("name", REJECTED)
def test_files_with_other_columns_are_rejected(awkward: Path, tmp_path: Path, name: str) -> None:
    """After the download and in the cleaning, the same error reports the era of the columns, or those that differ."""
    color, month, (fact, value) = REJECTED[name]
    trip_month = TripMonth(color, month)
    with pytest.raises(BadHeader) as inspected:
        inspect_raw(trip_month, awkward / name, name)
    with pytest.raises(BadHeader) as cleaned:
        _clean(trip_month, awkward / name, tmp_path)
    assert str(inspected.value.facts[fact]).split(",")[0] == value
    assert ("era" in inspected.value.facts) == (fact == "era")
    assert value in str(inspected.value)
    assert str(cleaned.value) == str(inspected.value)


@pytest.mark.parametrize("name", [*REJECTED, *LOADED])
def test_files_are_rejected_as_another_color(awkward: Path, tmp_path: Path, name: str) -> None:
    """Each file is rejected as a month of any other color."""
    color, month, _ = {**REJECTED, **LOADED}[name]
    for other in set(LAYOUTS) - {color}:
        with pytest.raises(BadHeader) as error:
            _clean(TripMonth(other, month), awkward / name, tmp_path)
        assert error.value.facts["color"] == other


@pytest.mark.parametrize("name", LOADED)
def test_row_counts_match_those_of_python(awkward: Path, tmp_path: Path, name: str) -> None:
    """Every complete row is kept with its values. The row at which a download was cut off is rejected with a reason."""
    import duckdb

    color, month, rejected = LOADED[name]
    reading = _read(awkward / name)
    assert inspect_raw(TripMonth(color, month), awkward / name, name) == reading.complete + reading.broken
    report = _clean(TripMonth(color, month), awkward / name, tmp_path)
    assert (report.rows, report.rejected_rows, report.zero_passengers) == (reading.complete, rejected, reading.zero)
    assert reading.broken == rejected
    clean = str(tmp_path / "clean.parquet")
    [fare] = set(LAYOUTS[color].names).intersection(FARES)
    sql = f"SELECT count(*), round(sum({fare}), 2) FROM read_parquet(?)"
    assert duckdb.execute(sql, [clean]).fetchall() == [(reading.complete, reading.fares)]
    if rejected:
        rejects = duckdb.execute("SELECT * FROM read_parquet(?)", [str(tmp_path / "rejected.parquet")]).fetchall()
        assert rejects == [(22_794, "2 fields instead of 18", "1,2021-0")]
        assert (report.raw_rows, report.rows) == (22_793, 22_792)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A TAXI_HOME whose Postgres server is stopped at the end."""
    folder = tmp_path_factory.mktemp("awkward-files")
    yield folder
    _taxi(folder, "", "stop")


def _taxi(home: Path, source: str, *words: str) -> tuple[int, str]:
    """Run `taxi` and return its exit code, and its output in one line."""
    settings = {"TAXI_HOME": str(home), "TAXI_SOURCE_URL": source, "TAXI_FIRST_MONTH": "2009-01"}
    done = run("taxi", *words, settings=settings)
    return done.returncode, " ".join(done.stdout.split())


def test_the_command_rejects_files_of_a_refused_era(awkward: Path, home: Path) -> None:
    """`taxi materialize` reports the era of a file from 2018 and why it is not loaded, and loads nothing."""
    source = f"{awkward}/{{color}}_{{month}}_sample4018.csv"
    status, output = _taxi(home, source, "materialize", "--color", "fhv", "--months", "2018-12")
    assert status == 1
    assert "fhv 2018-12 failed at raw_trips" in output
    assert "fhv trips in 2018" in output
    assert "Dispatching_base_num" in output
    assert "[bad-header]" in output
    assert not list(home.rglob("*2018-12*"))


@pytest.mark.parametrize(
    ("template", "month"),
    [
        ("{color}_{month}_head22793.csv", "2021-01"),
        ("{color}_tripdata_{month}.many_zero_passengers.csv.gz", "2019-02"),
        ("{color}_{month}_sample1000.csv", "2009-01"),
    ],
    ids=["truncated", "zeros", "2009"],
)
def test_the_command_loads_the_complete_rows(awkward: Path, home: Path, template: str, month: str) -> None:
    """`taxi materialize` loads the complete rows into the warehouse, and those with passengers into Postgres."""
    reading = _read(awkward / template.format(color="yellow", month=month))
    status, output = _taxi(home, f"{awkward}/{template}", "materialize", "--color", "yellow", "--months", month)
    assert status == 0, output
    sql = f"SELECT count(*) FROM yellow_taxi_trips WHERE file_month = DATE '{month}-01'"
    for flags, rows in (((), reading.complete), (("--postgres",), reading.complete - reading.zero)):
        assert _taxi(home, "", "query", "--csv", *flags, sql)[1].split()[-1] == str(rows)
    assert len(list((home / "rejected").rglob(f"*{month}.*.parquet"))) == bool(reading.broken)
