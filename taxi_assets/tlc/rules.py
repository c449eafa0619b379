"""The course's two rules about passengers, each of which a user may turn off.

- In the lake, a missing passenger_count becomes 0 (`MissingPassengers`).
- In Postgres, a row that reports 0 passengers is dropped; a row where it is missing stays (`ZeroPassengers`).

Neither touches a color that does not report passengers. Not here: which stations apply them.
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_assets.tlc.schema import Layout

if TYPE_CHECKING:
    import pyarrow as pa


class MissingPassengers(StrEnum):
    """What becomes of a missing passenger_count in the lake."""

    zero = "zero"
    keep = "keep"


class ZeroPassengers(StrEnum):
    """What becomes of a row with 0 passengers in Postgres."""

    drop = "drop"
    keep = "keep"


def fill_missing_passengers(table: "pa.Table", layout: Layout, rule: MissingPassengers) -> "pa.Table":
    """The rows of a table, with missing passengers as the rule wants them."""
    from pyarrow import compute

    if layout.passengers is None or rule is MissingPassengers.keep:
        return table
    filled = compute.fill_null(table.column(layout.passengers), 0)
    return table.set_column(table.column_names.index(layout.passengers), layout.passengers, filled)


def drop_zero_passengers(table: "pa.Table", layout: Layout, rule: ZeroPassengers) -> "pa.Table":
    """The rows of a table that the rule keeps."""
    from pyarrow import compute

    if layout.passengers is None or rule is ZeroPassengers.keep:
        return table
    # A comparison with a missing value is neither true nor false: such a row stays.
    keeps = compute.fill_null(compute.not_equal(table.column(layout.passengers), 0), True)  # noqa: FBT003
    return table.filter(keeps)


def count_passengers(path: Path, layout: Layout) -> tuple[int, int]:
    """The rows of a month's file that miss their passenger_count, and those where it is 0."""
    from pyarrow import compute
    from pyarrow.parquet import ParquetFile

    missing = zero = 0
    if layout.passengers is not None:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(columns=[layout.passengers]):
                missing += batch.column(0).null_count
                zero += compute.sum(compute.equal(batch.column(0), 0)).as_py() or 0
    return missing, zero
