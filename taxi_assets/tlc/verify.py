"""What must hold of a file before anybody is given it: its rows and its columns.

Not here: what a month's trips are worth (`quality`).
"""

from pathlib import Path

from taxi_assets.errors import CountMismatch, SchemaMismatch
from taxi_assets.tlc import parquet
from taxi_assets.tlc.schema import Layout
from taxi_assets.tlc.trips import TripMonth


def verify_file(month: TripMonth, path: Path, layout: Layout, rows: int) -> None:
    """Read back the footer of a month's Parquet file. Raises SchemaMismatch, CountMismatch for other `rows`."""
    schema, expected = parquet.read_schema(path), layout.arrow_schema()
    if not schema.equals(expected):
        raise SchemaMismatch(
            f"{month}: the file that was written has other columns than a {month.color} month. Nothing is published. "
            "Please report this as a bug",
            seen=str(schema.remove_metadata()),
            expected=str(expected),
        )
    verify_count(month, "rows in the file that was written", parquet.count_rows(path), rows)


def verify_count(month: TripMonth, what: str, seen: int, expected: int) -> None:
    """Raises CountMismatch where a count of a month, described by `what`, is not the expected one."""
    if seen != expected:
        raise CountMismatch(
            f"{month}: {seen:,} {what}, expected {expected:,}. Nothing is published. Please report this as a bug",
            seen=seen,
            expected=expected,
        )
