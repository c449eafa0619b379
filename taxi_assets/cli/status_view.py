"""The display of partition statuses: a grid of months and colors, or JSON."""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from taxi_assets.cli.options import program
from taxi_assets.cli.tables import open_console, plain_table, print_tally
from taxi_assets.instance.partition_status import MonthStatus, PartitionStatus
from taxi_assets.tlc.trips import COLORS, format_months

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {
    PartitionStatus.loaded: "green",
    PartitionStatus.stale: "yellow",
    PartitionStatus.partial: "cyan",
    PartitionStatus.failed: "bold red",
    PartitionStatus.running: "bold blue",
    PartitionStatus.queued: "blue",
}

_MAX_LISTED = 8
"""Maximum number of months of one status to list on lines of their own."""


def print_status(months: Sequence[MonthStatus], command: str) -> None:
    """Print a grid of row counts in the warehouse, with a row for each month and a column for each color.

    A cell also shows the status, unless it is loaded. After the grid come totals, the reasons for failed and partial
    months, and the commands that rerun months. `command` is the `taxi` command in these lines: materialize or backfill.
    """
    if not months:
        sample = "To load sample months: taxi demo. " if command == "materialize" else ""
        load = f"taxi {command} --color green --months 2020-04"
        print(f"Nothing is loaded yet. {sample}To load a real month: {load}")
        return
    console = open_console()
    _print_grid(console, months)
    # Use the same words as the grid, so that no legend is necessary.
    counts = Counter(history.status for history in months)
    print_tally(console, len(months), {status: counts[status] for status in _STYLES})
    _print_reasons(console, months)
    _print_commands(console, months, command)


def print_status_json(months: Sequence[MonthStatus]) -> None:
    """Print months as a JSON list of objects.

    Each has `color`, `month`, `status`, `rows` by asset, `run`, `failed_at` and `error`. The last two are empty for a
    month that did not fail. `standing` is deprecated: it is the status in the words of the previous release.
    """
    listed = [
        {
            "color": history.month.color,
            "month": history.month.month,
            "status": history.status,
            "standing": _PREVIOUS_WORDS.get(history.status, history.status),
            "rows": dict(history.rows),
            "run": history.run_id,
            "failed_at": history.failed_at,
            "error": history.error,
        }
        for history in months
    ]
    print(json.dumps(listed, indent=1))


_PREVIOUS_WORDS = {PartitionStatus.partial: "partly", PartitionStatus.queued: "waiting"}


def _print_grid(console: "Console", months: Sequence[MonthStatus]) -> None:
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


def _cell(history: MonthStatus, width: int) -> str:
    """Format the row count of a month, aligned right, and its status, unless it is loaded."""
    rows = _rows(history)
    count = "" if rows is None else f"{rows:,}"
    word = "" if history.status is PartitionStatus.loaded else f" {history.status}"
    return f"[{_STYLES[history.status]}]{count:>{width}}{word}[/]"


def _rows(history: MonthStatus) -> int | None:
    """The row count in the warehouse; None if the month was never loaded there."""
    return history.rows.get("warehouse_trips")


def _print_reasons(console: "Console", months: Sequence[MonthStatus]) -> None:
    """Print why months failed and which assets of partial months exist, each on one truncated line."""
    from rich.text import Text

    for status, describe in ((PartitionStatus.failed, _why_failed), (PartitionStatus.partial, _what_exists)):
        these = [history for history in months if history.status is status]
        for history in these[:_MAX_LISTED]:
            reason = Text(f"  {history.month} {describe(history)}", style=_STYLES[status])
            console.print(reason, no_wrap=True, overflow="ellipsis")
        if (more := len(these) - _MAX_LISTED) > 0:
            console.print(f"  and {more} more {status}. To see all: taxi status --json")


def _why_failed(history: MonthStatus) -> str:
    at = f" at {history.failed_at}" if history.failed_at else ""
    return f"failed{at}: {history.error.partition(chr(10))[0]}" if history.error else f"failed{at}"


def _what_exists(history: MonthStatus) -> str:
    return f"partial: only {', '.join(history.rows)}" if history.rows else "partial: no asset yet"


def _print_commands(console: "Console", months: Sequence[MonthStatus], command: str) -> None:
    """Print the commands that rerun unfinished months, one for each color and status."""
    unfinished = (PartitionStatus.failed, PartitionStatus.stale, PartitionStatus.partial)
    months_to_load = [history for history in months if history.status in unfinished and history.is_partition]
    if not months_to_load:
        return
    console.print("To load them again:")
    for (status, color), these in groupby(sorted(months_to_load, key=_urgency), key=_urgency):
        months_again = format_months(history.month.month for history in these)
        console.print(
            f"  {program()} {command} --color {color} --months {months_again}   [dim]{status}[/]",
            soft_wrap=True,
        )


def _urgency(history: MonthStatus) -> tuple[PartitionStatus, str]:
    return history.status, history.month.color
