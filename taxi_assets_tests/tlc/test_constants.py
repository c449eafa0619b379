"""Constants as Arrow values, and the import of pandas that they avoid."""

import subprocess
import sys
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from taxi_assets.tlc.constants import constant, texts
from taxi_assets.tlc.sample import write_sample
from taxi_assets.tlc.trips import TripMonth


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (0, pa.int64()),
        (-(2**63), pa.int64()),
        (2.0**53, pa.float64()),
        (True, pa.bool_()),
        (False, pa.bool_()),
        (date(1, 1, 1), pa.date32()),
        (date(2021, 1, 31), pa.date32()),
        (datetime.fromisoformat("9999-12-31T23:59:59.999999"), pa.timestamp("us")),
        (None, pa.string()),
        (None, pa.int64()),
    ],
)
def test_equal_those_of_pyarrow(value: float | date | None, type_: pa.DataType) -> None:
    """A constant is the scalar that pyarrow makes of the value."""
    assert constant(value, type_).equals(pa.scalar(value, type_))


def test_texts() -> None:
    """Texts are the array that pyarrow makes of them."""
    for values in ([], [""], ["", "N/A", "NULL", "é"]):
        assert texts(values).equals(pa.array(values, pa.string()))


SCRIPT = """
import sys
from pathlib import Path
from taxi_assets.tlc.clean import CleanLimits, clean_month
from taxi_assets.tlc.parquet import read_row_groups, write_row_groups
from taxi_assets.tlc.rules import MissingPassengers, ZeroPassengers, count_passengers
from taxi_assets.tlc.rules import drop_zero_passengers, fill_missing_passengers
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import TripMonth

layout, clean = LAYOUTS["green"], Path("clean")
rows = clean_month(TripMonth("green", "2021-01"), Path(sys.argv[1]), clean, Path("rejected"), CleanLimits()).rows
filled = (fill_missing_passengers(t, layout, MissingPassengers.zero) for t in read_row_groups(clean, layout))
assert write_row_groups(Path("lake"), layout, filled) == rows
kept = sum(drop_zero_passengers(t, layout, ZeroPassengers.drop).num_rows for t in read_row_groups(clean, layout))
assert kept == rows - count_passengers(clean, layout)[1]
print("pandas" in sys.modules, "pyarrow" in sys.modules)
"""


def test_load_a_month_without_pandas(tmp_path: Path) -> None:
    """Steps that load a valid month do not import pandas."""
    raw = tmp_path / "raw.csv.gz"
    write_sample(TripMonth("green", "2021-01"), 500, raw)
    ran = subprocess.run([sys.executable, "-c", SCRIPT, raw], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert ran.stdout.split() == ["False", "True"]
