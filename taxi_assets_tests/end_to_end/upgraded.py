"""What an earlier release and this one load in the tests of upgrades, and what `taxi` then shows of it."""

import json
from collections.abc import Callable
from typing import Any

from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests import first_release

MARCH, APRIL, MAY = (TripMonth("green", f"2020-{month:02d}") for month in (3, 4, 5))
FHV = TripMonth("fhv", "2020-03")
OLD = (MARCH, APRIL, FHV)
"""The months that the earlier release loads. MAY is loaded by this release."""

FIRST = TripMonth("green", "2019-01")
"""The first partition. It is not loaded, but `taxi doctor` looks for it at the source."""

ROWS = 800

STORES: tuple[tuple[str, ...], ...] = ((), ("--postgres",))
"""The options of `taxi query` for the warehouse and for Postgres."""

Taxi = Callable[..., str]
"""Runs `taxi` with some words, and returns what it prints."""


def statuses(taxi: Taxi) -> dict[TripMonth, dict[str, Any]]:
    """The status of each month, as `taxi status --json` prints it."""
    return {TripMonth(each["color"], each["month"]): each for each in json.loads(taxi("status", "--json"))}


def rows(taxi: Taxi) -> dict[tuple[str, ...], list[str]]:
    """The rows of each color in each store, with the columns that 0.1.0 had. The keys are the color and the option."""
    found = {}
    for color in ("green", "fhv"):
        sql = f"SELECT {', '.join(first_release.COLUMNS[color])} FROM {color}_taxi_trips"
        for flags in STORES:
            found[(color, *flags)] = sorted(taxi("query", "--csv", *flags, sql).splitlines()[1:])
    return found


def old_rows(found: dict[tuple[str, ...], list[str]]) -> dict[tuple[str, ...], list[str]]:
    """The rows without those of MAY."""
    return {store: [row for row in lines if not row.endswith(f",{MAY.first_day}")] for store, lines in found.items()}
