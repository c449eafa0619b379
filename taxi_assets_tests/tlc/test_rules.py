"""The two rules about passengers, on and off, and the colors that they leave alone."""

from pathlib import Path

import pyarrow as pa
import pytest

from taxi_assets.tlc.parquet import write_row_groups
from taxi_assets.tlc.rules import (
    MissingPassengers,
    ZeroPassengers,
    count_passengers,
    drop_zero_passengers,
    fill_missing_passengers,
)
from taxi_assets.tlc.schema import LAYOUTS, Layout

PASSENGERS = [1, None, 0, 6, 0, None, 2]
METERED = pytest.mark.parametrize("layout", [LAYOUTS["yellow"], LAYOUTS["green"]], ids=["yellow", "green"])


def _table(layout: Layout, passengers: list[int | None] = PASSENGERS) -> pa.Table:
    """Rows with these passengers, numbered by their DOLocationID; all else is null."""
    numbers = list(range(len(passengers)))
    ids = "DOlocationID" if layout.color == "fhv" else "DOLocationID"
    columns = {field.name: pa.nulls(len(numbers), field.type) for field in layout.arrow_schema()}
    columns |= {ids: pa.array(numbers)}
    if layout.passengers:
        columns |= {layout.passengers: pa.array(passengers, pa.int64())}
    return pa.table(columns, layout.arrow_schema())


@METERED
def test_missing_passengers_become_zero(layout: Layout) -> None:
    """A missing count becomes 0; reported ones, the order and the types stay."""
    filled = fill_missing_passengers(_table(layout), layout, MissingPassengers.zero)
    assert filled.equals(_table(layout, [1, 0, 0, 6, 0, 0, 2]))
    assert filled.schema == layout.arrow_schema()


@METERED
def test_rows_that_report_zero_passengers_are_dropped_and_missing_ones_stay(layout: Layout) -> None:
    """Only a reported 0 drops a row, whole; the others keep their order."""
    kept = drop_zero_passengers(_table(layout), layout, ZeroPassengers.drop)
    assert kept.column("passenger_count").to_pylist() == [1, None, 6, None, 2]
    assert kept.column("DOLocationID").to_pylist() == [0, 1, 3, 5, 6]
    assert kept.schema == layout.arrow_schema()


@METERED
@pytest.mark.parametrize("passengers", [[], [0], [None], [0, 0, 0]])
def test_rules_take_tables_of_any_length(layout: Layout, passengers: list[int | None]) -> None:
    """No row, one row, and no row left are all tables of the same columns."""
    table = _table(layout, passengers)
    filled = fill_missing_passengers(table, layout, MissingPassengers.zero)
    assert filled.equals(_table(layout, [0] * len(passengers)))
    kept = drop_zero_passengers(table, layout, ZeroPassengers.drop)
    assert kept.equals(_table(layout, [None] * passengers.count(None)).slice(0, kept.num_rows))
    assert kept.num_rows == passengers.count(None)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_rules_that_are_off_change_nothing(layout: Layout) -> None:
    """`keep` keeps everything."""
    table = _table(layout)
    assert fill_missing_passengers(table, layout, MissingPassengers.keep).equals(table)
    assert drop_zero_passengers(table, layout, ZeroPassengers.keep).equals(table)


def test_rules_leave_fhv_alone(tmp_path: Path) -> None:
    """A color that reports no passengers loses no row and gains no column, and has none to count."""
    fhv = LAYOUTS["fhv"]
    table = _table(fhv)
    assert fill_missing_passengers(table, fhv, MissingPassengers.zero).equals(table)
    assert drop_zero_passengers(table, fhv, ZeroPassengers.drop).equals(table)
    write_row_groups(tmp_path / "month", fhv, [table])
    assert count_passengers(tmp_path / "month", fhv) == (0, 0)


@METERED
def test_passengers_are_counted_over_the_whole_file(tmp_path: Path, layout: Layout) -> None:
    """Missing and zero passengers are told apart and summed over all that is read of the file at once."""
    tables = [_table(layout), _table(layout, []), _table(layout, [3] * 70_000), _table(layout, [None, 0, 0, 0])]
    write_row_groups(tmp_path / "month", layout, tables)
    assert count_passengers(tmp_path / "month", layout) == (3, 5)


@METERED
def test_no_rows_have_no_passengers(tmp_path: Path, layout: Layout) -> None:
    """A month without rows misses nothing."""
    write_row_groups(tmp_path / "month", layout, [])
    assert count_passengers(tmp_path / "month", layout) == (0, 0)


def test_rules_are_named_as_in_the_settings() -> None:
    """The words that people write in settings and run config are these."""
    assert [str(rule) for rule in MissingPassengers] == ["zero", "keep"]
    assert [str(rule) for rule in ZeroPassengers] == ["drop", "keep"]
