"""What a store answers to a query: names of columns and rows of plain values. The same for every store."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """A table that fits in memory: what a person asked to see."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
