"""Tables that commands print at the end, such as query results and summaries: rich tables, CSV or JSON."""

import csv
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from taxi_assets.cli.board import Board, Line, State
from taxi_assets.errors import printable
from taxi_assets.stores.query_result import QueryResult

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def print_result(result: QueryResult) -> None:
    """Print a query result as a table, with nulls as empty cells and numbers aligned right."""
    from rich.text import Text

    table = plain_table()
    for number, name in enumerate(result.columns):
        numeric = all(isinstance(row[number], (int, float)) or row[number] is None for row in result.rows)
        table.add_column(Text(printable(name)), justify="right" if numeric else "left", overflow="fold")
    for row in result.rows:
        # Wrap values in Text, because rich interprets plain strings as markup.
        table.add_row(*(Text("" if value is None else printable(str(value))) for value in row))
    open_console().print(table)


def print_csv(result: QueryResult) -> None:
    """Print a query result as CSV with a header, with all characters of the values."""
    writer = csv.writer(_Lines(), lineterminator="\r\n")
    writer.writerow(result.columns)
    writer.writerows(result.rows)


class _Lines:
    """Standard output for a CSV writer, which quotes a carriage return in a value only if its lines end with one."""

    def write(self, line: str) -> None:
        sys.stdout.write(line.removesuffix("\r\n") + "\n")


def print_json(result: QueryResult) -> None:
    """Print a query result as a JSON list of objects. Values without a JSON type, such as NaN, become strings."""
    rows = [dict(zip(result.columns, map(_json_value, row), strict=True)) for row in result.rows]
    print(json.dumps(rows, default=str, indent=1))


def _json_value(value: object) -> object:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


_FAILURES_SHOWN = 10
"""Maximum number of errors in a summary, because an error that all months share would fill many screens."""


def print_summary(board: Board, again: Sequence[str], *, traces: bool = False) -> None:
    """Print the row counts of each asset and the duration of each month, then the errors of failed months.

    `again` are commands that rerun the failed months. `traces` adds the full traceback of each error. The errors come
    last, so that a long list of months does not scroll them off the screen.
    """
    console = open_console()
    table = plain_table("month", "", *(asset.removesuffix("_trips") for asset in board.assets), "seconds")
    for line in board.lines.values():
        rows = (f"{line.rows[asset]:,}" if asset in line.rows else "" for asset in board.assets)
        seconds = f"{line.seconds:.1f}" if line.seconds else ""
        style = "red" if line.state is State.failed else ""
        table.add_row(str(line.month), str(line.state), *rows, seconds, style=style)
    if console.measure(table, options=console.options.update(width=_ANY_WIDTH)).maximum > console.width:
        table.padding = (0, 0)
    console.print(table)
    for line in board.failed[:_FAILURES_SHOWN]:
        _print_failure(console, line, traces=traces)
    if (more := len(board.failed) - _FAILURES_SHOWN) > 0:
        console.print(f"and {more} more failed. See all errors with: taxi status --json")
    print_tally(console, len(board.lines), board.tally(), f", in {board.elapsed:.1f} s")
    if again and board.unfinished:
        console.print("To load the months that are not loaded:")
        for command in again:
            console.print(f"  {command}", soft_wrap=True, markup=False)


def _print_failure(console: "Console", line: Line, *, traces: bool) -> None:
    from rich.padding import Padding
    from rich.text import Text

    at = f" at {line.asset}" if line.asset else ""
    console.print(Text(f"{line.month} failed{at}:", style="bold red"))
    # With padding, wrapped lines stay indented under the month.
    console.print(Padding(Text(line.error.strip()), (0, 0, 0, 2), expand=False))
    if traces and line.trace:
        console.print(Text(line.trace.rstrip(), style="dim"), soft_wrap=True)


def print_tally(console: "Console", months: int, counts: Mapping[str, int], more: str = "") -> None:
    """Print the number of months and the number for each state or status."""
    parts = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    console.print(f"{months} {'month' if months == 1 else 'months'}: {parts}{more}")


def print_rows(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of text under column headings."""
    from rich.text import Text

    table = plain_table(*headings)
    for row in rows:
        table.add_row(*map(Text, row))
    open_console().print(table)


_ANY_WIDTH = 100_000

_TEXT_HEADINGS = frozenset({"month", "", "asset", "location", "backfill", "status", "created (UTC)", "color", "months"})
"""Headings of columns with text. The other columns contain numbers, which are never wrapped."""


def plain_table(*headings: str, footer: bool = False) -> "Table":
    """Create a table without a border. Columns are aligned right, except columns with text."""
    from rich.box import SIMPLE, SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE if footer else SIMPLE_HEAD, show_edge=False, pad_edge=False, show_footer=footer)
    for heading in headings:
        is_text = heading in _TEXT_HEADINGS
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
    return table


def open_console() -> "Console":
    """Create a console for human-readable output: colored on a terminal, and with unlimited width in a pipe."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _ANY_WIDTH, highlight=False)
