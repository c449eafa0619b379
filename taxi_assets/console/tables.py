"""Tables that end a command: an answer, a summary. On a terminal drawn by rich; for machines CSV or JSON."""

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from taxi_assets.console.board import Board, Line, State
from taxi_assets.stores.answers import Answer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def print_answer(answer: Answer) -> None:
    """An answer as a table, a missing value as an empty cell, a number to the right."""
    from rich.text import Text

    table = plain_table()
    for number, name in enumerate(answer.columns):
        numeric = all(isinstance(row[number], (int, float)) or row[number] is None for row in answer.rows)
        table.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
    for row in answer.rows:
        # Text is shown as it is; rich would read a plain string as markup.
        table.add_row(*(Text("" if value is None else str(value)) for value in row))
    open_console().print(table)


def print_csv(answer: Answer) -> None:
    """An answer as CSV with a header."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(answer.columns)
    writer.writerows(answer.rows)


def print_json(answer: Answer) -> None:
    """An answer as a JSON list of objects; what JSON has no type for becomes text."""
    rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    print(json.dumps(rows, default=str, indent=1))  # noqa: T201


_FAILURES_TOLD = 10
"""Failed months whose reason a summary tells: a fault that all months share would else fill many screens."""


def print_summary(board: Board, again: Sequence[str], *, traces: bool = False) -> None:
    """What became of each month: its rows at each station, its seconds, and for each that failed why.

    `again` are the commands that run what failed again; `traces` adds the whole stack of each failure. What matters is
    last, where many months would else move it off the screen.
    """
    console = open_console()
    table = plain_table("month", "", *(station.removesuffix("_trips") for station in board.stations), "seconds")
    for line in board.lines.values():
        rows = (f"{line.rows[station]:,}" if station in line.rows else "" for station in board.stations)
        seconds = f"{line.seconds:.1f}" if line.seconds else ""
        style = "red" if line.state is State.failed else ""
        table.add_row(str(line.month), str(line.state), *rows, seconds, style=style)
    if console.measure(table, options=console.options.update(width=_ANY_WIDTH)).maximum > console.width:
        table.padding = (0, 0)
    console.print(table)
    for line in board.failed[:_FAILURES_TOLD]:
        _print_failure(console, line, traces=traces)
    if (more := len(board.failed) - _FAILURES_TOLD) > 0:
        console.print(f"and {more} more failed: taxi status --json tells why")
    print_tally(console, len(board.lines), board.tally(), f", in {board.elapsed:.1f} s")
    if board.failed:
        console.print("Run again what failed:")
        for command in again:
            console.print(f"  {command}", soft_wrap=True, markup=False)


def _print_failure(console: "Console", line: Line, *, traces: bool) -> None:
    from rich.padding import Padding
    from rich.text import Text

    at = f" at {line.station}" if line.station else ""
    console.print(Text(f"{line.month} failed{at}:", style="bold red"))
    # A screen wraps the text under its month.
    console.print(Padding(Text(line.error.strip()), (0, 0, 0, 2), expand=False))
    if traces and line.trace:
        console.print(Text(line.trace.rstrip(), style="dim"), soft_wrap=True)


def print_tally(console: "Console", months: int, counts: Mapping[str, int], more: str = "") -> None:
    """How many months there are, and how many of them stand how."""
    said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    console.print(f"{months} {'month' if months == 1 else 'months'}: {said}{more}")


def print_rows(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Lines of text under headings."""
    from rich.text import Text

    table = plain_table(*headings)
    for row in rows:
        table.add_row(*map(Text, row))
    open_console().print(table)


_ANY_WIDTH = 100_000

_WORDS = frozenset({"month", "", "station", "where"})
"""Headings of columns with words; in the others are numbers, which no screen is narrow enough to break."""


def plain_table(*headings: str, footer: bool = False) -> "Table":
    """A table without a frame; what is under each heading goes to the right, unless it is words."""
    from rich.box import SIMPLE, SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE if footer else SIMPLE_HEAD, show_edge=False, pad_edge=False, show_footer=footer)
    for heading in headings:
        words = heading in _WORDS
        table.add_column(heading, justify="left" if words else "right", no_wrap=not words, overflow="fold")
    return table


def open_console() -> "Console":
    """What prints for people: in color on a terminal, as wide as need be in a pipe, which has no width."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _ANY_WIDTH, highlight=False)
