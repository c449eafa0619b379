"""Tables that commands print at the end, such as summaries.

Not here: query results (`result_view`), and the status of months (`status_view`).
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from taxi_assets.cli.board import Board, Line, State
from taxi_assets.cli.causes import Failed, by_cause, format_selections
from taxi_assets.graph import TRIP_ASSETS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


CAUSES_SHOWN = 10
"""Maximum number of different errors to show, so that they fit on a screen."""

_MONTHS_SHOWN = 24
"""Maximum number of months to show on lines of their own."""


def print_summary(board: Board, again: Sequence[str], *, traces: bool = False) -> None:
    """Print the row counts of each asset and the durations of months, then why months failed, once for each cause.

    More than 24 months are added up by color. `again` are commands that rerun the failed months. `traces` adds the full
    traceback of each error. The errors come last, so that a long list of months does not scroll them off the screen.
    """
    console = open_console()
    absent = [line.month for line in board.lines.values() if line.state is State.not_published]
    lines = [line for line in board.lines.values() if line.state is not State.not_published]
    if lines:
        is_long = len(lines) > _MONTHS_SHOWN
        console.print(_color_table(board.assets, lines) if is_long else _month_table(console, board.assets, lines))
    _print_causes(console, board, traces=traces)
    if absent:
        console.print(f"{State.not_published}: {format_selections(absent)}", soft_wrap=True)
    print_tally(console, len(board.lines), board.tally(), f", in {board.elapsed:.1f} s")
    if again and board.unfinished:
        console.print("To load the months that are not loaded:")
        for command in again:
            console.print(f"  {command}", soft_wrap=True, markup=False)


def _heading(asset: str) -> str:
    """Return the heading of an asset's column: the name of its store, or the name of a mart."""
    return asset.removesuffix("_trips") if asset in TRIP_ASSETS else asset


def _month_table(console: "Console", assets: Sequence[str], lines: Sequence[Line]) -> "Table":
    """The row counts and the duration of each month. Assets between the first and the last may not fit."""
    for start in range(1, len(assets) + 1):
        shown = [*assets[:1], *assets[start:]]
        table = plain_table("month", "", *map(_heading, shown), "seconds")
        for line in lines:
            style = "red" if line.state is State.failed else ""
            table.add_row(str(line.month), str(line.state), *_totals(shown, [line]), style=style)
        if not fits(console, table):
            table.padding = (0, 0)
        if fits(console, table):
            break
    return table


def _color_table(assets: Sequence[str], lines: Sequence[Line]) -> "Table":
    """The number of loaded months, the row counts and the duration of all months of each color, in a column each."""
    colors = list(dict.fromkeys(line.month.color for line in lines))
    columns = []
    for color in colors:
        these = [line for line in lines if line.month.color == color]
        done = sum(line.state is State.done for line in these)
        columns.append([f"{done} of {len(these)}", *_totals(assets, these)])
    table = plain_table("", *colors)
    names = ["months done", *map(_heading, assets), "seconds"]
    for name, *cells in zip(names, *columns, strict=True):
        table.add_row(name, *cells)
    return table


def _totals(assets: Sequence[str], lines: Sequence[Line]) -> list[str]:
    """The total rows of each asset and the total seconds. What is not known is empty."""
    counts = ([line.rows[asset] for line in lines if asset in line.rows] for asset in assets)
    seconds = sum(line.seconds for line in lines)
    return [*(f"{sum(rows):,}" if rows else "" for rows in counts), f"{seconds:,.1f}" if seconds else ""]


def _print_causes(console: "Console", board: Board, *, traces: bool) -> None:
    """Print why months failed: each cause with its months, its error, and the traceback of its first month."""
    from rich.padding import Padding
    from rich.text import Text

    causes = by_cause(Failed(line.month, line.asset, line.error) for line in board.failed)
    for cause in causes[:CAUSES_SHOWN]:
        console.print(Text(f"{cause.title}:", style="bold red"))
        # With padding, wrapped lines stay indented under the months.
        console.print(Padding(Text(cause.text), (0, 0, 0, 2), expand=False))
        trace = board.lines[cause.first.month].trace
        if traces and trace:
            console.print(Text(trace.rstrip(), style="dim"), soft_wrap=True)
    if rest := [failed.month for cause in causes[CAUSES_SHOWN:] for failed in cause.failed]:
        console.print(f"and {len(rest)} more failed. To see all errors: taxi status --verbose")


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

_TEXT_HEADINGS = frozenset(
    {
        *("month", "", "asset", "location", "backfill", "status", "created (UTC)", "color", "months"),
        *("column", "type", "unit", "files", "meaning"),
    }
)
"""Headings of columns with text. The other columns contain numbers."""

_WRAPPED_HEADINGS = frozenset({"location", "months", "meaning"})
"""Headings of columns with long texts, which may take several lines."""


def plain_table(*headings: str, footer: bool = False) -> "Table":
    """Create a table without a border. Columns are aligned right, except columns with text."""
    from rich.box import SIMPLE, SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE if footer else SIMPLE_HEAD, show_edge=False, pad_edge=False, show_footer=footer)
    for heading in headings:
        wrapped = heading in _WRAPPED_HEADINGS
        justify: Literal["left", "right"] = "left" if heading in _TEXT_HEADINGS else "right"
        table.add_column(heading, justify=justify, no_wrap=not wrapped, overflow="fold" if wrapped else "ellipsis")
    return table


def fits(console: "Console", table: "Table") -> bool:
    """Return whether the table is not wider than the console."""
    return console.measure(table, options=console.options.update(width=_ANY_WIDTH)).maximum <= console.width


def open_console() -> "Console":
    """Create a console for human-readable output: colored on a terminal, and with unlimited width in a pipe."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _ANY_WIDTH, highlight=False)
