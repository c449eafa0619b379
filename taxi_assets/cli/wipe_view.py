"""The display of a wipe: one line for each file, object or table partition that is found or deleted."""

from collections.abc import Iterable

from taxi_assets.cli.tables import open_console
from taxi_assets.news import StoredMonth
from taxi_assets.stores.inventory import StoredItem


def print_lots(lots: Iterable[StoredMonth], done: str = "") -> list[StoredMonth]:
    """Print stored items as they arrive, each after the prefix `done`, such as "removed". Return all of them."""
    from rich.text import Text

    console, printed = open_console(), []
    for lot in lots:
        printed.append(lot)
        where = f"{lot.month}  {lot.store:<9}"
        for holding in lot.held:
            # Let the terminal wrap the line, so that it can be copied without line breaks.
            console.print(Text(f"{done}{where}  {_size(holding):>16}  {holding.place}"), soft_wrap=True)
        if lot.error:
            console.print(Text(f"{where}  failed: {lot.error}", style="red"), soft_wrap=True)
    return printed


def _size(holding: StoredItem) -> str:
    return f"{holding.rows:,} rows" if holding.rows is not None else f"{holding.bytes or 0:,} bytes"
