"""Real files that went wrong in the world end in a clear error or in counted rejects, never in a quiet wrong table.

The files are not part of the project: AWKWARD_TRIPS names a folder that has them.
"""

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from taxi_assets.errors import BadHeader
from taxi_assets.tlc.clean import CleanReport, clean_month, inspect_raw
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.months import folder_of
from taxi_assets_tests.program import run

pytestmark = pytest.mark.real_trips

REFUSED = {
    "fhv_2018-12_sample4018.csv": ("fhv", "2018-12", "these are fhv's columns of 2018"),
    "fhvhv_2020-04_parquetexport1000.csv": (
        "fhv",
        "2020-04",
        "these are fhvhv's columns in the files published since 2022-05",
    ),
    "green_2025-01_head1000.csv": ("green", "2025-01", "these are green's columns since 2025"),
    "yellow_2009-01_sample1000.csv": ("yellow", "2009-01", "these are yellow's columns of 2009"),
    "yellow_2025-01_head1000.csv": ("yellow", "2025-01", "these are yellow's columns since 2025"),
    # Headers that others made up, or of another table: nobody's.
    "taxi_zone_lookup.v12055.csv": ("yellow", "2021-01", "since 2019. missing: VendorID"),
    "taxi_zone_lookup.v12320.csv": ("fhv", "2021-01", "since 2019. missing: dispatching_base_num"),
    "yellow_trip_data_sample_2016-01.csv": ("yellow", "2016-01", "since 2019. missing: VendorID"),
    "yellow_trip_data_sample_2016-07.csv": ("yellow", "2016-07", "since 2019. missing: VendorID"),
    "yellow_tripdata_sample_2018-06.csv": ("yellow", "2018-06", "since 2019. missing: VendorID"),
}
"""Files with what they were published as, and what is said of their headers."""

LOADED = {
    "yellow_2021-01_head22793.csv": ("yellow", "2021-01", 1),
    "yellow_tripdata_2019-02.many_zero_passengers.csv.gz": ("yellow", "2019-02", 0),
}
"""Files with what they were published as, and how many of their rows are none."""


@pytest.fixture(scope="module")
def awkward() -> Path:
    """The folder of awkward files."""
    return folder_of("AWKWARD_TRIPS", "awkward files")


def _clean(month: TripMonth, raw: Path, folder: Path) -> CleanReport:
    return clean_month(month, raw, folder / "clean.parquet", folder / "rejected.parquet", 0.01)


@dataclass(frozen=True)
class Reading:
    """What Python's own csv sees of a file: its whole rows, the others; those with 0 passengers, and their fares."""

    whole: int
    broken: int
    zero: int
    fares: float


def _read(path: Path) -> Reading:
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    header, *rows = csv.reader(text.decode().splitlines())
    whole = [dict(zip(header, row, strict=True)) for row in rows if len(row) == len(header)]
    return Reading(
        whole=len(whole),
        broken=len(rows) - len(whole),
        zero=sum(1 for row in whole if row["passenger_count"] and float(row["passenger_count"]) == 0),
        fares=round(sum(float(row["fare_amount"]) for row in whole), 2),
    )


def test_every_file_has_its_expectation(awkward: Path) -> None:
    """No file of the folder goes untried."""
    assert {path.name for path in awkward.iterdir()} == {*REFUSED, *LOADED}


@pytest.mark.parametrize("name", REFUSED)
def test_header_is_refused_for_what_it_is(awkward: Path, tmp_path: Path, name: str) -> None:
    """A file of another era, another color or another table is refused on arrival and by the cleaning, and as what."""
    color, month, said = REFUSED[name]
    trip_month = TripMonth(color, month)
    with pytest.raises(BadHeader) as inspected:
        inspect_raw(trip_month, awkward / name, name)
    with pytest.raises(BadHeader) as cleaned:
        _clean(trip_month, awkward / name, tmp_path)
    assert said in str(inspected.value)
    assert str(cleaned.value) == str(inspected.value)
    assert ("This project reads files since 2019" in str(cleaned.value)) == said.startswith("these are")


@pytest.mark.parametrize("name", [*REFUSED, *LOADED])
def test_no_file_passes_as_another_color(awkward: Path, tmp_path: Path, name: str) -> None:
    """Asked for as any other color, a file is refused as well."""
    color, month, _ = {**REFUSED, **LOADED}[name]
    for other in set(LAYOUTS) - {color}:
        with pytest.raises(BadHeader, match=f"not that of a {other} month"):
            _clean(TripMonth(other, month), awkward / name, tmp_path)


@pytest.mark.parametrize("name", LOADED)
def test_rows_and_rejects_are_those_that_python_counts(awkward: Path, tmp_path: Path, name: str) -> None:
    """Every whole row is kept with its values, and the one that a broken download cut is kept apart with its reason."""
    import duckdb

    color, month, cut = LOADED[name]
    reading = _read(awkward / name)
    assert inspect_raw(TripMonth(color, month), awkward / name, name) == reading.whole + reading.broken
    report = _clean(TripMonth(color, month), awkward / name, tmp_path)
    assert (report.rows, report.rejected_rows, report.zero_passengers) == (reading.whole, cut, reading.zero)
    assert reading.broken == cut
    clean = str(tmp_path / "clean.parquet")
    sql = "SELECT count(*), round(sum(fare_amount), 2) FROM read_parquet(?)"
    assert duckdb.execute(sql, [clean]).fetchall() == [(reading.whole, reading.fares)]
    if cut:
        rejects = duckdb.execute("SELECT * FROM read_parquet(?)", [str(tmp_path / "rejected.parquet")]).fetchall()
        assert rejects == [(22_794, "2 fields instead of 18", "1,2021-0")]
        assert (report.raw_rows, report.rows) == (22_793, 22_792)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of its own, whose Postgres is stopped at the end."""
    folder = tmp_path_factory.mktemp("awkward-files")
    yield folder
    _taxi(folder, "", "stop")


def _taxi(home: Path, source: str, *words: str) -> tuple[int, str]:
    """The status of a `taxi` command, and what it prints."""
    settings = {"TAXI_HOME": str(home), "TAXI_SOURCE_URL": source, "TAXI_FIRST_MONTH": "2009-01"}
    done = run("taxi", *words, settings=settings)
    return done.returncode, " ".join(done.stdout.split())


def test_command_refuses_another_era(awkward: Path, home: Path) -> None:
    """Who asks the command for a month of 2009 reads why it is none, and nothing is loaded."""
    source = f"{awkward}/{{color}}_{{month}}_sample1000.csv"
    status, said = _taxi(home, source, "materialize", "--color", "yellow", "--months", "2009-01")
    assert status == 1
    assert "yellow 2009-01 failed at raw_trips" in said
    assert "these are yellow's columns of 2009." in said
    assert not list(home.rglob("*2009-01*"))


@pytest.mark.parametrize(
    ("template", "month"),
    [
        ("{color}_{month}_head22793.csv", "2021-01"),
        ("{color}_tripdata_{month}.many_zero_passengers.csv.gz", "2019-02"),
    ],
    ids=["cut", "zeros"],
)
def test_command_loads_what_is_whole(awkward: Path, home: Path, template: str, month: str) -> None:
    """The whole rows of a file are in the warehouse, and in Postgres but for those without passengers."""
    reading = _read(awkward / template.format(color="yellow", month=month))
    status, said = _taxi(home, f"{awkward}/{template}", "materialize", "--color", "yellow", "--months", month)
    assert status == 0, said
    sql = f"SELECT count(*) FROM yellow_taxi_trips WHERE file_month = DATE '{month}-01'"
    for flags, rows in (((), reading.whole), (("--postgres",), reading.whole - reading.zero)):
        assert _taxi(home, "", "query", "--csv", *flags, sql)[1].split()[-1] == str(rows)
    assert len(list((home / "rejected").rglob(f"*{month}.parquet"))) == bool(reading.broken)
