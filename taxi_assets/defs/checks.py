"""Asset checks that have one status per partition.

`verified` reports what was verified before the month was published. (`warehouse_trips` in BigQuery is the exception:
its rows are counted after the load.) The other checks query the store after the load or inspect the trips.

Not here: the quality rules and their limits (`tlc.quality`), how a store is queried (`stores`), and the check that the
newest month is loaded (`newest`).
"""

from collections.abc import Mapping
from types import MappingProxyType

import dagster as dg

from taxi_assets.errors import CountMismatch, SchemaMismatch, TaxiAssetsError, TooManyRejects
from taxi_assets.graph import asset_key
from taxi_assets.instance._dagster import RawMetadataValue, disable_dagster_warnings
from taxi_assets.tlc.quality import ROWS_LIKE_NEIGHBORS, Verdict, rules_of
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.summary import MonthSummary
from taxi_assets.tlc.trips import TripMonth

VERIFIED = "verified"

NEWEST_MONTH_LOADED = "newest_month_loaded"

NOT_VERIFIED = (CountMismatch, SchemaMismatch, TooManyRejects)
"""The errors that prevent a month from being published because it failed verification."""

_RECONCILED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "lake_trips": ("matches_clean", "The published object has the clean file's rows"),
        "warehouse_trips": ("matches_lake", "The table, asked by the warehouse's own engine, has the object's rows"),
        "postgres_trips": ("matches_clean", "The table, asked by Postgres, has the clean rows that the rule keeps"),
    }
)
"""The name and description of each store's check, by asset. The check queries the store after the load."""

_FIGURES = ", sum of total_amount, first and last pickup and missing values by column."

_VERIFIED: Mapping[str, str] = MappingProxyType(
    {
        "clean_trips": "Before the file was published: raw rows = clean rows + rejected rows, no more rejected rows "
        "than TAXI_REJECT_LIMIT, and the columns that are declared for the color.",
        "lake_trips": "Before the object was published: the clean file's rows, the columns that are declared for the "
        "color, and no missing passenger_count where the rule fills it in.",
        "warehouse_trips": "The table's partition has as many rows as the object. In DuckDB the month is replaced only "
        "then; in BigQuery, whose load jobs load all or nothing, the rows are counted after the load.",
        "postgres_trips": "Before the month was replaced: the partition has the clean rows that the rule keeps.",
    }
)


def check_specs(color: str, asset: str, partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetCheckSpec]:
    """Return the specs of the checks that a color's asset evaluates per month, in the order shown in the UI."""
    key, described = asset_key(color, asset), descriptions(color, asset)
    # Partitioned checks are a preview feature of Dagster. The Dagster version is pinned, so hide the warning.
    with disable_dagster_warnings():
        return [
            dg.AssetCheckSpec(name, asset=key, description=text, blocking=name in _BLOCKING, partitions_def=partitions)
            for name, text in described.items()
        ]


def descriptions(color: str, asset: str) -> dict[str, str]:
    """Return the description of each check of a color's asset, by check name."""
    described = {VERIFIED: _VERIFIED[asset]} if asset in _VERIFIED else {}
    if asset in _RECONCILED:
        name, text = _RECONCILED[asset]
        described[name] = text + (_FIGURES if LAYOUTS[color].total else _FIGURES.replace(" sum of total_amount,", ""))
    if asset == "clean_trips":
        described |= {rule.name: rule.description for rule in rules_of(LAYOUTS[color])}
        described[ROWS_LIKE_NEIGHBORS.name] = ROWS_LIKE_NEIGHBORS.description
    return described


_BLOCKING = frozenset({VERIFIED, *(name for name, _ in _RECONCILED.values())})
"""The checks that block downstream assets when they fail.

The other checks are about the trips as the TLC published them, so they only warn.
"""


def verified(**figures: RawMetadataValue) -> dg.AssetCheckResult:
    """Return a passed `verified` check with the figures that were verified as metadata."""
    return dg.AssetCheckResult(check_name=VERIFIED, passed=True, metadata=figures)


def not_verified(error: TaxiAssetsError) -> dg.AssetCheckResult:
    """Return a failed `verified` check that explains why the month was not published, with the observed figures."""
    return dg.AssetCheckResult(check_name=VERIFIED, passed=False, description=str(error), metadata=error.facts)


def reconciled(month: TripMonth, asset: str, seen: MonthSummary, expected: MonthSummary) -> dg.AssetCheckResult:
    """Return the check result of comparing what a store contains with what was loaded into it.

    If they differ, the metadata has each figure that differs, with both values. Otherwise it has all figures.
    """
    differences, name = seen.differences(expected), _RECONCILED[asset][0]
    shown = {
        figure: f"{_shown(ours)} in the store, expected {_shown(theirs)}"
        for figure, (ours, theirs) in differences.items()
    }
    listed = "; ".join(f"{figure}: {values}" for figure, values in list(shown.items())[:_LISTED])
    why = (
        f"{month}: {asset} does not have what it was given. {listed}. Something else may have changed it in between: "
        f"run {asset} again. The check {name} shows all figures that differ"
    )
    return dg.AssetCheckResult(
        check_name=name,
        passed=not differences,
        description=why if differences else None,
        metadata=shown or {figure: _shown(value) for figure, value in seen.values().items()},
    )


_LISTED = 5
"""The maximum number of figures in a message, because a month has at least one for each column."""


def judged(name: str, verdict: Verdict) -> dg.AssetCheckResult:
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
