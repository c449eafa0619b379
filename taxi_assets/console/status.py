"""How the history of all months looks: a color x month grid for people, JSON for machines."""

import json
from collections.abc import Sequence

from taxi_assets.console.tables import print_grid
from taxi_assets.news import MonthHistory, Standing
from taxi_assets.tlc.trips import COLORS


def print_status(months: Sequence[MonthHistory]) -> None:
    """A line for each month, a column for each color, in each cell its rows, or what else is to be said of it."""
    if not months:
        print("Nothing is loaded yet: taxi demo makes a few months up; taxi materialize takes real ones")  # noqa: T201
        return
    print_grid({(history.month.color, history.month.month): _cell(history) for history in months}, COLORS)


def print_status_json(months: Sequence[MonthHistory]) -> None:
    """A JSON list with `color`, `month`, `standing` and `rows` by station."""
    listed = [
        {"color": h.month.color, "month": h.month.month, "standing": h.standing, "rows": dict(h.rows)} for h in months
    ]
    print(json.dumps(listed, indent=1))  # noqa: T201


def _cell(history: MonthHistory) -> str:
    """The rows of a loaded month; else its standing, with the rows that it has all the same."""
    rows = f"{history.rows.get('warehouse_trips', max(history.rows.values())):,}" if history.rows else ""
    match history.standing:
        case Standing.loaded:
            return rows
        case Standing.partly if rows:
            return f"{rows} (only {', '.join(history.rows)})"
        case _:
            return f"{rows} ({history.standing})" if rows else history.standing
