"""How the history of all months looks: a color x month grid for people, JSON for machines."""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from taxi_assets.console.tables import open_console, plain_table, print_tally
from taxi_assets.news import MonthHistory, Standing
from taxi_assets.tlc.trips import COLORS, format_months

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {
    Standing.loaded: "green",
    Standing.stale: "yellow",
    Standing.partly: "cyan",
    Standing.failed: "bold red",
    Standing.running: "bold blue",
    Standing.waiting: "blue",
}

_ONE_BY_ONE = 8
"""Months of one standing that are told each on a line of its own; of more, the first."""


def print_status(months: Sequence[MonthHistory], command: str) -> None:
    """The rows in the warehouse, a line for each month, a column for each color; what is not loaded says so in a word.

    Then totals, why months failed, and the lines that mend what is to be mended: `command` is the one of `taxi` that
    runs months here, materialize or backfill.
    """
    if not months:
        made_up = "taxi demo makes a few months up; " if command == "materialize" else ""
        print(f"Nothing is loaded yet: {made_up}taxi {command} takes real ones")  # noqa: T201
        return
    console = open_console()
    _print_grid(console, months)
    # The words are those of the grid, so that it needs no legend.
    counts = Counter(history.standing for history in months)
    print_tally(console, len(months), {standing: counts[standing] for standing in _STYLES})
    _print_reasons(console, months)
    _print_mending(console, months, command)


def print_status_json(months: Sequence[MonthHistory]) -> None:
    """A JSON list with `color`, `month`, `standing`, `rows` by station, `run`, and of failures `failed_at`, `error`."""
    listed = [
        {
            "color": history.month.color,
            "month": history.month.month,
            "standing": history.standing,
            "rows": dict(history.rows),
            "run": history.run_id,
            "failed_at": history.failed_at,
            "error": history.error,
        }
        for history in months
    ]
    print(json.dumps(listed, indent=1))  # noqa: T201


def _print_grid(console: "Console", months: Sequence[MonthHistory]) -> None:
    table = plain_table(footer=True)
    listed = sorted({history.month.month for history in months})
    table.add_column("month", footer="rows", no_wrap=True)
    columns = [listed]
    for color in COLORS:
        known = {history.month.month: history for history in months if history.month.color == color}
        if known:
            total = f"{sum(_rows(history) or 0 for history in known.values()):,}"
            width = max(len(color), len(total))
            table.add_column(f"{color:>{width}}", footer=f"{total:>{width}}", no_wrap=True)
            columns.append([_cell(known[month], width) if month in known else "" for month in listed])
    for cells in zip(*columns, strict=True):
        table.add_row(*cells)
    console.print(table)


def _cell(history: MonthHistory, width: int) -> str:
    """The rows of a month, to the right, and how it stands, if it is not simply loaded."""
    rows = _rows(history)
    count = "" if rows is None else f"{rows:,}"
    word = "" if history.standing is Standing.loaded else f" {history.standing}"
    return f"[{_STYLES[history.standing]}]{count:>{width}}{word}[/]"


def _rows(history: MonthHistory) -> int | None:
    """The rows in the warehouse, None where the month never came there."""
    return history.rows.get("warehouse_trips")


def _print_reasons(console: "Console", months: Sequence[MonthHistory]) -> None:
    """Why months failed, and which stations the unfinished ones passed, each on a line that the screen has room for."""
    from rich.text import Text

    for standing, explain in ((Standing.failed, _why_failed), (Standing.partly, _how_far)):
        these = [history for history in months if history.standing is standing]
        for history in these[:_ONE_BY_ONE]:
            reason = Text(f"  {history.month} {explain(history)}", style=_STYLES[standing])
            console.print(reason, no_wrap=True, overflow="ellipsis")
        if (more := len(these) - _ONE_BY_ONE) > 0:
            console.print(f"  and {more} more {standing}: taxi status --json tells all")


def _why_failed(history: MonthHistory) -> str:
    at = f" at {history.failed_at}" if history.failed_at else ""
    return f"failed{at}: {history.error.partition(chr(10))[0]}" if history.error else f"failed{at}"


def _how_far(history: MonthHistory) -> str:
    return f"partly: only {', '.join(history.rows)}" if history.rows else "partly: no station yet"


def _print_mending(console: "Console", months: Sequence[MonthHistory], command: str) -> None:
    """The commands that run again what is to be run again, one for each color and standing."""
    unfinished = (Standing.failed, Standing.stale, Standing.partly)
    to_mend = [history for history in months if history.standing in unfinished and history.is_partition]
    if not to_mend:
        return
    console.print("To run them again:")
    for (standing, color), these in groupby(sorted(to_mend, key=_urgency), key=_urgency):
        months_again = format_months(history.month.month for history in these)
        console.print(
            f"  taxi {command} --color {color} --months {months_again}   [dim]{standing}[/]",
            soft_wrap=True,
        )


def _urgency(history: MonthHistory) -> tuple[Standing, str]:
    return history.standing, history.month.color
