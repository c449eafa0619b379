"""Sample months, read with Python's gzip and csv, with gzip itself and with DuckDB, not with this project's reader."""

import csv
import gzip
import io
import re
import subprocess
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from taxi_assets.tlc.sample import write_sample
from taxi_assets.tlc.schema import LAYOUTS, Kind
from taxi_assets.tlc.trips import COLORS, TripMonth

ROWS = 20_000
METERED = ("yellow", "green")
UNMETERED = {"yellow": 1_400, "green": 7_000}
METER_COLUMNS = {
    *("VendorID", "store_and_fwd_flag", "RatecodeID", "passenger_count"),
    *("payment_type", "trip_type", "congestion_surcharge"),
}
CHARGES = ("fare_amount", "extra", "mta_tax", "tip_amount", "tolls_amount", "improvement_surcharge")
HEADERS = {
    "yellow": (
        b"VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,RatecodeID,"
        b"store_and_fwd_flag,PULocationID,DOLocationID,payment_type,fare_amount,extra,mta_tax,tip_amount,tolls_amount,"
        b"improvement_surcharge,total_amount,congestion_surcharge\r\n"
    ),
    "green": (
        b"VendorID,lpep_pickup_datetime,lpep_dropoff_datetime,store_and_fwd_flag,RatecodeID,PULocationID,DOLocationID,"
        b"passenger_count,trip_distance,fare_amount,extra,mta_tax,tip_amount,tolls_amount,ehail_fee,"
        b"improvement_surcharge,total_amount,payment_type,trip_type,congestion_surcharge\r\n"
    ),
    "fhv": (
        b'"dispatching_base_num","pickup_datetime","dropOff_datetime","PUlocationID","DOlocationID","SR_Flag",'
        b'"Affiliated_base_number"\n'
    ),
}
# The format of values in a file, including quotes.
FORMATS = {
    Kind.integer: r"\d+",
    Kind.decimal: r"-?(0|[1-9]\d*)(\.\d?[1-9])?",
    Kind.text: r'N|Y|"B\d{5} *"',
}
CLOCKS = dict.fromkeys(METERED, r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d") | {"fhv": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.0{6}"}
SQL_TYPES = {Kind.integer: "BIGINT", Kind.decimal: "DOUBLE", Kind.text: "VARCHAR", Kind.timestamp: "TIMESTAMP"}

Rows = list[dict[str, str]]


def sample(folder: Path, color: str = "yellow", month: str = "2021-01", rows: int = 500, seed: int = 0) -> Path:
    """Write a sample month and return its path."""
    path = folder / f"{color}-{month}-{rows}-{seed}.csv.gz"
    write_sample(TripMonth(color, month), rows, path, seed)
    return path


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A month of each color with 20,000 rows."""
    folder = tmp_path_factory.mktemp("sample")
    return {color: sample(folder, color, rows=ROWS) for color in COLORS}


@pytest.fixture(scope="module")
def trips(months: Mapping[str, Path]) -> Mapping[str, Rows]:
    """The rows of `months` as read by csv."""
    return {
        color: list(csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode(), newline="")))
        for color, path in months.items()
    }


def clock(row: dict[str, str], color: str) -> tuple[datetime, datetime]:
    """Return the pickup and dropoff time of a row."""
    pickup, dropoff = (row[column.name] for column in LAYOUTS[color].columns if column.kind is Kind.timestamp)
    return datetime.fromisoformat(pickup), datetime.fromisoformat(dropoff)


@pytest.mark.parametrize("color", COLORS)
def test_header_and_line_endings_match_the_mirror(months: Mapping[str, Path], color: str) -> None:
    """The header equals that of the mirror, and every line has the same line ending."""
    lines = gzip.decompress(months[color].read_bytes()).splitlines(keepends=True)
    assert lines[0] == HEADERS[color]
    end = b"\n" if color == "fhv" else b"\r\n"
    assert {line.rstrip(b"\r\n") + end == line for line in lines} == {True}


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("rows", [0, 1, 7, 1_003])
def test_write_the_requested_number_of_rows(tmp_path: Path, color: str, rows: int) -> None:
    """A file has its header and exactly the requested rows, also for 0 rows."""
    content = gzip.decompress(sample(tmp_path, color, rows=rows).read_bytes())
    assert content.count(b"\n") == rows + 1
    assert content.startswith(HEADERS[color])


@pytest.mark.parametrize("color", COLORS)
def test_format_values_like_the_tlc(months: Mapping[str, Path], color: str) -> None:
    """All values have the format of the TLC. Distances have two decimals, such as `.58`."""
    special = {
        "trip_distance": r"([1-9]\d*)?\.\d\d",
        **{column.name: CLOCKS[color] for column in LAYOUTS[color].columns if column.kind is Kind.timestamp},
    }
    formats = [re.compile(special.get(column.name) or FORMATS[column.kind]) for column in LAYOUTS[color].columns]
    for line in gzip.decompress(months[color].read_bytes()).decode().splitlines()[1:]:
        values = line.split(",")
        for value, format_ in zip(values, formats, strict=True):
            assert not value or format_.fullmatch(value), line


@pytest.mark.parametrize("color", COLORS)
def test_duckdb_reads_all_values(months: Mapping[str, Path], trips: Mapping[str, Rows], color: str) -> None:
    """DuckDB reads every row with the declared types, and finds all values."""
    import duckdb

    types = {column.name: SQL_TYPES[column.kind] for column in LAYOUTS[color].columns}
    with duckdb.connect() as connection:
        counts = connection.execute(
            f"SELECT count(*), count(COLUMNS(*)) FROM read_csv(?, header = true, columns = {types})",
            [str(months[color])],
        ).fetchone()
    assert counts == (ROWS, *(sum(row[name] != "" for row in trips[color]) for name in types))


@pytest.mark.parametrize("color", METERED)
def test_meter_data_is_missing_together(trips: Mapping[str, Rows], color: str) -> None:
    """Meter data is missing in a share of the rows, always in all of its columns."""
    columns = METER_COLUMNS & set(LAYOUTS[color].names)
    missing = Counter(tuple(not row[name] for name in sorted(columns)) for row in trips[color])
    assert set(missing) == {(True,) * len(columns), (False,) * len(columns)}
    assert missing[(True,) * len(columns)] == UNMETERED[color]


@pytest.mark.parametrize(
    ("color", "name", "least", "most"),
    [
        ("green", "ehail_fee", 1, 1),
        ("fhv", "PUlocationID", 0.7, 0.9),
        ("fhv", "DOlocationID", 0.5, 0.7),
        ("fhv", "SR_Flag", 0.9, 0.99),
        ("fhv", "Affiliated_base_number", 0.001, 0.02),
        ("fhv", "dispatching_base_num", 0, 0),
        ("yellow", "PULocationID", 0, 0),
        ("yellow", "total_amount", 0, 0),
    ],
)
def test_values_are_missing_like_in_real_months(
    trips: Mapping[str, Rows], color: str, name: str, least: float, most: float
) -> None:
    """Columns that are often empty in real months are empty here too. Others are never empty."""
    assert least <= sum(not row[name] for row in trips[color]) / ROWS <= most


@pytest.mark.parametrize("color", METERED)
def test_some_trips_have_zero_passengers(trips: Mapping[str, Rows], color: str) -> None:
    """1% to 2.5% of the rows have 0 passengers, so that both passenger rules have an effect."""
    assert 0.01 < sum(row["passenger_count"] == "0" for row in trips[color]) / ROWS < 0.025


@pytest.mark.parametrize("color", COLORS)
def test_a_few_pickups_are_outside_the_month(trips: Mapping[str, Rows], color: str) -> None:
    """A few pickups are outside the month, some of them by years."""
    strays = [
        pickup for pickup, _ in (clock(row, color) for row in trips[color]) if pickup.strftime("%Y-%m") != "2021-01"
    ]
    assert 0 < len(strays) < ROWS / 500
    assert any(abs(pickup - datetime(2021, 1, 15)) > timedelta(days=3 * 365) for pickup in strays)  # noqa: DTZ001 no zone


@pytest.mark.parametrize("color", COLORS)
def test_trips_end_after_they_start(trips: Mapping[str, Rows], color: str) -> None:
    """No dropoff is before its pickup."""
    assert all(pickup < dropoff for pickup, dropoff in (clock(row, color) for row in trips[color]))


@pytest.mark.parametrize("color", COLORS)
def test_pickups_have_realistic_hours_and_days(trips: Mapping[str, Rows], color: str) -> None:
    """There are trips on every day and at every hour: more by day than before dawn, and fewer on Sundays."""
    pickups = [clock(row, color)[0] for row in trips[color]]
    hours = Counter(pickup.hour for pickup in pickups)
    days = Counter(pickup.date() for pickup in pickups if pickup.strftime("%Y-%m") == "2021-01")
    assert len(hours) == 24
    assert hours[15] > 3 * hours[3]
    assert len(days) == 31
    by_date = {day.day: count for day, count in days.items()}
    assert by_date[10] < by_date[14]  # a Sunday, and a Thursday


@pytest.mark.parametrize("color", METERED)
def test_amounts_add_up(trips: Mapping[str, Rows], color: str) -> None:
    """The total of a metered trip is the sum of its charges. All charges of a refund are negative."""
    metered = [row for row in trips[color] if row["VendorID"]]
    for row in metered:
        assert Decimal(row["total_amount"]) == sum(Decimal(row[name]) for name in (*CHARGES, "congestion_surcharge")), (
            row
        )
    refunds = [row for row in metered if row["fare_amount"].startswith("-")]
    assert 0 < len(refunds) < ROWS / 100
    assert all(Decimal(row[name]) <= 0 for row in refunds for name in CHARGES)


@pytest.mark.parametrize("color", METERED)
def test_distances_have_the_quirks_of_real_ones(trips: Mapping[str, Rows], color: str) -> None:
    """Some distances start with a dot, some are zero, and a few are implausible. The median is one to two miles."""
    texts = [row["trip_distance"] for row in trips[color]]
    distances = sorted(float(text) for text in texts)
    assert any(re.fullmatch(r"\.[1-9]\d", text) for text in texts)
    assert 0 < texts.count(".00") < ROWS / 20
    assert 0 < sum(miles > 1_000 for miles in distances) < ROWS / 500
    assert 1 < distances[ROWS // 2] < 2.5


@pytest.mark.parametrize("color", COLORS)
def test_zones_exist(trips: Mapping[str, Rows], color: str) -> None:
    """Zones are among the 265 of the TLC. Most are used, and none is used by a large share of trips."""
    for name in (name for name in LAYOUTS[color].names if name.lower().endswith("locationid")):
        zones = Counter(int(row[name]) for row in trips[color] if row[name])
        assert set(zones) <= set(range(1, 266))
        assert len(zones) > 200
        assert max(zones.values()) < ROWS / 10


def test_generation_is_deterministic(tmp_path: Path) -> None:
    """The same month, rows and seed produce the same bytes, also across blocks."""
    paths = [tmp_path / "one.csv.gz", tmp_path / "two.csv.gz"]
    for path in paths:
        write_sample(TripMonth("green", "2020-03"), 60_000, path, seed=7)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_other_arguments_produce_other_trips(tmp_path: Path) -> None:
    """Another seed, month or color produces different trips."""
    paths = [
        sample(tmp_path),
        sample(tmp_path, seed=1),
        sample(tmp_path, month="2021-02"),
        sample(tmp_path, color="green"),
        sample(tmp_path, color="fhv"),
    ]
    minutes = [tuple(re.findall(rb" \d\d:(\d\d:\d\d)", gzip.decompress(path.read_bytes()))) for path in paths]
    assert len({each[:100] for each in minutes}) == len(paths)


@pytest.mark.parametrize("color", COLORS)
def test_gzip_accepts_the_file(months: Mapping[str, Path], color: str) -> None:
    """`gzip --test` accepts the file. Its header has no time and no name."""
    subprocess.run(["gzip", "--test", months[color]], check=True)
    flags, time = months[color].read_bytes()[3], months[color].read_bytes()[4:8]
    assert (flags, time) == (0, bytes(4))


def test_large_months_do_not_repeat(tmp_path: Path) -> None:
    """In a month of many blocks, nearly all trips are unique, even without their date and hour."""
    content = gzip.decompress(sample(tmp_path, rows=250_000).read_bytes())
    lines = re.sub(rb"\d{4}-\d\d-\d\d \d\d:", b"", content).splitlines()
    assert len(lines) == 250_001
    assert len(set(lines)) > 0.9 * len(lines)
