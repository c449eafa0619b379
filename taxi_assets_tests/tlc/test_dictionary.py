"""The data dictionary: units, and the files in which each column occurs."""

import pytest

from taxi_assets.tlc.dictionary import ColumnEntry, tables
from taxi_assets.tlc.eras import Span
from taxi_assets.tlc.schema import Kind

ENTRIES = {(table.name, entry.column.name): entry for table in tables() for entry in table.columns}


@pytest.mark.parametrize(
    ("table", "column", "spans", "names"),
    [
        (
            "yellow_taxi_trips",
            "PULocationID",
            [Span("CSV", "2016-07", "2021-07"), Span("Parquet", "2011-01")],
            [],
        ),
        (
            "yellow_taxi_trips",
            "pickup_latitude",
            [Span("CSV", "2009-01", "2016-06"), Span("Parquet", "2009-01", "2010-12")],
            [("Start_Lat", "in 2009")],
        ),
        (
            "yellow_taxi_trips",
            "VendorID",
            [Span("CSV", "2009-01", "2021-07"), Span("Parquet", "2009-01")],
            [("vendor_name", "in 2009"), ("vendor_id", "from 2010 to 2014")],
        ),
        (
            "fhv_taxi_trips",
            "SR_Flag",
            [Span("CSV", "2017-07", "2017-12"), Span("CSV", "2019-01", "2021-07"), Span("Parquet", "2015-01")],
            [],
        ),
        ("green_taxi_trips", "cbd_congestion_fee", [Span("Parquet", "2025-01")], []),
        ("green_taxi_trips", "file_month", [], []),
    ],
)
def test_files_of_a_column(table: str, column: str, spans: list[Span], names: list[tuple[str, str]]) -> None:
    """A column has the months of the files that have it, by format, and its names in older files."""
    entry = ENTRIES[table, column]
    assert list(entry.spans) == spans
    assert list(entry.names) == names
    assert entry.first == min((span.first for span in spans), default="")
    assert entry.last == (
        "" if any(not span.last for span in spans) else max((span.last for span in spans), default="")
    )


UNITS = ("US dollars", "miles", "degrees", "seconds", "minutes")


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=[".".join(key) for key in ENTRIES])
def test_units(entry: ColumnEntry) -> None:
    """The unit of a column is that in its meaning, and every number without a unit is an ID, a code or a flag."""
    column = entry.column
    stated = [unit for unit in UNITS if f"in {unit}" in column.meaning]
    assert stated == ([column.unit] if column.unit in UNITS else [])
    if column.kind is Kind.decimal:
        assert column.unit
    if column.kind is Kind.integer and not column.unit:
        assert column.codes or column.name.lower().endswith("id") or column.name in ("zone_id", "SR_Flag")
    assert entry.source
