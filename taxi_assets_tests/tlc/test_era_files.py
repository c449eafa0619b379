"""Files of every period are cleaned to the values that an independent reader finds in them.

CSVs are read with Python's csv module, and Parquet files with DuckDB.
"""

import csv
import io
import math
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pyarrow.parquet import read_schema

from taxi_assets.errors import BadHeader
from taxi_assets.tlc import clean, published
from taxi_assets.tlc.clean import CleanLimits, CleanReport, clean_month, inspect_raw
from taxi_assets.tlc.raw import read_blocks
from taxi_assets.tlc.schema import LAYOUTS, Kind
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.tlc.era_files import CSVS, PARQUETS, ROWS, EraFile, write_csv, write_parquet

VENDORS = {"cmt": 1, "vts": 2}
PAYMENTS = {
    **dict.fromkeys(("credit", "cre", "crd"), 1),
    **dict.fromkeys(("cash", "cas", "csh"), 2),
    **dict.fromkeys(("no charge", "no", "noc"), 3),
    **dict.fromkeys(("dispute", "dis"), 4),
    **dict.fromkeys(("unknown", "unk"), 5),
}
FLAGS = {"0": "N", "1": "Y", "0.0": "N", "1.0": "Y"}
"""The codes of the TLC's data dictionaries for the text and the numbers that files until 2014 have."""

SQL_TYPES = {Kind.integer: "BIGINT", Kind.decimal: "DOUBLE", Kind.text: "VARCHAR", Kind.timestamp: "TIMESTAMP"}


def _clean(era: EraFile, raw: Path) -> CleanReport:
    """Clean a raw file, whose rows must all be valid, to `clean.parquet` beside it."""
    assert inspect_raw(era.trip_month, raw, raw.name) == ROWS
    limits = CleanLimits(rejected=0, outside=1)
    report = clean_month(era.trip_month, raw, _beside(raw), raw.with_name("rejected.parquet"), limits)
    assert (report.raw_rows, report.rows, report.rejected_rows) == (ROWS, ROWS, 0)
    assert read_schema(_beside(raw)).equals(LAYOUTS[era.color].arrow_schema())
    return report


def _beside(raw: Path) -> Path:
    return raw.with_name("clean.parquet")


def _select(expressions: Sequence[str], path: Path) -> dict[str, list[Any]]:
    """Return columns of a Parquet file as DuckDB reads them."""
    with duckdb.connect() as database:
        found = database.execute(
            f"SELECT {', '.join(expressions)} FROM read_parquet(?) ORDER BY file_row_number", [str(path)]
        )
        names = [column[0] for column in found.description or ()]
        return dict(zip(names, map(list, zip(*found.fetchall(), strict=True)), strict=True))


def _require_equal(theirs: dict[str, list[Any]], era: EraFile, raw: Path, report: CleanReport) -> None:
    """Compare the clean file with columns from another reader. All other columns of the color are missing."""
    layout = LAYOUTS[era.color]
    ours = _select([f'"{name}"' for name in (*layout.names, "file_month")], _beside(raw))
    assert list(ours) == [*layout.names, "file_month"]
    assert set(ours.pop("file_month")) == {era.trip_month.first_day}
    expected = {name: theirs.get(name, [None] * ROWS) for name in layout.names}
    for name in layout.names:
        assert ours[name] == expected[name], name
    assert dict(report.nulls) == {name: values.count(None) for name, values in expected.items()}


def _parse(era: EraFile, column: str) -> Callable[[str], Any]:
    """Return the function that converts text in a CSV to the value of a column."""
    declared = next(each for each in LAYOUTS[era.color].columns if each.name == column)
    if column == "payment_type" and era.has_text_codes:
        return lambda text: PAYMENTS.get(text.strip().lower()) or int(text)
    if column.endswith("_flag") and declared.kind is Kind.text:
        return lambda text: FLAGS.get(text, text) if era.has_text_codes else text
    if declared.is_license:
        return lambda text: text.strip().upper()
    parsers: dict[Kind, Callable[[str], Any]] = {
        Kind.integer: lambda text: int(float(text)),
        Kind.decimal: float,
        Kind.text: str,
        Kind.timestamp: datetime.fromisoformat,
    }
    return parsers[declared.kind]


@pytest.mark.parametrize("era", CSVS, ids=str)
@pytest.mark.parametrize("block_bytes", [1_000, 1 << 20])
def test_clean_a_csv_of_each_period(
    era: EraFile, block_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every column has the values that Python's csv module finds in the columns of the period."""
    monkeypatch.setattr(clean, "read_blocks", partial(read_blocks, block_bytes=block_bytes))
    raw = tmp_path / f"{era.trip_month.stem}.csv"
    write_csv(era, raw)
    header, *rows = (fields for fields in csv.reader(io.StringIO(raw.read_text(), newline="")) if fields)
    assert {len(fields) for fields in rows} == {len(header) + era.padding}
    at = {name: number for number, name in enumerate(header)}
    theirs = {
        column: [_parse(era, column)(text) if (text := fields[at[name]]).strip() else None for fields in rows]
        for column, name in era.raw_names.items()
    }
    if era.has_text_codes:
        theirs["VendorID"] = [VENDORS.get((name or "").lower()) for name in theirs["vendor_name"]]
    _require_equal(theirs, era, raw, _clean(era, raw))


def _sql(era: EraFile, column: str, name: str) -> str:
    """Return the SQL expression for a column of the color, from a column of the file."""
    declared = next(each for each in LAYOUTS[era.color].columns if each.name == column)
    text = f'CAST("{name}" AS VARCHAR)'
    if column == "payment_type" and era.has_text_codes:
        codes = " ".join(f"WHEN '{word}' THEN {code}" for word, code in PAYMENTS.items())
        return f"CASE lower(trim({text})) {codes} ELSE TRY_CAST({text} AS BIGINT) END AS {column}"
    if column.endswith("_flag") and declared.kind is Kind.text:
        codes = " ".join(f"WHEN '{word}' THEN '{code}'" for word, code in FLAGS.items() if era.has_text_codes)
        return f"CASE trim({text}) {codes} WHEN '' THEN NULL WHEN 'nan' THEN NULL ELSE {text} END AS {column}"
    if declared.is_license:
        return f"nullif(upper(trim({text})), '') AS {column}"
    if declared.kind in (Kind.integer, Kind.decimal):
        number = f'CAST("{name}" AS DOUBLE)'
        return f"CASE WHEN NOT isnan({number}) THEN CAST({number} AS {SQL_TYPES[declared.kind]}) END AS {column}"
    return f'CAST("{name}" AS {SQL_TYPES[declared.kind]}) AS {column}'


@pytest.mark.parametrize("era", PARQUETS, ids=str)
@pytest.mark.parametrize("batch_rows", [7, 1 << 17])
def test_clean_a_parquet_file_of_each_period(
    era: EraFile, batch_rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every column has the values that DuckDB finds in the columns of the period."""
    monkeypatch.setattr(published, "BATCH_ROWS", batch_rows)
    raw = tmp_path / f"{era.trip_month.stem}.parquet"
    write_parquet(era, raw)
    expressions = [_sql(era, column, name) for column, name in era.raw_names.items()]
    if era.has_text_codes:
        codes = " ".join(f"WHEN '{word}' THEN {code}" for word, code in VENDORS.items())
        expressions.append(f'CASE lower("{era.raw_names["vendor_name"]}") {codes} END AS VendorID')
    _require_equal(_select(expressions, raw), era, raw, _clean(era, raw))


def test_generated_files_have_what_the_tests_are_about(tmp_path: Path) -> None:
    """Some generated values are missing, NaN, in the year 3019, blank flags and vendors without a code."""
    for era in PARQUETS:
        write_parquet(era, tmp_path / f"{era.trip_month.stem}.parquet")
    yellow, fhv = tmp_path / "yellow_tripdata_2009-01.parquet", tmp_path / "fhv_tripdata_2019-02.parquet"
    columns = _select(["vendor_name", "store_and_forward", "Fare_Amt"], yellow)
    assert {"DDS", None} < set(columns["vendor_name"])
    assert any(value is not None and math.isnan(value) for value in columns["Fare_Amt"])
    assert {0.0, 1.0, None} < set(columns["store_and_forward"])
    assert max(filter(None, _select(["dropOff_datetime"], fhv)["dropOff_datetime"])).year == 3019
    flags = _select(["access_a_ride_flag"], tmp_path / "fhvhv_tripdata_2019-02.parquet")["access_a_ride_flag"]
    assert set(flags) == {"N", "Y", " ", None}


def test_refuse_a_csv_of_2018(tmp_path: Path) -> None:
    """CSVs of fhv trips in 2018 have two columns for the dispatching base, so the error says why they do not load."""
    raw, month = tmp_path / "fhv_tripdata_2018-01.csv", TripMonth("fhv", "2018-01")
    header = (
        '"Pickup_DateTime","DropOff_datetime","PUlocationID","DOlocationID","SR_Flag","Dispatching_base_number",'
        '"Dispatching_base_num"'
    )
    raw.write_text(f'{header}\r\n"2018-01-01 00:09:13","2018-01-01 00:23:04","48","230","","B02395","B00001"\r\n')
    for action in (
        lambda: inspect_raw(month, raw, raw.name),
        lambda: clean_month(month, raw, tmp_path / "clean", tmp_path / "rejected", CleanLimits()),
    ):
        with pytest.raises(BadHeader, match="two columns for the dispatching base") as error:
            action()
        assert error.value.facts["era"] == "fhv trips in 2018"
    assert not (tmp_path / "clean").exists()
