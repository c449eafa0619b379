"""Tables that end a command: an answer, a summary, a grid. On a terminal drawn by rich; for machines CSV or JSON."""

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from taxi_assets.console.board import Board, Line, State
from taxi_assets.stores.answers import Answer

if TYPE_CHECKING:
    from rich.table import Table


def print_answer(answer: Answer) -> None:
    """An answer as a table, a missing value as an empty cell, a number to the right."""
    from rich.text import Text

    table = _table()
    for number, name in enumerate(answer.columns):
        numeric = all(isinstance(row[number], (int, float)) or row[number] is None for row in answer.rows)
        table.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
    for row in answer.rows:
        # Text is shown as it is; rich would read a plain string as markup.
        table.add_row(*(Text("" if value is None else str(value)) for value in row))
    _print(table)


def print_csv(answer: Answer) -> None:
    """An answer as CSV with a header."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(answer.columns)
    writer.writerows(answer.rows)


def print_json(answer: Answer) -> None:
    """An answer as a JSON list of objects; what JSON has no type for becomes text."""
    rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    print(json.dumps(rows, default=str, indent=1))  # noqa: T201


def print_summary(board: Board, select: str) -> None:
    """What became of each month: its rows at each station, its seconds, and for each that failed why.

    `select` is what chose the stations, to say how a failed month can be run again.
    """
    table = _table("month", "", *(station.removesuffix("_trips") for station in board.stations), "seconds")
    for line in board.lines.values():
        rows = (f"{line.rows[station]:,}" if station in line.rows else "" for station in board.stations)
        style = "red" if line.state is State.failed else ""
        table.add_row(str(line.month), str(line.state), *rows, f"{line.seconds:.1f}", style=style)
    _print(table)
    for line in board.failed:
        _print_failure(line, f" --select '{select}'" if select else "")


def _print_failure(line: Line, selection: str) -> None:
    from rich.console import Console
    from rich.text import Text

    at = f" at {line.station}" if line.station else ""
    again = f"taxi materialize --color {line.month.color} --months {line.month.month}{selection}"
    Console(soft_wrap=True).print(
        Text(f"{line.month} failed{at}: ", style="bold red"),
        Text(line.error),
        Text(f"\n  again: {again}", style="dim"),
        sep="",
    )


def print_rows(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Lines of text under headings."""
    from rich.text import Text

    table = _table(*headings)
    for row in rows:
        table.add_row(*map(Text, row))
    _print(table)


def print_grid(cells: Mapping[tuple[str, str], str], colors: Sequence[str]) -> None:
    """A line for each month, a column for each color; `cells` by color and month."""
    table = _table("month", *colors)
    for month in sorted({month for _, month in cells}):
        table.add_row(month, *(cells.get((color, month), "") for color in colors))
    _print(table)


_ANY_WIDTH = 100_000


def _table(*headings: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    texts = {"month", "", "station", "where"}
    for heading in headings:
        table.add_column(heading, justify="left" if heading in texts else "right")
    return table


def _print(table: "Table") -> None:
    from rich.console import Console

    # A pipe has no width: what is printed there is as wide as it is.
    Console(width=None if sys.stdout.isatty() else _ANY_WIDTH).print(table)
