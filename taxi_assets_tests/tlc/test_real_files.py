"""Real files of the TLC: their headers are recognized, and its Parquet files are cleaned to what DuckDB reads in them.

The files are not part of the project. PARQUET_TRIPS names a folder with Parquet files of the TLC, and TLC_REFERENCE one
with lists of the headers of its CSVs and of the columns of its Parquet files.
"""

import csv
from collections import Counter
from pathlib import Path

import duckdb
import pytest
from pyarrow.parquet import read_metadata, read_schema

from taxi_assets.errors import BadHeader
from taxi_assets.tlc.clean import CleanLimits, clean_month, inspect_raw
from taxi_assets.tlc.parse import LineParser
from taxi_assets.tlc.schema import LAYOUTS, Column, Kind
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.months import folder_of

pytestmark = pytest.mark.real_trips

ROWS = {
    "green_tripdata_2020-04": 35_644,
    "green_tripdata_2021-01": 76_518,
    "green_tripdata_2022-01": 62_495,
    "green_tripdata_2023-01": 68_211,
    "green_tripdata_2023-02": 64_809,
    "green_tripdata_2024-01": 56_551,
    "green_tripdata_2025-01": 48_326,
    "yellow_tripdata_2025-02": 5_000,
}
"""The row counts of the files, as published with them. Yellow 2025-02 is a sample."""

SQL_TYPES = {Kind.integer: "BIGINT", Kind.decimal: "DOUBLE", Kind.text: "VARCHAR", Kind.timestamp: "TIMESTAMP"}


@pytest.fixture(scope="module")
def parquet_files() -> dict[str, Path]:
    """The Parquet files by their month."""
    files = folder_of("PARQUET_TRIPS", "Parquet files of the TLC").glob("*.parquet")
    return {path.stem.removesuffix("_sample5000"): path for path in files}


def _read_table(name: str) -> list[dict[str, str]]:
    """Return the rows of a tab-separated list. Quotes are part of the values."""
    path = folder_of("TLC_REFERENCE", "lists of the columns of all files of the TLC") / name
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _match(color: str, header: str, file_format: str, month: str) -> str:
    """Return the era that a header is recognized as. Its months must include that of the file."""
    era = LAYOUTS[color].match_header(header.split(",")).era
    spans = [span for span in era.spans if span.format == file_format]
    assert any(span.first <= month and (not span.last or month <= span.last) for span in spans), f"{era}: {month}"
    return str(era)


def test_headers_of_all_csvs() -> None:
    """Each header is that of an era of its color in which its rows have their number of fields, or is refused."""
    refused = Counter[str]()
    for row in _read_table("tlc_original_csv_headers_2009-01_2020-06.tsv"):
        color, header = row["colour"], row["header"]
        try:
            era = _match(color, header, "CSV", row["month"])
        except BadHeader as error:
            refused[f"{color} {row['month'][:4]}"] += 1
            assert "two columns for the dispatching base" in str(error)  # noqa: PT017  # many headers
            continue
        assert era.startswith(f"{color} trips ")
        fields = max(int(row["first_row_fields"]), int(row["header_fields"]))
        pickup = LAYOUTS[color].pickup
        names = LAYOUTS[color].match_header(header.split(",")).names
        line = ",".join("2015-01-01 00:00:00" if name == pickup else "" for name in names)
        line += "," * (fields - len(names))
        [(rows, rejects)] = LineParser(LAYOUTS[color], header.encode()).parse(line.encode(), 2)
        assert (rows.num_rows, rejects) == (1, []), row["month"]
    assert refused == {"fhv 2018": 12}


def test_columns_of_all_parquet_files() -> None:
    """The columns of every Parquet file until 2024-05 are those of an era of its color and month."""
    eras = Counter[str]()
    for row in _read_table("tlc_parquet_metadata_2009-2024.tsv"):
        era = _match(row["colour"], row["columns"], "Parquet", f"{row['year']}-{int(row['month']):02}")
        assert era.startswith(f"{row['colour']} trips ")
        eras[row["colour"]] += 1
    assert eras == {"yellow": 185, "green": 125, "fhv": 113, "fhvhv": 64}
    assert sum(eras.values()) == 487


def test_every_parquet_file_is_tested(parquet_files: dict[str, Path]) -> None:
    """The folder contains the files of these tests and no others."""
    assert parquet_files.keys() == ROWS.keys()


def _expression(column: Column, raw_names: dict[str, str]) -> str:
    """Return what a column has according to DuckDB."""
    if column.kind is Kind.date:
        return "DATE '{month}-01'"
    name = raw_names.get(column.name.lower())
    value = f'CAST("{name}" AS {SQL_TYPES[column.kind]})' if name else f"CAST(NULL AS {SQL_TYPES[column.kind]})"
    return f"nullif(trim({value}), '')" if column.codes and column.kind is Kind.text else value


@pytest.mark.parametrize("name", ROWS)
def test_clean_a_real_file(parquet_files: dict[str, Path], tmp_path: Path, name: str) -> None:
    """The clean rows are those that DuckDB reads in the raw file, in all columns, and as many as in its footer."""
    raw, clean = parquet_files[name], tmp_path / "clean.parquet"
    month = TripMonth(*name.split("_tripdata_"))
    assert read_metadata(raw).num_rows == ROWS[name] == inspect_raw(month, raw, raw.name)
    report = clean_month(month, raw, clean, tmp_path / "rejected.parquet", CleanLimits(rejected=0))
    assert (report.raw_rows, report.rows, read_metadata(clean).num_rows) == (ROWS[name],) * 3
    raw_names = {name.lower(): name for name in read_schema(raw).names}
    columns = LAYOUTS[month.color].file_columns
    theirs = ", ".join(_expression(column, raw_names) for column in columns).format(month=month.month)
    raw_rows = f"SELECT {theirs} FROM read_parquet('{raw}')"
    clean_rows = f"SELECT {', '.join(column.name for column in columns)} FROM read_parquet('{clean}')"
    with duckdb.connect() as database:
        for one, other in ((raw_rows, clean_rows), (clean_rows, raw_rows)):
            assert database.execute(f"{one} EXCEPT ALL {other}").fetchall() == []
        for query in (raw_rows, clean_rows):
            assert database.execute(f"SELECT count(*) FROM ({query})").fetchall() == [(ROWS[name],)]
