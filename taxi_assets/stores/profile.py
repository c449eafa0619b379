"""Counts for the rules of `tlc.quality`, computed by DuckDB from the Parquet file of a clean month.

Here: the SQL for each rule of `quality.RULES`.
Not here: what the counts mean for a month (`tlc.quality`).
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from taxi_assets.errors import DamagedFile, MissingUpstream
from taxi_assets.tlc import quality
from taxi_assets.tlc.quality import Figures, QualityFinding, Rule
from taxi_assets.tlc.schema import ZONES, Column, Layout
from taxi_assets.tlc.trips import TripMonth

if TYPE_CHECKING:
    import duckdb

# Memory does not grow with the month, and nothing is written: an empty temp_directory disables spilling to disk.
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "memory_limit": "192MB",
    "threads": min(4, os.cpu_count() or 1),
    "preserve_insertion_order": False,
    "temp_directory": "",
}

MAX_HASHED_ROWS = 2_000_000
"""Maximum number of rows to check for duplicates, at 8 bytes each. Larger months are sampled to about this size."""

_SHOWN = 5
"""Maximum number of undefined values of a column in a finding, most frequent first."""


@dataclass(frozen=True)
class MonthProfile:
    """The row count of a month, and the finding of each rule of its color, by rule name."""

    rows: int
    findings: Mapping[str, QualityFinding]


def profile_month(
    clean: Path, layout: Layout, month: TripMonth, *, max_hashed_rows: int = MAX_HASHED_ROWS
) -> MonthProfile:
    """Count the rows of the clean file `clean`, and the rows that break each rule of the month's color.

    The file has the columns of `layout`, which is the month's layout. Details of the findings: `codes_in_dictionary`
    has, by column, the most frequent undefined values and the number of rows with undefined values; `pickups_in_month`
    has `earliest_pickup` and `latest_pickup`; `duplicates` has `sample` if it read only some of the rows.

    Raises MissingUpstream if the file does not exist, and DamagedFile if it is damaged or has other columns.
    """
    import duckdb

    try:
        with duckdb.connect(":memory:", config=_CONFIG) as database:
            figures = _figures(layout, month)
            sql = f"SELECT {', '.join(figures.values())} FROM read_parquet(?)"
            [values] = database.execute(sql, [str(clean)]).fetchall()
            result = dict(zip(figures, values, strict=True))
            duplicates = _find_duplicates(database, clean, layout, result["rows"], max_hashed_rows)
    except (duckdb.Error, UnicodeDecodeError) as error:  # the latter if DuckDB's message contains damaged bytes
        facts = {**month.facts, "path": str(clean), "asset": "clean_trips"}
        if not clean.exists():
            raise MissingUpstream(f'The clean file of {month} does not exist: "{clean}".', **facts) from error
        reason = str(error).partition("\n")[0].rstrip(".!")
        raise DamagedFile(
            f'The clean file "{clean}" could not be read: {reason}. Expected a Parquet file with the columns of '
            f"{month.color} months.",
            **facts,
        ) from error
    findings = {
        rule.name: duplicates
        if rule is quality.DUPLICATES
        else QualityFinding(result["rows"], result[rule.name], _details(rule, layout, result))
        for rule in quality.rules_of(layout)
    }
    return MonthProfile(result["rows"], MappingProxyType(findings))


def _find_duplicates(
    database: "duckdb.DuckDBPyConnection", clean: Path, layout: Layout, rows: int, max_hashed_rows: int
) -> QualityFinding:
    """Count the rows that repeat an earlier row of the file in all columns, by comparing 64-bit row hashes.

    In a file with more than `max_hashed_rows` rows, only the rows whose hash falls into one of k buckets are compared.
    Equal rows have the same hash, so the sample contains either all copies of a row or none.
    """
    import numpy as np

    buckets = max(1, ceil(rows / max_hashed_rows))
    columns = ", ".join(f'"{name}"' for name in layout.names)
    sql = f"SELECT hash({columns}) AS row_hash FROM read_parquet(?) WHERE row_hash % {buckets} = 0"
    # Sorting the hashes needs half the memory of DuckDB's count(DISTINCT).
    hashes = np.asarray(database.execute(sql, [str(clean)]).fetchnumpy()["row_hash"])
    hashes.sort()
    repeats = int(np.count_nonzero(hashes[1:] == hashes[:-1]))
    return QualityFinding(len(hashes), repeats, {} if buckets == 1 else {"sample": f"1 in {buckets} rows"})


def _figures(layout: Layout, month: TripMonth) -> dict[str, str]:
    """Return the SQL expressions of a profile by name: the row count, one per rule (with its name), and details."""
    figures = {
        "rows": "count(*)",
        "earliest_pickup": f'min("{layout.pickup}")',
        "latest_pickup": f'max("{layout.pickup}")',
    }
    for rule in quality.rules_of(layout):
        if rule is not quality.DUPLICATES:
            figures[rule.name] = f"count(*) FILTER ({_OFFENDING[rule.name](layout, month)})"
    for column in layout.coded:
        undefined = _undefined(column)
        figures[f"{column.name} rows"] = f"count(*) FILTER ({undefined})"
        # The list has a bounded size, regardless of the values in the column.
        figures[f"{column.name} values"] = f'approx_top_k("{column.name}", {_SHOWN}) FILTER ({undefined})'
    return figures


def _unknown_zones(layout: Layout, _: TripMonth) -> str:
    return " OR ".join(f'"{name}" NOT BETWEEN {ZONES[0]} AND {ZONES[-1]}' for name in layout.zones)


def _undefined_codes(layout: Layout, _: TripMonth) -> str:
    return " OR ".join(_undefined(column) for column in layout.coded)


def _undefined(column: Column) -> str:
    codes = ", ".join(f"'{code}'" if isinstance(code, str) else str(code) for code in column.codes)
    return f'"{column.name}" NOT IN ({codes})'


def _early_dropoffs(layout: Layout, _: TripMonth) -> str:
    return f'"{layout.dropoff}" < "{layout.pickup}"'


def _negative_totals(layout: Layout, _: TripMonth) -> str:
    return f'"{layout.total}" < 0'


def _pickups_outside_month(layout: Layout, month: TripMonth) -> str:
    return f"\"{layout.pickup}\" < DATE '{month.first_day}' OR \"{layout.pickup}\" >= DATE '{month.end}'"


# A row breaks a rule if the rule's condition is true. If a value is null, so is the condition: the row passes the rule.
_OFFENDING: Mapping[str, Callable[[Layout, TripMonth], str]] = MappingProxyType(
    {
        quality.ZONES_KNOWN.name: _unknown_zones,
        quality.CODES_IN_DICTIONARY.name: _undefined_codes,
        quality.DROPOFF_NOT_BEFORE_PICKUP.name: _early_dropoffs,
        quality.NEGATIVE_MONEY.name: _negative_totals,
        quality.PICKUPS_IN_MONTH.name: _pickups_outside_month,
    }
)


def _details(rule: Rule, layout: Layout, result: Mapping[str, Any]) -> Figures:
    if rule is quality.CODES_IN_DICTIONARY:
        counted = {column.name: result[f"{column.name} rows"] for column in layout.coded}
        return {
            name: f"{', '.join(map(str, result[f'{name} values']))} ({rows} row{'' if rows == 1 else 's'})"
            for name, rows in counted.items()
            if rows
        }
    if rule is quality.PICKUPS_IN_MONTH:
        return {name: str(result[name]) for name in ("earliest_pickup", "latest_pickup") if result[name] is not None}
    return {}
