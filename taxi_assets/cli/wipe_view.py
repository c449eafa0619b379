"""The display of a wipe: one line for each file, object or table partition that is found or deleted."""

from collections.abc import Iterable

from taxi_assets.cli.tables import open_console
from taxi_assets.operations.wipe import StoredMonth
from taxi_assets.stores.inventory import StoredItem


def print_stored(stored: Iterable[StoredMonth], done: str = "") -> list[StoredMonth]:
    """Print stored items as they arrive, each after the prefix `done`, such as "deleted". Return all of them."""
    from rich.text import Text

    console, printed = open_console(), []
    for entry in stored:
        printed.append(entry)
        where = f"{entry.month}  {entry.store:<9}"
        for item in entry.items:
            # Let the terminal wrap the line, so that it can be copied without line breaks.
            console.print(Text(f"{done}{where}  {_size(item):>16}  {item.place}"), soft_wrap=True)
        if entry.error:
            console.print(Text(f"{where}  failed: {entry.error}", style="red"), soft_wrap=True)
    return printed


def _size(item: StoredItem) -> str:
    return f"{item.rows:,} rows" if item.rows is not None else f"{item.bytes or 0:,} bytes"
