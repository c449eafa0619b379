"""The status of many years as a grid: a line for each year, and a letter for each month of each color.

Not here: what follows the grid (`status_view`).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from taxi_assets.cli.tables import fits, plain_table
from taxi_assets.instance.partition_status import MonthStatus, PartitionStatus
from taxi_assets.tlc.trips import COLORS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

STYLES = {
    PartitionStatus.loaded: "green",
    PartitionStatus.stale: "yellow",
    PartitionStatus.partial: "cyan",
    PartitionStatus.failed: "bold red",
    PartitionStatus.running: "bold blue",
    PartitionStatus.queued: "blue",
}

LETTERS = {status: status[0].upper() for status in STYLES} | {PartitionStatus.loaded: "+"}
"""The letter of each status. Loaded months, the most common ones, have a sign from which letters stand out."""

_NEVER_LOADED = "."

_MONTHS = "JFMAMJJASOND"

_GROUPS = (1, 3, 12)
"""How many months stand together without a space, from the widest grid to the narrowest one."""


def print_year_grid(console: "Console", months: Sequence[MonthStatus]) -> None:
    """Print the grid with the total rows of each year and color, as wide as the console allows, and its legend.

    Colors that do not fit next to each other are several grids.
    """
    _print_grids(console, months)
    console.print(_legend(months))


def _print_grids(console: "Console", months: Sequence[MonthStatus]) -> None:
    for group in _GROUPS:
        table = _table(months, group)
        if fits(console, table):
            break
    else:
        table.padding = (0, 0)
    colors = [color for color in COLORS if any(history.month.color == color for history in months)]
    if fits(console, table) or len(colors) == 1:
        console.print(table)
        return
    half = (len(colors) + 1) // 2
    for some in (colors[:half], colors[half:]):
        _print_grids(console, [history for history in months if history.month.color in some])


def _table(months: Sequence[MonthStatus], group: int) -> "Table":
    """Create the grid with `group` months next to each other."""
    from rich.text import Text

    known = {(history.month.color, history.month.month): history for history in months}
    colors = [color for color in COLORS if any(history.month.color == color for history in months)]
    years = [int(history.month.month[:4]) for history in months]
    table = plain_table(footer=True)
    table.add_column(Text("\nyear"), footer="rows", no_wrap=True)
    for color in colors:
        heading = Text(f"{color}\n{_grouped([Text(letter) for letter in _MONTHS], group)}")
        table.add_column(heading, footer=_sum([known[key] for key in known if key[0] == color]), no_wrap=True)
    table.add_column(Text("\nrows"), footer=_sum(months), justify="right", no_wrap=True)
    for year in range(min(years), max(years) + 1):
        of_year = [history for history in months if history.month.month.startswith(f"{year}-")]
        cells = (_grouped(_letters(known, color, year), group) for color in colors)
        table.add_row(str(year), *cells, _sum(of_year))
    return table


def _letters(known: Mapping[tuple[str, str], MonthStatus], color: str, year: int) -> "list[Text]":
    """The letters of the months of a year."""
    from rich.text import Text

    statuses = (known.get((color, f"{year}-{month:02d}")) for month in range(1, 13))
    return [
        Text(LETTERS[found.status], STYLES[found.status]) if found else Text(_NEVER_LOADED, "dim") for found in statuses
    ]


def _grouped(letters: "Sequence[Text]", group: int) -> "Text":
    from rich.text import Text

    return Text(" ").join(Text("").join(letters[at : at + group]) for at in range(0, len(letters), group))


def _legend(months: Sequence[MonthStatus]) -> "Text":
    """The meaning of each letter in the grid."""
    from rich.text import Text

    found = {history.status for history in months}
    letters = [Text.assemble((LETTERS[status], STYLES[status]), f" {status}") for status in STYLES if status in found]
    return Text("   ").join([*letters, Text.assemble((_NEVER_LOADED, "dim"), " not loaded")])


def _sum(months: Sequence[MonthStatus]) -> str:
    return f"{sum(rows_in_warehouse(history) or 0 for history in months):,}"


def rows_in_warehouse(history: MonthStatus) -> int | None:
    """The row count of a month in the warehouse; None if the month was never loaded there."""
    return history.rows.get("warehouse_trips")
