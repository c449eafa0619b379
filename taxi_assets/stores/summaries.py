"""SQL for the summary of a month: the select list of an aggregate query, and its result row as a `MonthSummary`.

Not here: table names, parameters and errors, which each store handles.
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
    """Return the SQL expressions of a summary, in the order of `figures`. `quote` quotes a canonical column name."""
    return ", ".join(_SQL[figure.aggregate].format(quote(figure.column)) for figure in figures(layout))


def from_row(layout: Layout, row: Sequence[Any]) -> MonthSummary:
    """Return the summary for the result row of a `select_list` query. Raises ValueError if its length is wrong."""
    return from_values(layout, {figure.name: value for figure, value in zip(figures(layout), row, strict=True)})
