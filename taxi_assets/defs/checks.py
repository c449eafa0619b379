"""Asset checks: what must be true of every partition, and what is only worth a look.

The stations evaluate them, on counts that were read back from what was written or asked of the store.
"""

from collections.abc import Mapping

import dagster as dg
from dagster._core.definitions.metadata import RawMetadataValue

CHECKS: Mapping[str, Mapping[str, str]] = {
    "clean_trips": {
        "rows_add_up": "Raw rows = clean rows + rejected rows.",
        "schema_as_declared": "The file has the columns and types that are declared for its color.",
        "rejected_share": "No more rows are rejected than TAXI_REJECT_LIMIT allows.",
        "pickups_in_month": "Every pickup is in the file's month. The TLC's files hold a few that are not.",
    },
    "lake_trips": {
        "rows_as_clean": "The object has as many rows as the clean file.",
        "schema_as_declared": "The object has the columns and types that are declared for its color.",
        "no_missing_passengers": "No passenger_count is missing, if the rule fills it in.",
    },
    "warehouse_trips": {
        "rows_as_lake": "The table's partition has as many rows as the object.",
    },
    "postgres_trips": {
        "rows_as_clean": "The table's partition has the clean rows less those that the rule drops.",
    },
}
"""What each check of each asset says."""

WARNINGS = frozenset({"pickups_in_month"})
"""Checks of the data as published: failing, they tell, and stop nothing."""


def check_specs(asset: str) -> list[dg.AssetCheckSpec]:
    """The checks of an asset. One that fails keeps the stations after it from running, unless it only warns."""
    return [
        dg.AssetCheckSpec(name, asset=asset, description=says, blocking=name not in WARNINGS)
        for name, says in CHECKS.get(asset, {}).items()
    ]


def checked(name: str, *, passed: bool, **metadata: RawMetadataValue) -> dg.AssetCheckResult:
    """The result of a check, with the figures that it looked at."""
    severity = dg.AssetCheckSeverity.WARN if name in WARNINGS else dg.AssetCheckSeverity.ERROR
    return dg.AssetCheckResult(check_name=name, passed=passed, severity=severity, metadata=metadata)


def equal(name: str, seen: int, expected: int) -> dg.AssetCheckResult:
    """The result of a check that two counts agree."""
    return checked(name, passed=seen == expected, seen=seen, expected=expected)
