"""Summaries of a month in SQL: the select list of one aggregate query, and its result row as a `MonthSummary`.

Table names, parameters and errors belong to each store.
"""

from collections.abc import Callable, Sequence
from typing import Any

from taxi_assets.tlc.schema import Layout
from taxi_assets.tlc.summary import Aggregate, MonthSummary, figures, from_values

_SQL = {
    Aggregate.rows: "count(*)",
    Aggregate.total: "sum({})",
    Aggregate.first: "min({})",
    Aggregate.last: "max({})",
    Aggregate.nulls: "count(*) - count({})",
}


def select_list(layout: Layout, quote: Callable[[str], str]) -> str:
    """The expressions of a summary, in the order of `figures`. `quote` writes a canonical column name in SQL."""
    return ", ".join(_SQL[figure.aggregate].format(quote(figure.column)) for figure in figures(layout))


def from_row(layout: Layout, row: Sequence[Any]) -> MonthSummary:
    """The summary in the result row of a query for `select_list`. Raises ValueError for a row of another length."""
    return from_values(layout, {figure.name: value for figure, value in zip(figures(layout), row, strict=True)})
