"""The display of partition statuses: a grid of months and colors, or JSON."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from taxi_assets.cli.causes import Cause, Failed, by_cause, format_selections, selections
from taxi_assets.cli.options import program
from taxi_assets.cli.status_grid import STYLES, print_year_grid, rows_in_warehouse
from taxi_assets.cli.tables import open_console, plain_table, print_tally
from taxi_assets.instance.partition_status import MonthStatus, PartitionStatus
from taxi_assets.tlc.trips import COLORS, TripMonth

if TYPE_CHECKING:
    from rich.console import Console

_MAX_LISTED = 8
"""Maximum number of reasons to list for a status."""

_MAX_LINES = 24
"""Maximum number of lines of months. For more of them, a grid has a line for each year."""


def print_status(months: Sequence[MonthStatus], command: str, *, verbose: bool = False) -> None:
    """Print a grid of row counts in the warehouse, with a row for each month and a column for each color.

    A cell also shows the status, unless it is loaded. More than 24 months are a grid with a line for each year and a
    letter for each month, unless `verbose` is set. After the grid come totals, the colors with several sources, the
    reasons for failed and partial months, and the commands that rerun months. A reason that months share is one line;
    with `verbose`, each failed month has its whole error. `command` is the `taxi` command in these lines: materialize
    or backfill.
    """
    if not months:
        sample = "To load sample months: taxi demo. " if command == "materialize" else ""
        load = f"taxi {command} --color green --months 2020-04"
        print(f"Nothing is loaded yet. {sample}To load a real month: {load}")
        return
    console = open_console()
    if verbose or len({history.month.month for history in months}) <= _MAX_LINES:
        _print_grid(console, months)
    else:
        print_year_grid(console, months)
    # Use the same words as the grid, so that it needs no other legend.
    counts = Counter(history.status for history in months)
    print_tally(console, len(months), {status: counts[status] for status in STYLES})
    _print_mixed_sources(console, months)
    (_print_all_reasons if verbose else _print_reasons)(console, months)
    _print_commands(console, months, command)


def print_status_json(months: Sequence[MonthStatus]) -> None:
    """Print months as a JSON list of objects.

    Each has `color`, `month`, `status`, `rows` by asset, `run`, `failed_at`, `error` and `source`. `failed_at` and
    `error` are empty for a month that did not fail. `source` is `mirror`, `tlc`, or the folder, URL or template of the
    raw file; it is empty if there is none. `standing` is deprecated: it is the status in the words of the previous
    release.
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
            "source": history.source,
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
            total = f"{sum(rows_in_warehouse(history) or 0 for history in known.values()):,}"
            width = max(len(color), len(total))
            table.add_column(f"{color:>{width}}", footer=f"{total:>{width}}", no_wrap=True)
            columns.append([_cell(known[month], width) if month in known else "" for month in listed])
    for cells in zip(*columns, strict=True):
        table.add_row(*cells)
    console.print(table)


def _cell(history: MonthStatus, width: int) -> str:
    """Format the row count of a month, aligned right, and its status, unless it is loaded."""
    rows = rows_in_warehouse(history)
    count = "" if rows is None else f"{rows:,}"
    word = "" if history.status is PartitionStatus.loaded else f" {history.status}"
    return f"[{STYLES[history.status]}]{count:>{width}}{word}[/]"


def _print_mixed_sources(console: "Console", months: Sequence[MonthStatus]) -> None:
    """Print a line for each color whose months come from several sources, with the number of months of each."""
    for color in COLORS:
        counts = Counter(history.source for history in months if history.month.color == color and history.source)
        if len(counts) > 1:
            (first, count), *others = counts.most_common()
            parts = [f"{count} {'month' if count == 1 else 'months'} from {first}"]
            parts += [f"{count} from {source}" for source, count in others]
            console.print(f"{color}: {', '.join(parts)}", soft_wrap=True, markup=False, highlight=False)


def _print_reasons(console: "Console", months: Sequence[MonthStatus]) -> None:
    """Print why months failed and which assets of partial months exist, each once with its months.

    A reason that does not fit on the line of the months follows on a line of its own, which is cut.
    """
    from rich.cells import cell_len
    from rich.text import Text

    reasons = {
        PartitionStatus.failed: [
            (f"{cause.title}: ", cause.first.error) if cause.first.error else (cause.title, "")
            for cause in by_cause(_failed(months))
        ],
        PartitionStatus.partial: [(f"{format_selections(these)} ", why) for why, these in _partial(months).items()],
    }
    for status, lines in reasons.items():
        for title, reason in lines[:_MAX_LISTED]:
            text = reason.partition("\n")[0]
            if cell_len(f"  {title}{text}") <= console.width:
                console.print(Text(f"  {title}{text}", STYLES[status]))
            else:
                console.print(Text(f"  {title.rstrip()}", STYLES[status]))
                console.print(Text(f"    {_cut(text, console.width - 4)}", STYLES[status]))
        if (more := len(lines) - _MAX_LISTED) > 0:
            console.print(f"  and {more} more reasons of {status} months. To see all: taxi status --verbose")


def _cut(reason: str, width: int) -> str:
    """Cut the reason so that the slug at its end still fits, because the slug leads to the page on troubleshooting."""
    from rich.cells import cell_len, set_cell_size

    slug = _SLUG.search(reason)
    end = slug[0] if slug else ""
    text = reason.removesuffix(end)
    room = width - cell_len(end)
    return reason if cell_len(text) <= room else f"{set_cell_size(text, max(room - 1, 0))}…{end}"


_SLUG = re.compile(r" \[[a-z0-9-]+\]$")


def _print_all_reasons(console: "Console", months: Sequence[MonthStatus]) -> None:
    """Print the whole error of each failed month, and which assets of each partial month exist."""
    from rich.padding import Padding
    from rich.text import Text

    for failed in _failed(months):
        style = STYLES[PartitionStatus.failed]
        console.print(Text(f"{Cause([failed]).title}{':' if failed.error else ''}", style))
        if failed.error:
            console.print(Padding(Text(failed.error.strip()), (0, 0, 0, 2), expand=False))
    for why, these in _partial(months).items():
        console.print(Text(f"{format_selections(these)} {why}", STYLES[PartitionStatus.partial]))


def _failed(months: Sequence[MonthStatus]) -> list[Failed]:
    return [
        Failed(history.month, history.failed_at, history.error)
        for history in months
        if history.status is PartitionStatus.failed
    ]


def _partial(months: Sequence[MonthStatus]) -> dict[str, list[TripMonth]]:
    """Group partial months by the assets that exist."""
    groups: dict[str, list[TripMonth]] = {}
    for history in months:
        if history.status is PartitionStatus.partial:
            why = f"partial: only {', '.join(history.rows)}" if history.rows else "partial: no asset yet"
            groups.setdefault(why, []).append(history.month)
    return groups


def _print_commands(console: "Console", months: Sequence[MonthStatus], command: str) -> None:
    """Print the commands that rerun unfinished months: for each status, one for the colors with the same months."""
    unfinished = (PartitionStatus.failed, PartitionStatus.partial, PartitionStatus.stale)
    months_to_load = [history for history in months if history.status in unfinished and history.is_partition]
    if not months_to_load:
        return
    console.print("To load them again:")
    for status in unfinished:
        for colors, these in selections(history.month for history in months_to_load if history.status is status):
            console.print(
                f"  {program()} {command} --color {colors} --months {these}   [dim]{status}[/]", soft_wrap=True
            )
