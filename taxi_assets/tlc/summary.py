"""Summary figures of a month, which can be compared between stores.

`figures` declares the figures and their order. Not here: the summary of a Parquet file (`parquet`), and the SQL that
summarizes a table (`stores.summaries`).
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
    """How to compute a figure: a row count, or the sum, minimum, maximum or null count of a column."""

    rows = "rows"
    total = "total"
    first = "first"
    last = "last"
    nulls = "nulls"


@dataclass(frozen=True)
class Figure:
    """A figure of a summary: its name, aggregate and column. The column is empty for `rows`."""

    name: str
    aggregate: Aggregate
    column: str = ""


def figures(layout: Layout) -> tuple[Figure, ...]:
    """The figures for a layout, in the order in which stores return them."""
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

    `total_amount` is the sum of the column `Layout.total` in US dollars: None for a color without that column, and 0
    without rows. `first_pickup` and `last_pickup` are local times in New York without a time zone, or None if no row
    has a pickup time. `nulls` maps canonical column names, except `file_month`, to the number of missing values.
    """

    rows: int
    total_amount: float | None
    first_pickup: datetime | None
    last_pickup: datetime | None
    nulls: Mapping[str, int]

    def values(self) -> dict[str, Value]:
        """The figures by name, as declared by `figures`."""
        return {
            "rows": self.rows,
            **({} if self.total_amount is None else {_TOTAL: self.total_amount}),
            "first_pickup": self.first_pickup,
            "last_pickup": self.last_pickup,
            **{f"{_NULLS}{name}": nulls for name, nulls in self.nulls.items()},
        }

    def differences(self, other: "MonthSummary") -> dict[str, tuple[Value, Value]]:
        """The figures that differ, by name, each as a pair of the value here and the value in `other`.

        Totals are equal within one cent, or within a relative tolerance of 1e-9 for large totals, because engines add
        doubles in different orders. A figure that one side does not have is None on that side.
        """
        ours, theirs = self.values(), other.values()
        pairs = {name: (ours.get(name), theirs.get(name)) for name in {**ours, **theirs}}
        return {name: pair for name, pair in pairs.items() if not _agree(name, *pair)}


def from_values(layout: Layout, values: Mapping[str, Any]) -> MonthSummary:
    """Create a summary from the values of `figures(layout)`, by name.

    A null sum, which SQL returns for no values, becomes 0. Raises KeyError if a figure is missing.
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
