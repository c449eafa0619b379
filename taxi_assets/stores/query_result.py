"""The result of a query: column names and rows of plain Python values. Every store returns the same class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class QueryResult:
    """A query result that fits in memory."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
