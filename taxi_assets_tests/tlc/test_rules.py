"""The two passenger rules, on and off, and the colors that they do not affect."""

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
    """Return rows with these passengers, numbered in the column of dropoff zones. All other values are null."""
    numbers = list(range(len(passengers)))
    columns = {field.name: pa.nulls(len(numbers), field.type) for field in layout.arrow_schema()}
    columns |= {layout.zones[1]: pa.array(numbers)}
    if layout.passengers:
        columns |= {layout.passengers: pa.array(passengers, pa.int64())}
    return pa.table(columns, layout.arrow_schema())


@METERED
def test_fill_missing_passengers(layout: Layout) -> None:
    """Missing counts become 0. Other values, the order and the types stay the same."""
    filled = fill_missing_passengers(_table(layout), layout, MissingPassengers.zero)
    assert filled.equals(_table(layout, [1, 0, 0, 6, 0, 0, 2]))
    assert filled.schema == layout.arrow_schema()


@METERED
def test_drop_zero_passengers(layout: Layout) -> None:
    """Only rows with 0 are dropped. Rows with a missing count and the order stay the same."""
    kept = drop_zero_passengers(_table(layout), layout, ZeroPassengers.drop)
    assert kept.column("passenger_count").to_pylist() == [1, None, 6, None, 2]
    assert kept.column("DOLocationID").to_pylist() == [0, 1, 3, 5, 6]
    assert kept.schema == layout.arrow_schema()


@METERED
@pytest.mark.parametrize("passengers", [[], [0], [None], [0, 0, 0]])
def test_apply_rules_to_tables_of_any_length(layout: Layout, passengers: list[int | None]) -> None:
    """An empty table, one row and a result without rows have the same columns."""
    table = _table(layout, passengers)
    filled = fill_missing_passengers(table, layout, MissingPassengers.zero)
    assert filled.equals(_table(layout, [0] * len(passengers)))
    kept = drop_zero_passengers(table, layout, ZeroPassengers.drop)
    assert kept.equals(_table(layout, [None] * passengers.count(None)).slice(0, kept.num_rows))
    assert kept.num_rows == passengers.count(None)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_keep_all_rows(layout: Layout) -> None:
    """With `keep`, the rules change nothing."""
    table = _table(layout)
    assert fill_missing_passengers(table, layout, MissingPassengers.keep).equals(table)
    assert drop_zero_passengers(table, layout, ZeroPassengers.keep).equals(table)


@pytest.mark.parametrize("layout", [LAYOUTS["fhv"], LAYOUTS["fhvhv"]], ids=["fhv", "fhvhv"])
def test_rules_do_not_affect_for_hire_vehicles(layout: Layout, tmp_path: Path) -> None:
    """A color without passengers keeps its rows and columns, and its counts are 0."""
    table = _table(layout)
    assert fill_missing_passengers(table, layout, MissingPassengers.zero).equals(table)
    assert drop_zero_passengers(table, layout, ZeroPassengers.drop).equals(table)
    write_row_groups(tmp_path / "month", layout, [table])
    assert count_passengers(tmp_path / "month", layout) == (0, 0)


@METERED
def test_count_passengers_in_all_row_groups(tmp_path: Path, layout: Layout) -> None:
    """Missing and zero counts are added up over the whole file."""
    tables = [_table(layout), _table(layout, []), _table(layout, [3] * 70_000), _table(layout, [None, 0, 0, 0])]
    write_row_groups(tmp_path / "month", layout, tables)
    assert count_passengers(tmp_path / "month", layout) == (3, 5)


@METERED
def test_count_passengers_without_rows(tmp_path: Path, layout: Layout) -> None:
    """In a month without rows, both counts are 0."""
    write_row_groups(tmp_path / "month", layout, [])
    assert count_passengers(tmp_path / "month", layout) == (0, 0)


def test_values_of_the_rules() -> None:
    """These are the values in settings and run config."""
    assert [str(rule) for rule in MissingPassengers] == ["zero", "keep"]
    assert [str(rule) for rule in ZeroPassengers] == ["drop", "keep"]
