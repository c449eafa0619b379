"""Asset checks that have one status per partition.

`verified` reports what was verified before the month was published. (`warehouse_trips` in BigQuery is the exception:
its rows are counted after the load.) The other checks query the store after the load or inspect the trips.

Not here: the quality rules and their limits (`tlc.quality`), how a store is queried (`stores`), and the check that the
newest month is loaded (`newest`).
"""

from collections.abc import Mapping
from types import MappingProxyType

import dagster as dg

from taxi_assets.errors import CountMismatch, SchemaMismatch, StoreMismatch, TaxiAssetsError, TooManyRejects, WrongMonth
from taxi_assets.graph import ASSETS, VERIFIED
from taxi_assets.instance._dagster import RawMetadataValue, disable_dagster_warnings
from taxi_assets.keys import asset_key
from taxi_assets.tlc.quality import ROWS_LIKE_NEIGHBORS, QualityVerdict, rules_of
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.summary import MonthSummary
from taxi_assets.tlc.trips import TripMonth

NOT_VERIFIED = (CountMismatch, SchemaMismatch, TooManyRejects, WrongMonth)
"""The errors that prevent a month from being published because it failed verification."""

_RECONCILED: Mapping[str, str] = MappingProxyType(
    {
        "lake_trips": "The published object matches the clean file",
        "warehouse_trips": "The month in the table, summarized by the warehouse, matches the object in the lake",
        "postgres_trips": "The month in the table, summarized by Postgres, matches the clean rows that the rule keeps",
    }
)
"""The description of each store's second check, which queries the store after the load, by asset."""

_FIGURES = ": row count, sum of total_amount, first and last pickup, and missing values by column."

_VERIFIED: Mapping[str, str] = MappingProxyType(
    {
        "clean_trips": "Before the file is published: raw rows = clean rows + rejected rows, the share of rejected "
        "rows is at most TAXI_REJECT_LIMIT, the share of pickups outside the month is at most "
        "TAXI_OUTSIDE_MONTH_LIMIT, and the columns are those declared for the color.",
        "lake_trips": "Before the object is published: it has all rows of the clean file, the columns declared for the "
        "color, and no missing passenger_count if the rule replaces it.",
        "warehouse_trips": "The month in the table has as many rows as the object. DuckDB counts them before it "
        "replaces the month; BigQuery, whose load jobs are atomic, after the load.",
        "postgres_trips": "Before the month is replaced: the new partition has the clean rows that the rule keeps.",
    }
)


def check_specs(color: str, asset: str, partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetCheckSpec]:
    """Return the specs of the checks that a color's asset evaluates per month, in the order shown in the UI."""
    key, described = asset_key(color, asset), descriptions(color, asset)
    # Partitioned checks are a preview feature of Dagster. The Dagster version is pinned, so hide the warning.
    with disable_dagster_warnings():
        return [
            dg.AssetCheckSpec(
                name, asset=key, description=text, blocking=name in _BLOCKING[asset], partitions_def=partitions
            )
            for name, text in described.items()
        ]


def descriptions(color: str, asset: str) -> dict[str, str]:
    """Return the description of each check of a color's asset, by check name."""
    described = {name: _describe(color, asset, name) for name in _BLOCKING[asset]}
    if asset == "clean_trips":
        described |= {rule.name: rule.description for rule in rules_of(LAYOUTS[color])}
        described[ROWS_LIKE_NEIGHBORS.name] = ROWS_LIKE_NEIGHBORS.description
    return described


def _describe(color: str, asset: str, check: str) -> str:
    if check == VERIFIED:
        return _VERIFIED[asset]
    figures = _FIGURES if LAYOUTS[color].total else _FIGURES.replace(" sum of total_amount,", "")
    return _RECONCILED[asset] + figures


_BLOCKING: Mapping[str, tuple[str, ...]] = MappingProxyType({asset.name: asset.checks for asset in ASSETS})
"""The checks of each asset that block downstream assets when they fail.

The other checks are about the trips as the TLC published them, so they only warn.
"""


def verified(**figures: RawMetadataValue) -> dg.AssetCheckResult:
    """Return a passed `verified` check with the figures that were verified as metadata."""
    return dg.AssetCheckResult(check_name=VERIFIED, passed=True, metadata=figures)


def not_verified(error: TaxiAssetsError) -> dg.AssetCheckResult:
    """Return a failed `verified` check that explains why the month was not published, with the observed figures."""
    return dg.AssetCheckResult(check_name=VERIFIED, passed=False, description=error.explain(), metadata=error.facts)


def reconciled(month: TripMonth, asset: str, seen: MonthSummary, expected: MonthSummary) -> dg.AssetCheckResult:
    """Return the check result of comparing what a store contains with what was loaded into it.

    If they differ, the metadata has each figure that differs, with both values. Otherwise it has all figures.
    """
    differences, name = seen.differences(expected), _BLOCKING[asset][-1]
    shown = {
        figure: f"{_shown(ours)} in the store, expected {_shown(theirs)}"
        for figure, (ours, theirs) in differences.items()
    }
    listed = "; ".join(f"{figure}: {values}" for figure, values in list(shown.items())[:_LISTED])
    mismatch = StoreMismatch(
        f"{month}: the data in {asset} differs from what was loaded. {listed}.", **month.facts, asset=asset, check=name
    )
    return dg.AssetCheckResult(
        check_name=name,
        passed=not differences,
        description=mismatch.explain() if differences else None,
        metadata=shown or {figure: _shown(value) for figure, value in seen.values().items()},
    )


_LISTED = 5
"""The maximum number of figures in a message, because a month has at least one for each column."""


def judged(name: str, verdict: QualityVerdict) -> dg.AssetCheckResult:
    """Return the result of a quality rule for a month. If the trips exceed the rule's limit, the check only warns."""
    return dg.AssetCheckResult(
        check_name=name,
        passed=verdict.passed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=dict(verdict.figures),
    )


def _shown(value: object) -> int | float | str:
    """Format a figure for the UI, with floats such as sums of money rounded to two decimal places."""
    return round(value, 2) if isinstance(value, float) else value if isinstance(value, int) else str(value)
