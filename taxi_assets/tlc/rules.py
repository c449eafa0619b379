"""The two passenger rules of the Data Engineering Zoomcamp course. Each can be turned off.

- In the lake, a missing `passenger_count` becomes 0 (`MissingPassengers`).
- In Postgres, rows with `passenger_count = 0` are dropped; rows where it is missing are kept (`ZeroPassengers`).

Neither rule affects a color that does not report passengers. Not here: which assets apply the rules.
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_assets.tlc.constants import constant
from taxi_assets.tlc.schema import Layout

if TYPE_CHECKING:
    import pyarrow as pa


class MissingPassengers(StrEnum):
    """How to handle a missing `passenger_count` in the lake: set it to 0, or keep it missing."""

    zero = "zero"
    keep = "keep"


class ZeroPassengers(StrEnum):
    """How to handle rows with `passenger_count = 0` in Postgres: drop or keep them."""

    drop = "drop"
    keep = "keep"


def fill_missing_passengers(table: "pa.Table", layout: Layout, rule: MissingPassengers) -> "pa.Table":
    """Return a table with missing passenger counts filled according to the rule."""
    import pyarrow as pa
    from pyarrow import compute

    if layout.passengers is None or rule is MissingPassengers.keep:
        return table
    filled = compute.fill_null(table.column(layout.passengers), constant(0, pa.int64()))
    return table.set_column(table.column_names.index(layout.passengers), layout.passengers, filled)


def drop_zero_passengers(table: "pa.Table", layout: Layout, rule: ZeroPassengers) -> "pa.Table":
    """Return the rows of a table that the rule keeps."""
    import pyarrow as pa
    from pyarrow import compute

    if layout.passengers is None or rule is ZeroPassengers.keep:
        return table
    # A comparison with a missing value returns null, so invert the rows to drop: a missing value then keeps the row.
    zero = compute.equal(table.column(layout.passengers), constant(0, pa.int64()))
    return table.filter(compute.invert(compute.fill_null(zero, constant(value=False, type_=pa.bool_()))))


def count_passengers(path: Path, layout: Layout) -> tuple[int, int]:
    """Count the rows of a Parquet file where `passenger_count` is missing, and those where it is 0."""
    import pyarrow as pa
    from pyarrow import compute
    from pyarrow.parquet import ParquetFile

    missing = zero = 0
    if layout.passengers is not None:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(columns=[layout.passengers]):
                missing += batch.column(0).null_count
                zero += compute.sum(compute.equal(batch.column(0), constant(0, pa.int64()))).as_py() or 0
    return missing, zero
