"""Sample months, read with Python's gzip and csv, gzip itself, pyarrow and DuckDB, not with this project's reader."""

import csv
import gzip
import io
import re
import statistics
import subprocess
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from taxi_assets.tlc.clean import CleanLimits, clean_month
from taxi_assets.tlc.eras import CSV_ERAS
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
    "fhvhv": (
        b'"hvfhs_license_num","dispatching_base_num","originating_base_num","request_datetime","on_scene_datetime",'
        b'"pickup_datetime","dropoff_datetime","PULocationID","DOLocationID","trip_miles","trip_time",'
        b'"base_passenger_fare","tolls","bcf","sales_tax","congestion_surcharge","airport_fee","tips","driver_pay",'
        b'"shared_request_flag","shared_match_flag","access_a_ride_flag","wav_request_flag","wav_match_flag"\n'
    ),
}
# The format of values in a file, including quotes.
FORMATS = {
    Kind.integer: r"\d+",
    Kind.decimal: r"-?(0|[1-9]\d*)(\.\d?[1-9])?",
    Kind.text: r'N|Y|"[NY ]"|"B\d{5} *"|"HV\d{4}"',
}
SECOND = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
CLOCKS = {color: SECOND if color in METERED else rf"{SECOND}\.0{{6}}" for color in COLORS}
SQL_TYPES = {Kind.integer: "BIGINT", Kind.decimal: "DOUBLE", Kind.text: "VARCHAR", Kind.timestamp: "TIMESTAMP"}

COLUMNS = {
    color: [column for column in layout.columns if column.name in CSV_ERAS[color].names]
    for color, layout in LAYOUTS.items()
}
"""The columns of the CSVs."""

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
    layout = LAYOUTS[color]
    return datetime.fromisoformat(row[layout.pickup]), datetime.fromisoformat(row[layout.dropoff])


@pytest.mark.parametrize("color", COLORS)
def test_header_and_line_endings_match_the_mirror(months: Mapping[str, Path], color: str) -> None:
    """The header equals that of the mirror, and every line has the same line ending."""
    lines = gzip.decompress(months[color].read_bytes()).splitlines(keepends=True)
    assert lines[0] == HEADERS[color]
    end = b"\r\n" if color in METERED else b"\n"
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
        **{column.name: CLOCKS[color] for column in COLUMNS[color] if column.kind is Kind.timestamp},
    }
    formats = [re.compile(special.get(column.name) or FORMATS[column.kind]) for column in COLUMNS[color]]
    for line in gzip.decompress(months[color].read_bytes()).decode().splitlines()[1:]:
        values = line.split(",")
        for value, format_ in zip(values, formats, strict=True):
            assert not value or format_.fullmatch(value), line


@pytest.mark.parametrize("color", COLORS)
def test_duckdb_reads_all_values(months: Mapping[str, Path], trips: Mapping[str, Rows], color: str) -> None:
    """DuckDB reads every row with the declared types, and finds all values."""
    import duckdb

    types = {column.name: SQL_TYPES[column.kind] for column in COLUMNS[color]}
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
        ("fhvhv", "originating_base_num", 0.2, 0.35),
        ("fhvhv", "on_scene_datetime", 0.2, 0.35),
        ("fhvhv", "hvfhs_license_num", 0, 0),
        ("fhvhv", "PULocationID", 0, 0),
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


def test_requested_trips_are_consistent(trips: Mapping[str, Rows]) -> None:
    """A high-volume trip is requested before the vehicle arrives, and it has a duration, a distance and a fare."""
    for row in trips["fhvhv"]:
        request, pickup, dropoff = (
            datetime.fromisoformat(row[name]) for name in ("request_datetime", "pickup_datetime", "dropoff_datetime")
        )
        arrival = datetime.fromisoformat(row["on_scene_datetime"]) if row["on_scene_datetime"] else pickup
        assert request < arrival <= pickup
        assert int(row["trip_time"]) == (dropoff - pickup).total_seconds()
        assert 0 < float(row["driver_pay"]) < float(row["base_passenger_fare"])
        assert float(row["trip_miles"]) >= 0
    assert {row["access_a_ride_flag"] for row in trips["fhvhv"]} == {"N", " "}


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
        sample(tmp_path, color="fhvhv"),
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


PARQUET_TYPES = {
    Kind.integer: "int64",
    Kind.decimal: "double",
    Kind.text: "large_string",
    Kind.timestamp: "timestamp[us]",
}
INT32 = {"VendorID", "PULocationID", "DOLocationID"}
SINCE_2025 = {"yellow", "green", "fhvhv"}


def _parquet_names(color: str) -> list[str]:
    """Return the names of the columns of the TLC's files from 2022-05 to 2024."""
    names = next(iter(csv.reader([HEADERS[color].decode()])))
    return [*names, "Airport_fee"] if color == "yellow" else names


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("month", ["2024-12", "2025-01", "2026-03"])
def test_parquet_has_the_columns_and_types_of_the_tlc(tmp_path: Path, color: str, month: str) -> None:
    """A Parquet file has the TLC's current names and types. The congestion zone charge is in files since 2025."""
    path = tmp_path / f"{color}_tripdata_{month}.parquet"
    write_sample(TripMonth(color, month), 100, path)
    schema = pq.read_schema(path)
    is_new = month >= "2025" and color in SINCE_2025
    assert schema.names == [*_parquet_names(color), *(["cbd_congestion_fee"] if is_new else [])]
    kinds = {column.name: column.kind for column in LAYOUTS[color].columns}
    for field in schema:
        expected = "int32" if field.name in INT32 else PARQUET_TYPES[kinds[field.name]]
        assert (field.name, str(field.type)) == (field.name, expected)


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("rows", [0, 1, 60_000])
def test_write_the_requested_number_of_rows_as_parquet(tmp_path: Path, color: str, rows: int) -> None:
    """A Parquet file has exactly the requested rows, and the same bytes for the same arguments."""
    paths = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    for path in paths:
        write_sample(TripMonth(color, "2025-01"), rows, path, seed=3)
    assert pq.read_metadata(paths[0]).num_rows == rows
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("month", ["2024-12", "2025-01"])
def test_all_rows_of_a_parquet_sample_are_valid(tmp_path: Path, color: str, month: str) -> None:
    """A Parquet sample is cleaned without rejects. Its rows have plausible times and amounts."""
    raw, clean = tmp_path / "raw.parquet", tmp_path / "clean.parquet"
    write_sample(TripMonth(color, month), 5_000, raw)
    report = clean_month(TripMonth(color, month), raw, clean, tmp_path / "rejected", CleanLimits(rejected=0))
    assert (report.raw_rows, report.rows) == (5_000, 5_000)
    layout = LAYOUTS[color]
    table = pq.read_table(clean)
    pickups, dropoffs = (table.column(name).to_pylist() for name in (layout.pickup, layout.dropoff))
    assert all(pickup < dropoff for pickup, dropoff in zip(pickups, dropoffs, strict=True))
    assert sum(pickup.strftime("%Y-%m") == month for pickup in pickups) > 4_900
    if layout.total:
        assert 5 < statistics.median(filter(None, table.column(layout.total).to_pylist())) < 50
    if color == "fhvhv":
        assert 5 < statistics.median(table.column("base_passenger_fare").to_pylist()) < 50
    if color in SINCE_2025:
        assert (table.column("cbd_congestion_fee").null_count == 0) == (month == "2025-01")
