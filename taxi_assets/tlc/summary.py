"""What a store holds of a month, in figures that can be compared between stores.

`figures` declares the figures and their order. Parquet files are summarized in `parquet`, and the SQL for tables is
built in `stores.summaries`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias

from taxi_assets.tlc.schema import Layout

Value: TypeAlias = int | float | datetime | None

_TOTAL = "total_amount"
_NULLS = "nulls."

_CENT = 0.01
_RELATIVE = 1e-9


class Aggregate(StrEnum):
    """How a figure is computed: as a count of rows, or as the sum, lowest, highest or missing values of a column."""

    rows = "rows"
    total = "total"
    first = "first"
    last = "last"
    nulls = "nulls"


@dataclass(frozen=True)
class Figure:
    """A figure of a summary: its name, how it is computed, and the column it is computed from, empty for `rows`."""

    name: str
    aggregate: Aggregate
    column: str = ""


def figures(layout: Layout) -> tuple[Figure, ...]:
    """The figures of a month with these columns, in the order in which stores return them."""
    return (
        Figure("rows", Aggregate.rows),
        *([Figure(_TOTAL, Aggregate.total, layout.total)] if layout.total else []),
        Figure("first_pickup", Aggregate.first, layout.pickup),
        Figure("last_pickup", Aggregate.last, layout.pickup),
        *(Figure(f"{_NULLS}{name}", Aggregate.nulls, name) for name in layout.names),
    )


@dataclass(frozen=True)
class MonthSummary:
    """The figures of a month in one store.

    `total_amount` is the sum of the column `Layout.total` in US dollars: None for a color without one, 0 for no rows.
    `first_pickup` and `last_pickup` are New York wall-clock times, None where no row has one. `nulls` is the number of
    missing values by canonical column name, `file_month` excluded.
    """

    rows: int
    total_amount: float | None
    first_pickup: datetime | None
    last_pickup: datetime | None
    nulls: Mapping[str, int]

    def values(self) -> dict[str, Value]:
        """Each figure by its name, as `figures` declares them."""
        return {
            "rows": self.rows,
            **({} if self.total_amount is None else {_TOTAL: self.total_amount}),
            "first_pickup": self.first_pickup,
            "last_pickup": self.last_pickup,
            **{f"{_NULLS}{name}": nulls for name, nulls in self.nulls.items()},
        }

    def differences(self, other: "MonthSummary") -> dict[str, tuple[Value, Value]]:
        """The figures that differ, by name: the value here, then the value in `other`.

        Sums of money are equal within a cent, or a billionth for large sums: engines add doubles in different orders.
        A figure that one side does not have is None there.
        """
        ours, theirs = self.values(), other.values()
        pairs = {name: (ours.get(name), theirs.get(name)) for name in {**ours, **theirs}}
        return {name: pair for name, pair in pairs.items() if not _agree(name, *pair)}


def from_values(layout: Layout, values: Mapping[str, Any]) -> MonthSummary:
    """A summary from a value for each of `figures(layout)`, by name.

    The sum of no values, null in SQL, is 0. Raises KeyError for a figure without a value.
    """
    return MonthSummary(
        rows=int(values["rows"]),
        total_amount=float(values[_TOTAL] or 0) if layout.total else None,
        first_pickup=values["first_pickup"],
        last_pickup=values["last_pickup"],
        nulls={name: int(values[f"{_NULLS}{name}"]) for name in layout.names},
    )


def no_rows(layout: Layout) -> MonthSummary:
    """The summary of a month that was never loaded."""
    return MonthSummary(0, 0.0 if layout.total else None, None, None, dict.fromkeys(layout.names, 0))


def _agree(name: str, one: Value, other: Value) -> bool:
    if name != _TOTAL or not isinstance(one, float) or not isinstance(other, float):
        return one == other
    return math.isclose(one, other, rel_tol=_RELATIVE, abs_tol=_CENT) or (math.isnan(one) and math.isnan(other))
