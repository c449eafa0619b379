"""Verify the rows and columns of a file before it is published.

Not here: the quality of the trips (`quality`).
"""

from pathlib import Path

from taxi_assets.errors import CountMismatch, SchemaMismatch
from taxi_assets.tlc import parquet
from taxi_assets.tlc.schema import Layout
from taxi_assets.tlc.trips import TripMonth


def verify_file(month: TripMonth, path: Path, layout: Layout, rows: int) -> None:
    """Verify the schema and the row count in the footer of a Parquet file. Raises SchemaMismatch and CountMismatch."""
    schema, expected = parquet.read_schema(path), layout.arrow_schema()
    if not schema.equals(expected):
        raise SchemaMismatch(
            f"The file {path} of {month} does not have the columns and types that are declared for {month.color}.",
            **month.facts,
            path=str(path),
            seen=str(schema.remove_metadata()),
            expected=str(expected),
        )
    verify_count(month, "rows in the written file", parquet.count_rows(path), rows)


def verify_count(month: TripMonth, what: str, seen: int, expected: int) -> None:
    """Raise CountMismatch if a count is not the expected one. `what` describes the count in the message."""
    if seen != expected:
        raise CountMismatch(
            f"{month} has {seen:,} {what}. Expected {expected:,}.",
            **month.facts,
            seen=seen,
            expected=expected,
        )
