"""The SQL of summaries, and the conversion of result rows."""

from datetime import datetime

import pytest

from taxi_assets.stores.summaries import from_row, select_list
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.summary import MonthSummary
from taxi_assets.tlc.trips import COLORS

FHV = LAYOUTS["fhv"]
NOON = datetime.fromisoformat("2020-03-07T12:00:00")


def test_select_list() -> None:
    """The expressions use quoted column names: the row count, first and last pickup, then each column's nulls."""
    expressions = select_list(FHV, lambda name: f"[{name}]").split(", ")
    assert expressions == [
        "count(*)",
        "min([pickup_datetime])",
        "max([pickup_datetime])",
        *(f"count(*) - count([{name}])" for name in FHV.names),
    ]


@pytest.mark.parametrize("color", COLORS)
def test_total_amount(color: str) -> None:
    """Only the colors with a total amount have its sum in the query."""
    assert ("sum(total_amount)" in select_list(LAYOUTS[color], str)) == (color in ("yellow", "green"))


def test_row() -> None:
    """Values of a result row are in the order of the expressions. A row of another length is an error."""
    row = (9, 12.5, NOON, None, *range(len(LAYOUTS["green"].names)))
    nulls = {name: number for number, name in enumerate(LAYOUTS["green"].names)}
    assert from_row(LAYOUTS["green"], row) == MonthSummary(9, 12.5, NOON, None, nulls)
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        from_row(LAYOUTS["green"], row[:-1])
