"""How a wipe looks: a line for each file, object or table's partition that is there, and that went."""

from collections.abc import Iterable

from taxi_assets.console.tables import open_console
from taxi_assets.news import Lot
from taxi_assets.stores.holdings import Holding


def print_lots(lots: Iterable[Lot], done: str = "") -> list[Lot]:
    """Each lot as it comes, after the word for what was `done` with it; all of them are given back."""
    from rich.text import Text

    console, printed = open_console(), []
    for lot in lots:
        printed.append(lot)
        where = f"{lot.month}  {lot.store:<9}"
        for holding in lot.held:
            # A line that is wrapped by hand could not be copied from a terminal.
            console.print(Text(f"{done}{where}  {_size(holding):>16}  {holding.place}"), soft_wrap=True)
        if lot.error:
            console.print(Text(f"{where}  failed: {lot.error}", style="red"), soft_wrap=True)
    return printed


def _size(holding: Holding) -> str:
    return f"{holding.rows:,} rows" if holding.rows is not None else f"{holding.bytes or 0:,} bytes"
